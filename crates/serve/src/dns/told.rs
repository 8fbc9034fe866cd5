//! What an upstream server's answer says of addresses: for whoever has to know where a name leads before the client does.

use std::net::IpAddr;

use super::message::{HEADER, code, flag, number, skip_name};

/// Most addresses of one answer that are looked at; a name with more of them is beyond what policies are made of.
const MOST: usize = 256;

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What was asked for, in lower case and without the last dot.
    pub name: String,
    /// The addresses, whatever names stand between.
    pub ips: Vec<IpAddr>,
    /// Seconds for which they may be remembered: the least that a record on the way says.
    pub ttl: u32,
}

/// Reads an answer. None if it tells no address, or cannot be read.
pub fn told(packet: &[u8]) -> Option<Told> {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const IN: u16 = 1;
    let flags = number(packet, 2)?;
    if flags & flag::RESPONSE == 0 || flags & 0xf != code::NOERROR || number(packet, 4)? != 1 {
        return None;
    }
    let name = read_name(packet.get(HEADER..)?)?;
    let mut at = HEADER + skip_name(&packet[HEADER..])? + 4;
    let (mut ips, mut ttl) = (Vec::new(), u32::MAX);
    for _ in 0..number(packet, 6)? {
        at += skip_name(packet.get(at..)?)?;
        let fixed = packet.get(at..at + 10)?;
        let length = usize::from(number(fixed, 8)?);
        let data = packet.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if number(fixed, 2)? != IN {
            continue;
        }
        // The highest bit is no part of the number (RFC 2181, section 8).
        let seconds = u32::from_be_bytes(fixed.get(4..8)?.try_into().ok()?);
        ttl = ttl.min(if seconds > i32::MAX.unsigned_abs() { 0 } else { seconds });
        match (number(fixed, 0)?, data.len()) {
            (A, 4) => ips.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
            (AAAA, 16) => ips.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            _ => {}
        }
        if ips.len() == MOST {
            break;
        }
    }
    (!ips.is_empty()).then_some(Told { name, ips, ttl })
}

/// A name that is written out, as text. None for one that no policy can name.
fn read_name(bytes: &[u8]) -> Option<String> {
    let (mut name, mut at) = (String::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some(name);
        }
        let label = bytes.get(at + 1..at + 1 + length).filter(|_| length < 64)?;
        if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += 1 + length;
        if at > 255 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(records: &[(&[u8], u16, u32, &[u8])]) -> Vec<u8> {
        let mut packet = vec![0, 1, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        packet.extend(b"\x03WWW\x07example\x03com\x00\x00\x01\x00\x01");
        for (name, kind, ttl, data) in records {
            packet.extend_from_slice(name);
            packet.extend(kind.to_be_bytes());
            packet.extend([0, 1]);
            packet.extend(ttl.to_be_bytes());
            packet.extend((data.len() as u16).to_be_bytes());
            packet.extend_from_slice(data);
        }
        packet
    }

    const POINTER: &[u8] = &[0xc0, 0x0c];

    #[test]
    fn where_a_name_leads() {
        let six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let packet = answer(&[
            (POINTER, 5, 60, b"\x01a\xc0\x10"),
            (b"\x01a\xc0\x10", 1, 300, &[192, 0, 2, 1]),
            (b"\x01a\xc0\x10", 28, 300, &six),
        ]);
        let want = Told {
            name: "www.example.com".into(),
            ips: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ttl: 60,
        };
        assert_eq!(told(&packet), Some(want));
        assert_eq!(told(&answer(&[(POINTER, 1, 1 << 31, &[192, 0, 2, 1])])).unwrap().ttl, 0);
    }

    #[test]
    fn what_tells_nothing() {
        let good = answer(&[(POINTER, 1, 60, &[192, 0, 2, 1])]);
        for end in 0..good.len() {
            assert_eq!(told(&good[..end]), None, "cut at {end}");
        }
        let with = |place: usize, byte: u8| {
            let mut packet = good.clone();
            packet[place] = byte;
            told(&packet)
        };
        assert_eq!(with(2, 0x01), None, "a question");
        assert_eq!(with(3, 0x83), None, "no such name");
        assert_eq!(with(13, b'*'), None, "a name that no policy can name");
        assert_eq!(told(&answer(&[(POINTER, 16, 60, b"text")])), None);
    }

    #[test]
    fn many_addresses_are_cut() {
        let mut packet = answer(&[]);
        packet[6..8].copy_from_slice(&1000u16.to_be_bytes());
        for n in 0..1000u16 {
            packet.extend_from_slice(POINTER);
            packet.extend([0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0]);
            packet.extend(n.to_be_bytes());
        }
        assert_eq!(told(&packet).unwrap().ips.len(), MOST);
    }
}
