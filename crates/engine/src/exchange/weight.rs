//! How much an object takes on the wire.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{NodeName, Object, ServiceKey};

/// Bytes for a field's tag and length, and for the numbers that have no size of their own here.
const FIELD: usize = 8;

/// An upper bound of the object's encoded size, cheap to compute: batches are cut by it.
pub fn weight(object: &Object) -> usize {
    FIELD * 4
        + match object {
            Object::Cluster(c) => text(c.name.as_str()) + FIELD + nets(&c.pod_cidrs) + nets(&c.service_cidrs),
            Object::Node(n) => {
                node(&n.name)
                    + text(&n.topology.region)
                    + text(&n.topology.zone)
                    + text(&n.location)
                    + ips(&n.private_ips)
                    + ips(&n.public_ips)
                    + nets(&n.pod_cidrs)
                    + 32
                    + 3 * FIELD
            }
            Object::Service(s) => {
                let ports: usize = s.ports.iter().map(|p| text(&p.name) + 3 * FIELD).sum();
                service(&s.key) + ips(&s.vips) + ports
            }
            Object::Endpoint(e) => {
                let ports: usize = e.ports.iter().map(|p| text(&p.name) + 3 * FIELD).sum();
                let labels: usize = e.labels.iter().map(|(k, v)| text(k) + text(v) + FIELD).sum();
                service(&e.key.service)
                    + text(&e.key.name)
                    + ips(&e.ips)
                    + ports
                    + labels
                    + e.node.as_ref().map_or(0, node)
                    + 5 * FIELD
            }
        }
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
