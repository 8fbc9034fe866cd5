//! Echo messages as bytes (RFC 792, RFC 4443 §4).
//!
//! Refuses whatever is not exactly an echo message: nothing of what a stranger sends is guessed at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest payload that is sent or taken in: a jumbo frame's. A probe needs a few bytes; `ping` sends 56.
pub const MAX_PAYLOAD: usize = 9000;

pub(super) const V4_REPLY: u8 = 0;
pub(super) const V4_REQUEST: u8 = 8;
pub(super) const V6_REQUEST: u8 = 128;
pub(super) const V6_REPLY: u8 = 129;

/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;

/// The longest IPv4 header (RFC 791: 15 words) and the longest message.
pub(super) const MAX_MESSAGE: usize = 60 + HEADER + MAX_PAYLOAD;

/// An echo message somebody sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub from: IpAddr,
    /// Asked or answered.
    pub kind: Kind,
    /// Tells conversations apart.
    pub id: u16,
    /// Tells messages of a conversation apart.
    pub seq: u16,
    /// The rest; an answer repeats the request's.
    pub payload: Vec<u8>,
}

/// Asked or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An echo request.
    Request,
    /// An echo reply.
    Reply,
}

/// Why bytes are not an echo message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The IP header is cut off or says impossible things.
    #[error("the IP header is malformed")]
    Header,
    /// Fewer than eight bytes of ICMP.
    #[error("the message is cut off")]
    Short,
    /// More payload than [`MAX_PAYLOAD`].
    #[error("the payload is longer than {MAX_PAYLOAD} bytes")]
    Long,
    /// Another ICMP type, or a code that is not zero.
    #[error("not an echo message")]
    Type,
    /// The checksum is wrong.
    #[error("the checksum is wrong")]
    Checksum,
}

/// Reads what an ICMP raw socket gives: the IPv4 header and the message.
pub fn parse_v4(packet: &[u8]) -> Result<Heard, Refused> {
    let header = packet.first_chunk::<20>().ok_or(Refused::Header)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let protocol = header[9];
    if header[0] >> 4 != 4 || header_length < 20 || total < header_length || protocol != 1 {
        return Err(Refused::Header);
    }
    // Cut off: it was longer than the buffer, which takes the longest good one.
    if packet.len() < total {
        return Err(if packet.len() > MAX_MESSAGE { Refused::Long } else { Refused::Header });
    }
    let message = &packet[header_length..total];
    let from = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    if message.len() >= HEADER && checksum(message) != 0 {
        return Err(Refused::Checksum);
    }
    parse(from.into(), message, V4_REQUEST, V4_REPLY)
}

/// Reads what an ICMPv6 raw socket gives: the message alone, its checksum verified by the kernel (RFC 3542 §3.1).
pub fn parse_v6(from: Ipv6Addr, message: &[u8]) -> Result<Heard, Refused> {
    parse(from.into(), message, V6_REQUEST, V6_REPLY)
}

fn parse(from: IpAddr, message: &[u8], request: u8, reply: u8) -> Result<Heard, Refused> {
    let (&[kind, code, _, _, i, d, s, q], payload) =
        message.split_first_chunk::<HEADER>().ok_or(Refused::Short)?;
    let kind = match kind {
        kind if kind == request => Kind::Request,
        kind if kind == reply => Kind::Reply,
        _ => return Err(Refused::Type),
    };
    if code != 0 {
        return Err(Refused::Type);
    }
    if payload.len() > MAX_PAYLOAD {
        return Err(Refused::Long);
    }
    let (id, seq) = (u16::from_be_bytes([i, d]), u16::from_be_bytes([s, q]));
    Ok(Heard { from, kind, id, seq, payload: payload.into() })
}

