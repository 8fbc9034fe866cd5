//! The cluster's CA while the controller runs: its roots take turns, by themselves and when asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wire::local::{AuthorityStatus, OldRoot};

use super::shared::Shared;
use crate::Error;
use crate::clock::seconds;
use crate::pki::{Authority, fingerprint, follows};

/// Between two looks, at most: a clock that is set says nothing.
const LOOK: Duration = Duration::from_secs(3600);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(60);

/// Makes the next root when it is due, and drops those that no longer matter, for as long as this controller leads.
pub(crate) async fn keep(shared: Arc<Shared>) {
    loop {
        shared.elected().await;
        let turned = turn(&shared);
        let pause = match &turned {
            Ok(()) => shared.authority().pause(SystemTime::now()).min(LOOK),
            Err(error) => {
                tracing::error!(%error, "the cluster's CA could not be renewed yet");
                PAUSE
            }
        };
        let mut rooted = shared.rooted.subscribe();
        tokio::select! {
            () = shared.stopped() => return,
            () = shared.deposed() => {}
            _ = rooted.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn turn(shared: &Shared) -> Result<(), Error> {
    retire(shared, false)?;
    if shared.authority().rotate_at() <= SystemTime::now() {
        rotate(shared)?;
    }
    Ok(())
}

/// Goes over to the next root.
pub(crate) fn rotate(shared: &Shared) -> Result<(), Error> {
    let _turn = shared.turning.lock().expect("no panic while the CA is replaced");
    let next = shared.authority().rotate(SystemTime::now())?;
    let root = hex(&fingerprint(&next.roots()[0]));
    shared.set_authority(next)?;
    tracing::info!(root, "the cluster's CA has a new root; the old one still counts");
    Ok(())
}

/// Drops the roots that no longer matter, or all but the newest.
pub(crate) fn retire(shared: &Shared, all: bool) -> Result<(), Error> {
    let _turn = shared.turning.lock().expect("no panic while the CA is replaced");
    if let Some(next) = shared.authority().retire(SystemTime::now(), all)? {
        shared.set_authority(next)?;
        tracing::info!("old roots of the cluster's CA were dropped");
    }
    Ok(())
}

/// Takes over what the state directory has. Returns whether it does not follow from what we have.
pub(crate) fn reload(shared: &Shared) -> Result<bool, Error> {
    let _turn = shared.turning.lock().expect("no panic while the CA is replaced");
    let options = &shared.options;
    let (ours, now) = (shared.authority(), SystemTime::now());
    let next = Authority::open(&options.state_dir, shared.name(), options.lifetimes.clone(), now)?;
    if next.roots() == ours.roots() {
        return Ok(false);
    }
    if !follows(ours.roots(), next.roots(), next.crosses()) {
        return Ok(true);
    }
    shared.set_authority(next)?;
    tracing::info!("the cluster's CA is as another controller has left it");
    Ok(false)
}

/// A CA for the operator's eyes.
pub(crate) fn status(authority: &Authority) -> AuthorityStatus {
    let mut fingerprints = authority.roots().iter().map(|root| hex(&fingerprint(root)));
    let root = fingerprints.next().unwrap_or_default();
    let old = fingerprints.zip(authority.ends());
    AuthorityStatus {
        root,
        rotate_at: seconds(authority.rotate_at()),
        old: old.map(|(root, end)| OldRoot { root, until: seconds(end) }).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
