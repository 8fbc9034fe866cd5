//! Names: DNS labels as Kubernetes writes them (RFC 1123), checked where they are made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a DNS label, or longer than allowed.
    #[error(
        "{what} {value:?} is not a DNS label: use 1 to {max} of a-z, 0-9 and '-', beginning and ending with a letter or digit"
    )]
    NotALabel {
        /// What was being named.
        what: &'static str,
        /// What was written.
        value: String,
        /// The longest name allowed, in bytes.
        max: usize,
    },
    /// Not of the form `NAMESPACE/NAME` or `CLUSTER/NODE`.
    #[error("{what} {value:?} has no '/': write it as {form}")]
    NoSlash {
        /// What was being named.
        what: &'static str,
        /// What was written.
        value: String,
        /// The form that is expected.
        form: &'static str,
    },
    /// A cluster id outside 1–511.
    #[error("cluster id {0} is out of range: use 1 to 511, each once in the clusterset")]
    ClusterId(u64),
}

/// Checks `value` against RFC 1123's label, or (with `dots`) a subdomain of such labels.
pub(crate) fn check(what: &'static str, value: &str, max: usize, dots: bool) -> Result<(), NameError> {
    let label = |l: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(l.chars().next())
            && edge(l.chars().last())
            && l.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let good = if dots { value.split('.').all(label) } else { label(value) };
    if good && value.len() <= max {
        Ok(())
    } else {
        Err(NameError::NotALabel { what, value: value.chars().take(80).collect(), max })
    }
}

/// A cluster's name: a DNS label of at most 32 characters, unique in the clusterset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// Parses a name.
    pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
        let value = value.into();
        check("cluster name", &value, 32, false)?;
        Ok(Self(value))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClusterName {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        Self::new(value)
    }
}

impl FromStr for ClusterName {
    type Err = NameError;
    fn from_str(value: &str) -> Result<Self, NameError> {
        Self::new(value)
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A cluster's number in the clusterset: 1 to 511, as in Cilium's cluster mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ClusterId(u16);

impl ClusterId {
    /// Checks the range.
    pub fn new(value: u64) -> Result<Self, NameError> {
        match u16::try_from(value) {
            Ok(id @ 1..=511) => Ok(Self(id)),
            _ => Err(NameError::ClusterId(value)),
        }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u64> for ClusterId {
    type Error = NameError;
    fn try_from(value: u64) -> Result<Self, NameError> {
        Self::new(value)
    }
}

impl From<ClusterId> for u64 {
    fn from(id: ClusterId) -> Self {
        u64::from(id.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node, named with its cluster; written `CLUSTER/NODE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName {
    /// The cluster the node belongs to.
    pub cluster: ClusterName,
    /// The node's own name: an RFC 1123 subdomain, at most 253 characters.
    pub node: String,
}

impl NodeName {
    /// Parses the node's own name.
    pub fn new(cluster: ClusterName, node: impl Into<String>) -> Result<Self, NameError> {
        let node = node.into();
        check("node name", &node, 253, true)?;
        Ok(Self { cluster, node })
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        let (cluster, node) = split("node", &value, "CLUSTER/NODE")?;
        Self::new(ClusterName::new(cluster)?, node)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.node)
    }
}

/// A namespaced object of one cluster; written `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName {
    /// The namespace: a DNS label.
    pub namespace: String,
    /// The name: an RFC 1123 subdomain.
    pub name: String,
}

impl ObjectName {
    /// Parses both parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, NameError> {
        let (namespace, name) = (namespace.into(), name.into());
        check("namespace", &namespace, 63, false)?;
        check("object name", &name, 253, true)?;
        Ok(Self { namespace, name })
    }
}

impl TryFrom<String> for ObjectName {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        let (namespace, name) = split("object", &value, "NAMESPACE/NAME")?;
        Self::new(namespace, name)
    }
}

impl FromStr for ObjectName {
    type Err = NameError;
    fn from_str(value: &str) -> Result<Self, NameError> {
        value.to_string().try_into()
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn split<'a>(
    what: &'static str,
    value: &'a str,
    form: &'static str,
) -> Result<(&'a str, &'a str), NameError> {
    value.split_once('/').ok_or_else(|| NameError::NoSlash {
        what,
        value: value.chars().take(80).collect(),
        form,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "aws", "eu-west-1", "0"] {
            assert!(ClusterName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a/b", &"x".repeat(33)] {
            assert!(ClusterName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids() {
        assert!(ClusterId::new(1).is_ok() && ClusterId::new(511).is_ok());
        assert!(
            ClusterId::new(0).is_err() && ClusterId::new(512).is_err() && ClusterId::new(1 << 20).is_err()
        );
    }

    #[test]
    fn slashes() {
        assert_eq!("demo/echo".parse::<ObjectName>().unwrap().to_string(), "demo/echo");
        assert!("demo".parse::<ObjectName>().is_err());
        assert_eq!(NodeName::try_from("aws/aws-1".to_string()).unwrap().node, "aws-1");
    }
}
