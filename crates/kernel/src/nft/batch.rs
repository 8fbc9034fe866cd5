//! A transaction: messages that take effect together or not at all.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::Socket;
use nix::sys::socket::{setsockopt, sockopt};

use super::attributes::Attributes;
use super::content::{Chain, Content, Element, Set};
use super::expression::value;

/// linux/netfilter/nfnetlink.h.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NF_TABLES: u16 = 10;
pub(super) const INET: u8 = 1;

/// linux/netfilter/nf_tables.h: NFT_MSG_*.
pub(super) const NEW_TABLE: u16 = NF_TABLES << 8;
pub(super) const GET_TABLE: u16 = NEW_TABLE + 1;
const DELETE_TABLE: u16 = NEW_TABLE + 2;
pub(super) const NEW_CHAIN: u16 = NEW_TABLE + 3;
pub(super) const GET_CHAIN: u16 = NEW_TABLE + 4;
const NEW_RULE: u16 = NEW_TABLE + 6;
pub(super) const NEW_SET: u16 = NEW_TABLE + 9;
pub(super) const GET_SET: u16 = NEW_TABLE + 10;
const DELETE_SET: u16 = NEW_TABLE + 11;
const NEW_ELEMENTS: u16 = NEW_TABLE + 12;
const DELETE_ELEMENTS: u16 = NEW_TABLE + 14;

/// The set whose comment says what the table holds. It is in no rule: unlike the table, it can be made anew.
pub(super) const NOTE: &str = "note";

/// NLM_F_APPEND (linux/netlink.h): behind the rules that are there.
const APPEND: u16 = 0x800;

/// The number that a set goes by within a transaction.
const NOTE_NUMBER: u32 = u32::MAX;

/// How many elements go into one message: their list is an attribute, which may have 64 KB.
const ELEMENTS: usize = 400;

const HEADER: usize = 16;

/// Messages for one transaction.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// What each message is about, by its sequence number.
    parts: Vec<String>,
    last: usize,
}

impl Batch {
    /// A table with this content, whatever was there before.
    pub(super) fn replacing(table: &str, digest: Option<u64>, content: &Content) -> Self {
        let mut batch = Self::removing(table);
        let named = || Attributes::new().text(1, table);
        batch.push(NEW_TABLE, NLM_F_CREATE, "the table", &named());
        for (number, set) in (1..).zip(&content.sets) {
            batch.push(NEW_SET, NLM_F_CREATE, &format!("set {}", set.name), &describe(set, table, number));
            batch.elements(NEW_ELEMENTS, table, set, set.elements.iter());
        }
        if let Some(digest) = digest {
            batch.note(table, digest);
        }
        for chain in &content.chains {
            batch.push(
                NEW_CHAIN,
                NLM_F_CREATE,
                &format!("chain {}", chain.name),
                &describe_chain(chain, table),
            );
            for (number, rule) in (1..).zip(&chain.rules) {
                let message = named().text(2, chain.name).nest(4, rule.clone().into_attributes());
                let part = format!("rule {number} of chain {}", chain.name);
                batch.push(NEW_RULE, NLM_F_CREATE | APPEND, &part, &message);
            }
        }
        batch
    }

    /// The way from one content to another that has the same sets, chains and rules: what else is in the sets. None if
    /// there is no such way.
    pub(super) fn changing(table: &str, digest: u64, from: &Content, to: &Content) -> Option<Self> {
        let described = |content: &Content| content.sets.iter().map(|set| describe(set, table, 0)).collect();
        let sets: [Vec<Attributes>; 2] = [described(from), described(to)];
        let intervals = from.sets.iter().any(|set| set.interval);
        if sets[0] != sets[1] || from.chains != to.chains || to.is_empty() || intervals {
            return None;
        }
        let mut batch = Self::begun();
        for (old, new) in from.sets.iter().zip(&to.sets) {
            let [had, has]: [BTreeSet<&Element>; 2] = [old, new].map(|set| set.elements.iter().collect());
            batch.elements(DELETE_ELEMENTS, table, new, had.difference(&has).copied());
            batch.elements(NEW_ELEMENTS, table, new, has.difference(&had).copied());
        }
        let note = Attributes::new().text(1, table).text(2, NOTE);
        batch.push(DELETE_SET, 0, "the note before", &note);
        batch.note(table, digest);
        Some(batch)
    }

