//! The four messages on the wire: which bytes are what. Nothing is verified here but shape.

/// Bytes of a handshake initiation.
pub const INITIATION_LEN: usize = 148;
/// Bytes of a handshake response.
pub const RESPONSE_LEN: usize = 92;
/// Bytes of a cookie reply.
pub const COOKIE_LEN: usize = 64;
/// Bytes a data message has besides the (padded) packet: header and tag.
pub const DATA_OVERHEAD: usize = 32;

pub(crate) const INITIATION: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const COOKIE: u8 = 3;
pub(crate) const DATA: u8 = 4;

/// A datagram of the right shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// "Let us make keys."
    Initiation(Initiation<'a>),
    /// "Let us."
    Response(Response<'a>),
    /// "I am busy; prove that you are where you say."
    Cookie(CookieReply<'a>),
    /// A packet.
    Data(Data),
}

/// A handshake initiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initiation<'a> {
    /// The initiator's number for the session to be.
    pub sender: u32,
    /// The Noise message.
    pub noise: &'a [u8; 108],
}

/// A handshake response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The responder's number for the session to be.
    pub sender: u32,
    /// The number the initiator gave.
    pub receiver: u32,
    /// The Noise message.
    pub noise: &'a [u8; 48],
}

/// A cookie reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieReply<'a> {
    /// The sender's number in the message that is answered.
    pub receiver: u32,
    /// The nonce under which the cookie is sealed.
    pub nonce: &'a [u8; 24],
    /// The sealed cookie.
    pub sealed: &'a [u8; 32],
}

/// The header of a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// The receiver's number for the session.
    pub receiver: u32,
    /// The packet's number in the session.
    pub counter: u64,
}

impl<'a> Message<'a> {
    /// What this datagram is; none if it is not WireGuard's.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        // Three reserved bytes follow the type; everybody sends zeroes and Linux insists on them.
        match (datagram.first_chunk::<4>()?, datagram.len()) {
            ([INITIATION, 0, 0, 0], INITIATION_LEN) => Some(Self::Initiation(Initiation {
                sender: number(datagram, 4)?,
                noise: datagram[8..].first_chunk()?,
            })),
            ([RESPONSE, 0, 0, 0], RESPONSE_LEN) => Some(Self::Response(Response {
                sender: number(datagram, 4)?,
                receiver: number(datagram, 8)?,
                noise: datagram[12..].first_chunk()?,
            })),
            ([COOKIE, 0, 0, 0], COOKIE_LEN) => Some(Self::Cookie(CookieReply {
                receiver: number(datagram, 4)?,
                nonce: datagram[8..].first_chunk()?,
                sealed: datagram[32..].first_chunk()?,
            })),
            ([DATA, 0, 0, 0], DATA_OVERHEAD..) => Data::parse(datagram).map(Self::Data),
            _ => None,
        }
    }
}

impl Data {
    /// The header of a datagram that may be a data message; none if it is something else. This is the fast path's
    /// parser.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let header = datagram.first_chunk::<16>()?;
        if header[..4] != [DATA, 0, 0, 0] || datagram.len() < DATA_OVERHEAD {
            return None;
        }
        Some(Self {
            receiver: u32::from_le_bytes(header[4..8].try_into().expect("4 bytes")),
            counter: u64::from_le_bytes(header[8..16].try_into().expect("8 bytes")),
        })
    }

    /// The header's bytes.
    #[inline]
    pub fn encode(&self) -> [u8; 16] {
        let mut header = [0; 16];
        header[0] = DATA;
        header[4..8].copy_from_slice(&self.receiver.to_le_bytes());
        header[8..16].copy_from_slice(&self.counter.to_le_bytes());
        header
    }
}

fn number(datagram: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*datagram.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_right_shape_is_a_message() {
        let shaped = |kind: u8, len: usize| {
            let mut bytes = vec![7; len];
            bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
            bytes
        };
        let good = [(1, 148), (2, 92), (3, 64), (4, 32), (4, 33), (4, 1500)];
        for (kind, len) in good {
            assert!(Message::parse(&shaped(kind, len)).is_some(), "{kind} of {len}");
            let mut dirty = shaped(kind, len);
            dirty[2] = 1;
            assert!(Message::parse(&dirty).is_none(), "{kind} of {len}, reserved byte set");
        }
        let bad = [(0, 148), (1, 147), (1, 149), (2, 91), (2, 93), (3, 63), (3, 65), (4, 31), (5, 64)];
        for (kind, len) in bad {
            assert!(Message::parse(&shaped(kind, len)).is_none(), "{kind} of {len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..6) {
            let mut bytes = bytes;
            let _ = Message::parse(&bytes);
            if let Some(head) = bytes.first_chunk_mut::<4>() {
                *head = [kind, 0, 0, 0];
            }
            if let Some(Message::Data(data)) = Message::parse(&bytes) {
                prop_assert_eq!(&data.encode()[..], &bytes[..16]);
            }
        }
    }
}
