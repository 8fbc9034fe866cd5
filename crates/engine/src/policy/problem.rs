//! What of policies cannot be enforced as it is written.

use model::NodeName;
use model::policy::{PodName, PolicyName};

use super::compiled::Direction;

/// What cannot be enforced. The pods and directions concerned let nothing pass; all others are untouched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// More verdicts than the kernel has room for.
    #[error(
        "{direction} of pod {}/{} is closed: its policies come to more verdicts than there is room for ({limit} in all); let fewer of them name single ports, or select whole namespaces",
        pod.namespace.name, pod.name
    )]
    Verdicts {
        /// Whose.
        pod: PodName,
        /// Which way.
        direction: Direction,
        /// How many there is room for.
        limit: usize,
    },
    /// More ranges than the kernel has room for.
    #[error(
        "{direction} of pod {}/{} is closed: its policies name more ranges of addresses than there is room for ({limit} in all); name larger ranges",
        pod.namespace.name, pod.name
    )]
    Networks {
        /// Whose.
        pod: PodName,
        /// Which way.
        direction: Direction,
        /// How many there is room for.
        limit: usize,
    },
    /// More rules than verdicts can name.
    #[error(
        "{direction} of pod {}/{} is closed: its policies have more than 65536 rules together; merge some of them",
        pod.namespace.name, pod.name
    )]
    Rules {
        /// Whose.
        pod: PodName,
        /// Which way.
        direction: Direction,
    },
    /// The pod's labels, or its namespace's, are not known yet.
    #[error(
        "{direction} of pod {}/{} is closed until its labels and its namespace's are known: {policy} may be about it",
        pod.namespace.name, pod.name
    )]
    Labels {
        /// Whose.
        pod: PodName,
        /// Which way.
        direction: Direction,
        /// The first policy that may be about it.
        policy: PolicyName,
    },
    /// A node itself is closed, but for what always passes.
    #[error("{direction} of node {node} is closed but for what always passes: {why}")]
    Node {
        /// Which.
        node: NodeName,
        /// Which way.
        direction: Direction,
        /// Why, and what to do.
        why: String,
    },
    /// More addresses of pods than the kernel has room for.
    #[error(
        "{left_out} addresses of pods are unknown to policy: there is room for {limit}; let policies select pods of fewer clusters"
    )]
    Identities {
        /// How many are left out.
        left_out: usize,
        /// How many there is room for.
        limit: usize,
    },
    /// More addresses behind names than there is room for.
    #[error(
        "an address that a name led to was not learned: there is room for {limit}; let policies name fewer domains"
    )]
    Names {
        /// How many there is room for.
        limit: usize,
    },
}

impl Problem {
    /// Whether a pod lets nothing pass in some direction because of it.
    pub fn closes(&self) -> bool {
        match self {
            Self::Verdicts { .. } | Self::Networks { .. } | Self::Rules { .. } | Self::Labels { .. } => true,
            Self::Node { .. } => true,
            Self::Identities { .. } | Self::Names { .. } => false,
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}
