//! One direction of a policy, prepared: matchers in place of peers, prefixes in place of ranges of ports.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::ClusterName;
use model::policy::{
    Labels, NamedPort, NamespaceChoice, NamespaceName, Policy, PolicyAction, PolicyName, PolicyPort,
    PolicyRule, PolicySubject, PolicyTier,
};

use super::matchers::{MatcherId, Whom};
use super::peer::number;
use super::ports::{self, Ports};
use super::select::{could_match, matches};

/// Which way a connection goes, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To it.
    Ingress,
    /// From it.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// A policy, as far as it says something of a direction.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: PolicyName,
    pub(super) tier: PolicyTier,
    pub(super) rules: Vec<Arc<Rule>>,
    /// A hash of the policy and what it says.
    hash: u64,
}

/// A rule of it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) action: PolicyAction,
    /// Whom it is about.
    pub(super) whom: Vec<Whom>,
    pub(super) matchers: Vec<MatcherId>,
    /// Whom its named ports are about, where each peer has its own.
    pub(super) whom_by_ports: Vec<Whom>,
    pub(super) matchers_by_ports: Vec<MatcherId>,
    /// Ports that have numbers.
    pub(super) fixed: Vec<Ports>,
    /// All of its ports, as they are written.
    pub(super) ports: Option<Vec<PolicyPort>>,
}

impl Compiled {
    /// None where the policy says nothing of the direction.
    pub(super) fn new(policy: &Policy, direction: Direction) -> Option<Self> {
        let rules = match direction {
            Direction::Ingress => policy.ingress.as_ref()?,
            Direction::Egress => policy.egress.as_ref()?,
        };
        let compiled: Vec<Arc<Rule>> =
            rules.iter().map(|rule| Arc::new(Rule::new(rule, direction))).collect();
        let said: Vec<_> = compiled
            .iter()
            .map(|rule| {
                let Rule { path, name, action, whom, ports, .. } = &**rule;
                (path, name, action, whom, ports)
            })
            .collect();
        let hash = number(b"policies", (&policy.name, policy.tier, direction, said));
        Some(Self { name: policy.name.clone(), tier: policy.tier, rules: compiled, hash })
    }

    /// The order in which policies of all tiers are asked. Two of one priority: by name.
    pub(super) fn order(&self) -> (PolicyTier, &PolicyName) {
        (self.tier, &self.name)
    }

    /// The number of what some policies, in order, say to a pod. Named ports are the pod's where it is the one dialled.
    pub(super) fn ruleset(policies: &[Arc<Self>], direction: Direction, pod: &[NamedPort]) -> u64 {
        let hashes: Vec<u64> = policies.iter().map(|policy| policy.hash).collect();
        let rules = policies.iter().flat_map(|policy| &policy.rules);
        let named = rules.filter(|_| direction == Direction::Ingress).flat_map(|rule| rule.named(pod));
        number(b"rulesets", (direction, hashes, named.collect::<Vec<_>>()))
    }
}

impl Rule {
    fn new(rule: &PolicyRule, direction: Direction) -> Self {
        let whom: Vec<Whom> = match &rule.peers {
            None => vec![Whom::Any],
            Some(peers) => peers.iter().cloned().map(Whom::Peer).collect(),
        };
        let by_ports = direction == Direction::Egress && ports::names_any(rule.ports.as_deref());
        let whom_by_ports: Vec<Whom> = match &rule.peers {
            _ if !by_ports => Vec::new(),
            None => vec![Whom::Pods(None)],
            Some(peers) => peers.iter().cloned().map(|peer| Whom::Pods(Some(peer))).collect(),
        };
        let ids = |whom: &[Whom]| whom.iter().map(Whom::id).collect::<BTreeSet<_>>().into_iter().collect();
        Self {
            path: rule.path.clone(),
            name: rule.name.clone(),
            action: rule.action,
            matchers: ids(&whom),
            matchers_by_ports: ids(&whom_by_ports),
            whom,
            whom_by_ports,
            fixed: ports::fixed(rule.ports.as_deref()),
            ports: rule.ports.clone(),
        }
    }

    /// What its named ports are at a pod.
    pub(super) fn named(&self, pod: &[NamedPort]) -> Vec<Ports> {
        ports::named(self.ports.as_deref(), pod)
    }

    /// Everybody it looks for.
    pub(super) fn whoms(&self) -> impl Iterator<Item = &Whom> {
        self.whom.iter().chain(&self.whom_by_ports)
    }
}

/// Whether a policy is about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selects {
    Yes,
    No,
    /// That depends on labels that are not known yet.
    Perhaps,
}

/// Whether a policy is about a pod in a namespace, of whose labels and whose namespace's labels some may be unknown.
pub(super) fn selects(
    policy: &Policy,
    namespace: &NamespaceName,
    of_namespace: Option<&Labels>,
    of_pod: Option<&Labels>,
) -> Selects {
    let PolicySubject::Pods(subject) = &policy.subject else { return Selects::No };
    let cluster = &namespace.cluster;
    let judge = |selector, labels: Option<&Labels>| match labels {
        Some(labels) if matches(selector, cluster, labels) => Selects::Yes,
        Some(_) => Selects::No,
        None if could_match(selector, cluster) => Selects::Perhaps,
        None => Selects::No,
    };
    let by_namespace = match &subject.namespaces {
        NamespaceChoice::Named(name) if *name == namespace.name => Selects::Yes,
        NamespaceChoice::Named(_) => Selects::No,
        NamespaceChoice::Selected(selector) => judge(selector, of_namespace),
    };
    match (by_namespace, judge(&subject.pods, of_pod)) {
        (Selects::No, _) | (_, Selects::No) => Selects::No,
        (Selects::Yes, Selects::Yes) => Selects::Yes,
        _ => Selects::Perhaps,
    }
}

/// Whether a policy is about a node, whose labels may be unknown.
pub(super) fn selects_node(policy: &Policy, cluster: &ClusterName, labels: Option<&Labels>) -> Selects {
    let PolicySubject::Nodes(selector) = &policy.subject else { return Selects::No };
    match labels {
        Some(labels) if matches(selector, cluster, labels) => Selects::Yes,
        Some(_) => Selects::No,
        None if could_match(selector, cluster) => Selects::Perhaps,
        None => Selects::No,
    }
}
