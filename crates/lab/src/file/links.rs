//! The links of a lab file: their ends and what they do to packets.

use std::collections::{BTreeMap, BTreeSet};

use cluster::yaml::Error;

use super::check::{Doc, instead_of, once};
use super::quantity::{MAX_RTT, parse_duration, parse_percent, parse_rate};
use super::raw::RawLink;
use super::{End, LabCluster, LabNode, Link, Shape};
use crate::plan::{DEFAULT_BETWEEN_CLUSTERS, DEFAULT_BETWEEN_LOCATIONS};

/// Bytes of the largest packet that a link may be given: IPv6 needs the least, and devices take no more than the most.
const LEAST_MTU: u32 = 1280;
const MOST_MTU: u32 = 9000;

/// Checks all of them.
pub(super) fn check(doc: &Doc, clusters: &[LabCluster]) -> Result<Vec<Link>, Error> {
    let mut seen = BTreeMap::new();
    let mut links = Vec::new();
    for (i, raw) in doc.value.links.iter().enumerate() {
        let at = format!("links[{i}]");
        let path = format!("{at}.between");
        let [a, b] = raw.between.as_slice() else {
            let what = format!("a link has two ends, not {}", raw.between.len());
            return Err(doc.error(&path, what, "two clusters, such as `[aws, gcp]`"));
        };
        let mut between =
            [end(doc, a, &format!("{path}[0]"), clusters)?, end(doc, b, &format!("{path}[1]"), clusters)?];
        if between[0] == between[1] {
            let instead = "two clusters, or two regions of one as `CLUSTER/REGION`";
            return Err(doc.error(&path, format!("both ends are `{a}`"), instead));
        }
        between.sort();
        let shape = shape(doc, raw, &at, &between)?;
        once(doc, &mut seen, "link", between.clone().map(|end| end.to_string()).join(", "), path)?;
        links.push(Link { between, shape });
    }
    Ok(links)
}

fn end(doc: &Doc, text: &str, path: &str, clusters: &[LabCluster]) -> Result<End, Error> {
    let (name, location) = match text.split_once('/') {
        Some((name, location)) => (name, Some(location)),
        None => (text, None),
    };
    let Some(lab) = clusters.iter().find(|lab| lab.cluster.name.as_str() == name) else {
        let known: Vec<&str> = clusters.iter().map(|lab| lab.cluster.name.as_str()).collect();
        return Err(doc.error(path, format!("there is no cluster `{name}`"), instead_of(name, known)));
    };
    let hosts = lab.hosts.iter().map(|host| host.location.as_str());
    let known: BTreeSet<&str> = lab.nodes.iter().map(LabNode::segment).chain(hosts).collect();
    if let Some(location) = location
        && !known.contains(location)
    {
        let what = format!("cluster {name} has no region or location `{location}`");
        return Err(doc.error(path, what, instead_of(location, known)));
    }
    Ok(End { cluster: lab.cluster.name.clone(), location: location.map(str::to_string) })
}

fn shape(doc: &Doc, raw: &RawLink, at: &str, between: &[End; 2]) -> Result<Shape, Error> {
    let inside = between[0].cluster == between[1].cluster;
    let mut shape = if inside { DEFAULT_BETWEEN_LOCATIONS } else { DEFAULT_BETWEEN_CLUSTERS };
    if let Some(text) = &raw.rtt {
        shape.rtt = parse_duration(text).filter(|rtt| *rtt <= MAX_RTT).ok_or_else(|| {
            let what = format!("`{text}` is not a duration of at most 10 s");
            doc.error(&format!("{at}.rtt"), what, "something like `14ms`, `0.5ms` or `1s` instead")
        })?;
    }
    if let Some(text) = &raw.loss {
        shape.loss = parse_percent(text).ok_or_else(|| {
            let what = format!("`{text}` is not a percentage from 0% to 100%");
            doc.error(&format!("{at}.loss"), what, "something like `0.5%` instead")
        })?;
    }
    if let Some(text) = &raw.rate {
        let rate = parse_rate(text).ok_or_else(|| {
            let what = format!("`{text}` is not a rate from 8kbit to 1000Gbit");
            doc.error(&format!("{at}.rate"), what, "something like `100Mbit` or `1Gbit` instead")
        })?;
        shape.rate = Some(rate);
    }
    if let Some(mtu) = raw.mtu {
        if !(LEAST_MTU..=MOST_MTU).contains(&mtu) {
            let what = format!("{mtu} bytes are no packet's size");
            let instead = format!("a number from {LEAST_MTU} to {MOST_MTU}, such as `1400`");
            return Err(doc.error(&format!("{at}.mtu"), what, instead));
        }
        shape.mtu = Some(mtu);
    }
    Ok(shape)
}
