//! What is watched.

use crate::manifest::Kind;

/// What a target's objects are to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Objects for the index.
    Object(Kind),
    /// The ranges of pods that nodes without their own are given: MeshNode.
    Ranges,
}

/// One kind, and how much depends on it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) what: What,
    /// Whether nothing may be said before it was read. Others only until it is known that they cannot be.
    pub(super) needed: bool,
}

/// In the order in which what they say is best taken in.
pub(super) const TARGETS: [Target; 13] = [
    Target { what: What::Ranges, needed: true },
    Target { what: What::Object(Kind::Node), needed: true },
    Target { what: What::Object(Kind::Peer), needed: false },
    Target { what: What::Object(Kind::Namespace), needed: true },
    Target { what: What::Object(Kind::Service), needed: true },
    Target { what: What::Object(Kind::Pod), needed: true },
    Target { what: What::Object(Kind::EndpointSlice), needed: true },
    Target { what: What::Object(Kind::NetworkPolicy), needed: true },
    Target { what: What::Object(Kind::ClusterNetworkPolicy), needed: false },
    Target { what: What::Object(Kind::CiliumNetworkPolicy), needed: false },
    Target { what: What::Object(Kind::CiliumClusterwideNetworkPolicy), needed: false },
    Target { what: What::Object(Kind::ServiceExport), needed: false },
    Target { what: What::Object(Kind::ServiceImport), needed: false },
];

impl What {
    /// Its name in the paths of the API.
    pub(super) fn plural(self) -> String {
        match self {
            Self::Object(kind) => kind.plural(),
            Self::Ranges => "meshnodes".into(),
        }
    }

    /// `/apis/GROUP/VERSION/PLURAL`, for each version it is read in, the best one first.
    pub(super) fn paths(self) -> Vec<String> {
        let versions = match self {
            Self::Object(kind) => kind.api_versions(),
            Self::Ranges => &["causeway.io/v1alpha1"],
        };
        let path = |version: &&str| match version.contains('/') {
            true => format!("/apis/{version}/{}", self.plural()),
            false => format!("/api/{version}/{}", self.plural()),
        };
        versions.iter().map(path).collect()
    }
}
