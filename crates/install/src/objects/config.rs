//! What the daemons read when they start.

use super::common::metadata;
use super::{agent, controller};
use crate::tree::{Expr, File, Tree, concat, each, item, set, text, tree, when};

/// The controller's configuration.
pub(super) static CONTROLLER: File = File { name: "controllerConfig", tree: controller_file };
/// The agent's configuration, the same for all nodes.
pub(super) static AGENT: File = File { name: "agentConfig", tree: agent_file };
/// The settings themselves: what an upgrade starts from.
static SETTINGS: File = File { name: "settings", tree: settings_file };

/// Every text file among the manifests.
pub(crate) static FILES: [&File; 3] = [&CONTROLLER, &AGENT, &SETTINGS];

/// Where the agent's token and the controllers' roots are mounted.
pub(super) const SECRETS: &str = "/run/secrets/causeway";
/// Where the generations of pre-shared keys are mounted.
pub(super) const GENERATIONS: &str = "/run/secrets/causeway-preshared-keys";
/// Where the configuration is mounted.
pub(super) const FOLDER: &str = "/etc/causeway";

pub(super) fn settings() -> Tree {
    config_map("causeway-settings", "settings.yaml", &SETTINGS)
}

pub(super) fn controller() -> Tree {
    config_map(controller::NAME, "controller.yaml", &CONTROLLER)
}

pub(super) fn agent() -> Tree {
    config_map(agent::NAME, "agent.yaml", &AGENT)
}

fn config_map(name: &str, key: &str, file: &'static File) -> Tree {
    let data = Tree::Map(vec![(key.to_owned(), Tree::File(file))]);
    tree!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": (metadata(name)), "data": data })
}

fn settings_file() -> Tree {
    Tree::Hole(Expr::Settings)
}

fn controller_file() -> Tree {
    tree!({
        "cluster": {
            "name": (set("cluster.name")),
            "id": (set("cluster.id")),
            "podCIDRs": (set("cluster.podCIDRs")),
            "serviceCIDRs": (set("cluster.serviceCIDRs")),
            "clustersetCIDRs": (set("multicluster.clustersetCIDRs")),
            "peerCIDRs": (set("cluster.peerCIDRs")),
            "nodeMaskSizeIPv4": (set("cluster.nodeMaskSizeIPv4")),
            "nodeMaskSizeIPv6": (set("cluster.nodeMaskSizeIPv6")),
        },
        "source": { "kubernetes": { "namespace": (set("namespace")) } },
        "listen": (text("[::]:{}", ["controllers.port"])),
        "httpListen": (text("[::]:{}", ["controllers.httpPort"])),
        "advertise": (each("controllers.addresses", item())),
        "advertiseToClusters": (each("controllers.addressesForClusters", item())),
        "authority": {
            "rootDays": (set("controllers.authority.rootDays")),
            "rotateAfterDays": (set("controllers.authority.rotateAfterDays")),
            "graceDays": (set("controllers.authority.graceDays")),
        },
        "link": {
            "budget": {
                "objects": (set("link.budget.objects")),
                "bytes": (set("link.budget.bytes")),
                "changesPerSecond": (set("link.budget.changesPerSecond")),
                "bytesPerSecond": (set("link.budget.bytesPerSecond")),
            },
            "forgetAfter": (set("link.forgetAfter")),
        },
        "multicluster": {
            "shareNamespaces": (set("multicluster.shareNamespaces")),
            "importWithoutNamespace": (set("multicluster.importWithoutNamespace")),
            "importGlobalServices": (set("multicluster.importGlobalServices")),
            "endpointSlices": (set("multicluster.endpointSlices")),
            "clustersetName": (set("multicluster.clustersetName")),
        },
        "services": { "traffic": (set("services.traffic")) },
        "policy": {
            "distributed": (set("policy.distributed")),
            "selectors": (set("policy.selectors")),
            "host": (set("policy.host")),
            "hostAlwaysAllowed": (set("policy.hostAlwaysAllowed")),
            "wireguardPort": (set("agent.wireguardPort")),
            "vxlanPort": (set("agent.vxlanPort")),
        },
        "mesh": {
            "granularity": (set("mesh.granularity")),
            "encryption": (set("mesh.encryption")),
            "encapsulate": (set("mesh.encapsulate")),
            "locations": (set("mesh.locations")),
            "topologyLabel": (set("mesh.topologyLabel")),
        },
    })
}

fn agent_file() -> Tree {
    tree!({
        "cluster": (set("cluster.name")),
        "controllers": (each("controllers.addresses", item())),
        "serviceAccount": { "token": "/run/secrets/causeway/token", "roots": "/run/secrets/causeway/ca.crt" },
        "hostRoot": (set("agent.hostRoot")),
        "cni": { "binDirs": (set("agent.cni.binDirs")), "confDir": (set("agent.cni.confDir")) },
        "interface": (set("agent.interface")),
        "underlay": (set("agent.underlay")),
        "wireguardPort": (set("agent.wireguardPort")),
        "vxlanPort": (set("agent.vxlanPort")),
        "keyRotation": (set("mesh.keyRotation")),
        "presharedKeys": (when("mesh.presharedKeys.secret", tree!({
            "folder": GENERATIONS,
            "required": (set("mesh.presharedKeys.required")),
        }))),
        "httpListen": (text("[::]:{}", ["agent.httpPort"])),
        "dns": (when("agent.dns.enabled", dns())),
        "masquerade": (set("agent.masquerade")),
        "nonMasqueradeCIDRs": (set("agent.nonMasqueradeCIDRs")),
        "clusters": (set("services.clusters")),
        "services": {
            "nodePortAddresses": (set("services.nodePortAddresses")),
            "loadBalancerMode": (set("services.loadBalancerMode")),
            "loadBalancerAlgorithm": (set("services.loadBalancerAlgorithm")),
            "maglevTableSize": (set("services.maglevTableSize")),
            "resetGoneBackends": (set("services.resetGoneBackends")),
            "goneBackendGracePeriodSeconds": (set("services.goneBackendGracePeriodSeconds")),
            "ejectOutliers": (set("services.ejectOutliers")),
        },
        "policy": {
            "enabled": (set("policy.enabled")),
            "selectors": (set("policy.selectors")),
            "established": (set("policy.established")),
            "host": (set("policy.host")),
            "hostAlwaysAllowed": (set("policy.hostAlwaysAllowed")),
        },
        "failClosed": (concat("cluster.podCIDRs", "agent.failClosed")),
    })
}

fn dns() -> Tree {
    tree!({
        "listen": (set("agent.dns.listen")),
        "upstreams": (when("agent.dns.upstreams", set("agent.dns.upstreams"))),
        "clusterDomain": (set("agent.dns.clusterDomain")),
        "clustersetDomain": (set("agent.dns.clustersetDomain")),
    })
}
