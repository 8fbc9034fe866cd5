//! As much of a packet as a wire must know: from, to, and how long it is once it is on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::tun::{Gso, VnetHeader};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet as a device handed it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// What is unfinished about it.
    pub(crate) header: VnetHeader,
    /// From the IP header on.
    pub(crate) bytes: Box<[u8]>,
}

/// What is read from its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// How many packets it is on the wire.
    pub(crate) segments: u32,
    /// How many bytes they are together, each with its headers.
    pub(crate) wire_bytes: u64,
    /// How many of the bytes are headers.
    pub(crate) header_len: u16,
}

/// Reads a packet's headers; nothing when it has none that can be read.
pub(crate) fn facts(header: &VnetHeader, bytes: &[u8]) -> Option<Facts> {
    let (source, destination, protocol, ip_len) = match bytes.first()? >> 4 {
        4 => {
            let ip: &[u8; 20] = bytes.first_chunk()?;
            let at = |i: usize| Ipv4Addr::new(ip[i], ip[i + 1], ip[i + 2], ip[i + 3]);
            (at(12).into(), at(16).into(), ip[9], usize::from(ip[0] & 15) * 4)
        }
        6 => {
            let ip: &[u8; 40] = bytes.first_chunk()?;
            let at = |i: usize| -> Option<IpAddr> {
                let bytes: [u8; 16] = ip[i..i + 16].try_into().ok()?;
                Some(Ipv6Addr::from(bytes).into())
            };
            (at(8)?, at(24)?, ip[6], 40)
        }
        _ => return None,
    };
    let (mut segments, mut wire_bytes, mut header_len) = (1, bytes.len() as u64, ip_len);
    if header.gso != Gso::None && header.gso_size > 0 {
        header_len += match protocol {
            TCP => usize::from(bytes.get(ip_len + 12)? >> 4) * 4,
            UDP => 8,
            _ => 0,
        };
        let payload = bytes.len().checked_sub(header_len)?;
        segments = payload.div_ceil(usize::from(header.gso_size)).max(1) as u32;
        wire_bytes += u64::from(segments - 1) * header_len as u64;
    }
    let header_len = u16::try_from(header_len).ok()?;
    Some(Facts { source, destination, segments, wire_bytes, header_len })
}

impl Facts {
    /// Whether it is talk within a segment, such as a router solicitation, which no router forwards.
    pub(crate) fn is_local_talk(&self) -> bool {
        let local = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast() || ip.is_unspecified(),
            IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unspecified(),
        };
        self.destination.is_multicast() || local(self.source) || local(self.destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, len: usize) -> Vec<u8> {
        let mut packet = vec![0; len];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[198, 18, 1, 1]);
        packet[16..20].copy_from_slice(&[198, 18, 2, 1]);
        packet
    }

    fn v6(next: u8, len: usize) -> Vec<u8> {
        let mut packet = vec![0; len];
        packet[0] = 0x60;
        packet[6] = next;
        let ip = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last).octets();
        packet[8..24].copy_from_slice(&ip(1));
        packet[24..40].copy_from_slice(&ip(2));
        packet
    }

    #[test]
    fn sizes_on_the_wire() {
        let plain = VnetHeader::default();
        let of = |gso, gso_size| VnetHeader { gso, gso_size, ..plain };
        let mut tcp = v4(TCP, 20 + 32 + 2500);
        tcp[20 + 12] = 8 << 4;
        let cases = [
            ("one packet", plain, v4(UDP, 100), 1, 100),
            ("three TCP segments", of(Gso::Tcp4, 1000), tcp, 3, 20 + 32 + 2500 + 2 * 52),
            ("two datagrams", of(Gso::Udp, 1000), v4(UDP, 28 + 2000), 2, 28 + 2000 + 28),
            ("two datagrams of IPv6", of(Gso::Udp, 1000), v6(UDP, 48 + 1001), 2, 48 + 1001 + 48),
        ];
        for (name, header, bytes, segments, wire_bytes) in cases {
            let facts = facts(&header, &bytes).unwrap();
            assert_eq!((facts.segments, facts.wire_bytes), (segments, wire_bytes), "{name}");
        }
    }

    #[test]
    fn what_is_no_packet() {
        let plain = VnetHeader::default();
        let gso = VnetHeader { gso: Gso::Tcp4, gso_size: 1000, ..plain };
        let cases: [(VnetHeader, &[u8]); 5] = [
            (plain, &[]),
            (plain, &[0x45; 19]),
            (plain, &[0x60; 39]),
            (plain, &[0x15; 60]),
            (gso, &v4(TCP, 24)),
        ];
        for (header, bytes) in cases {
            assert_eq!(facts(&header, bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn local_talk() {
        let plain = VnetHeader::default();
        assert!(!facts(&plain, &v6(58, 60)).unwrap().is_local_talk());
        let mut solicitation = v6(58, 60);
        solicitation[24..40].copy_from_slice(&"ff02::2".parse::<Ipv6Addr>().unwrap().octets());
        assert!(facts(&plain, &solicitation).unwrap().is_local_talk());
    }
}
