//! Kubernetes objects of a running lab: put in, taken out, and made to run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use cluster::manifest::{self, Id, Kind, Manifest};
use cluster::standalone::workloads;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use model::{ClusterName, ObjectName};

use super::Daemon;
use super::cluster::ClusterHost;
use crate::api::{Apply, Delete};
use crate::file::check_objects;
use crate::state;
use crate::status::PodStatus;

/// How often objects are looked at when nobody has rung: somebody may have edited a file by hand.
const LOOK: Duration = Duration::from_secs(1);

/// How long `lab delete` waits for a pod to be gone.
const PATIENCE: Duration = Duration::from_secs(25);

impl ClusterHost {
    /// Keeps its pods as its objects want them, for as long as it is polled.
    pub(super) async fn keep_pods(&self) {
        loop {
            if let Err(e) = self.reconcile() {
                tracing::error!(cluster = %self.name(), error = format!("{e:#}"), "cannot look after the pods");
            }
            // Rung or not, a look is due.
            let _ = tokio::time::timeout(LOOK, self.objects.bell.notified()).await;
        }
    }

    fn reconcile(&self) -> Result<()> {
        self.place_pods()?;
        let mut wanted: BTreeMap<&str, BTreeMap<ObjectName, Pod>> = BTreeMap::new();
        for (name, pod) in self.pods()? {
            match self.node_of(&pod) {
                Some(node) => drop(wanted.entry(&node.name().node).or_default().insert(name, pod)),
                // Placed nowhere, or on a node that does not exist: nobody else will see it off.
                None if pod.metadata.deletion_timestamp.is_some() => {
                    self.objects.store.delete(&Id::new(Kind::Pod, &name.namespace, &name.name))?;
                }
                None => {}
            }
        }
        for node in &self.nodes {
            node.reconcile(&wanted.remove(node.name().node.as_str()).unwrap_or_default());
        }
        Ok(())
    }

    /// Takes Deployments apart and gives every pod a node.
    fn place_pods(&self) -> Result<()> {
        let store = &self.objects.store;
        let all = store.all()?;
        let placement = workloads::place(&all);
        let there: BTreeMap<Id, &Manifest> = all.iter().map(|manifest| (manifest.id(), manifest)).collect();
        let wanted: BTreeMap<Id, Manifest> = placement
            .pods
            .into_iter()
            .map(Manifest::from)
            .map(|manifest| (manifest.id(), manifest))
            .collect();
        let new: Vec<Manifest> = wanted
            .iter()
            .filter(|(id, pod)| there.get(id) != Some(pod))
            .map(|(_, pod)| pod.clone())
            .collect();
        store.apply(&new)?;
        for id in there.keys().filter(|id| id.kind == Kind::Pod && !wanted.contains_key(id)) {
            self.mark_deleted(&ObjectName::new(&id.namespace, &id.name)?)?;
        }
        let mut told = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in placement.problems.iter().filter(|problem| !told.contains(problem)) {
            tracing::warn!(cluster = %self.name(), "{problem}");
        }
        *told = placement.problems;
        Ok(())
    }

    /// Marks a pod to be deleted: its kubelet does the rest.
    fn mark_deleted(&self, name: &ObjectName) -> Result<bool> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        // That there is a mark counts, not what it says.
        let now = Time(Timestamp::from_second(i64::try_from(now)?).unwrap_or_default());
        let marked = self.objects.store.update_pod(&name.namespace, &name.name, |pod| {
            pod.metadata.deletion_timestamp.get_or_insert(now);
        })?;
        Ok(marked)
    }
}

impl Daemon {
    /// The cluster of this name.
    pub(super) fn cluster(&self, name: &ClusterName) -> Result<&ClusterHost> {
        let clusters = &self.lab()?.clusters;
        let names = || clusters.iter().map(|c| c.name().to_string()).collect::<Vec<_>>().join(", ");
        let found = clusters.iter().find(|cluster| cluster.name() == name);
        found.with_context(|| format!("no cluster is called {name}: there is {}", names()))
    }

