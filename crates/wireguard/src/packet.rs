//! The little that WireGuard must know of the packets it carries: who they are from, who they are for, how long they
//! are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an IP packet is going; none if it is no IP packet.
#[inline]
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 16, 24)
}

/// Where an IP packet says it comes from; none if it is no IP packet.
#[inline]
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 12, 8)
}

/// How long the IP header says the packet is; none if it is no IP packet or says less than a header.
#[inline]
pub fn packet_len(packet: &[u8]) -> Option<usize> {
    let number = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some(number(2)).filter(|len| *len >= 20),
        6 if packet.len() >= 40 => Some(number(4) + 40),
        _ => None,
    }
}

/// The source and destination ports of a UDP datagram whose header follows a plain IP header directly, and which is no
/// later fragment.
#[inline]
pub fn udp_ports(packet: &[u8]) -> Option<(u16, u16)> {
    let transport = match packet.first()? >> 4 {
        4 if packet.len() >= 20 && packet[9] == 17 && packet[6] & 0x1f == 0 && packet[7] == 0 => {
            usize::from(packet[0] & 15) * 4
        }
        6 if packet.len() >= 40 && packet[6] == 17 => 40,
        _ => return None,
    };
    let ports = packet.get(transport..transport + 4)?;
    Some((u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])))
}

#[inline]
fn address(packet: &[u8], v4: usize, v6: usize) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let bytes: [u8; 4] = packet[v4..v4 + 4].try_into().expect("4 bytes");
            Some(Ipv4Addr::from(bytes).into())
        }
        6 if packet.len() >= 40 => {
            let bytes: [u8; 16] = packet[v6..v6 + 16].try_into().expect("16 bytes");
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_and_lengths() {
        let mut v4 = [0u8; 28];
        v4[0] = 0x45;
        v4[3] = 28;
        v4[12..16].copy_from_slice(&[10, 0, 0, 1]);
        v4[16..20].copy_from_slice(&[10, 0, 0, 2]);
        assert_eq!(source(&v4), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(destination(&v4), Some("10.0.0.2".parse().unwrap()));
        assert_eq!(packet_len(&v4), Some(28));
        v4[3] = 19;
        assert_eq!(packet_len(&v4), None);

        let mut v6 = [0u8; 48];
        v6[0] = 0x60;
        v6[5] = 8;
        v6[23] = 1;
        v6[39] = 2;
        assert_eq!(source(&v6), Some("::1".parse().unwrap()));
        assert_eq!(destination(&v6), Some("::2".parse().unwrap()));
        assert_eq!(packet_len(&v6), Some(48));
        v4[3] = 28;
        assert_eq!((udp_ports(&v4), udp_ports(&v6)), (None, None));
        (v4[9], v6[6]) = (17, 17);
        (v4[21], v4[23], v6[41], v6[43]) = (7, 9, 5, 6);
        assert_eq!((udp_ports(&v4), udp_ports(&v6)), (Some((7, 9)), Some((5, 6))));
        v4[7] = 1;
        assert_eq!((udp_ports(&v4), udp_ports(&v6[..43])), (None, None));
        assert_eq!(destination(&v6[..39]), None);
        assert_eq!(destination(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (source(&bytes), destination(&bytes), packet_len(&bytes), udp_ports(&bytes));
        }
    }
}
