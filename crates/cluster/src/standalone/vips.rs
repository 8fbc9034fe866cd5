//! Virtual addresses for services, as Kubernetes' API server gives them.
//!
//! A service's address is where the hash of its name falls in the cluster's range, or the next free one behind it: so
//! a folder read afresh mostly finds the same addresses without any memory. What was given is remembered all the
//! same, because of two that fall on one place the earlier must keep it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServiceSpec;
use model::ObjectName;
use siphasher::sip::SipHasher13;

/// The addresses that are given.
#[derive(Debug)]
pub(super) struct Vips {
    ranges: Vec<IpNet>,
    held: BTreeMap<ObjectName, Vec<IpAddr>>,
    owner: BTreeMap<IpAddr, ObjectName>,
    /// Whether something was given or taken since the last [`Vips::take_dirty`].
    dirty: bool,
}

/// Why a service cannot have the addresses it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{ip} is already the address of service {owner}; write another, or none to be given one")]
    Taken { ip: IpAddr, owner: ObjectName },
    #[error(
        "{ip} is not in the cluster's serviceCIDRs ({ranges}); write one that is, or none to be given one"
    )]
    Foreign { ip: IpAddr, ranges: String },
    #[error("the cluster has no {family} serviceCIDR; write another ipFamilies or ipFamilyPolicy")]
    NoFamily { family: Family },
    #[error("every {family} address of the cluster's serviceCIDRs is taken; give the cluster a larger range")]
    Full { family: Family },
    #[error("the cluster has no serviceCIDRs; give it one, or write `clusterIP: None`")]
    NoRanges,
}

