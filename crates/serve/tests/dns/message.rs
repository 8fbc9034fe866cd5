//! Messages, written and read apart from the code under test: plainly, and following every pointer.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const A: u16 = 1;
pub(crate) const SOA: u16 = 6;
pub(crate) const PTR: u16 = 12;
pub(crate) const TXT: u16 = 16;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;
pub(crate) const OPT: u16 = 41;
pub(crate) const AXFR: u16 = 252;

pub(crate) const NOERROR: u16 = 0;
pub(crate) const FORMERR: u16 = 1;
pub(crate) const NOTIMP: u16 = 4;
pub(crate) const REFUSED: u16 = 5;

/// A question with number 0x1234 that wants recursion.
pub(crate) fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend([kind.to_be_bytes(), [0, 1]].concat());
    packet
}

/// The question with EDNS: what the client takes, a version, flags, options.
pub(crate) fn with_edns(
    mut packet: Vec<u8>,
    payload: u16,
    version: u8,
    flags: u8,
    options: &[u8],
) -> Vec<u8> {
    packet[11] += 1;
    packet.extend([0, 0, 41]);
    packet.extend(payload.to_be_bytes());
    packet.extend([0, version, flags, 0]);
    packet.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    packet.extend(options);
    packet
}

/// An EDNS record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) payload: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
    pub(crate) options: usize,
}

/// A message that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    /// With its upper bits from EDNS.
    pub(crate) code: u16,
    pub(crate) question: Option<String>,
    /// Answers, authorities, additional records: `TYPE DATA`.
    pub(crate) sections: [Vec<String>; 3],
    pub(crate) edns: Option<Edns>,
}

impl Message {
    pub(crate) fn read(packet: &[u8]) -> Self {
        let mut reader = Reader { packet, at: 0 };
        let [id, flags, questions, answers, authorities, additional] = [(); 6].map(|()| reader.number());
        assert!(questions <= 1, "{questions} questions");
        let question = (questions == 1).then(|| {
            let name = reader.name();
            reader.at += 4;
            name
        });
        let mut edns = None;
        let sections = [answers, authorities, additional]
            .map(|count| (0..count).filter_map(|_| reader.record(&mut edns)).collect());
        assert_eq!(reader.at, packet.len(), "something stands behind the last record");
        let upper = edns.as_ref().map_or(0, |(_, upper)| u16::from(*upper) << 4);
        let code = (flags & 0xf) | upper;
        Self { id, flags, code, question, sections, edns: edns.map(|(edns, _)| edns) }
    }

    pub(crate) fn answers(&self) -> usize {
        self.sections[0].len()
    }

    pub(crate) fn truncated(&self) -> bool {
        self.flags & 0x200 != 0
    }

    /// In one line.
    pub(crate) fn show(&self) -> String {
        let authoritative = if self.flags & 0x400 != 0 { " aa" } else { "" };
        let [answers, authorities, additional] = self.sections.each_ref().map(|section| section.join(" "));
        format!("{}{authoritative}|{answers}|{authorities}|{additional}", self.code)
    }
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn number(&mut self) -> u16 {
        self.at += 2;
        u16::from_be_bytes(self.packet[self.at - 2..self.at].try_into().unwrap())
    }

    fn name(&mut self) -> String {
        let (mut name, mut at, mut end) = (String::new(), self.at, None);
        loop {
            let length = self.packet[at];
            if length >= 192 {
                let to = usize::from(u16::from_be_bytes([length & 0x3f, self.packet[at + 1]]));
                assert!(to < at, "a pointer leads backwards");
                end = end.or(Some(at + 2));
                at = to;
                continue;
            }
            assert!(length < 64);
            let label = &self.packet[at + 1..at + 1 + usize::from(length)];
            at += 1 + label.len();
            if label.is_empty() {
                break;
            }
            name += std::str::from_utf8(label).unwrap();
            name.push('.');
        }
        self.at = end.unwrap_or(at);
        assert!(name.len() < 256);
        name
    }

    fn record(&mut self, edns: &mut Option<(Edns, u8)>) -> Option<String> {
        let owner = self.name();
        let (kind, class) = (self.number(), self.number());
        let (ttl, length) = ([self.number(), self.number()], usize::from(self.number()));
        let end = self.at + length;
        if kind == OPT {
            let [upper, version] = ttl[0].to_be_bytes();
            assert!(owner.is_empty() && edns.is_none());
            let dnssec_ok = ttl[1] & 0x8000 != 0;
            *edns = Some((Edns { payload: class, version, dnssec_ok, options: length }, upper));
            self.at = end;
            return None;
        }
        assert_eq!((class, ttl), (1, [0, 5]), "{owner}");
        let data = &self.packet[self.at..end];
        let text = match kind {
            A => format!("A {}", Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap())),
            AAAA => format!("AAAA {}", Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap())),
            TXT => format!("TXT {}", std::str::from_utf8(&data[1..=usize::from(data[0])]).unwrap()),
            SRV => {
                let [priority, weight, port] = [(); 3].map(|()| self.number());
                format!("SRV {priority} {weight} {port} {}", self.name())
            }
            PTR => format!("PTR {}", self.name()),
            SOA => {
                let text = format!("SOA {owner} {} {}", self.name(), self.name());
                self.at += 20;
                text
            }
            other => format!("TYPE{other}"),
        };
        if matches!(kind, A | AAAA | TXT) {
            self.at = end;
        }
        assert_eq!(self.at, end, "{text}: the data has its length");
        Some(text)
    }
}
