//! What the cluster keeps of each node beside its Node: the pod ranges it was given, and what its agent reported. So every
//! controller of the cluster knows what was told to one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::watcher::{self, Config};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, CustomResource, ResourceExt as _};
use model::mesh::Transport;
use model::reach::is_endpoint;
use model::{GenerationId, KubeProxy, NodeName, PublicKey, Reach};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Error;
use super::retry::Steps;
use super::write::{self, Fields, PATIENCE, Remedy, answered};

/// Objects that wait to be taken in.
const QUEUE: usize = 256;

/// What the cluster gives a node.
#[expect(clippy::duplicated_attributes, reason = "columns have types and paths each")]
#[derive(Debug, Clone, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "causeway.io",
    version = "v1alpha1",
    kind = "MeshNode",
    status = "MeshNodeStatus",
    shortname = "mn",
    category = "causeway",
    derive = "PartialEq",
    doc = "What Causeway keeps of a node; written by its controller, named like its Node.",
    printcolumn(name = "Ranges", type_ = "string", json_path = ".spec.podCIDRs"),
    printcolumn(name = "Key", type_ = "string", json_path = ".status.publicKey"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MeshNodeSpec {
    /// The ranges its pods take addresses from, at most one a family; empty for a node whose Node names its own.
    #[serde(default, rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
}

/// What a node's agent reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshNodeStatus {
    /// Its WireGuard key, in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub public_key: String,
    /// The key that it will have next, in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next_key: String,
    /// Whether its tunnel lets others have two keys while they change theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub knows_two_keys: bool,
    /// Whether its tunnel lets gateways stand in for each other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub knows_groups: bool,
    /// The UDP port of its tunnel.
    #[serde(default)]
    pub port: u16,
    /// The addresses of its underlay device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Whether kube-proxy is at work there: `Running`, `Absent` or `Unknown`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kube_proxy: String,
    /// Causeway's version there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether it passes on messages between nodes that do not reach each other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relays: bool,
    /// Where it sees nodes (CLUSTER/NODE) that are behind a NAT.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sees: BTreeMap<String, String>,
    /// Nodes (CLUSTER/NODE) that may pass on for it, and the round-trip time to each in microseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub relayed_by: BTreeMap<String, u32>,
    /// What it takes unencrypted from nodes of its location: `vxlan`, `plain`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<String>,
    /// The ids of the generations of pre-shared keys that it holds, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<String>,
}

/// A node's report, as it is kept in a MeshNode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reported {
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// The key that it will have next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PublicKey>,
    /// Whether its tunnel lets others have two keys while they change theirs.
    #[serde(default)]
    pub knows_two_keys: bool,
    /// Whether its tunnel lets gateways stand in for each other.
    #[serde(default)]
    pub knows_groups: bool,
    /// The UDP port of its tunnel.
    pub port: u16,
    /// The addresses of its underlay device.
    pub addresses: Vec<IpAddr>,
    /// Whether kube-proxy is at work there.
    #[serde(default)]
    pub kube_proxy: KubeProxy,
    /// Causeway's version there.
    #[serde(default)]
    pub version: String,
    /// What it has found out about how nodes reach each other.
    #[serde(default, skip_serializing_if = "Reach::is_empty")]
    pub reach: Reach,
    /// What it takes unencrypted from nodes of its location.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub takes: BTreeSet<Transport>,
    /// The generations of pre-shared keys that it holds, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<GenerationId>,
}

