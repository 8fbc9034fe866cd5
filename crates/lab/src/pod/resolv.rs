//! How a pod resolves names: a `resolv.conf` as a kubelet writes it, shown in place of the machine's.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use kernel::mount::{self, Mount};
use model::ObjectName;

use crate::plan::NodePlan;
use crate::state;

/// The zone of a lab's clusters.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// What is replaced.
const TARGET: &str = "/etc/resolv.conf";

/// Writes the pod's file. It stays until [`remove`].
pub fn write(node: &NodePlan, pod: &ObjectName, ips: &[IpAddr]) -> Result<PathBuf> {
    let path = state::pod_resolv(&node.name.cluster, pod);
    let folder = path.parent().context("the path has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    std::fs::write(&path, text(node, pod, ips)).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Takes the file away, if there is one.
pub fn remove(node: &NodePlan, pod: &ObjectName) {
    // Left behind it harms nobody: the next pod of the name writes its own, and `lab down` removes the folder.
    let _ = std::fs::remove_file(state::pod_resolv(&node.name.cluster, pod));
}

/// A view of the machine's files with this one in place of its `resolv.conf`.
///
/// # Errors
/// The machine has no such file, or root's powers are missing.
pub fn view(file: &Path) -> Result<OwnedFd> {
    if !Path::new(TARGET).exists() {
        bail!("there is no {TARGET} that a pod's own could be shown in place of: create an empty one");
    }
    Ok(mount::namespace(&[Mount::bind(file, TARGET)])?)
}

fn text(node: &NodePlan, pod: &ObjectName, ips: &[IpAddr]) -> String {
    let fixed = agent::config::Dns::default().listen;
    let own = node.pod_cidrs.iter().filter_map(first_address);
    let spoken = |ip: &IpAddr| ips.iter().any(|mine| mine.is_ipv4() == ip.is_ipv4());
    // The fixed address has one family; a pod without it asks at the node's address in the mesh.
    let server = fixed.into_iter().chain(own).find(spoken);
    let server = server.map(|ip| format!("nameserver {ip}\n")).unwrap_or_default();
    let namespace = &pod.namespace;
    format!(
        "{server}search {namespace}.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}\noptions ndots:5\n"
    )
}

/// The node's own address in a range of its pods, as [`model::Node::mesh_ips`] has it.
fn first_address(range: &IpNet) -> Option<IpAddr> {
    range.hosts().find(|ip| range.addr().is_ipv4() || *ip != range.network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Addresses, Host};

    #[test]
    fn as_a_kubelet_writes_it() {
        let node = NodePlan {
            name: "aws/aws-1".to_string().try_into().unwrap(),
            topology: Default::default(),
            host: Host {
                netns: "cwn_aws_aws-1".into(),
                location: 1,
                number: 1,
                addresses: Addresses { private: vec![], public: vec![], gateways: vec![] },
                nat: None,
            },
            cgroup: "aws/aws-1".into(),
            pod_cidrs: vec!["10.1.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            labels: Default::default(),
            annotations: Default::default(),
        };
        let rest = "search demo.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
        for (ips, server) in
            [(&["10.1.0.5", "fd00:1::5"][..], "169.254.20.53"), (&["fd00:1::5"], "fd00:1::1")]
        {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            let text = text(&node, &"demo/client".parse().unwrap(), &ips);
            assert_eq!(text, format!("nameserver {server}\n{rest}"));
        }
    }
}