/// An address family, named as Kubernetes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Family {
    fn of(ip: &IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Vips {
    pub(super) fn new(ranges: Vec<IpNet>) -> Self {
        Self { ranges, held: BTreeMap::new(), owner: BTreeMap::new(), dirty: false }
    }

    /// Takes up what was given before, as far as it still can be true.
    pub(super) fn restore(&mut self, remembered: BTreeMap<ObjectName, Vec<IpAddr>>) {
        for (name, ips) in remembered {
            let usable =
                ips.into_iter().filter(|ip| self.in_range(ip) && !self.owner.contains_key(ip)).collect();
            self.put(&name, usable);
        }
        self.dirty = false;
    }

    /// Everything that is given.
    pub(super) fn held(&self) -> &BTreeMap<ObjectName, Vec<IpAddr>> {
        &self.held
    }

    /// Whether something changed since this was last asked.
    pub(super) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Forgets whatever is given to a service.
    pub(super) fn release(&mut self, name: &ObjectName) {
        self.put(name, Vec::new());
    }

    /// Fills in what Kubernetes' API server would: families and addresses, asked for or given.
    pub(super) fn settle(&mut self, name: &ObjectName, spec: &mut ServiceSpec) -> Result<(), Refused> {
        if spec.type_.as_deref() == Some("ExternalName") {
            self.release(name);
            return Ok(());
        }
        let asked: Vec<IpAddr> = spec
            .cluster_ips
            .iter()
            .flatten()
            .chain(&spec.cluster_ip)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        let families = self.families(spec, &asked)?;
        spec.ip_families = Some(families.iter().map(ToString::to_string).collect());
        if spec.cluster_ip.as_deref() == Some("None") {
            self.release(name);
            return Ok(());
        }
        let held = self.held.get(name).cloned().unwrap_or_default();
        let mut ips = Vec::with_capacity(families.len());
        for family in families {
            let of_family = |ips: &[IpAddr]| ips.iter().copied().find(|ip| Family::of(ip) == family);
            ips.push(match (of_family(&asked), of_family(&held)) {
                (Some(ip), _) => self.check(name, ip)?,
                (None, Some(ip)) => ip,
                (None, None) => self.allocate(name, family)?,
            });
        }
        spec.cluster_ip = ips.first().map(ToString::to_string);
        spec.cluster_ips = Some(ips.iter().map(ToString::to_string).collect());
        self.put(name, ips);
        Ok(())
    }

    /// The families a service has: what it asks for, else all that the cluster has.
    fn families(&self, spec: &ServiceSpec, asked: &[IpAddr]) -> Result<Vec<Family>, Refused> {
        let mut cluster: Vec<Family> = Vec::new();
        for range in &self.ranges {
            push_new(&mut cluster, Family::of(&range.addr()));
        }
        let mut families: Vec<Family> = Vec::new();
        let named = |family: &String| if family == "IPv6" { Family::V6 } else { Family::V4 };
        let listed = spec.ip_families.iter().flatten().map(named);
        listed.chain(asked.iter().map(Family::of)).for_each(|family| push_new(&mut families, family));
        match (spec.ip_family_policy.as_deref(), families.is_empty()) {
            (Some("SingleStack"), true) => families.extend(cluster.first()),
            (Some("SingleStack"), false) => families.truncate(1),
            (Some("RequireDualStack"), _) => {
                [Family::V4, Family::V6].into_iter().for_each(|f| push_new(&mut families, f))
            }
            (Some(_), _) | (None, true) => cluster.iter().for_each(|family| push_new(&mut families, *family)),
            (None, false) => {}
        }
        if families.is_empty() && spec.cluster_ip.as_deref() != Some("None") {
            return Err(Refused::NoRanges);
        }
        match families.iter().find(|family| !cluster.contains(family)) {
            Some(&family) => Err(Refused::NoFamily { family }),
            None => Ok(families),
        }
    }

    fn in_range(&self, ip: &IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(ip))
    }

    fn check(&self, name: &ObjectName, ip: IpAddr) -> Result<IpAddr, Refused> {
        if !self.in_range(&ip) {
            let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
            return Err(Refused::Foreign { ip, ranges: ranges.join(", ") });
        }
        match self.owner.get(&ip) {
            Some(owner) if owner != name => Err(Refused::Taken { ip, owner: owner.clone() }),
            _ => Ok(ip),
        }
    }

    /// A free address: out of the upper part of a range first, which leaves the lower to those that ask for one
    /// (Kubernetes does the same).
    fn allocate(&self, name: &ObjectName, family: Family) -> Result<IpAddr, Refused> {
        let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x7669_7073);
        (name.namespace.as_str(), name.name.as_str()).hash(&mut hasher);
        let hash = u128::from(hasher.finish());
        for range in self.ranges.iter().filter(|range| Family::of(&range.addr()) == family) {
            let (base, first, end) = bounds(range);
            let lower = (end / 16).clamp(16, 256).min(end);
            for (from, to) in [(lower.max(first), end), (first, lower)] {
                // More places than are taken need not be tried.
                let tries = to.saturating_sub(from).min(self.owner.len() as u128 + 1);
                let places = (0..tries).map(|n| from + (hash + n) % (to - from));
                let ip = |place: u128| match family {
                    Family::V4 => IpAddr::V4(((base + place) as u32).into()),
                    Family::V6 => IpAddr::V6((base + place).into()),
                };
                if let Some(free) = places.map(ip).find(|ip| !self.owner.contains_key(ip)) {
                    return Ok(free);
                }
            }
        }
        Err(Refused::Full { family })
    }

    fn put(&mut self, name: &ObjectName, ips: Vec<IpAddr>) {
        if self.held.get(name).map(Vec::as_slice).unwrap_or_default() == ips {
            return;
        }
        self.dirty = true;
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

fn push_new(families: &mut Vec<Family>, family: Family) {
    if !families.contains(&family) {
        families.push(family);
    }
}

/// The first address of a range as a number, and the half-open span of places in it that a service can have: not the
/// network's own, nor IPv4's broadcast.
fn bounds(range: &IpNet) -> (u128, u128, u128) {
    let (base, bits) = match range.network() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    // A range of more than 2^64 is as good as one of 2^64: the hash reaches no further.
    let size = 1u128 << (bits - range.prefix_len()).min(64);
    let end = if bits == 32 { size.saturating_sub(1) } else { size };
    (base, 1.min(end), end)
}

#[cfg(test)]
mod tests;
