//! What services get as they ask for it although it is hardly meant so. A plan does not depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{ClusterName, Endpoint, Hints, Port, Protocol};

use super::offer::{Dialled, Offer};
use super::standpoint::Standpoint;

/// Something that is carried out as it is written, and hardly meant so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A virtual address that a pod may have.
    VirtualAddress {
        /// The address.
        ip: IpAddr,
        /// The range it is in.
        range: IpNet,
        /// Whose pods have it.
        cluster: ClusterName,
    },
    /// Nobody answers in a family that the service has.
    Family {
        /// The address at which it is refused.
        ip: IpAddr,
    },
    /// Hints for zones in which the cluster has no node.
    Zones {
        /// Which.
        zones: Vec<String>,
        /// So many endpoints have no other.
        endpoints: usize,
    },
    /// An address of a load balancer that nobody outside may dial.
    Sources {
        /// Which.
        ip: IpAddr,
    },
    /// Backends that fail connects and stay, because too many do.
    Failing {
        /// How many.
        backends: usize,
    },
    /// A port of a protocol whose ports are not exchanged, and endpoints that listen at others.
    Ports {
        /// The port that is dialled.
        port: Port,
        /// Which protocol.
        protocol: Protocol,
        /// Where endpoints listen.
        targets: BTreeSet<Port>,
    },
}

impl Doubt {
    /// In one word, as Kubernetes' Events have it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::VirtualAddress { .. } => "AddressOfPods",
            Self::Family { .. } => "NoEndpointOfFamily",
            Self::Zones { .. } => "HintsForNoZone",
            Self::Sources { .. } => "NobodyMayDial",
            Self::Failing { .. } => "BackendsFail",
            Self::Ports { .. } => "PortsDiffer",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualAddress { ip, range, cluster } => write!(
                f,
                "its address {ip} is inside {range}, a pod range of cluster {cluster}: it is served, and a pod with \
                 this address is not reached at its ports; give services a range of their own"
            ),
            Self::Family { ip } => {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                write!(
                    f,
                    "none of its endpoints has an {family} address: connections to {ip} are refused; give its pods \
                     one, or take the family out of ipFamilies"
                )
            }
            Self::Zones { zones, endpoints } => write!(
                f,
                "{endpoints} of its endpoints are hinted to {} alone, where the cluster has no node: nobody is near \
                 them; look at the nodes' topology.kubernetes.io/zone, or at whoever writes the hints",
                zones.join(", ")
            ),
            Self::Sources { ip } => {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                write!(
                    f,
                    "its loadBalancerSourceRanges have no range of {family} that can be used: nobody outside may dial \
                     {ip}; write one ({}), or take all of them away",
                    if ip.is_ipv4() { "0.0.0.0/0 for everybody" } else { "::/0 for everybody" }
                )
            }
            Self::Failing { backends } => write!(
                f,
                "{backends} of its ready backends fail connects from this node and stay in rotation, for no more than \
                 half of those that are ready are ejected: look at its pods, at policies and firewalls before them, or at \
                 the way from this node"
            ),
            Self::Ports { port, protocol, targets } => {
                let targets: Vec<_> = targets.iter().map(Port::to_string).collect();
                write!(
                    f,
                    "port {port}/{protocol}: endpoints listen at {}, and the checksum of {protocol} covers ports, which \
                     are not exchanged: nobody is led to them there; have them listen at the port that is dialled",
                    targets.join(", ")
                )
            }
        }
    }
}

/// All of them, of one service.
pub(super) fn doubts(
    standpoint: &Standpoint<'_>,
    offer: Offer<'_>,
    frontends: &[Dialled<'_>],
    sources: &[&Endpoint],
) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let served = |ip: &&IpAddr| frontends.iter().any(|frontend| frontend.dialled.ip == **ip);
    for ip in offer.vips().iter().filter(served) {
        if let Some((cluster, range)) = standpoint.pod_range(*ip) {
            doubts.push(Doubt::VirtualAddress { ip: *ip, range, cluster: cluster.clone() });
        }
        let answers = |endpoint: &&Endpoint| endpoint.ips.iter().any(|its| its.is_ipv4() == ip.is_ipv4());
        if !sources.is_empty() && !sources.iter().any(answers) {
            doubts.push(Doubt::Family { ip: *ip });
        }
    }
    let known: BTreeSet<&str> = {
        let nodes = standpoint.world.nodes.values().filter(|node| node.name.cluster == standpoint.me.cluster);
        nodes.map(|node| node.topology.zone.as_str()).collect()
    };
    let (mut zones, mut endpoints) = (BTreeSet::new(), 0);
    let own = sources.iter().filter(|endpoint| endpoint.key.service.cluster == standpoint.me.cluster);
    for endpoint in own.filter(|endpoint| endpoint.ready) {
        if let Hints::Given { zones: hinted, nodes: _ } = &endpoint.hints
            && !hinted.is_empty()
            && !hinted.iter().any(|zone| known.contains(zone.as_str()))
        {
            endpoints += 1;
            zones.extend(hinted);
        }
    }
    if endpoints > 0 {
        doubts.push(Doubt::Zones { zones: zones.into_iter().cloned().collect(), endpoints });
    }
    if let Offer::Service(service) = offer
        && let Some(ranges) = &service.access.source_ranges
    {
        let of_family = |ip: &IpAddr| ranges.iter().any(|range| range.addr().is_ipv4() == ip.is_ipv4());
        let balanced = service.access.load_balancer_ips.iter().filter(served);
        doubts.extend(balanced.filter(|ip| !of_family(ip)).map(|ip| Doubt::Sources { ip: *ip }));
    }
    doubts.extend(ports(standpoint, offer, frontends, sources));
    doubts
}

/// Ports of SCTP at which endpoints are dialled that listen at others.
fn ports(
    standpoint: &Standpoint<'_>,
    offer: Offer<'_>,
    frontends: &[Dialled<'_>],
    sources: &[&Endpoint],
) -> impl Iterator<Item = Doubt> {
    let protocol = Protocol::Sctp;
    let mut found: BTreeMap<Port, BTreeSet<Port>> = BTreeMap::new();
    for Dialled { dialled, port, .. } in frontends.iter().filter(|one| one.dialled.protocol == protocol) {
        let targets = sources.iter().filter_map(|endpoint| offer.target(standpoint.world, port, endpoint));
        found.entry(dialled.port).or_default().extend(targets.filter(|target| *target != dialled.port));
    }
    let found = found.into_iter().filter(|(_, targets)| !targets.is_empty());
    found.map(move |(port, targets)| Doubt::Ports { port, protocol, targets })
}
