//! What the controller knows: its own cluster from the source, what nodes reported of themselves, and what linked
//! clusters said. Values in, changes to publish out; nothing here waits or writes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engine::exchange::{Held, Position};
use link::NodeReport;
use model::{Change, Cluster, ClusterName, Key, Node, NodeName, Object, PublicKey, World};
use serde::{Deserialize, Serialize};
use wire::state::{Place, Saved};

/// What a node has said of itself, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    public_key: PublicKey,
    port: u16,
    addresses: Vec<IpAddr>,
}

impl From<NodeReport> for Report {
    fn from(report: NodeReport) -> Self {
        Self { public_key: report.public_key, port: report.port, addresses: report.addresses }
    }
}

/// A linked cluster's objects, and the place in its log that they stand at.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) world: World,
    pub(crate) position: Option<Position>,
}

/// Everything, by whom it came from.
#[derive(Debug)]
pub(crate) struct Known {
    cluster: Cluster,
    /// Nodes as the source has them, before reports are merged in.
    nodes: BTreeMap<NodeName, Node>,
    reports: BTreeMap<NodeName, Report>,
    own: World,
    peers: BTreeMap<ClusterName, Peer>,
}

impl Known {
    /// Starts from what was on disk.
    pub(crate) fn new(cluster: Cluster, reports: BTreeMap<NodeName, Report>, saved: &Saved) -> Self {
        let mut own = World::default();
        own.apply(Change::Upsert(Object::Cluster(cluster.clone())));
        let mut peers: BTreeMap<ClusterName, Peer> = BTreeMap::new();
        for object in saved.world.objects() {
            let peer = peers.entry(object.key().cluster().clone()).or_default();
            peer.world.apply(Change::Upsert(object));
        }
        for (teller, place) in &saved.places {
            let position = Position { epoch: place.epoch, revision: place.revision };
            peers.entry(teller.clone()).or_default().position = Some(position);
        }
        Self { cluster, nodes: BTreeMap::new(), reports, own, peers }
    }

    /// Everything known, as changes from nothing.
    pub(crate) fn everything(&self) -> Vec<Change> {
        let peers = self.peers.values().flat_map(|peer| peer.world.objects());
        self.own.objects().chain(peers).map(Change::Upsert).collect()
    }

    /// What is held of each linked cluster, for its stream to resume from.
    pub(crate) fn held(&self) -> BTreeMap<ClusterName, Held> {
        let held = |peer: &Peer| Held::of(&peer.world, peer.position, |_| true);
        self.peers.iter().map(|(name, peer)| (name.clone(), held(peer))).collect()
    }

    /// Takes in changes of the own cluster. Returns what is different now.
    pub(crate) fn handle_source(&mut self, changes: Vec<Change>) -> Vec<Change> {
        let merged = changes.into_iter().map(|change| match change {
            Change::Upsert(Object::Node(node)) => {
                self.nodes.insert(node.name.clone(), node.clone());
                Change::Upsert(Object::Node(merge(node, &self.reports)))
            }
            Change::Delete(Key::Node(name)) => {
                self.nodes.remove(&name);
                Change::Delete(Key::Node(name))
            }
            other => other,
        });
        let merged: Vec<Change> = merged.collect();
        merged.into_iter().filter(|change| self.own.apply(change.clone())).collect()
    }

    /// Takes in what a node says of itself. Returns what is different now; `None` when the report is an old one.
    pub(crate) fn handle_report(&mut self, name: NodeName, report: Report) -> Option<Vec<Change>> {
        if name.cluster != self.cluster.name || self.reports.get(&name) == Some(&report) {
            return None;
        }
        self.reports.insert(name.clone(), report);
        let node = self.nodes.get(&name).cloned();
        let change = node.map(|node| Change::Upsert(Object::Node(merge(node, &self.reports))));
        Some(change.into_iter().filter(|change| self.own.apply(change.clone())).collect())
    }

    /// Takes in changes of a linked cluster. Returns what is different now.
    pub(crate) fn handle_peer(
        &mut self,
        cluster: &ClusterName,
        changes: Vec<Change>,
        position: Option<Position>,
    ) -> Vec<Change> {
        let peer = self.peers.entry(cluster.clone()).or_default();
        peer.position = position;
        changes.into_iter().filter(|change| peer.world.apply(change.clone())).collect()
    }

    /// Marks how far a linked cluster's objects are known.
    pub(crate) fn handle_peer_synced(&mut self, cluster: &ClusterName, position: Position) {
        self.peers.entry(cluster.clone()).or_default().position = Some(position);
    }

    /// The linked clusters' objects and the places they stand at, to be kept on disk.
    pub(crate) fn peers(&self) -> (World, BTreeMap<ClusterName, Place>) {
        let (mut world, mut places) = (World::default(), BTreeMap::new());
        for (name, peer) in &self.peers {
            for object in peer.world.objects() {
                world.apply(Change::Upsert(object));
            }
            if let Some(Position { epoch, revision }) = peer.position {
                places.insert(name.clone(), Place { epoch, revision });
            }
        }
        (world, places)
    }

