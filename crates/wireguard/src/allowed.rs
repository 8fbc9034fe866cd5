//! Which peer an address belongs to: a binary trie with compressed paths, longest prefix wins.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// A map from address ranges to values.
#[derive(Debug, Clone)]
pub struct AllowedIps<T> {
    entries: BTreeMap<IpNet, T>,
    v4: Trie<T>,
    v6: Trie<T>,
}

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), v4: Trie::default(), v6: Trie::default() }
    }
}

impl<T: Copy> AllowedIps<T> {
    /// The range is now the value's, whoever had it before; who did. Host bits are ignored.
    pub fn insert(&mut self, range: IpNet, value: T) -> Option<T> {
        let range = range.trunc();
        self.trie(range).insert(bits(range.addr()), range.prefix_len(), value);
        self.entries.insert(range, value)
    }

    /// Keeps only the ranges of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(IpNet, T) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|range, value| keep(*range, *value));
        if self.entries.len() != before {
            self.rebuild();
        }
    }

    /// Whose address this is.
    #[inline]
    pub fn get(&self, address: IpAddr) -> Option<T> {
        match address {
            IpAddr::V4(_) => self.v4.get(bits(address)),
            IpAddr::V6(_) => self.v6.get(bits(address)),
        }
    }

    /// All ranges.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, T)> + '_ {
        self.entries.iter().map(|(range, value)| (*range, *value))
    }

    fn trie(&mut self, range: IpNet) -> &mut Trie<T> {
        match range {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        }
    }

    /// Removals are rare, so the trie is made anew rather than mended.
    fn rebuild(&mut self) {
        (self.v4, self.v6) = (Trie::default(), Trie::default());
        for (range, value) in self.entries.clone() {
            self.trie(range).insert(bits(range.addr()), range.prefix_len(), value);
        }
    }
}

/// The address, left-aligned.
#[inline]
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

#[inline]
fn bit(bits: u128, at: u8) -> usize {
    usize::from((bits << at) >> 127 != 0)
}

fn common(a: u128, b: u128) -> u8 {
    (a ^ b).leading_zeros() as u8
}

fn mask(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len)) }
}

#[derive(Debug, Clone)]
struct Trie<T> {
    nodes: Vec<Node<T>>,
    root: Option<u32>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), root: None }
    }
}

/// A prefix. Its children are longer prefixes that begin with it, by their next bit.
#[derive(Debug, Clone)]
struct Node<T> {
    bits: u128,
    len: u8,
    value: Option<T>,
    children: [Option<u32>; 2],
}

impl<T: Copy> Trie<T> {
    #[inline]
    fn get(&self, address: u128) -> Option<T> {
        let mut found = None;
        let mut at = self.root;
        while let Some(node) = at.map(|at| &self.nodes[at as usize]) {
            if (address ^ node.bits) & mask(node.len) != 0 {
                break;
            }
            found = node.value.or(found);
            if node.len == 128 {
                break;
            }
            at = node.children[bit(address, node.len)];
        }
        found
    }

    fn insert(&mut self, bits: u128, len: u8, value: T) {
        let mut parent: Option<(usize, usize)> = None;
        let mut at = self.root;
        loop {
            let Some(index) = at else {
                let leaf = self.add(bits, len, Some(value));
                return self.hang(parent, leaf);
            };
            let node = &mut self.nodes[index as usize];
            let shared = common(bits, node.bits).min(len).min(node.len);
            if shared == node.len && shared == len {
                node.value = Some(value);
                return;
            }
            if shared == node.len {
                let side = bit(bits, node.len);
                parent = Some((index as usize, side));
                at = node.children[side];
                continue;
            }
            // The paths part here: a new node takes this one's place and this one becomes its child.
            let side = bit(node.bits, shared);
            let fork = self.add(bits & mask(shared), shared, (shared == len).then_some(value));
            self.nodes[fork as usize].children[side] = Some(index);
            if shared < len {
                let leaf = self.add(bits, len, Some(value));
                self.nodes[fork as usize].children[1 - side] = Some(leaf);
            }
            return self.hang(parent, fork);
        }
    }

    fn add(&mut self, bits: u128, len: u8, value: Option<T>) -> u32 {
        self.nodes.push(Node { bits, len, value, children: [None; 2] });
        u32::try_from(self.nodes.len() - 1).expect("fewer ranges than 2^31")
    }

    fn hang(&mut self, parent: Option<(usize, usize)>, child: u32) {
        match parent {
            None => self.root = Some(child),
            Some((node, side)) => self.nodes[node].children[side] = Some(child),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn the_longest_prefix_wins() {
        let mut allowed = AllowedIps::default();
        let ranges = [
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.1.0.0/16", 3),
            ("10.1.2.3/32", 4),
            ("::/0", 5),
            ("fd00:1::/48", 6),
            ("fd00:1::1/128", 7),
        ];
        for (range, value) in ranges {
            allowed.insert(range.parse().unwrap(), value);
        }
        let cases = [
            ("192.0.2.1", 1),
            ("10.2.0.1", 2),
            ("10.1.2.4", 3),
            ("10.1.2.3", 4),
            ("2001:db8::1", 5),
            ("fd00:1::2", 6),
            ("fd00:1::1", 7),
        ];
        for (address, value) in cases {
            assert_eq!(allowed.get(address.parse().unwrap()), Some(value), "{address}");
        }
        allowed.retain(|_, value| value != 4);
        assert_eq!(allowed.get("10.1.2.3".parse().unwrap()), Some(3));
        allowed.insert("10.1.0.0/16".parse().unwrap(), 2);
        assert_eq!(allowed.iter().filter(|(_, value)| *value == 2).count(), 2);
        allowed.retain(|_, value| value != 2);
        assert_eq!(allowed.get("10.1.2.3".parse().unwrap()), Some(1));
    }

    fn range() -> impl Strategy<Value = IpNet> {
        // Few bits, so that prefixes overlap.
        prop_oneof![
            (any::<[bool; 4]>(), 0u8..=32).prop_map(|(bits, len)| {
                let octets = bits.map(|bit| if bit { 0xaa } else { 0x80 });
                IpNet::new(Ipv4Addr::from(octets).into(), len).expect("a length up to 32")
            }),
            (any::<[bool; 16]>(), 0u8..=128).prop_map(|(bits, len)| {
                let octets = bits.map(|bit| if bit { 0xaa } else { 0x80 });
                IpNet::new(Ipv6Addr::from(octets).into(), len).expect("a length up to 128")
            }),
        ]
    }

    proptest! {
        /// Against a scan of a list.
        #[test]
        fn agrees_with_a_list(
            ranges in prop::collection::vec((range(), 0u8..4), 0..40),
            removed in 0u8..4,
            asked in prop::collection::vec(range(), 1..20),
        ) {
            let mut allowed = AllowedIps::default();
            let mut list = BTreeMap::new();
            for (range, value) in ranges {
                allowed.insert(range, value);
                list.insert(range.trunc(), value);
            }
            allowed.retain(|_, value| value != removed);
            list.retain(|_, value| *value != removed);
            for address in asked.iter().map(|range| range.addr()) {
                let expected = list.iter().filter(|(range, _)| range.contains(&address));
                let expected = expected.max_by_key(|(range, _)| range.prefix_len()).map(|(_, value)| *value);
                prop_assert_eq!(allowed.get(address), expected);
            }
        }
    }
}
