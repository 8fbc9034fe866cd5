//! Links as objects: a ClusterLink asks for a link with the cluster that made a token, and says what has become of it. The
//! token stands in a Secret.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::{self, Config};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, CustomResource, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Error;
use super::retry::Steps;
use super::write::{self, Fields, PATIENCE, answered};

/// The Secret that tokens are looked for in, unless a ClusterLink names another one.
pub const TOKENS: &str = "causeway-links";

/// Objects that wait to be taken in.
const QUEUE: usize = 64;
/// A watch that failed is tried again after this long at first, and this long at last.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);

/// What a ClusterLink asks for.
#[expect(clippy::duplicated_attributes, reason = "columns have types and paths each")]
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "causeway.io",
    version = "v1alpha1",
    kind = "ClusterLink",
    status = "ClusterLinkStatus",
    shortname = "clink",
    category = "causeway",
    derive = "PartialEq",
    doc = "Asks for a link with another cluster. While it is there the link is kept; with it the link goes.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".status.cluster"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Error", type_ = "string", json_path = ".status.lastError", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLinkSpec {
    /// Where the token is that the other cluster's `causeway link token` has printed.
    pub token_secret_ref: TokenRef,
}

/// A key of a Secret in the namespace that Causeway runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRef {
    /// The Secret. Causeway may read `causeway-links`; for another one it has to be given the right to.
    #[serde(default = "tokens")]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn tokens() -> String {
    TOKENS.into()
}

/// What has become of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLinkStatus {
    /// The other cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// That cluster's number.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cluster_id: u16,
    /// `Waiting` to be linked, `Connected`, or `Disconnected`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// What went wrong last, with what to do; empty when nothing is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// `Ready`: the clusters are linked and the stream is up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<ReadyCondition>")]
    pub conditions: Vec<Condition>,
}

/// How a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is still to be made.
    Waiting,
    /// The clusters are linked, and speak.
    Connected,
    /// The clusters are linked, and do not speak at the moment.
    Disconnected,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Connected => "Connected",
            Self::Disconnected => "Disconnected",
        }
    }
}

impl ClusterLinkStatus {
    /// The status after this one.
    pub fn next(
        &self,
        generation: Option<i64>,
        cluster: &str,
        cluster_id: u16,
        state: State,
        error: &str,
    ) -> Self {
        let ready = state == State::Connected;
        let message = match (error, ready) {
            ("", true) => format!("linked with {cluster}"),
            ("", false) => "no stream yet".to_string(),
            (error, _) => error.to_string(),
        };
        let word = if ready { "True" } else { "False" };
        let same = self.conditions.first().filter(|condition| condition.status == word);
        let since = same.map(|condition| condition.last_transition_time.clone());
        let ready = Condition {
            type_: "Ready".into(),
            status: word.into(),
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| Time(Timestamp::now())),
            reason: state.as_str().into(),
            message,
        };
        Self {
            cluster: cluster.into(),
            cluster_id,
            state: state.as_str().into(),
            last_error: error.into(),
            conditions: vec![ready],
        }
    }
}

/// A condition, as every kind of Kubernetes has them.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its fields are for the schema alone")]
struct ReadyCondition {
    /// Which.
    #[serde(rename = "type")]
    type_: String,
    /// `True`, `False` or `Unknown`.
    status: String,
    /// Of which generation of the object.
    #[serde(default)]
    observed_generation: Option<i64>,
    /// Since when.
    last_transition_time: String,
    /// In one word.
    reason: String,
    /// In a sentence.
    message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(id: &u16) -> bool {
    *id == 0
}

/// What is said of all ClusterLinks.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// These are all there are.
    All(Vec<ClusterLink>),
    /// One is now so.
    Upsert(Box<ClusterLink>),
    /// One is gone.
    Delete(String),
}

/// Watches all ClusterLinks, for as long as anybody listens.
pub fn watch_all(client: Client) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let gone = events.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = follow(Api::all(client), events) => {}
        }
    });
    receiver
}

