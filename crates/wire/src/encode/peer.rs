//! WireGuard clients that are no nodes.

use model::{Allow, Gateways, Peer, PeerEndpoint, PeerHost, PeerName};

use super::{encode_ip, encode_nets};
use crate::pb;

pub(super) fn peer_name(name: &PeerName) -> pb::PeerName {
    pb::PeerName { cluster: name.cluster.to_string(), peer: name.peer.clone() }
}

pub(super) fn peer(peer: &Peer) -> pb::Peer {
    let gateways = match &peer.gateways {
        Gateways::All => Vec::new(),
        Gateways::Named(nodes) => nodes.clone(),
    };
    let ranges = peer.allow.iter().filter_map(|allow| match allow {
        Allow::Range(range) => Some(*range),
        Allow::Pods | Allow::Services => None,
    });
    pb::Peer {
        name: Some(peer_name(&peer.name)),
        public_key: peer.public_key.0.to_vec(),
        allowed_ips: encode_nets(&peer.allowed_ips),
        keepalive: peer.keepalive.into(),
        gateways,
        allow_ranges: encode_nets(&ranges.collect::<Vec<_>>()),
        allow_pods: peer.allow.contains(&Allow::Pods),
        allow_services: peer.allow.contains(&Allow::Services),
        expires: peer.expires,
        labels: peer.labels.clone(),
        endpoint: peer.endpoint.as_ref().map(endpoint),
        preshared_key: peer.preshared_key.as_ref().map(|key| key.0.to_vec()).unwrap_or_default(),
    }
}

fn endpoint(endpoint: &PeerEndpoint) -> pb::PeerEndpoint {
    use pb::peer_endpoint::Host;
    let host = match &endpoint.host {
        PeerHost::Ip(ip) => Host::Ip(encode_ip(ip)),
        PeerHost::Dns(name) => Host::Dns(name.clone()),
    };
    pb::PeerEndpoint { host: Some(host), port: endpoint.port.get().into() }
}
