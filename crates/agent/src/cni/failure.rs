//! What goes wrong, in CNI's own words: CNI 1.1.0, "Section 5: Result Types", error codes.

use ipnet::IpNet;
use model::Protocol;
use wire::local::CniResponse;

use super::request::{Attachment, VERSIONS};

/// Why a request was not fulfilled. Codes below 100 are the specification's.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 1: a version of the specification that we do not speak.
    #[error("CNI version {found:?} is not supported")]
    Version {
        /// What was asked for.
        found: String,
    },
    /// 3: a container we never wired, or that is gone.
    #[error("container {0:?} is not known here")]
    UnknownContainer(Attachment),
    /// 4: a wrong environment variable.
    #[error("environment variable {variable} is wrong")]
    Environment {
        /// Which.
        variable: &'static str,
        /// What it should be.
        why: &'static str,
    },
    /// 5: our own state cannot be written.
    #[error("cannot write the state of the pods' addresses")]
    State(#[source] std::io::Error),
    /// 7: a wrong network configuration.
    #[error("the network configuration's {field} is wrong")]
    Config {
        /// Which field.
        field: &'static str,
        /// What it should be.
        why: &'static str,
    },
    /// 11: not yet.
    #[error("the agent does not know this node's pod ranges yet")]
    NotReady,
    /// 11: not any more.
    #[error("the agent is stopping")]
    Stopping,
    /// 51: `STATUS` says that `ADD` would fail, and that pods of before may be cut off.
    #[error("ADD would fail now, and pods of before may be cut off")]
    Limited {
        /// Why.
        why: String,
    },
    /// 50: `STATUS` says that `ADD` would fail.
    #[error("ADD would fail now")]
    Unavailable {
        /// Why.
        why: String,
    },
    /// 100: no address left.
    #[error("no address is left in {0:?}")]
    Exhausted(Vec<IpNet>),
    /// 101: the wire could not be made, or is not as it should be.
    #[error("the pod's wire: {0}")]
    Wire(#[from] kernel::pod::PodError),
    /// 102: the data path would not take the pod.
    #[error("the data path did not take the pod: {0}")]
    Datapath(String),
    /// 104: the node's port leads to another pod.
    #[error("the node's port {port}/{protocol} is taken by {owner}")]
    PortTaken {
        /// Of which protocol.
        protocol: Protocol,
        /// Which.
        port: u16,
        /// By whom: a pod, or a container.
        owner: String,
    },
    /// 105: the table of host ports could not be written or read.
    #[error("the node's ports for pods: {0}")]
    Ports(#[from] kernel::nft::NftError),
    /// 106: the table of host ports is not what it should be.
    #[error("the node's ports for pods are not as they should be")]
    PortsChanged,
    /// 103: some of what `GC` was to take away is still there.
    #[error("{0} attachments could not be taken away")]
    Leftovers(usize, String),
}

impl Failure {
    /// The error code.
    pub fn code(&self) -> u32 {
        match self {
            Self::Version { .. } => 1,
            Self::UnknownContainer(_) => 3,
            Self::Environment { .. } => 4,
            Self::State(_) => 5,
            Self::Config { .. } => 7,
            Self::NotReady | Self::Stopping => 11,
            Self::Unavailable { .. } => 50,
            Self::Limited { .. } => 51,
            Self::Exhausted(_) => 100,
            Self::Wire(_) => 101,
            Self::Datapath(_) => 102,
            Self::Leftovers(..) => 103,
            Self::PortTaken { .. } => 104,
            Self::Ports(_) => 105,
            Self::PortsChanged => 106,
        }
    }

    /// What to check.
    fn details(&self) -> String {
        match self {
            Self::Version { .. } => format!("write one of {} as cniVersion", VERSIONS.join(", ")),
            Self::UnknownContainer(_) => "it was deleted, or never added on this node".into(),
            Self::Environment { why, .. } | Self::Config { why, .. } => format!("expected: {why}"),
            Self::State(e) => format!("{e}; is the agent's state directory full or read-only?"),
            Self::NotReady => "try again in a moment; `causeway status` on the node says what it waits for".into(),
            Self::Stopping => "try again when it is back".into(),
            Self::Unavailable { why } | Self::Limited { why } => why.clone(),
            Self::Exhausted(_) => {
                "delete pods of this node, run GC if there are leftovers, or give the cluster a larger pod range".into()
            }
            Self::Wire(_) => "see the agent's log".into(),
            Self::Datapath(_) => "are the agent's BPF programs loaded? See `causeway status` on the node".into(),
            Self::PortTaken { .. } => {
                "give one of them another hostPort; if that pod is gone, DEL or GC of its container frees the port".into()
            }
            Self::Ports(_) => "see `causeway check`: hostPort needs nf_tables in the kernel".into(),
            Self::PortsChanged => {
                format!("somebody changed the nf_tables table {}; the agent writes it again", super::ports::TABLE)
            }
            Self::Leftovers(_, first) => format!("the first: {first}; run GC again"),
        }
    }
}

impl From<Failure> for CniResponse {
    fn from(failure: Failure) -> Self {
        Self::Error { code: failure.code(), msg: failure.to_string(), details: failure.details() }
    }
}
