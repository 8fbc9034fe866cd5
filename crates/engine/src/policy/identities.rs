//! What pods there are, as policies see them: namespace, labels, named ports. Pods that have the same are one identity.

use std::collections::{BTreeMap, BTreeSet};

use model::policy::{Labels, NamedPort, NamespaceName, Operator, Selector};

use super::peer;
use super::select::is_cluster;
use crate::plan::policing::Peer;

/// What some pods are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// Where they are.
    pub(super) namespace: NamespaceName,
    /// Their labels.
    pub(super) labels: Labels,
    /// Their named ports.
    pub(super) ports: Vec<NamedPort>,
}

impl Who {
    /// Whether it is a peer that is no node: those are in no namespace.
    pub(super) fn is_peer(&self) -> bool {
        self.namespace.name.is_empty()
    }
}

/// All identities, and which have what label.
#[derive(Debug, Default)]
pub(super) struct Identities {
    known: BTreeMap<Peer, (Who, usize)>,
    by_namespace: BTreeMap<NamespaceName, BTreeSet<Peer>>,
    by_label: BTreeMap<String, BTreeMap<String, BTreeSet<Peer>>>,
}

impl Identities {
    /// One pod more is this. None if another identity has the same number: the pod is nobody then. Whether it is new is said
    /// with the number.
    pub(super) fn acquire(&mut self, who: Who) -> Option<(Peer, bool)> {
        let peer = peer::identity(&who.namespace, &who.labels, &who.ports);
        if let Some((known, users)) = self.known.get_mut(&peer) {
            if *known != who {
                return None;
            }
            *users += 1;
            return Some((peer, false));
        }
        self.by_namespace.entry(who.namespace.clone()).or_default().insert(peer);
        for (key, value) in &who.labels {
            let values = self.by_label.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().insert(peer);
        }
        self.known.insert(peer, (who, 1));
        Some((peer, true))
    }

    /// One pod less is this. What it was, if nobody is any more.
    pub(super) fn release(&mut self, peer: Peer) -> Option<Who> {
        let (_, users) = self.known.get_mut(&peer)?;
        *users -= 1;
        if *users > 0 {
            return None;
        }
        let (who, _) = self.known.remove(&peer)?;
        remove(&mut self.by_namespace, &who.namespace, peer);
        for (key, value) in &who.labels {
            if let Some(values) = self.by_label.get_mut(key) {
                remove(values, value, peer);
                if values.is_empty() {
                    self.by_label.remove(key);
                }
            }
        }
        Some(who)
    }

    /// What a number stands for.
    pub(super) fn get(&self, peer: Peer) -> Option<&Who> {
        self.known.get(&peer).map(|(who, _)| who)
    }

    /// Every identity.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Peer, &Who)> {
        self.known.iter().map(|(peer, (who, _))| (*peer, who))
    }

    /// Those in a namespace.
    pub(super) fn in_namespace(&self, name: &NamespaceName) -> impl Iterator<Item = (Peer, &Who)> {
        let peers = self.by_namespace.get(name).into_iter().flatten();
        peers.filter_map(|peer| Some((*peer, self.get(*peer)?)))
    }

    /// Those that have, for the requirement of a selector that the fewest meet, one of its values. None if nothing is required
    /// of a value.
    pub(super) fn with_labels(&self, selector: &Selector) -> Option<impl Iterator<Item = (Peer, &Who)>> {
        let sets = |key: &str, values: &BTreeSet<String>| -> Vec<&BTreeSet<Peer>> {
            let known = self.by_label.get(key);
            values.iter().filter_map(|value| known?.get(value)).collect()
        };
        let wanted = selector.requirements.iter().filter_map(|its| match &its.operator {
            Operator::In(values) if !is_cluster(&its.key) => Some(sets(&its.key, values)),
            _ => None,
        });
        let fewest = wanted.min_by_key(|sets| sets.iter().map(|set| set.len()).sum::<usize>())?;
        Some(fewest.into_iter().flatten().filter_map(|peer| Some((*peer, self.get(*peer)?))))
    }
}

fn remove<K: Ord>(map: &mut BTreeMap<K, BTreeSet<Peer>>, key: &K, peer: Peer) {
    if let Some(peers) = map.get_mut(key) {
        peers.remove(&peer);
        if peers.is_empty() {
            map.remove(key);
        }
    }
}
