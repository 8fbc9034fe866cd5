//! Whom rules are about, as the peers that it comes to now. Rules that are about the same share a matcher.

use std::collections::{BTreeMap, BTreeSet};

use model::policy::{
    Labels, NamespaceChoice, NamespaceName, Operator, PodSelector, PolicyEntity, PolicyPeer, Requirement,
};
use model::{ClusterName, NodeName};

use super::classes::Member;
use super::identities::{Identities, Who};
use super::peer::{self, number};
use super::select::{
    could_be_in, could_match, is_cluster, matches, names_cluster, names_peer, only_clusters,
};
use super::settings::Selectors;
use crate::plan::policing::{Peer, RulesetId};

/// Which matcher: a hash of whom it is about.
pub(super) type MatcherId = Member;

/// Whom it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Whom {
    /// Everybody.
    Any,
    /// A rule's peer.
    Peer(PolicyPeer),
    /// Pods by identity alone: each may call its ports differently. None: every pod that counts.
    Pods(Option<PolicyPeer>),
}

/// What matchers look at.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The own cluster.
    pub(super) cluster: ClusterName,
    pub(super) selectors: Selectors,
    /// Every cluster that is known, the own one among them.
    pub(super) clusters: BTreeSet<ClusterName>,
    pub(super) namespaces: BTreeMap<NamespaceName, Labels>,
    /// The own cluster's nodes.
    pub(super) nodes: BTreeMap<NodeName, Labels>,
    pub(super) identities: Identities,
}

impl Surroundings {
    /// The clusters that a selector of pods is about.
    fn reached(&self, selector: &PodSelector) -> impl Iterator<Item = &ClusterName> {
        let all = self.selectors == Selectors::Clusterset || names_cluster(selector);
        let counts = move |cluster: &&ClusterName| all || **cluster == self.cluster;
        self.clusters.iter().filter(counts).filter(move |cluster| could_be_in(selector, cluster))
    }

    fn counts(&self, selector: &PodSelector, cluster: &ClusterName) -> bool {
        self.clusters.contains(cluster)
            && (*cluster == self.cluster
                || self.selectors == Selectors::Clusterset
                || names_cluster(selector))
    }

    /// Whether the selector means such pods.
    fn selects(&self, selector: &PodSelector, who: &Who) -> bool {
        let cluster = &who.namespace.cluster;
        if who.is_peer() {
            // It is in no namespace: which one the selector is about says nothing, what it asks of one's labels is not met.
            let in_namespace = match &selector.namespaces {
                NamespaceChoice::Named(_) => true,
                NamespaceChoice::Selected(selector) => matches(selector, cluster, &Labels::new()),
            };
            return names_peer(selector)
                && self.counts(selector, cluster)
                && in_namespace
                && matches(&selector.pods, cluster, &who.labels);
        }
        self.counts(selector, cluster)
            && match &selector.namespaces {
                NamespaceChoice::Named(name) => *name == who.namespace.name,
                // Asks nothing of the namespace's labels, so does not wait for them.
                NamespaceChoice::Selected(selector) if only_clusters(selector) => {
                    could_match(selector, cluster)
                }
                NamespaceChoice::Selected(selector) => {
                    let labels = self.namespaces.get(&who.namespace);
                    labels.is_some_and(|labels| matches(selector, cluster, labels))
                }
            }
            && matches(&selector.pods, cluster, &who.labels)
    }
}

impl Whom {
    pub(super) fn id(&self) -> MatcherId {
        number(b"matchers", self)
    }