async fn follow(api: Api<ClusterLink>, events: mpsc::Sender<Event>) {
    use futures::StreamExt as _;
    let mut stream = std::pin::pin!(watch(api, Config::default()).backoff(Steps::new(FIRST, LONGEST)));
    let mut silent = false;
    let mut all = Vec::new();
    while let Some(event) = stream.next().await {
        let said = match event {
            Ok(watcher::Event::Init) => {
                all.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                all.push(object);
                continue;
            }
            Ok(watcher::Event::InitDone) => Event::All(std::mem::take(&mut all)),
            Ok(watcher::Event::Apply(object)) => Event::Upsert(Box::new(object)),
            Ok(watcher::Event::Delete(object)) => Event::Delete(object.name_any()),
            Err(error) => {
                // Once for each trouble: it is tried again by itself.
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(%error, "ClusterLinks cannot be watched; trying again");
                }
                continue;
            }
        };
        silent = false;
        if events.send(said).await.is_err() {
            return;
        }
    }
}

/// Reads a token; none when there is no such Secret, or no such key in it.
///
/// # Errors
/// What the API server says.
pub async fn token(client: &Client, namespace: &str, at: &TokenRef) -> Result<Option<Vec<u8>>, Error> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let secret = answered(|| format!("get secrets/{}", at.name), PATIENCE, api.get_opt(&at.name)).await?;
    Ok(secret.and_then(|secret| secret.data?.remove(&at.key)).map(|bytes| bytes.0))
}

struct Status<'a>(&'a str, &'a ClusterLinkStatus);

impl Fields for Status<'_> {
    fn resource(&self) -> &'static str {
        "clusterlinks"
    }

    fn value(&self) -> Value {
        json!({
            "apiVersion": "causeway.io/v1alpha1",
            "kind": "ClusterLink",
            "metadata": { "name": self.0 },
            "status": self.1,
        })
    }
}

/// Writes what has become of a ClusterLink.
///
/// # Errors
/// What the API server says; [`write::Remedy::Gone`] when there is no such ClusterLink.
pub async fn apply_status(client: &Client, name: &str, status: &ClusterLinkStatus) -> Result<(), Error> {
    let api = Api::<ClusterLink>::all(client.clone());
    write::apply_status(&api, name, &Status(name, status)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let read = |spec: Value| {
            serde_json::from_value::<ClusterLink>(json!({
                "apiVersion": "causeway.io/v1alpha1", "kind": "ClusterLink",
                "metadata": {"name": "gcp"}, "spec": spec,
            }))
        };
        let link = read(json!({"tokenSecretRef": {"key": "gcp"}})).unwrap();
        assert_eq!(link.spec.token_secret_ref, TokenRef { name: TOKENS.into(), key: "gcp".into() });
        assert!(read(json!({})).is_err());
        assert!(read(json!({"tokenSecretRef": {"name": "mine"}})).is_err());
    }

    #[test]
    fn since_when_it_is_so() {
        let first = ClusterLinkStatus::default().next(Some(1), "gcp", 2, State::Connected, "");
        let ready = |status: &ClusterLinkStatus| status.conditions[0].clone();
        assert_eq!((ready(&first).status.as_str(), ready(&first).reason.as_str()), ("True", "Connected"));
        let again = first.next(Some(1), "gcp", 2, State::Connected, "");
        assert_eq!(again, first);
        let broken = first.next(Some(1), "gcp", 2, State::Disconnected, "cannot reach 192.0.2.1:9640");
        assert_eq!(
            (ready(&broken).status.as_str(), ready(&broken).message.as_str()),
            ("False", "cannot reach 192.0.2.1:9640")
        );
        let worse = broken.next(Some(1), "gcp", 2, State::Waiting, "expired");
        assert_eq!(ready(&worse).last_transition_time, ready(&broken).last_transition_time);
    }

    #[test]
    fn a_status_says_only_what_is_so() {
        let status = ClusterLinkStatus { state: "Waiting".into(), ..ClusterLinkStatus::default() };
        assert_eq!(Status("gcp", &status).value()["status"], json!({"state": "Waiting"}));
    }
}
