//! The manifests, in the order they are applied in.

mod access;
mod agent;
mod common;
mod config;
mod controller;

use serde_json::Value;

use crate::settings::{SYSTEM, Settings};
use crate::tree::Tree;

pub(crate) use config::FILES;

/// One manifest, and what the chart calls its template.
pub(crate) struct Part {
    /// The template's name.
    pub(crate) file: &'static str,
    /// The manifest.
    pub(crate) tree: Tree,
}

/// Every manifest, in the order it is applied in.
pub(crate) fn parts() -> Vec<Part> {
    let part = |file, tree| Part { file, tree };
    vec![
        part("namespace", common::namespace()),
        part("resourcequota", common::quota()),
        part("crd-meshnodes", common::mesh_nodes()),
        part("crd-clusterlinks", common::cluster_links()),
        part("controller-serviceaccount", common::service_account(controller::NAME)),
        part("agent-serviceaccount", common::service_account(agent::NAME)),
        part("controller-clusterrole", access::cluster_role()),
        part("controller-clusterrolebinding", access::cluster_role_binding()),
        part("controller-role", access::role()),
        part("controller-rolebinding", access::role_binding()),
        part("settings-configmap", config::settings()),
        part("controller-configmap", config::controller()),
        part("agent-configmap", config::agent()),
        part("controller-poddisruptionbudget", controller::disruption_budget()),
        part("controller-deployment", controller::deployment()),
        part("agent-daemonset", agent::daemon_set()),
    ]
}

/// What only a namespace of our own needs: where Kubernetes' own daemons run, all of it is there.
pub(crate) const OF_OWN_NAMESPACE: [&str; 2] = ["namespace", "resourcequota"];

/// The manifests that an installation with these settings has.
fn wanted(settings: &Settings) -> impl Iterator<Item = Part> {
    let shared = settings.namespace == SYSTEM;
    parts().into_iter().filter(move |part| !(shared && OF_OWN_NAMESPACE.contains(&part.file)))
}

/// Every object of an installation with these settings, in the order it is applied in.
pub fn objects(settings: &Settings) -> Vec<Value> {
    let values = settings.to_json();
    wanted(settings).map(|part| part.tree.fill(&values)).collect()
}

/// The same as YAML documents, as `kubectl apply --filename -` takes them.
pub fn to_yaml(settings: &Settings) -> String {
    let values = settings.to_json();
    let document = |part: Part| format!("---\n{}\n", crate::tree::yaml::text(&part.tree.filled(&values)));
    wanted(settings).map(document).collect()
}
