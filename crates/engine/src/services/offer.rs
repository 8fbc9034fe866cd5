//! What clients of a node dial: the services of its own cluster, then its imports.

use std::fmt;
use std::net::IpAddr;

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
    /// the cluster, so `externalTrafficPolicy` does not narrow it (kube-proxy's short circuit).
    External,
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

    /// What clients dial in a scope: each address with each port.
    pub(super) fn dialled(self, scope: Scope) -> impl Iterator<Item = Dialled<'a>> {
        let (first, second): (&[IpAddr], &[IpAddr]) = match (scope, self) {
            (Scope::Virtual, offer) => (offer.vips(), &[]),
            (Scope::External, Self::Service(s)) => (&s.access.load_balancer_ips, &s.access.external_ips),
            (Scope::External, Self::Import(_)) => (&[], &[]),
        };
        let ips = first.iter().chain(second);
        ips.flat_map(move |ip| {
            self.ports().iter().map(move |port| Dialled {
                dialled: Frontend { ip: *ip, protocol: port.protocol, port: port.port },
                port,
                scope,
            })
        })
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
