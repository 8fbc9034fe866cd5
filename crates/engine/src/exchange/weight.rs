//! How much an object takes on the wire.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::policy::{
    NamespaceChoice, NamespaceName, Operator, PodSelector, PolicyPeer, PolicyPort, PolicyRule, PolicySubject,
    Selector,
};
use model::{
    Access, Gateways, Hints, NodeName, Object, Peer, PeerHost, Prefer, ServiceKey, ServicePort, Terms,
    Traffic,
};

/// Bytes for a field's tag and length, and for the numbers that have no size of their own here.
const FIELD: usize = 8;

/// An upper bound of the object's encoded size, cheap to compute: batches are cut by it.
pub fn weight(object: &Object) -> usize {
    FIELD * 4
        + match object {
            Object::Cluster(c) => {
                let ranges = [&c.pod_cidrs, &c.service_cidrs, &c.clusterset_cidrs, &c.peer_cidrs];
                text(c.name.as_str()) + FIELD + ranges.map(|ranges| nets(ranges)).iter().sum::<usize>()
            }
            Object::Node(n) => {
                node(&n.name)
                    + text(&n.topology.provider)
                    + text(&n.topology.region)
                    + text(&n.topology.zone)
                    + text(&n.location)
                    + ips(&n.private_ips)
                    + ips(&n.public_ips)
                    + nets(&n.pod_cidrs)
                    + words(&n.labels)
                    + n.mesh.endpoint.as_ref().map_or(0, |e| text(&e.to_string()))
                    + nets(&n.mesh.allowed_location_ips)
                    + 32
                    + 3 * FIELD
            }
            Object::Peer(p) => peer(p),
            Object::Policy(p) => {
                let rules = p.ingress.iter().chain(&p.egress).flatten();
                text(p.name.cluster.as_str())
                    + text(&p.name.namespace)
                    + text(&p.name.name)
                    + subject(&p.subject)
                    + rules.map(rule).sum::<usize>()
                    + 8 * FIELD
            }
            Object::Namespace(n) => namespace(&n.name) + words(&n.labels) + FIELD,
            Object::Pod(p) => {
                let ports: usize = p.ports.iter().map(|p| text(&p.name) + 3 * FIELD).sum();
                namespace(&p.name.namespace)
                    + text(&p.name.name)
                    + ips(&p.ips)
                    + p.node.as_ref().map_or(0, node)
                    + words(&p.labels)
                    + ports
            }
            Object::Service(s) => {
                let export = s.export.as_ref().map_or(0, |export| 2 * FIELD + terms(&export.terms));
                service(&s.key)
                    + ips(&s.vips)
                    + ports(&s.ports)
                    + traffic(&s.traffic)
                    + access(&s.access)
                    + export
                    + 3 * FIELD
            }
            Object::Import(i) => {
                let clusters: usize = i.clusters.iter().map(|name| text(name.as_str())).sum();
                let rest = terms(&i.terms) + traffic(&i.traffic) + clusters;
                service(&i.key) + ips(&i.vips) + ports(&i.ports) + rest
            }
            Object::Endpoint(e) => {
                let ports: usize = e.ports.iter().map(|p| text(&p.name) + 3 * FIELD).sum();
                service(&e.key.service)
                    + text(&e.key.name)
                    + ips(&e.ips)
                    + ports
                    + words(&e.labels)
                    + text(&e.hostname)
                    + e.node.as_ref().map_or(0, node)
                    + hints(&e.hints)
                    + 5 * FIELD
            }
        }
}

fn peer(peer: &Peer) -> usize {
    let gateways = match &peer.gateways {
        Gateways::All => 0,
        Gateways::Named(nodes) => nodes.iter().map(|node| text(node)).sum(),
    };
    let endpoint = peer.endpoint.as_ref().map_or(0, |endpoint| match &endpoint.host {
        PeerHost::Ip(_) => 16 + 3 * FIELD,
        PeerHost::Dns(name) => text(name) + 2 * FIELD,
    });
    text(peer.name.cluster.as_str())
        + text(&peer.name.peer)
        + nets(&peer.allowed_ips)
        + gateways
        + peer.allow.len() * (16 + 3 * FIELD)
        + endpoint
        + words(&peer.labels)
        + 2 * 32
        + 8 * FIELD
}

fn namespace(name: &NamespaceName) -> usize {
    text(name.cluster.as_str()) + text(&name.name) + FIELD
}

