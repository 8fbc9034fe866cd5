//! Services, exports and imports.

use std::collections::BTreeMap;

use model::{ClusterName, Export, Import, Prefer, Service, ServicePort, Terms, Traffic};

use super::{few, labels, one_of_each, parse_ips, port, service_key, text};
use crate::{ParseError, limits, pb};

pub(super) fn service(s: pb::Service) -> Result<Service, ParseError> {
    let vips = parse_ips("virtual addresses", &s.vips, 2)?;
    one_of_each("a service's virtual addresses", vips.iter().copied())?;
    Ok(Service {
        key: service_key(s.key)?,
        vips,
        ports: ports(s.ports)?,
        headless: s.headless,
        global: s.global,
        shared: s.shared,
        traffic: traffic(s.traffic)?,
        export: s.export.map(export).transpose()?,
    })
}

pub(super) fn import(i: pb::Import) -> Result<Import, ParseError> {
    let vips = parse_ips("clusterset IPs", &i.vips, 2)?;
    one_of_each("an import's clusterset IPs", vips.iter().copied())?;
    Ok(Import {
        key: service_key(i.key)?,
        vips,
        ports: ports(i.ports)?,
        terms: terms(i.terms.unwrap_or_default())?,
        traffic: traffic(i.traffic)?,
        clusters: clusters(i.clusters)?,
    })
}

fn export(e: pb::Export) -> Result<Export, ParseError> {
    Ok(Export { created: e.created, terms: terms(e.terms.unwrap_or_default())? })
}

fn terms(t: pb::Terms) -> Result<Terms, ParseError> {
    few("families", t.ipv6.len(), 2)?;
    Ok(Terms {
        headless: t.headless,
        session_affinity: t.affinity.then_some(t.affinity_seconds),
        internal_local: t.internal_local,
        traffic_distribution: text(
            "a traffic distribution",
            t.traffic_distribution,
            0,
            limits::TRAFFIC_DISTRIBUTION_CHARS,
        )?,
        ipv6: t.ipv6,
        labels: labels(t.labels)?,
        annotations: annotations(t.annotations)?,
    })
}

fn traffic(t: Option<pb::Traffic>) -> Result<Traffic, ParseError> {
    let Some(t) = t else { return Ok(Traffic::default()) };
    let prefer = match pb::Prefer::try_from(t.prefer) {
        Ok(pb::Prefer::Even) => Prefer::Even,
        Ok(pb::Prefer::Local) => Prefer::Local,
        Ok(pb::Prefer::Remote) => Prefer::Remote,
        Ok(pb::Prefer::Clusters) => Prefer::Clusters(clusters(t.clusters)?),
        // A word of a later version: what everybody gets who has not asked for anything.
        Ok(pb::Prefer::Ladder) | Err(_) => Prefer::Ladder,
    };
    few("cluster weights", t.cluster_weights.len(), limits::CLUSTERS)?;
    let weight = |(cluster, weight): (String, u32)| {
        let weight = u16::try_from(weight).map_err(|_| super::range("a cluster's weight", weight, 0))?;
        Ok((ClusterName::new(cluster)?, weight))
    };
    let cluster_weights = t.cluster_weights.into_iter().map(weight).collect::<Result<_, ParseError>>()?;
    Ok(Traffic { prefer, cluster_weights })
}

fn clusters(names: Vec<String>) -> Result<Vec<ClusterName>, ParseError> {
    few("clusters", names.len(), limits::CLUSTERS)?;
    names.into_iter().map(|name| Ok(ClusterName::new(name)?)).collect()
}

fn ports(ports: Vec<pb::Port>) -> Result<Vec<ServicePort>, ParseError> {
    few("ports", ports.len(), limits::PORTS)?;
    let read = |p: pb::Port| {
        let (name, protocol, port) = port(p.name, p.protocol, p.port)?;
        let app_protocol = text("an application protocol", p.app_protocol, 0, limits::APP_PROTOCOL_CHARS)?;
        Ok(ServicePort { name, protocol, port, app_protocol })
    };
    ports.into_iter().map(read).collect()
}

/// Annotations, whose values are free text, of limited size.
fn annotations(annotations: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ParseError> {
    few("annotations", annotations.len(), limits::LABELS)?;
    let size = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    few("bytes of annotations", size, limits::ANNOTATION_BYTES)?;
    annotations
        .into_iter()
        .map(|(key, value)| Ok((text("an annotation's key", key, 1, limits::LABEL_KEY_CHARS)?, value)))
        .collect()
}
