//! Clusters, nodes and what the tests wait for.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use causeway_link::NodeReport;
use causeway_link::agent::{self, AgentEvent, AgentOptions, Proof};
use causeway_link::controller::{ControllerEvent, ControllerOptions, Handle, Server, TokenTerms};
use engine::exchange::{Held, Interest, Position};
use model::{
    Change, Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, EndpointPort, KubeProxy, Node, NodeName,
    Object, ObjectName, Port, Protocol, PublicKey, Service, ServiceKey, ServicePort, Topology, World,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use wire::local::LinkStatus;

/// How long anything may take. Long, for a busy machine: nothing waits for it to pass.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn name(cluster: &str) -> ClusterName {
    ClusterName::new(cluster).unwrap()
}

/// Cluster `n`, with `10.n.0.0/16` and `fd00:n::/48`.
pub(crate) fn cluster(cluster: &str, n: u64) -> Cluster {
    Cluster {
        name: name(cluster),
        id: ClusterId::new(n).unwrap(),
        pod_cidrs: vec![format!("10.{n}.0.0/16").parse().unwrap(), format!("fd00:{n}::/48").parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    }
}

pub(crate) fn node(cluster: &str, n: u64, i: u64) -> Object {
    Object::Node(Node {
        name: NodeName::new(name(cluster), format!("{cluster}-{i}")).unwrap(),
        topology: Topology { region: "r".into(), zone: "z".into(), ..Topology::default() },
        location: "r".into(),
        private_ips: vec![],
        public_ips: vec![format!("198.18.{n}.{i}").parse().unwrap()],
        pod_cidrs: vec![format!("10.{n}.{i}.0/24").parse().unwrap()],
        public_key: Some(PublicKey([(16 * n + i) as u8; 32])),
        port: 51820,
        labels: Default::default(),
        mesh: Default::default(),
    })
}

pub(crate) fn service_key(cluster: &str, service: &str) -> ServiceKey {
    ServiceKey { cluster: name(cluster), name: ObjectName::new("demo", service).unwrap() }
}

pub(crate) fn service(cluster: &str, service: &str, global: bool) -> Object {
    Object::Service(Service {
        global,
        shared: global,
        ..Service::new(
            service_key(cluster, service),
            vec!["10.96.0.1".parse().unwrap()],
            vec![ServicePort::new("http", Protocol::Tcp, Port::new(80).unwrap())],
        )
    })
}

/// Endpoint `i` of a service in cluster `n`.
pub(crate) fn endpoint(cluster: &str, n: u64, service: &str, i: u64) -> Object {
    Object::Endpoint(Endpoint {
        node: Some(NodeName::new(name(cluster), format!("{cluster}-1")).unwrap()),
        labels: [("app".to_string(), service.to_string())].into(),
        ..Endpoint::new(
            EndpointKey { service: service_key(cluster, service), name: format!("{service}-7d9c5b-{i}") },
            vec![format!("10.{n}.{}.{}", i / 250, i % 250 + 1).parse().unwrap()],
            vec![EndpointPort::new("http", Protocol::Tcp, Port::new(8080).unwrap())],
        )
    })
}

pub(crate) fn upserts(objects: impl IntoIterator<Item = Object>) -> Vec<Change> {
    objects.into_iter().map(Change::Upsert).collect()
}

/// A controller under test, with what it has heard of its peers.
pub(crate) struct Controller {
    pub(crate) handle: Handle,
    pub(crate) events: mpsc::Receiver<ControllerEvent>,
    pub(crate) cluster: Cluster,
    pub(crate) world: World,
    pub(crate) places: BTreeMap<ClusterName, Position>,
    pub(crate) interests: BTreeMap<ClusterName, Interest>,
    pub(crate) problems: Vec<String>,
    pub(crate) dir: TempDir,
}

impl Controller {
    pub(crate) async fn start(cluster: Cluster) -> Self {
        Self::start_with(cluster, |_| {}).await
    }

    pub(crate) async fn start_with(cluster: Cluster, change: impl FnOnce(&mut ControllerOptions)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), cluster, "127.0.0.1:0".parse().unwrap(), change).await
    }

    pub(crate) async fn start_in(
        dir: TempDir,
        cluster: Cluster,
        listen: SocketAddr,
        change: impl FnOnce(&mut ControllerOptions),
    ) -> Self {
        let controller = Self::start_mute(dir, cluster, listen, change).await;
        controller.handle.publish(Vec::new());
        controller
    }

    /// Starts one that has not published anything yet, so it tells nothing.
    pub(crate) async fn start_mute(
        dir: TempDir,
        cluster: Cluster,
        listen: SocketAddr,
        change: impl FnOnce(&mut ControllerOptions),
    ) -> Self {
        // The advertised address must be known before the port is: take a free one.
        let listen = match listen.port() {
            0 => ports::free(),
            _ => listen,
        };
        let mut options = ControllerOptions::new(cluster.clone(), listen, vec![listen], dir.path());
        change(&mut options);
        let (handle, events) = Server::start(options).await.unwrap();
        let (world, places, interests) = (World::default(), BTreeMap::new(), BTreeMap::new());
        Self { handle, events, cluster, world, places, interests, problems: Vec::new(), dir }
    }

    /// What it would have on disk of another cluster.
    pub(crate) fn held(&self, of: &str) -> BTreeMap<ClusterName, Held> {
        let (of, place) = (name(of), self.places.get(&name(of)).copied());
        let held = Held::of(&self.world, place, |key| *key.cluster() == of);
        let interest = self.interests.get(&of).cloned().unwrap_or_default();
        BTreeMap::from([(of, held.with_interest(interest))])
    }

    /// The status of the link with a cluster.
    pub(crate) fn link(&self, with: &str) -> LinkStatus {
        let link = self.handle.links().into_iter().find(|link| link.cluster.as_str() == with);
        link.expect("there is a link")
    }

    /// Stops it. Returns what a restart needs: its directory and address.
    pub(crate) async fn stop(self) -> (TempDir, SocketAddr) {
        let address = self.handle.local_addr();
        drop(self.handle);
        drop(self.events);
        // The port is free when the listener is gone.
        let free = async {
            while std::net::TcpListener::bind(address).is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, free).await.expect("the port should become free");
        (self.dir, address)
    }

    pub(crate) fn token(&self) -> String {
        self.handle.node_token(&TokenTerms::default()).unwrap().token
    }

    /// Takes events in until `enough`.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut enough: impl FnMut(&Self, &ControllerEvent) -> bool,
    ) {
        let waiting = async {
            loop {
                let event = self.events.recv().await.expect("the server lives");
                match &event {
                    ControllerEvent::PeerChanges { cluster, changes, position } => {
                        for change in changes {
                            assert_eq!(change.key().cluster(), cluster);
                            self.world.apply(change.clone());
                        }
                        match position {
                            Some(position) => self.places.insert(cluster.clone(), *position),
                            None => self.places.remove(cluster),
                        };
                    }
                    ControllerEvent::PeerSynced { cluster, position } => {
                        self.places.insert(cluster.clone(), *position);
                    }
                    ControllerEvent::PeerInterest { cluster, interest } => {
                        self.interests.insert(cluster.clone(), interest.clone());
                    }
                    ControllerEvent::Problem(problem) => self.problems.push(problem.clone()),
                    _ => {}
                }
                if enough(self, &event) {
                    return;
                }
            }
        };
        timeout(LONG, waiting)
            .await
            .unwrap_or_else(|_| panic!("{}: {what} did not happen", self.cluster.name));
    }

    /// Takes events in until the world is so.
    pub(crate) async fn until_world(&mut self, what: &str, so: impl Fn(&World) -> bool) {
        if !so(&self.world) {
            self.until(what, |c, _| so(&c.world)).await;
        }
    }
}

