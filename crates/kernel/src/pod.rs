//! A pod's wire: a veth pair between its namespace and the node's, and the routes and neighbours at both ends.
//!
//! The pod's addresses stand alone (/32, /128); everything goes to a gateway that exists as a neighbour entry only,
//! so nothing is ever asked on the link: no ARP, no neighbour discovery, no duplicate address detection, and the
//! first packet is as quick as the second. Which addresses a pod gets is decided elsewhere.

mod wiring;

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

pub use wiring::Wirer;

use crate::netlink::sysctl::SysctlError;
use crate::netlink::{Mac, Netlink, NetlinkError, PROTOCOL_POD, RouteKind, RouteSpec};
use crate::netns::{Netns, NetnsError};
use crate::shaping::{self, Limit};

/// What every pod takes for its IPv4 gateway.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// What every pod takes for its IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// How the names of the node's ends begin.
pub const HOST_PREFIX: &str = "cw";

/// The metric of the routes to pods and of a pod's default routes.
const METRIC: u32 = 100;

/// Why a pod could not be wired, or is not wired as it should be.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The pod's namespace is not there.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The pod's namespace refuses a setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The pod has such an interface, and it is not ours.
    #[error(
        "the pod at {netns} has an interface {ifname} already: another plugin's, or one left from another run"
    )]
    Taken {
        /// The pod's namespace.
        netns: PathBuf,
        /// The interface.
        ifname: String,
    },
    /// Something is missing.
    #[error("the pod at {netns} is not wired as it should be: {what}; delete it and add it again")]
    Broken {
        /// The pod's namespace.
        netns: PathBuf,
        /// What differs.
        what: String,
    },
}

/// How a pod is to be wired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// The root directory of the machine that knows `netns`: `/`, or what a container sees of the machine.
    pub root: PathBuf,
    /// The pod's network namespace, as the machine calls it.
    pub netns: PathBuf,
    /// The interface in the pod.
    pub ifname: String,
    /// The interface on the node: [`host_ifname`].
    pub host_ifname: String,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// A note on the node's interface, from which a lost state can be put together again.
    pub note: String,
    /// How fast the pod may send and receive.
    pub limits: Limits,
}

/// How fast a pod may send and receive; none: as fast as it can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Limits {
    /// What it receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_pod: Option<Limit>,
    /// What it sends. Kept in the pod's own namespace: a pod with `CAP_NET_ADMIN` can lift it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_pod: Option<Limit>,
}

/// A pod's wire, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wired {
    /// The number of the node's interface.
    pub host_index: u32,
    /// Its Ethernet address: the gateway's.
    pub host_mac: Mac,
    /// The Ethernet address in the pod.
    pub pod_mac: Mac,
}

/// A node's end of a pod's wire, found on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The interface on the node.
    pub host_ifname: String,
    /// Its number.
    pub host_index: u32,
    /// The note it carries.
    pub note: String,
    /// The addresses routed to it.
    pub ips: Vec<IpAddr>,
}

/// The name of the node's end for a container's interface: the same whenever it is asked for.
pub fn host_ifname(container_id: &str, ifname: &str) -> String {
    format!("{HOST_PREFIX}{:010x}", hash(&[container_id, ifname]) & 0xff_ffff_ffff)
}

