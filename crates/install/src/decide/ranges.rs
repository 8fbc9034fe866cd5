//! Which ranges a cluster's pods take addresses from.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::facts::{Facts, Flavour};

/// Smaller than this is no cluster's range.
const LEAST_V4: u8 = 16;
const LEAST_V6: u8 = 56;

/// The ranges, where they are known from, and whether that is a guess.
pub(super) fn of_pods(facts: &Facts) -> Option<(Vec<IpNet>, String, bool)> {
    if !facts.pod_cidrs.is_empty() {
        return Some((facts.pod_cidrs.clone(), "the cluster's configuration says so".into(), false));
    }
    let slices: Vec<IpNet> = facts.nodes.iter().flat_map(|node| node.pod_cidrs.clone()).collect();
    let usual: IpNet = "10.42.0.0/16".parse().expect("a range");
    let is_rancher = matches!(facts.flavour, Flavour::K3s | Flavour::Rke2);
    if is_rancher && slices.iter().all(|slice| usual.contains(slice)) {
        return Some((vec![usual], format!("{}'s default", facts.flavour.name()), false));
    }
    let ranges: Vec<IpNet> = [true, false].into_iter().filter_map(|v4| around(&slices, v4)).collect();
    if ranges.is_empty() {
        return None;
    }
    let reason = "the smallest one around what nodes have by now: name the cluster's own if it is larger";
    Some((ranges, reason.into(), true))
}

/// The smallest range around all of a family.
fn around(slices: &[IpNet], v4: bool) -> Option<IpNet> {
    let family = || slices.iter().filter(|slice| slice.addr().is_ipv4() == v4);
    let shortest = family().map(IpNet::prefix_len).min()?;
    let least = shortest.min(if v4 { LEAST_V4 } else { LEAST_V6 });
    let first = family().next()?;
    (0..=least)
        .rev()
        .map(|length| cut(first, length))
        .find(|range| family().all(|slice| range.contains(slice)))
}

/// The range of this length that begins where the other does.
fn cut(net: &IpNet, length: u8) -> IpNet {
    let whole = match net {
        IpNet::V4(net) => Ipv4Net::new(net.addr(), length).map(IpNet::V4),
        IpNet::V6(net) => Ipv6Net::new(net.addr(), length).map(IpNet::V6),
    };
    whole
        .unwrap_or(match net {
            IpNet::V4(_) => Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(),
            IpNet::V6(_) => Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
        })
        .trunc()
}
