//! Peers: WireGuard clients that are no nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use model::{
    Allow, Change, Cluster, ClusterName, Gateways, Key, NodeName, Object, Peer, PeerEndpoint, PeerHost,
    PeerName, Port, overlaps,
};

use super::labels::Labels;
use crate::Complaint;
use crate::manifest::peer::{self as written, ALLOW, EXPIRES, GATEWAY};
use crate::manifest::{Id, Kind};

/// The most ranges that a peer may have.
const MOST_RANGES: usize = 64;
/// The most nodes that may be named as its gateways.
const MOST_GATEWAYS: usize = 64;

/// What is wrong with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The field: `spec.allowedIPs[1]`.
    pub(crate) path: String,
    /// What is wrong with it.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) instead: &'static str,
}

type Result<T> = std::result::Result<T, Refused>;

fn refuse<T>(path: impl Into<String>, what: impl Into<String>, instead: &'static str) -> Result<T> {
    Err(Refused { path: path.into(), what: what.into(), instead })
}

impl From<Refused> for Complaint {
    fn from(Refused { path, what, instead }: Refused) -> Self {
        let message = format!(
            "{path}: {what}; write {instead}. Nothing of the peer as it is now is applied, and what was known of it before \
             stays in force"
        );
        Self { reason: "PeerRefused", message }
    }
}

/// The peers of a cluster, as they were said.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<String, Peer>);

impl Peers {
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.0.keys().map(|name| Id::new(Kind::Peer, "", name))
    }

    pub(super) fn apply(
        &mut self,
        cluster: &Cluster,
        object: &written::Peer,
        found: &mut Vec<Complaint>,
    ) -> Vec<Change> {
        let mut peer = match read(&cluster.name, object).and_then(|peer| inside(cluster, peer)) {
            Ok(peer) => peer,
            Err(refused) => {
                found.push(refused.into());
                return Vec::new();
            }
        };
        peer.labels = Labels::new(object.metadata.labels.as_ref(), found).to_map();
        let known = self.0.insert(peer.name.peer.clone(), peer.clone());
        if known.as_ref() == Some(&peer) { Vec::new() } else { vec![Change::Upsert(Object::Peer(peer))] }
    }

    pub(super) fn delete(&mut self, id: &Id) -> Vec<Change> {
        let gone = self.0.remove(&id.name);
        gone.map(|peer| Change::Delete(Key::Peer(peer.name))).into_iter().collect()
    }
}

/// Refuses a peer that would take addresses of the cluster's pods or services.
fn inside(cluster: &Cluster, peer: Peer) -> Result<Peer> {
    let services = cluster.service_cidrs.iter().chain(&cluster.clusterset_cidrs);
    let taken = cluster.pod_cidrs.iter().map(|range| ("pods", range));
    let taken: Vec<_> = taken.chain(services.map(|range| ("services", range))).collect();
    for (n, wanted) in peer.allowed_ips.iter().enumerate() {
        if let Some((whose, range)) = taken.iter().find(|(_, range)| overlaps(range, wanted)) {
            let what = format!("{wanted} overlaps {range}, where {whose} have their addresses");
            return refuse(format!("spec.allowedIPs[{n}]"), what, "addresses that nobody else has");
        }
    }
    Ok(peer)
}

/// What an object says, without its labels.
pub(crate) fn read(cluster: &ClusterName, object: &written::Peer) -> Result<Peer> {
    let written::PeerSpec { allowed_ips, endpoint, persistent_keepalive, preshared_key, public_key } =
        &object.spec;
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let Ok(name) = PeerName::new(cluster.clone(), name) else {
        return refuse("metadata.name", "it is no name", "a DNS name such as alice");
    };
    const KEY: &str = "44 characters of base64, as `wg pubkey` prints";
    if public_key.is_empty() {
        return refuse("spec.publicKey", "it is empty", KEY);
    }
    let Ok(public_key) = public_key.parse() else {
        return refuse("spec.publicKey", "it is no WireGuard key", KEY);
    };
    let preshared_key = match preshared_key.as_str() {
        "" => None,
        text => match text.parse() {
            Ok(key) => Some(key),
            // Not what it is: it is a secret.
            Err(_) => {
                return refuse(
                    "spec.presharedKey",
                    "it is no key",
                    "44 characters of base64, as `wg genpsk` prints",
                );
            }
        },
    };
    let keepalive = match u16::try_from(persistent_keepalive.unwrap_or_default()) {
        Ok(seconds) => seconds,
        Err(_) => return refuse("spec.persistentKeepalive", "it is out of range", "seconds from 0 to 65535"),
    };
    let annotations = object.metadata.annotations.as_ref();
    let annotation = |key: &str| annotations.and_then(|all| all.get(key)).map(|text| text.trim());
    Ok(Peer {
        public_key,
        allowed_ips: ranges(allowed_ips)?,
        endpoint: endpoint.as_ref().map(self::endpoint).transpose()?,
        keepalive,
        preshared_key,
        gateways: annotation(GATEWAY).map(|text| gateways(cluster, text)).transpose()?.unwrap_or_default(),
        allow: annotation(ALLOW).map(allow).transpose()?.unwrap_or_default(),
        expires: annotation(EXPIRES).map(expires).transpose()?,
        labels: Default::default(),
        name,
    })
}

