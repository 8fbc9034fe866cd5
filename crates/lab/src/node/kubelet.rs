//! Keeps a node's pods as its cluster's objects want them: starts what is missing, ends what is not wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::manifest::{Id, Kind};
use cluster::standalone::Store;
use k8s_openapi::api::core::v1::Pod;
use model::ObjectName;
use tokio::sync::Notify;
use tracing::{error, info};

use crate::pod::{Host, Life, Place, Running};

/// The objects of a cluster, and who is told that they have to be looked at again.
#[derive(Debug, Clone)]
pub struct Objects {
    /// The objects.
    pub store: Arc<Store>,
    /// Rung when something changed.
    pub bell: Arc<Notify>,
}

/// A node's pods.
#[derive(Debug)]
pub(super) struct Kubelet {
    host: Host,
    objects: Objects,
    pods: BTreeMap<ObjectName, Entry>,
}

#[derive(Debug)]
struct Entry {
    running: Running,
    pod: Pod,
}

impl Kubelet {
    pub(super) fn new(host: Host, objects: Objects) -> Self {
        Self { host, objects, pods: BTreeMap::new() }
    }

    /// Makes the pods so. To be called again whenever the bell rings.
    pub(super) fn reconcile(&mut self, wanted: &BTreeMap<ObjectName, Pod>) {
        self.pods.retain(|_, entry| !entry.running.ended());
        for (name, entry) in &self.pods {
            if !wanted.get(name).is_some_and(|pod| same(&entry.pod, pod)) {
                entry.running.terminate();
            }
        }
        for (name, pod) in wanted {
            if self.pods.contains_key(name) {
                continue;
            }
            if pod.metadata.deletion_timestamp.is_some() {
                self.finish(name);
            } else if !over(pod) {
                self.start(name, pod);
            }
        }
    }

    /// Where a pod runs.
    pub(super) fn place(&self, pod: &ObjectName) -> Option<Place> {
        self.pods.get(pod).map(|entry| entry.running.place.clone())
    }

    /// Drops everything at once: the node has died.
    pub(super) fn forget(self) -> Vec<Place> {
        self.pods.into_values().map(|entry| entry.running.forget()).collect()
    }

    fn start(&mut self, name: &ObjectName, pod: &Pod) {
        info!(pod = %name, node = %self.host.node.name, "starting pod");
        let place = Place::new(&self.host.node, name);
        let (store, pod_name, host_ips) =
            (Arc::clone(&self.objects.store), name.clone(), self.host.node.host.private_ips());
        let report = move |life: &Life| {
            let status = life.status(&host_ips);
            if let Err(error) = store.set_pod_status(&pod_name.namespace, &pod_name.name, status) {
                error!(pod = %pod_name, %error, "cannot write the pod's status");
            }
        };
        let bell = Arc::clone(&self.objects.bell);
        let running =
            Running::start(self.host.clone(), pod.clone(), place, report, move || bell.notify_one());
        self.pods.insert(name.clone(), Entry { running, pod: pod.clone() });
    }

    /// The last of a pod that was to be deleted, and of which nothing is left here.
    fn finish(&self, name: &ObjectName) {
        let id = Id::new(Kind::Pod, &name.namespace, &name.name);
        match self.objects.store.delete(&id) {
            Ok(_) => self.objects.bell.notify_one(),
            Err(error) => error!(pod = %name, %error, "cannot delete the pod"),
        }
    }
}

/// Whether a pod that runs is still the one that is wanted: not on its way out, not written anew.
fn same(running: &Pod, wanted: &Pod) -> bool {
    let fixed = |pod: &Pod| {
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        (
            pod.spec.clone(),
            annotations.get(crate::probe::PERIOD_ANNOTATION).cloned(),
            pod.metadata.uid.clone(),
        )
    };
    wanted.metadata.deletion_timestamp.is_none() && fixed(running) == fixed(wanted)
}

/// Whether a pod has run to its end and is not to run again.
fn over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn sameness() {
        let running =
            r#"{"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "command": ["a"]}]}}"#;
        for (wanted, expected) in [
            (running, true),
            (&running.replace("\"p\"}", "\"p\", \"labels\": {\"x\": \"y\"}}"), true),
            (&running.replace("[\"a\"]", "[\"b\"]"), false),
            (&running.replace("\"p\"}", "\"p\", \"deletionTimestamp\": \"2026-01-01T00:00:00Z\"}"), false),
            (
                &running
                    .replace("\"p\"}", "\"p\", \"annotations\": {\"lab.causeway.io/probe-period\": \"1s\"}}"),
                false,
            ),
        ] {
            assert_eq!(same(&pod(running), &pod(wanted)), expected, "{wanted}");
        }
    }

    #[test]
    fn ends() {
        for (phase, expected) in
            [("Pending", false), ("Running", false), ("Succeeded", true), ("Failed", true)]
        {
            let text = format!(r#"{{"metadata": {{}}, "status": {{"phase": "{phase}"}}}}"#);
            assert_eq!(over(&pod(&text)), expected, "{phase}");
        }
    }
}
