//! Records of one name and kind, ready to be copied into a message whose question is the name.

use std::net::IpAddr;

use super::Name;

/// A kind of record (RFC 1035's TYPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u16);

impl Kind {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A server of a zone.
    pub const NS: Self = Self(2);
    /// The start of a zone.
    pub const SOA: Self = Self(6);
    /// The name of an address.
    pub const PTR: Self = Self(12);
    /// Text.
    pub const TXT: Self = Self(16);
    /// An IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// Where a service is (RFC 2782).
    pub const SRV: Self = Self(33);
    /// Whatever there is (RFC 8482: one kind does).
    pub const ANY: Self = Self(255);
}

/// The class of the Internet.
const IN: [u8; 2] = [0, 1];

/// What a message's header takes.
const HEADER: usize = 12;

/// Type and class of a question.
const QUESTION_TAIL: usize = 4;

/// The question's name, which every message has at the same place (RFC 1035 §4.1.4).
const OWNER: [u8; 2] = [0xc0, 12];

/// The largest message over TCP.
const LARGEST: usize = 65_535;

/// Offsets of compression have 14 bits.
const FURTHEST: usize = 0x3fff;

/// Records of one name and kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rrset {
    records: Box<[u8]>,
    count: u16,
    /// How many of the first are as good as each other; their order may turn.
    alike: u16,
    /// Addresses of the names in the records, for the additional section.
    extra: Box<[u8]>,
    extras: u16,
}

/// What became part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Answers.
    pub answers: u16,
    /// Additional records.
    pub extras: u16,
    /// Whether answers are missing for want of room.
    pub truncated: bool,
}

impl Rrset {
    /// How many records there are.
    pub fn len(&self) -> u16 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the records to a message that ends with its question, up to `limit` bytes in all. `turn` says which of
    /// the records that are as good as each other comes first.
    pub fn write(&self, out: &mut Vec<u8>, limit: usize, turn: usize) -> Written {
        let room = limit.saturating_sub(out.len());
        if self.records.len() > room {
            let (bytes, answers) = self.head(room);
            out.extend_from_slice(bytes);
            return Written { answers, extras: 0, truncated: true };
        }
        let alike = usize::from(self.alike);
        if alike > 1 {
            let each = self.records.len() / usize::from(self.count);
            let (first, rest) = self.records.split_at(alike * each);
            let (before, after) = first.split_at(turn % alike * each);
            out.extend_from_slice(after);
            out.extend_from_slice(before);
            out.extend_from_slice(rest);
        } else {
            out.extend_from_slice(&self.records);
        }
        let extras = if self.extra.len() <= room - self.records.len() { self.extras } else { 0 };
        if extras > 0 {
            out.extend_from_slice(&self.extra);
        }
        Written { answers: self.count, extras, truncated: false }
    }

    /// As many whole records as fit.
    fn head(&self, room: usize) -> (&[u8], u16) {
        let (mut end, mut count) = (0, 0);
        while let Some(length) = self.records.get(end + 10..end + 12) {
            let next = end + 12 + usize::from(u16::from_be_bytes([length[0], length[1]]));
            if next > room {
                break;
            }
            (end, count) = (next, count + 1);
        }
        (&self.records[..end], count)
    }
}

/// Records in the making.
#[derive(Debug, Default)]
pub(super) struct Builder {
    records: Vec<u8>,
    count: u16,
    extra: Vec<u8>,
    extras: u16,
    ttl: u32,
}

impl Builder {
    pub(super) fn new(ttl: u32) -> Self {
        Self { ttl, ..Self::default() }
    }

    pub(super) fn len(&self) -> u16 {
        self.count
    }

    /// Adds one record. One that no message could hold any more is left out.
    pub(super) fn push(&mut self, kind: Kind, data: &[&[u8]]) {
        let length: usize = data.iter().map(|part| part.len()).sum();
        if HEADER + MAX_QUESTION + self.records.len() + 12 + length > LARGEST {
            return;
        }
        put(&mut self.records, OWNER, kind, self.ttl, data);
        self.count += 1;
    }

    /// Adds an address, whichever family it is.
    pub(super) fn push_address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.push(Kind::A, &[&ip.octets()]),
            IpAddr::V6(ip) => self.push(Kind::AAAA, &[&ip.octets()]),
        }
    }

    /// Adds a place where the service of `owner` is, and the addresses there.
    pub(super) fn push_server(&mut self, owner: &Name, server: &Server<'_>) {
        // The target is never compressed (RFC 2782); its addresses point to it.
        let target = HEADER + owner.as_bytes().len() + QUESTION_TAIL + self.records.len() + 12 + 6;
        let Server { priority, weight, port, name, ips } = server;
        let before = self.count;
        let numbers = [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()].concat();
        self.push(Kind::SRV, &[&numbers, name.as_bytes()]);
        if self.count == before || target > FURTHEST {
            return;
        }
        let pointer = u16::try_from(target).expect("14 bits") | 0xc000;
        for ip in *ips {
            let (kind, octets) = match ip {
                IpAddr::V4(ip) => (Kind::A, ip.octets().to_vec()),
                IpAddr::V6(ip) => (Kind::AAAA, ip.octets().to_vec()),
            };
            put(&mut self.extra, pointer.to_be_bytes(), kind, self.ttl, &[&octets]);
            self.extras += 1;
        }
    }

    /// The records, of which the first `alike` may change places. They must have one length then.
    pub(super) fn finish(self, alike: u16) -> Rrset {
        Rrset {
            alike: alike.min(self.count),
            records: self.records.into(),
            count: self.count,
            extra: self.extra.into(),
            extras: self.extras,
        }
    }
}

/// The longest question: a name of 255 bytes, type and class.
const MAX_QUESTION: usize = 255 + QUESTION_TAIL;

/// A place where a service is.
pub(super) struct Server<'a> {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) name: &'a Name,
    pub(super) ips: &'a [IpAddr],
}

fn put(out: &mut Vec<u8>, owner: [u8; 2], kind: Kind, ttl: u32, data: &[&[u8]]) {
    let length: usize = data.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&owner);
    out.extend_from_slice(&kind.0.to_be_bytes());
    out.extend_from_slice(&IN);
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&u16::try_from(length).expect("names and addresses are short").to_be_bytes());
    data.iter().for_each(|part| out.extend_from_slice(part));
}
