//! The cluster's daemon: one on each of the chosen nodes, on the host's network, with no power over its host.

use super::common::{downward, labels, log_environment, metadata, probe};
use super::config::{CONTROLLER, FOLDER};
use crate::tree::{Tree, count, each, item, set, text, tree, when};

/// The name of everything that is the controller's.
pub(crate) const NAME: &str = "causeway-controller";

/// Whom the image does not know, and the host neither.
const NOBODY: i64 = 65532;

pub(super) fn disruption_budget() -> Tree {
    tree!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": (metadata(NAME)),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": (labels("controller")) } },
    })
}

pub(super) fn deployment() -> Tree {
    tree!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": (metadata(NAME)),
        "spec": {
            "replicas": (count("controllers.nodes")),
            "selector": { "matchLabels": (labels("controller")) },
            // Two on one node would want the same ports.
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } },
            "template": {
                "metadata": {
                    "labels": (labels("controller")),
                    "annotations": { "causeway.io/config": (Tree::Checksum(&CONTROLLER)) },
                },
                "spec": (pod()),
            },
        },
    })
}

fn pod() -> Tree {
    tree!({
        "serviceAccountName": NAME,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "hostNetwork": true,
        "dnsPolicy": "Default",
        "priorityClassName": (set("controllers.priorityClassName")),
        "terminationGracePeriodSeconds": 10,
        "imagePullSecrets": (when("image.pullSecrets", each("image.pullSecrets", tree!({ "name": (item()) })))),
        "tolerations": (set("controllers.tolerations")),
        "affinity": (on_chosen_nodes()),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": NOBODY,
            "runAsGroup": NOBODY,
            "fsGroup": NOBODY,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [(container())],
        "volumes": [
            { "name": "config", "configMap": { "name": NAME } },
            { "name": "run", "emptyDir": { "medium": "Memory" } },
            { "name": "state", "emptyDir": {} },
        ],
    })
}

/// One term for each node: a term's fields take one name only.
fn on_chosen_nodes() -> Tree {
    let term = tree!({
        "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [(item())] }],
    });
    tree!({
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": (each("controllers.nodes", term)),
            },
        },
    })
}

fn container() -> Tree {
    tree!({
        "name": "controller",
        "image": (text("{}:{}", ["image.repository", "image.tag"])),
        "imagePullPolicy": (set("image.pullPolicy")),
        "command": ["/causeway", "controller", (Tree::from(format!("--config={FOLDER}/controller.yaml").as_str()))],
        "env": (Tree::List(environment())),
        "ports": [
            { "name": "exchange", "containerPort": (set("controllers.port")), "protocol": "TCP" },
            { "name": "http", "containerPort": (set("controllers.httpPort")), "protocol": "TCP" },
        ],
        "livenessProbe": (probe("/healthz", "controllers.httpPort", 10, 6)),
        "readinessProbe": (probe("/readyz", "controllers.httpPort", 2, 3)),
        "resources": (set("controllers.resources")),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "config", "mountPath": FOLDER, "readOnly": true },
            { "name": "run", "mountPath": "/run/causeway" },
            { "name": "state", "mountPath": "/var/lib/causeway" },
        ],
    })
}

fn environment() -> Vec<Tree> {
    const HOST: &str = "controllers.apiServer.host";
    let mut all =
        vec![downward("POD_NAME", "metadata.name"), downward("POD_NAMESPACE", "metadata.namespace")];
    all.extend(log_environment());
    let port = text("{}", ["controllers.apiServer.port"]);
    all.push(when(HOST, tree!({ "name": "KUBERNETES_SERVICE_HOST", "value": (set(HOST)) })));
    all.push(when(HOST, tree!({ "name": "KUBERNETES_SERVICE_PORT", "value": port })));
    all
}
