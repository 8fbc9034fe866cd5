//! What the controller knows: its own cluster from the source, what nodes reported of themselves, and what linked
//! clusters said. Values in, changes to publish out; nothing here waits or writes.

use std::collections::{BTreeMap, BTreeSet};

use cluster::kubernetes::meshnode::Reported;
use engine::exchange::{Held, Interest, Position, Topics};
use link::NodeReport;
use model::{Change, Cluster, ClusterName, Key, Node, NodeName, Object, World};
use wire::state::{Encoder, Place, Saved};

/// What a node has said of itself.
pub(crate) type Report = Reported;

/// What an agent's report says, in the words in which it is kept.
pub(crate) fn report(report: NodeReport) -> Report {
    let NodeReport {
        public_key,
        next_key,
        knows_two_keys,
        knows_groups,
        port,
        addresses,
        version,
        kube_proxy,
        reach,
        takes,
        generations,
    } = report;
    Report {
        public_key,
        next_key,
        knows_two_keys,
        knows_groups,
        port,
        addresses,
        kube_proxy,
        version,
        reach,
        takes,
        generations,
    }
}

/// A linked cluster's objects, and the place in its log that they stand at.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) world: World,
    pub(crate) position: Option<Position>,
    /// What is known in full up to there, of what not everybody is told.
    pub(crate) interest: Interest,
}

/// Everything, by whom it came from. The own cluster's objects are kept by whoever tells them; here only what their
/// changes have to be worked out from.
#[derive(Debug)]
pub(crate) struct Known {
    cluster: Cluster,
    /// Nodes as the source has them, before reports are merged in.
    nodes: BTreeMap<NodeName, Node>,
    reports: BTreeMap<NodeName, Report>,
    /// The number of the last request for a new key, of nodes that one was made for.
    key_requests: BTreeMap<NodeName, u64>,
    /// The own cluster's objects, until somebody tells them.
    untold: Option<World>,
    /// What is told of the own cluster from disk, and the source has not said yet.
    stale: BTreeSet<Key>,
    peers: BTreeMap<ClusterName, Peer>,
}

impl Known {
    /// Starts from what was on disk: reports, linked clusters, and the own cluster as it was.
    pub(crate) fn new(
        cluster: Cluster,
        reports: BTreeMap<NodeName, Report>,
        saved: &Saved,
        mut own: World,
    ) -> Self {
        let mut stale: BTreeSet<Key> = own.objects().map(|object| object.key()).collect();
        stale.remove(&Key::Cluster(cluster.name.clone()));
        own.apply(Change::Upsert(Object::Cluster(cluster.clone())));
        let mut peers: BTreeMap<ClusterName, Peer> = BTreeMap::new();
        for object in saved.world.objects() {
            let peer = peers.entry(object.key().cluster().clone()).or_default();
            peer.world.apply(Change::Upsert(object));
        }
        for (teller, place) in &saved.places {
            let position = Position { epoch: place.epoch, revision: place.revision };
            let peer = peers.entry(teller.clone()).or_default();
            peer.position = Some(position);
            peer.interest = interest(place);
        }
        Self {
            cluster,
            nodes: BTreeMap::new(),
            reports,
            key_requests: BTreeMap::new(),
            untold: Some(own),
            stale,
            peers,
        }
    }

    /// The own cluster's name.
    pub(crate) fn cluster(&self) -> &ClusterName {
        &self.cluster.name
    }

    /// Everything known, as changes from nothing, to be told once; what changes later is handed out as it comes.
    pub(crate) fn begin(&mut self) -> Vec<Change> {
        let World {
            clusters,
            nodes,
            peers: clients,
            policies,
            namespaces,
            pods,
            services,
            imports,
            endpoints,
        } = self.untold.take().unwrap_or_default();
        let endpoints = endpoints.into_values().flat_map(BTreeMap::into_values).map(Object::Endpoint);
        let own = clusters.into_values().map(Object::Cluster);
        let own = own.chain(nodes.into_values().map(Object::Node));
        let own = own.chain(clients.into_values().map(Object::Peer));
        let own = own.chain(policies.into_values().map(Object::Policy));
        let own = own.chain(namespaces.into_values().map(Object::Namespace));
        let own = own.chain(pods.into_values().map(Object::Pod));
        let own = own.chain(services.into_values().map(Object::Service));
        let own = own.chain(imports.into_values().map(Object::Import)).chain(endpoints);
        let peers = self.peers.values().flat_map(|peer| peer.world.objects());
        own.chain(peers).map(Change::Upsert).collect()
    }

