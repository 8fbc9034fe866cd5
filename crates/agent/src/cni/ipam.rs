//! Which addresses a new pod gets. Plain functions over plain values.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// How many addresses of a range are ever used: all of any IPv4 range in practice, the first of an IPv6 /64.
const USED_OF_RANGE: usize = 65_534;

/// One address of each family that `ranges` have, or the ranges of a family with none left. Addresses that nobody
/// had come first; when there are none, those that were freed longest ago (`freed` is oldest first), so that what
/// still speaks to a dead pod's address is not answered by another pod at once.
pub fn choose(
    ranges: &[IpNet],
    used: &BTreeSet<IpAddr>,
    freed: &[IpAddr],
) -> Result<Vec<IpAddr>, Vec<IpNet>> {
    let recent: BTreeSet<IpAddr> = freed.iter().copied().collect();
    let mut chosen = Vec::new();
    for v4 in [true, false] {
        let family: Vec<IpNet> = ranges.iter().copied().filter(|net| net.addr().is_ipv4() == v4).collect();
        if family.is_empty() {
            continue;
        }
        let fresh = family.iter().flat_map(usable).find(|ip| !used.contains(ip) && !recent.contains(ip));
        let again = || {
            freed
                .iter()
                .copied()
                .find(|ip| !used.contains(ip) && family.iter().any(|net| is_usable(net, *ip)))
        };
        chosen.push(fresh.or_else(again).ok_or(family)?);
    }
    Ok(chosen)
}

/// The addresses of a range that pods may have: not the network's own (IPv6: the subnet-router anycast address), not
/// the node's (the first usable one, [`model::Node::mesh_ips`]), not the broadcast address.
fn usable(range: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let network = range.network();
    let v6 = range.addr().is_ipv6();
    range.hosts().filter(move |ip| !(v6 && *ip == network)).skip(1).take(USED_OF_RANGE)
}

fn is_usable(range: &IpNet, ip: IpAddr) -> bool {
    if !range.contains(&ip) {
        return false;
    }
    let offset = match (range.network(), ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => u128::from(u32::from(ip) - u32::from(network)),
        (IpAddr::V6(network), IpAddr::V6(ip)) => u128::from(ip) - u128::from(network),
        _ => return false,
    };
    // A range this small counts its first address as usable (RFC 3021); the node has it.
    let first = if range.prefix_len() + 1 >= range.max_prefix_len() && ip.is_ipv4() { 1 } else { 2 };
    let broadcast = ip.is_ipv4() && first == 2 && ip == range.broadcast();
    offset >= first && !broadcast && offset < first + USED_OF_RANGE as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn table() {
        let dual: &'static [&str] = &["10.1.2.0/24", "fd00:1:0:2::/64"];
        type Texts = &'static [&'static str];
        let cases: [(Texts, Texts, Texts, Result<Texts, Texts>); 12] = [
            (dual, &[], &[], Ok(&["10.1.2.2", "fd00:1:0:2::2"])),
            (dual, &["10.1.2.2", "10.1.2.4"], &[], Ok(&["10.1.2.3", "fd00:1:0:2::2"])),
            (dual, &[], &["10.1.2.2", "fd00:1:0:2::2"], Ok(&["10.1.2.3", "fd00:1:0:2::3"])),
            (&["10.1.2.0/30"], &[], &[], Ok(&["10.1.2.2"])),
            (&["10.1.2.0/30"], &["10.1.2.2"], &[], Err(&["10.1.2.0/30"])),
            // Freed ones again, the oldest first; never one in use or outside.
            (
                &["10.1.2.0/29"],
                &["10.1.2.2", "10.1.2.3"],
                &["10.9.9.9", "10.1.2.6", "10.1.2.5", "10.1.2.4"],
                Ok(&["10.1.2.6"]),
            ),
            (
                &["10.1.2.0/29"],
                &["10.1.2.2", "10.1.2.3", "10.1.2.6"],
                &["10.1.2.6", "10.1.2.5", "10.1.2.4"],
                Ok(&["10.1.2.5"]),
            ),
            (&["10.1.2.0/30"], &["10.1.2.2"], &["10.1.2.1", "10.1.2.0", "10.1.2.3"], Err(&["10.1.2.0/30"])),
            (&["10.1.2.0/31"], &[], &[], Ok(&["10.1.2.1"])),
            (&["10.1.2.0/32"], &[], &["10.1.2.0"], Err(&["10.1.2.0/32"])),
            // A second range of a family is for when the first is full.
            (&["10.1.2.0/30", "10.1.4.0/24"], &["10.1.2.2"], &[], Ok(&["10.1.4.2"])),
            (&["10.1.2.0/24", "fd00::/127"], &[], &[], Err(&["fd00::/127"])),
        ];
        for (ranges, used, freed, expected) in cases {
            let used: BTreeSet<IpAddr> = ips(used).into_iter().collect();
            let found = choose(&nets(ranges), &used, &ips(freed));
            assert_eq!(found, expected.map(ips).map_err(nets), "{ranges:?} {used:?} {freed:?}");
        }
    }

    #[test]
    fn a_whole_range_once_and_then_again() {
        let ranges = nets(&["10.1.2.0/24"]);
        let mut used = BTreeSet::new();
        while let Ok(chosen) = choose(&ranges, &used, &[]) {
            assert!(used.insert(chosen[0]), "{chosen:?} twice");
            assert!(is_usable(&ranges[0], chosen[0]));
        }
        assert_eq!(used.len(), 253, "not the network's, the node's and the broadcast address");
        let freed: Vec<IpAddr> = used.iter().rev().copied().collect();
        assert_eq!(choose(&ranges, &BTreeSet::new(), &freed), Ok(vec!["10.1.2.254".parse().unwrap()]));
    }

    #[test]
    fn usable_and_is_usable_agree() {
        for range in nets(&[
            "10.1.2.0/24",
            "10.1.2.0/31",
            "10.1.2.0/32",
            "10.1.2.0/29",
            "fd00::/120",
            "fd00::/127",
            "fd00::/128",
        ]) {
            let all: BTreeSet<IpAddr> = usable(&range).collect();
            let every = match range {
                IpNet::V4(net) => (u32::from(net.network())..=u32::from(net.broadcast()))
                    .map(|ip| IpAddr::V4(ip.into()))
                    .collect::<Vec<_>>(),
                IpNet::V6(net) => (u128::from(net.network())..=u128::from(net.broadcast()))
                    .map(|ip| IpAddr::V6(ip.into()))
                    .collect(),
            };
            for ip in every {
                assert_eq!(is_usable(&range, ip), all.contains(&ip), "{ip} of {range}");
            }
        }
    }
}
