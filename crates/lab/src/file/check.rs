//! From what is written to what can be built: every rule of a lab file, each with its place and its advice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use model::{Cluster, ClusterId, ClusterName, NodeName, Topology};
use serde_saphyr::Spanned;

use super::error::{At, Error, Problem};
use super::quantity::{parse_duration, parse_percent, parse_rate};
use super::ranges::{Ranges, Use};
use super::raw::{RawCluster, RawLab, RawLink, RawNode};
use super::{API_VERSION, End, KIND, Lab, LabCluster, LabNode, Link, Manifest, Shape};
use crate::plan::{DEFAULT_BETWEEN_CLUSTERS, DEFAULT_BETWEEN_LOCATIONS, MAX_HOSTS, MAX_LOCATIONS, slices};

/// The labels that the plan gives every node, and the field that says each.
const OWN_LABELS: [(&str, &str); 4] = [
    ("kubernetes.io/hostname", "name"),
    ("topology.kubernetes.io/region", "region"),
    ("topology.kubernetes.io/zone", "zone"),
    ("causeway.io/location", "location"),
];

/// The file being checked: what turns a place and a problem into an error.
pub(super) struct File<'a> {
    path: &'a Path,
}

impl File<'_> {
    /// The error for a problem with `value`, which stands at `path`.
    pub(super) fn refuse<T>(
        &self,
        value: &Spanned<T>,
        path: impl Into<String>,
        problem: impl Into<Problem>,
    ) -> Error {
        let at = At {
            file: self.path.to_path_buf(),
            line: value.referenced.line(),
            column: value.referenced.column(),
            path: path.into(),
        };
        Error::Invalid { at: Box::new(at), problem: Box::new(problem.into()) }
    }

    /// Nothing, the first time `value` is seen; the error after that.
    fn once<T: ToString>(
        &self,
        seen: &mut BTreeMap<String, u64>,
        what: &'static str,
        value: &Spanned<T>,
        path: String,
    ) -> Result<(), Error> {
        let text = value.value.to_string();
        match seen.get(&text) {
            Some(&first) => Err(self.refuse(value, path, Problem::Duplicate { what, value: text, first })),
            None => {
                seen.insert(text, value.referenced.line());
                Ok(())
            }
        }
    }
}

/// Checks a whole file.
pub(super) fn lab(
    path: &Path,
    text: &str,
    manifest: impl Fn(&str) -> std::io::Result<(PathBuf, String)>,
) -> Result<Lab, Error> {
    let raw: RawLab =
        serde_saphyr::from_str(text).map_err(|source| Error::Yaml { path: path.to_path_buf(), source })?;
    let file = File { path };
    header(&file, &raw)?;
    let mut names = BTreeMap::new();
    let mut ids = BTreeMap::new();
    let mut ranges = Ranges::default();
    let mut clusters = Vec::new();
    for (i, raw) in raw.clusters.value.iter().enumerate() {
        let at = format!("clusters[{i}]");
        file.once(&mut names, "name", &raw.name, format!("{at}.name"))?;
        file.once(&mut ids, "id", &raw.id, format!("{at}.id"))?;
        clusters.push(one_cluster(&file, raw, &at, &mut ranges)?);
    }
    segments(&file, &raw, &clusters)?;
    let links = links(&file, &raw.links, &clusters)?;
    for (i, (raw, lab)) in raw.clusters.value.iter().zip(&mut clusters).enumerate() {
        for (j, name) in raw.manifests.iter().enumerate() {
            let (path, text) = manifest(&name.value).map_err(|source| {
                let reason = source.to_string();
                let problem = Problem::Manifest { name: name.value.clone(), reason };
                file.refuse(name, format!("clusters[{i}].manifests[{j}]"), problem)
            })?;
            lab.manifests.push(Manifest { path, text });
        }
    }
    Ok(Lab { clusters, links })
}

fn header(file: &File<'_>, raw: &RawLab) -> Result<(), Error> {
    if raw.api_version.value != API_VERSION {
        let problem = Problem::ApiVersion(raw.api_version.value.clone());
        return Err(file.refuse(&raw.api_version, "apiVersion", problem));
    }
    if raw.kind.value != KIND {
        return Err(file.refuse(&raw.kind, "kind", Problem::Kind(raw.kind.value.clone())));
    }
    if let Some(nodes) = &raw.nodes {
        return Err(file.refuse(nodes, "nodes", Problem::StrayNodes));
    }
    if raw.clusters.value.is_empty() {
        return Err(file.refuse(&raw.clusters, "clusters", Problem::NoClusters));
    }
    Ok(())
}

