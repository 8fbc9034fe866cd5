//! Ranges of addresses as an interval set has them: where each begins, and where it has ended.

use std::net::IpAddr;

use ipnet::IpNet;

/// A boundary: from this address on, inside (or outside) of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) address: Vec<u8>,
    pub(super) inside: bool,
}

/// The boundaries of the ranges of one family, in order, without overlaps. The first is always there: the kernel's
/// tree wants to know what comes before the first range.
pub(super) fn boundaries(ranges: &[IpNet], v4: bool) -> Vec<Boundary> {
    let (most, octets) = if v4 { (u128::from(u32::MAX), 4) } else { (u128::MAX, 16) };
    let mut spans: Vec<(u128, u128)> = ranges
        .iter()
        .filter(|range| range.addr().is_ipv4() == v4)
        .map(|range| (bits(range.network()), bits(range.broadcast())))
        .collect();
    spans.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in spans {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    let boundary = |at: u128, inside| Boundary { address: at.to_be_bytes()[16 - octets..].to_vec(), inside };
    let mut all = Vec::new();
    if merged.first().is_some_and(|(first, _)| *first > 0) {
        all.push(boundary(0, false));
    }
    for (first, last) in merged {
        all.push(boundary(first, true));
        if last < most {
            all.push(boundary(last + 1, false));
        }
    }
    all
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        type Case<'a> = (&'a [&'a str], bool, &'a [(&'a str, bool)]);
        let cases: [Case<'_>; 6] = [
            (&[], true, &[]),
            (&["10.1.2.0/24"], true, &[("0.0.0.0", false), ("10.1.2.0", true), ("10.1.3.0", false)]),
            (
                // Overlapping, adjacent, in any order.
                &["10.1.4.0/24", "10.1.2.0/23", "10.1.3.0/25", "10.9.0.0/16"],
                true,
                &[
                    ("0.0.0.0", false),
                    ("10.1.2.0", true),
                    ("10.1.5.0", false),
                    ("10.9.0.0", true),
                    ("10.10.0.0", false),
                ],
            ),
            (&["0.0.0.0/0", "10.0.0.0/8"], true, &[("0.0.0.0", true)]),
            (&["240.0.0.0/4", "fd00::/8"], true, &[("0.0.0.0", false), ("240.0.0.0", true)]),
            (
                &["10.0.0.0/8", "fd00::/64"],
                false,
                &[("::", false), ("fd00::", true), ("fd00:0:0:1::", false)],
            ),
        ];
        for (ranges, v4, expected) in cases {
            let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            let expected = expected.iter().map(|(address, inside)| Boundary {
                address: match address.parse().unwrap() {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                },
                inside: *inside,
            });
            assert_eq!(boundaries(&ranges, v4), expected.collect::<Vec<_>>(), "{ranges:?} {v4}");
        }
    }
}