    /// Puts elements into a set, or takes them out.
    fn elements<'a>(
        &mut self,
        kind: u16,
        table: &str,
        set: &Set,
        elements: impl Iterator<Item = &'a Element>,
    ) {
        let flags = if kind == NEW_ELEMENTS { NLM_F_CREATE } else { 0 };
        let part = format!("elements of set {}", set.name);
        let elements: Vec<&Element> = elements.collect();
        for elements in elements.chunks(ELEMENTS) {
            let list = elements
                .iter()
                .fold(Attributes::new(), |list, element| list.nest(1, describe_element(element)));
            let message = Attributes::new().text(1, table).text(2, &set.name).nest(3, list);
            self.push(kind, flags, &part, &message);
        }
    }

    /// Writes down what the table holds.
    fn note(&mut self, table: &str, digest: u64) {
        // nft's number and length for a packet's mark: any kind of element will do, there is none.
        const MARK: u32 = 19;
        let note = Attributes::new().text(1, table).text(2, NOTE).number(3, 0).number(4, MARK).number(5, 4);
        let note = note.number(10, NOTE_NUMBER).bytes(13, &comment(digest));
        self.push(NEW_SET, NLM_F_CREATE, "the note", &note);
    }

    /// No table: made, so that there is one to delete, and deleted.
    pub(super) fn removing(table: &str) -> Self {
        let mut batch = Self::begun();
        let named = Attributes::new().text(1, table);
        batch.push(NEW_TABLE, NLM_F_CREATE, "the table", &named);
        batch.push(DELETE_TABLE, 0, "the table before", &named);
        batch
    }

    fn begun() -> Self {
        let mut batch = Self { bytes: Vec::new(), parts: Vec::new(), last: 0 };
        batch.message(BATCH_BEGIN, 0, [0, 0], NF_TABLES, "the beginning", &Attributes::new());
        batch
    }

    fn push(&mut self, kind: u16, flags: u16, part: &str, attributes: &Attributes) {
        self.message(kind, flags, [INET, 0], 0, part, attributes);
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family_and_version: [u8; 2],
        resource: u16,
        part: &str,
        attributes: &Attributes,
    ) {
        self.last = self.bytes.len();
        let sequence = u32::try_from(self.parts.len()).expect("a table has few messages");
        let header = header(kind, NLM_F_REQUEST | flags, sequence, attributes.as_bytes().len());
        self.bytes.extend(header);
        self.bytes.extend(family_and_version);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes.as_bytes());
        self.parts.push(part.into());
    }

    /// The bytes to send: an answer is asked for the last message, which is there when all is done.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.seal();
        self.bytes
    }

    fn seal(&mut self) {
        let flags = self.last + 6;
        let old = u16::from_ne_bytes([self.bytes[flags], self.bytes[flags + 1]]);
        self.bytes[flags..flags + 2].copy_from_slice(&(old | NLM_F_ACK).to_ne_bytes());
        self.message(BATCH_END, 0, [0, 0], NF_TABLES, "the end", &Attributes::new());
    }

    /// Sends it. An error comes with the part that it is about.
    pub(super) fn commit(mut self, socket: &Socket) -> Result<(), (String, io::Error)> {
        let awaited = self.parts.len() - 1;
        self.seal();
        let whole = |e| ("all of it".to_string(), e);
        // As root; what an ordinary user may send at once is the kernel's limit then.
        let _ = setsockopt(socket, sockopt::SndBufForce, &(2 * self.bytes.len() + (64 << 10)));
        socket.send(&self.bytes, 0).map_err(whole)?;
        loop {
            // The kernel answers before send(2) returns: there is nothing to wait for.
            let mut datagram = Vec::with_capacity(64 << 10);
            socket.recv(&mut datagram, libc::MSG_DONTWAIT).map_err(whole)?;
            for (sequence, code) in answers(&datagram) {
                let part = || self.parts.get(sequence).cloned().unwrap_or_default();
                match code {
                    0 if sequence == awaited => return Ok(()),
                    0 => {}
                    code => {
                        drain(socket);
                        return Err((part(), io::Error::from_raw_os_error(-code)));
                    }
                }
            }
        }
    }
}

/// What is left of the answers to a transaction that failed.
fn drain(socket: &Socket) {
    let mut datagram = Vec::with_capacity(64 << 10);
    while socket.recv(&mut datagram, libc::MSG_DONTWAIT).is_ok() {
        datagram.clear();
    }
}

