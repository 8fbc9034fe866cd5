//! The Kubernetes objects we take: which kinds, and what must be right about each before anybody sees it.
//!
//! A manifest may carry every field of Kubernetes' schema, whether we act on it or not; a field that is not in the
//! schema is refused, with its line. What is checked is what Kubernetes itself would refuse among the fields we use.

mod check;
pub mod cilium;
mod kind;
pub mod multicluster;
pub mod peer;
pub mod policy;
pub mod syntax;

use std::collections::HashMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, Serializer};

use crate::yaml::{self, Error, Located, Reason, nearest};

use cilium::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
pub use kind::{Id, Kind, UnknownKind};
use multicluster::{ServiceExport, ServiceImport};
use peer::Peer;
use policy::ClusterNetworkPolicy;

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub enum Manifest {
    /// Accepted so that ordinary files can be used as they are; a namespace need not be declared.
    Namespace(Box<Namespace>),
    /// A machine.
    Node(Box<Node>),
    /// A WireGuard client that is no node.
    Peer(Box<Peer>),
    /// What clients dial.
    Service(Box<Service>),
    /// What answers.
    Pod(Box<Pod>),
    /// Several pods alike.
    Deployment(Box<Deployment>),
    /// What answers for a service without a selector.
    EndpointSlice(Box<EndpointSlice>),
    /// Who may speak with the pods of a namespace.
    NetworkPolicy(Box<NetworkPolicy>),
    /// Who may speak with whom, above or below the policies of namespaces.
    ClusterNetworkPolicy(Box<ClusterNetworkPolicy>),
    /// Cilium's word for who may speak with the pods of a namespace.
    CiliumNetworkPolicy(Box<CiliumNetworkPolicy>),
    /// Cilium's word for who may speak with whom in the whole cluster.
    CiliumClusterwideNetworkPolicy(Box<CiliumClusterwideNetworkPolicy>),
    /// That a service is one with its namesakes in other clusters.
    ServiceExport(Box<ServiceExport>),
    /// What such services are together.
    ServiceImport(Box<ServiceImport>),
}

/// Does the same with an object of whatever kind.
macro_rules! each {
    ($manifest:expr, $object:ident => $does:expr) => {
        match $manifest {
            Manifest::Namespace($object) => $does,
            Manifest::Node($object) => $does,
            Manifest::Peer($object) => $does,
            Manifest::Service($object) => $does,
            Manifest::Pod($object) => $does,
            Manifest::Deployment($object) => $does,
            Manifest::EndpointSlice($object) => $does,
            Manifest::NetworkPolicy($object) => $does,
            Manifest::ClusterNetworkPolicy($object) => $does,
            Manifest::CiliumNetworkPolicy($object) => $does,
            Manifest::CiliumClusterwideNetworkPolicy($object) => $does,
            Manifest::ServiceExport($object) => $does,
            Manifest::ServiceImport($object) => $does,
        }
    };
}

impl Manifest {
    /// What kind of object it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Peer(_) => Kind::Peer,
            Self::Service(_) => Kind::Service,
            Self::Pod(_) => Kind::Pod,
            Self::Deployment(_) => Kind::Deployment,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
            Self::ClusterNetworkPolicy(_) => Kind::ClusterNetworkPolicy,
            Self::CiliumNetworkPolicy(_) => Kind::CiliumNetworkPolicy,
            Self::CiliumClusterwideNetworkPolicy(_) => Kind::CiliumClusterwideNetworkPolicy,
            Self::ServiceExport(_) => Kind::ServiceExport,
            Self::ServiceImport(_) => Kind::ServiceImport,
        }
    }

    /// What names it.
    pub fn id(&self) -> Id {
        let meta = self.metadata();
        Id::new(
            self.kind(),
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        each!(self, object => &object.metadata)
    }

    /// Its metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        each!(self, object => &mut object.metadata)
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        each!(self, object => object.serialize(serializer))
    }
}

macro_rules! into_manifest {
    ($($kind:ident)*) => {$(
        impl From<$kind> for Manifest {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        }
    )*};
}

