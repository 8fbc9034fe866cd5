//! What the agent says of itself, in the local API's words.

use std::collections::BTreeMap;

use engine::health::paths::Stands;
use engine::services::{Explained, Standing, Why};
use model::{EndpointKey, Node, PublicKey};
use wire::local::{
    AgentStatus, BackendStatus, FeatureStatus, KubeProxyStatus, PeerStatus, PortStatus, ServiceStatus,
    TunnelPath, TunnelStatus,
};

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

/// What is hardly meant as it is written, with whose it is.
fn doubts(explained: &Explained) -> impl Iterator<Item = String> {
    let what = if explained.import { "import" } else { "service" };
    explained.doubts.iter().map(move |doubt| format!("{what} {}: {doubt}", explained.service))
}

/// What an endpoint is called: its pod, with the namespace, or its address.
pub(crate) fn pod(endpoint: &EndpointKey) -> String {
    let of_a_pod = endpoint.name.parse::<std::net::IpAddr>().is_err();
    if of_a_pod {
        format!("{}/{}", endpoint.service.name.namespace, endpoint.name)
    } else {
        endpoint.name.clone()
    }
}

/// One backend, as everybody is told of it.
pub(crate) fn backend(standing: Standing) -> BackendStatus {
    BackendStatus {
        pod: pod(&standing.endpoint),
        ips: standing.ips,
        node: standing.node.map(|node| node.node),
        zone: standing.topology.zone,
        region: standing.topology.region,
        cluster: standing.endpoint.service.cluster,
        tier: standing.tier,
        weight: standing.weight,
        healthy: standing.healthy,
        takes: standing.why == Why::InRotation,
        share: standing.share,
        why: standing.why.to_string(),
    }
}

/// The tunnels, with what the device and the prober know of them.
pub(crate) fn tunnels(node: &crate::node::Node, observed: &kernel::wireguard::Observed) -> Vec<TunnelStatus> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let by_key: BTreeMap<PublicKey, &Node> =
        node.outlook.world.nodes.values().filter_map(|n| Some((n.public_key?, n))).collect();
    let hops = by_key.values().map(|node| &node.name).collect();
    let transports =
        engine::mesh::encapsulation::transports(&node.outlook.world, &hops, &node.desired.neighbours);
    let one = |(key, _): (&PublicKey, &engine::plan::Peer)| {
        let peer = by_key.get(key)?;
        let stats = observed.peers.get(key).copied().unwrap_or_default();
        let rtt = node.prober.rtt(&peer.name);
        let (path, relay) = match node.reaching.stands(&peer.name) {
            None => (TunnelPath::Direct, None),
            Some(Stands::Direct) => (TunnelPath::Punched, None),
            Some(Stands::Relay(relay)) => (TunnelPath::Relay, Some(relay.clone())),
            Some(Stands::Nowhere) => (TunnelPath::None, None),
        };
        Some(TunnelStatus {
            peer: peer.name.clone(),
            peer_topology: peer.topology.clone(),
            peer_location: peer.location.clone(),
            public_key: *key,
            endpoint: stats.endpoint,
            last_handshake_seconds: stats.last_handshake.map(|at| now.saturating_sub(at).as_secs_f64()),
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            alive: rtt.is_some() && !node.outlook.dead.contains(&peer.name),
            path,
            transport: transports.get(&peer.name).copied().unwrap_or_default(),
            relay,
            generation: node.outlook.settings.preshared.used_with(peer),
        })
    };
    node.desired.tunnel.peers.iter().filter_map(one).collect()
}

/// The peers that are no nodes and have a tunnel here, with what the device knows of them.
fn peers(node: &crate::node::Node, observed: &kernel::wireguard::Observed) -> Vec<PeerStatus> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let one = |peer: &model::Peer| {
        let planned = node.desired.tunnel.peers.get(&peer.public_key)?;
        let stats = observed.peers.get(&peer.public_key).copied().unwrap_or_default();
        Some(PeerStatus {
            cluster: peer.name.cluster.clone(),
            name: peer.name.peer.clone(),
            public_key: peer.public_key,
            allowed_ips: planned.allowed_ips.iter().copied().collect(),
            endpoint: stats.endpoint,
            last_handshake_seconds: stats.last_handshake.map(|at| now.saturating_sub(at).as_secs_f64()),
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
        })
    };
    node.outlook.world.peers.values().filter_map(one).collect()
}

/// Everything the agent says of itself.
pub(crate) fn agent(node: &crate::node::Node, observed: &kernel::wireguard::Observed) -> AgentStatus {
    let waiting_for = node.waiting_for();
    let features = node.features.iter();
    let kube_proxy = node.neighbour.last();
    let explained = engine::services::explain(&node.outlook.view());
    // Said here only: whether something is meant as it is written changes nothing in the kernel.
    let doubts: Vec<String> = explained.iter().flat_map(doubts).collect();
    let services = explained.into_iter();
    AgentStatus {
        node: node.outlook.me.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: node.uptime(),
        ready: waiting_for.is_empty(),
        waiting_for,
        rss_bytes: kernel::process::rss_bytes(std::process::id() as i32).ok().flatten().unwrap_or(0),
        controller: node.stream.clone(),
        topology: node.config.topology(node.myself()),
        location: node.config.location(node.myself()),
        public_key: observed.public_key,
        wireguard: if node.datapath.device.is_kernel() { "kernel" } else { "userspace" }.into(),
        tunnels: tunnels(node, observed),
        peers: peers(node, observed),
        services: services.filter(|explained| !explained.import).map(service).collect(),
        underlay: node.underlay.clone(),
        pod_cidrs: node.pod_network().map(|network| network.pod_cidrs).unwrap_or_default(),
        kube_proxy: KubeProxyStatus { state: kube_proxy.state, seen: kube_proxy.seen },
        features: features
            .map(|f| FeatureStatus {
                name: f.name.to_string(),
                present: f.present,
                purpose: f.purpose.to_string(),
                fallback: f.fallback.map(|fallback| fallback.to_string()),
            })
            .collect(),
        pending_operations: node.pending(),
        problems: [node.problems.list(), doubts].concat(),
    }
}