pub(super) fn header(kind: u16, flags: u16, sequence: u32, attributes: usize) -> Vec<u8> {
    // Behind the header: family, version, resource (struct nfgenmsg).
    let length = u32::try_from(HEADER + 4 + attributes).expect("a message is short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes
}

/// The sequence numbers and error codes of the answers in a datagram.
fn answers(datagram: &[u8]) -> impl Iterator<Item = (usize, i32)> {
    messages(datagram).filter(|message| message.message_type() == NLMSG_ERROR).filter_map(|message| {
        let code = message.payload().get(..4)?;
        Some((message.sequence_number() as usize, i32::from_ne_bytes(code.try_into().ok()?)))
    })
}

/// The messages of a datagram.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = (message.length() as usize).max(HEADER).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
        Some(message)
    })
}

/// What `nft list` shows as the note's comment: nft's own form of a note, a string with type and length before it.
fn comment(digest: u64) -> Vec<u8> {
    let text = format!("causeway {digest:016x}\0");
    // libnftnl: NFTNL_UDATA_SET_COMMENT.
    const COMMENT: u8 = 7;
    [&[COMMENT, u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat()
}

/// The digest in a note's comment, if it is one of ours.
pub(super) fn parse_comment(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes.get(2..)?).ok()?;
    u64::from_str_radix(text.strip_prefix("causeway ")?.trim_end_matches('\0'), 16).ok()
}

fn describe(set: &Set, table: &str, number: u32) -> Attributes {
    const INTERVAL: u32 = 1 << 2;
    const MAP: u32 = 1 << 3;
    let interval = if set.interval { INTERVAL } else { 0 };
    let map = if set.data.is_some() { MAP } else { 0 };
    let described = Attributes::new()
        .text(1, table)
        .text(2, &set.name)
        .number(3, interval | map)
        .number(4, set.key.kind)
        .number(5, set.key.length)
        .number(10, number);
    match set.data {
        Some(data) => described.number(6, data.kind).number(7, data.length),
        None => described,
    }
}

fn describe_element(element: &Element) -> Attributes {
    const INTERVAL_END: u32 = 1;
    let described = Attributes::new().nest(1, value(&element.key));
    match (&element.data, element.end) {
        (Some(data), _) => described.nest(2, value(data)),
        (None, true) => described.number(3, INTERVAL_END),
        (None, false) => described,
    }
}

fn describe_chain(chain: &Chain, table: &str) -> Attributes {
    let hook = Attributes::new().number(1, chain.hook).bytes(2, &chain.priority.to_be_bytes());
    Attributes::new().text(1, table).text(3, chain.name).nest(4, hook).text(7, chain.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_byte_by_byte() {
        if cfg!(target_endian = "big") {
            return;
        }
        let table = [8, 0, 1, 0, b't', b't', b't', 0];
        let message = |length: u8, kind: u8, subsystem: u8, flags: [u8; 2], sequence: u8| {
            [length, 0, 0, 0, kind, subsystem, flags[0], flags[1], sequence, 0, 0, 0, 0, 0, 0, 0]
        };
        let expected = [
            &message(20, 0x10, 0, [1, 0], 0)[..],
            &[0, 0, 0, 10],
            &message(28, 0, 10, [1, 4], 1),
            &[1, 0, 0, 0],
            &table,
            &message(28, 2, 10, [5, 0], 2),
            &[1, 0, 0, 0],
            &table,
            &message(20, 0x11, 0, [1, 0], 3),
            &[0, 0, 0, 10],
        ];
        assert_eq!(Batch::removing("ttt").finish(), expected.concat());
    }

    #[test]
    fn notes() {
        for digest in [0, 7, u64::MAX] {
            let note = comment(digest);
            assert_eq!(parse_comment(&note), Some(digest));
            for cut in 0..note.len() {
                // Whatever stands there, it is read without a panic.
                let _ = parse_comment(&note[..cut]);
            }
        }
        for other in [&b""[..], b"\0", b"\0\x04abc\0", b"\0\x0acauseway x\0", b"\0\x04\xff\xff\xff\0"] {
            assert_eq!(parse_comment(other), None, "{other:?}");
        }
    }

    #[test]
    fn messages_end_where_they_are_cut_off() {
        let bytes = Batch::removing("ttt").finish();
        assert_eq!(messages(&bytes).count(), 4);
        for cut in 0..bytes.len() {
            assert!(messages(&bytes[..cut]).count() < 4, "{cut}");
        }
        assert_eq!(messages(&[0; 32]).count(), 0, "a message has a length");
    }
}
