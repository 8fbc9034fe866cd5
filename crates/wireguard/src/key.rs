//! The device's own key, ready for use.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use zeroize::Zeroizing;

/// A Curve25519 key pair. Any 32 bytes are a private key; it is clamped when used (RFC 7748).
pub struct LocalKey {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    pub(crate) key: PrivateKey,
}

impl LocalKey {
    /// From the private half.
    pub fn new(secret: [u8; 32]) -> Self {
        let key = PrivateKey::from_private_key(&X25519, &secret).expect("any 32 bytes are an X25519 key");
        let public = key.compute_public_key().expect("every X25519 key has a public half");
        let public = public.as_ref().try_into().expect("an X25519 public key is 32 bytes");
        Self { secret: Zeroizing::new(secret), public, key }
    }

    /// The public half.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The private half.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// What our key and peers' keys have in common, by the peer's public key: half of what a responder computes for an
/// initiation does not depend on it, and is computed once for each peer.
#[derive(Clone, Default)]
pub(crate) struct Statics(Arc<BTreeMap<[u8; 32], Zeroizing<[u8; 32]>>>);

impl Statics {
    /// Of one peer.
    #[cfg(test)]
    pub(crate) fn of(local: &LocalKey, remote: &[u8; 32]) -> Self {
        let mut this = Self::default();
        this.add(local, remote);
        this
    }

    /// Of one more peer. Nothing is kept of a key that is a point of low order: no handshake will succeed with it.
    pub(crate) fn add(&mut self, local: &LocalKey, remote: &[u8; 32]) {
        let agreed = agree(&local.key, UnparsedPublicKey::new(&X25519, remote), (), |shared| {
            shared.try_into().map(Zeroizing::new).map_err(drop)
        });
        if let Ok(shared) = agreed {
            Arc::make_mut(&mut self.0).insert(*remote, shared);
        }
    }

    /// What is known of one peer.
    pub(crate) fn only(&self, remote: &[u8; 32]) -> Self {
        let found = self.0.get_key_value(remote).map(|(key, shared)| (*key, shared.clone()));
        Self(Arc::new(found.into_iter().collect()))
    }

    pub(crate) fn remove(&mut self, remote: &[u8; 32]) {
        Arc::make_mut(&mut self.0).remove(remote);
    }

    pub(crate) fn get(&self, remote: &[u8]) -> Option<&[u8; 32]> {
        self.0.get(remote).map(|shared| &**shared)
    }
}

impl std::fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 6.1.
    #[test]
    fn the_public_half_is_what_the_rfc_says() {
        let secret = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
            0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ];
        let public = [
            0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e, 0xf7, 0x5a,
            0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e, 0xaa, 0x9b, 0x4e, 0x6a,
        ];
        assert_eq!(LocalKey::new(secret).public(), &public);
    }
}
