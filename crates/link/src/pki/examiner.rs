//! What strangers hand over, judged without a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{ClusterName, NodeName};
use rustls::server::danger::ClientCertVerifier as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use wire::ParseError;

use super::{
    Authority, Expect, Identity, Key, Lapsed, Lifetimes, Trust, Untrusted, check_leaf, follows, identity_of,
    parse_crosses, parse_roots, validity, verify,
};
use crate::Error;

/// A cluster's CA and what it trusts, with nobody around it: for who wants to know what would become of bytes that somebody
/// sends, as the fuzz targets do.
pub struct Examiner {
    authority: Authority,
    verifier: verify::Verifier,
}

impl Examiner {
    /// Opens the CA of a cluster in a folder, or makes one; the cluster is the only one that is trusted.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn open(folder: &Path, cluster: &ClusterName) -> Result<Self, Error> {
        let authority = Authority::open(folder, cluster, Lifetimes::default(), SystemTime::now())?;
        let trust = Arc::new(Trust::default());
        trust.set(cluster, authority.roots().clone());
        let lapsed = Lapsed { cluster: cluster.clone(), grace: authority.lifetimes.grace };
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let verifier = verify::Verifier::new(trust, Expect::Anyone(lapsed), algorithms);
        Ok(Self { authority, verifier })
    }

    /// The cluster's root, DER.
    pub fn root(&self) -> &[u8] {
        &self.authority.roots()[0]
    }

    /// A signing request as nodes send it, DER.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn a_request(&self) -> Result<Vec<u8>, Error> {
        Key::generate()?.request()
    }

    /// Signs a request for a node, as when it joins; gives the certificate, DER. None if the request is refused.
    pub fn sign(&self, node: &NodeName, request: &[u8]) -> Option<Vec<u8>> {
        let identity = Identity::Node(node.clone());
        let signed = self.authority.sign(&identity, request, Duration::MAX, SystemTime::now());
        signed.ok().map(|certificate| certificate.to_vec())
    }

    /// Whom a certificate proves its owner to be, in a handshake and where it was just issued to us: both have to agree.
    ///
    /// # Errors
    /// It proves nothing.
    pub fn identity(&self, certificate: &[u8]) -> Result<Identity, Untrusted> {
        let leaf = CertificateDer::from(certificate);
        // Nothing is expected of these but that they end.
        let _ = (validity(&leaf), super::fingerprint(&leaf));
        let named = identity_of(&leaf)?;
        let verified = self.verifier.verify_client_cert(&leaf, &[], UnixTime::now());
        let issued = check_leaf(&leaf, self.authority.roots(), UnixTime::now());
        match (verified, issued) {
            (Ok(_), Ok(identity)) => Ok(identity),
            (_, Err(untrusted)) => Err(untrusted),
            (Err(_), Ok(_)) => Err(Untrusted::NotLinked { identity: named }),
        }
    }

    /// Whether a bundle of roots that is announced would take the place of the cluster's own.
    ///
    /// # Errors
    /// It is no bundle.
    pub fn may_follow(&self, roots: Vec<Vec<u8>>, crosses: Vec<Vec<u8>>) -> Result<bool, ParseError> {
        let (roots, crosses) = (parse_roots(roots)?, parse_crosses(crosses)?);
        Ok(follows(self.authority.roots(), &roots, &crosses))
    }
}
