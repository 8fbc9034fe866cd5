//! Objects as they arrive, pruned to what the index needs of their kind: what nobody uses is never even built.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Namespace, Node, Pod, PodSpec, PodStatus, Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::target::What;
use crate::Complaint;
use crate::manifest::cilium::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
use crate::manifest::multicluster::{ServiceExport, ServiceImport};
use crate::manifest::peer::Peer;
use crate::manifest::policy::ClusterNetworkPolicy;
use crate::manifest::{Id, Kind, Manifest};

/// One object.
#[derive(Debug)]
pub(super) enum Arrival {
    /// For the index.
    Object(Manifest),
    /// The ranges a node is given.
    Ranges { node: String, ranges: Vec<String> },
    /// One that cannot be read, but for its name.
    Unreadable(Id, Complaint),
}

/// What names an object, and where in the history of its kind it stands.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) metadata: Name,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Name {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    pub(super) resource_version: String,
}

impl Named {
    pub(super) fn read(text: &RawValue) -> serde_json::Result<Self> {
        serde_json::from_str(text.get())
    }

    pub(super) fn id(&self, kind: Kind) -> Id {
        Id::new(kind, &self.metadata.namespace, &self.metadata.name)
    }

    /// The node that a MeshNode is for.
    pub(super) fn node(self) -> String {
        self.metadata.name
    }
}

impl Arrival {
    /// Reads an object of a kind. An error only for what is no object at all.
    pub(super) fn read(what: What, text: &RawValue) -> serde_json::Result<Self> {
        let kind = match what {
            What::Object(kind) => kind,
            What::Ranges => return serde_json::from_str::<Ranges>(text.get()).map(Ranges::arrival),
        };
        manifest(kind, text).map(Self::Object).or_else(|error| {
            let message = format!(
                "it cannot be read: {error}; what was known of it before stays in force; look at whoever writes it, or \
                 upgrade Causeway"
            );
            Ok(Self::Unreadable(Named::read(text)?.id(kind), Complaint { reason: "Unreadable", message }))
        })
    }
}

fn manifest(kind: Kind, text: &RawValue) -> serde_json::Result<Manifest> {
    fn whole<T: DeserializeOwned + Into<Manifest>>(text: &RawValue) -> serde_json::Result<Manifest> {
        serde_json::from_str::<T>(text.get()).map(Into::into)
    }
    match kind {
        Kind::Pod => serde_json::from_str::<SlimPod>(text.get()).map(|pod| Pod::from(pod).into()),
        Kind::Node => whole::<Node>(text),
        Kind::Peer => whole::<Peer>(text),
        Kind::Service => whole::<Service>(text),
        Kind::EndpointSlice => whole::<EndpointSlice>(text),
        Kind::ServiceExport => whole::<ServiceExport>(text),
        Kind::ServiceImport => whole::<ServiceImport>(text),
        Kind::Namespace => whole::<Namespace>(text),
        Kind::NetworkPolicy => whole::<NetworkPolicy>(text),
        Kind::ClusterNetworkPolicy => whole::<ClusterNetworkPolicy>(text),
        Kind::CiliumNetworkPolicy => whole::<CiliumNetworkPolicy>(text),
        Kind::CiliumClusterwideNetworkPolicy => whole::<CiliumClusterwideNetworkPolicy>(text),
        Kind::Deployment => unreachable!("Deployments are not watched"),
    }
}

/// Of a MeshNode what concerns its node's ranges.
#[derive(Deserialize)]
struct Ranges {
    metadata: Name,
    #[serde(default)]
    spec: serde_json::Value,
}

impl Ranges {
    fn arrival(self) -> Arrival {
        let written = self.spec.get("podCIDRs").and_then(|ranges| ranges.as_array());
        let ranges = written.into_iter().flatten().filter_map(|range| range.as_str().map(Into::into));
        Arrival::Ranges { node: self.metadata.name, ranges: ranges.collect() }
    }
}

/// Of a pod, of which there are the most and the largest, only what is used.
#[derive(Deserialize)]
struct SlimPod {
    metadata: SlimMeta,
    #[serde(default)]
    spec: SlimSpec,
    #[serde(default)]
    status: SlimStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMeta {
    name: String,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    host_network: Option<bool>,
    node_name: Option<String>,
    #[serde(default)]
    containers: Vec<SlimContainer>,
    #[serde(default)]
    init_containers: Vec<SlimContainer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimContainer {
    restart_policy: Option<String>,
    ports: Option<Vec<ContainerPort>>,
}

impl From<SlimContainer> for Container {
    fn from(SlimContainer { restart_policy, ports }: SlimContainer) -> Self {
        Container { restart_policy, ports, ..Container::default() }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<k8s_openapi::api::core::v1::PodIP>>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

impl From<SlimPod> for Pod {
    fn from(SlimPod { metadata, spec, status }: SlimPod) -> Self {
        Pod {
            metadata: ObjectMeta {
                name: Some(metadata.name),
                namespace: metadata.namespace,
                labels: metadata.labels,
                annotations: metadata.annotations,
                deletion_timestamp: metadata.deletion_timestamp,
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                host_network: spec.host_network,
                node_name: spec.node_name,
                containers: spec.containers.into_iter().map(Into::into).collect(),
                init_containers: Some(spec.init_containers.into_iter().map(Into::into).collect()),
                ..PodSpec::default()
            }),
            status: Some(PodStatus {
                phase: status.phase,
                pod_ip: status.pod_ip,
                pod_ips: status.pod_ips,
                host_ip: status.host_ip,
                ..PodStatus::default()
            }),
        }
    }
}
