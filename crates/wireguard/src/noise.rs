//! The handshake: what goes into its messages and what comes out.
//!
//! `snow` runs the Noise pattern; this file feeds it WireGuard's prologue, timestamp and pre-shared key, and takes the
//! transport keys out, so that packets can be sealed in place.

mod resolver;

use std::sync::{Arc, LazyLock};

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use self::resolver::Resolver;
use crate::key::{LocalKey, Statics};
use crate::message::{INITIATION, INITIATION_LEN, Initiation, RESPONSE, RESPONSE_LEN, Response};
use crate::time::Timestamp;
use crate::transport::TransportKeys;

const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

static PARAMS: LazyLock<NoiseParams> = LazyLock::new(|| {
    "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().expect("snow knows the pattern WireGuard uses")
});

/// A pre-shared key; all zeroes if there is none.
pub(crate) type Psk = Zeroizing<[u8; 32]>;

/// A handshake message that does not decrypt, or a key that is a point of low order.
#[derive(Debug)]
pub(crate) struct Refused;

impl From<snow::Error> for Refused {
    fn from(_: snow::Error) -> Self {
        Self
    }
}

/// An initiation of ours that waits for its response.
pub(crate) struct Initiated {
    state: HandshakeState,
}

/// Begins a handshake. The message lacks its macs.
pub(crate) fn initiate(
    local: &Arc<LocalKey>,
    statics: Statics,
    remote: &[u8; 32],
    sender: u32,
    stamp: Timestamp,
    ephemeral: [u8; 32],
) -> Result<(Initiated, [u8; INITIATION_LEN]), Refused> {
    let mut state = builder(local, statics, ephemeral)?.remote_public_key(remote)?.build_initiator()?;
    let mut message = [0; INITIATION_LEN];
    message[0] = INITIATION;
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    state.write_message(&stamp.0, &mut message[8..116])?;
    Ok((Initiated { state }, message))
}

impl Initiated {
    /// The other side agreed, by one of these pre-shared keys: which one it took shows only here. After a refusal the handshake
    /// goes on waiting: the message was not the peer's.
    pub(crate) fn finish<'a>(
        &mut self,
        response: &Response<'_>,
        psks: impl IntoIterator<Item = &'a Psk>,
    ) -> Result<TransportKeys, Refused> {
        for psk in psks {
            self.state.set_psk(2, psk.as_slice())?;
            if self.state.read_message(response.noise, &mut [0; 16]).is_ok() {
                let (seal, open) = split(&mut self.state);
                return Ok(TransportKeys::new(&seal, &open, response.sender));
            }
        }
        Err(Refused)
    }
}

/// Somebody else's initiation, decrypted: now we know who it is, and can look up the rest.
pub(crate) struct Received {
    state: HandshakeState,
    receiver: u32,
    /// The initiator's public key.
    pub(crate) remote: [u8; 32],
    /// When it says it was sent.
    pub(crate) stamp: Timestamp,
}

/// Reads an initiation.
pub(crate) fn receive(
    local: &Arc<LocalKey>,
    statics: &Statics,
    initiation: &Initiation<'_>,
    ephemeral: [u8; 32],
) -> Result<Received, Refused> {
    let mut state = builder(local, statics.clone(), ephemeral)?.build_responder()?;
    let mut payload = [0; 28];
    let len = state.read_message(initiation.noise, &mut payload)?;
    let stamp = Timestamp(*payload[..len].first_chunk().ok_or(Refused)?);
    let remote = state.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(Refused)?;
    Ok(Received { state, receiver: initiation.sender, remote, stamp })
}

impl Received {
    /// Agrees. The message lacks its macs.
    pub(crate) fn respond(
        mut self,
        psk: &Psk,
        sender: u32,
    ) -> Result<(TransportKeys, [u8; RESPONSE_LEN]), Refused> {
        self.state.set_psk(2, psk.as_slice())?;
        let mut message = [0; RESPONSE_LEN];
        message[0] = RESPONSE;
        message[4..8].copy_from_slice(&sender.to_le_bytes());
        message[8..12].copy_from_slice(&self.receiver.to_le_bytes());
        self.state.write_message(&[], &mut message[12..60])?;
        let (open, seal) = split(&mut self.state);
        Ok((TransportKeys::new(&seal, &open, self.receiver), message))
    }
}

