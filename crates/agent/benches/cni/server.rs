//! An agent's CNI server and its socket, for one node.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use causeway_agent::cni::{Cni, Place, PodHook, PodNetwork};
use kernel::host::Host;
use kernel::netlink::Netlink;
use kernel::netns::Netns;
use model::ObjectName;
use serve::http::{Health, Vitals};
use serve::local::{Access, AgentApi, PlanReport, Refusal, agent_router};
use wire::local::{AgentStatus, CniRequest, CniResponse, DeniedFlows, MtuAsk, MtuStatus, ServicesReport};

/// Whom nothing needs to be told.
struct Nobody;

impl PodHook for Nobody {
    async fn attached(&self, _: &str, _: &[IpAddr], _: Option<&ObjectName>) -> Result<(), String> {
        Ok(())
    }

    async fn detached(&self, _device: &str) -> Result<(), String> {
        Ok(())
    }
}

struct Api(Cni<Nobody>);

impl Vitals for Api {
    fn health(&self) -> Health {
        Health::default()
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

impl AgentApi for Api {
    async fn status(&self) -> Result<AgentStatus, Refusal> {
        Err(Refusal::NotNow("only CNI is served here".into()))
    }

    async fn plan(&self) -> Result<PlanReport, Refusal> {
        Err(Refusal::NotNow("only CNI is served here".into()))
    }

    async fn services(&self, _: Option<String>) -> Result<ServicesReport, Refusal> {
        Err(Refusal::NotNow("only CNI is served here".into()))
    }

    async fn mtu(&self, _ask: MtuAsk) -> Result<MtuStatus, Refusal> {
        Err(Refusal::NotNow("only CNI is served here".into()))
    }

    async fn denied(&self, _: Option<u64>, _: Duration) -> Result<DeniedFlows, Refusal> {
        Err(Refusal::NotNow("only CNI is served here".into()))
    }

    async fn cni(&self, request: CniRequest) -> CniResponse {
        self.0.handle(request).await
    }
}

/// Serves until it is killed.
pub(crate) fn run(netns: &str, socket: &str, folder: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let netns = Netns::open(netns).expect("the node's namespace");
        let place = Place {
            ledger: Path::new(folder).join("pods.journal"),
            netlink: Netlink::open_in(&netns).expect("netlink"),
            netns,
            host: Host::default(),
        };
        let cni = Cni::open(place, Nobody).await.expect("a CNI server");
        let range = "10.8.0.0/23".parse().expect("a range");
        cni.configure(PodNetwork { pod_cidrs: vec![range], mtu: 1420 });
        let router = agent_router(Arc::new(Api(cni)));
        serve::local::serve(Path::new(socket), Access::Owner, router).await.expect("the socket").await;
    });
    ExitCode::SUCCESS
}