/// An echo request for IPv4.
pub(super) fn request_v4(id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = request(V4_REQUEST, id, seq, payload);
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// An echo request for IPv6, for the kernel to put the checksum in.
pub(super) fn request_v6(id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    request(V6_REQUEST, id, seq, payload)
}

fn request(kind: u8, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(seq.to_be_bytes());
    message.extend(payload);
    message
}

/// The internet checksum (RFC 1071): 0 over a message whose checksum is right.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [a, b] => u32::from(u16::from_be_bytes([a, b])),
        [a] => u32::from(a) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet from 10.1.0.1 with a good checksum.
    fn packet(kind: u8, code: u8, payload: &[u8]) -> Vec<u8> {
        let mut message = request(kind, 0x1234, 7, payload);
        message[1] = code;
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        let total = u16::try_from(20 + message.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 1, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2];
        packet.extend(message);
        packet
    }

    fn with(mut packet: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
        packet[at] = byte;
        packet
    }

    #[test]
    fn v4() {
        let heard = |kind, payload: &[u8]| {
            let from = IpAddr::from([10, 1, 0, 1]);
            Ok(Heard { from, kind, id: 0x1234, seq: 7, payload: payload.into() })
        };
        let good = packet(V4_REQUEST, 0, b"odd");
        let cases = [
            (good.clone(), heard(Kind::Request, b"odd")),
            (packet(V4_REPLY, 0, b""), heard(Kind::Reply, b"")),
            (packet(V4_REPLY, 0, &[9; MAX_PAYLOAD]), heard(Kind::Reply, &[9; MAX_PAYLOAD])),
            // Bytes after the packet are the link's padding.
            ([good.clone(), vec![0; 4]].concat(), heard(Kind::Request, b"odd")),
            (packet(V4_REPLY, 0, &[9; MAX_PAYLOAD + 1]), Err(Refused::Long)),
            (packet(3, 0, b"unreachable"), Err(Refused::Type)),
            (packet(V4_REQUEST, 1, b""), Err(Refused::Type)),
            (with(good.clone(), 30, 0xff), Err(Refused::Checksum)),
            (with(good.clone(), 0, 0x65), Err(Refused::Header)),
            (with(good.clone(), 0, 0x44), Err(Refused::Header)),
            (with(good.clone(), 0, 0x4f), Err(Refused::Header)),
            (with(good.clone(), 9, 17), Err(Refused::Header)),
            (with(good.clone(), 3, 19), Err(Refused::Header)),
            (with(good.clone(), 3, 24), Err(Refused::Short)),
            (with(good.clone(), 3, 200), Err(Refused::Header)),
            (good[..19].into(), Err(Refused::Header)),
            (Vec::new(), Err(Refused::Header)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse_v4(&bytes), expected, "{bytes:?}");
        }
        let cut_off = &packet(V4_REPLY, 0, &[9; MAX_MESSAGE])[..MAX_MESSAGE + 1];
        assert_eq!(parse_v4(cut_off), Err(Refused::Long));
    }

    #[test]
    fn v6() {
        let from: Ipv6Addr = "fd00:1::1".parse().unwrap();
        let heard = parse_v6(from, &request_v6(9, 10, b"x")).unwrap();
        assert_eq!((heard.kind, heard.id, heard.seq, heard.payload), (Kind::Request, 9, 10, b"x".to_vec()));
        assert_eq!(parse_v6(from, &request(V6_REPLY, 9, 10, b"")).unwrap().kind, Kind::Reply);
        assert_eq!(parse_v6(from, &request(135, 9, 10, b"")), Err(Refused::Type));
        assert_eq!(parse_v6(from, &request_v6(9, 10, &[0; MAX_PAYLOAD + 1])), Err(Refused::Long));
        assert_eq!(parse_v6(from, &[V6_REQUEST; 7]), Err(Refused::Short));
    }

    #[test]
    fn what_is_sent_can_be_read() {
        for length in [0, 1, 2, 57, MAX_PAYLOAD] {
            let payload: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            assert_eq!(checksum(&request_v4(1, 2, &payload)), 0, "{length}");
        }
    }
}
