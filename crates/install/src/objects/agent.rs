//! The nodes' daemon: on every node, on the host's network, with the host's processes in view.

use super::common::{downward, labels, log_environment, metadata, probe};
use super::config::{AGENT, FOLDER, GENERATIONS, SECRETS};
use crate::tree::{Tree, each, either, item, set, text, tree, unless, when};

/// The name of everything that is the agent's.
pub(crate) const NAME: &str = "causeway-agent";

pub(super) fn daemon_set() -> Tree {
    tree!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": (metadata(NAME)),
        "spec": {
            "selector": { "matchLabels": (labels("agent")) },
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": 0, "maxUnavailable": (set("agent.maxUnavailable")) },
            },
            "template": {
                "metadata": {
                    "labels": (labels("agent")),
                    "annotations": { "causeway.io/config": (Tree::Checksum(&AGENT)) },
                },
                "spec": (pod()),
            },
        },
    })
}

fn pod() -> Tree {
    tree!({
        "serviceAccountName": NAME,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "hostNetwork": true,
        "hostPID": true,
        "dnsPolicy": "Default",
        "priorityClassName": (set("agent.priorityClassName")),
        "terminationGracePeriodSeconds": 10,
        "imagePullSecrets": (when("image.pullSecrets", each("image.pullSecrets", tree!({ "name": (item()) })))),
        "tolerations": (set("agent.tolerations")),
        "nodeSelector": (set("agent.nodeSelector")),
        "containers": [(container())],
        "volumes": [
            { "name": "config", "configMap": { "name": NAME } },
            { "name": "identity", "projected": { "sources": (identity()) } },
            (when("mesh.presharedKeys.secret", generations())),
            (host_folder("run", "/run/causeway", "DirectoryOrCreate")),
            (host_folder("state", "/var/lib/causeway", "DirectoryOrCreate")),
            (host_folder("bpf", "/sys/fs/bpf", "Directory")),
        ],
    })
}

/// What the agent shows to its controller, and by what it knows it. The roots are the controller's to write: until it
/// has, the pod waits, unless it only cleans.
fn identity() -> Tree {
    tree!([
        { "serviceAccountToken": { "audience": "causeway", "expirationSeconds": 3600, "path": "token" } },
        { "configMap": { "name": "causeway-roots", "items": [{ "key": "ca.crt", "path": "ca.crt" }],
            "optional": (set("agent.cleanup")) } },
    ])
}

/// Of which nodes make pre-shared keys. Agents start without it, too, and read it once it is there; only root reads it.
fn generations() -> Tree {
    let secret = tree!({
        "secretName": (set("mesh.presharedKeys.secret")),
        "optional": true,
        "defaultMode": 0o400,
    });
    tree!({ "name": "preshared-keys", "secret": secret })
}

fn host_folder(name: &str, path: &str, kind: &str) -> Tree {
    tree!({ "name": name, "hostPath": { "path": path, "type": kind } })
}

fn container() -> Tree {
    let config = format!("--config={FOLDER}/agent.yaml");
    tree!({
        "name": "agent",
        "image": (text("{}:{}", ["image.repository", "image.tag"])),
        "imagePullPolicy": (set("image.pullPolicy")),
        "command": ["/causeway", "agent", (config.as_str()), (when("agent.cleanup", "--cleanup"))],
        "env": (environment()),
        "ports": [{ "name": "http", "containerPort": (set("agent.httpPort")), "protocol": "TCP" }],
        "livenessProbe": (unless("agent.cleanup", probe("/healthz", "agent.httpPort", 10, 6))),
        "readinessProbe": (probe("/readyz", "agent.httpPort", 2, 3)),
        "resources": (set("agent.resources")),
        "securityContext": (either("agent.privileged", tree!({ "privileged": true }), capable())),
        "volumeMounts": [
            { "name": "config", "mountPath": FOLDER, "readOnly": true },
            { "name": "identity", "mountPath": SECRETS, "readOnly": true },
            (when("mesh.presharedKeys.secret",
                tree!({ "name": "preshared-keys", "mountPath": GENERATIONS, "readOnly": true }))),
            { "name": "run", "mountPath": "/run/causeway" },
            { "name": "state", "mountPath": "/var/lib/causeway" },
            { "name": "bpf", "mountPath": "/sys/fs/bpf", "mountPropagation": "HostToContainer" },
        ],
    })
}

fn environment() -> Tree {
    let [level, format] = log_environment();
    Tree::List(vec![downward("CAUSEWAY_NODE", "spec.nodeName"), level, format])
}

/// Every capability with its use; no profile, because those for containers refuse most of it again.
fn capable() -> Tree {
    tree!({
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "seccompProfile": { "type": "Unconfined" },
        "appArmorProfile": { "type": "Unconfined" },
        "capabilities": {
            "drop": ["ALL"],
            "add": [
                "NET_ADMIN",    // devices, routes, filters, packet filters
                "NET_RAW",      // probes by echo requests
                "BPF",          // programs and maps
                "PERFMON",      // what the verifier lets programs do with pointers
                "SYS_ADMIN",    // entering pods' namespaces; attaching to cgroups
                "SYS_PTRACE",   // the host's files through /proc/1/root
                "SYS_CHROOT",   // entering mount namespaces
                "DAC_OVERRIDE", // files of the host that belong to others
                "FOWNER",       // their modes, when files are replaced
                "KILL",         // the tunnel's process of before
                // The DNS server's port.
                (when("agent.dns.enabled", "NET_BIND_SERVICE")),
            ],
        },
    })
}