fn builder(local: &Arc<LocalKey>, statics: Statics, ephemeral: [u8; 32]) -> Result<Builder<'_>, snow::Error> {
    let resolver = Resolver::new(local.clone(), statics, ephemeral);
    Builder::with_resolver(PARAMS.clone(), Box::new(resolver))
        .prologue(PROLOGUE)?
        .local_private_key(local.secret())
}

/// The initiator's sending key, then the responder's.
fn split(state: &mut HandshakeState) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let (first, second) = state.dangerously_get_raw_split();
    (Zeroizing::new(first), Zeroizing::new(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(byte: u8) -> Arc<LocalKey> {
        Arc::new(LocalKey::new([byte; 32]))
    }

    fn response_of(bytes: &[u8; RESPONSE_LEN]) -> Response<'_> {
        match crate::Message::parse(bytes) {
            Some(crate::Message::Response(response)) => response,
            other => panic!("not a response: {other:?}"),
        }
    }

    fn receive_bytes(local: &Arc<LocalKey>, bytes: &[u8; INITIATION_LEN]) -> Result<Received, Refused> {
        match crate::Message::parse(bytes) {
            Some(crate::Message::Initiation(initiation)) => {
                receive(local, &Statics::default(), &initiation, [4; 32])
            }
            other => panic!("not an initiation: {other:?}"),
        }
    }

    #[test]
    fn both_sides_get_the_same_keys() {
        let stamp = Timestamp::after(Duration::from_secs(1_700_000_000), None);
        // (the initiator's pre-shared keys, the responder's, whether they agree)
        let cases = [
            (vec![0], 0, true),
            (vec![5], 5, true),
            (vec![5], 6, false),
            (vec![5, 6], 6, true),
            (vec![5, 6, 0], 0, true),
            (vec![5, 6], 0, false),
            (vec![], 0, false),
        ];
        for (ours, theirs, agree) in cases {
            let psk = |byte: u8| Zeroizing::new([byte; 32]);
            let ours: Vec<Psk> = ours.into_iter().map(psk).collect();
            let (alice, bob) = (key(1), key(2));
            // Whether it was computed before makes no difference.
            let known = if agree { Statics::of(&alice, bob.public()) } else { Statics::default() };
            let (mut waiting, first) = initiate(&alice, known, bob.public(), 11, stamp, [3; 32]).unwrap();
            let received = receive_bytes(&bob, &first).unwrap();
            assert_eq!((&received.remote, received.stamp), (alice.public(), stamp));
            let (bobs, second) = received.respond(&psk(theirs), 22).unwrap();

            let mut forged = second;
            forged[40] ^= 1;
            assert!(waiting.finish(&response_of(&forged), &ours).is_err());
            let result = waiting.finish(&response_of(&second), &ours);
            assert_eq!(result.is_ok(), agree);
            let Ok(alices) = result else { continue };
            for (from, to) in [(&alices, &bobs), (&bobs, &alices)] {
                let mut datagram = [7; 64];
                from.seal(0, &mut datagram);
                assert_eq!(to.open(0, &mut datagram).unwrap(), [7; 32]);
            }
        }
    }

    #[test]
    fn nobody_else_can_read_it() {
        let stamp = Timestamp::after(Duration::from_secs(1), None);
        let (_, first) = initiate(&key(1), Statics::default(), key(2).public(), 1, stamp, [3; 32]).unwrap();
        assert!(receive_bytes(&key(9), &first).is_err());
        let mut forged = first;
        forged[100] ^= 1;
        assert!(receive_bytes(&key(2), &forged).is_err());
        // A key of low order gives no secret.
        assert!(initiate(&key(1), Statics::of(&key(1), &[0; 32]), &[0; 32], 1, stamp, [3; 32]).is_err());
    }
}
