//! What the agent answers, on its Unix socket and over HTTP. Questions about the node go to the one loop that drives
//! it; what a scraper asks is kept ready.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use model::{ClusterName, NodeName};
use serve::Denied;
use serve::http::{Health, Vitals};
use serve::local::{Access, AgentApi, PlanReport, Refusal, agent_router};
use serve::metrics::AgentMetrics;
use tokio::sync::{mpsc, oneshot};
use wire::local::{AgentStatus, CniRequest, CniResponse, DeniedFlows, MtuAsk, MtuStatus, ServicesReport};

use crate::cni::Cni;
use crate::config::Config;
use crate::datapath::PodMaps;

/// A question to the node's loop.
pub(crate) enum Ask {
    Status(oneshot::Sender<AgentStatus>),
    Plan(oneshot::Sender<PlanReport>),
    Services(Option<String>, oneshot::Sender<Result<ServicesReport, Refusal>>),
    /// The tunnel's device and MTU, and the nodes of a cluster that it leads to.
    Paths(ClusterName, oneshot::Sender<Paths>),
}

/// What leads where through the tunnel.
pub(crate) struct Paths {
    pub(crate) interface: String,
    pub(crate) mtu: u32,
    pub(crate) peers: Vec<(NodeName, IpAddr)>,
}

/// Nodes that are measured at a time.
const MEASURED: usize = 16;

/// What is kept ready for whoever watches.
pub(crate) struct Vital {
    pub(crate) health: Mutex<Health>,
    pub(crate) metrics: AgentMetrics,
    /// What policy denied.
    pub(crate) denied: Denied,
}

struct Api {
    asks: mpsc::Sender<Ask>,
    vital: Arc<Vital>,
    cni: Arc<Cni<PodMaps>>,
}

/// Begins to answer. What answers ends with the runtime.
pub(crate) async fn start(
    asks: mpsc::Sender<Ask>,
    vital: Arc<Vital>,
    cni: Arc<Cni<PodMaps>>,
    config: &Config,
) -> Result<()> {
    let api = Arc::new(Api { asks, vital, cni });
    let socket = config.run_dir.join("agent.sock");
    let http = serve::http::serve(config.http_listen, serve::http::router(api.clone())).await?;
    tokio::spawn(http);
    tokio::spawn(serve::local::serve(&socket, Access::Owner, agent_router(api)).await?);
    Ok(())
}

impl Api {
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refusal> {
        let stopping = || Refusal::NotNow("the agent is stopping; ask again when it is back".into());
        let (sender, answer) = oneshot::channel();
        self.asks.send(ask(sender)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

impl Vitals for Api {
    fn health(&self) -> Health {
        self.vital.health.lock().expect("nobody panics while holding it").clone()
    }

    fn metrics(&self) -> String {
        self.vital.metrics.encode()
    }
}

impl AgentApi for Api {
    async fn status(&self) -> Result<AgentStatus, Refusal> {
        self.ask(Ask::Status).await
    }

    async fn plan(&self) -> Result<PlanReport, Refusal> {
        self.ask(Ask::Plan).await
    }

    async fn services(&self, from: Option<String>) -> Result<ServicesReport, Refusal> {
        self.ask(|answer| Ask::Services(from, answer)).await?
    }

    async fn mtu(&self, ask: MtuAsk) -> Result<MtuStatus, Refusal> {
        let Paths { interface, mtu, mut peers } = self.ask(|answer| Ask::Paths(ask.cluster, answer)).await?;
        peers.truncate(MEASURED);
        crate::mtu::measure(&interface, mtu, peers).await.map_err(|e| Refusal::Failed(e.to_string()))
    }

    async fn denied(&self, after: Option<u64>, wait: Duration) -> Result<DeniedFlows, Refusal> {
        Ok(self.vital.denied.since(after, wait).await)
    }

    async fn cni(&self, request: CniRequest) -> CniResponse {
        self.cni.handle(request).await
    }
}