into_manifest!(Namespace Node Peer Service Pod Deployment EndpointSlice NetworkPolicy ClusterNetworkPolicy
    CiliumNetworkPolicy CiliumClusterwideNetworkPolicy ServiceExport ServiceImport);

/// Reads the objects of a text, `kind: List` taken apart. Each is right by itself and none occurs twice; an object
/// with no namespace is in `default`. `file` is what errors call the text.
pub fn parse(file: &str, text: &str) -> Result<Vec<Located<Manifest>>, Error> {
    let mut manifests = Vec::new();
    for document in yaml::documents(file, text)? {
        if document.text("kind") == Some("List") {
            for item in document.elements("items").unwrap_or_default() {
                manifests.push(read(&item)?);
            }
        } else {
            manifests.push(read(&document)?);
        }
    }
    check_unique(&manifests)?;
    Ok(manifests)
}

/// Refuses a set in which two objects have one name, at the second of them.
pub fn check_unique<'a>(manifests: impl IntoIterator<Item = &'a Located<Manifest>>) -> Result<(), Error> {
    let mut seen: HashMap<Id, &Located<Manifest>> = HashMap::new();
    for manifest in manifests {
        let id = manifest.value.id();
        if let Some(first) = seen.get(&id) {
            let what = format!("{id} is already in {}:{}", first.file(), first.line());
            return Err(manifest.error("metadata.name", what, "another name, or the object only once"));
        }
        seen.insert(id, manifest);
    }
    Ok(())
}

fn read(document: &Located<()>) -> Result<Located<Manifest>, Error> {
    document.expect_mapping(
        "a Kubernetes object",
        "its `apiVersion: …`, `kind: …`, `metadata: …` and `spec: …` lines",
    )?;
    let field = |name: &str| {
        document.text(name).ok_or_else(|| document.because("", Reason::Missing { field: name.into() }))
    };
    let (version, written) = (field("apiVersion")?, field("kind")?);
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == written) else {
        let known = Kind::ALL.map(Kind::as_str);
        return Err(document.because(
            "kind",
            Reason::UnknownValue {
                value: written.into(),
                nearest: nearest(written, known).map(Into::into),
                known: known.map(Into::into).into(),
            },
        ));
    };
    if !kind.api_versions().contains(&version) {
        let what = format!("{kind} is not read in version `{version}`");
        let versions = format!("`{}`", kind.api_versions().join("` or `"));
        return Err(document.error("apiVersion", what, versions));
    }
    let mut manifest = match kind {
        Kind::Namespace => document.read::<Namespace>()?.map(Into::into),
        Kind::Node => document.read::<Node>()?.map(Into::into),
        Kind::Peer => document.read::<Peer>()?.map(Into::into),
        Kind::Service => document.read::<Service>()?.map(Into::into),
        Kind::Pod => document.read::<Pod>()?.map(Into::into),
        Kind::Deployment => document.read::<Deployment>()?.map(Into::into),
        Kind::EndpointSlice => document.read::<EndpointSlice>()?.map(Into::into),
        Kind::NetworkPolicy => document.read::<NetworkPolicy>()?.map(Into::into),
        Kind::ClusterNetworkPolicy => document.read::<ClusterNetworkPolicy>()?.map(Into::into),
        Kind::CiliumNetworkPolicy => document.read::<CiliumNetworkPolicy>()?.map(Into::into),
        Kind::CiliumClusterwideNetworkPolicy => {
            document.read::<CiliumClusterwideNetworkPolicy>()?.map(Into::into)
        }
        Kind::ServiceExport => document.read::<ServiceExport>()?.map(Into::into),
        Kind::ServiceImport => document.read::<ServiceImport>()?.map(Into::into),
    };
    check::check(document, &manifest.value)?;
    let meta = Manifest::metadata_mut(&mut manifest.value);
    if kind.namespaced() && meta.namespace.is_none() {
        meta.namespace = Some("default".into());
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests;