    /// What nodes have said, to be kept on disk.
    pub(crate) fn reports(&self) -> &BTreeMap<NodeName, Report> {
        &self.reports
    }

    /// How many objects are told to agents, by kind.
    pub(crate) fn count(&self) -> [(model::Kind, usize); 4] {
        let worlds = || std::iter::once(&self.own).chain(self.peers.values().map(|peer| &peer.world));
        let sum = |f: fn(&World) -> usize| worlds().map(f).sum();
        [
            (model::Kind::Cluster, sum(|w| w.clusters.len())),
            (model::Kind::Node, sum(|w| w.nodes.len())),
            (model::Kind::Service, sum(|w| w.services.len())),
            (model::Kind::Endpoint, sum(|w| w.endpoints.values().map(BTreeMap::len).sum())),
        ]
    }
}

/// The node as the source has it, with what only the node itself knows. Addresses that it reports are used only where
/// the source names none.
fn merge(mut node: Node, reports: &BTreeMap<NodeName, Report>) -> Node {
    if let Some(report) = reports.get(&node.name) {
        node.public_key = Some(report.public_key);
        node.port = report.port;
        if node.private_ips.is_empty() && node.public_ips.is_empty() {
            node.public_ips.clone_from(&report.addresses);
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ClusterId, Topology};

    fn cluster() -> Cluster {
        Cluster {
            name: "aws".parse().unwrap(),
            id: ClusterId::new(1).unwrap(),
            pod_cidrs: vec!["10.1.0.0/16".parse().unwrap()],
            service_cidrs: vec![],
        }
    }

    fn node() -> Node {
        Node {
            name: NodeName::new("aws".parse().unwrap(), "aws-1").unwrap(),
            topology: Topology::default(),
            location: String::new(),
            private_ips: vec![],
            public_ips: vec![],
            pod_cidrs: vec!["10.1.0.0/24".parse().unwrap()],
            public_key: None,
            port: 0,
        }
    }

    fn report(byte: u8) -> Report {
        Report {
            public_key: PublicKey([byte; 32]),
            port: 51820,
            addresses: vec!["192.0.2.1".parse().unwrap()],
        }
    }

    fn key_of(changes: &[Change]) -> Option<PublicKey> {
        match changes {
            [Change::Upsert(Object::Node(node))] => node.public_key,
            other => panic!("one node expected, got {other:?}"),
        }
    }

    #[test]
    fn a_report_and_its_node_meet_in_either_order() {
        let mut known = Known::new(cluster(), BTreeMap::new(), &Saved::default());
        let told = known.handle_source(vec![Change::Upsert(Object::Node(node()))]);
        assert_eq!(key_of(&told), None);
        let told = known.handle_report(node().name, report(1)).unwrap();
        assert_eq!(key_of(&told), Some(PublicKey([1; 32])));
        assert!(known.handle_report(node().name, report(1)).is_none(), "an old report is no news");

        let mut known = Known::new(cluster(), BTreeMap::new(), &Saved::default());
        assert_eq!(known.handle_report(node().name, report(1)), Some(vec![]));
        let told = known.handle_source(vec![Change::Upsert(Object::Node(node()))]);
        assert_eq!(key_of(&told), Some(PublicKey([1; 32])));
    }

    #[test]
    fn a_source_that_repeats_itself_is_no_news() {
        let mut known = Known::new(cluster(), BTreeMap::new(), &Saved::default());
        known.handle_report(node().name, report(1));
        assert_eq!(known.handle_source(vec![Change::Upsert(Object::Node(node()))]).len(), 1);
        assert_eq!(known.handle_source(vec![Change::Upsert(Object::Node(node()))]), vec![]);
        assert_eq!(known.everything().len(), 2, "the cluster itself and the node");
    }

    #[test]
    fn a_report_for_another_cluster_is_not_taken() {
        let mut known = Known::new(cluster(), BTreeMap::new(), &Saved::default());
        let stranger = NodeName::new("gcp".parse().unwrap(), "aws-1").unwrap();
        assert!(known.handle_report(stranger, report(1)).is_none());
    }

    #[test]
    fn peers_resume_from_what_was_kept() {
        let mut known = Known::new(cluster(), BTreeMap::new(), &Saved::default());
        let gcp: ClusterName = "gcp".parse().unwrap();
        let other = Object::Cluster(Cluster { name: gcp.clone(), ..cluster() });
        let position = Some(Position { epoch: 7, revision: 3 });
        assert_eq!(known.handle_peer(&gcp, vec![Change::Upsert(other)], position).len(), 1);
        let held = known.held();
        assert_eq!(held[&gcp].position, position);
        assert_eq!(held[&gcp].keys.len(), 1);

        let (world, places) = known.peers();
        let again = Known::new(cluster(), BTreeMap::new(), &Saved { world, places, skipped: 0 });
        assert_eq!(again.held(), held, "the same after a restart");
    }
}
