//! Two real controllers, many clusters that speak the real protocol, and an agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_link::NodeReport;
use causeway_link::agent::{self, AgentEvent, AgentOptions, Proof};
use causeway_link::controller::{ControllerOptions, Handle, Server, TokenTerms};
use engine::exchange::{Held, Interest};
use model::{Change, Cluster, Key, KubeProxy, NodeName, PublicKey, World};
use prost::Message as _;
use sim::shape::{self, Pods};
use sim::{Random, Shape};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::ages::Ages;
use crate::process::Running;
use crate::proxy::{Count, forward, place};

/// How long anything may take before the bench gives up.
const LONG: Duration = Duration::from_secs(600);

/// A controller of ours, as a process.
pub(crate) struct Controller {
    pub(crate) process: Running,
    socket: PathBuf,
    cluster: Cluster,
    /// What its agents and linked clusters dial.
    pub(crate) agents: Count,
    /// What it dials.
    pub(crate) peers: Count,
    advertised: SocketAddr,
    /// Before anything was linked.
    pub(crate) empty: f64,
}

impl Controller {
    /// Starts one. It has a service of its own for each name it `uses`.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        id: u64,
        uses: usize,
    ) -> Result<Self> {
        let folder = folder.join(name);
        let (store, run) = (folder.join("store"), folder.join("run"));
        for folder in [&store, &run] {
            std::fs::create_dir_all(folder)?;
        }
        for s in 0..uses {
            let service = shape::service_name(s);
            let text = format!(
                "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n  namespace: {}\n  annotations: \
                 {{causeway.io/global: \"true\"}}\nspec:\n  clusterIP: 10.{}.{}.1\n  ports:\n  - {{name: http, port: 80}}\n  \
                 - {{name: metrics, port: 9090}}\n",
                service.name,
                service.namespace,
                id % 100 + 100,
                s % 250,
            );
            std::fs::write(store.join(format!("{s}.yaml")), text)?;
        }
        let (advertised, agents_listener) = place().await?;
        let (listen, held) = place().await?;
        let (http, held_http) = place().await?;
        drop((held, held_http));
        let agents = Count::default();
        forward(agents_listener, listen, agents.clone());
        let octets = (id % 2 + 1, id % 100 + 100);
        let config = format!(
            "cluster:\n  name: {name}\n  id: {id}\n  podCIDRs: [172.{}.0.0/16]\n  serviceCIDRs: [10.{}.0.0/16]\nsource:\n  \
             standalone: {{path: {}}}\nlisten: '{listen}'\nadvertise: ['{advertised}']\nstateDir: {}\nrunDir: {}\n\
             httpListen: '{http}'\n",
            20 + octets.0,
            octets.1,
            store.display(),
            folder.join("state").display(),
            run.display(),
        );
        std::fs::create_dir_all(folder.join("state"))?;
        let file = folder.join("controller.yaml");
        std::fs::write(&file, config)?;
        let args = ["controller", "--config", &file.display().to_string()].map(String::from);
        let process = Running::start(name, program, &args, &folder.join("log"))?;
        let socket = run.join("controller.sock");
        let began = Instant::now();
        while post(&socket, "/v1/tokens/node", "null").await.is_err() {
            if began.elapsed() > LONG {
                bail!("the controller did not start: see {}", folder.join("log").display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let empty = process.memory();
        let cluster = shape::cluster(0);
        let cluster = Cluster { name: name.parse()?, ..cluster };
        Ok(Self { process, socket, cluster, agents, peers: Count::default(), advertised, empty })
    }

    async fn token(&self, kind: &str) -> Result<String> {
        let answer = post(&self.socket, &format!("/v1/tokens/{kind}"), "null").await?;
        let token: wire::local::Token = serde_json::from_str(&answer).context("reading a token")?;
        Ok(token.token)
    }

    /// Joins by a token.
    pub(crate) async fn join(&self, token: &str) -> Result<()> {
        let join = serde_json::json!({ "token": token }).to_string();
        post(&self.socket, "/v1/links", &join).await.map(drop)
    }

    /// Joins another controller.
    pub(crate) async fn join_controller(&self, other: &Self) -> Result<()> {
        self.join(&other.token("link").await?).await
    }
}

/// One question to a Unix socket that speaks HTTP.
async fn post(socket: &Path, path: &str, body: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).await.with_context(|| format!("dialling {}", socket.display()))?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: causeway\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end")?;
    if !head.starts_with("HTTP/1.1 2") {
        bail!("POST {path}: {} {body}", head.lines().next().unwrap_or_default());
    }
    Ok(body.into())
}

/// A cluster that is only a teller: the protocol is real, what it tells is made up.
pub(crate) struct Peer {
    handle: Handle,
    pods: Pods,
    /// How each controller is told to reach it, so that their bytes are counted apart.
    places: [SocketAddr; 2],
}

impl Peer {
    /// Starts cluster `c`.
    pub(crate) async fn start(
        c: usize,
        world: Shape,
        folder: &Path,
        random: &mut Random,
        counts: [&Count; 2],
    ) -> Result<Self> {
        let (listen, held) = place().await?;
        drop(held);
        let mut places = [listen; 2];
        for (at, count) in places.iter_mut().zip(counts) {
            let (address, listener) = place().await?;
            forward(listener, listen, count.clone());
            *at = address;
        }
        let folder = folder.join(format!("peer-{c}"));
        std::fs::create_dir_all(&folder)?;
        let options = ControllerOptions::new(shape::cluster(c), listen, places.to_vec(), folder);
        let (handle, mut events) = Server::start(options).await?;
        tokio::spawn(async move { while let Some(_event) = events.recv().await {} });
        let (pods, objects) = Pods::new(c, world, random);
        handle.publish(objects.into_iter().map(Change::Upsert).collect());
        Ok(Self { handle, pods, places })
    }

    /// A token that leads by one of the places: ours, with the other addresses taken out of it.
    pub(crate) fn token(&self, place: usize) -> Result<String> {
        let token = self.handle.link_token(&TokenTerms::default())?.token;
        let (kind, text) = token.rsplit_once('.').context("a token has a kind")?;
        let bytes = URL_SAFE_NO_PAD.decode(text)?;
        let body = bytes.split_last_chunk::<4>().context("a token has a checksum")?.0;
        let mut token = wire::pb::JoinToken::decode(body)?;
        token.addresses = vec![wire::pb::SocketAddress {
            ip: wire::encode_ip(&self.places[place].ip()),
            port: u32::from(self.places[place].port()),
            ..Default::default()
        }];
        let mut body = token.encode_to_vec();
        let check = digest::digest(&digest::SHA256, &body);
        body.extend_from_slice(&check.as_ref()[..4]);
        Ok(format!("{kind}.{}", URL_SAFE_NO_PAD.encode(body)))
    }

    /// Makes the next change; returns how many objects it is about.
    pub(crate) fn change(&mut self, random: &mut Random, ages: &Ages<Key>) -> usize {
        let changes = self.pods.change(random);
        let count = changes.len();
        changes.iter().for_each(|change| ages.made(change.key()));
        self.handle.publish(changes);
        count
    }
}

/// An agent as the node daemon runs it, without what it would do to a kernel.
pub(crate) struct Agent {
    events: mpsc::Receiver<AgentEvent>,
    /// Keeps the agent reporting.
    _report: watch::Sender<NodeReport>,
    pub(crate) world: World,
}

impl Agent {
    /// Starts one, with nothing known.
    pub(crate) async fn start(controller: &Controller, folder: &Path, n: usize) -> Result<Self> {
        let folder = folder.join(format!("agent-{n}"));
        std::fs::create_dir_all(&folder)?;
        let token = folder.join("token");
        std::fs::write(&token, controller.token("node").await?)?;
        let report = NodeReport {
            public_key: PublicKey([7; 32]),
            next_key: None,
            knows_two_keys: true,
            knows_groups: true,
            port: 51820,
            addresses: vec!["172.31.1.1".parse()?],
            version: "bench".into(),
            kube_proxy: KubeProxy::Absent,
            reach: Default::default(),
            takes: Default::default(),
            generations: Default::default(),
        };
        let (report, receiver) = watch::channel(report);
        let events = agent::spawn(AgentOptions {
            node: NodeName::new(controller.cluster.name.clone(), format!("node-{n}"))?,
            controllers: vec![controller.advertised],
            proof: Proof::JoinToken(token),
            state_dir: folder,
            held: Held::default().with_interest(Interest::nothing()),
            pods: watch::channel(Some(Default::default())).1,
            report: receiver,
        });
        Ok(Self { events, _report: report, world: World::default() })
    }

    /// Hears until so many endpoints are known and everything that was told is.
    pub(crate) async fn until(&mut self, endpoints: usize) -> Result<()> {
        let known = |world: &World| world.endpoints.values().map(|of| of.len()).sum::<usize>();
        let hearing = async {
            let mut synced = false;
            while !synced || known(&self.world) < endpoints {
                match self.events.recv().await.context("the agent ended")? {
                    AgentEvent::Changes { changes, .. } => {
                        synced = false;
                        for change in changes {
                            self.world.apply(change);
                        }
                    }
                    AgentEvent::Synced { .. } => synced = true,
                    AgentEvent::Disconnected { error } => println!("agent: {error}"),
                    AgentEvent::Problem(problem) => println!("agent: {problem}"),
                    AgentEvent::Connected { .. } | AgentEvent::Interest(_) => {}
                }
            }
            Ok(())
        };
        timeout(LONG, hearing).await.context("the agent did not hear of everything")?
    }

    /// Hears on and notes how old what arrives is, for as long as anybody asks.
    pub(crate) async fn hear(mut self, ages: Ages<Key>) {
        while let Some(event) = self.events.recv().await {
            if let AgentEvent::Changes { changes, .. } = event {
                for change in changes {
                    let key = change.key();
                    self.world.apply(change);
                    ages.arrived_last(&key);
                }
            }
        }
    }
}
