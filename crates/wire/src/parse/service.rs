//! Services, exports and imports.

use std::collections::BTreeMap;

use ipnet::IpNet;
use model::{
    Access, ClusterName, Export, Hints, Import, NodePort, Prefer, Service, ServicePort, Spread, Terms,
    Traffic,
};

use super::{few, labels, net, number, one_of_each, parse_ips, port, service_key, text};
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
        access: access(s.access.unwrap_or_default())?,
    })
}

fn access(a: pb::Access) -> Result<Access, ParseError> {
    few("node ports", a.node_ports.len(), limits::PORTS)?;
    let node_port = |p: pb::NodePort| {
        let (_, protocol, port) = port(String::new(), p.protocol, p.port)?;
        Ok(NodePort { port, protocol, node_port: number("a node port", p.node_port)? })
    };
    Ok(Access {
        internal_local: a.internal_local,
        external_local: a.external_local,
        session_affinity: a.affinity.then_some(a.affinity_seconds),
        node_ports: a.node_ports.into_iter().map(node_port).collect::<Result<_, ParseError>>()?,
        external_ips: parse_ips("external IPs", &a.external_ips, limits::SERVICE_IPS)?,
        load_balancer_ips: parse_ips("load balancer IPs", &a.load_balancer_ips, limits::SERVICE_IPS)?,
        other_proxy: a.other_proxy,
        source_ranges: a.source_ranges.map(source_ranges).transpose()?,
        health_check_node_port: match a.health_check_node_port {
            0 => None,
            port => Some(number("a health check's node port", port)?),
        },
    })
}

fn source_ranges(ranges: pb::SourceRanges) -> Result<Vec<IpNet>, ParseError> {
    few("source ranges", ranges.ranges.len(), limits::SOURCE_RANGES)?;
    ranges.ranges.into_iter().map(|range| net("source ranges", &range)).collect()
}

pub(super) fn hints(h: pb::Hints) -> Result<Hints, ParseError> {
    if h.own_node {
        return Ok(Hints::OwnNode);
    }
    if h.own_zone {
        return Ok(Hints::OwnZone);
    }
    few("hints", h.zones.len() + h.nodes.len(), limits::HINTS)?;
    if h.zones.is_empty() && h.nodes.is_empty() {
        return Ok(Hints::None);
    }
    let places = |field, names: Vec<String>| -> Result<Vec<String>, ParseError> {
        names.into_iter().map(|name| text(field, name, 1, limits::PLACE_CHARS)).collect()
    };
    Ok(Hints::Given { zones: places("a zone's hint", h.zones)?, nodes: places("a node's hint", h.nodes)? })
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
        Ok(pb::Prefer::LadderLocal) => Prefer::LadderLocal,
        Ok(pb::Prefer::LadderRemote) => Prefer::LadderRemote,
        Ok(pb::Prefer::Clusters) => Prefer::Clusters(clusters(t.clusters)?),
        // A word of a later version: what everybody gets who has not asked for anything.
        Ok(pb::Prefer::Ladder) | Err(_) => Prefer::Ladder,
    };
    let spread = match pb::Spread::try_from(t.spread) {
        Ok(pb::Spread::Even) => Spread::Even,
        Ok(pb::Spread::Ladder) | Err(_) => Spread::Ladder,
    };
    few("cluster weights", t.cluster_weights.len(), limits::CLUSTERS)?;
    let weight = |(cluster, weight): (String, u32)| {
        let weight = u16::try_from(weight).map_err(|_| super::range("a cluster's weight", weight, 0))?;
        Ok((ClusterName::new(cluster)?, weight))
    };
    let cluster_weights = t.cluster_weights.into_iter().map(weight).collect::<Result<_, ParseError>>()?;
    few("capacities", t.capacities.len(), limits::CLUSTERS)?;
    let capacity = |(cluster, capacity): (String, u32)| Ok((ClusterName::new(cluster)?, capacity));
    let capacities = t.capacities.into_iter().map(capacity).collect::<Result<_, ParseError>>()?;
    Ok(Traffic { prefer, spread, cluster_weights, capacities })
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
