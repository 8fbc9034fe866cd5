//! Sealing and opening data messages, in place.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::message::Data;

/// Bytes before the packet in a data message.
pub const HEADER_LEN: usize = 16;
/// Bytes after the (padded) packet in a data message.
pub const TAG_LEN: usize = 16;

/// The length to which a packet of `len` bytes is padded: a multiple of 16, but never more than the MTU, as an
/// outer packet sized for the MTU must still fit.
#[inline]
pub fn padded(len: usize, mtu: usize) -> usize {
    if len >= mtu { len } else { len.next_multiple_of(16).min(mtu) }
}

/// The two keys of a session. Shared between the threads that move packets; knows no counters of its own.
pub struct TransportKeys {
    seal: LessSafeKey,
    open: LessSafeKey,
    receiver: u32,
}

impl TransportKeys {
    /// `receiver` is the other side's number for the session.
    pub(crate) fn new(seal: &[u8; 32], open: &[u8; 32], receiver: u32) -> Self {
        let key = |bytes| {
            let key =
                UnboundKey::new(&CHACHA20_POLY1305, bytes).expect("a ChaCha20-Poly1305 key is 32 bytes");
            LessSafeKey::new(key)
        };
        Self { seal: key(seal), open: key(open), receiver }
    }

    /// Makes a data message in place: `datagram` is room for the header, the packet with its padding, and room for
    /// the tag. `counter` must have come from [`crate::Device::handle_outbound`], and be used once.
    #[inline]
    pub fn seal(&self, counter: u64, datagram: &mut [u8]) {
        let (header, rest) = datagram.split_at_mut(HEADER_LEN);
        let (packet, tag) = rest.split_at_mut(rest.len() - TAG_LEN);
        header.copy_from_slice(&Data { receiver: self.receiver, counter }.encode());
        self.seal
            .seal_in_place_scatter(nonce(counter), Aad::empty(), packet, &[], tag)
            .expect("sealing fails only for packets of 256 GiB");
    }

    /// Opens the data message with this counter in place, and gives the packet with its padding; none if it is
    /// forged.
    #[inline]
    pub fn open<'a>(&self, counter: u64, datagram: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let body = datagram.get_mut(HEADER_LEN..)?;
        self.open.open_in_place(nonce(counter), Aad::empty(), body).ok()
    }
}

impl std::fmt::Debug for TransportKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransportKeys").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

#[inline]
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_stops_at_the_mtu() {
        let cases = [(0, 1420, 0), (1, 1420, 16), (16, 1420, 16), (1409, 1420, 1420), (1420, 1420, 1420)];
        for (len, mtu, expected) in cases.into_iter().chain([(1500, 1420, 1500), (1300, 1420, 1312)]) {
            assert_eq!(padded(len, mtu), expected, "{len} of {mtu}");
        }
    }

    #[test]
    fn what_is_sealed_opens_once_unchanged() {
        let (a, b) = ([1; 32], [2; 32]);
        let (here, there) = (TransportKeys::new(&a, &b, 7), TransportKeys::new(&b, &a, 8));
        for len in [0, 16, 1420] {
            let mut datagram = vec![9u8; HEADER_LEN + len + TAG_LEN];
            here.seal(5, &mut datagram);
            assert_eq!(Data::parse(&datagram), Some(Data { receiver: 7, counter: 5 }));
            let mut forged = datagram.clone();
            *forged.last_mut().unwrap() ^= 1;
            assert!(there.open(5, &mut forged).is_none());
            assert!(there.open(6, &mut datagram.clone()).is_none());
            assert_eq!(there.open(5, &mut datagram).unwrap(), vec![9; len]);
        }
        assert!(there.open(0, &mut [0; 31]).is_none());
        assert!(there.open(0, &mut [0; 3]).is_none());
    }
}
