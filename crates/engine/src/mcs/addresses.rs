//! Clusterset IPs: one a family for each import of the cluster, the same for as long as the import lives.
//!
//! An address is where the hash of the name falls in the range, or the next free one behind it: forgotten, it is mostly
//! found again. What is given is remembered all the same, because of two that fall on one place the earlier keeps it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use model::ObjectName;
use siphasher::sip::SipHasher13;

/// Every address of a family is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "every {} address of the cluster's clusterset ranges ({}) is taken; add a range to cluster.clustersetCIDRs",
    if *ipv6 { "IPv6" } else { "IPv4" },
    super::list(ranges)
)]
pub struct Exhausted {
    /// Whether it is IPv6 that there is no more of.
    pub ipv6: bool,
    /// The ranges that are full.
    pub ranges: Vec<IpNet>,
}

/// The addresses that are given.
#[derive(Debug)]
pub(super) struct Addresses {
    ranges: Vec<IpNet>,
    held: BTreeMap<ObjectName, Vec<IpAddr>>,
    owner: BTreeMap<IpAddr, ObjectName>,
}

impl Addresses {
    pub(super) fn new(ranges: Vec<IpNet>) -> Self {
        Self { ranges, held: BTreeMap::new(), owner: BTreeMap::new() }
    }

    pub(super) fn ranges(&self) -> &[IpNet] {
        &self.ranges
    }

    pub(super) fn held(&self) -> &BTreeMap<ObjectName, Vec<IpAddr>> {
        &self.held
    }

    /// Those of these families that the ranges have; where nobody said any, all that the ranges have.
    pub(super) fn families(&self, wanted: &[bool]) -> Vec<bool> {
        let mut all: Vec<bool> = Vec::new();
        for range in &self.ranges {
            let ipv6 = range.addr().is_ipv6();
            if !all.contains(&ipv6) {
                all.push(ipv6);
            }
        }
        if wanted.is_empty() { all } else { wanted.iter().copied().filter(|f| all.contains(f)).collect() }
    }

    /// Takes up what was given before, as far as it can still be true. Returns whether anything is different.
    pub(super) fn restore(&mut self, name: &ObjectName, ips: &[IpAddr]) -> bool {
        let free = |ip: &&IpAddr| {
            self.ranges.iter().any(|range| usable(range, **ip))
                && self.owner.get(*ip).is_none_or(|owner| owner == name)
        };
        let usable: Vec<IpAddr> = ips.iter().filter(free).copied().collect();
        if usable.is_empty() || self.held.get(name) == Some(&usable) {
            return false;
        }
        self.put(name, usable);
        true
    }

    /// The addresses of an import that has these families, in their order, and of which of them none is left.
    pub(super) fn settle(
        &mut self,
        name: &ObjectName,
        families: &[bool],
    ) -> (Vec<IpAddr>, Option<Exhausted>) {
        let held = self.held.get(name).cloned().unwrap_or_default();
        let (mut ips, mut missing) = (Vec::with_capacity(families.len()), None);
        for ipv6 in families {
            match held.iter().find(|ip| ip.is_ipv6() == *ipv6).copied().or_else(|| self.free(name, *ipv6)) {
                Some(ip) => ips.push(ip),
                None => {
                    let of_family = |range: &&IpNet| range.addr().is_ipv6() == *ipv6;
                    let ranges = self.ranges.iter().filter(of_family).copied().collect();
                    missing = Some(Exhausted { ipv6: *ipv6, ranges });
                }
            }
        }
        self.put(name, ips.clone());
        (ips, missing)
    }

    /// Forgets what is given to an import. Returns whether anything was.
    pub(super) fn release(&mut self, name: &ObjectName) -> bool {
        let had = self.held.contains_key(name);
        self.put(name, Vec::new());
        had
    }

    fn free(&self, name: &ObjectName, ipv6: bool) -> Option<IpAddr> {
        let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x6d63_7300);
        name.hash(&mut hasher);
        let hash = u128::from(hasher.finish());
        self.ranges.iter().filter(|range| range.addr().is_ipv6() == ipv6).find_map(|range| {
            let size = size(range);
            // Of as many places as there are addresses given, and one more, one is free.
            let tries = size.min(self.owner.len() as u128 + 3);
            let mut places = (0..tries).map(|n| at(range, (hash + n) % size));
            places.find(|ip| usable(range, *ip) && !self.owner.contains_key(ip))
        })
    }

    fn put(&mut self, name: &ObjectName, ips: Vec<IpAddr>) {
        for ip in self.held.remove(name).unwrap_or_default() {
            self.owner.remove(&ip);
        }
        for ip in &ips {
            self.owner.insert(*ip, name.clone());
        }
        if !ips.is_empty() {
            self.held.insert(name.clone(), ips);
        }
    }
}

/// How many addresses a range has; for the largest as many as can be counted.
fn size(range: &IpNet) -> u128 {
    1u128.checked_shl(u32::from(range.max_prefix_len() - range.prefix_len())).unwrap_or(u128::MAX)
}

fn at(range: &IpNet, place: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(first) => {
            IpAddr::from((u32::from(first) | u32::try_from(place).expect("within the range")).to_be_bytes())
        }
        IpAddr::V6(first) => IpAddr::from((u128::from(first) | place).to_be_bytes()),
    }
}

/// Whether an address of the range may be anybody's: neither the network's own nor, in IPv4, the broadcast one.
fn usable(range: &IpNet, ip: IpAddr) -> bool {
    let whole = range.prefix_len() + 2 > range.max_prefix_len();
    range.contains(&ip) && (whole || (ip != range.network() && (ip.is_ipv6() || ip != range.broadcast())))
}
