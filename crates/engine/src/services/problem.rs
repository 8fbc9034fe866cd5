//! What services ask for and do not get.

use ipnet::IpNet;
use model::ClusterName;

use super::offer::Claimant;
use crate::plan::Frontend;

/// A claim that was not granted. The other services work without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Two services claim one address, protocol and port.
    #[error(
        "{loser} asks for {}, which {winner} has, and is not served there: change one of them",
        place(frontend)
    )]
    Frontend {
        /// What both claim.
        frontend: Frontend,
        /// Who is not served.
        loser: Claimant,
        /// Who is.
        winner: Claimant,
    },
    /// A port of the nodes that the node's own agent answers on.
    #[error(
        "{loser} asks for {}, where {} itself answers on every node, and is not served there: give the service another \
         port",
        place(frontend),
        purpose
    )]
    Reserved {
        /// What it claims.
        frontend: Frontend,
        /// Who is not served.
        loser: Claimant,
        /// What is at that port.
        purpose: &'static str,
    },
    /// An external address that pods have.
    #[error(
        "{loser} asks for {}, which is inside {range}, a pod range of cluster {cluster}, and is not served there: it \
         would take what is meant for a pod; write an external address that is nobody's",
        place(frontend)
    )]
    PodAddress {
        /// What it claims.
        frontend: Frontend,
        /// Who is not served.
        loser: Claimant,
        /// The range.
        range: IpNet,
        /// Whose it is.
        cluster: ClusterName,
    },
    /// The data path has no room for it.
    #[error(
        "{loser} is not served: the data path's map of {map} is full, and who is served already comes first; have fewer \
         services or endpoints in one cluster, or smaller weights"
    )]
    Full {
        /// Who is not served.
        loser: Claimant,
        /// What is full.
        map: &'static str,
    },
}

impl Problem {
    /// In one word, as Kubernetes' Events have it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Frontend { .. } => "AddressTaken",
            Self::Reserved { .. } => "PortReserved",
            Self::PodAddress { .. } => "AddressOfPods",
            Self::Full { .. } => "DataPathFull",
        }
    }

    /// Who is not served.
    pub fn loser(&self) -> &Claimant {
        match self {
            Self::Frontend { loser, .. }
            | Self::Reserved { loser, .. }
            | Self::PodAddress { loser, .. }
            | Self::Full { loser, .. } => loser,
        }
    }
}

/// What is dialled, in words.
fn place(Frontend { ip, protocol, port }: &Frontend) -> String {
    if ip.is_unspecified() {
        format!("node port {port}/{protocol}")
    } else {
        format!("{ip} port {port}/{protocol}")
    }
}