    /// What is held of each linked cluster, for its stream to resume from.
    pub(crate) fn held(&self) -> BTreeMap<ClusterName, Held> {
        let held =
            |peer: &Peer| Held::of(&peer.world, peer.position, |_| true).with_interest(peer.interest.clone());
        self.peers.iter().map(|(name, peer)| (name.clone(), held(peer))).collect()
    }

    /// Takes in changes of the own cluster. Returns what to tell: some of it may be told already.
    pub(crate) fn handle_source(&mut self, changes: Vec<Change>) -> Vec<Change> {
        let mut merged = Vec::with_capacity(changes.len());
        for change in changes {
            if !self.stale.is_empty() {
                self.stale.remove(&change.key());
            }
            merged.push(match change {
                Change::Upsert(Object::Node(node)) => {
                    self.nodes.insert(node.name.clone(), node.clone());
                    Change::Upsert(Object::Node(self.merged(node)))
                }
                Change::Delete(Key::Node(name)) => {
                    self.nodes.remove(&name);
                    self.key_requests.remove(&name);
                    Change::Delete(Key::Node(name))
                }
                other => other,
            });
        }
        self.tell(merged)
    }

    /// The source has said everything. Returns what to tell: that what is only known from disk is gone.
    pub(crate) fn handle_synced(&mut self) -> Vec<Change> {
        // Endpoints before the services and nodes they refer to.
        let gone = std::mem::take(&mut self.stale).into_iter().rev().map(Change::Delete).collect();
        self.tell(gone)
    }

    /// Whether what is told of the own cluster is in part from disk.
    pub(crate) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// The own cluster's nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Takes in what a node says of itself. Returns what to tell; `None` when the report is an old one.
    pub(crate) fn handle_report(&mut self, name: NodeName, report: Report) -> Option<Vec<Change>> {
        if name.cluster != self.cluster.name || self.reports.get(&name) == Some(&report) {
            return None;
        }
        self.reports.insert(name.clone(), report);
        let node = self.nodes.get(&name).cloned();
        let changes = node.map(|node| Change::Upsert(Object::Node(self.merged(node))));
        Some(self.tell(changes.into_iter().collect()))
    }

    /// These nodes are to make new keys. Returns the request's number, `number` or the next one that is free, and what to tell.
    pub(crate) fn request_keys(&mut self, names: &[NodeName], number: u64) -> (u64, Vec<Change>) {
        let last = self.key_requests.values().max().copied().unwrap_or_default();
        let number = number.max(last + 1);
        self.key_requests.extend(names.iter().map(|name| (name.clone(), number)));
        let nodes = names.iter().filter_map(|name| self.nodes.get(name).cloned());
        let changes = nodes.map(|node| Change::Upsert(Object::Node(self.merged(node)))).collect();
        (number, self.tell(changes))
    }

    /// The node as the source has it, with what only the node itself knows, and what is wanted of it.
    fn merged(&self, node: Node) -> Node {
        let mut node = merge(node, &self.reports);
        node.mesh.rekeying.requested = self.key_requests.get(&node.name).copied().unwrap_or_default();
        node
    }

    /// What a node has said of itself.
    pub(crate) fn report(&self, name: &NodeName) -> Option<&Report> {
        self.reports.get(name)
    }

