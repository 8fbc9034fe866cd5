//! Who may do what: the controller what it does, the agent nothing at all.

use cluster::kubernetes::access::controller_rules;

use super::common::{cluster_metadata, metadata};
use super::controller;
use crate::tree::{Tree, set, tree};

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";

pub(super) fn cluster_role() -> Tree {
    let (rules, _) = controller_rules();
    let rules = serde_json::to_value(rules).expect("rules are JSON");
    tree!({ "apiVersion": VERSION, "kind": "ClusterRole", "metadata": (cluster_metadata(controller::NAME)), "rules": rules })
}

pub(super) fn role() -> Tree {
    let (_, rules) = controller_rules();
    let rules = serde_json::to_value(rules).expect("rules are JSON");
    tree!({ "apiVersion": VERSION, "kind": "Role", "metadata": (metadata(controller::NAME)), "rules": rules })
}

pub(super) fn cluster_role_binding() -> Tree {
    tree!({
        "apiVersion": VERSION,
        "kind": "ClusterRoleBinding",
        "metadata": (cluster_metadata(controller::NAME)),
        "roleRef": (role_ref("ClusterRole")),
        "subjects": (subjects()),
    })
}

pub(super) fn role_binding() -> Tree {
    tree!({
        "apiVersion": VERSION,
        "kind": "RoleBinding",
        "metadata": (metadata(controller::NAME)),
        "roleRef": (role_ref("Role")),
        "subjects": (subjects()),
    })
}

fn role_ref(kind: &str) -> Tree {
    tree!({ "apiGroup": GROUP, "kind": kind, "name": (controller::NAME) })
}

fn subjects() -> Tree {
    tree!([{ "kind": "ServiceAccount", "name": (controller::NAME), "namespace": (set("namespace")) }])
}
