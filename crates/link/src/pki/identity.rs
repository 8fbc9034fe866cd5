//! Names in certificates.

use std::fmt;

use model::{ClusterName, NodeName};

/// Who a certificate belongs to: its one URI name (RFC 5280 §4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// `causeway://CLUSTER/controller`
    Controller(ClusterName),
    /// `causeway://CLUSTER/node/NODE`
    Node(NodeName),
}

impl Identity {
    /// Reads a URI name. Strict: one spelling for one identity.
    pub fn parse(uri: &str) -> Option<Self> {
        let (cluster, rest) = uri.strip_prefix("causeway://")?.split_once('/')?;
        let cluster = ClusterName::new(cluster).ok()?;
        match rest.split_once('/') {
            None if rest == "controller" => Some(Self::Controller(cluster)),
            Some(("node", node)) => Some(Self::Node(NodeName::new(cluster, node).ok()?)),
            _ => None,
        }
    }

    /// The cluster whose CA has to vouch for it.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Controller(cluster) => cluster,
            Self::Node(node) => &node.cluster,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(cluster) => write!(f, "causeway://{cluster}/controller"),
            Self::Node(NodeName { cluster, node }) => write!(f, "causeway://{cluster}/node/{node}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for good in ["causeway://aws/controller", "causeway://aws/node/aws-1", "causeway://a/node/n.example"]
        {
            assert_eq!(Identity::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "causeway://aws",
            "causeway://aws/",
            "causeway:///controller",
            "causeway://AWS/controller",
            "causeway://aws/controller/",
            "causeway://aws/node/",
            "causeway://aws/node/a/b",
            "causeway://aws/Node/a",
            "spiffe://aws/controller",
            "causeway://aws.evil/controller",
        ] {
            assert_eq!(Identity::parse(bad), None, "{bad}");
        }
    }
}