impl From<&Reported> for MeshNodeStatus {
    fn from(reported: &Reported) -> Self {
        let reach = &reported.reach;
        Self {
            public_key: reported.public_key.to_string(),
            next_key: reported.next_key.map(|key| key.to_string()).unwrap_or_default(),
            knows_two_keys: reported.knows_two_keys,
            knows_groups: reported.knows_groups,
            port: reported.port,
            addresses: reported.addresses.iter().map(ToString::to_string).collect(),
            kube_proxy: match reported.kube_proxy {
                KubeProxy::Running => "Running",
                KubeProxy::Absent => "Absent",
                KubeProxy::Unknown => "Unknown",
            }
            .into(),
            version: reported.version.clone(),
            relays: reach.relays,
            sees: reach.sees.iter().map(|(node, at)| (node.to_string(), at.to_string())).collect(),
            relayed_by: reach.relayed_by.iter().map(|(node, time)| (node.to_string(), *time)).collect(),
            takes: reported.takes.iter().map(|transport| transport.name().into()).collect(),
            generations: reported.generations.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A MeshNode as it is held in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion: of two of one object the greater is the later (KEP-5504). 0 if it is no number.
    pub version: u64,
    /// The uid of the Node that owns it.
    pub owner: Option<String>,
    /// The ranges it gives.
    pub pod_cidrs: Vec<IpNet>,
    /// What its agent reported; none when that is not, or not readable.
    pub reported: Option<Reported>,
    /// What cannot be read in it.
    pub unreadable: Vec<String>,
}

impl From<&MeshNode> for Held {
    fn from(object: &MeshNode) -> Self {
        let mut unreadable = Vec::new();
        let mut pod_cidrs = Vec::new();
        for text in &object.spec.pod_cidrs {
            match text.parse::<IpNet>() {
                Ok(net) => pod_cidrs.push(net.trunc()),
                Err(_) => unreadable
                    .push(format!("spec.podCIDRs: {text:?} is no range; write one such as 10.1.7.0/24")),
            }
        }
        let status = object.status.as_ref().filter(|status| !status.public_key.is_empty());
        let reported = status.and_then(|status| match reported(status) {
            Ok(reported) => Some(reported),
            Err(problem) => {
                unreadable.push(problem);
                None
            }
        });
        let owners = object.metadata.owner_references.iter().flatten();
        Self {
            uid: object.uid().unwrap_or_default(),
            version: object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default(),
            owner: owners.filter(|owner| owner.kind == "Node").map(|owner| owner.uid.clone()).next(),
            pod_cidrs,
            reported,
            unreadable,
        }
    }
}

fn reported(status: &MeshNodeStatus) -> Result<Reported, String> {
    let public_key = status.public_key.parse().map_err(|e| format!("status.publicKey: {e}"))?;
    let address =
        |text: &String| text.parse().map_err(|_| format!("status.addresses: {text:?} is no address"));
    let next_key = match status.next_key.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e| format!("status.nextKey: {e}"))?),
    };
    Ok(Reported {
        public_key,
        next_key,
        knows_two_keys: status.knows_two_keys,
        knows_groups: status.knows_groups,
        port: status.port,
        addresses: status.addresses.iter().map(address).collect::<Result<_, _>>()?,
        kube_proxy: match status.kube_proxy.as_str() {
            "Running" => KubeProxy::Running,
            "Absent" => KubeProxy::Absent,
            // From another version, it may be another word.
            _ => KubeProxy::Unknown,
        },
        version: status.version.clone(),
        reach: reach(status),
        takes: [Transport::Vxlan, Transport::Plain]
            .into_iter()
            .filter(|transport| status.takes.iter().any(|name| name == transport.name()))
            .collect(),
        generations: generations(status),
    })
}

/// What can be read of them: one that cannot is of another version, and none that could be used.
fn generations(status: &MeshNodeStatus) -> Vec<GenerationId> {
    let ids = status.generations.iter().filter_map(|id| id.parse().ok());
    ids.take(GenerationId::MOST).collect()
}

/// What can be read of it: it is found out again.
fn reach(status: &MeshNodeStatus) -> Reach {
    let name = |text: &String| NodeName::try_from(text.clone()).ok();
    let sees = status.sees.iter().filter_map(|(node, at)| Some((name(node)?, at.parse().ok()?)));
    let relayed_by = status.relayed_by.iter().filter_map(|(node, time)| Some((name(node)?, *time)));
    Reach {
        relays: status.relays,
        sees: sees.filter(|(_, at)| is_endpoint(at)).take(Reach::MOST_SEEN).collect(),
        relayed_by: relayed_by.take(Reach::MOST_RELAYS).collect(),
    }
}

/// What is said of all MeshNodes: first everything there is, then [`Event::Synced`], then what changes.
#[expect(
    clippy::large_enum_variant,
    reason = "most events are the large one, and each is moved a few times only"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A MeshNode is now so.
    Upsert(String, Held),
    /// A MeshNode is gone.
    Delete(String),
    /// Everything there is has been said: what is held beyond it is gone.
    Synced,
}

/// A watch that failed is tried again after this long at first, and this long at last.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);

/// Watches all MeshNodes, for as long as anybody listens.
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

async fn follow(api: Api<MeshNode>, events: mpsc::Sender<Event>) {
    use futures::StreamExt as _;
    let mut stream = std::pin::pin!(watch(api, Config::default()).backoff(Steps::new(FIRST, LONGEST)));
    let mut silent = false;
    let mut names = BTreeSet::new();
    let mut missing = BTreeSet::new();
    while let Some(event) = stream.next().await {
        let said = match event {
            Ok(watcher::Event::Init) => {
                missing.clone_from(&names);
                continue;
            }
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                missing.remove(&object.name_any());
                names.insert(object.name_any());
                vec![Event::Upsert(object.name_any(), Held::from(&object))]
            }
            // What was there before the list and is not in it has gone unseen.
            Ok(watcher::Event::InitDone) => {
                names.retain(|name| !missing.contains(name));
                let gone = std::mem::take(&mut missing).into_iter().map(Event::Delete);
                gone.chain([Event::Synced]).collect()
            }
            Ok(watcher::Event::Delete(object)) => {
                names.remove(&object.name_any());
                vec![Event::Delete(object.name_any())]
            }
            Err(error) => {
                // Once for each trouble: it is tried again by itself.
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(%error, "MeshNodes cannot be watched; trying again");
                }
                continue;
            }
        };
        silent = false;
        for event in said {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// The Node that owns a MeshNode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name, and the MeshNode's.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

struct Spec<'a>(&'a Owner, &'a [IpNet]);

impl Fields for Spec<'_> {
    fn resource(&self) -> &'static str {
        "meshnodes"
    }

    fn value(&self) -> Value {
        let Self(Owner { name, uid }, ranges) = self;
        let mut spec = json!({});
        if !ranges.is_empty() {
            spec["podCIDRs"] = ranges.iter().map(ToString::to_string).collect();
        }
        json!({
            "apiVersion": "causeway.io/v1alpha1",
            "kind": "MeshNode",
            "metadata": {
                "name": name,
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }],
            },
            "spec": spec,
        })
    }
}

