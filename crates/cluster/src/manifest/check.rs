//! What must be right about an object before it is used, each mistake with its place.

mod multicluster;
mod node;
mod peer;
mod pod;
mod policy;
mod service;
mod slice;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Manifest;
use super::syntax::Syntax;
use crate::index::{HEAVIEST, WEIGHT};
use crate::yaml::{Error, Located, Reason, field, nearest};

type Result = std::result::Result<(), Error>;
type At<'a> = &'a Located<()>;

/// Checks an object that was read from `at`.
pub(super) fn check(at: At<'_>, manifest: &Manifest) -> Result {
    let name = match manifest {
        Manifest::Namespace(_) => Syntax::Label,
        Manifest::Service(_) | Manifest::ServiceExport(_) | Manifest::ServiceImport(_) => Syntax::ServiceName,
        _ => Syntax::Subdomain,
    };
    metadata(at, manifest.metadata(), name, manifest.kind().namespaced())?;
    match manifest {
        Manifest::Namespace(_) => Ok(()),
        Manifest::Node(node) => node::check(at, node),
        Manifest::Peer(peer) => peer::check(at, peer),
        Manifest::Service(service) => service::check(at, service),
        Manifest::Pod(pod) => pod::check(at, pod),
        Manifest::Deployment(deployment) => pod::check_deployment(at, deployment),
        Manifest::EndpointSlice(slice) => slice::check(at, slice),
        Manifest::NetworkPolicy(policy) => policy::check(at, policy),
        Manifest::ClusterNetworkPolicy(policy) => policy::check_cluster(at, policy),
        // Of these the metadata alone: what they say is understood, or refused, object by object.
        Manifest::CiliumNetworkPolicy(_) | Manifest::CiliumClusterwideNetworkPolicy(_) => Ok(()),
        Manifest::ServiceExport(export) => multicluster::check_export(at, export),
        Manifest::ServiceImport(import) => multicluster::check_import(at, import),
    }
}

fn metadata(at: At<'_>, meta: &ObjectMeta, syntax: Syntax, namespaced: bool) -> Result {
    required(at, "metadata.name")?;
    syntactic(at, "metadata.name", meta.name.as_deref().unwrap_or_default(), syntax)?;
    if let Some(namespace) = &meta.namespace {
        if !namespaced {
            return Err(at.error(
                "metadata.namespace",
                "this kind of object is in no namespace",
                "no namespace",
            ));
        }
        syntactic(at, "metadata.namespace", namespace, Syntax::Label)?;
    }
    labels(at, "metadata.labels", meta.labels.as_ref())?;
    for (key, value) in meta.annotations.iter().flatten() {
        let path = field("metadata.annotations", key);
        syntactic(at, &path, key, Syntax::LabelKey)?;
        if WEIGHT.contains(&key.as_str()) && !value.parse().is_ok_and(|weight: u16| weight <= HEAVIEST) {
            let what = format!("{value:?} is no weight");
            return Err(at.error(&path, what, format!("a whole number from 0 to {HEAVIEST}, in quotes")));
        }
    }
    Ok(())
}

fn labels(at: At<'_>, path: &str, labels: Option<&BTreeMap<String, String>>) -> Result {
    for (key, value) in labels.into_iter().flatten() {
        let path = field(path, key);
        syntactic(at, &path, key, Syntax::LabelKey)?;
        syntactic(at, &path, value, Syntax::LabelValue)?;
    }
    Ok(())
}

fn syntactic(at: At<'_>, path: &str, text: &str, syntax: Syntax) -> Result {
    if syntax.allows(text) {
        return Ok(());
    }
    let short: String = text.chars().take(80).collect();
    Err(at.error(path, format!("{short:?} is not allowed here"), syntax.words()))
}

