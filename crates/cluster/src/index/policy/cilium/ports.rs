//! Ports and ICMP, as Cilium writes them.

use model::Protocol;
use model::policy::PolicyPort;

use super::super::parts::{all_of, numbers, syntactic};
use super::Ports;
use super::field::{Field, Fields};
use crate::index::complaint::short;
use crate::index::policy::{Refused, Result};
use crate::manifest::syntax::Syntax;

/// The types of ICMP that have a name there.
const TYPES4: [(&str, u8); 13] = [
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("ExtendedEchoRequest", 42),
    ("ExtendedEchoReply", 43),
];
/// Those of ICMPv6.
const TYPES6: [(&str, u8); 14] = [
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
];

/// What a rule is about of what is said; none for all of it.
pub(super) fn ports(rule: &Fields<'_>) -> Result<Ports> {
    let some = |name: &str| -> Result<Option<Vec<Field<'_>>>> {
        let Some(list) = rule.get(name) else { return Ok(None) };
        Ok(Some(list.items()?).filter(|items| !items.is_empty()))
    };
    match (some("toPorts")?, some("icmps")?) {
        (None, None) => Ok(None),
        (Some(rules), None) => {
            let mut ports = Vec::new();
            for rule in rules {
                for port in listed(&rule, "ports")? {
                    ports.extend(self::port(&port)?);
                }
            }
            Ok(Some(ports))
        }
        (None, Some(rules)) => {
            let mut kinds = Vec::new();
            for rule in rules {
                for field in listed(&rule, "fields")? {
                    kinds.push(icmp(&field)?);
                }
            }
            Ok(Some(kinds))
        }
        (Some(_), Some(_)) => {
            let path = rule.get("icmps").map(|field| field.path().to_string()).unwrap_or_default();
            Err(Refused::new(path, "toPorts is written beside it; write each in a rule of its own"))
        }
    }
}

/// The only field of a value, a list with something in it.
fn listed<'a>(field: &Field<'a>, name: &str) -> Result<Vec<Field<'a>>> {
    let list = field.fields(&[name])?.get(name).map(|list| list.items()).transpose()?.unwrap_or_default();
    if list.is_empty() {
        return Err(Refused::new(
            field.under(name),
            "it is empty; write at least one, or leave the whole of it out",
        ));
    }
    Ok(list)
}

fn port(field: &Field<'_>) -> Result<Vec<PolicyPort>> {
    let fields = field.fields(&["port", "endPort", "protocol"])?;
    let Some(port) = fields.get("port") else {
        return Err(Refused::new(field.under("port"), "it is missing; write a number or a name, in quotes"));
    };
    let protocols: &[Protocol] = match fields.get("protocol") {
        None => ANY,
        Some(protocol) => match protocol.text()? {
            "" | "ANY" => ANY,
            "TCP" => &[Protocol::Tcp],
            "UDP" => &[Protocol::Udp],
            "SCTP" => &[Protocol::Sctp],
            "ICMP" | "ICMPv6" => {
                return Err(Refused::new(protocol.path(), "it has no ports; write it as icmps"));
            }
            other => {
                let what = format!("{} is not enforced here; write TCP, UDP, SCTP or ANY", short(other));
                return Err(Refused::new(protocol.path(), what));
            }
        },
    };
    let text = port.text()?;
    let end = fields.get("endPort");
    let Ok(first) = text.parse::<u16>() else {
        syntactic(port.path(), text, Syntax::PortName)?;
        if let Some(end) = end {
            return Err(Refused::new(
                end.path(),
                "the end of a range that begins with a name; write a number as port",
            ));
        }
        let named = |protocol| PolicyPort::Named { protocol, name: text.into() };
        return Ok(match protocols {
            [one] => vec![named(Some(*one))],
            _ => vec![named(None)],
        });
    };
    let last = match end {
        None => None,
        Some(end) => match end.number().and_then(|end| i32::try_from(end).ok()) {
            Some(0) => None,
            Some(last) => Some((last, end)),
            None => return Err(Refused::new(end.path(), "it is no whole number; write the last port")),
        },
    };
    let of = |protocol: &Protocol| match (first, &last) {
        (0, None) => Ok(all_of(*protocol)),
        (0, Some((_, end))) => Err(Refused::new(end.path(), "the port 0 means every port, and has no end")),
        (first, Some((last, end))) => numbers(end.path(), *protocol, first, *last),
        (first, None) => Ok(PolicyPort::Ports { protocol: *protocol, first, last: first }),
    };
    protocols.iter().map(of).collect()
}

const ANY: &[Protocol] = &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

fn icmp(field: &Field<'_>) -> Result<PolicyPort> {
    let fields = field.fields(&["family", "type"])?;
    let v6 = match fields.get("family") {
        None => false,
        Some(family) => match family.text()? {
            "" | "IPv4" => false,
            "IPv6" => true,
            other => {
                let what = format!("{} is no family; write IPv4 or IPv6", short(other));
                return Err(Refused::new(family.path(), what));
            }
        },
    };
    let Some(written) = fields.get("type") else {
        return Err(Refused::new(field.under("type"), "it is missing; write a number or a name"));
    };
    let types: &[(&str, u8)] = if v6 { &TYPES6 } else { &TYPES4 };
    let kind = match written.number() {
        Some(number) => u8::try_from(number).ok(),
        None => {
            let text = written.text()?;
            let named = types.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
            named.or_else(|| text.parse().ok())
        }
    };
    match kind {
        Some(kind) => Ok(PolicyPort::Icmp { v6, kind: Some(kind) }),
        None => {
            let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
            let what = format!("it is no type of the family; write 0 to 255, or one of {}", names.join(", "));
            Err(Refused::new(written.path(), what))
        }
    }
}
