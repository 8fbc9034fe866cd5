//! Plain values as the programs lay them out, and their ways from and to nouns.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::abi;

/// 16 bits in network order.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be16(u16);

/// 32 bits in network order.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be32(u32);

impl From<u16> for Be16 {
    fn from(value: u16) -> Self {
        Self(value.to_be())
    }
}

impl From<Be16> for u16 {
    fn from(value: Be16) -> Self {
        u16::from_be(value.0)
    }
}

impl From<u32> for Be32 {
    fn from(value: u32) -> Self {
        Self(value.to_be())
    }
}

impl From<Be32> for u32 {
    fn from(value: Be32) -> Self {
        u32::from_be(value.0)
    }
}

/// Where a struct's fields lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StructLayout {
    /// Its name in C.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Names and offsets of its fields.
    pub fields: &'static [(&'static str, usize)],
}

/// What became of a packet or connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It went on.
    Pass,
    /// It ended here.
    Drop,
    /// Something was noted on the way.
    Note,
}

/// An address as the programs write it: IPv4 as ::ffff:a.b.c.d.
pub(super) fn address(ip: IpAddr) -> [Be32; 4] {
    let bits = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    [96, 64, 32, 0].map(|shift| Be32::from((bits >> shift) as u32))
}

/// The address behind what the programs write.
pub(super) fn ip(words: [Be32; 4]) -> IpAddr {
    let bits = words.into_iter().fold(0, |bits, word| bits << 32 | u128::from(u32::from(word)));
    Ipv6Addr::from_bits(bits).to_canonical()
}

/// A range as the programs write it.
pub(super) fn prefix(net: &IpNet) -> abi::Prefix {
    let length = match net {
        IpNet::V4(v4) => 96 + u32::from(v4.prefix_len()),
        IpNet::V6(v6) => u32::from(v6.prefix_len()),
    };
    abi::Prefix { length, ip: address(net.network()) }
}

/// The range behind what the programs write; none if its length is no length.
pub(super) fn net(prefix: &abi::Prefix) -> Option<IpNet> {
    let length = u8::try_from(prefix.length).ok()?;
    Some(match ip(prefix.ip) {
        IpAddr::V4(v4) if length >= 96 => Ipv4Net::new(v4, length - 96).ok()?.into(),
        IpAddr::V4(v4) => Ipv6Net::new(v4.to_ipv6_mapped(), length).ok()?.into(),
        IpAddr::V6(v6) => Ipv6Net::new(v6, length).ok()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ranges_come_back() {
        for text in ["10.1.2.3", "0.0.0.0", "255.255.255.255", "::", "::1", "fd00:1:2:3::4"] {
            let address_of: IpAddr = text.parse().unwrap();
            assert_eq!(ip(address(address_of)), address_of, "{text}");
        }
        for text in ["10.1.0.0/16", "0.0.0.0/0", "10.1.2.3/32", "::/0", "fd00:1::/48", "fd00::1/128"] {
            let range: IpNet = text.parse().unwrap();
            assert_eq!(net(&prefix(&range)), Some(range), "{text}");
        }
    }

    #[test]
    fn network_order() {
        let words = address("10.1.2.3".parse().unwrap());
        assert_eq!(words[2].0.to_ne_bytes(), [0, 0, 255, 255]);
        assert_eq!(words[3].0.to_ne_bytes(), [10, 1, 2, 3]);
        assert_eq!(Be16::from(80).0.to_ne_bytes(), [0, 80]);
    }
}
