//! The address ranges of a lab file: each one well formed, and none in another's way.

use ipnet::IpNet;
use model::{ClusterName, overlaps};
use serde_saphyr::Spanned;

use super::check::{File, list};
use super::error::{Error, Problem};
use crate::plan::RESERVED;

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
            Self::Pods => "10.1.0.0/16 or fd00:1::/48",
            Self::Services => "10.101.0.0/16 or fd00:101::/112",
        }
    }
}

/// A range that was seen.
struct Taken {
    net: IpNet,
    usage: Use,
    cluster: ClusterName,
    line: u64,
}

/// All ranges seen so far.
#[derive(Default)]
pub(super) struct Ranges {
    taken: Vec<Taken>,
}

impl Ranges {
    /// Reads one list of ranges of a cluster.
    pub(super) fn take(
        &mut self,
        file: &File<'_>,
        texts: &Spanned<Vec<Spanned<String>>>,
        at: &str,
        usage: Use,
        cluster: &ClusterName,
    ) -> Result<Vec<IpNet>, Error> {
        if texts.value.is_empty() {
            return Err(file.refuse(texts, at, Problem::NoRanges(usage.example())));
        }
        let mut nets = Vec::new();
        for (i, text) in texts.value.iter().enumerate() {
            let at = format!("{at}[{i}]");
            let net = range(file, text, &at, usage)?;
            if let Some(other) = self.taken.iter().find(|other| other.clashes(net, usage, cluster)) {
                let problem = Problem::Overlap {
                    found: net,
                    other: other.net,
                    whose: other.whose(),
                    first: other.line,
                };
                return Err(file.refuse(text, at, problem));
            }
            let line = text.referenced.line();
            self.taken.push(Taken { net, usage, cluster: cluster.clone(), line });
            nets.push(net);
        }
        Ok(nets)
    }

    /// At most one service range a family, and only of families in which there are pods.
    pub(super) fn families(
        &self,
        file: &File<'_>,
        texts: &Spanned<Vec<Spanned<String>>>,
        at: &str,
        pods: &[IpNet],
        services: &[IpNet],
    ) -> Result<(), Error> {
        for (i, &found) in services.iter().enumerate() {
            let same = |net: &IpNet| net.addr().is_ipv4() == found.addr().is_ipv4();
            let problem = if services[..i].iter().any(same) {
                Problem::SecondOfFamily(found)
            } else if !pods.iter().any(same) {
                let example = if found.addr().is_ipv4() { "10.1.0.0/16" } else { "fd00:1::/48" };
                Problem::NoPodsOfFamily { found, example }
            } else {
                continue;
            };
            return Err(file.refuse(&texts.value[i], format!("{at}[{i}]"), problem));
        }
        Ok(())
    }
}

impl Taken {
    fn clashes(&self, net: IpNet, usage: Use, cluster: &ClusterName) -> bool {
        let apart = self.usage == Use::Services && usage == Use::Services && self.cluster != *cluster;
        !apart && overlaps(&self.net, &net)
    }

    fn whose(&self) -> String {
        let what = match self.usage {
            Use::Pods => "pods",
            Use::Services => "services",
        };
        format!("for {what} of cluster {}", self.cluster)
    }
}

/// Reads a range of a node's own, inside its cluster's.
pub(super) fn node_range(
    file: &File<'_>,
    text: &Spanned<String>,
    at: &str,
    pods: &[IpNet],
) -> Result<IpNet, Error> {
    let found = range(file, text, at, Use::Pods)?;
    if !pods.iter().any(|pods| pods.contains(&found)) {
        return Err(file.refuse(text, at, Problem::Outside { found, ranges: list(pods) }));
    }
    let shortest = if found.addr().is_ipv4() { 29 } else { 120 };
    if found.prefix_len() > shortest {
        return Err(file.refuse(text, at, Problem::TooSmall { found, shortest }));
    }
    Ok(found)
}

fn range(file: &File<'_>, text: &Spanned<String>, at: &str, usage: Use) -> Result<IpNet, Error> {
    let found: IpNet = text.value.parse().map_err(|_| {
        let problem = Problem::Cidr { text: text.value.clone(), example: usage.example() };
        file.refuse(text, at, problem)
    })?;
    if found != found.trunc() {
        return Err(file.refuse(text, at, Problem::HostBits { found, want: found.trunc() }));
    }
    for (reserved, purpose) in RESERVED {
        let reserved: IpNet = reserved.parse().expect("the reserved ranges are constants");
        if overlaps(&reserved, &found) {
            let problem = Problem::Reserved { found, reserved, purpose, example: usage.example() };
            return Err(file.refuse(text, at, problem));
        }
    }
    Ok(found)
}
