//! Messages (RFC 1035 §4), as far as a server of few zones has to read them.

use engine::names::Kind;

use super::Reason;

/// Bytes of a header.
pub(super) const HEADER: usize = 12;

/// The largest payload over UDP that is asked for and given: what passes every path whole (the DNS flag day of 2020).
pub(super) const PAYLOAD: usize = 1232;

/// What a client takes that says nothing else (RFC 1035 §4.2.1).
const CLASSIC: usize = 512;

/// Additional records that a question may carry: one for EDNS, one for a signature, and some to spare.
const MAX_ADDITIONAL: u16 = 8;

/// Bits of a header's second half.
pub(super) mod flag {
    pub(crate) const RESPONSE: u16 = 1 << 15;
    pub(crate) const AUTHORITATIVE: u16 = 1 << 10;
    pub(crate) const TRUNCATED: u16 = 1 << 9;
    pub(crate) const RECURSION_DESIRED: u16 = 1 << 8;
    pub(crate) const RECURSION_AVAILABLE: u16 = 1 << 7;
    pub(crate) const CHECKING_DISABLED: u16 = 1 << 4;
    pub(crate) const OPCODE: u16 = 0xf << 11;
}

/// Response codes.
pub(super) mod code {
    pub(crate) const NOERROR: u16 = 0;
    pub(crate) const FORMERR: u16 = 1;
    pub(crate) const SERVFAIL: u16 = 2;
    pub(crate) const NXDOMAIN: u16 = 3;
    pub(crate) const NOTIMP: u16 = 4;
    pub(crate) const REFUSED: u16 = 5;
    /// With EDNS only: its upper bits are in the OPT record.
    pub(crate) const BADVERS: u16 = 16;
}

/// What is to be done with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send what was written.
    Reply(Reason),
    /// Ask somebody else.
    Forward,
    /// Nothing.
    Drop(Reason),
}

/// EDNS (RFC 6891), as a client says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edns {
    pub(super) version: u8,
    pub(super) dnssec_ok: bool,
}

/// A question.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// The header's id and flags.
    pub(super) id: u16,
    pub(super) flags: u16,
    /// Name, type and class as they were asked: what a response repeats.
    pub(super) question: &'a [u8],
    pub(super) kind: Kind,
    pub(super) class: u16,
    /// Bytes the client takes over UDP.
    pub(super) payload: usize,
    pub(super) edns: Option<Edns>,
}

/// A packet that is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not even worth an answer.
    Drop,
    /// To be answered with this code and no question.
    Answer { id: u16, flags: u16, code: u16 },
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().expect("two bytes")))
}

impl<'a> Query<'a> {
    /// Reads a question.
    pub(super) fn parse(packet: &'a [u8]) -> Result<Self, Bad> {
        let header = packet.get(..HEADER).ok_or(Bad::Drop)?;
        let field = |n: usize| u16::from_be_bytes([header[2 * n], header[2 * n + 1]]);
        let (id, flags) = (field(0), field(1));
        let bad = |code| Bad::Answer { id, flags, code };
        if flags & flag::RESPONSE != 0 {
            return Err(Bad::Drop);
        }
        if flags & flag::OPCODE != 0 {
            return Err(bad(code::NOTIMP));
        }
        let [questions, answers, authorities, additional] = [field(2), field(3), field(4), field(5)];
        if (questions, answers, authorities) != (1, 0, 0) || additional > MAX_ADDITIONAL {
            return Err(bad(code::FORMERR));
        }
        let malformed = || bad(code::FORMERR);
        let name = name_length(&packet[HEADER..]).ok_or_else(malformed)?;
        let end = HEADER + name + 4;
        let question = packet.get(HEADER..end).ok_or_else(malformed)?;
        let kind = Kind(number(question, name).expect("checked"));
        let class = number(question, name + 2).expect("checked");
        let (edns, payload) = read_additional(packet, end, additional).ok_or_else(malformed)?;
        Ok(Self { id, flags, question, kind, class, payload, edns })
    }

    /// The name as it was asked.
    pub(super) fn name(&self) -> &'a [u8] {
        &self.question[..self.question.len() - 4]
    }
}

/// The length of an uncompressed name, its 0 included.
fn name_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        match length {
            _ if at > 255 => return None,
            0 => return Some(at),
            1..=63 => {}
            // Nothing before the question could be pointed to.
            _ => return None,
        }
    }
}

/// The length of a name that may end with a pointer. Where that leads is of no interest.
pub(super) fn skip_name(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            192.. => return bytes.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at > 255 {
            return None;
        }
    }
}

/// Finds EDNS among the additional records. None: they are not as they should be, or there are two.
fn read_additional(packet: &[u8], mut at: usize, count: u16) -> Option<(Option<Edns>, usize)> {
    const OPT: u16 = 41;
    let (mut edns, mut payload) = (None, CLASSIC);
    for _ in 0..count {
        let root = packet.get(at) == Some(&0);
        at += skip_name(packet.get(at..)?)?;
        let fixed = packet.get(at..at + 10)?;
        if number(fixed, 0) == Some(OPT) {
            if !root || edns.is_some() {
                return None;
            }
            payload = usize::from(number(fixed, 2)?).clamp(CLASSIC, PAYLOAD);
            edns = Some(Edns { version: fixed[5], dnssec_ok: fixed[6] & 0x80 != 0 });
        }
        at += 10 + usize::from(number(fixed, 8)?);
        if at > packet.len() {
            return None;
        }
    }
    Some((edns, payload))
}
