//! A private key and the certificate that goes with it, replaceable while running.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use rcgen::KeyPair;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Error;

/// A private key of our own. It never leaves the machine, and is never printed.
pub(crate) struct Key(KeyPair);

impl Key {
    /// Makes a key (ECDSA, P-256).
    pub(crate) fn generate() -> Result<Self, Error> {
        KeyPair::generate().map(Self).map_err(|e| Error::Crypto(e.to_string()))
    }

    /// Reads PEM.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, String> {
        KeyPair::from_pem(pem).map(Self).map_err(|e| e.to_string())
    }

    /// Reads PEM with one key after the other.
    pub(crate) fn all_from_pem(pem: &str) -> Result<Vec<Self>, String> {
        let begins: Vec<usize> = pem.match_indices("-----BEGIN ").map(|(at, _)| at).collect();
        if begins.is_empty() {
            return Err("no key in it".into());
        }
        let ends = begins.iter().skip(1).copied().chain([pem.len()]);
        begins.iter().zip(ends).map(|(begin, end)| Self::from_pem(&pem[*begin..end])).collect()
    }

    /// PEM, to be stored where only the owner reads.
    pub(crate) fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// A request for a certificate (PKCS #10): the public key, with proof that we have the private one.
    pub(crate) fn request(&self) -> Result<Vec<u8>, Error> {
        rcgen::CertificateParams::default()
            .serialize_request(&self.0)
            .map(|csr| csr.der().to_vec())
            .map_err(|e| Error::Crypto(e.to_string()))
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.0
    }
}

/// A key with its certificate and those to send along.
pub(crate) struct Leaf {
    certified: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Leaf {
    /// Joins a key with its certificate, and with those to send along.
    pub(crate) fn new(
        key: &Key,
        leaf: CertificateDer<'static>,
        rest: &[CertificateDer<'static>],
    ) -> Result<Self, Error> {
        let (not_before, not_after) = validity(&leaf).ok_or_else(|| Error::Crypto("no validity".into()))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.0.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(private)
            .map_err(|e| Error::Crypto(e.to_string()))?;
        let chain = std::iter::once(leaf).chain(rest.iter().cloned()).collect();
        let certified = CertifiedKey::new(chain, signer);
        certified.keys_match().map_err(|e| Error::Crypto(e.to_string()))?;
        Ok(Self { certified: Arc::new(certified), not_before, not_after })
    }

    #[cfg(test)]
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// How long until it should be renewed: at half of its life.
    pub(crate) fn renew_in(&self) -> Duration {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let when = self.not_before + life / 2;
        when.duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// Whether it is valid now.
    pub(crate) fn is_valid(&self) -> bool {
        (self.not_before..=self.not_after).contains(&SystemTime::now())
    }
}

/// From when to when a certificate is valid.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let at = |time: x509_parser::time::ASN1Time| {
        Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).ok()?))
    };
    Some((at(parsed.validity().not_before)?, at(parsed.validity().not_after)?))
}

/// What handshakes prove us with: the current leaf.
#[derive(Debug, Default)]
pub(crate) struct Credentials(ArcSwapOption<CertifiedKey>);

impl Credentials {
    /// From now on handshakes use this.
    pub(crate) fn set(&self, leaf: &Leaf) {
        self.0.store(Some(leaf.certified.clone()));
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}
