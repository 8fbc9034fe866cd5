//! Where a lab keeps its things: one folder, one control group, names with one prefix. `lab down` needs no more
//! than this file to remove all of it, whatever the daemon did or did not live to do.

mod record;
mod target;

use std::path::{Path, PathBuf};

use model::{ClusterName, NodeName, ObjectName};

pub use record::Record;
pub use target::{Candidate, TargetError, What, resolve};

/// The lab's folder.
pub const FOLDER: &str = "/run/causeway-lab";

/// The lab's control group, relative to the root.
pub const CGROUP: &str = "causeway-lab";

/// What the names of a lab's network namespaces begin with: nodes, pods, locations, controllers, other hosts.
pub const NETNS_PREFIXES: [&str; 5] = ["cwn_", "cwp_", "cwl_", "cwc_", "cwh_"];

/// Where the daemon answers.
pub fn socket() -> PathBuf {
    Path::new(FOLDER).join("lab.sock")
}

/// The first generation of the nodes' pre-shared keys.
pub fn generation() -> PathBuf {
    Path::new(FOLDER).join("generation-1")
}

/// Where logs are.
pub fn logs() -> PathBuf {
    Path::new(FOLDER).join("logs")
}

/// The daemon's own log.
pub fn daemon_log() -> PathBuf {
    logs().join("daemon.log")
}

/// The underlay's log.
pub fn underlay_log() -> PathBuf {
    logs().join("underlay.log")
}

/// The folders of a machine (a node or a controller): private to it, shown in its mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Shown as `/run/causeway`: configuration, token, sockets.
    pub run: PathBuf,
    /// Shown as `/run/wireguard`.
    pub wireguard: PathBuf,
    /// Shown as `/var/lib/causeway`: what survives `lab kill`.
    pub lib: PathBuf,
    /// The daemon's log.
    pub log: PathBuf,
}

impl Folders {
    fn below(folder: &Path, log: PathBuf) -> Self {
        Self { run: folder.join("run"), wireguard: folder.join("wireguard"), lib: folder.join("lib"), log }
    }

    /// A node's.
    pub fn of_node(node: &NodeName) -> Self {
        let folder = nodes_folder(&node.cluster).join(&node.node);
        Self::below(&folder, node_log(node))
    }

    /// A controller's.
    pub fn of_controller(cluster: &ClusterName) -> Self {
        Self::below(&cluster_folder(cluster), controller_log(cluster))
    }

    /// Those of a machine that is no node.
    pub fn of_host(host: &NodeName) -> Self {
        let folder = Path::new(FOLDER).join("hosts").join(host.cluster.as_str()).join(&host.node);
        // Nothing of ours runs there, so nothing is logged.
        Self::below(&folder, folder.join("log"))
    }

    /// Makes all of them.
    pub fn create(&self) -> std::io::Result<()> {
        for folder in [&self.run, &self.wireguard, &self.lib] {
            std::fs::create_dir_all(folder)?;
        }
        match self.log.parent() {
            Some(folder) => std::fs::create_dir_all(folder),
            None => Ok(()),
        }
    }

    /// What a reboot would have lost: sockets and what lies in `run`.
    pub fn forget_run(&self) -> std::io::Result<()> {
        for folder in [&self.run, &self.wireguard] {
            if folder.exists() {
                std::fs::remove_dir_all(folder)?;
            }
        }
        self.create()
    }
}

/// What belongs to a cluster as a whole.
pub fn cluster_folder(cluster: &ClusterName) -> PathBuf {
    Path::new(FOLDER).join("clusters").join(cluster.as_str())
}

/// The folders of a cluster's nodes.
pub fn nodes_folder(cluster: &ClusterName) -> PathBuf {
    Path::new(FOLDER).join("nodes").join(cluster.as_str())
}

/// A cluster's Kubernetes objects.
pub fn store_folder(cluster: &ClusterName) -> PathBuf {
    cluster_folder(cluster).join("store")
}

/// A BPF file system of the lab's own, mounted when the first `lab cut` needs it.
pub fn bpf() -> PathBuf {
    Path::new(FOLDER).join("bpf")
}

/// The log of an agent.
pub fn node_log(node: &NodeName) -> PathBuf {
    logs().join(node.cluster.as_str()).join(format!("{}.log", node.node))
}

/// The log of a controller. Node names have no `_`, so it can be no node's.
pub fn controller_log(cluster: &ClusterName) -> PathBuf {
    logs().join(cluster.as_str()).join("_controller.log")
}

/// The log of a pod's containers.
pub fn pod_log(cluster: &ClusterName, pod: &ObjectName) -> PathBuf {
    logs().join(cluster.as_str()).join(format!("{}.log", pod_word(pod)))
}

/// What a pod sees as its `/etc/resolv.conf`.
pub fn pod_resolv(cluster: &ClusterName, pod: &ObjectName) -> PathBuf {
    cluster_folder(cluster).join("resolv").join(format!("{}.conf", pod_word(pod)))
}

/// The control group of the lab's daemon and the underlay. Cluster names have no `_`.
pub fn own_cgroup() -> String {
    format!("{CGROUP}/_lab")
}

/// The control group of a controller, relative to the root.
pub fn controller_cgroup(cluster: &ClusterName) -> String {
    format!("{CGROUP}/{cluster}/_controller")
}

/// The control group of a machine that is no node. Node names have no `_`.
pub fn host_cgroup(host: &NodeName) -> String {
    format!("{CGROUP}/{}/_hosts/{}", host.cluster, host.node)
}

/// The control group of a node, relative to the root; `cgroup` is the plan's.
pub fn node_cgroup(cgroup: &str) -> String {
    format!("{CGROUP}/{cgroup}")
}

/// The control group of a node's own processes.
pub fn system_cgroup(cgroup: &str) -> String {
    format!("{CGROUP}/{cgroup}/system")
}

/// The control group of a pod.
pub fn pod_cgroup(cgroup: &str, pod: &ObjectName) -> String {
    format!("{CGROUP}/{cgroup}/pods/{}", pod_word(pod))
}

/// The network namespace of a pod. That it fits a file's name is checked before a pod is taken.
pub fn pod_netns(cluster: &ClusterName, pod: &ObjectName) -> String {
    format!("cwp_{cluster}_{}", pod_word(pod))
}

/// `NAMESPACE_NAME`: neither part has a `_`, so no two pods share one.
fn pod_word(pod: &ObjectName) -> String {
    format!("{}_{}", pod.namespace, pod.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cluster: ClusterName = "aws".parse().unwrap();
        let pod: ObjectName = "demo/client".parse().unwrap();
        assert_eq!(pod_netns(&cluster, &pod), "cwp_aws_demo_client");
        assert_eq!(pod_cgroup("aws/aws-1", &pod), "causeway-lab/aws/aws-1/pods/demo_client");
        assert_eq!(controller_cgroup(&cluster), "causeway-lab/aws/_controller");
    }
}