    /// Puts objects into a cluster: all of them or none.
    pub async fn apply(&self, question: Apply) -> Result<Vec<String>> {
        let cluster = self.cluster(&question.cluster)?;
        let located = manifest::parse(&question.file, &question.text)?;
        let nodes: Vec<&str> = cluster.nodes.iter().map(|node| node.name().node.as_str()).collect();
        check_objects(&cluster.plan.cluster, &nodes, &located)?;
        let manifests: Vec<_> = located.into_iter().map(|located| located.value).collect();
        if manifests.is_empty() {
            bail!("{}: there is no object in it", question.file);
        }
        let store = &cluster.objects.store;
        let mut old = Vec::new();
        for manifest in &manifests {
            old.push(store.get(&manifest.id())?.is_some());
        }
        let changed = store.apply(&manifests)?;
        cluster.objects.bell.notify_one();
        let line = |(manifest, old): (&Manifest, bool)| {
            let id = manifest.id();
            let what = match (old, changed.contains(&id)) {
                (false, _) => "created",
                (true, true) => "changed",
                (true, false) => "unchanged",
            };
            format!("{id} {what}")
        };
        Ok(manifests.iter().zip(old).map(line).collect())
    }

    /// Takes an object out of a cluster; waits until a pod is gone.
    pub async fn delete(&self, question: Delete) -> Result<Vec<String>> {
        let cluster = self.cluster(&question.cluster)?;
        let kind: Kind = question.kind.parse()?;
        let id = match question.name.split_once('/') {
            Some((namespace, name)) if kind.namespaced() => Id::new(kind, namespace, name),
            None => Id::new(kind, "default", &question.name),
            Some(_) => bail!("a {} is in no namespace: write its name alone", kind.lower()),
        };
        if kind == Kind::Node {
            bail!(
                "{id} is a machine of this lab: `causeway lab kill {}/{}` takes it down",
                cluster.name(),
                id.name
            );
        }
        let store = &cluster.objects.store;
        if store.get(&id)?.is_none() && !(kind == Kind::Namespace && self.holds(cluster, &id.name)?) {
            bail!("there is no {id} in cluster {}", cluster.name());
        }
        let going: Vec<ObjectName> = match kind {
            Kind::Pod => vec![ObjectName::new(&id.namespace, &id.name)?],
            Kind::Namespace => cluster.pods()?.into_keys().filter(|pod| pod.namespace == id.name).collect(),
            _ => Vec::new(),
        };
        for pod in &going {
            cluster.mark_deleted(pod)?;
        }
        if kind != Kind::Pod {
            store.delete(&id)?;
        }
        cluster.objects.bell.notify_one();
        self.wait_gone(cluster, &going).await?;
        Ok(vec![format!("{id} deleted")])
    }

    fn holds(&self, cluster: &ClusterHost, namespace: &str) -> Result<bool> {
        let all = cluster.objects.store.all()?;
        Ok(all.iter().any(|manifest| manifest.metadata().namespace.as_deref() == Some(namespace)))
    }

    async fn wait_gone(&self, cluster: &ClusterHost, pods: &[ObjectName]) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let left: Vec<String> = cluster
                .pods()?
                .into_iter()
                .filter(|(name, pod)| pods.contains(name) && pod.metadata.deletion_timestamp.is_some())
                .map(|(name, _)| name.to_string())
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("marked to be deleted, but {} still end: see `causeway lab status`", left.join(", "));
            }
            tokio::time::sleep(LOOK / 20).await;
        }
    }

    /// Every pod of the lab.
    pub(super) fn pods(&self) -> Vec<PodStatus> {
        let of = |cluster: &ClusterHost| {
            let pods = cluster.pods().unwrap_or_default();
            pods.iter().map(|(name, pod)| pod_status(cluster, name, pod)).collect::<Vec<_>>()
        };
        self.clusters().iter().flat_map(of).collect()
    }
}

/// A pod's addresses, as its status has them.
pub(super) fn pod_ips(pod: &Pod) -> Vec<IpAddr> {
    let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    ips.filter_map(|ip| ip.ip.parse().ok()).collect()
}

fn pod_status(cluster: &ClusterHost, name: &ObjectName, pod: &Pod) -> PodStatus {
    let node = cluster.node_of(pod);
    let status = pod.status.as_ref();
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True");
    let up = node.is_some_and(|node| node.is_up());
    let containers = status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let message = match (node, pod.metadata.deletion_timestamp.is_some()) {
        (None, _) => "placed on no node".into(),
        (Some(_), true) => "terminating".into(),
        (Some(node), false) if !up => format!("node {} is down", node.name()),
        (Some(_), false) => status.and_then(|status| status.message.clone()).unwrap_or_default(),
    };
    PodStatus {
        cluster: cluster.name().clone(),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        ips: pod_ips(pod),
        netns: state::pod_netns(cluster.name(), name),
        ready: ready && up,
        phase: status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".into()),
        restarts: containers.map(|c| u32::try_from(c.restart_count).unwrap_or(0)).sum(),
        message,
    }
}
