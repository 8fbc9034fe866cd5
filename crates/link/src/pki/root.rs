//! Root certificates, and how one vouches for the next.

use std::time::{Duration, SystemTime};

use model::ClusterName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use super::{Key, validity};
use crate::Error;

/// A root is valid from so long before it is made, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
/// How many authorities may stand between a root and a certificate: as many as there may be crosses. They are
/// self-issued (RFC 5280 §4.2.1.9 does not count those; webpki does).
const PATH: u8 = 7;

/// The subject of a cluster's roots.
pub(super) fn common_name(cluster: &ClusterName) -> String {
    format!("Causeway {cluster}")
}

/// A root for a key.
pub(super) fn make(
    cluster: &ClusterName,
    key: &Key,
    lifetime: Duration,
    now: SystemTime,
) -> Result<CertificateDer<'static>, Error> {
    let params = params(cluster, now, now + lifetime);
    let root = params.self_signed(key.pair()).map_err(|e| Error::Crypto(e.to_string()))?;
    Ok(root.der().clone())
}

/// The older root's word for a newer one's key ("new with old", RFC 4210 §4.4): who has pinned only the older follows
/// it to what the newer has signed.
pub(super) fn cross(
    cluster: &ClusterName,
    older: (&CertificateDer<'_>, &Issuer<'_, KeyPair>),
    newer: &impl PublicKeyData,
    now: SystemTime,
) -> Result<CertificateDer<'static>, Error> {
    let (root, issuer) = older;
    let (_, end) = validity(root).ok_or_else(|| Error::Crypto("no validity".into()))?;
    let mut params = params(cluster, now, end);
    params.use_authority_key_identifier_extension = true;
    let cross = params.signed_by(newer, issuer).map_err(|e| Error::Crypto(e.to_string()))?;
    Ok(cross.der().clone())
}

fn params(cluster: &ClusterName, now: SystemTime, end: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name(cluster));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(PATH));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - BACKDATED).into();
    params.not_after = end.into();
    params
}

/// When a root was made.
pub(super) fn made_at(root: &CertificateDer<'_>) -> Option<SystemTime> {
    validity(root).map(|(begin, _)| begin + BACKDATED)
}

/// A certificate's public key, as it stands in it; none if it does not parse.
pub(super) fn key_of<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    parsed(certificate).map(|parsed| parsed.tbs_certificate.subject_pki.raw)
}

/// Whether `issuer` has signed `certificate`, an authority's.
pub(super) fn certifies(issuer: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    let (Some(issuer), Some(certificate)) = (parsed(issuer), parsed(certificate)) else { return false };
    certificate.is_ca()
        && certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(certificate).ok().map(|(_, parsed)| parsed)
}