fn rule(rule: &PolicyRule) -> usize {
    let peers = rule.peers.iter().flatten().map(|peer| {
        2 * FIELD
            + match peer {
                PolicyPeer::Pods(some) => pods(some),
                PolicyPeer::Networks { ranges, except } => packed(ranges) + packed(except) + 4 * FIELD,
                PolicyPeer::Nodes(nodes) => selector(nodes),
                PolicyPeer::DomainNames(names) => names.iter().map(|name| text(name)).sum(),
                PolicyPeer::Entity(_) => FIELD,
            }
    });
    let ports = rule.ports.iter().flatten().map(|port| {
        4 * FIELD
            + match port {
                PolicyPort::Named { name, .. } => text(name),
                PolicyPort::Ports { .. } | PolicyPort::Icmp { .. } => FIELD,
            }
    });
    text(&rule.path) + text(&rule.name) + 4 * FIELD + peers.sum::<usize>() + ports.sum::<usize>()
}

fn subject(subject: &PolicySubject) -> usize {
    match subject {
        PolicySubject::Pods(its) => pods(its),
        PolicySubject::Nodes(nodes) => selector(nodes),
    }
}

fn pods(pods: &PodSelector) -> usize {
    let namespaces = match &pods.namespaces {
        NamespaceChoice::Named(name) => text(name),
        NamespaceChoice::Selected(namespaces) => selector(namespaces),
    };
    2 * FIELD + namespaces + selector(&pods.pods)
}

fn selector(selector: &Selector) -> usize {
    let requirements = selector.requirements.iter().map(|requirement| {
        let values = match &requirement.operator {
            Operator::In(values) | Operator::NotIn(values) => values.iter().map(|value| text(value)).sum(),
            Operator::Exists | Operator::DoesNotExist => 0,
        };
        text(&requirement.key) + 2 * FIELD + values
    });
    FIELD + requirements.sum::<usize>()
}

/// Ranges as policies have them: address and length.
fn packed(nets: &[IpNet]) -> usize {
    nets.iter().map(|net| if net.addr().is_ipv4() { 5 } else { 17 }).sum()
}

fn ports(ports: &[ServicePort]) -> usize {
    ports.iter().map(|p| text(&p.name) + text(&p.app_protocol) + 3 * FIELD).sum()
}

fn terms(terms: &Terms) -> usize {
    7 * FIELD + text(&terms.traffic_distribution) + words(&terms.labels) + words(&terms.annotations)
}

fn traffic(traffic: &Traffic) -> usize {
    let preferred = match &traffic.prefer {
        Prefer::Clusters(clusters) => clusters.as_slice(),
        Prefer::Ladder
        | Prefer::Even
        | Prefer::Local
        | Prefer::Remote
        | Prefer::LadderLocal
        | Prefer::LadderRemote => &[],
    };
    let weighed = traffic.cluster_weights.keys().chain(traffic.capacities.keys());
    3 * FIELD + preferred.iter().chain(weighed).map(|name| text(name.as_str()) + 2 * FIELD).sum::<usize>()
}

fn access(access: &Access) -> usize {
    8 * FIELD
        + access.node_ports.len() * 4 * FIELD
        + ips(&access.external_ips)
        + ips(&access.load_balancer_ips)
        + access.source_ranges.as_deref().map_or(0, nets)
}

fn hints(hints: &Hints) -> usize {
    match hints {
        Hints::None => 0,
        Hints::OwnZone | Hints::OwnNode => 2 * FIELD,
        Hints::Given { zones, nodes } => {
            FIELD + zones.iter().chain(nodes).map(|name| text(name)).sum::<usize>()
        }
    }
}

fn words(words: &BTreeMap<String, String>) -> usize {
    words.iter().map(|(key, value)| text(key) + text(value) + FIELD).sum()
}

fn text(text: &str) -> usize {
    text.len() + FIELD
}

fn node(name: &NodeName) -> usize {
    text(name.cluster.as_str()) + text(&name.node) + FIELD
}

fn service(key: &ServiceKey) -> usize {
    text(key.cluster.as_str()) + text(&key.name.namespace) + text(&key.name.name) + 2 * FIELD
}

fn ips(ips: &[IpAddr]) -> usize {
    ips.len() * (16 + FIELD)
}

fn nets(nets: &[IpNet]) -> usize {
    nets.len() * (16 + 3 * FIELD)
}
