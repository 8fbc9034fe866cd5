//! Asks every agent and controller how it is, all at once.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use model::NodeName;
use serde::de::DeserializeOwned;

use super::Daemon;
use crate::status::{Asked, ControllerReport, LabStatus, NodeReport, merge};

/// How long one of them may take. Whoever is slower is shown as such.
const PATIENCE: Duration = Duration::from_secs(2);

/// What everybody says.
pub(super) struct Reports {
    pub(super) controllers: Vec<ControllerReport>,
    pub(super) nodes: Vec<NodeReport>,
}

impl Daemon {
    /// The lab's status; services as `from` sees them, else as the first node of their cluster does.
    pub async fn status(&self, from: Option<&NodeName>) -> LabStatus {
        let Reports { controllers, nodes } = self.reports().await;
        merge(&self.plan, &self.cut_pairs(), &controllers, &nodes, self.pods(), from)
    }

    /// Asks everybody.
    pub(super) async fn reports(&self) -> Reports {
        let controllers = join_all(self.clusters().iter().map(async |cluster| ControllerReport {
            restarts: cluster.controller.restarts(),
            controller: match cluster.controller.is_up() {
                true => ask(&cluster.controller.socket()).await,
                false => Err("down".into()),
            },
        }));
        let nodes = join_all(self.nodes().map(async |node| NodeReport {
            name: node.name().clone(),
            up: node.is_up(),
            restarts: node.restarts(),
            agent: match node.is_up() {
                true => ask(&node.agent_socket()).await,
                false => Err("down".into()),
            },
        }));
        let (controllers, nodes) = tokio::join!(controllers, nodes);
        Reports { controllers, nodes }
    }
}

async fn ask<T: DeserializeOwned>(socket: &Path) -> Asked<T> {
    match tokio::time::timeout(PATIENCE, serve::client::get(socket, "/v1/status")).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(serve::client::ClientError::Nobody { .. })) => Err("not answering yet".into()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
