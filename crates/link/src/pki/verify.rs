//! The verifiers that every handshake goes through. DNS names mean nothing here; identities do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use model::ClusterName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Identity, Trust, fingerprint, validity};

/// Why a certificate was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It has no name of ours, or more than one.
    #[error("its certificate names nobody of Causeway's")]
    Nameless,
    /// It names a cluster that is not linked.
    #[error("its certificate names {identity}, but cluster {} is not linked here", identity.cluster())]
    NotLinked {
        /// Whom it names.
        identity: Identity,
    },
    /// It names a cluster whose CA did not sign it.
    #[error("its certificate names {identity}, but the CA of {} does not vouch for it: {detail}", identity.cluster())]
    NotVouched {
        /// Whom it names.
        identity: Identity,
        /// What the check of the chain says.
        detail: String,
    },
    /// It names somebody rightly, but not at this time.
    #[error(
        "its certificate names {identity}, but {detail}; check the clocks on both sides, or let it join again"
    )]
    NotNow {
        /// Whom it names.
        identity: Identity,
        /// Since when not, or from when on.
        detail: String,
    },
    /// It is somebody else than was dialled.
    #[error("its certificate names {got}, expected {want}; check the address")]
    SomebodyElse {
        /// Whom it names.
        got: Identity,
        /// Who was expected.
        want: Identity,
    },
    /// Its CA is not the one in the token.
    #[error("its CA is not the one that made the token; the token is of another or an older controller")]
    NotPinned,
}

impl Untrusted {
    /// The cause of a failed handshake, if it is one of these.
    pub(crate) fn of(error: &std::io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }
}

impl From<Untrusted> for rustls::Error {
    fn from(untrusted: Untrusted) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted))))
    }
}

/// Who may be at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Anybody of a cluster that is linked, or nobody: a server's view of its clients.
    Anyone(Lapsed),
    /// The controller of a cluster whose roots are known.
    Controller(ClusterName),
    /// The controller of a cluster of which only a root's fingerprint is known: from a token.
    Pinned(ClusterName, [u8; 32]),
}

/// Whose certificate may be past its end, and by how much: it is good for nothing but to be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lapsed {
    /// The nodes of this cluster.
    pub(crate) cluster: ClusterName,
    /// For so long.
    pub(crate) grace: Duration,
}

impl Lapsed {
    /// The time to check such a certificate at.
    fn check_at(&self, identity: &Identity, leaf: &CertificateDer<'_>, now: UnixTime) -> Option<UnixTime> {
        let Identity::Node(node) = identity else { return None };
        let end = validity(leaf)?.1.duration_since(UNIX_EPOCH).ok()?;
        let late = Duration::from_secs(now.as_secs()).checked_sub(end)?;
        (node.cluster == self.cluster && late <= self.grace).then_some(UnixTime::since_unix_epoch(end))
    }
}

/// Checks certificates against the pinned roots of the cluster they name.
pub(crate) struct Verifier {
    trust: Arc<Trust>,
    expect: Expect,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(crate) fn new(trust: Arc<Trust>, expect: Expect, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { trust, expect, algorithms }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        usage: webpki::KeyUsage,
    ) -> Result<(), Untrusted> {
        let identity = identity_of(leaf)?;
        let want = match &self.expect {
            Expect::Anyone(_) => None,
            Expect::Controller(cluster) | Expect::Pinned(cluster, _) => {
                Some(Identity::Controller(cluster.clone()))
            }
        };
        if let Some(want) = want.filter(|want| *want != identity) {
            return Err(Untrusted::SomebodyElse { got: identity, want });
        }
        let now = match &self.expect {
            Expect::Anyone(lapsed) => lapsed.check_at(&identity, leaf, now).unwrap_or(now),
            Expect::Controller(_) | Expect::Pinned(..) => now,
        };
        let check = Check { algorithms: &self.algorithms, rest, now, usage };
        match &self.expect {
            Expect::Pinned(_, pin) => {
                let root = rest.iter().find(|c| fingerprint(c) == *pin).ok_or(Untrusted::NotPinned)?;
                check.vouched(leaf, std::slice::from_ref(root), identity)
            }
            Expect::Anyone(_) | Expect::Controller(_) => match self.trust.roots(identity.cluster()) {
                Some(roots) => check.vouched(leaf, &roots, identity),
                None => Err(Untrusted::NotLinked { identity }),
            },
        }
    }
}

/// Checks a certificate that was just issued to us. Returns whom it names.
pub(crate) fn check_leaf(
    leaf: &CertificateDer<'_>,
    roots: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<Identity, Untrusted> {
    let identity = identity_of(leaf)?;
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let usage = webpki::KeyUsage::client_auth();
    let check = Check { algorithms: &algorithms, rest: &[], now, usage };
    check.vouched(leaf, roots, identity.clone())?;
    Ok(identity)
}

/// The one identity in a certificate.
pub(crate) fn identity_of(leaf: &CertificateDer<'_>) -> Result<Identity, Untrusted> {
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| Untrusted::Nameless)?;
    let mut names = leaf.valid_uri_names();
    match (names.next().and_then(Identity::parse), names.next()) {
        (Some(identity), None) => Ok(identity),
        _ => Err(Untrusted::Nameless),
    }
}

/// How a certificate is checked.
struct Check<'a> {
    algorithms: &'a WebPkiSupportedAlgorithms,
    /// What came with it.
    rest: &'a [CertificateDer<'a>],
    now: UnixTime,
    usage: webpki::KeyUsage,
}

impl Check<'_> {
    /// Checks that one of `roots` vouches for the certificate, for this use and this time: it has signed it, or has
    /// signed for the root that did.
    fn vouched(
        self,
        leaf: &CertificateDer<'_>,
        roots: &[CertificateDer<'_>],
        identity: Identity,
    ) -> Result<(), Untrusted> {
        let anchors: Vec<_> = roots.iter().filter_map(|r| webpki::anchor_from_trusted_cert(r).ok()).collect();
        let verified = webpki::EndEntityCert::try_from(leaf).and_then(|leaf| {
            let algorithms = self.algorithms.all;
            leaf.verify_for_usage(algorithms, &anchors, self.rest, self.now, self.usage, None, None)
                .map(|_| ())
        });
        verified.map_err(|e| match e {
            webpki::Error::CertExpired { time, not_after } => {
                let ago = time.as_secs().saturating_sub(not_after.as_secs());
                Untrusted::NotNow { identity, detail: format!("it expired {ago} s ago") }
            }
            webpki::Error::CertNotValidYet { time, not_before } => {
                let wait = not_before.as_secs().saturating_sub(time.as_secs());
                Untrusted::NotNow { identity, detail: format!("it is valid only in {wait} s") }
            }
            e => Untrusted::NotVouched { identity, detail: e.to_string() },
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("expect", &self.expect).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now, webpki::KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// Who joins has no certificate yet; what may be asked without one is the service's to decide.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now, webpki::KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
