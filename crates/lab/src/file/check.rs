//! From what is written to what can be built: every rule of a lab file, each with its place and its advice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cluster::manifest::syntax::Syntax;
use cluster::yaml::{Error, Located, field, nearest};
use controller::config::{clusterset_cidrs, peer_cidrs};
use ipnet::IpNet;
use model::{Cluster, ClusterId, ClusterName, NodeName, Topology};

use super::ranges::{Ranges, Use};
use super::raw::{RawCluster, RawHost, RawLab, RawNode};
use super::{API_VERSION, KIND, Lab, LabCluster, LabHost, LabNode, Manifest, Nat, links, ranges, workload};
use crate::plan::{MAX_HOSTS, MAX_LOCATIONS, slices};

/// A lab file that was read and is being checked.
pub(super) type Doc = Located<RawLab>;

/// The labels that the plan gives every node, and the field that says each.
const OWN_LABELS: [(&str, &str); 4] = [
    ("kubernetes.io/hostname", "name"),
    ("topology.kubernetes.io/region", "region"),
    ("topology.kubernetes.io/zone", "zone"),
    ("causeway.io/location", "location"),
];

/// The longest host name.
const MAX_NODE_NAME: usize = 63;

/// Checks a whole file.
pub(super) fn lab(
    path: &Path,
    text: &str,
    manifest: impl Fn(&str) -> io::Result<(PathBuf, String)>,
) -> Result<Lab, Error> {
    let doc = header(path, text)?;
    let mut names = BTreeMap::new();
    let mut ids = BTreeMap::new();
    let mut ranges = Ranges::default();
    let mut clusters = Vec::new();
    for (i, raw) in doc.value.clusters.iter().enumerate() {
        let at = format!("clusters[{i}]");
        once(&doc, &mut names, "cluster", raw.name.clone(), format!("{at}.name"))?;
        once(&doc, &mut ids, "id", raw.id.to_string(), format!("{at}.id"))?;
        clusters.push(one_cluster(&doc, raw, &at, &mut ranges)?);
    }
    segments(&doc, &clusters)?;
    let links = links::check(&doc, &clusters)?;
    for (i, cluster) in clusters.iter_mut().enumerate() {
        for (j, name) in doc.value.clusters[i].manifests.iter().enumerate() {
            let (path, text) = manifest(name).map_err(|reason| {
                doc.error(
                    &format!("clusters[{i}].manifests[{j}]"),
                    format!("cannot read the manifest `{name}`: {reason}"),
                    "a path relative to the lab file",
                )
            })?;
            cluster.manifests.push(Manifest { path, text });
        }
        workload::of_cluster(cluster)?;
    }
    Ok(Lab { clusters, links })
}

/// The one document of the file, if it is a lab's.
fn header(path: &Path, text: &str) -> Result<Doc, Error> {
    let file = path.display().to_string();
    let mut docs = cluster::yaml::parse::<RawLab>(&file, text)?;
    if let Some(second) = docs.get(1) {
        return Err(second.error("", "a second document", "one lab to a file"));
    }
    let Some(doc) = docs.pop() else {
        // Nothing is written: the parser of an empty mapping knows best what is missing.
        return Err(cluster::yaml::parse::<RawLab>(&file, "{}").expect_err("a lab has fields it needs"));
    };
    let raw = &doc.value;
    if raw.api_version != API_VERSION {
        let what = format!("`{}` is not a lab file's apiVersion", raw.api_version);
        return Err(doc.error("apiVersion", what, format!("`{API_VERSION}` instead")));
    }
    if raw.kind != KIND {
        let what = format!("`{}` is not a lab file's kind", raw.kind);
        return Err(doc.error("kind", what, format!("`{KIND}` instead")));
    }
    if raw.nodes.is_some() {
        let instead = "them under `nodes` of one of the clusters instead";
        return Err(doc.error("nodes", "these nodes are on no cluster", instead));
    }
    if raw.clusters.is_empty() {
        let instead = "at least one, such as `{name: aws, id: 1, podCIDRs: [10.1.0.0/16], \
                       serviceCIDRs: [10.101.0.0/16], nodes: […]}`";
        return Err(doc.error("clusters", "there is no cluster", instead));
    }
    Ok(doc)
}

/// Nothing, the first time `value` is seen; the error after that.
pub(super) fn once(
    doc: &Doc,
    seen: &mut BTreeMap<String, usize>,
    what: &str,
    value: String,
    path: String,
) -> Result<(), Error> {
    match seen.get(&value) {
        Some(first) => Err(doc.error(
            &path,
            format!("{what} `{value}` is there already, on line {first}"),
            format!("another {what} instead"),
        )),
        None => {
            seen.insert(value, doc.line_of(&path));
            Ok(())
        }
    }
}

