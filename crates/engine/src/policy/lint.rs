//! What of policies may be meant otherwise than it is written.

use std::collections::BTreeSet;

use ipnet::IpNet;
use model::policy::{
    NamespaceChoice, Operator, PodSelector, Policy, PolicyAction, PolicyEntity, PolicyName, PolicyPeer,
    PolicyPort, PolicyRule, PolicySubject, PolicyTier, Selector,
};
use serde::{Deserialize, Serialize};

use super::compiled::{Selects, selects, selects_node};
use super::matchers::Whom;
use super::planner::Planner;
use super::settings::Scope;

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The policy.
    pub policy: PolicyName,
    /// Where in it.
    pub path: String,
    /// What it is.
    pub flaw: Flaw,
    /// What is so, and what to do.
    pub advice: String,
}

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Flaw {
    /// The policy selects no pod, or no node, of the cluster.
    SelectsNoPod,
    /// A peer of a rule is nobody.
    PeerIsNobody,
    /// Another rule says all of it before.
    Shadowed,
    /// A rule accepts everybody.
    AcceptsEverybody,
    /// A range of addresses has pods in it.
    RangeHasPods,
    /// A peer is every pod of the cluster.
    EveryPod,
    /// A selector says only what is not wanted, and so means whatever has no such label.
    OnlyExcludes,
}

impl Flaw {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelectsNoPod => "selects-nothing",
            Self::PeerIsNobody => "peer-is-nobody",
            Self::Shadowed => "shadowed",
            Self::AcceptsEverybody => "accepts-everybody",
            Self::RangeHasPods => "range-has-pods",
            Self::EveryPod => "every-pod",
            Self::OnlyExcludes => "only-excludes",
        }
    }
}

impl Planner {
    /// What of the policies may be meant otherwise, by what is so now. Of one node's scope only what this node knows.
    pub fn lint(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for policy in self.policies() {
            self.look_at(policy, &mut findings);
        }
        findings
    }

    fn look_at(&self, policy: &Policy, findings: &mut Vec<Finding>) {
        let mut find = |path: &str, flaw, advice: String| {
            findings.push(Finding { policy: policy.name.clone(), path: path.to_string(), flaw, advice });
        };
        let own = self.pod_names().filter(|name| name.namespace.cluster == self.around().cluster);
        let selected = own
            .map(|name| self.seen(name))
            .any(|seen| selects(policy, seen.namespace, seen.of_namespace, seen.of_pod) != Selects::No);
        // A node is told of its own pods, not of all that a policy may be about.
        if let PolicySubject::Nodes(_) = policy.subject {
            if self.settings().host.is_none() {
                let advice = "nodes are not judged here: set policy.host: true, or remove it";
                find("spec.nodeSelector", Flaw::SelectsNoPod, advice.into());
            } else if matches!(self.settings().scope, Scope::Cluster(_)) && !self.selects_some_node(policy) {
                let advice = "no node is selected: check the labels it asks for";
                find("spec.nodeSelector", Flaw::SelectsNoPod, advice.into());
            }
        } else if !selected && matches!(self.settings().scope, Scope::Cluster(_)) {
            find("spec", Flaw::SelectsNoPod, "no pod is selected: check the labels it asks for".into());
        }
        for rules in [&policy.ingress, &policy.egress].into_iter().flatten() {
            for (at, rule) in rules.iter().enumerate() {
                if let Some(other) = shadow(policy.tier, rules, at) {
                    let advice = format!(
                        "{} says all of it: remove this rule, or put it first and make it narrower",
                        other.path
                    );
                    find(&rule.path, Flaw::Shadowed, advice);
                }
                if rule.action == PolicyAction::Accept && rule.ports.is_none() && is_everybody(rule) {
                    let advice = "it accepts everybody, inside and outside of clusters: name peers or ports, or remove \
                                  the policy's other rules for this direction";
                    find(&rule.path, Flaw::AcceptsEverybody, advice.into());
                }
                for peer in rule.peers.iter().flatten() {
                    if let Some((flaw, advice)) = self.look_at_peer(rule, peer) {
                        find(&rule.path, flaw, advice);
                    }
                }
            }
        }
    }

    fn selects_some_node(&self, policy: &Policy) -> bool {
        let mut nodes = self.around().nodes.iter();
        nodes.any(|(name, labels)| selects_node(policy, &name.cluster, Some(labels)) == Selects::Yes)
    }

