//! The lab file: which clouds to build, with which nodes, and what lies between them.
//!
//! Read once, checked in full before anything is started: a [`Lab`] is right from then on. Every refusal is one
//! [`Error`] that names the file, the line and what to write instead. What addresses all this gets is `plan`'s.

mod check;
mod default;
mod links;
mod quantity;
mod ranges;
mod raw;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use model::{Cluster, ClusterName, NodeName, Topology};
use serde::{Deserialize, Serialize};

use crate::underlay::NatKind;

pub use default::{default_files, default_lab};
pub use quantity::{parse_duration, parse_percent, parse_rate};
pub use workload::check as check_objects;

/// The `apiVersion` of a lab file.
pub const API_VERSION: &str = "lab.causeway.io/v1alpha1";

/// The `kind` of a lab file.
pub const KIND: &str = "Lab";

/// A lab that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct Lab {
    /// The clouds, in the order of the file.
    pub clusters: Vec<LabCluster>,
    /// What was said about the ways between them.
    pub links: Vec<Link>,
}

/// One cluster of a lab.
#[derive(Debug, Clone, PartialEq)]
pub struct LabCluster {
    /// Its name, number and ranges.
    pub cluster: Cluster,
    /// Its machines; at least one.
    pub nodes: Vec<LabNode>,
    /// Machines beside them that are no nodes of any cluster.
    pub hosts: Vec<LabHost>,
    /// What its agents do for services.
    pub services: agent::config::Services,
    /// What holds for its policies.
    pub policy: LabPolicy,
    /// Which of its nodes have tunnels to which.
    pub mesh: controller::config::Mesh,
    /// Whether its nodes have pre-shared keys with each other.
    pub preshared_keys: PresharedKeys,
    /// Whether its pods reach what is outside of the mesh, under their node's address.
    pub masquerade: bool,
    /// Whom its nodes ask for names of the outside; nobody without one.
    pub upstreams: Vec<agent::config::Upstream>,
    /// Its Kubernetes objects.
    pub manifests: Vec<Manifest>,
}

/// Whether nodes have pre-shared keys with each other: each node of a lab gets the same first generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresharedKeys {
    /// They have none.
    #[default]
    Never,
    /// They have with whoever holds the same, and tunnels to others all the same.
    Preferred,
    /// They have no tunnel to others.
    Required,
}

/// What holds for a cluster's policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabPolicy {
    /// For its agents, and its controller as far as it must agree with them.
    pub agents: agent::config::Policy,
    /// What becomes of policies that other clusters distribute.
    pub distributed: engine::policy::Distributed,
}

/// One machine of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabNode {
    /// Its name, with its cluster.
    pub name: NodeName,
    /// Region and zone.
    pub topology: Topology,
    /// The private segment it stands on, if not its region's.
    pub location: Option<String>,
    /// Labels beyond those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The ranges of its pods, where the file says so; the plan takes the rest from the cluster's.
    pub pod_cidrs: Vec<IpNet>,
    /// What is between it and other locations, if anything.
    pub nat: Option<Nat>,
}

/// A NAT that a node is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    /// How it maps and filters.
    pub kind: NatKind,
    /// Whether it is the location's, which its nodes share; else the node's own.
    pub shared: bool,
}

/// A machine without Causeway: a client from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabHost {
    /// Its name, with the cluster whose location it stands on; no node of the cluster has it.
    pub name: NodeName,
    /// The private segment it stands on; it may be alone there.
    pub location: String,
}

/// One file of Kubernetes objects, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where it was read.
    pub path: PathBuf,
    /// What it says, ready to be put into a cluster's folder.
    pub text: String,
}

/// What was said about the way between two clusters, or two regions.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its ends.
    pub between: [End; 2],
    /// Its properties.
    pub shape: Shape,
}

/// One end of a link: a cluster, or one of its regions (`CLUSTER/REGION`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The cluster.
    pub cluster: ClusterName,
    /// The location inside it; all of them when none is named.
    pub location: Option<String>,
}

/// What a wire does to packets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shape {
    /// The time there and back, in milliseconds where it is written.
    #[serde(rename = "rttMs", with = "quantity::millis")]
    pub rtt: Duration,
    /// The part of packets that is lost each way, 0 to 1.
    pub loss: f64,
    /// Bits per second each way; as fast as the machine when none is given.
    pub rate: Option<u64>,
    /// Bytes of the largest packet it carries; larger ones are lost, and nobody is told.
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// Why there is no lab. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lab file itself could not be read.
    #[error(
        "cannot read the lab file {}: {source}; check the path, or leave --file out for the default lab",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something is wrong in it, or in a manifest that it names.
    #[error(transparent)]
    Wrong(#[from] cluster::yaml::Error),
}

/// Reads and checks a lab file, and the manifests it names.
pub fn load(path: &Path) -> Result<Lab, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(path, &text, |name| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map(|text| (path, text))
    })
}

/// Checks a lab file's text. `manifest` reads the files it names; fuzzing and the default lab give their own.
pub fn parse(
    path: &Path,
    text: &str,
    manifest: impl Fn(&str) -> std::io::Result<(PathBuf, String)>,
) -> Result<Lab, Error> {
    Ok(check::lab(path, text, manifest)?)
}

impl LabNode {
    /// The name of the private segment the node stands on.
    pub fn segment(&self) -> &str {
        self.location.as_deref().unwrap_or(&self.topology.region)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{}/{location}", self.cluster),
            None => self.cluster.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
