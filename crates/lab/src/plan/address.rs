//! Who stands where: locations and hosts are numbered, and the numbers make the addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{ClusterPlan, Host, HostPlan, Location, NatPlan, NodePlan, Plan, slices, wires};
use crate::file::{Lab, LabCluster, LabNode};

/// The most locations a lab can have.
pub const MAX_LOCATIONS: usize = 250;

/// The most nodes and other hosts a location can have.
pub const MAX_HOSTS: usize = 249;

/// The host number of a cluster's controller, on the cluster's first location.
pub const CONTROLLER_HOST: u8 = 250;

/// The host number of a segment's own bridge: everybody's gateway.
pub const GATEWAY_HOST: u8 = 254;

/// The host number of the NAT that a location's nodes share.
pub const NAT_HOST: u8 = 253;

/// Ranges that a lab's clusters cannot have, and what each is for.
pub const RESERVED: [(&str, &str); 12] = [
    ("172.16.0.0/16", "the lab's private segments"),
    ("198.18.0.0/16", "the lab's public addresses"),
    ("fd10::/48", "the lab's private segments"),
    ("2001:db8::/32", "the lab's public addresses"),
    ("0.0.0.0/8", "\"this network\" (RFC 1122)"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("::/8", "special addresses, loopback among them"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast"),
];

/// The addresses of a machine's `eth0`, IPv4 before IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Reached inside the location.
    pub private: Vec<IpNet>,
    /// Reached from everywhere; single addresses. The default routes must prefer them as source (`src`, RTA_PREFSRC):
    /// the underlay drops what comes from a private address, as the Internet would.
    pub public: Vec<IpNet>,
    /// Where its default routes point.
    pub gateways: Vec<IpAddr>,
}

/// Builds the plan of a lab.
pub(super) fn plan(lab: &Lab) -> Plan {
    let mut locations = Vec::new();
    let mut clusters = Vec::new();
    for cluster in &lab.clusters {
        clusters.push(cluster_plan(cluster, &mut locations));
    }
    let wires = wires::between(&locations, &lab.links);
    Plan { clusters, locations, wires }
}

fn cluster_plan(lab: &LabCluster, locations: &mut Vec<Location>) -> ClusterPlan {
    let first = locations.len();
    let mut taken: BTreeMap<u8, u8> = BTreeMap::new();
    let cidrs = slices(lab).expect("the lab file's check has sliced these ranges before");
    let mut nodes = Vec::new();
    let mut place = |segment: &str| {
        let location = locate(lab, segment, first, locations);
        let taken = taken.entry(location).or_default();
        *taken += 1;
        (location, *taken)
    };
    for (node, pod_cidrs) in lab.nodes.iter().zip(cidrs) {
        nodes.push(node_plan(node, place(node.segment()), pod_cidrs));
    }
    // After the nodes, so that a host more changes no node's address.
    let hosts = lab.hosts.iter().map(|beside| {
        let netns = format!("cwh_{}_{}", beside.name.cluster, beside.name.node);
        HostPlan { name: beside.name.clone(), host: host(netns, place(&beside.location)) }
    });
    let hosts = hosts.collect();
    let segment = locations[first].number;
    let name = lab.cluster.name.as_str();
    ClusterPlan {
        cluster: lab.cluster.clone(),
        controller: host(format!("cwc_{name}"), (segment, CONTROLLER_HOST)),
        nodes,
        hosts,
        services: lab.services.clone(),
        policy: lab.policy.clone(),
        mesh: lab.mesh.clone(),
        preshared_keys: lab.preshared_keys,
        masquerade: lab.masquerade,
        upstreams: lab.upstreams.clone(),
        manifests: lab.manifests.clone(),
    }
}

/// The number of the location of this name, made when a machine is the first on it.
fn locate(lab: &LabCluster, name: &str, first: usize, locations: &mut Vec<Location>) -> u8 {
    if let Some(known) = locations[first..].iter().find(|location| location.name == name) {
        return known.number;
    }
    let number = u8::try_from(locations.len() + 1).expect("the lab file's check counts locations");
    let cluster = lab.cluster.name.clone();
    let netns = format!("cwl_{cluster}_{name}");
    let public = vec![
        net(Ipv4Addr::new(198, 18, number, 0).into(), 24),
        net(Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 0).into(), 48),
    ];
    locations.push(Location {
        number,
        cluster,
        name: name.to_string(),
        netns,
        gateways: vec![private_v4(number, GATEWAY_HOST), private_v6(number, GATEWAY_HOST)],
        uplink: vec![public_v4(number, GATEWAY_HOST), public_v6(number, GATEWAY_HOST)],
        public,
    });
    number
}

fn node_plan(node: &LabNode, place: (u8, u8), pod_cidrs: Vec<IpNet>) -> NodePlan {
    let (cluster, name) = (&node.name.cluster, &node.name.node);
    let mut labels = node.labels.clone();
    labels.insert("kubernetes.io/hostname".into(), name.clone());
    labels.insert("topology.kubernetes.io/region".into(), node.topology.region.clone());
    labels.insert("topology.kubernetes.io/zone".into(), node.topology.zone.clone());
    if let Some(location) = &node.location {
        labels.insert("causeway.io/location".into(), location.clone());
    }
    let mut host = host(format!("cwn_{cluster}_{name}"), place);
    if let Some(nat) = node.nat {
        let (location, number) = place;
        let outside = Ipv4Addr::new(198, 18, location, if nat.shared { NAT_HOST } else { number });
        host.addresses.public.clear();
        host.nat = Some(NatPlan { kind: nat.kind, outside });
    }
    NodePlan {
        name: node.name.clone(),
        topology: node.topology.clone(),
        host,
        cgroup: format!("{cluster}/{name}"),
        pod_cidrs,
        labels,
        annotations: node.annotations.clone(),
    }
}

/// A machine with this number on this location.
fn host(netns: String, (location, number): (u8, u8)) -> Host {
    let addresses = Addresses {
        private: vec![private_v4(location, number), private_v6(location, number)],
        public: vec![public_v4(location, number), public_v6(location, number)],
        gateways: vec![private_v4(location, GATEWAY_HOST).addr(), private_v6(location, GATEWAY_HOST).addr()],
    };
    Host { netns, location, number, addresses, nat: None }
}

fn private_v4(location: u8, host: u8) -> IpNet {
    net(Ipv4Addr::new(172, 16, location, host).into(), 24)
}

fn private_v6(location: u8, host: u8) -> IpNet {
    net(Ipv6Addr::new(0xfd10, 0, 0, location.into(), 0, 0, 0, host.into()).into(), 64)
}

fn public_v4(location: u8, host: u8) -> IpNet {
    net(Ipv4Addr::new(198, 18, location, host).into(), 32)
}

fn public_v6(location: u8, host: u8) -> IpNet {
    net(Ipv6Addr::new(0x2001, 0xdb8, location.into(), 0, 0, 0, 0, host.into()).into(), 128)
}

fn net(ip: IpAddr, prefix: u8) -> IpNet {
    IpNet::new(ip, prefix).expect("prefix lengths here are constants within the family's range")
}