    /// Whether it is about somebody by what they are: an address that nobody is known to be at may be theirs.
    pub(super) fn by_identity(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Pods(_) => true,
            Self::Peer(PolicyPeer::Pods(_)) => true,
            Self::Peer(PolicyPeer::Entity(entity)) => {
                matches!(entity, PolicyEntity::Cluster | PolicyEntity::ClusterMesh)
            }
            Self::Peer(_) => false,
        }
    }

    /// The clusters whose pods have to be known, so that it can be told who it is about.
    pub(super) fn interest(&self, around: &Surroundings) -> BTreeSet<ClusterName> {
        let all = |all: bool| {
            around.clusters.iter().filter(|its| all || **its == around.cluster).cloned().collect()
        };
        match self {
            Self::Peer(PolicyPeer::Pods(selector)) | Self::Pods(Some(PolicyPeer::Pods(selector))) => {
                around.reached(selector).cloned().collect()
            }
            Self::Pods(None) => all(around.selectors == Selectors::Clusterset),
            Self::Pods(Some(PolicyPeer::Entity(PolicyEntity::Cluster))) => all(false),
            Self::Pods(Some(PolicyPeer::Entity(PolicyEntity::ClusterMesh | PolicyEntity::All))) => all(true),
            _ => BTreeSet::new(),
        }
    }

    /// Whether it comes to nobody now.
    pub(super) fn is_nobody(&self, around: &Surroundings) -> bool {
        self.peers(around).is_empty()
    }

    /// Whether it depends on the labels of namespaces.
    fn asks_namespaces(&self) -> bool {
        self.selector().is_some_and(|its| match &its.namespaces {
            NamespaceChoice::Named(_) => false,
            NamespaceChoice::Selected(selector) => !only_clusters(selector),
        })
    }

    fn selector(&self) -> Option<&PodSelector> {
        match self {
            Self::Peer(PolicyPeer::Pods(selector)) | Self::Pods(Some(PolicyPeer::Pods(selector))) => {
                Some(selector)
            }
            _ => None,
        }
    }

    /// Whether an identity is one of those it is about one by one.
    fn means(&self, who: &Who, around: &Surroundings) -> bool {
        match self {
            Self::Peer(PolicyPeer::Pods(selector)) => {
                !only_clusters(&selector.pods) && around.selects(selector, who)
            }
            Self::Pods(Some(PolicyPeer::Pods(selector))) => around.selects(selector, who),
            Self::Pods(_) if who.is_peer() => false,
            Self::Pods(whom) => {
                let cluster = &who.namespace.cluster;
                let everywhere = match whom {
                    None => around.selectors == Selectors::Clusterset,
                    Some(PolicyPeer::Entity(PolicyEntity::ClusterMesh | PolicyEntity::All)) => true,
                    Some(PolicyPeer::Entity(PolicyEntity::Cluster)) => false,
                    Some(_) => return false,
                };
                around.clusters.contains(cluster) && (everywhere || *cluster == around.cluster)
            }
            Self::Any | Self::Peer(_) => false,
        }
    }

    /// Whom it comes to, but for sets of ranges and names.
    fn peers(&self, around: &Surroundings) -> BTreeSet<Peer> {
        let whole = |cluster: &ClusterName| [peer::cluster_pods(cluster), peer::cluster_nodes(cluster)];
        match self {
            Self::Any => [Peer::ANY].into(),
            Self::Peer(PolicyPeer::Pods(selector)) if only_clusters(&selector.pods) => {
                let clusters = around.reached(selector);
                clusters.flat_map(|cluster| wholly(selector, cluster, around)).collect()
            }
            Self::Peer(PolicyPeer::Pods(selector)) | Self::Pods(Some(PolicyPeer::Pods(selector))) => {
                self.one_by_one(selector, around)
            }
            Self::Pods(_) => {
                let all = around.identities.iter();
                all.filter(|(_, who)| self.means(who, around)).map(|(peer, _)| peer).collect()
            }
            Self::Peer(PolicyPeer::Nodes(selector)) if selector.requirements.is_empty() => {
                [peer::cluster_nodes(&around.cluster)].into()
            }
            Self::Peer(PolicyPeer::Nodes(selector)) => {
                let own = around.nodes.iter();
                let meant = own.filter(|(name, labels)| matches(selector, &name.cluster, labels));
                meant.map(|(name, _)| peer::node(name)).collect()
            }
            Self::Peer(PolicyPeer::Entity(entity)) => match entity {
                PolicyEntity::Cluster => whole(&around.cluster).into(),
                PolicyEntity::ClusterMesh => around.clusters.iter().flat_map(whole).collect(),
                PolicyEntity::Host => [peer::host()].into(),
                PolicyEntity::RemoteNode => [peer::remote_node()].into(),
                PolicyEntity::World => [peer::world()].into(),
                PolicyEntity::All => [Peer::ANY].into(),
            },
            Self::Peer(PolicyPeer::Networks { .. } | PolicyPeer::DomainNames(_)) => BTreeSet::new(),
        }
    }

    fn one_by_one(&self, selector: &PodSelector, around: &Surroundings) -> BTreeSet<Peer> {
        let identities = &around.identities;
        let meant = |(peer, who): (Peer, &Who)| self.means(who, around).then_some(peer);
        if let Some(candidates) = identities.with_labels(&selector.pods) {
            return candidates.filter_map(meant).collect();
        }
        if names_peer(selector) {
            return identities.iter().filter_map(meant).collect();
        }
        match &selector.namespaces {
            NamespaceChoice::Named(name) => {
                let named = around
                    .reached(selector)
                    .map(|cluster| NamespaceName { cluster: cluster.clone(), name: name.clone() });
                let of = |name: NamespaceName| identities.in_namespace(&name).filter_map(meant).collect();
                named.flat_map::<Vec<Peer>, _>(of).collect()
            }
            NamespaceChoice::Selected(_) => identities.iter().filter_map(meant).collect(),
        }
    }

    /// Where an identity that it is about can be found: under one of these, or anywhere.
    fn anchors(&self) -> Vec<Anchor> {
        let Some(selector) = self.selector() else { return vec![Anchor::Anywhere] };
        let values = |its: &Requirement| match &its.operator {
            Operator::In(values) if !is_cluster(&its.key) => {
                Some(values.iter().map(|value| Anchor::Label(its.key.clone(), value.clone())).collect())
            }
            _ => None,
        };
        selector.pods.requirements.iter().find_map(values).unwrap_or_else(|| match &selector.namespaces {
            _ if names_peer(selector) => vec![Anchor::Anywhere],
            NamespaceChoice::Named(name) => vec![Anchor::Namespace(name.clone())],
            NamespaceChoice::Selected(_) => vec![Anchor::Anywhere],
        })
    }
}