fn one_cluster(doc: &Doc, raw: &RawCluster, at: &str, ranges: &mut Ranges) -> Result<LabCluster, Error> {
    let name = ClusterName::new(raw.name.as_str()).map_err(|_| {
        let what = format!("`{}` is not a cluster's name", raw.name);
        doc.error(&format!("{at}.name"), what, dns_label(32))
    })?;
    let id = ClusterId::new(raw.id).map_err(|_| {
        let what = format!("{} is not a cluster's id", raw.id);
        doc.error(&format!("{at}.id"), what, "a number from 1 to 511, each once in the lab")
    })?;
    let pods = ranges.take(doc, &raw.pod_cidrs, &format!("{at}.podCIDRs"), Use::Pods, &name)?;
    let path = format!("{at}.serviceCIDRs");
    let vips = ranges.take(doc, &raw.service_cidrs, &path, Use::Services, &name)?;
    ranges::families(doc, &path, &pods, &vips)?;
    if raw.nodes.is_empty() {
        let instead =
            format!("at least one, such as `{{name: {name}-1, region: eu-west-1, zone: eu-west-1a}}`");
        return Err(doc.error(&format!("{at}.nodes"), format!("cluster {name} has no node"), instead));
    }
    let mut seen = BTreeMap::new();
    let mut nodes = Vec::new();
    for (i, node) in raw.nodes.iter().enumerate() {
        let at = format!("{at}.nodes[{i}]");
        once(doc, &mut seen, "node", node.name.clone(), format!("{at}.name"))?;
        let mut node = one_node(doc, node, &at, &name, &pods)?;
        node.nat = node_nat(raw, i);
        nodes.push(node);
    }
    ranges::between_nodes(doc, at, &nodes)?;
    let mut hosts = Vec::new();
    for (i, host) in raw.hosts.iter().enumerate() {
        let at = format!("{at}.hosts[{i}]");
        once(doc, &mut seen, "node or host", host.name.clone(), format!("{at}.name"))?;
        hosts.push(one_host(doc, host, &at, &name)?);
    }
    let services = raw.services.over(doc.value.services.over(Default::default()));
    let policy = raw.policy.over(doc.value.policy.over(Default::default()));
    let mut cluster = Cluster {
        name,
        id,
        pod_cidrs: pods,
        service_cidrs: vips,
        clusterset_cidrs: clusterset_cidrs(),
        peer_cidrs: Vec::new(),
    };
    cluster.peer_cidrs = peer_cidrs(&cluster);
    let (mesh, mesh_at) = match (&raw.mesh, &doc.value.mesh) {
        (Some(mesh), _) => (mesh.clone(), format!("{at}.mesh")),
        (None, mesh) => (mesh.clone().unwrap_or_default(), "mesh".to_string()),
    };
    if !Syntax::LabelKey.allows(&mesh.topology_label) {
        let what = format!("`{}` is no label's key", mesh.topology_label);
        return Err(doc.error(&format!("{mesh_at}.topologyLabel"), what, Syntax::LabelKey.words()));
    }
    let upstream = |(i, text): (usize, &String)| {
        let path = format!("{at}.dns.upstreams[{i}]");
        text.clone().try_into().map_err(|_: agent::config::UpstreamError| {
            let what = format!("`{text}` is no name server's address");
            doc.error(&path, what, "ADDRESS or ADDRESS:PORT, such as `172.16.1.2:53`")
        })
    };
    let upstreams = raw.dns.upstreams.iter().enumerate().map(upstream).collect::<Result<_, _>>()?;
    let (masquerade, manifests) = (raw.agent.masquerade, Vec::new());
    let preshared_keys = raw.preshared_keys.unwrap_or(doc.value.preshared_keys);
    let lab = LabCluster {
        cluster,
        nodes,
        hosts,
        services,
        policy,
        mesh,
        preshared_keys,
        masquerade,
        upstreams,
        manifests,
    };
    slices(&lab).map_err(|range| {
        let what = format!("{range} has no room for a slice for each of {} nodes", lab.nodes.len());
        doc.error(&format!("{at}.podCIDRs"), what, "a wider range instead")
    })?;
    Ok(lab)
}

