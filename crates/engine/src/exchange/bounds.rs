//! What a peer cluster may say: its own name and id, its own ranges, and only what is exported.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Cluster, Key, Node, NodeName, Object, Peer, PublicKey, overlaps};

use super::{Reason, Refusal};

/// The longest a pod range may reach: shorter prefixes than these are no cluster's.
const WIDEST: (u8, u8) = (8, 16);

/// What else is known where something is heard.
#[derive(Clone, Copy, Default)]
pub struct Around<'a> {
    /// All other known clusters, the own one among them.
    pub clusters: &'a [Cluster],
    /// The own cluster's node that has a WireGuard key, if one has.
    pub key_of: Option<KeyOf<'a>>,
}

/// Whose node has a WireGuard key.
pub type KeyOf<'a> = &'a (dyn Fn(&PublicKey) -> Option<NodeName> + 'a);

impl fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around").field("clusters", &self.clusters).finish_non_exhaustive()
    }
}

impl<'a> From<&'a [Cluster]> for Around<'a> {
    fn from(clusters: &'a [Cluster]) -> Self {
        Self { clusters, key_of: None }
    }
}

impl<'a, const N: usize> From<&'a [Cluster; N]> for Around<'a> {
    fn from(clusters: &'a [Cluster; N]) -> Self {
        clusters.as_slice().into()
    }
}

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

    /// Checks one object.
    pub fn check(&self, object: &Object, around: &Around<'_>) -> Result<(), Box<Refusal>> {
        self.check_key(&object.key())?;
        match object {
            Object::Cluster(cluster) => self.check_cluster(cluster, around.clusters),
            Object::Node(node) => self.check_node(node, around),
            Object::Peer(peer) => self.check_peer(peer, around),
            Object::Service(service) if service.travels() => Ok(()),
            Object::Service(_) | Object::Import(_) => Err(refuse(
                Reason::NotExported,
                Some(object.key()),
                "only services that are shared or exported travel between clusters; the peer should not have sent it"
                    .into(),
            )),
            Object::Endpoint(endpoint) => self.check_place(object, &endpoint.ips, endpoint.node.as_ref()),
            Object::Pod(pod) => self.check_place(object, &pod.ips, pod.node.as_ref()),
            Object::Namespace(namespace) if namespace.shared => Ok(()),
            Object::Policy(policy) if policy.distribute => Ok(()),
            Object::Namespace(_) | Object::Policy(_) => Err(refuse(
                Reason::NotExported,
                Some(object.key()),
                "only namespaces that are shared, and policies that are to be distributed, travel between clusters; the \
                 peer should not have sent it"
                    .into(),
            )),
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

    /// Takes an accepted cluster in. Returns whether its ranges differ from before: then everything that was
    /// checked by the old ones has to be told again.
    pub fn accept(&mut self, cluster: &Cluster) -> bool {
        let ranges = |cluster: &Cluster| (cluster.pod_cidrs.clone(), cluster.peer_cidrs.clone());
        let moved = ranges(&self.peer) != ranges(cluster);
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

    /// A peer has addresses of its cluster's ranges for peers, which are nobody else's.
    fn check_peer(&self, peer: &Peer, around: &Around<'_>) -> Result<(), Box<Refusal>> {
        let refused = |reason, detail| Err(refuse(reason, Some(Key::Peer(peer.name.clone())), detail));
        if let Some(ours) = around.key_of.and_then(|key_of| key_of(&peer.public_key)) {
            return refused(Reason::ForeignKey, format!("it has the WireGuard key of our node {ours}"));
        }
        for net in &peer.allowed_ips {
            if !self.peer.peer_cidrs.iter().any(|own| own.contains(net)) {
                let detail = format!("its range {net} is in none of {}'s ranges for peers", self.peer.name);
                return refused(Reason::OutsideCidrs, detail);
            }
            let taken = |cluster: &&Cluster| {
                let theirs = cluster.pod_cidrs.iter().chain(&cluster.peer_cidrs);
                cluster.name != self.peer.name && theirs.into_iter().any(|other| overlaps(other, net))
            };
            if let Some(other) = around.clusters.iter().find(taken) {
                let detail = format!(
                    "its range {net} overlaps ranges of {}; give the two clusters other peerCIDRs",
                    other.name
                );
                return refused(Reason::CidrOverlap, detail);
            }
        }
        Ok(())
    }

    fn check_node(&self, node: &Node, around: &Around<'_>) -> Result<(), Box<Refusal>> {
        let refused = |reason, detail| Err(refuse(reason, Some(Key::Node(node.name.clone())), detail));
        let keys = node.public_key.iter().chain(&node.mesh.rekeying.next_key);
        for key in keys {
            let Some(ours) = around.key_of.and_then(|key_of| key_of(key)) else { continue };
            let detail = format!(
                "it shows the WireGuard key {key} of our node {ours}; whoever copied it has to make a new one"
            );
            return refused(Reason::ForeignKey, detail);
        }
        // A tunnel whose other end is said to be inside another tunnel would swallow itself.
        for ip in node.private_ips.iter().chain(&node.public_ips) {
            let inside = |cluster: &&Cluster| {
                cluster.name != self.peer.name && cluster.pod_cidrs.iter().any(|net| net.contains(ip))
            };
            if let Some(other) = around.clusters.iter().find(inside) {
                let detail = format!("its address {ip} is in the pod ranges of {}", other.name);
                return refused(Reason::OutsideCidrs, detail);
            }
        }
        for net in &node.pod_cidrs {
            if !self.peer.pod_cidrs.iter().any(|own| own.contains(net)) {
                let detail = format!("its range {net} is outside the pod ranges {}", self.ranges());
                return refused(Reason::OutsideCidrs, detail);
            }
        }
        Ok(())
    }

    /// Checks where an endpoint or a pod is.
    fn check_place(
        &self,
        object: &Object,
        ips: &[IpAddr],
        node: Option<&NodeName>,
    ) -> Result<(), Box<Refusal>> {
        let refused = |reason, detail| Err(refuse(reason, Some(object.key()), detail));
        for ip in ips {
            if !self.peer.pod_cidrs.iter().any(|own| own.contains(ip)) {
                let detail = format!("its address {ip} is outside the pod ranges {}", self.ranges());
                return refused(Reason::OutsideCidrs, detail);
            }
        }
        match node {
            Some(node) if node.cluster != self.peer.name => {
                refused(Reason::ForeignNode, format!("its node {node} is of another cluster"))
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
    let shortest = |net: &IpNet| if net.addr().is_ipv4() { WIDEST.0 } else { WIDEST.1 };
    if let Some(wide) = cluster.pod_cidrs.iter().find(|net| net.prefix_len() < shortest(net)) {
        let detail = format!(
            "its pod range {wide} is wider than a cluster's can be, and would draw everybody's traffic to it; prefixes \
             of /{} (IPv4) and /{} (IPv6) or longer are taken",
            WIDEST.0, WIDEST.1
        );
        return Err(refuse(Reason::CidrOverlap, Some(Key::Cluster(cluster.name.clone())), detail));
    }
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
