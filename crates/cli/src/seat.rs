//! Which controller is asked: one on this machine, or one of the lab's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use model::ClusterName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serve::client::{self, ClientError};
use wire::local::ControllerStatus;

/// Where a controller answers.
const SOCKET: &str = "/run/causeway/controller.sock";

/// Which controller.
#[derive(Debug, clap::Args)]
pub(crate) struct Seat {
    /// The controller's socket.
    #[arg(long, value_name = "PATH", conflicts_with = "of_lab", default_value = SOCKET)]
    socket: PathBuf,
    /// The controller of this cluster of the lab.
    #[arg(id = "of_lab", long = "cluster", value_name = "NAME")]
    cluster: Option<ClusterName>,
}

impl Seat {
    /// A controller of the lab.
    pub(crate) fn of_lab(cluster: ClusterName) -> Self {
        Self { socket: SOCKET.into(), cluster: Some(cluster) }
    }

    /// Where it answers.
    pub(crate) fn socket(&self) -> PathBuf {
        match &self.cluster {
            Some(cluster) => lab::state::Folders::of_controller(cluster).run.join("controller.sock"),
            None => self.socket.clone(),
        }
    }

    /// An agent of the same cluster, if it is one of the lab's: its first node's.
    pub(crate) fn an_agent(&self) -> Option<PathBuf> {
        let nodes = lab::state::nodes_folder(self.cluster.as_ref()?);
        let found =
            std::fs::read_dir(nodes).ok()?.filter_map(|node| Some(node.ok()?.path().join("run/agent.sock")));
        found.filter(|socket| socket.exists()).min()
    }

    /// Whether nobody was named, and there is a lab but no controller here: then the lab is meant.
    pub(crate) fn is_any_of_lab(&self) -> bool {
        self.cluster.is_none()
            && self.socket == Path::new(SOCKET)
            && !self.socket.exists()
            && lab::state::socket().exists()
    }

    /// Whether there is a controller here, of the lab or not.
    pub(crate) fn answers_here(&self) -> bool {
        self.socket().exists() || self.is_any_of_lab()
    }

    /// Whether somebody said which controller is meant.
    pub(crate) fn is_named(&self) -> bool {
        self.cluster.is_some() || self.socket != Path::new(SOCKET)
    }

    /// Whether a controller of the lab is meant, or any of them.
    pub(crate) fn is_lab(&self) -> bool {
        self.cluster.is_some() || self.is_any_of_lab()
    }

    /// The cluster of the lab that was named.
    pub(crate) fn cluster(&self) -> Option<&ClusterName> {
        self.cluster.as_ref()
    }

    /// Asks for a value.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.explain(client::get(&self.checked()?, path).await).await
    }

    /// Hands a value over, and asks for one.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.explain(client::post(&self.checked()?, path, body).await).await
    }

    /// Has something removed.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.explain(client::delete(&self.checked()?, path).await).await
    }

    fn checked(&self) -> Result<PathBuf> {
        let socket = self.socket();
        if socket.exists() {
            return Ok(socket);
        }
        match &self.cluster {
            Some(cluster) => bail!("no controller of {cluster} runs in a lab here; see: causeway lab status"),
            None if self.is_any_of_lab() => {
                bail!("no controller runs here but those of the lab: say which with --cluster NAME")
            }
            None => bail!(
                "no controller answers on {}: run this where one runs, or give --socket. On Kubernetes that is in its \
                 pod: kubectl -n kube-system exec deploy/causeway-controller -- /causeway ...",
                socket.display()
            ),
        }
    }

    /// One of several controllers does not do everything: then the one that does is named.
    async fn explain<T>(&self, answer: Result<T, ClientError>) -> Result<T> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let status: Result<ControllerStatus, _> = client::get(&self.socket(), "/v1/status").await;
        match status.ok().filter(|status| !status.role.leads).and_then(|status| status.role.leader) {
            Some(leader) => {
                let node = leader.rsplit_once('_').map_or(&*leader, |(node, _)| node).to_string();
                Err(error).with_context(|| {
                    format!("the controller that leads is the one on {node}; ask that one (kubectl get pods -o wide)")
                })
            }
            None => Err(error.into()),
        }
    }
}
