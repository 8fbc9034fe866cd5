//! What is kept of a pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use model::{Port, Protocol};

/// A pod, pruned to what services need of it.
#[derive(Debug, PartialEq)]
pub(super) struct Pod {
    /// By key.
    labels: Box<[(Box<str>, Box<str>)]>,
    pub(super) node: Option<Box<str>>,
    pub(super) ips: Box<[IpAddr]>,
    ports: Box<[(Box<str>, Protocol, Port)]>,
    pub(super) ready: bool,
    pub(super) terminating: bool,
    pub(super) weight: u16,
    /// Whether it has run to its end.
    over: bool,
}

impl Pod {
    pub(super) fn new(object: &v1::Pod) -> Self {
        let status = object.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let labels = object.metadata.labels.iter().flatten();
        Self {
            labels: labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            node: object.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).map(Into::into),
            ips: ips(status),
            ports: object.spec.as_ref().map(ports).unwrap_or_default(),
            ready: conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            terminating: object.metadata.deletion_timestamp.is_some(),
            weight: super::service::weight(object.metadata.annotations.as_ref()),
            over: matches!(phase, Some("Succeeded" | "Failed")),
        }
    }

    /// Whether it can be behind a service at all, ready or not (Kubernetes' `ShouldPodBeInEndpoints`).
    pub(super) fn can_serve(&self) -> bool {
        !self.over && !self.ips.is_empty()
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(key, value)| (&**key, &**value))
    }

    pub(super) fn label_map(&self) -> BTreeMap<String, String> {
        self.labels().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    pub(super) fn has(&self, key: &str, value: &str) -> bool {
        let found = self.labels.binary_search_by(|(known, _)| (**known).cmp(key));
        found.is_ok_and(|n| *self.labels[n].1 == *value)
    }

    /// The port a container gave this name to.
    pub(super) fn named_port(&self, name: &str, protocol: Protocol) -> Option<Port> {
        let mut ports = self.ports.iter();
        ports.find(|(known, of, _)| **known == *name && *of == protocol).map(|(_, _, port)| *port)
    }
}

fn ips(status: Option<&v1::PodStatus>) -> Box<[IpAddr]> {
    let Some(status) = status else { return Box::default() };
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut ips: Vec<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    if ips.is_empty() {
        ips.extend(status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()));
    }
    ips.into()
}

/// The named ports of containers, sidecars (restarted init containers) included.
fn ports(spec: &v1::PodSpec) -> Box<[(Box<str>, Protocol, Port)]> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let name = port.name.as_deref().filter(|name| !name.is_empty())?;
            Some((name.into(), protocol(port.protocol.as_deref())?, number(port.container_port)?))
        })
        .collect()
}

/// A protocol as Kubernetes writes it; TCP when it is left out.
pub(super) fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

/// A port number as Kubernetes' types hold it.
pub(super) fn number(port: i32) -> Option<Port> {
    u16::try_from(port).ok().and_then(Port::new)
}
