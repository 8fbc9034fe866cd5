//! Which policies are about which of the own pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use model::policy::{Labels, NamespaceChoice, NamespaceName, Policy, PolicyName, PolicyTier};

use super::compiled::{Compiled, Direction, Selects, selects};

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
            match &was.policy.subject.namespaces {
                NamespaceChoice::Named(namespace) => {
                    if let Some(names) = self.by_namespace.get_mut(namespace) {
                        names.remove(name);
                        if names.is_empty() {
                            self.by_namespace.remove(namespace);
                        }
                    }
                }
                NamespaceChoice::Selected(_) => drop(self.wide.remove(name)),
            }
        }
        if let Some(policy) = policy {
            match &policy.subject.namespaces {
                NamespaceChoice::Named(namespace) => {
                    self.by_namespace.entry(namespace.clone()).or_default().insert(name.clone());
                }
                NamespaceChoice::Selected(_) => drop(self.wide.insert(name.clone())),
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

    /// What policies say of a direction of a pod.
    pub(super) fn say(&self, pod: Seen<'_>, direction: Direction) -> Say {
        let mut found = Vec::new();
        for (known, selects) in self.about(pod) {
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

    /// The policies that are about a pod for certain, in order of tiers.
    pub(super) fn selecting(&self, pod: Seen<'_>) -> Vec<&Policy> {
        let certain = self.about(pod).filter(|(_, selects)| *selects == Selects::Yes);
        let mut found: Vec<&Policy> = certain.map(|(known, _)| &known.policy).collect();
        found.sort_by_key(|policy| (policy.tier, &policy.name));
        found
    }

    /// Every policy.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.known.values().map(|known| &known.policy)
    }
}
