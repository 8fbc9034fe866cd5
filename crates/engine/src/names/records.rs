//! The names of one service, and their records.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{Endpoint, Protocol, ServicePort};

use super::Name;
use super::record::{Builder, Kind, Rrset, Server};
use super::zone::Entry;

/// As many endpoints as are named: their addresses fit a message over TCP.
const MAX_ENDPOINTS: usize = 1024;

/// Endpoints whose addresses come along with the places (SRV) they are at. With more, a client asks again.
const MAX_WITH_ADDRESSES: usize = 32;

/// The weight of a place (RFC 2782) that is as good as any other.
const WEIGHT: u16 = 100;

/// Names and what they have.
pub(super) type Names = Vec<(Name, Entry)>;

/// An endpoint of a headless service, where it stands on the ladder.
pub(super) struct Member<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// Its rung, counted from the nearest that has an endpoint.
    pub(super) rung: u16,
    /// Its part of new connections, relative to the others of its rung.
    pub(super) weight: u16,
}

/// A service with virtual addresses: A, AAAA, and SRV for its named ports.
pub(super) fn virtual_service(base: &Name, vips: &[IpAddr], ports: &[ServicePort], ttl: u32) -> Names {
    let at = |port: u16| Server { priority: 0, weight: WEIGHT, port, name: base, ips: vips };
    let mut bare = Builder::new(ttl);
    // One record a number, even where a port speaks two protocols.
    for port in ports.iter().map(|port| port.port.get()).collect::<BTreeSet<_>>() {
        bare.push_server(base, &at(port));
    }
    let mut named = PortNames::new(base, ttl);
    for port in ports.iter().filter(|port| !port.name.is_empty()) {
        named.push(&port.name, port.protocol, &at(port.port.get()));
    }
    let mut names = vec![(base.clone(), with_addresses(vips.iter().copied(), u16::MAX, bare, ttl))];
    names.extend(named.finish());
    names
}

/// A headless service: the addresses of its members, nearest first, a name for each of them, and SRV that leads to
/// those. `hosts` is where the members' names stand. No names at all without members.
pub(super) fn headless_service(base: &Name, members: &[Member<'_>], hosts: Hosts, ttl: u32) -> Names {
    let members = &members[..members.len().min(MAX_ENDPOINTS)];
    if members.is_empty() {
        return Names::new();
    }
    let mut bare = Builder::new(ttl);
    let mut named = PortNames::new(base, ttl);
    let mut by_host: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for member in members {
        let Endpoint { ips, ports, .. } = member.endpoint;
        let Some(host) = hosts.name(base, member.endpoint) else { continue };
        let shown = if members.len() <= MAX_WITH_ADDRESSES { ips.as_slice() } else { &[] };
        for port in ports {
            let server = Server {
                priority: member.rung,
                weight: member.weight.saturating_mul(WEIGHT),
                port: port.port.get(),
                name: &host,
                ips: shown,
            };
            if told.insert((host.clone(), String::new(), None, server.port)) {
                bare.push_server(base, &server);
            }
            let key = (host.clone(), port.name.clone(), Some(port.protocol), server.port);
            if !port.name.is_empty() && told.insert(key) {
                named.push(&port.name, port.protocol, &server);
            }
        }
        by_host.entry(host).or_default().extend(ips);
    }
    let nearest = members.iter().take_while(|member| member.rung == 0).count();
    let nearest =
        members[..nearest].iter().flat_map(|member| &member.endpoint.ips).collect::<BTreeSet<_>>().len();
    let addresses = members.iter().flat_map(|member| member.endpoint.ips.iter().copied());
    let alike = u16::try_from(nearest).unwrap_or(u16::MAX);
    let mut names = vec![(base.clone(), with_addresses(addresses, alike, bare, ttl))];
    names.extend(named.finish());
    names.extend(by_host.into_iter().map(|(host, ips)| {
        let entry = with_addresses(ips.into_iter(), u16::MAX, Builder::new(ttl), ttl);
        (host, entry)
    }));
    names
}

/// Where the names of endpoints stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hosts {
    /// `HOST.SERVICE`, as in Kubernetes' specification.
    Direct,
    /// `HOST.CLUSTER.SERVICE`, as in KEP-1645. The name in the middle is none: it must not exist.
    ByCluster,
}

impl Hosts {
    fn name(self, base: &Name, endpoint: &Endpoint) -> Option<Name> {
        let above = match self {
            Self::Direct => base.clone(),
            Self::ByCluster => base.below(endpoint.key.service.cluster.as_str())?,
        };
        let own = Some(&endpoint.hostname).filter(|hostname| !hostname.is_empty());
        own.and_then(|hostname| above.below(hostname))
            .or_else(|| above.below(&dashed(*endpoint.ips.first()?)))
    }
}

/// An address as a label.
fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

/// A and AAAA of these addresses, in their order and each once, beside the places where the service is. Of the first
/// `alike` distinct addresses none is better than the others.
fn with_addresses(ips: impl Iterator<Item = IpAddr>, alike: u16, places: Builder, ttl: u32) -> Entry {
    let mut builders = [Builder::new(ttl), Builder::new(ttl)];
    let mut alikes = [0, 0];
    let mut told = BTreeSet::new();
    for ip in ips {
        if !told.insert(ip) {
            continue;
        }
        let family = usize::from(ip.is_ipv6());
        builders[family].push_address(ip);
        if told.len() <= usize::from(alike) {
            alikes[family] = builders[family].len();
        }
    }
    let [a, aaaa] = builders;
    Entry::new([
        (Kind::A, a.finish(alikes[0])),
        (Kind::AAAA, aaaa.finish(alikes[1])),
        (Kind::SRV, places.finish(0)),
    ])
}

/// `_port._protocol.BASE`, and `_protocol.BASE`, which exists because of them.
struct PortNames<'a> {
    base: &'a Name,
    ttl: u32,
    names: BTreeMap<Name, Builder>,
    above: BTreeSet<Name>,
}

impl<'a> PortNames<'a> {
    fn new(base: &'a Name, ttl: u32) -> Self {
        Self { base, ttl, names: BTreeMap::new(), above: BTreeSet::new() }
    }

    fn push(&mut self, port: &str, protocol: Protocol, server: &Server<'_>) {
        let label = match protocol {
            Protocol::Tcp => "_tcp",
            Protocol::Udp => "_udp",
            Protocol::Sctp => "_sctp",
        };
        let Some(above) = self.base.below(label) else { return };
        let Some(name) = above.below(&format!("_{port}")) else { return };
        self.above.insert(above);
        let builder = self.names.entry(name.clone()).or_insert_with(|| Builder::new(self.ttl));
        builder.push_server(&name, server);
    }

    fn finish(self) -> Names {
        let above = self.above.into_iter().map(|name| (name, Entry::default()));
        let named = self.names.into_iter().map(|(name, records)| (name, srv(records.finish(0))));
        above.chain(named).collect()
    }
}

fn srv(records: Rrset) -> Entry {
    Entry::new([(Kind::SRV, records)])
}
