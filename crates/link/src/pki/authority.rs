//! A cluster's own CA.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use model::ClusterName;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::root::{self, certifies, key_of};
use super::{Identity, Key, Leaf, Roots};
use crate::{Error, files};

/// A certificate is valid from this part of its life before it is issued, for clocks that are behind.
const BACKDATED: u32 = 24;

const KEY: &str = "ca.key";
const ROOTS: &str = "ca.crt";
const CROSSES: &str = "ca-cross.crt";

/// How long what a CA makes is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    /// A certificate; it is renewed at half of that.
    pub certificate: Duration,
    /// A root.
    pub root: Duration,
    /// How old a root becomes before the next one takes its place.
    pub rotate_after: Duration,
    /// How long a root still counts when the next one has taken its place and everything it had signed has expired;
    /// and how long after its end a node's certificate can still be renewed.
    pub grace: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Lifetimes {
    fn default() -> Self {
        Self { certificate: DAY, root: DAY * 3650, rotate_after: DAY * 1825, grace: DAY * 30 }
    }
}

/// Signs the certificates of one cluster.
pub(crate) struct Authority {
    pub(super) cluster: ClusterName,
    pub(super) dir: PathBuf,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Those that others are to trust, newest first.
    pub(super) roots: Roots,
    /// By each of these an older root vouches for a newer one's key, newest first.
    pub(super) crosses: Roots,
    pub(super) lifetimes: Lifetimes,
}

impl Authority {
    /// Loads the CA in `dir`, or makes one.
    pub(crate) fn open(
        dir: &Path,
        cluster: &ClusterName,
        lifetimes: Lifetimes,
        now: SystemTime,
    ) -> Result<Self, Error> {
        files::make_dir(dir)?;
        let (key_path, root_path) = (dir.join(KEY), dir.join(ROOTS));
        let (key, roots, crosses) = match (files::read(&key_path)?, files::read(&root_path)?) {
            (Some(keys), Some(roots)) => {
                let damaged = |path: &PathBuf, detail: String| Error::Damaged {
                    path: path.clone(),
                    detail,
                    advice: "restore it from a backup; without it every node and link has to join again",
                };
                let keys =
                    Key::all_from_pem(&String::from_utf8_lossy(&keys)).map_err(|e| damaged(&key_path, e))?;
                let roots = from_pem(&roots).map_err(|e| damaged(&root_path, e))?;
                // Without these, only who missed a whole rotation has to join again.
                let crosses = files::read(&dir.join(CROSSES))?.map(|bytes| from_pem(&bytes));
                let crosses = crosses.unwrap_or_else(|| Ok(Roots::new())).unwrap_or_else(|detail| {
                    tracing::warn!(file = CROSSES, %detail, "not usable; who misses a new root has to join again");
                    Roots::new()
                });
                let several = keys.len() > 1;
                let key = check(&roots, keys, cluster).map_err(|detail| damaged(&root_path, detail))?;
                if several {
                    // A rotation did not come to its end; with the certificate it was done, or never begun.
                    files::write(&key_path, key.to_pem().as_bytes())?;
                }
                (key, roots, crosses)
            }
            (None, None) => {
                let key = Key::generate()?;
                let root = root::make(cluster, &key, lifetimes.root, now)?;
                // The certificate last: with it the pair is complete.
                files::write(&key_path, key.to_pem().as_bytes())?;
                files::write(&root_path, pem(&root).as_bytes())?;
                (key, vec![root], Roots::new())
            }
            (Some(_), None) => {
                // A crash between the two files of the very first start; nothing was issued yet.
                std::fs::remove_file(&key_path).map_err(|source| Error::File {
                    attempt: "remove",
                    path: key_path,
                    source,
                })?;
                return Self::open(dir, cluster, lifetimes, now);
            }
            (None, Some(_)) => {
                return Err(Error::Damaged {
                    path: key_path,
                    detail: "the CA's key is missing, its certificate is there".into(),
                    advice: "restore the key from a backup, or remove both and let every node and link join again",
                });
            }
        };
        Self::with(dir, cluster, lifetimes, key, roots, crosses)
    }

    fn with(
        dir: &Path,
        cluster: &ClusterName,
        lifetimes: Lifetimes,
        key: Key,
        roots: Roots,
        crosses: Roots,
    ) -> Result<Self, Error> {
        let issuer =
            Issuer::from_ca_cert_der(&roots[0], key.into_pair()).map_err(|e| Error::Crypto(e.to_string()))?;
        let crosses = useful(&roots, crosses);
        Ok(Self { cluster: cluster.clone(), dir: dir.into(), issuer, roots, crosses, lifetimes })
    }

