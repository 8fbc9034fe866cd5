//! A cluster's own CA.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use model::ClusterName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{Identity, Key, Leaf, Roots};
use crate::{Error, files};

/// How long a root is valid.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A certificate is valid from this part of its life before it is issued, for clocks that are behind.
const BACKDATED: u32 = 24;

/// Signs the certificates of one cluster.
pub(crate) struct Authority {
    cluster: ClusterName,
    issuer: Issuer<'static, KeyPair>,
    roots: Roots,
    lifetime: Duration,
}

impl Authority {
    /// Loads the CA in `dir`, or makes one. `lifetime` is that of the certificates it issues.
    pub(crate) fn open(dir: &Path, cluster: &ClusterName, lifetime: Duration) -> Result<Self, Error> {
        files::make_dir(dir)?;
        let (key_path, root_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        let (key, roots) = match (files::read(&key_path)?, files::read(&root_path)?) {
            (Some(key), Some(roots)) => {
                let damaged = |path: &PathBuf, detail: String| Error::Damaged {
                    path: path.clone(),
                    detail,
                    advice: "restore it from a backup; without it every node and link has to join again",
                };
                let key = Key::from_pem(&String::from_utf8_lossy(&key)).map_err(|e| damaged(&key_path, e))?;
                let roots: Roots = CertificateDer::pem_slice_iter(&roots)
                    .collect::<Result<_, _>>()
                    .map_err(|e| damaged(&root_path, e.to_string()))?;
                check(&roots, &key, cluster).map_err(|detail| damaged(&root_path, detail))?;
                (key, roots)
            }
            (None, None) => {
                let key = Key::generate()?;
                let root = make_root(cluster, &key)?;
                // The certificate last: with it the pair is complete.
                files::write(&key_path, key.to_pem().as_bytes())?;
                files::write(&root_path, pem(&root).as_bytes())?;
                (key, vec![root])
            }
            (Some(_), None) => {
                // A crash between the two files of the very first start; nothing was issued yet.
                std::fs::remove_file(&key_path).map_err(|source| Error::File {
                    attempt: "remove",
                    path: key_path,
                    source,
                })?;
                return Self::open(dir, cluster, lifetime);
            }
            (None, Some(_)) => {
                return Err(Error::Damaged {
                    path: key_path,
                    detail: "the CA's key is missing, its certificate is there".into(),
                    advice: "restore the key from a backup, or remove both and let every node and link join again",
                });
            }
        };
        let issuer =
            Issuer::from_ca_cert_der(&roots[0], key.into_pair()).map_err(|e| Error::Crypto(e.to_string()))?;
        Ok(Self { cluster: cluster.clone(), issuer, roots, lifetime })
    }

    /// The roots that others are to trust, newest first.
    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// A key and certificate for the controller itself.
    pub(crate) fn own_leaf(&self) -> Result<Leaf, Error> {
        let key = Key::generate()?;
        let identity = Identity::Controller(self.cluster.clone());
        Leaf::new(&key, self.issue(&identity, key.pair(), self.lifetime)?, &self.roots)
    }

    /// A certificate for the public key in a signing request. Nothing else of the request counts. It is valid for
    /// `lifetime`, if that is shorter than what is usual.
    pub(crate) fn sign(
        &self,
        identity: &Identity,
        request: &[u8],
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, SignError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|e| SignError::Request(e.to_string()))?;
        self.issue(identity, &request.public_key, lifetime.min(self.lifetime)).map_err(SignError::Ours)
    }

    fn issue(
        &self,
        identity: &Identity,
        key: &impl PublicKeyData,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, Error> {
        let now = SystemTime::now();
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

fn make_root(cluster: &ClusterName, key: &Key) -> Result<CertificateDer<'static>, Error> {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Causeway {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - Duration::from_secs(24 * 3600)).into();
    params.not_after = (now + ROOT_LIFETIME).into();
    let root = params.self_signed(key.pair()).map_err(|e| Error::Crypto(e.to_string()))?;
    Ok(root.der().clone())
}

/// Checks that the newest root is of this cluster and goes with the key.
fn check(roots: &Roots, key: &Key, cluster: &ClusterName) -> Result<(), String> {
    let root = roots.first().ok_or("no certificate in it")?;
    let (_, parsed) = x509_parser::parse_x509_certificate(root).map_err(|e| e.to_string())?;
    if parsed.public_key().subject_public_key.data != key.pair().public_key_raw() {
        return Err("it does not go with the key in ca.key".into());
    }
    let subject = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    if subject != Some(&format!("Causeway {cluster}")) {
        return Err(format!("it is the CA of {:?}, not of {cluster}", subject.unwrap_or_default()));
    }
    Ok(())
}

/// A certificate as PEM (RFC 7468).
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).expect("base64 is ASCII")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