fn one_cluster(
    file: &File<'_>,
    raw: &RawCluster,
    at: &str,
    ranges: &mut Ranges,
) -> Result<LabCluster, Error> {
    let name = ClusterName::new(raw.name.value.as_str())
        .map_err(|e| file.refuse(&raw.name, format!("{at}.name"), e))?;
    let id = ClusterId::new(raw.id.value).map_err(|e| file.refuse(&raw.id, format!("{at}.id"), e))?;
    let pods = ranges.take(file, &raw.pod_cidrs, &format!("{at}.podCIDRs"), Use::Pods, &name)?;
    let services =
        ranges.take(file, &raw.service_cidrs, &format!("{at}.serviceCIDRs"), Use::Services, &name)?;
    ranges.families(file, &raw.service_cidrs, &format!("{at}.serviceCIDRs"), &pods, &services)?;
    if raw.nodes.value.is_empty() {
        return Err(file.refuse(&raw.nodes, format!("{at}.nodes"), Problem::NoNodes(name.to_string())));
    }
    let mut seen = BTreeMap::new();
    let mut nodes = Vec::new();
    for (i, node) in raw.nodes.value.iter().enumerate() {
        let at = format!("{at}.nodes[{i}]");
        file.once(&mut seen, "node name", &node.name, format!("{at}.name"))?;
        nodes.push(one_node(file, node, &at, &name, &pods)?);
    }
    node_ranges(file, raw, at, &nodes)?;
    let cluster = Cluster { name, id, pod_cidrs: pods, service_cidrs: services };
    let lab = LabCluster { cluster, nodes, manifests: Vec::new() };
    slices(&lab).map_err(|range| {
        let problem = Problem::NoRoom { range, nodes: lab.nodes.len() };
        file.refuse(&raw.pod_cidrs, format!("{at}.podCIDRs"), problem)
    })?;
    Ok(lab)
}

fn one_node(
    file: &File<'_>,
    raw: &RawNode,
    at: &str,
    cluster: &ClusterName,
    pods: &[IpNet],
) -> Result<LabNode, Error> {
    let name = NodeName::new(cluster.clone(), raw.name.value.as_str())
        .map_err(|e| file.refuse(&raw.name, format!("{at}.name"), e))?;
    if name.node.len() > 63 {
        let problem = Problem::TooLong { name: name.node, max: 63 };
        return Err(file.refuse(&raw.name, format!("{at}.name"), problem));
    }
    let labelled = |value: &Spanned<String>, field: &str| match is_label(&value.value) {
        true => Ok(value.value.clone()),
        false => Err(file.refuse(value, format!("{at}.{field}"), Problem::Label(value.value.clone()))),
    };
    let topology = Topology { region: labelled(&raw.region, "region")?, zone: labelled(&raw.zone, "zone")? };
    let location = raw.location.as_ref().map(|value| labelled(value, "location")).transpose()?;
    let labels = labels(file, raw, at)?;
    let mut pod_cidrs: Vec<IpNet> = Vec::new();
    for (i, text) in raw.pod_cidrs.iter().enumerate() {
        let at = format!("{at}.podCIDRs[{i}]");
        let net = super::ranges::node_range(file, text, &at, pods)?;
        if pod_cidrs.iter().any(|other| other.addr().is_ipv4() == net.addr().is_ipv4()) {
            return Err(file.refuse(text, at, Problem::SecondOfFamily(net)));
        }
        pod_cidrs.push(net);
    }
    Ok(LabNode { name, topology, location, labels, pod_cidrs })
}

/// No two nodes were given the same addresses.
fn node_ranges(file: &File<'_>, raw: &RawCluster, at: &str, nodes: &[LabNode]) -> Result<(), Error> {
    for (i, node) in nodes.iter().enumerate() {
        for (j, &found) in node.pod_cidrs.iter().enumerate() {
            for (k, other) in nodes[..i].iter().enumerate() {
                let Some(n) = other.pod_cidrs.iter().position(|net| model::overlaps(net, &found)) else {
                    continue;
                };
                let problem = Problem::Overlap {
                    found,
                    other: other.pod_cidrs[n],
                    whose: format!("node {}'s", other.name.node),
                    first: raw.nodes.value[k].pod_cidrs[n].referenced.line(),
                };
                let text = &raw.nodes.value[i].pod_cidrs[j];
                return Err(file.refuse(text, format!("{at}.nodes[{i}].podCIDRs[{j}]"), problem));
            }
        }
    }
    Ok(())
}

fn labels(file: &File<'_>, raw: &RawNode, at: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut labels = BTreeMap::new();
    for (key, value) in &raw.labels {
        let path = format!("{at}.labels[{key}]");
        if let Some((_, instead)) = OWN_LABELS.iter().find(|(own, _)| own == key) {
            return Err(file.refuse(value, path, Problem::OwnLabel { key: key.clone(), instead }));
        }
        if !is_kubernetes_label(key, &value.value) {
            let problem = Problem::KubernetesLabel { key: key.clone(), value: value.value.clone() };
            return Err(file.refuse(value, path, problem));
        }
        labels.insert(key.clone(), value.value.clone());
    }
    Ok(labels)
}