/// Two controllers, linked: the second dials the first.
pub(crate) async fn pair() -> (Controller, Controller) {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    (aws, gcp)
}

/// Links two clusters by a token of the first.
pub(crate) async fn link(maker: &Controller, joiner: &Controller) {
    let token = maker.handle.link_token(&TokenTerms::default()).unwrap().token;
    assert_eq!(joiner.handle.join(&token).await.unwrap(), maker.cluster.name);
}

/// Waits until `so`.
pub(crate) async fn eventually(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// An agent under test, with its world.
pub(crate) struct Agent {
    pub(crate) events: mpsc::Receiver<AgentEvent>,
    pub(crate) report: watch::Sender<NodeReport>,
    pub(crate) pods: watch::Sender<Option<BTreeSet<ClusterName>>>,
    pub(crate) world: World,
    pub(crate) position: Option<Position>,
    /// Changes heard since the last stream began.
    pub(crate) heard: usize,
    pub(crate) errors: Vec<String>,
    pub(crate) dir: PathBuf,
}

pub(crate) fn report(n: u8) -> NodeReport {
    NodeReport {
        public_key: PublicKey([n; 32]),
        next_key: None,
        knows_two_keys: true,
        knows_groups: true,
        port: 51820,
        addresses: vec!["172.16.1.1".parse().unwrap()],
        version: "1.2.3".into(),
        kube_proxy: KubeProxy::Running,
        reach: Default::default(),
        takes: Default::default(),
        generations: Default::default(),
    }
}

impl Agent {
    /// Starts `node`, with its files in `dir`, and a token unless it is empty.
    pub(crate) fn start(
        dir: &std::path::Path,
        node: NodeName,
        controllers: Vec<SocketAddr>,
        token: &str,
    ) -> Self {
        Self::resume(dir, node, controllers, token, World::default(), None)
    }

    pub(crate) fn resume(
        dir: &std::path::Path,
        node: NodeName,
        controllers: Vec<SocketAddr>,
        token: &str,
        world: World,
        position: Option<Position>,
    ) -> Self {
        let token_file = dir.join("join-token");
        if !token.is_empty() {
            std::fs::write(&token_file, token).unwrap();
        }
        Self::proving(dir, node, controllers, Proof::JoinToken(token_file), world, position)
    }

    pub(crate) fn proving(
        dir: &std::path::Path,
        node: NodeName,
        controllers: Vec<SocketAddr>,
        proof: Proof,
        world: World,
        position: Option<Position>,
    ) -> Self {
        let (sender, receiver) = watch::channel(report(1));
        let (pods, wanted) = watch::channel(Some(BTreeSet::new()));
        let events = agent::spawn(AgentOptions {
            node: node.clone(),
            controllers,
            proof,
            state_dir: dir.to_path_buf(),
            held: Held::of_agent(&world, position, node.clone()).with_interest(Interest::everything()),
            pods: wanted,
            report: receiver,
        });
        let dir = dir.to_path_buf();
        Self { events, report: sender, pods, world, position, heard: 0, errors: Vec::new(), dir }
    }

    /// Takes events in until `enough`.
    pub(crate) async fn until(&mut self, what: &str, mut enough: impl FnMut(&Self, &AgentEvent) -> bool) {
        let waiting = async {
            loop {
                let event = self.events.recv().await.expect("the agent lives");
                match &event {
                    AgentEvent::Connected { .. } => self.heard = 0,
                    AgentEvent::Interest(_) => {}
                    AgentEvent::Changes { changes, position } => {
                        self.heard += changes.len();
                        for change in changes {
                            self.world.apply(change.clone());
                        }
                        self.position = *position;
                    }
                    AgentEvent::Synced { position } => self.position = Some(*position),
                    AgentEvent::Disconnected { error } => self.errors.push(error.to_string()),
                    AgentEvent::Problem(problem) => self.errors.push(problem.clone()),
                }
                if enough(self, &event) {
                    return;
                }
            }
        };
        let waited = timeout(LONG, waiting).await;
        assert!(waited.is_ok(), "{what} did not happen; errors: {:?}", self.errors);
    }

    pub(crate) async fn until_synced(&mut self) {
        self.until("being synced", |_, event| matches!(event, AgentEvent::Synced { .. })).await;
    }

    /// Waits for an error that says `text`.
    pub(crate) async fn until_error(&mut self, text: &str) {
        self.until(text, |agent, _| agent.errors.iter().any(|e| e.contains(text))).await;
    }
}
