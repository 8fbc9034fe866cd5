//! WireGuard clients that are no nodes.

use model::{Allow, ClusterName, Gateways, NodeName, Peer, PeerEndpoint, PeerHost, PeerName, PresharedKey};

use super::{few, labels, nets, number, parse_ips, parse_public_key, range};
use crate::{ParseError, limits, pb};

pub(super) fn peer_name(name: Option<pb::PeerName>) -> Result<PeerName, ParseError> {
    let name = name.ok_or(ParseError::Missing("a peer's name"))?;
    Ok(PeerName::new(ClusterName::new(name.cluster)?, name.peer)?)
}

pub(super) fn peer(p: pb::Peer) -> Result<Peer, ParseError> {
    let name = peer_name(p.name)?;
    let allowed_ips = nets("a peer's allowed IPs", p.allowed_ips)?;
    if allowed_ips.is_empty() {
        return Err(ParseError::Missing("a peer's allowed IPs"));
    }
    few("gateways", p.gateways.len(), limits::GATEWAYS)?;
    for node in &p.gateways {
        NodeName::new(name.cluster.clone(), node)?;
    }
    let preshared_key = match &*p.preshared_key {
        [] => None,
        bytes => Some(PresharedKey(bytes.try_into().map_err(|_| ParseError::PublicKey(bytes.len()))?)),
    };
    let pods = p.allow_pods.then_some(Allow::Pods).into_iter();
    let services = p.allow_services.then_some(Allow::Services);
    let ranges = nets("what a peer is led to", p.allow_ranges)?;
    Ok(Peer {
        public_key: parse_public_key(&p.public_key)?.ok_or(ParseError::Missing("a peer's key"))?,
        allowed_ips,
        endpoint: p.endpoint.map(endpoint).transpose()?,
        keepalive: u16::try_from(p.keepalive).map_err(|_| range("a peer's keepalive", p.keepalive, 0))?,
        preshared_key,
        gateways: if p.gateways.is_empty() { Gateways::All } else { Gateways::Named(p.gateways) },
        allow: pods.chain(services).chain(ranges.into_iter().map(Allow::Range)).collect(),
        expires: p.expires,
        labels: labels(p.labels)?,
        name,
    })
}

fn endpoint(endpoint: pb::PeerEndpoint) -> Result<PeerEndpoint, ParseError> {
    use pb::peer_endpoint::Host;
    let host = match endpoint.host.ok_or(ParseError::Missing("a peer's host"))? {
        Host::Ip(bytes) => match parse_ips("a peer's endpoint", &[bytes], 1)?.first() {
            Some(ip) => PeerHost::Ip(*ip),
            None => return Err(ParseError::Missing("a peer's host")),
        },
        Host::Dns(name) => PeerHost::dns(&name)?,
    };
    Ok(PeerEndpoint { host, port: number("a peer's port", endpoint.port)? })
}
