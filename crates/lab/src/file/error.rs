//! Why a lab file was refused, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;
use model::NameError;

use super::{API_VERSION, KIND};

/// Why a lab file was refused. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself could not be read.
    #[error("cannot read the lab file {}: {source}; check the path, or leave --file out for the default lab", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not YAML, or not of the shape of a lab file; so too for its manifests.
    #[error("{}: {source}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_saphyr::Error,
    },
    /// It can be read, but no lab can be built from it.
    #[error("{at}: {problem}")]
    Invalid {
        /// Where.
        at: Box<At>,
        /// What, and what to write instead.
        problem: Box<Problem>,
    },
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// The field, such as `clusters[0].nodes[1].zone`.
    pub path: String,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.path)
    }
}

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Another version of the format, or another format.
    #[error("{0:?} is not a lab file's apiVersion; write {API_VERSION} instead")]
    ApiVersion(String),
    /// Another kind of object.
    #[error("{0:?} is not a lab file's kind; write {KIND} instead")]
    Kind(String),
    /// A lab of nothing.
    #[error(
        "there is no cluster; write at least one, such as - {{name: aws, id: 1, podCIDRs: [10.1.0.0/16], serviceCIDRs: [10.101.0.0/16], nodes: […]}}"
    )]
    NoClusters,
    /// A cluster of nothing.
    #[error(
        "cluster {0} has no node; write at least one, such as - {{name: {0}-1, region: eu-west-1, zone: eu-west-1a}}"
    )]
    NoNodes(String),
    /// Nodes outside any cluster.
    #[error("these nodes are on no cluster; write them under the nodes of one of the clusters instead")]
    StrayNodes,
    /// A list that must have something in it.
    #[error("the list is empty; write at least one range, such as {0}")]
    NoRanges(&'static str),
    /// A bad name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name that a network namespace or a host cannot have.
    #[error("{name:?} is longer than {max} characters; write a shorter name instead")]
    TooLong {
        /// What was written.
        name: String,
        /// The longest allowed.
        max: usize,
    },
    /// A region, zone or location that is not a DNS label.
    #[error(
        "{0:?} is not a DNS label; write 1 to 63 of a-z, 0-9 and '-' instead, beginning and ending with a letter or digit"
    )]
    Label(String),
    /// A label that no Kubernetes object can have.
    #[error(
        "{key}={value} is not a Kubernetes label; write a key like example.com/rack and a value of at most 63 letters, digits, '-', '_' and '.' instead"
    )]
    KubernetesLabel {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A label that the lab itself sets.
    #[error("the lab sets {key} itself; write {instead} instead")]
    OwnLabel {
        /// The label.
        key: String,
        /// The field that says it.
        instead: &'static str,
    },
    /// The same name or number twice.
    #[error("{what} {value:?} is used twice, first on line {first}; write another {what} instead")]
    Duplicate {
        /// What was named.
        what: &'static str,
        /// The name.
        value: String,
        /// Where it stands first.
        first: u64,
    },
    /// Not a range at all.
    #[error("{text:?} is not an address range; write something like {example} instead")]
    Cidr {
        /// What was written.
        text: String,
        /// What could have been.
        example: &'static str,
    },
    /// An address with a length, where a range is meant.
    #[error("{found} has bits set behind its prefix; write {want} instead")]
    HostBits {
        /// What was written.
        found: IpNet,
        /// The range it lies in.
        want: IpNet,
    },
    /// A range that the lab or the Internet's standards keep.
    #[error(
        "{found} overlaps {reserved}, which is for {purpose}; write a private range such as {example} instead"
    )]
    Reserved {
        /// What was written.
        found: IpNet,
        /// What it overlaps.
        reserved: IpNet,
        /// Whose that is.
        purpose: &'static str,
        /// What could have been.
        example: &'static str,
    },
    /// Two ranges that share addresses.
    #[error("{found} overlaps {other}, {whose} on line {first}; write a range of its own instead")]
    Overlap {
        /// What was written.
        found: IpNet,
        /// What it overlaps.
        other: IpNet,
        /// What that is.
        whose: String,
        /// Where it stands.
        first: u64,
    },
    /// Two service ranges of one family.
    #[error(
        "{0} is the cluster's second service range of its family; write at most one for IPv4 and one for IPv6 instead"
    )]
    SecondOfFamily(IpNet),
    /// Service addresses that no pod could stand behind.
    #[error(
        "{found} is of a family in which the cluster has no pods; write a pod range such as {example} too, or leave it out"
    )]
    NoPodsOfFamily {
        /// The service range.
        found: IpNet,
        /// A pod range.
        example: &'static str,
    },
    /// Ranges too small for the nodes.
    #[error("{range} has no room for a slice for each of {nodes} nodes; write a wider range instead")]
    NoRoom {
        /// The widest range.
        range: IpNet,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A node's own range that is not one of the cluster's.
    #[error("{found} is not inside the cluster's pod ranges {ranges}; write a part of one of them instead")]
    Outside {
        /// What was written.
        found: IpNet,
        /// The cluster's ranges.
        ranges: String,
    },
    /// A node's own range too small for a node.
    #[error("{found} has no room for pods; write at least a /{shortest} instead")]
    TooSmall {
        /// What was written.
        found: IpNet,
        /// The longest prefix that is of use.
        shortest: u8,
    },
    /// More segments than addresses.
    #[error("the lab has more than {0} locations (regions of clusters); write fewer")]
    TooManyLocations(usize),
    /// More nodes than addresses.
    #[error(
        "location {location} has more than {max} nodes; write another region or location for some of them"
    )]
    TooManyHosts {
        /// The location.
        location: String,
        /// The most it can have.
        max: usize,
    },
    /// A link to nowhere.
    #[error("there is no cluster {name:?}; write one of {known} instead")]
    UnknownCluster {
        /// What was written.
        name: String,
        /// What could have been.
        known: String,
    },
    /// A link to a region that the cluster does not have.
    #[error("cluster {cluster} has no region or location {name:?}; write one of {known} instead")]
    UnknownLocation {
        /// The cluster.
        cluster: String,
        /// What was written.
        name: String,
        /// What could have been.
        known: String,
    },
    /// Not two ends.
    #[error("a link has two ends, not {0}; write two clusters, such as [aws, gcp]")]
    Ends(usize),
    /// Two ends that are one.
    #[error("both ends are {0:?}; write two clusters, or two regions of one as CLUSTER/REGION")]
    Loop(String),
    /// A bad time.
    #[error("{0:?} is not a duration of at most 10 s; write something like 14ms, 0.5ms or 1s instead")]
    Duration(String),
    /// A bad part.
    #[error("{0:?} is not a percentage from 0% to 100%; write something like 0.5% instead")]
    Percent(String),
    /// A bad rate.
    #[error("{0:?} is not a rate from 8kbit to 1000Gbit; write something like 100Mbit or 1Gbit instead")]
    Rate(String),
    /// A manifest that is not there.
    #[error("cannot read the manifest {name}: {reason}; check the path, which is relative to the lab file")]
    Manifest {
        /// What was written.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// A pod placed where there is nothing.
    #[error(
        "there is no node {name:?} in cluster {cluster}; write one of {known} instead, or leave nodeName out"
    )]
    UnknownNode {
        /// What was written.
        name: String,
        /// Its cluster.
        cluster: String,
        /// What could have been.
        known: String,
    },
    /// A service's address that is not its cluster's.
    #[error(
        "{ip} is not in the service ranges {ranges} of cluster {cluster}; write an address of theirs instead, or leave it out"
    )]
    ServiceIp {
        /// What was written.
        ip: String,
        /// The ranges.
        ranges: String,
        /// The cluster.
        cluster: String,
    },
}