/// The numbers of locations and hosts suffice.
fn segments(file: &File<'_>, raw: &RawLab, clusters: &[LabCluster]) -> Result<(), Error> {
    let mut hosts: BTreeMap<(&ClusterName, &str), usize> = BTreeMap::new();
    for (i, lab) in clusters.iter().enumerate() {
        for (j, node) in lab.nodes.iter().enumerate() {
            let count = hosts.entry((&lab.cluster.name, node.segment())).or_default();
            *count += 1;
            if *count > MAX_HOSTS {
                let problem = Problem::TooManyHosts { location: node.segment().to_string(), max: MAX_HOSTS };
                let name = &raw.clusters.value[i].nodes.value[j].name;
                return Err(file.refuse(name, format!("clusters[{i}].nodes[{j}]"), problem));
            }
        }
    }
    if hosts.len() > MAX_LOCATIONS {
        return Err(file.refuse(&raw.clusters, "clusters", Problem::TooManyLocations(MAX_LOCATIONS)));
    }
    Ok(())
}

fn links(file: &File<'_>, raw: &[RawLink], clusters: &[LabCluster]) -> Result<Vec<Link>, Error> {
    let mut seen = BTreeMap::new();
    let mut links = Vec::new();
    for (i, raw) in raw.iter().enumerate() {
        let at = format!("links[{i}]");
        let path = format!("{at}.between");
        let [a, b] = raw.between.value.as_slice() else {
            return Err(file.refuse(&raw.between, path, Problem::Ends(raw.between.value.len())));
        };
        let mut between = [end(file, a, &path, clusters)?, end(file, b, &path, clusters)?];
        if between[0] == between[1] {
            return Err(file.refuse(&raw.between, path, Problem::Loop(b.value.clone())));
        }
        between.sort();
        let ends = between.clone().map(|end| end.to_string()).join(", ");
        if let Some(first) = seen.insert(ends.clone(), raw.between.referenced.line()) {
            let problem = Problem::Duplicate { what: "link", value: ends, first };
            return Err(file.refuse(&raw.between, path, problem));
        }
        let shape = shape(file, raw, &at, &between)?;
        links.push(Link { between, shape });
    }
    Ok(links)
}

fn end(file: &File<'_>, text: &Spanned<String>, path: &str, clusters: &[LabCluster]) -> Result<End, Error> {
    let (name, location) = match text.value.split_once('/') {
        Some((name, location)) => (name, Some(location)),
        None => (text.value.as_str(), None),
    };
    let Some(lab) = clusters.iter().find(|lab| lab.cluster.name.as_str() == name) else {
        let known = list(clusters.iter().map(|lab| lab.cluster.name.as_str()));
        return Err(file.refuse(text, path, Problem::UnknownCluster { name: name.to_string(), known }));
    };
    let known: BTreeSet<&str> = lab.nodes.iter().map(LabNode::segment).collect();
    if let Some(location) = location
        && !known.contains(location)
    {
        let problem = Problem::UnknownLocation {
            cluster: name.to_string(),
            name: location.to_string(),
            known: list(known),
        };
        return Err(file.refuse(text, path, problem));
    }
    Ok(End { cluster: lab.cluster.name.clone(), location: location.map(str::to_string) })
}

fn shape(file: &File<'_>, raw: &RawLink, at: &str, between: &[End; 2]) -> Result<Shape, Error> {
    let inside = between[0].cluster == between[1].cluster;
    let mut shape = if inside { DEFAULT_BETWEEN_LOCATIONS } else { DEFAULT_BETWEEN_CLUSTERS };
    if let Some(text) = &raw.rtt {
        shape.rtt = parse_duration(&text.value)
            .ok_or_else(|| file.refuse(text, format!("{at}.rtt"), Problem::Duration(text.value.clone())))?;
    }
    if let Some(text) = &raw.loss {
        shape.loss = parse_percent(&text.value)
            .ok_or_else(|| file.refuse(text, format!("{at}.loss"), Problem::Percent(text.value.clone())))?;
    }
    if let Some(text) = &raw.rate {
        let rate = parse_rate(&text.value)
            .ok_or_else(|| file.refuse(text, format!("{at}.rate"), Problem::Rate(text.value.clone())))?;
        shape.rate = Some(rate);
    }
    Ok(shape)
}

/// RFC 1123's label.
fn is_label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The syntax of Kubernetes' labels: an optional DNS prefix and a name for the key, a name or nothing for the value.
fn is_kubernetes_label(key: &str, value: &str) -> bool {
    let name = |text: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= 63
            && edge(text.chars().next())
            && edge(text.chars().last())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let (prefix, short) = key.rsplit_once('/').unwrap_or(("x", key));
    let prefixed = prefix.len() <= 253 && prefix.split('.').all(is_label);
    prefixed && name(short) && (value.is_empty() || name(value))
}

/// Names in a row, for advice.
pub(super) fn list<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}