/// Whether a pod is wired as it should be.
pub async fn check(node: &Netlink, spec: &PodSpec) -> Result<Wired, PodError> {
    let broken = |what: String| PodError::Broken { netns: spec.netns.clone(), what };
    let (host_mac, pod_mac) = macs(&spec.host_ifname);
    let missing = || broken(format!("the node has no interface {}", spec.host_ifname));
    let host = node.link(&spec.host_ifname).await?.ok_or_else(missing)?;
    let netns = spec.open_netns()?;
    let pod_links = Netlink::open_in(&netns)?;
    let missing = || broken(format!("it has no interface {}", spec.ifname));
    let pod = pod_links.link(&spec.ifname).await?.ok_or_else(missing)?;
    for (link, mac) in [(&host, host_mac), (&pod, pod_mac)] {
        if !link.up {
            return Err(broken(format!("interface {} is down", link.name)));
        }
        if link.mac != Some(mac) {
            return Err(broken(format!("interface {} is not the one we made", link.name)));
        }
    }
    if host.peer != Some(pod.index) {
        return Err(broken(format!("{} and {} are not the ends of one wire", host.name, pod.name)));
    }
    let addresses = pod_links.addresses(pod.index).await?;
    let (to_pod, from_pod) = (node.routes(PROTOCOL_POD).await?, pod_links.routes(PROTOCOL_POD).await?);
    for ip in &spec.ips {
        if !addresses.contains(&IpNet::from(*ip)) {
            return Err(broken(format!("it has not the address {ip}")));
        }
        if !to_pod.contains(&route_to(*ip, host.index)) {
            return Err(broken(format!("the node has no route to {ip} through {}", host.name)));
        }
        if !from_pod.contains(&default_route(*ip, pod.index)) {
            return Err(broken(format!("it has no default route for {ip}")));
        }
    }
    for (netlink, link, limit) in
        [(node, &host, spec.limits.to_pod), (&pod_links, &pod, spec.limits.from_pod)]
    {
        if !shaping::is_limited(netlink, link.index, limit).await? {
            return Err(broken(format!(
                "what {} sends is limited otherwise than it was asked for",
                link.name
            )));
        }
    }
    Ok(Wired { host_index: host.index, host_mac, pod_mac })
}

/// Every wire of ours on the node, by the name of its end there.
pub async fn find(node: &Netlink) -> Result<BTreeMap<String, Found>, PodError> {
    let mut ips: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for route in node.routes(PROTOCOL_POD).await? {
        if let RouteKind::Unicast { device, gateway: None } = route.kind {
            ips.entry(device).or_default().push(route.to.addr());
        }
    }
    let links = node.links().await?.into_iter();
    let ours = links.filter(|link| {
        link.kind.as_deref() == Some("veth")
            && link.name.starts_with(HOST_PREFIX)
            && link.mac == Some(macs(&link.name).0)
    });
    let found = ours.map(|link| Found {
        host_index: link.index,
        note: link.alias.unwrap_or_default(),
        ips: ips.remove(&link.index).unwrap_or_default(),
        host_ifname: link.name,
    });
    Ok(found.map(|found| (found.host_ifname.clone(), found)).collect())
}

/// The gateway for addresses of this one's family.
pub fn gateway(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}

impl PodSpec {
    /// The pod's namespace.
    pub fn open_netns(&self) -> Result<Netns, NetnsError> {
        Netns::open_below(&self.root, &self.netns)
    }
}

fn route_to(ip: IpAddr, device: u32) -> RouteSpec {
    let kind = RouteKind::Unicast { device, gateway: None };
    RouteSpec { metric: METRIC, protocol: PROTOCOL_POD, ..RouteSpec::new(IpNet::from(ip), kind) }
}

fn default_route(ip: IpAddr, device: u32) -> RouteSpec {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let to = IpNet::new(any, 0).expect("0 is a prefix length");
    let kind = RouteKind::Unicast { device, gateway: Some(gateway(ip)) };
    RouteSpec { metric: METRIC, protocol: PROTOCOL_POD, ..RouteSpec::new(to, kind) }
}

/// The Ethernet addresses of both ends, the node's first: they follow from the name, so they can be checked.
fn macs(host_ifname: &str) -> (Mac, Mac) {
    (Mac::from_hash(hash(&[host_ifname, "node"])), Mac::from_hash(hash(&[host_ifname, "pod"])))
}

fn hash(parts: &[&str]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff); // in no UTF-8 text
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_fit() {
        let name = host_ifname("0123456789abcdef", "eth0");
        assert_eq!(name, host_ifname("0123456789abcdef", "eth0"));
        assert_eq!(name.len(), 12);
        assert_ne!(name, host_ifname("0123456789abcdef", "eth1"));
        assert_ne!(host_ifname("ab", "c"), host_ifname("a", "bc"));
        let (node, pod) = macs(&name);
        assert_ne!(node, pod);
    }
}