/// All pods of a cluster, or of those of its namespaces that the selector means.
fn wholly(selector: &PodSelector, cluster: &ClusterName, around: &Surroundings) -> Vec<Peer> {
    let in_cluster = |name: &String| NamespaceName { cluster: cluster.clone(), name: name.clone() };
    match &selector.namespaces {
        NamespaceChoice::Named(name) => vec![peer::namespace(&in_cluster(name))],
        NamespaceChoice::Selected(selector) if only_clusters(selector) => vec![peer::cluster_pods(cluster)],
        NamespaceChoice::Selected(selector) => {
            let first = NamespaceName { cluster: cluster.clone(), name: String::new() };
            let own = around.namespaces.range(first..).take_while(|(name, _)| name.cluster == *cluster);
            let meant = own.filter(|(_, labels)| matches(selector, cluster, labels));
            meant.map(|(name, _)| peer::namespace(name)).collect()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Anchor {
    Label(String, String),
    Namespace(String),
    Anywhere,
}

/// A matcher, and who uses it.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) whom: Whom,
    /// Whom it comes to, but for sets.
    pub(super) peers: BTreeSet<Peer>,
    pub(super) users: BTreeSet<RulesetId>,
}

/// Those that rules in force use.
#[derive(Debug, Default)]
pub(super) struct Matchers {
    all: BTreeMap<MatcherId, Matcher>,
    anchors: BTreeMap<Anchor, BTreeSet<MatcherId>>,
    /// Of whom it has changed whether a matcher is about them.
    changed: BTreeSet<(MatcherId, Peer)>,
    /// What has to be looked at anew.
    stale: BTreeSet<MatcherId>,
}

impl Matchers {
    pub(super) fn get(&self, id: MatcherId) -> Option<&Matcher> {
        self.all.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Matcher> {
        self.all.values()
    }

    /// A ruleset uses it. Whether it is new.
    pub(super) fn acquire(&mut self, whom: &Whom, user: RulesetId, around: &Surroundings) -> bool {
        let id = whom.id();
        if let Some(matcher) = self.all.get_mut(&id) {
            matcher.users.insert(user);
            return false;
        }
        let matcher = Matcher { whom: whom.clone(), peers: whom.peers(around), users: [user].into() };
        self.all.insert(id, matcher);
        for anchor in whom.anchors() {
            self.anchors.entry(anchor).or_default().insert(id);
        }
        true
    }

    /// A ruleset does not any more. Whom it was about, if none does.
    pub(super) fn release(&mut self, id: MatcherId, user: RulesetId) -> Option<Whom> {
        let matcher = self.all.get_mut(&id)?;
        matcher.users.remove(&user);
        if !matcher.users.is_empty() {
            return None;
        }
        let matcher = self.all.remove(&id)?;
        for anchor in matcher.whom.anchors() {
            if let Some(ids) = self.anchors.get_mut(&anchor) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.anchors.remove(&anchor);
                }
            }
        }
        Some(matcher.whom)
    }

    /// An identity came.
    pub(super) fn handle_identity(&mut self, peer: Peer, who: &Who, around: &Surroundings) {
        for id in self.candidates(who) {
            let Some(matcher) = self.all.get_mut(&id) else { continue };
            if matcher.whom.means(who, around) && matcher.peers.insert(peer) {
                self.changed.insert((id, peer));
            }
        }
    }

    /// An identity went.
    pub(super) fn handle_identity_gone(&mut self, peer: Peer, who: &Who) {
        for id in self.candidates(who) {
            if self.all.get_mut(&id).is_some_and(|matcher| matcher.peers.remove(&peer)) {
                self.changed.insert((id, peer));
            }
        }
    }

    fn candidates(&self, who: &Who) -> BTreeSet<MatcherId> {
        let labels = who.labels.iter().map(|(key, value)| Anchor::Label(key.clone(), value.clone()));
        let rest = [Anchor::Namespace(who.namespace.name.clone()), Anchor::Anywhere];
        let found = labels.chain(rest).filter_map(|anchor| self.anchors.get(&anchor));
        found.flatten().copied().collect()
    }

    /// Labels of a namespace are others now.
    pub(super) fn handle_namespaces(&mut self) {
        let asking = self.all.iter().filter(|(_, matcher)| matcher.whom.asks_namespaces());
        self.stale.extend(asking.map(|(id, _)| *id));
    }

    /// The own cluster's nodes are others now.
    pub(super) fn handle_nodes(&mut self) {
        let asking = |matcher: &Matcher| matches!(matcher.whom, Whom::Peer(PolicyPeer::Nodes(_)));
        self.stale.extend(self.all.iter().filter(|(_, matcher)| asking(matcher)).map(|(id, _)| *id));
    }

    /// Other clusters are known now.
    pub(super) fn handle_clusters(&mut self) {
        self.stale.extend(self.all.keys());
    }

    /// A set of ranges or names came or went.
    pub(super) fn handle_classes(&mut self, changed: BTreeSet<(Member, Peer)>) {
        self.changed.extend(changed);
    }

    /// Of whom it has changed whether a matcher is about them, since it was asked last.
    pub(super) fn poll_changed(&mut self, around: &Surroundings) -> BTreeSet<(MatcherId, Peer)> {
        for id in std::mem::take(&mut self.stale) {
            let Some(matcher) = self.all.get_mut(&id) else { continue };
            let peers = matcher.whom.peers(around);
            self.changed.extend(matcher.peers.symmetric_difference(&peers).map(|peer| (id, *peer)));
            matcher.peers = peers;
        }
        std::mem::take(&mut self.changed)
    }
}
