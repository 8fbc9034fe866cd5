//! Asks the lab's daemon.

use model::NodeName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serve::client::{self, ClientError};

use crate::api::{Apply, Delete, Done, Entrance, One, Pair, Progress};
use crate::state;
use crate::status::LabStatus;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers.
    #[error("no lab is up: `causeway lab up` starts one (nobody answers on {})", state::socket().display())]
    NoLab,
    /// The daemon refuses, or answers something strange.
    #[error("{0}")]
    Other(ClientError),
}

impl From<ClientError> for AskError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Nobody { .. } => Self::NoLab,
            other => Self::Other(other),
        }
    }
}

/// How far `lab up` has come; lines from number `after` on.
pub async fn progress(after: usize) -> Result<Progress, AskError> {
    get(&format!("/v1/progress?after={after}")).await
}

/// The lab's status; services as `from` sees them, else as the first node of their cluster does.
pub async fn status(from: Option<&NodeName>) -> Result<LabStatus, AskError> {
    match from {
        Some(from) => get(&format!("/v1/status?from={from}")).await,
        None => get("/v1/status").await,
    }
}

/// Where a command for a pod or node runs.
pub async fn entrance(name: &str) -> Result<Entrance, AskError> {
    post("/v1/entrance", &One { name: name.into() }).await
}

/// Puts Kubernetes objects into a cluster: all of them or none.
pub async fn apply(apply: &Apply) -> Result<Done, AskError> {
    post("/v1/apply", apply).await
}

/// Takes an object out of a cluster.
pub async fn delete(delete: &Delete) -> Result<Done, AskError> {
    post("/v1/delete", delete).await
}

/// Cuts two nodes or clusters off from each other.
pub async fn cut(a: &str, b: &str) -> Result<Done, AskError> {
    post("/v1/cut", &Pair { a: a.into(), b: b.into() }).await
}

/// Joins them again.
pub async fn heal(a: &str, b: &str) -> Result<Done, AskError> {
    post("/v1/heal", &Pair { a: a.into(), b: b.into() }).await
}

/// Kills a node or a whole cluster, as a power cut does.
pub async fn kill(name: &str) -> Result<Done, AskError> {
    post("/v1/kill", &One { name: name.into() }).await
}

/// Brings it back.
pub async fn start(name: &str) -> Result<Done, AskError> {
    post("/v1/start", &One { name: name.into() }).await
}

async fn get<T: DeserializeOwned>(path: &str) -> Result<T, AskError> {
    Ok(client::get(&state::socket(), path).await?)
}

async fn post<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Result<T, AskError> {
    Ok(client::post(&state::socket(), path, body).await?)
}
