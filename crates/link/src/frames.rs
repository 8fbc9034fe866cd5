//! Between the exchange's values and the frames that carry them.

use std::collections::BTreeSet;

use engine::exchange::{Ask, Interest, Position, Refusal, Tell, Told, Topics, Want};
use model::{Change, KubeProxy, ObjectName};
use prost::Message;
use wire::pb::frame::Body;
use wire::{ParseError, Unreadable, VERSION, limits, pb};

use crate::NodeReport;
use crate::pki::Roots;

/// What this side calls itself.
pub(crate) const SOFTWARE: &str = concat!("causeway/", env!("CARGO_PKG_VERSION"));

/// A frame, read.
#[derive(Debug)]
pub enum Said {
    /// Who speaks.
    Hello(pb::Hello),
    /// Asks to be told.
    Subscribe(Ask),
    /// Asks for something else.
    Want(Want),
    /// With the changes that could not be read.
    Told(Told, Vec<Unreadable>),
    /// What a node says of itself.
    Report(NodeReport),
    /// Asks whether anybody is there.
    Ping(pb::Ping),
    /// Somebody is.
    Pong(pb::Pong),
    /// Why the stream ends.
    Farewell(pb::farewell::Reason, String),
    /// Of a later version.
    Unknown,
}

/// Reads a frame.
///
/// # Errors
/// It says something that no frame may. A change that cannot be read costs only itself.
pub fn read(frame: pb::Frame) -> Result<Said, ParseError> {
    Ok(match frame.body {
        None => Said::Unknown,
        Some(Body::Hello(hello)) => Said::Hello(hello),
        Some(Body::Subscribe(ask)) => Said::Subscribe(read_ask(ask)?),
        Some(Body::Want(pb::Want { add, remove, add_policing, remove_policing })) => {
            let (add, remove) = (topics(add, add_policing)?, topics(remove, remove_policing)?);
            Said::Want(Want { add, remove })
        }
        Some(Body::Taken(pb::Taken { wants })) => Said::Told(Told::Taken { wants }, Vec::new()),
        Some(Body::Ping(ping)) => Said::Ping(ping),
        Some(Body::Pong(pong)) => Said::Pong(pong),
        Some(Body::Farewell(farewell)) => {
            let detail = farewell.detail.chars().filter(|c| !c.is_control()).take(limits::FAREWELL_CHARS);
            Said::Farewell(farewell.reason(), detail.collect())
        }
        Some(Body::Begin(pb::Begin { epoch, snapshot })) => {
            Said::Told(Told::Begin { epoch, snapshot }, Vec::new())
        }
        Some(Body::Batch(batch)) => read_batch(&batch)?,
        Some(Body::Synced(s)) => {
            let position = position(s.position.ok_or(ParseError::Missing("a position"))?);
            Said::Told(Told::Synced { position }, Vec::new())
        }
        Some(Body::Report(report)) => Said::Report(read_report(&report)?),
    })
}

fn read_ask(ask: pb::Subscribe) -> Result<Ask, ParseError> {
    let (every_service, policing) = (ask.interest.is_none(), ask.policing.is_some());
    let services = ask.interest.unwrap_or_default().services;
    let interest = Interest { every_service, policing, topics: topics(services, ask.policing)? };
    let position = ask.position.map(position).filter(|p| p.epoch != 0);
    Ok(Ask { position, interest, keeps: ask.keeps })
}

fn topics(services: Vec<pb::ServiceName>, policing: Option<pb::Policing>) -> Result<Topics, ParseError> {
    let pb::Policing { clusters, policies } = policing.unwrap_or_default();
    Ok(Topics { services: service_names(services)?, pods: wire::parse_clusters(clusters)?, policies })
}

fn service_names(names: Vec<pb::ServiceName>) -> Result<BTreeSet<ObjectName>, ParseError> {
    wire::parse_service_names(names, limits::INTEREST_NAMES)
}

fn read_batch(batch: &pb::Batch) -> Result<Said, ParseError> {
    let count = batch.changes.len() + batch.keeps.len();
    if count > limits::BATCH_CHANGES {
        return Err(ParseError::TooMany { field: "changes", count, max: limits::BATCH_CHANGES });
    }
    let (mut changes, mut unreadable) = (Vec::with_capacity(count), Vec::new());
    for bytes in &batch.changes {
        match wire::decode_change(bytes) {
            Ok(change) => changes.push(change.into()),
            Err(error) => unreadable.push(*error),
        }
    }
    changes.extend(batch.keeps.iter().map(|digest| Tell::Keep(*digest)));
    Ok(Said::Told(Told::Batch { changes, revision: batch.revision }, unreadable))
}

fn read_report(report: &pb::NodeReport) -> Result<NodeReport, ParseError> {
    let port = match u16::try_from(report.port) {
        Ok(port @ 1..) => port,
        _ => {
            let value = u64::from(report.port);
            return Err(ParseError::Range {
                field: "a node's port",
                value,
                min: 1,
                max: u64::from(u16::MAX),
            });
        }
    };
    Ok(NodeReport {
        public_key: wire::parse_public_key(&report.public_key)?.ok_or(ParseError::PublicKey(0))?,
        next_key: wire::parse_public_key(&report.next_key)?,
        knows_two_keys: report.knows_two_keys,
        knows_groups: report.knows_groups,
        port,
        addresses: wire::parse_ips("a node's addresses", &report.addresses, limits::NODE_IPS)?,
        version: report.version.chars().take(limits::VERSION_CHARS).collect(),
        kube_proxy: match report.kube_proxy() {
            pb::KubeProxy::Running => KubeProxy::Running,
            pb::KubeProxy::Absent => KubeProxy::Absent,
            pb::KubeProxy::Unspecified => KubeProxy::Unknown,
        },
        reach: report.reach.clone().map(wire::parse_reach).transpose()?.unwrap_or_default(),
        takes: wire::parse_transports(&report.takes),
        generations: wire::parse_generations(&report.generations)?,
    })
}

