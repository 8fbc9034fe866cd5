//! The names of addresses: `in-addr.arpa` (RFC 1035 §3.5) and `ip6.arpa` (RFC 3596 §2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that a name, as a message carries it in lower case, stands for.
pub(super) fn address(name: &[u8]) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(b"\x07in-addr\x04arpa\x00") {
        return v4(labels).map(IpAddr::V4);
    }
    v6(name.strip_suffix(b"\x03ip6\x04arpa\x00")?).map(IpAddr::V6)
}

/// Four decimal labels, the last octet first.
fn v4(mut labels: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for octet in octets.iter_mut().rev() {
        let (length, rest) = labels.split_first()?;
        let label = rest.get(..usize::from(*length))?;
        *octet = std::str::from_utf8(label).ok()?.parse().ok()?;
        labels = &rest[label.len()..];
    }
    labels.is_empty().then(|| octets.into())
}

/// Thirty-two labels of one hexadecimal digit, the last one first.
fn v6(labels: &[u8]) -> Option<Ipv6Addr> {
    if labels.len() != 64 {
        return None;
    }
    let mut octets = [0u8; 16];
    for (place, label) in labels.chunks_exact(2).enumerate() {
        let digit = char::from(label[1]).to_digit(16).filter(|_| label[0] == 1)?;
        let digit = u8::try_from(digit).expect("a hexadecimal digit");
        octets[15 - place / 2] |= if place % 2 == 0 { digit } else { digit << 4 };
    }
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Name;

    #[test]
    fn both_families() {
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.ip6.arpa";
        for (text, want) in [
            ("7.3.101.10.in-addr.arpa", Some("10.101.3.7")),
            (nibbles, Some("fd00:2::1")),
            ("3.101.10.in-addr.arpa", None),
            ("1.7.3.101.10.in-addr.arpa", None),
            ("256.3.101.10.in-addr.arpa", None),
            (&nibbles[2..], None),
            (&nibbles.replace("d.f.ip6", "g.f.ip6"), None),
            ("a.b", None),
        ] {
            let name: Name = text.parse().unwrap();
            assert_eq!(address(name.as_bytes()), want.map(|ip| ip.parse().unwrap()), "{text}");
        }
    }
}
