//! What a peer cluster may say: its own name and id, its own ranges, and only what is exported.

use model::{Cluster, Endpoint, Key, Node, Object, overlaps};

use super::{Reason, Refusal};

/// What a peer cluster may say. Begins with what it said of itself when it was linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The peer, as last accepted.
    peer: Cluster,
}

impl Bounds {
    /// The bounds of a linked cluster.
    pub fn new(peer: Cluster) -> Self {
        Self { peer }
    }

    /// The peer, as last accepted.
    pub fn peer(&self) -> &Cluster {
        &self.peer
    }

    /// Checks that a peer may be linked at all, beside the clusters that are known already (the own one among them).
    pub fn check_link(peer: &Cluster, others: &[Cluster]) -> Result<(), Box<Refusal>> {
        for other in others {
            if other.name == peer.name || other.id == peer.id {
                return Err(refuse(
                    Reason::ForeignCluster,
                    Some(Key::Cluster(peer.name.clone())),
                    format!(
                        "it calls itself {} with id {}, but {} with id {} is known already; names and ids must be unique \
                         in the clusterset",
                        peer.name, peer.id, other.name, other.id
                    ),
                ));
            }
        }
        free_ranges(peer, others)
    }

    /// Checks one object. `others` are all other known clusters, the own one among them.
    pub fn check(&self, object: &Object, others: &[Cluster]) -> Result<(), Box<Refusal>> {
        self.check_key(&object.key())?;
        match object {
            Object::Cluster(cluster) => self.check_cluster(cluster, others),
            Object::Node(node) => self.check_node(node),
            Object::Service(service) if service.travels() => Ok(()),
            Object::Service(_) | Object::Import(_) => Err(refuse(
                Reason::NotExported,
                Some(object.key()),
                "only services that are shared or exported travel between clusters; the peer should not have sent it"
                    .into(),
            )),
            Object::Endpoint(endpoint) => self.check_endpoint(endpoint),
        }
    }

    /// Checks that the object is the peer's to speak of.
    pub fn check_key(&self, key: &Key) -> Result<(), Box<Refusal>> {
        if *key.cluster() == self.peer.name {
            return Ok(());
        }
        let detail = format!("cluster {} may speak of its own objects only", self.peer.name);
        Err(refuse(Reason::ForeignCluster, Some(key.clone()), detail))
    }

    /// Takes an accepted cluster in. Returns whether its pod ranges differ from before: then everything that was
    /// checked by the old ones has to be told again.
    pub fn accept(&mut self, cluster: &Cluster) -> bool {
        let moved = self.peer.pod_cidrs != cluster.pod_cidrs;
        self.peer = cluster.clone();
        moved
    }

    fn check_cluster(&self, cluster: &Cluster, others: &[Cluster]) -> Result<(), Box<Refusal>> {
        if cluster.id != self.peer.id {
            let detail = format!(
                "it was linked with id {} and now claims id {}; remove the link and join again if that is meant",
                self.peer.id, cluster.id
            );
            return Err(refuse(Reason::WrongId, Some(Key::Cluster(cluster.name.clone())), detail));
        }
        free_ranges(cluster, others)
    }

    fn check_node(&self, node: &Node) -> Result<(), Box<Refusal>> {
        for net in &node.pod_cidrs {
            if !self.peer.pod_cidrs.iter().any(|own| own.contains(net)) {
                let detail = format!("its range {net} is outside the pod ranges {}", self.ranges());
                return Err(refuse(Reason::OutsideCidrs, Some(Key::Node(node.name.clone())), detail));
            }
        }
        Ok(())
    }

    fn check_endpoint(&self, endpoint: &Endpoint) -> Result<(), Box<Refusal>> {
        let key = || Some(Key::Endpoint(endpoint.key.clone()));
        for ip in &endpoint.ips {
            if !self.peer.pod_cidrs.iter().any(|own| own.contains(ip)) {
                let detail = format!("its address {ip} is outside the pod ranges {}", self.ranges());
                return Err(refuse(Reason::OutsideCidrs, key(), detail));
            }
        }
        match &endpoint.node {
            Some(node) if node.cluster != self.peer.name => {
                Err(refuse(Reason::ForeignNode, key(), format!("its node {node} is of another cluster")))
            }
            _ => Ok(()),
        }
    }

    fn ranges(&self) -> String {
        format!("of {}: {}", self.peer.name, list(&self.peer))
    }
}

/// Checks a cluster's pod ranges against those of all others: who was linked first keeps them.
fn free_ranges(cluster: &Cluster, others: &[Cluster]) -> Result<(), Box<Refusal>> {
    for other in others.iter().filter(|o| o.name != cluster.name) {
        let clash = cluster.pod_cidrs.iter().any(|a| other.pod_cidrs.iter().any(|b| overlaps(a, b)));
        if clash {
            let detail = format!(
                "its pod ranges {} overlap those of {}: {}; pod ranges must be unique in the clusterset",
                list(cluster),
                other.name,
                list(other)
            );
            return Err(refuse(Reason::CidrOverlap, Some(Key::Cluster(cluster.name.clone())), detail));
        }
    }
    Ok(())
}

fn list(cluster: &Cluster) -> String {
    cluster.pod_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn refuse(reason: Reason, key: Option<Key>, detail: String) -> Box<Refusal> {
    Box::new(Refusal { reason, key, detail })
}
