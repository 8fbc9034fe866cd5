//! One import out of several exports.

use std::borrow::Cow;

use model::{ClusterName, Service, ServicePort, Terms};

/// One cluster's say in a name.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) cluster: &'a ClusterName,
    pub(super) created: i64,
    pub(super) ports: &'a [ServicePort],
    pub(super) terms: Cow<'a, Terms>,
}

impl<'a> Claim<'a> {
    /// Of a cluster that exports it.
    pub(super) fn exported(cluster: &'a ClusterName, service: &'a Service) -> Option<Self> {
        let export = service.export.as_ref()?;
        let terms = Cow::Borrowed(&export.terms);
        Some(Self { cluster, created: export.created, ports: &service.ports, terms })
    }

    /// Of a cluster that shares it without exporting it: on the terms that a service has by itself.
    pub(super) fn global(cluster: &'a ClusterName, service: &'a Service) -> Self {
        let ipv6 = service.vips.iter().map(std::net::IpAddr::is_ipv6).collect();
        let terms = Terms { headless: service.headless, ipv6, ..Terms::default() };
        Self { cluster, created: 0, ports: &service.ports, terms: Cow::Owned(terms) }
    }
}

/// What the claims are together.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) ports: Vec<ServicePort>,
    pub(super) terms: Terms,
    pub(super) clusters: Vec<ClusterName>,
}

/// Unites claims, the oldest first. There is at least one.
pub(super) fn merge(claims: &[Claim<'_>]) -> Merged {
    let mut terms = claims.first().map(|oldest| oldest.terms.clone().into_owned()).unwrap_or_default();
    let mut ports: Vec<ServicePort> = Vec::new();
    for claim in claims {
        for port in claim.ports {
            let taken = ports.iter().any(|known| {
                known.name == port.name || (known.protocol, known.port) == (port.protocol, port.port)
            });
            if !taken {
                ports.push(port.clone());
            }
        }
        for family in &claim.terms.ipv6 {
            if !terms.ipv6.contains(family) {
                terms.ipv6.push(*family);
            }
        }
    }
    let mut clusters: Vec<ClusterName> = claims.iter().map(|claim| claim.cluster.clone()).collect();
    clusters.sort();
    Merged { ports, terms, clusters }
}
