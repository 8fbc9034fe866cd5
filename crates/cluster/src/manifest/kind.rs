//! The kinds of object that are read, and the names of objects.

use std::fmt;
use std::str::FromStr;

use crate::yaml::nearest;

/// A kind of object, in the order in which a set of them is best taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// v1
    Namespace,
    /// v1
    Node,
    /// kilo.squat.ai/v1alpha1
    Peer,
    /// v1
    Service,
    /// apps/v1
    Deployment,
    /// v1
    Pod,
    /// discovery.k8s.io/v1
    EndpointSlice,
    /// networking.k8s.io/v1
    NetworkPolicy,
    /// policy.networking.k8s.io/v1alpha2
    ClusterNetworkPolicy,
    /// cilium.io/v2
    CiliumNetworkPolicy,
    /// cilium.io/v2
    CiliumClusterwideNetworkPolicy,
    /// multicluster.x-k8s.io
    ServiceExport,
    /// multicluster.x-k8s.io
    ServiceImport,
}

/// A word that names no kind we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no kind that is read here; {}", match nearest {
    Some(kind) => format!("did you mean `{kind}`?"),
    None => format!("write one of `{}`", Kind::ALL.map(|kind| kind.lower()).join("`, `")),
})]
pub struct UnknownKind {
    /// The word.
    pub word: String,
    /// What was probably meant.
    pub nearest: Option<&'static str>,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 13] = [
        Self::Namespace,
        Self::Node,
        Self::Peer,
        Self::Service,
        Self::Deployment,
        Self::Pod,
        Self::EndpointSlice,
        Self::NetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::CiliumNetworkPolicy,
        Self::CiliumClusterwideNetworkPolicy,
        Self::ServiceExport,
        Self::ServiceImport,
    ];

    /// Its name in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Peer => "Peer",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
            Self::ServiceExport => "ServiceExport",
            Self::ServiceImport => "ServiceImport",
        }
    }

    /// Its name on a command line and in file names.
    pub fn lower(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::Peer => "peer",
            Self::Service => "service",
            Self::Deployment => "deployment",
            Self::Pod => "pod",
            Self::EndpointSlice => "endpointslice",
            Self::NetworkPolicy => "networkpolicy",
            Self::ClusterNetworkPolicy => "clusternetworkpolicy",
            Self::CiliumNetworkPolicy => "ciliumnetworkpolicy",
            Self::CiliumClusterwideNetworkPolicy => "ciliumclusterwidenetworkpolicy",
            Self::ServiceExport => "serviceexport",
            Self::ServiceImport => "serviceimport",
        }
    }

    /// Its name in the paths of the API.
    pub fn plural(self) -> String {
        match self.lower().strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{}s", self.lower()),
        }
    }

    /// What `kubectl` lets people write for short.
    fn short(self) -> &'static str {
        match self {
            Self::Namespace => "ns",
            Self::Node => "no",
            // Kilo gives it none.
            Self::Peer => "peer",
            Self::Service => "svc",
            Self::Deployment => "deploy",
            Self::Pod => "po",
            Self::EndpointSlice => "eps",
            Self::NetworkPolicy => "netpol",
            Self::ClusterNetworkPolicy => "cnp",
            // Cilium's own word for it is the one above; here it belongs to whose API is Kubernetes'.
            Self::CiliumNetworkPolicy => "ciliumnp",
            Self::CiliumClusterwideNetworkPolicy => "ccnp",
            Self::ServiceExport => "svcex",
            Self::ServiceImport => "svcim",
        }
    }

    /// The versions of the API in which it is read, the best one first.
    pub fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Namespace | Self::Node | Self::Service | Self::Pod => &["v1"],
            Self::Peer => &["kilo.squat.ai/v1alpha1"],
            Self::Deployment => &["apps/v1"],
            Self::EndpointSlice => &["discovery.k8s.io/v1"],
            Self::NetworkPolicy => &["networking.k8s.io/v1"],
            Self::ClusterNetworkPolicy => &["policy.networking.k8s.io/v1alpha2"],
            Self::CiliumNetworkPolicy | Self::CiliumClusterwideNetworkPolicy => &["cilium.io/v2"],
            Self::ServiceExport | Self::ServiceImport => {
                &["multicluster.x-k8s.io/v1beta1", "multicluster.x-k8s.io/v1alpha1"]
            }
        }
    }

    /// The version of the API in which it is written.
    pub fn api_version(self) -> &'static str {
        self.api_versions()[0]
    }

    /// Whether its objects are in namespaces.
    pub fn namespaced(self) -> bool {
        !matches!(
            self,
            Self::Namespace
                | Self::Node
                | Self::Peer
                | Self::ClusterNetworkPolicy
                | Self::CiliumClusterwideNetworkPolicy
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Takes what `kubectl` takes: `Service`, `service`, `services`, `svc`.
    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        let lower = word.to_lowercase();
        let matches =
            |kind: &Self| [kind.lower(), kind.short()].contains(&lower.as_str()) || kind.plural() == lower;
        Self::ALL.into_iter().find(matches).ok_or_else(|| UnknownKind {
            nearest: nearest(&lower, Self::ALL.map(Self::lower)),
            word: word.chars().take(80).collect(),
        })
    }
}

/// Names an object of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for the kinds that are in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Id {
    /// The id of an object; a namespaced kind without a namespace is in `default`, others are in none.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = match (kind.namespaced(), namespace) {
            (false, _) => "",
            (true, "") => "default",
            (true, namespace) => namespace,
        };
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind.lower(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.lower(), self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (word, kind) in [
            ("Service", Some(Kind::Service)),
            ("services", Some(Kind::Service)),
            ("svc", Some(Kind::Service)),
            ("po", Some(Kind::Pod)),
            ("pods", Some(Kind::Pod)),
            ("ns", Some(Kind::Namespace)),
            ("endpointslices", Some(Kind::EndpointSlice)),
            ("NetworkPolicies", Some(Kind::NetworkPolicy)),
            ("cnp", Some(Kind::ClusterNetworkPolicy)),
            ("ccnp", Some(Kind::CiliumClusterwideNetworkPolicy)),
            ("ciliumnetworkpolicies", Some(Kind::CiliumNetworkPolicy)),
            ("ingress", None),
        ] {
            assert_eq!(word.parse::<Kind>().ok(), kind, "{word}");
        }
        assert_eq!(
            "servise".parse::<Kind>().unwrap_err().to_string(),
            "\"servise\" is no kind that is read here; did you mean `service`?"
        );
        assert_eq!(Id::new(Kind::Pod, "", "a").to_string(), "pod default/a");
        assert_eq!(Id::new(Kind::Node, "x", "a").to_string(), "node a");
    }
}