    fn look_at_peer(&self, rule: &PolicyRule, peer: &PolicyPeer) -> Option<(Flaw, String)> {
        let accepts = rule.action == PolicyAction::Accept;
        match peer {
            PolicyPeer::Pods(selector) => {
                let whom = Whom::Pods(Some(peer.clone()));
                let told = |cluster| {
                    self.subscribed().contains(cluster)
                        || *cluster == self.around().cluster
                            && matches!(self.settings().scope, Scope::Cluster(_))
                };
                if whom.interest(self.around()).iter().all(told) && whom.is_nobody(self.around()) {
                    let advice =
                        "a peer selects no pod: check the labels it asks for, and which clusters it means";
                    return Some((Flaw::PeerIsNobody, advice.into()));
                }
                if accepts && only_excludes(selector) {
                    let advice = "a peer says only which labels pods must not have, so pods without any are meant, too: \
                                  say which ones are wanted";
                    return Some((Flaw::OnlyExcludes, advice.into()));
                }
                let every = matches!(&selector.namespaces, NamespaceChoice::Selected(its) if is_empty(its));
                (accepts && every && is_empty(&selector.pods)).then(|| {
                    let advice =
                        "a peer is every pod of every namespace: name the namespace, or labels of pods";
                    (Flaw::EveryPod, advice.into())
                })
            }
            PolicyPeer::Nodes(_) => {
                let nobody = Whom::Peer(peer.clone()).is_nobody(self.around());
                let advice = "a peer selects no node: check the labels it asks for";
                nobody.then(|| (Flaw::PeerIsNobody, advice.into()))
            }
            PolicyPeer::Networks { ranges, except } if accepts => {
                let within = |pods: &IpNet| {
                    let around = |range: &IpNet| range.contains(pods);
                    ranges.iter().any(around) && !except.iter().any(around)
                };
                let (cluster, pods) = self.ranges().find(|(_, pods)| within(pods))?;
                let advice = format!(
                    "its ranges have the pods of cluster {cluster} in them ({pods}), which are accepted, too: except that \
                     range if only what is outside is meant"
                );
                Some((Flaw::RangeHasPods, advice))
            }
            PolicyPeer::Networks { .. } | PolicyPeer::DomainNames(_) | PolicyPeer::Entity(_) => None,
        }
    }
}

/// A rule of the same direction that leaves nothing to this one.
fn shadow(tier: PolicyTier, rules: &[PolicyRule], at: usize) -> Option<&PolicyRule> {
    let rule = &rules[at];
    let counts = |(other, its): (usize, &PolicyRule)| match tier {
        PolicyTier::Namespace => {
            let same = its.action == rule.action && (other < at || !covers(rule, its));
            other != at && (same || its.action == PolicyAction::Deny)
        }
        PolicyTier::Admin { .. } | PolicyTier::Baseline { .. } => other < at,
    };
    rules
        .iter()
        .enumerate()
        .find(|(other, its)| counts((*other, its)) && covers(its, rule))
        .map(|(_, its)| its)
}

/// Whether whatever the one matches the other matches, as far as that can be told from what is written.
fn covers(wide: &PolicyRule, narrow: &PolicyRule) -> bool {
    let ports = match (&wide.ports, &narrow.ports) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => {
            narrow.iter().all(|narrow| wide.iter().any(|wide| covers_port(wide, narrow)))
        }
    };
    let peers = is_everybody(wide)
        || match (&wide.peers, &narrow.peers) {
            (Some(wide), Some(narrow)) => {
                narrow.iter().all(|narrow| wide.iter().any(|wide| covers_peer(wide, narrow)))
            }
            _ => false,
        };
    ports && peers
}

fn is_everybody(rule: &PolicyRule) -> bool {
    let all = PolicyPeer::Entity(PolicyEntity::All);
    rule.peers.as_ref().is_none_or(|peers| peers.contains(&all))
}

fn covers_port(wide: &PolicyPort, narrow: &PolicyPort) -> bool {
    match (wide, narrow) {
        (
            PolicyPort::Ports { protocol, first, last },
            PolicyPort::Ports { protocol: its, first: from, last: to },
        ) => protocol == its && first <= from && to <= last,
        (PolicyPort::Icmp { v6, kind: None }, PolicyPort::Icmp { v6: its, .. }) => v6 == its,
        (wide, narrow) => wide == narrow,
    }
}

fn covers_peer(wide: &PolicyPeer, narrow: &PolicyPeer) -> bool {
    match (wide, narrow) {
        (PolicyPeer::Pods(wide), PolicyPeer::Pods(narrow)) => {
            // A selector that names a cluster means others than one that does not.
            let same_clusters = super::select::names_cluster(wide) == super::select::names_cluster(narrow);
            let namespaces = match (&wide.namespaces, &narrow.namespaces) {
                (NamespaceChoice::Selected(wide), NamespaceChoice::Selected(narrow)) => within(wide, narrow),
                (NamespaceChoice::Selected(wide), NamespaceChoice::Named(_)) => is_empty(wide),
                (wide, narrow) => wide == narrow,
            };
            same_clusters && namespaces && within(&wide.pods, &narrow.pods)
        }
        (
            PolicyPeer::Networks { ranges, except },
            PolicyPeer::Networks { ranges: its, except: its_except },
        ) => {
            its.iter().all(|its| ranges.iter().any(|range| range.contains(its)))
                && except.iter().all(|range| its_except.contains(range))
        }
        (PolicyPeer::Nodes(wide), PolicyPeer::Nodes(narrow)) => within(wide, narrow),
        (wide, narrow) => wide == narrow,
    }
}

/// Whether the one asks for all that the other asks for.
fn within(wide: &Selector, narrow: &Selector) -> bool {
    let asked: BTreeSet<_> = narrow.requirements.iter().collect();
    wide.requirements.iter().all(|its| asked.contains(its))
}

fn is_empty(selector: &Selector) -> bool {
    selector.requirements.is_empty()
}

fn only_excludes(selector: &PodSelector) -> bool {
    let mut all = selector.pods.requirements.iter();
    let excludes = |operator: &Operator| matches!(operator, Operator::NotIn(_) | Operator::DoesNotExist);
    !is_empty(&selector.pods) && all.all(|its| excludes(&its.operator))
}
