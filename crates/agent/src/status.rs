//! What the agent says of itself, in the local API's words.

use engine::services::{Explained, Standing, Why};
use model::{Node, NodeName, World};
use wire::local::{BackendStatus, PortStatus, ServiceStatus};

/// One service as this node sees it.
pub(crate) fn service(explained: Explained) -> ServiceStatus {
    let ports = explained.ports.iter();
    ServiceStatus {
        service: explained.service,
        vips: explained.vips,
        ports: ports
            .map(|p| PortStatus { name: p.name.clone(), protocol: p.protocol, port: p.port.get() })
            .collect(),
        global: explained.global,
        backends: explained.backends.into_iter().map(backend).collect(),
    }
}

fn backend(standing: Standing) -> BackendStatus {
    let service = &standing.endpoint.service;
    let of_a_pod = standing.endpoint.name.parse::<std::net::IpAddr>().is_err();
    let pod = if of_a_pod {
        format!("{}/{}", service.name.namespace, standing.endpoint.name)
    } else {
        standing.endpoint.name.clone()
    };
    BackendStatus {
        pod,
        ips: standing.ips,
        node: standing.node.map(|node| node.node),
        zone: standing.topology.zone,
        region: standing.topology.region,
        cluster: standing.endpoint.service.cluster,
        tier: standing.tier,
        healthy: standing.healthy,
        share: standing.share,
        why: if standing.why == Why::InRotation { String::new() } else { standing.why.to_string() },
    }
}

/// The node of this public key.
pub(crate) fn owner<'a>(world: &'a World, key: &model::PublicKey) -> Option<(&'a NodeName, &'a Node)> {
    world.nodes.iter().find(|(_, node)| node.public_key.as_ref() == Some(key))
}
