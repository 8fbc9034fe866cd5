//! The primitives `snow` calls: X25519 and ChaCha20-Poly1305 of aws-lc, BLAKE2s of RustCrypto.

use std::sync::Arc;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{UnparsedPublicKey, X25519, agree};
use blake2::{Blake2s256, Digest};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, Zeroizing};

use crate::key::{LocalKey, Statics};

/// What one handshake computes with.
pub(super) struct Resolver {
    local: Arc<LocalKey>,
    statics: Statics,
    ephemeral: Zeroizing<[u8; 32]>,
}

impl Resolver {
    /// `ephemeral` is the fresh private key of this handshake: the one random thing in it.
    pub(super) fn new(local: Arc<LocalKey>, statics: Statics, ephemeral: [u8; 32]) -> Self {
        Self { local, statics, ephemeral: Zeroizing::new(ephemeral) }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => {
                let (known, statics) = (self.local.clone(), self.statics.clone());
                Some(Box::new(Pair { known, statics, key: None }))
            }
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s(Blake2s256::new()))),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly(key_of(&[0; 32])))),
            _ => None,
        }
    }
}

/// Randomness for exactly one key.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let bytes = self.0.take().filter(|bytes| bytes.len() == dest.len()).ok_or(snow::Error::Rng)?;
        dest.copy_from_slice(bytes.as_slice());
        Ok(())
    }
}

/// A key pair; the device's own is known and not computed again.
struct Pair {
    known: Arc<LocalKey>,
    /// What the device's own key has in common with others.
    statics: Statics,
    key: Option<Arc<LocalKey>>,
}

impl Pair {
    fn key(&self) -> &LocalKey {
        self.key.as_deref().expect("snow sets or generates a key before it uses it")
    }
}

impl Dh for Pair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.key = Some(if secret == self.known.secret() {
            self.known.clone()
        } else {
            Arc::new(LocalKey::new(secret.try_into().expect("an X25519 key is 32 bytes")))
        });
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), snow::Error> {
        let mut secret = [0; 32];
        random.try_fill_bytes(&mut secret)?;
        self.key = Some(Arc::new(LocalKey::new(secret)));
        secret.zeroize();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.key().public()
    }

    fn privkey(&self) -> &[u8] {
        self.key().secret()
    }

    fn dh(&self, remote: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let remote = remote.get(..32).ok_or(snow::Error::Dh)?;
        let out = out.get_mut(..32).ok_or(snow::Error::Dh)?;
        if Arc::ptr_eq(self.key.as_ref().ok_or(snow::Error::Dh)?, &self.known)
            && let Some(shared) = self.statics.get(remote)
        {
            out.copy_from_slice(shared);
            return Ok(());
        }
        let remote = UnparsedPublicKey::new(&X25519, remote);
        agree(&self.key().key, remote, snow::Error::Dh, |shared| {
            out.copy_from_slice(shared);
            Ok(())
        })
    }
}

struct ChaChaPoly(LessSafeKey);

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = key_of(key);
    }

    fn encrypt(&self, number: u64, aad: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let (body, rest) = out.split_at_mut(plain.len());
        body.copy_from_slice(plain);
        self.0
            .seal_in_place_scatter(nonce(number), Aad::from(aad), body, &[], &mut rest[..16])
            .expect("sealing fails only for messages of 256 GiB");
        plain.len() + 16
    }

    fn decrypt(&self, number: u64, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let len = sealed.len().checked_sub(16).filter(|len| *len <= out.len()).ok_or(snow::Error::Decrypt)?;
        let (body, tag) = sealed.split_at(len);
        self.0
            .open_separate_gather(nonce(number), Aad::from(aad), body, tag, &mut out[..len])
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(len)
    }
}

fn key_of(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a ChaCha20-Poly1305 key is 32 bytes"))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}
