//! Which part of the cluster's pod ranges each node has: for nodes that nobody else has given one.
//!
//! Every range that anybody holds is claimed here, whoever handed it out; a range is given only where it shares no
//! address with any claim. Two claims may overlap all the same (somebody wrote them so): then it is said, not settled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The ranges of a cluster, and who holds what of them.
#[derive(Debug, Clone)]
pub struct Ranges {
    pools: Vec<Pool>,
    /// By first address, then length: who claims it.
    claims: BTreeMap<(IpAddr, u8), BTreeSet<String>>,
    held: BTreeMap<String, Vec<IpNet>>,
}

/// One of the cluster's ranges.
#[derive(Debug, Clone)]
struct Pool {
    range: IpNet,
    /// The length of the prefixes handed out of it.
    length: u8,
    /// The part that is looked at first: what was given back rests until all others were given.
    next: u128,
}

/// There is no part left to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no /{length} is left in {}", pools.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct Exhausted {
    /// The ranges that are full.
    pub pools: Vec<IpNet>,
    /// The length of the prefixes that are handed out of them.
    pub length: u8,
}

/// Two that hold the same address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overlap {
    /// What the one holds.
    pub range: IpNet,
    /// Who the other is.
    pub other: String,
}

impl Ranges {
    /// The ranges of a cluster, of which nodes get prefixes of these lengths. A range shorter than one prefix gives none.
    pub fn new(pools: &[IpNet], length_v4: u8, length_v6: u8) -> Self {
        let pool = |range: &IpNet| {
            let length = if range.addr().is_ipv4() { length_v4 } else { length_v6 };
            (range.prefix_len() <= length && length <= range.max_prefix_len()).then_some(Pool {
                range: range.trunc(),
                length,
                next: 0,
            })
        };
        let pools = pools.iter().filter_map(pool).collect();
        Self { pools, claims: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// What `owner` holds now, in place of what it held before; nothing to hold no more. Returns everybody whose overlaps
    /// may be others now.
    pub fn claim(&mut self, owner: &str, ranges: &[IpNet]) -> BTreeSet<String> {
        let ranges: Vec<IpNet> = ranges.iter().map(IpNet::trunc).collect();
        let before = self.held.get(owner).map(Vec::as_slice).unwrap_or_default();
        if before == ranges {
            return BTreeSet::new();
        }
        let mut touched: BTreeSet<String> = self.overlaps(owner).into_iter().map(|o| o.other).collect();
        for range in self.held.remove(owner).unwrap_or_default() {
            if let Some(owners) = self.claims.get_mut(&key(&range)) {
                owners.remove(owner);
                if owners.is_empty() {
                    self.claims.remove(&key(&range));
                }
            }
        }
        for range in &ranges {
            self.claims.entry(key(range)).or_default().insert(owner.to_string());
        }
        if !ranges.is_empty() {
            self.held.insert(owner.to_string(), ranges);
        }
        touched.extend(self.overlaps(owner).into_iter().map(|o| o.other));
        touched.insert(owner.to_string());
        touched
    }

    /// What `owner` holds.
    pub fn held(&self, owner: &str) -> &[IpNet] {
        self.held.get(owner).map(Vec::as_slice).unwrap_or_default()
    }

    /// With whom else `owner` shares addresses.
    pub fn overlaps(&self, owner: &str) -> Vec<Overlap> {
        let mut found = BTreeSet::new();
        for range in self.held(owner) {
            for claim in self.around(range).into_iter().chain(self.inside(range)) {
                let others = self.claims[&claim].iter().filter(|other| *other != owner);
                found.extend(others.map(|other| Overlap { range: *range, other: other.clone() }));
            }
        }
        found.into_iter().collect()
    }

    /// Gives `owner` one prefix of each family that the cluster has, in place of what it held, and returns them.
    ///
    /// # Errors
    /// All ranges of a family are full. Then nothing has changed.
    pub fn give(&mut self, owner: &str) -> Result<Vec<IpNet>, Exhausted> {
        let mut given = Vec::new();
        for ipv4 in [true, false] {
            let of_family = |pool: &&Pool| pool.range.addr().is_ipv4() == ipv4;
            let pools: Vec<usize> = (0..self.pools.len()).filter(|at| of_family(&&self.pools[*at])).collect();
            let Some(first) = pools.first() else { continue };
            let length = self.pools[*first].length;
            match pools.iter().find_map(|at| Some((*at, self.free(*at, owner)?))) {
                Some((at, (part, range))) => given.push((at, part, range)),
                None => {
                    let pools = pools.iter().map(|at| self.pools[*at].range).collect();
                    return Err(Exhausted { pools, length });
                }
            }
        }
        for (at, part, _) in &given {
            self.pools[*at].next = part + 1;
        }
        let ranges: Vec<IpNet> = given.into_iter().map(|(_, _, range)| range).collect();
        self.claim(owner, &ranges);
        Ok(ranges)
    }

    /// The next part of a pool that nobody but `owner` claims, and its number. Looks at each claim once at most.
    fn free(&self, pool: usize, owner: &str) -> Option<(u128, IpNet)> {
        let pool = &self.pools[pool];
        let parts = 1u128.checked_shl((pool.length - pool.range.prefix_len()).into()).unwrap_or(u128::MAX);
        let start = pool.next % parts;
        for (mut part, end) in [(start, parts), (0, start)] {
            while part < end {
                let range = pool.part(part);
                let foreign = |claim: &(IpAddr, u8)| self.claims[claim].iter().any(|other| other != owner);
                if let Some((first, length)) = self.around(&range).into_iter().find(foreign) {
                    // A claim that holds this part and perhaps many more: go on behind it.
                    let size = 1u128.checked_shl((pool.length - length).into()).unwrap_or(u128::MAX);
                    part = pool.number(first).saturating_add(size).max(part + 1);
                } else if self.inside(&range).iter().any(foreign) {
                    part += 1;
                } else {
                    return Some((part, range));
                }
            }
        }
        None
    }

    /// The claims that hold all of `range`.
    fn around(&self, range: &IpNet) -> Vec<(IpAddr, u8)> {
        let holders = (0..=range.prefix_len()).filter_map(|length| {
            let holder = IpNet::new(range.addr(), length).ok()?.trunc();
            self.claims.contains_key(&key(&holder)).then_some(key(&holder))
        });
        holders.collect()
    }

    /// The claims inside `range` that are smaller than it.
    fn inside(&self, range: &IpNet) -> Vec<(IpAddr, u8)> {
        let bounds = (range.network(), 0)..=(range.broadcast(), u8::MAX);
        let smaller = self.claims.range(bounds).map(|(claim, _)| *claim);
        smaller.filter(|(_, length)| *length > range.prefix_len()).collect()
    }
}

impl Pool {
    fn part(&self, number: u128) -> IpNet {
        let shift = u32::from(self.range.max_prefix_len() - self.length);
        let offset = number.checked_shl(shift).unwrap_or(0);
        let address = match self.range.network() {
            IpAddr::V4(first) => {
                let offset = u32::try_from(offset).expect("a part lies inside its pool");
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + offset))
            }
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + offset)),
        };
        IpNet::new(address, self.length).expect("the length was checked")
    }

    /// The number of the part that begins at `first`; 0 for an address before the pool.
    fn number(&self, first: IpAddr) -> u128 {
        let bits = |address| match address {
            IpAddr::V4(address) => u128::from(Ipv4Addr::to_bits(address)),
            IpAddr::V6(address) => Ipv6Addr::to_bits(address),
        };
        let shift = u32::from(self.range.max_prefix_len() - self.length);
        bits(first).saturating_sub(bits(self.range.network())).checked_shr(shift).unwrap_or(0)
    }
}

fn key(range: &IpNet) -> (IpAddr, u8) {
    (range.network(), range.prefix_len())
}

#[cfg(test)]
mod tests;
