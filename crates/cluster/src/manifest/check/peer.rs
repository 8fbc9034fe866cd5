//! WireGuard clients that are no nodes.

use model::ClusterName;

use super::{At, Result, required};
use crate::index::read_peer;
use crate::manifest::peer::Peer;

pub(super) fn check(at: At<'_>, peer: &Peer) -> Result {
    required(at, "spec")?;
    required(at, "spec.publicKey")?;
    required(at, "spec.allowedIPs")?;
    // Of which cluster it is says nothing of what may be written.
    let any = ClusterName::new("any").expect("a name");
    match read_peer(&any, peer) {
        Ok(_) => Ok(()),
        Err(refused) => Err(at.error(&refused.path, refused.what, refused.instead)),
    }
}
