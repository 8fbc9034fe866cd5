//! How far the daemons are, and what holds them up.

use std::fmt;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::api::Error;

/// How many pods are asked for their events: enough to see what is wrong with all.
const ASKED: usize = 3;

/// One of the two daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// The cluster's.
    Controller,
    /// The nodes'.
    Agent,
}

impl Daemon {
    /// What its objects are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "causeway-controller",
            Self::Agent => "causeway-agent",
        }
    }

    const fn component(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agent => "agent",
        }
    }

    pub(crate) fn selector(self) -> ListParams {
        ListParams::default().labels(&format!(
            "app.kubernetes.io/name=causeway,app.kubernetes.io/component={}",
            self.component()
        ))
    }
}

/// How far a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which one.
    pub daemon: Daemon,
    /// How many there should be.
    pub wanted: i32,
    /// How many are of the newest kind.
    pub updated: i32,
    /// How many are ready.
    pub ready: i32,
    /// Whether the cluster has taken note of the newest kind at all.
    pub noticed: bool,
    /// What holds the others up, by node.
    pub troubles: Vec<Trouble>,
}

/// What holds a pod up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// Where; empty: nowhere yet.
    pub node: String,
    /// Which pod.
    pub pod: String,
    /// What is the matter.
    pub reason: String,
}

impl Standing {
    /// Whether all there should be are there, new and ready.
    pub fn done(&self) -> bool {
        self.noticed && self.wanted > 0 && self.updated >= self.wanted && self.ready >= self.wanted
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { daemon, wanted, updated, ready, .. } = self;
        write!(f, "{}s: {ready} of {wanted} ready", daemon.component())?;
        if updated < wanted { write!(f, ", {updated} updated") } else { Ok(()) }
    }
}

/// Asks how far a daemon is. Where not all are ready, it is asked why.
///
/// # Errors
/// The daemon's object cannot be read.
pub async fn standing(client: &Client, namespace: &str, daemon: Daemon) -> Result<Standing, Error> {
    let mut standing = match daemon {
        Daemon::Controller => of_deployment(client, namespace).await?,
        Daemon::Agent => of_daemon_set(client, namespace).await?,
    };
    if !standing.done() {
        standing.troubles = troubles(client, namespace, daemon).await?;
    }
    Ok(standing)
}

async fn of_deployment(client: &Client, namespace: &str) -> Result<Standing, Error> {
    let daemon = Daemon::Controller;
    let found = Api::<Deployment>::namespaced(client.clone(), namespace).get(daemon.name()).await;
    let found = found.map_err(Error::new("reading", format!("Deployment {namespace}/{}", daemon.name())))?;
    let status = found.status.unwrap_or_default();
    Ok(Standing {
        daemon,
        wanted: found.spec.and_then(|spec| spec.replicas).unwrap_or(1),
        updated: status.updated_replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
        noticed: status.observed_generation >= found.metadata.generation,
        troubles: Vec::new(),
    })
}

async fn of_daemon_set(client: &Client, namespace: &str) -> Result<Standing, Error> {
    let daemon = Daemon::Agent;
    let found = Api::<DaemonSet>::namespaced(client.clone(), namespace).get(daemon.name()).await;
    let found = found.map_err(Error::new("reading", format!("DaemonSet {namespace}/{}", daemon.name())))?;
    let status = found.status.unwrap_or_default();
    Ok(Standing {
        daemon,
        wanted: status.desired_number_scheduled,
        updated: status.updated_number_scheduled.unwrap_or(0),
        ready: status.number_ready,
        noticed: status.observed_generation >= found.metadata.generation,
        troubles: Vec::new(),
    })
}

async fn troubles(client: &Client, namespace: &str, daemon: Daemon) -> Result<Vec<Trouble>, Error> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&daemon.selector()).await;
    let pods = pods.map_err(Error::new("listing", format!("pods of {}", daemon.name())))?;
    let mut found = Vec::new();
    for pod in pods {
        let Some(mut trouble) = trouble(&pod) else { continue };
        if trouble.reason == CREATING
            && found.len() < ASKED
            && let Some(event) = last_event(client, &pod).await
        {
            trouble.reason = event;
        }
        found.push(trouble);
    }
    found.sort();
    Ok(found)
}

const CREATING: &str = "ContainerCreating";

fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref();
    let conditions = || status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    if conditions().any(|c| c.type_ == "Ready" && c.status == "True") {
        return None;
    }
    let container = status.and_then(|status| status.container_statuses.as_ref()?.first());
    let waiting = container.and_then(|c| c.state.as_ref()?.waiting.as_ref());
    let ended = container.and_then(|c| c.last_state.as_ref()?.terminated.as_ref());
    let scheduled = conditions().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let both = |reason: &Option<String>, message: &Option<String>| {
        let parts = [reason.as_deref(), message.as_deref()];
        parts.into_iter().flatten().map(str::trim).collect::<Vec<_>>().join(": ")
    };
    let reason = match (scheduled, waiting, ended) {
        (Some(condition), ..) => both(&condition.reason, &condition.message),
        (_, Some(waiting), Some(ended)) => {
            format!("{}, last ended with status {}", both(&waiting.reason, &waiting.message), ended.exit_code)
        }
        (_, Some(waiting), None) => both(&waiting.reason, &waiting.message),
        (..) => "runs, but is not ready (yet): see its log".to_owned(),
    };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    Some(Trouble { node, pod: pod.name_any(), reason })
}

/// What the cluster last said about a pod: mounts and images that are not there have only this.
async fn last_event(client: &Client, pod: &Pod) -> Option<String> {
    let params = ListParams::default().fields(&format!("involvedObject.uid={}", pod.uid()?));
    let events = Api::<Event>::namespaced(client.clone(), &pod.namespace()?).list(&params).await.ok()?;
    let warnings = events.items.into_iter().filter(|event| event.type_.as_deref() == Some("Warning"));
    let last = warnings.max_by_key(|event| event.last_timestamp.clone())?;
    Some(format!("{}: {}", last.reason.unwrap_or_default(), last.message.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_the_matter() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let unscheduled = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no ports"}]);
        let state = |state| {
            json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            "lastState": {"terminated": {"exitCode": 1}}}])
        };
        for (conditions, containers, expected) in [
            (ready, json!([]), None),
            (unscheduled, json!([]), Some("Unschedulable: no ports")),
            (
                json!([]),
                state(json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}})),
                Some("CrashLoopBackOff: back-off, last ended with status 1"),
            ),
            (json!([]), state(json!({"running": {}})), Some("runs, but is not ready (yet): see its log")),
        ] {
            let pod = json!({
                "metadata": {"name": "p"},
                "spec": {"nodeName": "n", "containers": []},
                "status": {"conditions": conditions, "containerStatuses": containers},
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(trouble(&pod).map(|t| t.reason).as_deref(), expected);
        }
    }
}