    /// Keeps a new key with its roots: a crash leaves the old or the new.
    pub(super) fn replaced(&self, key: Key, roots: Roots, crosses: Roots) -> Result<Self, Error> {
        let both = format!("{}{}", key.to_pem(), self.issuer.key().serialize_pem());
        files::write(&self.dir.join(KEY), both.as_bytes())?;
        files::write(&self.dir.join(CROSSES), all_pem(&crosses).as_bytes())?;
        files::write(&self.dir.join(ROOTS), all_pem(&roots).as_bytes())?;
        files::write(&self.dir.join(KEY), key.to_pem().as_bytes())?;
        Self::with(&self.dir, &self.cluster, self.lifetimes.clone(), key, roots, crosses)
    }

    /// Keeps fewer roots for the same key.
    pub(super) fn reduced(&self, roots: Roots) -> Result<Self, Error> {
        files::write(&self.dir.join(ROOTS), all_pem(&roots).as_bytes())?;
        let key = Key::from_pem(&self.issuer.key().serialize_pem()).map_err(Error::Crypto)?;
        Self::with(&self.dir, &self.cluster, self.lifetimes.clone(), key, roots, self.crosses.clone())
    }

    /// The roots that others are to trust, newest first.
    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// By each of these an older root vouches for a newer one's key.
    pub(crate) fn crosses(&self) -> &Roots {
        &self.crosses
    }

    /// A key and certificate for the controller itself. With it go the roots, so that somebody who knows only the
    /// fingerprint of one can follow, and what leads from an older root to the newest.
    pub(crate) fn own_leaf(&self, now: SystemTime) -> Result<Leaf, Error> {
        let key = Key::generate()?;
        let identity = Identity::Controller(self.cluster.clone());
        let leaf = self.issue(&identity, key.pair(), self.lifetimes.certificate, now)?;
        let rest: Roots = self.crosses.iter().chain(&self.roots).cloned().collect();
        Leaf::new(&key, leaf, &rest)
    }

    /// A certificate for the public key in a signing request. Nothing else of the request counts. It is valid for
    /// `lifetime`, if that is shorter than what is usual.
    pub(crate) fn sign(
        &self,
        identity: &Identity,
        request: &[u8],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, SignError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|e| SignError::Request(e.to_string()))?;
        let lifetime = lifetime.min(self.lifetimes.certificate);
        self.issue(identity, &request.public_key, lifetime, now).map_err(SignError::Ours)
    }

    fn issue(
        &self,
        identity: &Identity,
        key: &impl PublicKeyData,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = identity.to_string().try_into().map_err(|e: rcgen::Error| Error::Crypto(e.to_string()))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.not_before = (now - lifetime / BACKDATED).into();
        params.not_after = (now + lifetime).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(identity, Identity::Controller(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer).map_err(|e| Error::Crypto(e.to_string()))?;
        Ok(certificate.der().clone())
    }
}

/// Why a request was not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("the signing request does not parse or is not signed by its own key: {0}")]
    Request(String),
    #[error(transparent)]
    Ours(Error),
}

/// Those crosses that lead to the newest root, in as many steps as it takes.
fn useful(roots: &Roots, crosses: Roots) -> Roots {
    let (mut kept, mut rest) = (Roots::new(), crosses);
    let mut wanted = vec![roots[0].clone()];
    while let Some(newer) = wanted.pop() {
        let leads = |cross: &CertificateDer<'static>| key_of(cross) == key_of(&newer);
        let (found, others): (Roots, Roots) = rest.into_iter().partition(leads);
        rest = others;
        for cross in found {
            // Whose key has signed it is wanted next: that of a root, or of another cross.
            let signer = |by: &&CertificateDer<'static>| certifies(by, &cross);
            wanted.extend(rest.iter().find(signer).cloned());
            kept.push(cross);
        }
    }
    kept
}

/// Checks that the newest root is of this cluster. Returns the key that goes with it.
fn check(roots: &Roots, keys: Vec<Key>, cluster: &ClusterName) -> Result<Key, String> {
    let root = roots.first().ok_or("no certificate in it")?;
    let (_, parsed) = x509_parser::parse_x509_certificate(root).map_err(|e| e.to_string())?;
    let public = &parsed.public_key().subject_public_key.data;
    let mut keys = keys.into_iter();
    let key = keys
        .find(|key| **public == *key.pair().public_key_raw())
        .ok_or("it does not go with the key in ca.key")?;
    let subject = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    if subject != Some(&root::common_name(cluster)) {
        return Err(format!("it is the CA of {:?}, not of {cluster}", subject.unwrap_or_default()));
    }
    Ok(key)
}

fn from_pem(text: &[u8]) -> Result<Roots, String> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// Certificates as PEM, one after the other.
pub(crate) fn all_pem(certificates: &Roots) -> String {
    certificates.iter().map(pem).collect()
}

/// A certificate as PEM (RFC 7468).
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).expect("base64 is ASCII")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
