//! What load balancers outside ask every node: whether a service with `externalTrafficPolicy: Local` has somebody there
//! (`healthCheckNodePort`).

use std::collections::BTreeMap;

use model::{Port, Protocol, Service, ServiceKey};

use super::offer::Claimant;
use super::{Problem, View};
use crate::plan::Frontend;

/// What the node answers for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The service.
    pub service: ServiceKey,
    /// At which port of the node.
    pub port: Port,
    /// How many of its endpoints are ready on the node.
    pub local_endpoints: usize,
}

/// What the node answers to load balancers, by port; and which services ask for a port in vain: it is a node port, the
/// agent's own, or the health check of a service that comes first by name.
pub fn health_checks(view: &View<'_>) -> (Vec<HealthCheck>, Vec<Problem>) {
    let (mut checks, mut problems) = (BTreeMap::new(), Vec::new());
    let own = || view.world.services.values().filter(|service| service.key.cluster == view.me.cluster);
    let served = || own().filter(|service| !service.access.other_proxy);
    let asking: Vec<_> = served().filter_map(|s| Some((s, s.access.health_check_node_port?))).collect();
    let mut node_ports: BTreeMap<Port, &Service> = BTreeMap::new();
    for service in served().filter(|_| !asking.is_empty()) {
        let tcp = service.access.node_ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        for port in tcp {
            node_ports.entry(port.node_port).or_insert(service);
        }
    }
    for (service, port) in asking {
        let loser = claimant(service);
        let other = node_ports.get(&port).copied().map(claimant).or_else(|| {
            checks
                .get(&port)
                .map(|check: &HealthCheck| Claimant { key: check.service.clone(), import: false })
        });
        let reserved = |own: &&super::Reserved| (own.protocol, own.port) == (Protocol::Tcp, port.get());
        let frontend = Frontend { ip: std::net::Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Tcp, port };
        if let Some(winner) = other {
            problems.push(Problem::Frontend { frontend, loser, winner });
        } else if let Some(reserved) = view.reserved.iter().find(reserved) {
            problems.push(Problem::Reserved { frontend, loser, purpose: reserved.purpose });
        } else {
            let local_endpoints = local_endpoints(view, service);
            checks.insert(port, HealthCheck { service: service.key.clone(), port, local_endpoints });
        }
    }
    (checks.into_values().collect(), problems)
}

fn claimant(service: &Service) -> Claimant {
    Claimant { key: service.key.clone(), import: false }
}

/// Those that take new connections: not those that are shutting down, although they may be used while nobody else is
/// ready.
fn local_endpoints(view: &View<'_>, service: &Service) -> usize {
    let endpoints = view.world.endpoints.get(&service.key).into_iter().flat_map(BTreeMap::values);
    let here = endpoints.filter(|endpoint| endpoint.node.as_ref() == Some(view.me));
    let weighs = service.traffic.weight_of(&view.me.cluster) != 0;
    here.filter(|endpoint| endpoint.ready && endpoint.weight != 0 && weighs).count()
}