    /// Hands changes out, or takes them in as long as nobody tells them.
    fn tell(&mut self, changes: Vec<Change>) -> Vec<Change> {
        let Some(untold) = &mut self.untold else { return changes };
        for change in changes {
            untold.apply(change);
        }
        Vec::new()
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

    /// Marks what of a linked cluster is known in full.
    pub(crate) fn handle_peer_interest(&mut self, cluster: &ClusterName, interest: Interest) {
        self.peers.entry(cluster.clone()).or_default().interest = interest;
    }

    /// The linked clusters that anything is known of.
    pub(crate) fn peers(&self) -> Vec<ClusterName> {
        self.peers.keys().cloned().collect()
    }

    /// Adds a linked cluster's objects, and the place they stand at, to what is kept on disk.
    pub(crate) fn keep_peer(&self, name: &ClusterName, state: &mut Encoder) {
        let Some(peer) = self.peers.get(name) else { return };
        if let Some(Position { epoch, revision }) = peer.position {
            let Interest { every_service, policing, topics } = &peer.interest;
            let policing = policing
                .then(|| wire::state::Policing { clusters: topics.pods.clone(), policies: topics.policies });
            let interest = (!every_service).then(|| topics.services.clone());
            state.place(name, &Place { epoch, revision, interest, policing });
        }
        peer.world.objects().for_each(|object| state.object(&object));
    }

    /// The linked clusters' services, as changes from nothing.
    pub(crate) fn peer_services(&self) -> Vec<Change> {
        let services = self.peers.values().flat_map(|peer| peer.world.services.values());
        services.cloned().map(|service| Change::Upsert(Object::Service(service))).collect()
    }

    /// What nodes have said, to be kept on disk.
    pub(crate) fn reports(&self) -> &BTreeMap<NodeName, Report> {
        &self.reports
    }
}

/// What a linked cluster's place on disk says is known in full.
fn interest(place: &Place) -> Interest {
    let policing = place.policing.clone().unwrap_or_default();
    let topics = Topics {
        services: place.interest.clone().unwrap_or_default(),
        pods: policing.clusters,
        policies: policing.policies,
    };
    Interest { every_service: place.interest.is_none(), policing: place.policing.is_some(), topics }
}

/// The node as the source has it, with what only the node itself knows. Addresses that it reports are used only where
/// the source names none.
fn merge(mut node: Node, reports: &BTreeMap<NodeName, Report>) -> Node {
    if let Some(report) = reports.get(&node.name) {
        node.public_key = Some(report.public_key);
        node.mesh.rekeying.next_key = report.next_key;
        node.mesh.rekeying.knows_two = report.knows_two_keys;
        node.mesh.knows_groups = report.knows_groups;
        node.port = report.port;
        node.mesh.reach.clone_from(&report.reach);
        node.mesh.takes.clone_from(&report.takes);
        node.mesh.generations.clone_from(&report.generations);
        if node.private_ips.is_empty() && node.public_ips.is_empty() {
            node.public_ips.clone_from(&report.addresses);
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ClusterId, KubeProxy, PublicKey, Topology};

    fn cluster() -> Cluster {
        Cluster {
            name: "aws".parse().unwrap(),
            id: ClusterId::new(1).unwrap(),
            pod_cidrs: vec!["10.1.0.0/16".parse().unwrap()],
            service_cidrs: vec![],
            clusterset_cidrs: vec![],
            peer_cidrs: vec![],
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
            labels: Default::default(),
            mesh: Default::default(),
        }
    }

    fn report(byte: u8) -> Report {
        Report {
            public_key: PublicKey([byte; 32]),
            next_key: None,
            knows_two_keys: true,
            knows_groups: true,
            port: 51820,
            addresses: vec!["192.0.2.1".parse().unwrap()],
            kube_proxy: KubeProxy::Unknown,
            version: "1".into(),
            reach: Default::default(),
            takes: Default::default(),
            generations: Default::default(),
        }
    }

    fn new() -> Known {
        Known::new(cluster(), BTreeMap::new(), &Saved::default(), World::default())
    }

    fn key_of(changes: &[Change]) -> Option<PublicKey> {
        match changes {
            [Change::Upsert(Object::Node(node))] => node.public_key,
            other => panic!("one node expected, got {other:?}"),
        }
    }

    #[test]
    fn a_report_and_its_node_meet_in_either_order() {
        let mut known = new();
        assert_eq!(known.begin().len(), 1, "the cluster itself");
        let told = known.handle_source(vec![Change::Upsert(Object::Node(node()))]);
        assert_eq!(key_of(&told), None);
        let told = known.handle_report(node().name, report(1)).unwrap();
        assert_eq!(key_of(&told), Some(PublicKey([1; 32])));
        assert!(known.handle_report(node().name, report(1)).is_none(), "an old report is no news");

        let mut known = new();
        known.begin();
        assert_eq!(known.handle_report(node().name, report(1)), Some(vec![]));
        let told = known.handle_source(vec![Change::Upsert(Object::Node(node()))]);
        assert_eq!(key_of(&told), Some(PublicKey([1; 32])));
    }

    #[test]
    fn what_comes_before_the_beginning_is_told_then() {
        let mut known = new();
        known.handle_report(node().name, report(1));
        assert_eq!(known.handle_source(vec![Change::Upsert(Object::Node(node()))]), vec![]);
        let told = known.begin();
        assert_eq!(told.len(), 2, "the cluster itself and the node");
        assert_eq!(key_of(&told[1..]), Some(PublicKey([1; 32])));
        assert!(known.handle_synced().is_empty());
    }

    #[test]
    fn what_was_on_disk_stays_until_the_source_has_said_everything() {
        let other = Node { name: NodeName::new(cluster().name, "aws-2").unwrap(), ..node() };
        let mut disk = World::default();
        for node in [node(), other.clone()] {
            disk.apply(Change::Upsert(Object::Node(node)));
        }
        let mut known = Known::new(cluster(), BTreeMap::new(), &Saved::default(), disk);
        assert_eq!((known.begin().len(), known.is_stale()), (3, true));
        assert_eq!(known.handle_source(vec![Change::Upsert(Object::Node(node()))]).len(), 1);
        assert_eq!(known.handle_synced(), [Change::Delete(Key::Node(other.name))]);
        assert!(!known.is_stale());
    }

    #[test]
    fn who_is_to_make_a_new_key_is_told() {
        let mut known = new();
        known.begin();
        known.handle_source(vec![Change::Upsert(Object::Node(node()))]);
        let rekeying = |changes: &[Change]| match changes {
            [Change::Upsert(Object::Node(node))] => node.mesh.rekeying,
            other => panic!("one node expected, got {other:?}"),
        };
        let (first, told) = known.request_keys(&[node().name], 5);
        assert_eq!((first, rekeying(&told).requested), (5, 5));
        let (second, told) = known.request_keys(&[node().name], 5);
        assert_eq!((second, rekeying(&told).requested), (6, 6), "no number twice");
        let next = Some(PublicKey([2; 32]));
        let told = known.handle_report(node().name, Report { next_key: next, ..report(1) }).unwrap();
        assert_eq!((rekeying(&told).next_key, rekeying(&told).requested), (next, 6));
        known.handle_source(vec![Change::Delete(Key::Node(node().name))]);
        let told = known.handle_source(vec![Change::Upsert(Object::Node(node()))]);
        assert_eq!(rekeying(&told).requested, 0, "another node of that name");
    }

    #[test]
    fn a_report_for_another_cluster_is_not_taken() {
        let mut known = new();
        let stranger = NodeName::new("gcp".parse().unwrap(), "aws-1").unwrap();
        assert!(known.handle_report(stranger, report(1)).is_none());
    }

    #[test]
    fn peers_resume_from_what_was_kept() {
        let mut known = new();
        let gcp: ClusterName = "gcp".parse().unwrap();
        let other = Object::Cluster(Cluster { name: gcp.clone(), ..cluster() });
        let position = Some(Position { epoch: 7, revision: 3 });
        assert_eq!(known.handle_peer(&gcp, vec![Change::Upsert(other)], position).len(), 1);
        let services = ["demo/echo".parse().unwrap()].into();
        let interest = Interest::only(Topics { services, pods: [gcp.clone()].into(), policies: true });
        known.handle_peer_interest(&gcp, interest.clone());
        let held = known.held();
        assert_eq!((held[&gcp].position, &held[&gcp].interest), (position, &interest));
        assert_eq!(held[&gcp].keys.len(), 1);

        let mut state = Encoder::default();
        known.peers().iter().for_each(|name| known.keep_peer(name, &mut state));
        let saved = wire::state::decode(&state.finish()).unwrap();
        let again = Known::new(cluster(), BTreeMap::new(), &saved, World::default());
        assert_eq!(again.held(), held, "the same after a restart");
    }
}
