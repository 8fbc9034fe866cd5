//! Between the exchange's values and the frames that carry them.

use std::sync::Arc;

use engine::exchange::{Position, Refusal, Tell, Told};
use model::{Change, KubeProxy};
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
    /// Asks to be told, from there.
    Subscribe(Option<Position>),
    /// With the changes that could not be read.
    Told(Told, Vec<Unreadable>),
    /// What a node says of itself.
    Report(NodeReport),
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
        Some(Body::Subscribe(s)) => Said::Subscribe(s.position.map(position).filter(|p| p.epoch != 0)),
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

fn read_batch(batch: &pb::Batch) -> Result<Said, ParseError> {
    let count = batch.changes.len();
    if count > limits::BATCH_CHANGES {
        return Err(ParseError::TooMany { field: "changes", count, max: limits::BATCH_CHANGES });
    }
    let (mut changes, mut unreadable) = (Vec::with_capacity(count), Vec::new());
    for bytes in &batch.changes {
        match wire::decode_change(bytes) {
            Ok(Change::Upsert(object)) => changes.push(Tell::Upsert(Arc::new(object))),
            Ok(Change::Delete(key)) => changes.push(Tell::Delete(key)),
            Err(error) => unreadable.push(*error),
        }
    }
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
        port,
        addresses: wire::parse_ips("a node's addresses", &report.addresses, limits::NODE_IPS)?,
        version: report.version.chars().take(limits::VERSION_CHARS).collect(),
        kube_proxy: match report.kube_proxy() {
            pb::KubeProxy::Running => KubeProxy::Running,
            pb::KubeProxy::Absent => KubeProxy::Absent,
            pb::KubeProxy::Unspecified => KubeProxy::Unknown,
        },
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
pub(crate) fn subscribe(from: Option<Position>) -> pb::Frame {
    let position = from.map(|p| pb::Position { epoch: p.epoch, revision: p.revision });
    frame(Body::Subscribe(pb::Subscribe { position }))
}

/// What an agent reports.
pub(crate) fn report(report: &NodeReport) -> pb::Frame {
    frame(Body::Report(pb::NodeReport {
        public_key: report.public_key.0.to_vec(),
        port: u32::from(report.port),
        addresses: report.addresses.iter().map(wire::encode_ip).collect(),
        version: report.version.clone(),
        kube_proxy: match report.kube_proxy {
            KubeProxy::Running => pb::KubeProxy::Running,
            KubeProxy::Absent => pb::KubeProxy::Absent,
            KubeProxy::Unknown => pb::KubeProxy::Unspecified,
        }
        .into(),
    }))
}

/// What is told.
pub fn told(told: Told) -> pb::Frame {
    frame(match told {
        Told::Begin { epoch, snapshot } => Body::Begin(pb::Begin { epoch, snapshot }),
        Told::Batch { changes, revision } => {
            Body::Batch(pb::Batch { changes: changes.into_iter().map(encode).collect(), revision })
        }
        Told::Synced { position: Position { epoch, revision } } => {
            Body::Synced(pb::Synced { position: Some(pb::Position { epoch, revision }) })
        }
    })
}

fn encode(tell: Tell) -> prost::bytes::Bytes {
    let change = match tell {
        Tell::Upsert(object) => {
            pb::Change { change: Some(pb::change::Change::Upsert(wire::encode_object(&object))) }
        }
        Tell::Delete(key) => wire::encode_change(&Change::Delete(key)),
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