fn position(position: pb::Position) -> Position {
    Position { epoch: position.epoch, revision: position.revision }
}

fn frame(body: Body) -> pb::Frame {
    pb::Frame { body: Some(body) }
}

/// The first frame of either side.
pub(crate) fn hello(roots: &Roots, crosses: &Roots) -> pb::Frame {
    frame(Body::Hello(pb::Hello {
        version: Some(VERSION),
        software: SOFTWARE.into(),
        roots: raw_roots(roots),
        crosses: raw_roots(crosses),
    }))
}

/// Roots as they travel.
pub(crate) fn raw_roots(roots: &Roots) -> Vec<Vec<u8>> {
    roots.iter().map(|root| root.to_vec()).collect()
}

/// Asks to be told.
pub fn subscribe(ask: Ask) -> pb::Frame {
    let Ask { position, interest: Interest { every_service, policing, topics }, keeps } = ask;
    let services = wire::encode_service_names(&topics.services);
    frame(Body::Subscribe(pb::Subscribe {
        position: position.map(|p| pb::Position { epoch: p.epoch, revision: p.revision }),
        interest: (!every_service).then_some(pb::Interest { services }),
        keeps,
        policing: policing.then(|| encode_policing(&topics)),
    }))
}

/// Asks for something else.
pub fn want(want: &Want) -> pb::Frame {
    let policing = |topics: &Topics| {
        let some = !topics.pods.is_empty() || topics.policies;
        some.then(|| encode_policing(topics))
    };
    frame(Body::Want(pb::Want {
        add: wire::encode_service_names(&want.add.services),
        remove: wire::encode_service_names(&want.remove.services),
        add_policing: policing(&want.add),
        remove_policing: policing(&want.remove),
    }))
}

fn encode_policing(topics: &Topics) -> pb::Policing {
    let clusters = topics.pods.iter().map(ToString::to_string).collect();
    pb::Policing { clusters, policies: topics.policies }
}

/// Asks for an answer. Both in microseconds.
pub(crate) fn ping(sent: u64, behind: u64) -> pb::Frame {
    frame(Body::Ping(pb::Ping { sent, behind }))
}

/// Answers it.
pub(crate) fn pong(sent: u64) -> pb::Frame {
    frame(Body::Pong(pb::Pong { sent }))
}

/// Says why the stream ends.
pub(crate) fn farewell(reason: pb::farewell::Reason, detail: &str) -> pb::Frame {
    let detail = detail.chars().take(limits::FAREWELL_CHARS).collect();
    frame(Body::Farewell(pb::Farewell { reason: reason.into(), detail }))
}

/// What an agent reports.
pub fn report(report: &NodeReport) -> pb::Frame {
    frame(Body::Report(pb::NodeReport {
        public_key: report.public_key.0.to_vec(),
        next_key: report.next_key.map(|key| key.0.to_vec()).unwrap_or_default(),
        knows_two_keys: report.knows_two_keys,
        knows_groups: report.knows_groups,
        port: u32::from(report.port),
        addresses: report.addresses.iter().map(wire::encode_ip).collect(),
        version: report.version.clone(),
        kube_proxy: match report.kube_proxy {
            KubeProxy::Running => pb::KubeProxy::Running,
            KubeProxy::Absent => pb::KubeProxy::Absent,
            KubeProxy::Unknown => pb::KubeProxy::Unspecified,
        }
        .into(),
        reach: wire::encode_reach(&report.reach),
        takes: wire::encode_transports(&report.takes),
        generations: wire::encode_generations(&report.generations),
    }))
}

/// What is told.
pub fn told(told: Told) -> pb::Frame {
    frame(match told {
        Told::Begin { epoch, snapshot } => Body::Begin(pb::Begin { epoch, snapshot }),
        Told::Batch { changes, revision } => {
            let mut batch = pb::Batch { revision, ..pb::Batch::default() };
            for tell in changes {
                match tell {
                    Tell::Keep(digest) => batch.keeps.push(digest),
                    tell => batch.changes.push(encode(&tell)),
                }
            }
            Body::Batch(batch)
        }
        Told::Taken { wants } => Body::Taken(pb::Taken { wants }),
        Told::Synced { position: Position { epoch, revision } } => {
            Body::Synced(pb::Synced { position: Some(pb::Position { epoch, revision }) })
        }
    })
}

fn encode(tell: &Tell) -> prost::bytes::Bytes {
    let change = match tell {
        Tell::Upsert(object) => {
            pb::Change { change: Some(pb::change::Change::Upsert(wire::encode_object(object))) }
        }
        Tell::Delete(key) => wire::encode_change(&Change::Delete(key.clone())),
        Tell::Keep(_) => unreachable!("it travels beside the changes"),
    };
    change.encode_to_vec().into()
}

/// A line for the operator about what was refused; the log has each.
pub(crate) fn summary(refused: &[Refusal]) -> Option<String> {
    const SHOWN: usize = 3;
    let mut lines: Vec<String> = refused.iter().take(SHOWN).map(ToString::to_string).collect();
    if refused.len() > SHOWN {
        lines.push(format!("and {} more", refused.len() - SHOWN));
    }
    for refusal in refused {
        tracing::warn!(reason = refusal.reason.as_str(), %refusal, "refused");
    }
    (!lines.is_empty()).then(|| lines.join("; "))
}