fn ranges(written: &[String]) -> Result<Vec<IpNet>> {
    const RANGE: &str = "a range such as 10.254.1.7/32 or fd43:c5e8:1::7/128";
    if written.is_empty() {
        return refuse("spec.allowedIPs", "it is empty: nobody could be reached there", RANGE);
    }
    if written.len() > MOST_RANGES {
        let what = format!("{} ranges; at most {MOST_RANGES} are read", written.len());
        return refuse("spec.allowedIPs", what, "fewer and wider ones");
    }
    let mut ranges: Vec<IpNet> = Vec::new();
    for (n, text) in written.iter().enumerate() {
        let path = format!("spec.allowedIPs[{n}]");
        let short: String = text.chars().take(80).collect();
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let Ok(net) = net.map(|net| net.trunc()) else {
            return refuse(path, format!("{short:?} is no address range"), RANGE);
        };
        let mapped = matches!(net.network(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        let single = net.prefix_len() == net.max_prefix_len();
        let nobodys = net.network().is_multicast() || net.network().is_loopback();
        if mapped || nobodys || single && net.network().is_unspecified() {
            return refuse(path, format!("{net} is nobody's addresses"), RANGE);
        }
        if !ranges.contains(&net) {
            ranges.push(net);
        }
    }
    Ok(ranges)
}

fn endpoint(written: &written::PeerEndpoint) -> Result<PeerEndpoint> {
    let written::DnsOrIp { dns, ip } = &written.dns_or_ip;
    let host = match (dns.as_str(), ip.as_str()) {
        ("", "") => {
            return refuse(
                "spec.endpoint.dnsOrIP",
                "there is neither dns nor ip",
                "one of the two, or no endpoint",
            );
        }
        (_, ip) if !ip.is_empty() => match ip.parse::<IpAddr>() {
            Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => PeerHost::Ip(ip),
            _ => {
                return refuse(
                    "spec.endpoint.dnsOrIP.ip",
                    "it is no host's address",
                    "one such as 203.0.113.7",
                );
            }
        },
        (dns, _) => match PeerHost::dns(dns) {
            Ok(host) => host,
            Err(_) => {
                return refuse(
                    "spec.endpoint.dnsOrIP.dns",
                    "it is no host name",
                    "one such as vpn.example.com",
                );
            }
        },
    };
    match u16::try_from(written.port).ok().and_then(Port::new) {
        Some(port) => Ok(PeerEndpoint { host, port }),
        None => refuse("spec.endpoint.port", "it is out of range", "a port from 1 to 65535"),
    }
}

fn gateways(cluster: &ClusterName, text: &str) -> Result<Gateways> {
    const NODES: &str = "names of nodes with commas between them, or `all`";
    let path = || format!("metadata.annotations[\"{GATEWAY}\"]");
    if text == "all" {
        return Ok(Gateways::All);
    }
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_string()).collect();
    let good = |name: &String| NodeName::new(cluster.clone(), name).is_ok();
    if names.len() > MOST_GATEWAYS || !names.iter().all(good) {
        return refuse(path(), "these are no nodes", NODES);
    }
    Ok(Gateways::Named(names))
}

fn expires(text: &str) -> Result<i64> {
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time.as_second()),
        Err(_) => {
            let path = format!("metadata.annotations[\"{EXPIRES}\"]");
            refuse(path, "it is no time", "one of RFC 3339, such as 2027-01-31T12:00:00Z")
        }
    }
}

fn allow(text: &str) -> Result<BTreeSet<Allow>> {
    const WORDS: &str = "`pods`, `services` and ranges, with commas between them";
    let allow: std::result::Result<BTreeSet<Allow>, _> = text.split(',').map(str::parse).collect();
    match allow {
        Ok(allow) if allow.len() <= MOST_RANGES => Ok(allow),
        _ => refuse(format!("metadata.annotations[\"{ALLOW}\"]"), "it is not understood", WORDS),
    }
}
