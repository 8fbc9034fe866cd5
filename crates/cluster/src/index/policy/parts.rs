//! What several kinds of policy write alike: labels, ranges, ports.

use std::collections::BTreeSet;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::Protocol;
use model::policy::{Operator, PolicyPort, Requirement, Selector};

use super::{Refused, Result};
use crate::index::complaint::short;
use crate::manifest::syntax::Syntax;

/// All ports of a protocol.
pub(super) fn all_of(protocol: Protocol) -> PolicyPort {
    PolicyPort::Ports { protocol, first: 0, last: u16::MAX }
}

/// Requirements, in their order.
pub(super) fn all(requirements: impl IntoIterator<Item = Requirement>) -> Selector {
    let sorted: BTreeSet<Requirement> = requirements.into_iter().collect();
    Selector { requirements: sorted.into_iter().collect() }
}

/// A choice by labels.
pub(super) fn selector(path: &str, written: &LabelSelector) -> Result<Selector> {
    let mut requirements = Vec::new();
    for (key, value) in written.match_labels.iter().flatten() {
        let path = format!("{path}.matchLabels");
        requirements.push(requirement(&path, key, "In", std::slice::from_ref(value))?);
    }
    for (n, expression) in written.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{n}]");
        let values = expression.values.as_deref().unwrap_or_default();
        requirements.push(requirement(&path, &expression.key, &expression.operator, values)?);
    }
    Ok(all(requirements))
}

/// One requirement of a label.
pub(super) fn requirement(path: &str, key: &str, operator: &str, values: &[String]) -> Result<Requirement> {
    syntactic(path, key, Syntax::LabelKey)?;
    for value in values {
        syntactic(path, value, Syntax::LabelValue)?;
    }
    let of = || values.iter().cloned().collect::<BTreeSet<_>>();
    let operator = match (operator, values.is_empty()) {
        ("In", false) => Operator::In(of()),
        ("NotIn", false) => Operator::NotIn(of()),
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::DoesNotExist,
        ("In" | "NotIn", true) => {
            return Err(Refused::new(path, format!("{operator} of no values; name at least one")));
        }
        ("Exists" | "DoesNotExist", false) => {
            return Err(Refused::new(path, format!("{operator} has no values; remove them")));
        }
        (other, _) => {
            let known = "write In, NotIn, Exists or DoesNotExist";
            return Err(Refused::new(path, format!("{} is no operator; {known}", short(other))));
        }
    };
    Ok(Requirement { key: key.into(), operator })
}

pub(super) fn syntactic(path: &str, text: &str, syntax: Syntax) -> Result<()> {
    if syntax.allows(text) {
        return Ok(());
    }
    Err(Refused::new(path, format!("{} is not allowed here; write {}", short(text), syntax.words())))
}

/// A range of addresses; what stands behind its prefix does not count.
pub(super) fn range(path: &str, text: &str) -> Result<IpNet> {
    let none = |instead| Refused::new(path, format!("{} is no range of addresses; {instead}", short(text)));
    let range: IpNet = text.parse().map_err(|_| none("write one such as 10.1.0.0/24 or fd00:1::/64"))?;
    match range {
        IpNet::V6(range) if range.addr().to_ipv4_mapped().is_some() && range.prefix_len() >= 96 => {
            Err(none("write it as one of IPv4"))
        }
        range => Ok(range.trunc()),
    }
}

/// Ranges in their order, each once.
pub(super) fn ranges(ranges: impl IntoIterator<Item = Result<IpNet>>) -> Result<Vec<IpNet>> {
    let mut ranges: Vec<IpNet> = ranges.into_iter().collect::<Result<_>>()?;
    ranges.sort_unstable();
    ranges.dedup();
    Ok(ranges)
}

/// Parts of a range that are left out of it.
pub(super) fn part_of(path: &str, whole: &IpNet, text: &str) -> Result<IpNet> {
    let part = range(path, text)?;
    if whole.contains(&part) && whole != &part {
        return Ok(part);
    }
    Err(Refused::new(path, format!("{part} is not a part of {whole}; write a smaller range inside it")))
}

/// A port by its number.
pub(super) fn number(path: &str, port: i32) -> Result<u16> {
    match u16::try_from(port) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(Refused::new(path, format!("{port} is no port; write 1 to 65535"))),
    }
}

/// Ports that follow each other.
pub(super) fn numbers(path: &str, protocol: Protocol, first: u16, last: i32) -> Result<PolicyPort> {
    let last = number(path, last)?;
    if last < first {
        return Err(Refused::new(path, format!("{last} is before {first}, where the range begins")));
    }
    Ok(PolicyPort::Ports { protocol, first, last })
}

/// A protocol by its name; TCP without one.
pub(super) fn protocol(path: &str, written: Option<&str>) -> Result<Protocol> {
    match written {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => {
            Err(Refused::new(path, format!("{} is no protocol; write TCP, UDP or SCTP", short(other))))
        }
    }
}