fn one_node(
    doc: &Doc,
    raw: &RawNode,
    at: &str,
    cluster: &ClusterName,
    pods: &[IpNet],
) -> Result<LabNode, Error> {
    let name = machine_name(doc, &raw.name, at, cluster, "node")?;
    let label = |value: &str, what: &str| label(doc, value, at, what);
    let labels = labels(doc, raw, at)?;
    for key in raw.annotations.keys() {
        if !Syntax::LabelKey.allows(key) {
            let path = field(&format!("{at}.annotations"), key);
            return Err(doc.error(&path, format!("`{key}` is not allowed here"), Syntax::LabelKey.words()));
        }
    }
    let annotations = raw.annotations.clone();
    let topology = Topology {
        provider: labels.get("causeway.io/provider").cloned().unwrap_or_default(),
        region: label(&raw.region, "region")?,
        zone: label(&raw.zone, "zone")?,
    };
    let location = raw.location.as_ref().map(|value| label(value, "location")).transpose()?;
    let pod_cidrs = ranges::of_node(doc, &raw.pod_cidrs, &format!("{at}.podCIDRs"), pods)?;
    Ok(LabNode { name, topology, location, labels, annotations, pod_cidrs, nat: None })
}

/// What a node says itself, or else its cluster.
fn node_nat(cluster: &RawCluster, node: usize) -> Option<Nat> {
    let own = cluster.nodes[node].nat;
    let kind = own.or(cluster.nat)?.kind()?;
    Some(Nat { kind, shared: own.is_none() })
}

fn one_host(doc: &Doc, raw: &RawHost, at: &str, cluster: &ClusterName) -> Result<LabHost, Error> {
    let name = machine_name(doc, &raw.name, at, cluster, "host")?;
    Ok(LabHost { name, location: label(doc, &raw.location, at, "location")? })
}

fn machine_name(
    doc: &Doc,
    text: &str,
    at: &str,
    cluster: &ClusterName,
    what: &str,
) -> Result<NodeName, Error> {
    let name = NodeName::new(cluster.clone(), text).ok();
    name.filter(|name| name.node.len() <= MAX_NODE_NAME).ok_or_else(|| {
        let wrong = format!("`{text}` is not a {what}'s name");
        doc.error(&format!("{at}.name"), wrong, dns_label(MAX_NODE_NAME))
    })
}

/// A region's, zone's or location's name.
fn label(doc: &Doc, value: &str, at: &str, what: &str) -> Result<String, Error> {
    match Syntax::Label.allows(value) {
        true => Ok(value.to_string()),
        false => {
            let wrong = format!("`{value}` is not a {what}'s name");
            Err(doc.error(&format!("{at}.{what}"), wrong, dns_label(63)))
        }
    }
}

fn dns_label(longest: usize) -> String {
    format!("1 to {longest} of a-z, 0-9 and '-' instead, beginning and ending with a letter or digit")
}

fn labels(doc: &Doc, raw: &RawNode, at: &str) -> Result<BTreeMap<String, String>, Error> {
    for (key, value) in &raw.labels {
        let path = field(&format!("{at}.labels"), key);
        if let Some((_, instead)) = OWN_LABELS.iter().find(|(own, _)| own == key) {
            let instead = format!("the node's `{instead}` instead");
            return Err(doc.error(&path, format!("the lab sets `{key}` itself"), instead));
        }
        for (text, syntax) in [(key, Syntax::LabelKey), (value, Syntax::LabelValue)] {
            if !syntax.allows(text) {
                return Err(doc.error(&path, format!("`{text}` is not allowed here"), syntax.words()));
            }
        }
    }
    Ok(raw.labels.clone())
}

/// The numbers of locations and of hosts suffice.
fn segments(doc: &Doc, clusters: &[LabCluster]) -> Result<(), Error> {
    let mut hosts: BTreeMap<(&ClusterName, &str), usize> = BTreeMap::new();
    for (i, lab) in clusters.iter().enumerate() {
        let nodes = lab.nodes.iter().enumerate().map(|(j, node)| (format!("nodes[{j}]"), node.segment()));
        let beside =
            lab.hosts.iter().enumerate().map(|(j, host)| (format!("hosts[{j}]"), host.location.as_str()));
        for (at, segment) in nodes.chain(beside) {
            let count = hosts.entry((&lab.cluster.name, segment)).or_default();
            *count += 1;
            if *count > MAX_HOSTS {
                let what = format!("location `{segment}` has more than {MAX_HOSTS} nodes and hosts");
                let instead = "another region or location for some of them";
                return Err(doc.error(&format!("clusters[{i}].{at}"), what, instead));
            }
        }
    }
    if hosts.len() > MAX_LOCATIONS {
        let what = format!("the lab has {} locations (regions of clusters)", hosts.len());
        return Err(doc.error("clusters", what, format!("at most {MAX_LOCATIONS} instead")));
    }
    Ok(())
}

/// What to write for a name that is not known: the one that was probably meant, or all.
pub(super) fn instead_of<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(nearest) => format!("`{nearest}` instead"),
        None => format!("one of {} instead", list(known)),
    }
}

/// Values in a row.
pub(super) fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}