struct Status<'a>(&'a str, &'a Reported);

impl Fields for Status<'_> {
    fn resource(&self) -> &'static str {
        "meshnodes"
    }

    fn value(&self) -> Value {
        json!({
            "apiVersion": "causeway.io/v1alpha1",
            "kind": "MeshNode",
            "metadata": { "name": self.0 },
            "status": MeshNodeStatus::from(self.1),
        })
    }
}

/// Writes what a node is given. Returns the object as it is then.
///
/// # Errors
/// What the API server says.
pub async fn apply_spec(client: &Client, owner: &Owner, ranges: &[IpNet]) -> Result<Held, Error> {
    let applied =
        write::apply(&Api::<MeshNode>::all(client.clone()), &owner.name, &Spec(owner, ranges)).await?;
    Ok(Held::from(&applied))
}

/// Writes what a node reported. Returns the object as it is then.
///
/// # Errors
/// What the API server says; [`Remedy::Gone`] when there is no such MeshNode.
pub async fn apply_status(client: &Client, name: &str, reported: &Reported) -> Result<Held, Error> {
    let applied =
        write::apply_status(&Api::<MeshNode>::all(client.clone()), name, &Status(name, reported)).await?;
    Ok(Held::from(&applied))
}

/// Removes a MeshNode, if it is still this one. One that is gone already is no error.
///
/// # Errors
/// What the API server says.
pub async fn delete(client: &Client, name: &str, uid: &str) -> Result<(), Error> {
    let uid = (!uid.is_empty()).then(|| uid.to_string());
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    let api = Api::<MeshNode>::all(client.clone());
    let deleted =
        answered(|| format!("delete meshnodes/{name}"), PATIENCE, api.delete(name, &params)).await.map(drop);
    match deleted {
        Err(error) if matches!(error.remedy(), Remedy::Gone | Remedy::Look) => Ok(()),
        other => other,
    }
}

/// The Node of this name; none if there is none.
///
/// # Errors
/// What the API server says.
pub async fn owner(client: &Client, name: &str) -> Result<Option<Owner>, Error> {
    let api = Api::<k8s_openapi::api::core::v1::Node>::all(client.clone());
    let node = answered(|| format!("get nodes/{name}"), PATIENCE, api.get_metadata_opt(name)).await?;
    Ok(node.map(|node| Owner { name: name.to_string(), uid: node.uid().unwrap_or_default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(spec: Value, status: Value) -> MeshNode {
        let object = json!({
            "apiVersion": "causeway.io/v1alpha1",
            "kind": "MeshNode",
            "metadata": { "name": "a", "uid": "u1" },
            "spec": spec,
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let reported = Reported {
            public_key: PublicKey([7; 32]),
            next_key: Some(PublicKey([8; 32])),
            knows_two_keys: true,
            knows_groups: true,
            port: 51820,
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            kube_proxy: KubeProxy::Running,
            version: "1.2.3".into(),
            reach: Reach {
                relays: true,
                sees: BTreeMap::from([(
                    NodeName::try_from("b/1".to_string()).unwrap(),
                    "[2001:db8::1]:5".parse().unwrap(),
                )]),
                relayed_by: BTreeMap::from([(NodeName::try_from("b/2".to_string()).unwrap(), 1_500)]),
            },
            takes: [Transport::Vxlan].into(),
            generations: vec![GenerationId([9; 8]), GenerationId([1; 8])],
        };
        let ranges: Vec<IpNet> = vec!["10.1.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
        let owner = Owner { name: "a".into(), uid: "n1".into() };
        let mut value = Spec(&owner, &ranges).value();
        value["status"] = Status("a", &reported).value()["status"].clone();
        let held = Held::from(&serde_json::from_value::<MeshNode>(value).unwrap());
        let expected =
            Held { owner: Some("n1".into()), pod_cidrs: ranges, reported: Some(reported), ..Held::default() };
        assert_eq!(held, expected);
    }

    #[test]
    fn what_others_wrote_wrongly_is_said() {
        for (spec, status, said) in [
            (json!({"podCIDRs": ["10.1.0.0/24", "ten"]}), json!({}), "\"ten\" is no range"),
            (json!({}), json!({"publicKey": "short"}), "publicKey"),
            (json!({}), json!({"publicKey": PublicKey([1; 32]), "addresses": ["x"]}), "\"x\" is no address"),
        ] {
            let held = Held::from(&object(spec, status));
            assert!(matches!(&held.unreadable[..], [one] if one.contains(said)), "{held:?}");
            assert_eq!(held.reported, None);
        }
        let held = Held::from(&object(json!({}), Value::Null));
        assert_eq!(held, Held { uid: "u1".into(), ..Held::default() });
    }
}
