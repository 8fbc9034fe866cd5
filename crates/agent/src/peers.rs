//! What peers that are no nodes depend on beside the world: the time, and where the names of their endpoints lead.
//!
//! A name that does not lead anywhere keeps nobody else waiting, and keeps where it led before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use engine::mesh::external::PeerSettings;
use model::{ClusterName, PeerHost, World};
use tokio::time::{Instant, timeout};
use tracing::warn;

/// How often a name is looked up.
const AGAIN: Duration = Duration::from_secs(60);
/// How often one that leads nowhere yet is.
const SOON: Duration = Duration::from_secs(5);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps names and the time up to date.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// When to look a name up again.
    due: BTreeMap<String, Instant>,
    found: Arc<Mutex<BTreeMap<String, IpAddr>>>,
}

impl Peers {
    /// Follows the world and the clock. Returns whether the plan depends on what is different now.
    pub(crate) fn follow(&mut self, world: &World, own: &ClusterName, settings: &mut PeerSettings) -> bool {
        let now = now();
        let mut changed = false;
        if now != settings.now {
            let was = std::mem::replace(&mut settings.now, now);
            changed |= world.peers.values().any(|peer| peer.has_expired(was) != peer.has_expired(now));
        }
        let names: BTreeSet<&String> = world
            .peers
            .values()
            .filter(|peer| peer.name.cluster == *own)
            .filter_map(|peer| match &peer.endpoint.as_ref()?.host {
                PeerHost::Dns(name) => Some(name),
                PeerHost::Ip(_) => None,
            })
            .collect();
        self.due.retain(|name, _| names.contains(name));
        for name in names {
            self.look_up(name, settings.resolved.contains_key(name));
        }
        let mut found = self.found.lock().expect("nobody panics while holding it");
        found.retain(|name, _| self.due.contains_key(name));
        if *found != settings.resolved {
            settings.resolved.clone_from(&found);
            changed = true;
        }
        changed
    }

    fn look_up(&mut self, name: &str, known: bool) {
        let at = Instant::now();
        if self.due.get(name).is_some_and(|due| *due > at) {
            return;
        }
        self.due.insert(name.into(), at + if known { AGAIN } else { SOON });
        let (found, name) = (self.found.clone(), name.to_string());
        tokio::spawn(async move {
            let addresses = match timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), 0))).await {
                Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect::<Vec<_>>(),
                Ok(Err(error)) => return warn!(name, %error, "the endpoint of a peer is not found"),
                Err(_) => return warn!(name, "the endpoint of a peer is not found in time"),
            };
            let mut found = found.lock().expect("nobody panics while holding it");
            // Where it is among several, nothing is to move.
            let stays = found.get(&name).is_some_and(|ip| addresses.contains(ip));
            if !stays && let Some(first) = addresses.first() {
                found.insert(name, *first);
            }
        });
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
