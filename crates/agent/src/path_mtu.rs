//! How large packets may be on the way to each node: looked at when a node begins to answer, and again now and then. Where an
//! underlay in between carries less than this node's own does, and says nothing of it, larger ones would vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::FutureExt as _;
use kernel::icmp::EchoError;
use model::NodeName;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};
use wire::local::MtuStatus;

use crate::mtu;

/// How often a way is looked at that carries what the tunnel takes.
const WIDE_EVERY: Duration = Duration::from_secs(300);
/// And one that carries less: it may be better by now.
const NARROW_EVERY: Duration = Duration::from_secs(60);
/// As many ways are looked at at once.
const AT_ONCE: usize = 64;

/// Looks at the ways to other nodes.
#[derive(Default)]
pub(crate) struct PathMtus {
    /// When each node that answers is to be looked at again.
    due: BTreeMap<NodeName, Instant>,
    /// Bytes of the largest packet that the tunnel takes.
    mtu: u32,
    running: Option<JoinHandle<Result<MtuStatus, EchoError>>>,
    /// Nodes whose way became another one while it was looked at.
    moved: BTreeSet<NodeName>,
}

impl PathMtus {
    /// Goes on looking; `answering` are the nodes that answer through the mesh. Whether `narrow`, the nodes that less than
    /// the tunnel's MTU gets through to, with how much does, is another one now.
    pub(crate) fn poll<'a>(
        &mut self,
        interface: &str,
        mtu: u32,
        answering: impl Iterator<Item = (&'a IpAddr, &'a NodeName)>,
        narrow: &mut BTreeMap<NodeName, u32>,
    ) -> bool {
        let now = Instant::now();
        let mut changed = false;
        if std::mem::replace(&mut self.mtu, mtu) != mtu {
            // What was found was about another device.
            self.due.clear();
            self.running.take().inspect(JoinHandle::abort);
            changed |= !narrow.is_empty();
            narrow.clear();
        }
        let answering: BTreeMap<&NodeName, IpAddr> = answering.map(|(ip, name)| (name, *ip)).collect();
        // Who falls silent and comes back may do so by another way.
        self.due.retain(|name, _| answering.contains_key(name));
        if let Some(done) = self.running.as_mut().and_then(|running| running.now_or_never()) {
            self.running = None;
            match done {
                Ok(Ok(found)) => changed |= self.take(&found, now, narrow),
                Ok(Err(error)) => warn!(%error, "cannot look how large packets may be"),
                Err(error) => warn!(%error, "looking how large packets may be broke off"),
            }
        }
        if self.running.is_none() {
            let due = answering.iter().filter(|(name, _)| self.due.get(*name).is_none_or(|at| *at <= now));
            let some: Vec<_> = due.take(AT_ONCE).map(|(name, ip)| ((*name).clone(), *ip)).collect();
            // Whatever comes of it, not again at once.
            self.due.extend(some.iter().map(|(name, _)| (name.clone(), now + NARROW_EVERY)));
            if !some.is_empty() {
                self.moved.clear();
                let interface = interface.to_string();
                self.running = Some(tokio::spawn(async move { mtu::measure(&interface, mtu, some).await }));
            }
        }
        changed
    }

    /// The way to a node is another one: by another relay or gateway, or directly. It is looked at again.
    pub(crate) fn handle_another_way(&mut self, node: &NodeName) {
        self.due.remove(node);
        self.moved.insert(node.clone());
    }

    /// Takes in what was found.
    fn take(&mut self, found: &MtuStatus, now: Instant, narrow: &mut BTreeMap<NodeName, u32>) -> bool {
        let mut changed = false;
        for peer in found.peers.iter().filter(|peer| !self.moved.contains(&peer.peer)) {
            let wide = peer.largest >= found.mtu;
            if wide && let Some(due) = self.due.get_mut(&peer.peer) {
                *due = now + WIDE_EVERY;
            }
            // Of a way that carries nothing nothing is known.
            let before = if wide {
                narrow.remove(&peer.peer)
            } else if peer.largest == 0 {
                continue;
            } else {
                narrow.insert(peer.peer.clone(), peer.largest)
            };
            let after = narrow.get(&peer.peer).copied();
            if before != after {
                changed = true;
                match after {
                    Some(mtu) => info!(peer = %peer.peer, mtu, "larger packets do not get through"),
                    None => info!(peer = %peer.peer, mtu = found.mtu, "packets of every size get through"),
                }
            }
        }
        changed
    }
}

impl Drop for PathMtus {
    fn drop(&mut self) {
        self.running.take().inspect(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use wire::local::MtuPeer;

    use super::*;

    fn name(text: &str) -> NodeName {
        text.to_string().try_into().unwrap()
    }

    #[test]
    fn what_is_found_is_taken_in_once() {
        let now = Instant::now();
        let mut paths = PathMtus::default();
        paths.due = [(name("a/1"), now), (name("a/2"), now), (name("a/3"), now)].into();
        let mut narrow = BTreeMap::new();
        let found = |largest: [u32; 3]| MtuStatus {
            mtu: 1420,
            peers: (1..)
                .zip(largest)
                .map(|(n, largest)| MtuPeer { peer: name(&format!("a/{n}")), largest })
                .collect(),
        };
        assert!(paths.take(&found([1420, 1340, 0]), now, &mut narrow));
        assert_eq!(narrow, BTreeMap::from([(name("a/2"), 1340)]));
        assert_eq!([&paths.due[&name("a/1")], &paths.due[&name("a/2")]], [&(now + WIDE_EVERY), &now]);
        assert!(!paths.take(&found([1420, 1340, 0]), now, &mut narrow), "nothing new");
        assert!(!paths.take(&found([1420, 0, 0]), now, &mut narrow), "silence says nothing");
        assert!(paths.take(&found([1420, 1420, 1420]), now, &mut narrow));
        assert!(narrow.is_empty());
    }

    #[test]
    fn of_a_way_that_became_another_one_nothing_is_taken_in() {
        let now = Instant::now();
        let mut paths = PathMtus::default();
        paths.due = [(name("a/1"), now + NARROW_EVERY), (name("a/2"), now + NARROW_EVERY)].into();
        paths.handle_another_way(&name("a/1"));
        assert_eq!(paths.due.keys().collect::<Vec<_>>(), [&name("a/2")], "the other one is due at once");
        let peers = ["a/1", "a/2"].map(|peer| MtuPeer { peer: name(peer), largest: 1420 }).into();
        let mut narrow = BTreeMap::from([(name("a/1"), 1300), (name("a/2"), 1300)]);
        assert!(paths.take(&MtuStatus { mtu: 1420, peers }, now, &mut narrow));
        assert_eq!(narrow, BTreeMap::from([(name("a/1"), 1300)]), "until it is known better");
        assert!(!paths.due.contains_key(&name("a/1")));
    }
}
