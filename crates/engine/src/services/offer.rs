//! What clients of a node dial: the services of its own cluster, then its imports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Import, Port, Service, ServiceKey, ServicePort, Traffic, World};

use crate::plan::Frontend;

/// Something that is dialled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offer<'a> {
    Service(&'a Service),
    Import(&'a Import),
}

/// Who claims an address and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claimant {
    /// The service, or the services of one name that an import stands for.
    pub key: ServiceKey,
    /// Whether it is an import.
    pub import: bool,
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.import { "import" } else { "service" }, self.key)
    }
}

/// What a client dials, with the port it stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialled<'a> {
    pub(super) dialled: Frontend,
    pub(super) port: &'a ServicePort,
    pub(super) scope: Scope,
}

/// Whose traffic policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// A virtual address: `internalTrafficPolicy`.
    Virtual,
    /// An address that the world outside knows, too. What our own clients send there is taken as if it had not left
    /// the cluster, so `externalTrafficPolicy` does not narrow it (kube-proxy's short circuit): it counts for what is
    /// dialled in packets alone.
    External,
    /// A port at any address of any node. As above.
    Node,
}

impl<'a> Offer<'a> {
    pub(super) fn key(self) -> &'a ServiceKey {
        match self {
            Self::Service(service) => &service.key,
            Self::Import(import) => &import.key,
        }
    }

    pub(super) fn claimant(self) -> Claimant {
        Claimant { key: self.key().clone(), import: matches!(self, Self::Import(_)) }
    }

    pub(super) fn vips(self) -> &'a [IpAddr] {
        match self {
            Self::Service(service) => &service.vips,
            Self::Import(import) => &import.vips,
        }
    }

    pub(super) fn ports(self) -> &'a [ServicePort] {
        match self {
            Self::Service(service) => &service.ports,
            Self::Import(import) => &import.ports,
        }
    }

    pub(super) fn traffic(self) -> &'a Traffic {
        match self {
            Self::Service(service) => &service.traffic,
            Self::Import(import) => &import.traffic,
        }
    }

    /// Whether clients of a virtual address get backends of their own node or none.
    pub(super) fn internal_local(self) -> bool {
        match self {
            Self::Service(service) => service.access.internal_local,
            Self::Import(import) => import.terms.internal_local,
        }
    }

    /// Seconds for which a client stays with its backend; 0 for not at all.
    pub(super) fn affinity(self) -> u32 {
        match self {
            Self::Service(service) => service.access.session_affinity,
            Self::Import(import) => import.terms.session_affinity,
        }
        .unwrap_or(0)
    }

    /// What clients dial in a scope: each address with each port.
    pub(super) fn dialled(self, scope: Scope) -> Vec<Dialled<'a>> {
        let at = |ip: IpAddr, port: &'a ServicePort, number: Port| Dialled {
            dialled: Frontend { ip, protocol: port.protocol, port: number },
            port,
            scope,
        };
        let every = |ips: &[IpAddr]| -> Vec<Dialled<'a>> {
            ips.iter().flat_map(|ip| self.ports().iter().map(move |port| at(*ip, port, port.port))).collect()
        };
        match (scope, self) {
            (Scope::Virtual, offer) => every(offer.vips()),
            (_, Self::Import(_)) => Vec::new(),
            (Scope::External, Self::Service(s)) => {
                [every(&s.access.load_balancer_ips), every(&s.access.external_ips)].concat()
            }
            (Scope::Node, Self::Service(s)) => {
                let anywhere = |vip: &IpAddr| -> IpAddr {
                    if vip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
                };
                let ports = s.access.node_ports.iter().filter_map(|node_port| {
                    let stands_for =
                        |p: &&ServicePort| (p.port, p.protocol) == (node_port.port, node_port.protocol);
                    Some((s.ports.iter().find(stands_for)?, node_port.node_port))
                });
                let ports: Vec<_> = ports.collect();
                let pairs = s.vips.iter().flat_map(|vip| ports.iter().map(move |port| (anywhere(vip), port)));
                pairs.map(|(ip, (port, number))| at(ip, port, *number)).collect()
            }
        }
    }

    /// The port of an endpoint that answers for one of the offer's ports. Behind an import a cluster answers only on the
    /// ports that it exports itself, name, protocol and number alike: anything else is another port (KEP-1645).
    pub(super) fn target(
        self,
        world: &World,
        port: &ServicePort,
        endpoint: &model::Endpoint,
    ) -> Option<Port> {
        match self {
            Self::Service(service) => matching_port(&service.ports, port, endpoint),
            Self::Import(_) => {
                let exporter = world.services.get(&endpoint.key.service)?;
                let same = |p: &&ServicePort| {
                    (&p.name, p.protocol, p.port) == (&port.name, port.protocol, port.port)
                };
                matching_port(&exporter.ports, exporter.ports.iter().find(same)?, endpoint)
            }
        }
    }
}

/// The port of the endpoint that answers for a service's port: the one of the same name, else the only one of the
/// protocol if the service has only one too.
fn matching_port(ports: &[ServicePort], port: &ServicePort, endpoint: &model::Endpoint) -> Option<Port> {
    let mut offered = endpoint.ports.iter().filter(|p| p.protocol == port.protocol);
    if let Some(named) = offered.clone().find(|p| p.name == port.name) {
        return Some(named.port);
    }
    let sole = offered.next()?;
    let only_one_offered = offered.next().is_none();
    let only_one_asked = ports.iter().filter(|p| p.protocol == port.protocol).count() == 1;
    (only_one_offered && only_one_asked).then_some(sole.port)
}
