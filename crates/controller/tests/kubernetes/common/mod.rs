//! Whole controllers against an API server in this process.
#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "../../../../link/tests/common/proxy.rs"]
pub(crate) mod proxy;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apiserver::{Identity, Options, Request, Server};
use causeway_controller::config::{ClusterConfig, Config, MulticlusterConfig, Source};
use cluster::kubernetes::access::controller_rules;
use cluster::kubernetes::clusterlink::ClusterLink;
use cluster::kubernetes::meshnode::MeshNode;
use engine::exchange::Held;
use kube::CustomResourceExt as _;
use link::NodeReport;
use link::agent::{AgentEvent, AgentOptions, Proof};
use model::{Cluster, ClusterId, KubeProxy, NodeName, PublicKey, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use wire::local::ControllerStatus;

/// How long anything may take. Long, for a busy machine: nothing waits for it to pass.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const NAMESPACE: &str = "causeway-system";

pub(crate) fn cluster() -> Cluster {
    Cluster {
        name: "aws".parse().unwrap(),
        id: ClusterId::new(1).unwrap(),
        pod_cidrs: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/48".parse().unwrap()],
        service_cidrs: vec!["10.101.0.0/16".parse().unwrap()],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    }
}

/// A server that lets controllers do what the installer lets them do, and nothing else.
pub(crate) fn server() -> Server {
    let server = Server::start(Options { endpoint_slices: true, ..Options::default() });
    server.apply_json(serde_json::to_value(MeshNode::crd()).unwrap());
    server.apply_json(serde_json::to_value(ClusterLink::crd()).unwrap());
    server.apply_json(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
    let (cluster, namespace) = controller_rules();
    server.enforce(None, &cluster);
    server.enforce(Some(NAMESPACE), &namespace);
    server
}

/// Gives a server the kinds of the MCS API and the About API.
pub(crate) fn with_definitions(server: &Server) {
    for definition in install::definitions::definitions() {
        server.apply_json(definition);
    }
}

/// A Node; the ranges may be none.
pub(crate) fn node(name: &str, ranges: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDRs": ranges},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    })
}

/// What was written, other than the Lease.
pub(crate) fn writes(server: &Server) -> Vec<Request> {
    let reads = ["get", "list", "watch"];
    let written = |r: &Request| !reads.contains(&r.verb.as_str()) && r.resource != "leases";
    server.requests().into_iter().filter(written).collect()
}

pub(crate) fn lines(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|r| format!("{r} {}", r.code)).collect()
}

/// A controller in a thread and runtime of its own, so that it can be killed.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    /// Where it says whether it lives.
    pub(crate) http: SocketAddr,
    pub(crate) dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Replica {
    /// Starts one with its folders in `dir`, whose API server is at `url`.
    pub(crate) fn start(dir: &Path, url: &str) -> Self {
        Self::start_as(dir, url, cluster())
    }

    /// Starts one of this cluster.
    pub(crate) fn start_as(dir: &Path, url: &str, cluster: Cluster) -> Self {
        Self::start_with(dir, url, cluster, MulticlusterConfig::default())
    }

    /// Starts one of this cluster, which imports so.
    pub(crate) fn start_with(
        dir: &Path,
        url: &str,
        cluster: Cluster,
        multicluster: MulticlusterConfig,
    ) -> Self {
        let kubeconfig = dir.join("kubeconfig");
        std::fs::create_dir_all(dir).unwrap();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": url}}],
            "users": [{"name": "x", "user": {"token": "controller"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let (address, http) = (ports::free(), ports::free());
        let config = Config {
            cluster: ClusterConfig::new(cluster),
            source: Source::Kubernetes {
                kubeconfig: Some(kubeconfig),
                namespace: NAMESPACE.into(),
                certificate_seconds: 3600,
            },
            listen: address,
            advertise: vec![address],
            advertise_to_clusters: vec![],
            state_dir: dir.join("state"),
            run_dir: dir.join("run"),
            http_listen: http,
            authority: Default::default(),
            link: Default::default(),
            multicluster,
            services: Default::default(),
            policy: Default::default(),
            mesh: Default::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let stopped = async {
                    let _ = stopped.await;
                };
                tokio::select! {
                    ended = causeway_controller::run(config, stopped) => ended.unwrap(),
                    _ = killed => {}
                }
            });
            // With the runtime everything ends at once, as with the process.
            runtime.shutdown_background();
        });
        let (stop, kill, thread) = (Some(stop), Some(kill), Some(thread));
        Self { address, http, dir: dir.into(), stop, kill, thread }
    }

    /// What it answers over HTTP: the first line and everything; nothing if it does not.
    pub(crate) async fn answer(&self, path: &str) -> Option<String> {
        let mut stream = tokio::net::TcpStream::connect(self.http).await.ok()?;
        let question = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    pub(crate) async fn status(&self) -> Option<ControllerStatus> {
        serve::client::get(&self.dir.join("run/controller.sock"), "/v1/status").await.ok()
    }

    /// Waits until its status is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&ControllerStatus) -> bool) -> ControllerStatus {
        let mut last = None;
        let waiting = async {
            loop {
                last = self.status().await;
                if let Some(status) = last.as_ref().filter(|status| so(status)) {
                    return status.clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(LONG, waiting).await;
        waited.unwrap_or_else(|_| panic!("{what} did not happen: {last:?}"))
    }

    pub(crate) async fn until_it_leads(&self) -> ControllerStatus {
        self.until("to lead", |status| status.role.leads).await
    }

    pub(crate) async fn until_it_follows(&self) -> ControllerStatus {
        self.until("to follow", |status| !status.role.leads && status.role.leader.is_some()).await
    }

    /// Ends it as a signal would.
    pub(crate) fn stop(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }

    /// Ends it without giving it a chance.
    pub(crate) fn kill(mut self) {
        drop(self.kill.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.kill.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server with two controllers, the first of which leads.
pub(crate) async fn pair(server: &Server, dir: &TempDir) -> (Replica, Replica) {
    let first = Replica::start(&dir.path().join("first"), &server.url());
    first.until_it_leads().await;
    let second = Replica::start(&dir.path().join("second"), &server.url());
    second.until_it_follows().await;
    (first, second)
}

/// Waits until `so`.
pub(crate) async fn eventually(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// What the server says of a good token of this node's agent.
pub(crate) fn identity(node: &str) -> Identity {
    Identity {
        username: format!("system:serviceaccount:{NAMESPACE}:causeway-agent"),
        extra: [("authentication.kubernetes.io/node-name".to_string(), vec![node.to_string()])].into(),
        audiences: vec!["causeway".into()],
        ..Identity::default()
    }
}

/// An agent under test.
pub(crate) struct Agent {
    pub(crate) events: mpsc::Receiver<AgentEvent>,
    pub(crate) report: watch::Sender<NodeReport>,
    pub(crate) world: World,
    pub(crate) errors: Vec<String>,
}

pub(crate) fn report(n: u8) -> NodeReport {
    NodeReport {
        public_key: PublicKey([n; 32]),
        next_key: None,
        knows_two_keys: true,
        knows_groups: true,
        port: 51820,
        addresses: vec!["192.0.2.7".parse().unwrap()],
        version: "1.2.3".into(),
        kube_proxy: KubeProxy::Running,
        reach: Default::default(),
        takes: Default::default(),
        generations: Default::default(),
    }
}

impl Agent {
    /// Starts the agent of a node, which shows `token`.
    pub(crate) fn start(dir: &Path, server: &Server, node: &str, to: &[SocketAddr], token: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("token"), token).unwrap();
        let map = server.get("configmaps", &format!("{NAMESPACE}/causeway-roots"));
        let map = map.expect("the roots are written");
        std::fs::write(dir.join("ca.crt"), map["data"]["ca.crt"].as_str().unwrap()).unwrap();
        Self::resume(dir, node, to)
    }

    /// Starts an agent that has its files already.
    pub(crate) fn resume(dir: &Path, node: &str, to: &[SocketAddr]) -> Self {
        let (file, roots) = (dir.join("token"), dir.join("ca.crt"));
        let (sender, receiver) = watch::channel(report(1));
        let events = link::agent::spawn(AgentOptions {
            node: NodeName::new(cluster().name, node).unwrap(),
            controllers: to.to_vec(),
            proof: Proof::ServiceAccount { token: file, roots },
            state_dir: dir.to_path_buf(),
            held: Held::default(),
            pods: watch::channel(Some(Default::default())).1,
            report: receiver,
        });
        Self { events, report: sender, world: World::default(), errors: Vec::new() }
    }

    /// Takes events in until `enough`.
    pub(crate) async fn until(&mut self, what: &str, mut enough: impl FnMut(&Self, &AgentEvent) -> bool) {
        let waiting = async {
            loop {
                let event = self.events.recv().await.expect("the agent lives");
                match &event {
                    AgentEvent::Changes { changes, .. } => {
                        for change in changes {
                            self.world.apply(change.clone());
                        }
                    }
                    AgentEvent::Disconnected { error } => self.errors.push(error.to_string()),
                    AgentEvent::Problem(problem) => self.errors.push(problem.clone()),
                    _ => {}
                }
                if enough(self, &event) {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(LONG, waiting).await;
        assert!(waited.is_ok(), "{what} did not happen; errors: {:?}", self.errors);
    }

    pub(crate) async fn until_synced(&mut self) {
        self.until("being synced", |_, event| matches!(event, AgentEvent::Synced { .. })).await;
    }

    pub(crate) async fn until_error(&mut self, text: &str) {
        self.until(text, |agent, _| agent.errors.iter().any(|e| e.contains(text))).await;
    }
}

/// How long something takes.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (work.await, begun.elapsed())
}
