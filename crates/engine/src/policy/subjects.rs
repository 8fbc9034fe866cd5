//! Which policies are about which of the own pods, and nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use model::policy::{
    Labels, NamespaceChoice, NamespaceName, PodName, Policy, PolicyName, PolicySubject, PolicyTier,
};
use model::{ClusterName, NodeName};

use super::compiled::{Compiled, Direction, Selects, selects, selects_node};

/// A policy, and what it comes to once it is about somebody.
#[derive(Debug)]
struct Known {
    policy: Policy,
    compiled: [OnceLock<Option<Arc<Compiled>>>; 2],
}

impl Known {
    fn compiled(&self, direction: Direction) -> Option<&Arc<Compiled>> {
        let place = &self.compiled[usize::from(direction == Direction::Egress)];
        place.get_or_init(|| Compiled::new(&self.policy, direction).map(Arc::new)).as_ref()
    }
}

/// The policies that hold here.
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: BTreeMap<PolicyName, Known>,
    /// By the namespace whose pods they are about.
    by_namespace: BTreeMap<String, BTreeSet<PolicyName>>,
    /// Those about pods of several.
    wide: BTreeSet<PolicyName>,
    /// Those about nodes.
    of_nodes: BTreeSet<PolicyName>,
}

/// Whom a ruleset is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Pod(PodName),
    Node(NodeName),
}

/// A pod, as far as its labels are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) namespace: &'a NamespaceName,
    pub(super) of_namespace: Option<&'a Labels>,
    pub(super) of_pod: Option<&'a Labels>,
}

/// What policies say of a direction of a pod.
#[derive(Debug)]
pub(super) enum Say {
    Nothing,
    /// These, in the order in which they are asked.
    By(Vec<Arc<Compiled>>),
    /// That depends on labels that are not known yet, and on this policy.
    Unknown(PolicyName),
}

impl Policies {
    /// A policy is now so, or gone. What it was.
    pub(super) fn put(&mut self, name: &PolicyName, policy: Option<&Policy>) -> Option<Policy> {
        let was = self.known.remove(name);
        if let Some(was) = &was {
            match namespaces_of(&was.policy) {
                None => drop(self.of_nodes.remove(name)),
                Some(NamespaceChoice::Named(namespace)) => {
                    if let Some(names) = self.by_namespace.get_mut(namespace) {
                        names.remove(name);
                        if names.is_empty() {
                            self.by_namespace.remove(namespace);
                        }
                    }
                }
                Some(NamespaceChoice::Selected(_)) => drop(self.wide.remove(name)),
            }
        }
        if let Some(policy) = policy {
            match namespaces_of(policy) {
                None => drop(self.of_nodes.insert(name.clone())),
                Some(NamespaceChoice::Named(namespace)) => {
                    self.by_namespace.entry(namespace.clone()).or_default().insert(name.clone());
                }
                Some(NamespaceChoice::Selected(_)) => drop(self.wide.insert(name.clone())),
            }
            self.known.insert(name.clone(), Known { policy: policy.clone(), compiled: Default::default() });
        }
        was.map(|was| was.policy)
    }

    pub(super) fn get(&self, name: &PolicyName) -> Option<&Policy> {
        self.known.get(name).map(|known| &known.policy)
    }

    /// Those that are about a pod, or may be.
    fn about(&self, pod: Seen<'_>) -> impl Iterator<Item = (&Known, Selects)> {
        let named = self.by_namespace.get(&pod.namespace.name).into_iter().flatten();
        let known = named.chain(&self.wide).filter_map(|name| self.known.get(name));
        let judged = known
            .map(move |known| (known, selects(&known.policy, pod.namespace, pod.of_namespace, pod.of_pod)));
        judged.filter(|(_, selects)| *selects != Selects::No)
    }

    /// Those that are about a node, or may be.
    fn about_node<'a>(
        &'a self,
        cluster: &'a ClusterName,
        labels: Option<&'a Labels>,
    ) -> impl Iterator<Item = (&'a Known, Selects)> {
        let known = self.of_nodes.iter().filter_map(|name| self.known.get(name));
        let judged = known.map(move |known| (known, selects_node(&known.policy, cluster, labels)));
        judged.filter(|(_, selects)| *selects != Selects::No)
    }

    /// What policies say of a direction of a pod.
    pub(super) fn say(&self, pod: Seen<'_>, direction: Direction) -> Say {
        say(self.about(pod), direction)
    }

    /// What policies say of a direction of a node.
    pub(super) fn say_of_node(
        &self,
        cluster: &ClusterName,
        labels: Option<&Labels>,
        direction: Direction,
    ) -> Say {
        say(self.about_node(cluster, labels), direction)
    }

    /// The policies that are about a node for certain, in order of tiers.
    pub(super) fn selecting_node<'a>(
        &'a self,
        cluster: &'a ClusterName,
        labels: Option<&'a Labels>,
    ) -> Vec<&'a Policy> {
        certain(self.about_node(cluster, labels))
    }

    /// The policies that are about a pod for certain, in order of tiers.
    pub(super) fn selecting(&self, pod: Seen<'_>) -> Vec<&Policy> {
        certain(self.about(pod))
    }

    /// Every policy.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.known.values().map(|known| &known.policy)
    }
}

/// The namespaces whose pods a policy is about; none if it is about nodes.
fn namespaces_of(policy: &Policy) -> Option<&NamespaceChoice> {
    match &policy.subject {
        PolicySubject::Pods(pods) => Some(&pods.namespaces),
        PolicySubject::Nodes(_) => None,
    }
}

fn certain<'a>(about: impl Iterator<Item = (&'a Known, Selects)>) -> Vec<&'a Policy> {
    let certain = about.filter(|(_, selects)| *selects == Selects::Yes);
    let mut found: Vec<&Policy> = certain.map(|(known, _)| &known.policy).collect();
    found.sort_by_key(|policy| (policy.tier, &policy.name));
    found
}

fn say<'a>(about: impl Iterator<Item = (&'a Known, Selects)>, direction: Direction) -> Say {
    let mut found = Vec::new();
    for (known, selects) in about {
        let Some(compiled) = known.compiled(direction) else { continue };
        if selects == Selects::Perhaps {
            return Say::Unknown(compiled.name.clone());
        }
        found.push(compiled.clone());
    }
    let says = |policy: &Arc<Compiled>| policy.tier == PolicyTier::Namespace || !policy.rules.is_empty();
    if !found.iter().any(says) {
        return Say::Nothing;
    }
    found.sort_by(|a, b| a.order().cmp(&b.order()));
    Say::By(found)
}
