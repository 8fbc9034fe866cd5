//! One packet in, one packet out.

use engine::names::{Found, Kind, Written, Zone};

use super::Reason;
use super::message::{Action, Bad, Edns, HEADER, PAYLOAD, Query, code, flag};

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// Bytes of an OPT record without options.
const OPT: usize = 11;

/// Kinds that are no records, but ways to copy a zone (RFC 5936, RFC 1995).
const TRANSFERS: [Kind; 2] = [Kind(252), Kind(251)];

/// Reads a packet and writes the answer into `out`, in place of what is there. `turn` lets those that are as good as
/// each other take turns; `recursive` says whether names of other zones can be asked for here.
pub fn answer(
    zone: &Zone,
    packet: &[u8],
    transport: Transport,
    turn: usize,
    recursive: bool,
    out: &mut Vec<u8>,
) -> Action {
    out.clear();
    let query = match Query::parse(packet) {
        Ok(query) => query,
        Err(Bad::Drop) => return Action::Drop(Reason::Dropped),
        Err(Bad::Answer { id, flags, code }) => {
            let kept = flags & (flag::OPCODE | flag::RECURSION_DESIRED);
            put_header(out, id, flag::RESPONSE | kept | code, [0; 4]);
            let reason = if code == code::NOTIMP { Reason::NotImplemented } else { Reason::Malformed };
            return Action::Reply(reason);
        }
    };
    let mut reply = Reply::begin(&query, transport, recursive, out);
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return reply.end(code::BADVERS, Reason::BadVersion);
    }
    if query.class != 1 || TRANSFERS.contains(&query.kind) {
        return reply.end(code::REFUSED, Reason::Refused);
    }
    let name = query.name();
    let mut lower = [0; 255];
    // The lengths of labels are below the letters, so the name can be lowered as a whole.
    lower[..name.len()].copy_from_slice(name);
    lower[..name.len()].make_ascii_lowercase();
    match zone.find(&lower[..name.len()], query.kind) {
        Found::Data(set) => {
            reply.authoritative();
            let Written { answers, extras, truncated } = set.write(reply.out, reply.room, turn);
            reply.counts = [answers, 0, extras];
            if truncated {
                reply.flags |= flag::TRUNCATED;
                return reply.end(code::NOERROR, Reason::Truncated);
            }
            reply.end(code::NOERROR, Reason::Answered)
        }
        Found::Start(apex) => {
            reply.authoritative();
            reply.counts[0] = apex.write(reply.out, reply.room, name.len()).into();
            reply.end(code::NOERROR, Reason::Answered)
        }
        Found::NoData(apex) => {
            reply.authoritative();
            reply.counts[1] = apex.write(reply.out, reply.room, name.len()).into();
            reply.end(code::NOERROR, Reason::NoData)
        }
        Found::NoName(apex) => {
            reply.authoritative();
            reply.counts[1] = apex.write(reply.out, reply.room, name.len()).into();
            reply.end(code::NXDOMAIN, Reason::NoName)
        }
        Found::Unknown => reply.end(code::SERVFAIL, Reason::Unsynced),
        Found::Elsewhere if recursive && query.flags & flag::RECURSION_DESIRED != 0 => Action::Forward,
        Found::Elsewhere => reply.end(code::REFUSED, Reason::Refused),
    }
}

/// Writes a refusal of a packet into `out`: the question repeated, and a code. For what [`answer`] did not do itself.
pub(super) fn refuse(packet: &[u8], code: u16, reason: Reason, out: &mut Vec<u8>) -> Action {
    out.clear();
    match Query::parse(packet) {
        Ok(query) => Reply::begin(&query, Transport::Udp, false, out).end(code, reason),
        Err(_) => Action::Drop(Reason::Dropped),
    }
}

struct Reply<'a> {
    out: &'a mut Vec<u8>,
    id: u16,
    flags: u16,
    edns: Option<Edns>,
    /// Bytes up to which records may be written.
    room: usize,
    /// Answers, authorities, additional records.
    counts: [u16; 3],
}

impl<'a> Reply<'a> {
    fn begin(query: &Query<'_>, transport: Transport, recursive: bool, out: &'a mut Vec<u8>) -> Self {
        let kept = query.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED);
        let available = if recursive { flag::RECURSION_AVAILABLE } else { 0 };
        let limit = match transport {
            Transport::Udp => query.payload,
            Transport::Tcp => usize::from(u16::MAX),
        };
        out.resize(HEADER, 0);
        out.extend_from_slice(query.question);
        Self {
            out,
            id: query.id,
            flags: flag::RESPONSE | kept | available,
            edns: query.edns,
            room: limit - if query.edns.is_some() { OPT } else { 0 },
            counts: [0; 3],
        }
    }

    fn authoritative(&mut self) {
        self.flags |= flag::AUTHORITATIVE;
    }

    fn end(self, code: u16, reason: Reason) -> Action {
        let Self { out, id, flags, edns, counts: [answers, authorities, mut additional], .. } = self;
        if let Some(edns) = edns {
            additional += 1;
            let payload = u16::try_from(PAYLOAD).expect("small").to_be_bytes();
            let upper = u8::try_from(code >> 4).expect("codes have 12 bits");
            out.extend_from_slice(&[0, 0, 41, payload[0], payload[1], upper, 0]);
            out.extend_from_slice(&[if edns.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        }
        let mut header = [0; HEADER];
        let fields = [id, flags | (code & 0xf), 1, answers, authorities, additional];
        header
            .chunks_exact_mut(2)
            .zip(fields)
            .for_each(|(at, field)| at.copy_from_slice(&field.to_be_bytes()));
        out[..HEADER].copy_from_slice(&header);
        Action::Reply(reason)
    }
}

fn put_header(out: &mut Vec<u8>, id: u16, flags: u16, counts: [u16; 4]) {
    for field in [id, flags].into_iter().chain(counts) {
        out.extend_from_slice(&field.to_be_bytes());
    }
}
