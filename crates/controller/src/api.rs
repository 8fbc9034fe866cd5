//! What the controller answers, on its Unix socket and over HTTP.

use std::sync::Arc;

use anyhow::Result;
use link::controller::TokenTerms;
use serve::http::{Health, Vitals};
use serve::local::{Access, ControllerApi, Refusal, controller_router};
use wire::local::{ControllerStatus, LinkJoin, Token};

use crate::config::Config;
use crate::run::Controller;

/// A token for nodes is used by a whole cluster's provisioning.
const NODE_TOKEN_USES: u32 = 10_000;

/// Begins to answer. What answers ends with the runtime.
pub(crate) async fn start(controller: &Arc<Controller>, config: &Config) -> Result<()> {
    let socket = config.run_dir.join("controller.sock");
    let local = serve::local::serve(&socket, Access::Owner, controller_router(controller.clone())).await?;
    tokio::spawn(local);
    let http = serve::http::serve(config.http_listen, serve::http::router(controller.clone())).await?;
    tokio::spawn(http);
    Ok(())
}

impl Controller {
    fn status(&self) -> ControllerStatus {
        ControllerStatus {
            cluster: self.cluster.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            ready: true,
            rss_bytes: rss_bytes(),
            revision: self.handle.revision(),
            agents: self.handle.agents(),
            links: self.handle.links(),
            problems: self.inner().all_problems(),
        }
    }
}

impl Vitals for Controller {
    fn health(&self) -> Health {
        // It answers from the moment on that its source was read in full: then it is ready.
        Health::default()
    }

    fn metrics(&self) -> String {
        self.metrics.set_status(&self.status());
        for (kind, count) in self.inner().known.count() {
            self.metrics.set_objects(kind, count);
        }
        self.metrics.set_refused(&self.handle.refused());
        self.metrics.encode()
    }
}

impl ControllerApi for Controller {
    async fn status(&self) -> Result<ControllerStatus, Refusal> {
        Ok(Self::status(self))
    }

    async fn node_token(&self) -> Result<Token, Refusal> {
        let terms = TokenTerms { uses: NODE_TOKEN_USES, ..TokenTerms::default() };
        self.handle.node_token(&terms).map_err(failed)
    }

    async fn link_token(&self) -> Result<Token, Refusal> {
        self.handle.link_token(&TokenTerms::default()).map_err(failed)
    }

    async fn join(&self, join: LinkJoin) -> Result<(), Refusal> {
        self.handle.join(&join.token).await.map(drop).map_err(|e| Refusal::Wrong(e.to_string()))
    }
}

fn failed(e: link::Error) -> Refusal {
    Refusal::Failed(e.to_string())
}

/// Resident memory of this process, in bytes; 0 where there is no `/proc`.
fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
