//! The address ranges of a lab file: each one well formed, and none in another's way.

use cluster::yaml::Error;
use ipnet::IpNet;
use model::{ClusterName, overlaps};

use super::LabNode;
use super::check::{Doc, list};
use crate::plan::{RESERVED, SMALLEST_SLICE_V4, SMALLEST_SLICE_V6};

/// What a range is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Pods: unique in the whole lab.
    Pods,
    /// Services: meaningful in their cluster only, but never in the way of a pod anywhere.
    Services,
}

impl Use {
    fn example(self) -> &'static str {
        match self {
            Self::Pods => "`10.1.0.0/16` or `fd00:1::/48`",
            Self::Services => "`10.101.0.0/16` or `fd00:101::/112`",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Services => "services",
        }
    }
}

/// A range that was seen.
struct Taken {
    net: IpNet,
    usage: Use,
    cluster: ClusterName,
    line: usize,
}

/// All ranges of clusters seen so far.
#[derive(Default)]
pub(super) struct Ranges {
    taken: Vec<Taken>,
}

impl Ranges {
    /// Reads one list of ranges of a cluster.
    pub(super) fn take(
        &mut self,
        doc: &Doc,
        texts: &[String],
        at: &str,
        usage: Use,
        cluster: &ClusterName,
    ) -> Result<Vec<IpNet>, Error> {
        if texts.is_empty() {
            let what = format!("cluster {cluster} has no addresses for {}", usage.noun());
            return Err(doc.error(at, what, format!("at least one range, such as {}", usage.example())));
        }
        let mut nets = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let at = format!("{at}[{i}]");
            let net = range(doc, text, &at, usage)?;
            if let Some(other) = self.taken.iter().find(|other| other.clashes(net, usage, cluster)) {
                let what = format!(
                    "{net} overlaps {} for {} of cluster {} on line {}",
                    other.net,
                    other.usage.noun(),
                    other.cluster,
                    other.line
                );
                return Err(doc.error(&at, what, "a range of its own instead"));
            }
            self.taken.push(Taken { net, usage, cluster: cluster.clone(), line: doc.line_of(&at) });
            nets.push(net);
        }
        Ok(nets)
    }
}

impl Taken {
    fn clashes(&self, net: IpNet, usage: Use, cluster: &ClusterName) -> bool {
        let apart = self.usage == Use::Services && usage == Use::Services && self.cluster != *cluster;
        !apart && overlaps(&self.net, &net)
    }
}

/// At most one service range a family, and only of families in which there are pods.
pub(super) fn families(doc: &Doc, at: &str, pods: &[IpNet], services: &[IpNet]) -> Result<(), Error> {
    for (i, net) in services.iter().enumerate() {
        let path = format!("{at}[{i}]");
        let family = if is_v4(net) { "IPv4" } else { "IPv6" };
        if services[..i].iter().any(|other| is_v4(other) == is_v4(net)) {
            let what = format!("{net} is the cluster's second {family} range for services");
            return Err(doc.error(&path, what, "at most one of each family"));
        }
        if !pods.iter().any(|pods| is_v4(pods) == is_v4(net)) {
            let what =
                format!("{net} is an {family} range, but no pod of the cluster has an {family} address");
            return Err(doc.error(
                &path,
                what,
                format!("an {family} range under podCIDRs too, or leave it out"),
            ));
        }
    }
    Ok(())
}

/// Reads a node's own ranges: parts of its cluster's, one a family.
pub(super) fn of_node(doc: &Doc, texts: &[String], at: &str, pods: &[IpNet]) -> Result<Vec<IpNet>, Error> {
    let mut nets: Vec<IpNet> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{at}[{i}]");
        let net = range(doc, text, &path, Use::Pods)?;
        if !pods.iter().any(|pods| pods.contains(&net)) {
            let what = format!("{net} is not inside the cluster's ranges for pods");
            return Err(doc.error(&path, what, format!("a part of {} instead", list(pods))));
        }
        let smallest = if is_v4(&net) { SMALLEST_SLICE_V4 } else { SMALLEST_SLICE_V6 };
        if net.prefix_len() > smallest {
            return Err(doc.error(
                &path,
                format!("{net} is too small for a node"),
                format!("at least a /{smallest}"),
            ));
        }
        if nets.iter().any(|other| is_v4(other) == is_v4(&net)) {
            let what = format!("{net} is the node's second range of its family");
            return Err(doc.error(&path, what, "at most one of each family"));
        }
        nets.push(net);
    }
    Ok(nets)
}

/// No two nodes of a cluster were given the same addresses.
pub(super) fn between_nodes(doc: &Doc, at: &str, nodes: &[LabNode]) -> Result<(), Error> {
    for (i, node) in nodes.iter().enumerate() {
        for (j, net) in node.pod_cidrs.iter().enumerate() {
            for other in &nodes[..i] {
                if let Some(theirs) = other.pod_cidrs.iter().find(|theirs| overlaps(theirs, net)) {
                    let what = format!("{net} overlaps {theirs} of node {}", other.name.node);
                    let path = format!("{at}.nodes[{i}].podCIDRs[{j}]");
                    return Err(doc.error(&path, what, "a range of its own instead"));
                }
            }
        }
    }
    Ok(())
}

fn range(doc: &Doc, text: &str, at: &str, usage: Use) -> Result<IpNet, Error> {
    let net: IpNet = text.parse().map_err(|_| {
        let what = format!("`{text}` is not an address range");
        doc.error(at, what, format!("something like {} instead", usage.example()))
    })?;
    if net != net.trunc() {
        let what = format!("{net} has bits set behind its prefix");
        return Err(doc.error(at, what, format!("`{}` instead", net.trunc())));
    }
    for (reserved, purpose) in RESERVED {
        let reserved: IpNet = reserved.parse().expect("the reserved ranges are constants");
        if overlaps(&reserved, &net) {
            let what = format!("{net} overlaps {reserved}, which is for {purpose}");
            return Err(doc.error(at, what, format!("a private range such as {} instead", usage.example())));
        }
    }
    Ok(net)
}

fn is_v4(net: &IpNet) -> bool {
    net.addr().is_ipv4()
}
