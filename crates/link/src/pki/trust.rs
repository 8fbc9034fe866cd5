//! The roots of each cluster, as pinned when it was linked. Read by every handshake, replaced while running.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use model::ClusterName;
use rustls_pki_types::CertificateDer;
use wire::{ParseError, limits};

use super::root::{certifies, key_of};

/// The roots of one cluster, newest first.
pub(crate) type Roots = Vec<CertificateDer<'static>>;

/// The SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Reads roots as another process sent them.
pub(crate) fn parse_roots(roots: Vec<Vec<u8>>) -> Result<Roots, ParseError> {
    if roots.is_empty() {
        return Err(ParseError::Missing("a cluster's root certificate"));
    }
    parse_crosses(roots)
}

/// Reads what leads from one root to another as another process sent it; there may be none.
pub(crate) fn parse_crosses(crosses: Vec<Vec<u8>>) -> Result<Roots, ParseError> {
    let count = crosses.len();
    if count > limits::ROOTS {
        return Err(ParseError::TooMany { field: "roots", count, max: limits::ROOTS });
    }
    crosses
        .into_iter()
        .map(|der| {
            if der.len() > limits::CERTIFICATE_BYTES {
                return Err(ParseError::Protobuf("a root certificate is too long".into()));
            }
            let root = CertificateDer::from(der);
            match webpki::anchor_from_trusted_cert(&root) {
                Ok(_) => Ok(root.clone()),
                Err(e) => Err(ParseError::Protobuf(format!("a root certificate does not parse: {e}"))),
            }
        })
        .collect()
}

/// Who is trusted to name what.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    bundles: ArcSwap<BTreeMap<ClusterName, Arc<Roots>>>,
}

impl Trust {
    /// Trusts these roots, and no others, for the cluster.
    pub(crate) fn set(&self, cluster: &ClusterName, roots: Roots) {
        let roots = Arc::new(roots);
        self.bundles.rcu(|bundles| {
            let mut bundles = BTreeMap::clone(bundles);
            bundles.insert(cluster.clone(), roots.clone());
            bundles
        });
    }

    /// Trusts nobody any more to be of the cluster.
    pub(crate) fn remove(&self, cluster: &ClusterName) {
        self.bundles.rcu(|bundles| {
            let mut bundles = BTreeMap::clone(bundles);
            bundles.remove(cluster);
            bundles
        });
    }

    /// The cluster's roots.
    pub(crate) fn roots(&self, cluster: &ClusterName) -> Option<Arc<Roots>> {
        self.bundles.load().get(cluster).cloned()
    }

    /// Whether a bundle that the cluster itself announces may take the place of the one that is pinned: it must differ,
    /// and each of its roots must be pinned already or follow from one that is, by the `crosses`. So nobody is moved to
    /// a stranger's roots, not even by who has stolen the cluster's certificate.
    pub(crate) fn may_follow(&self, cluster: &ClusterName, next: &Roots, crosses: &Roots) -> bool {
        self.roots(cluster).is_some_and(|pinned| *pinned != *next && follows(&pinned, next, crosses))
    }
}

/// Whether every root of `next` is one of `pinned`, or has a key that one of those vouches for.
pub(crate) fn follows(pinned: &[CertificateDer<'_>], next: &Roots, crosses: &Roots) -> bool {
    let mut believed: Vec<&CertificateDer<'_>> = pinned.iter().collect();
    let mut rest: Vec<&CertificateDer<'_>> = crosses.iter().collect();
    // Each round takes at least one, so there are no more rounds than crosses.
    loop {
        let (good, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|cross| believed.iter().any(|by| certifies(by, cross)));
        rest = others;
        if good.is_empty() {
            break;
        }
        believed.extend(good);
    }
    next.iter().all(|root| {
        pinned.contains(root)
            || key_of(root).is_some_and(|key| believed.iter().any(|by| key_of(by) == Some(key)))
    })
}