/// A choice of objects by their labels. Says nothing of which; an empty one is all of them.
fn selector(at: At<'_>, path: &str, selector: &LabelSelector) -> Result {
    labels(at, &format!("{path}.matchLabels"), selector.match_labels.as_ref())?;
    for (n, wanted) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{n}]");
        syntactic(at, &format!("{path}.key"), &wanted.key, Syntax::LabelKey)?;
        let operators = &["In", "NotIn", "Exists", "DoesNotExist"];
        one_of(at, &format!("{path}.operator"), Some(&wanted.operator), operators)?;
        let values = wanted.values.as_deref().unwrap_or_default();
        if wanted.operator.ends_with("In") == values.is_empty() {
            let instead = if values.is_empty() { "at least one value" } else { "no values" };
            let what = format!("`{}` with {} values", wanted.operator, values.len());
            return Err(at.error(&format!("{path}.values"), what, instead));
        }
        for (m, value) in values.iter().enumerate() {
            syntactic(at, &format!("{path}.values[{m}]"), value, Syntax::LabelValue)?;
        }
    }
    Ok(())
}

/// Exactly one of several fields.
fn exactly_one(at: At<'_>, path: &str, fields: &[(&str, bool)]) -> Result {
    let given: Vec<&str> = fields.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.len() == 1 {
        return Ok(());
    }
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let what =
        if given.is_empty() { "there is nothing".into() } else { format!("{} at once", given.join(" and ")) };
    Err(at.error(path, what, format!("exactly one of {}", names.join(", "))))
}

/// A range of addresses, whatever stands behind its prefix.
fn range(at: At<'_>, path: &str, text: &str) -> std::result::Result<IpNet, Error> {
    text.parse().map_err(|_| {
        at.error(path, format!("{text:?} is no address range"), "a range such as 10.1.0.0/24 or fd00:1::/64")
    })
}

/// Refuses an object without a field that the schema requires.
fn required(at: At<'_>, path: &str) -> Result {
    if at.has(path) {
        return Ok(());
    }
    let name = path.rsplit('.').next().unwrap_or(path);
    Err(at.because(path, Reason::Missing { field: name.into() }))
}

fn in_range(at: At<'_>, path: &str, value: i128, min: i128, max: i128) -> Result {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(at.because(path, Reason::OutOfRange { found: value, min, max }))
}

fn port_number(at: At<'_>, path: &str, port: i32) -> Result {
    in_range(at, path, port.into(), 1, 65535)
}

/// A port by number, or by the name that a container gives it.
fn port_or_name(at: At<'_>, path: &str, port: &IntOrString) -> Result {
    match port {
        IntOrString::Int(port) => port_number(at, path, *port),
        IntOrString::String(name) => syntactic(at, path, name, Syntax::PortName),
    }
}

/// A word out of a closed set.
fn one_of(at: At<'_>, path: &str, value: Option<&str>, known: &[&str]) -> Result {
    match value {
        None => Ok(()),
        Some(value) if known.contains(&value) => Ok(()),
        Some(value) => Err(at.because(
            path,
            Reason::UnknownValue {
                value: value.into(),
                nearest: nearest(value, known.iter().copied()).map(Into::into),
                known: known.iter().map(ToString::to_string).collect(),
            },
        )),
    }
}

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

/// An address that packets can be sent to.
fn address(at: At<'_>, path: &str, text: &str) -> std::result::Result<IpAddr, Error> {
    let instead = "an address such as 10.1.0.7 or fd00:1::7";
    let ip: IpAddr =
        text.parse().map_err(|_| at.error(path, format!("{text:?} is no IP address"), instead))?;
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    if link_local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() {
        let what = format!("{ip} is a loopback, link-local, mapped, multicast or unspecified address");
        return Err(at.error(path, what, instead));
    }
    Ok(ip)
}

/// Addresses of which each family has at most one.
fn addresses(at: At<'_>, paths: impl IntoIterator<Item = (String, impl AsRef<str>)>) -> Result {
    let mut families = [false; 2];
    for (path, text) in paths {
        let ip = address(at, &path, text.as_ref())?;
        if std::mem::replace(&mut families[usize::from(ip.is_ipv6())], true) {
            let what = "a second address of one family";
            return Err(at.error(&path, what, "at most one IPv4 and one IPv6 address"));
        }
    }
    Ok(())
}
