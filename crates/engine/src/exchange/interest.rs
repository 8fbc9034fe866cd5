//! What a receiver wants of what there is much of. Clusters, nodes, peers and services always travel; endpoints, pods and
//! namespaces only to whoever uses them, and policies of other clusters only to whoever takes them.

use std::collections::BTreeSet;

use model::policy::{NamespaceName, PodName, PolicyKind, PolicyName};
use model::{ClusterName, EndpointKey, Key, NodeName, Object, ObjectName, ServiceKey};

use super::Position;

/// Some of what travels only to whoever wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    /// The endpoints of the services of these names.
    pub services: BTreeSet<ObjectName>,
    /// The pods and namespaces of these clusters.
    pub pods: BTreeSet<ClusterName>,
    /// The policies that a cluster distributes.
    pub policies: bool,
}

impl Topics {
    /// The endpoints of these services.
    pub fn services(services: impl IntoIterator<Item = ObjectName>) -> Self {
        Self { services: services.into_iter().collect(), ..Self::default() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.pods.is_empty() && !self.policies
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.services.len() + self.pods.len() + usize::from(self.policies)
    }

    /// Whether an object belongs to one of them.
    pub fn cover(&self, key: &Key) -> bool {
        match key {
            Key::Endpoint(endpoint) => self.services.contains(&endpoint.service.name),
            Key::Pod(pod) => self.pods.contains(&pod.namespace.cluster),
            Key::Namespace(namespace) => self.pods.contains(&namespace.cluster),
            Key::Policy(_) => self.policies,
            Key::Cluster(_) | Key::Node(_) | Key::Peer(_) | Key::Service(_) | Key::Import(_) => false,
        }
    }

    /// Those that are not among the others.
    pub fn without(&self, others: &Self) -> Self {
        Self {
            services: self.services.difference(&others.services).cloned().collect(),
            pods: self.pods.difference(&others.pods).cloned().collect(),
            policies: self.policies && !others.policies,
        }
    }

    /// One after the other: policies before the pods they may be about.
    pub(super) fn iter(&self) -> impl Iterator<Item = Topic> {
        let policies = self.policies.then_some(Topic::Policies);
        let pods = self.pods.iter().cloned().map(Topic::Pods);
        policies.into_iter().chain(pods).chain(self.services.iter().cloned().map(Topic::Service))
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<Topic> {
        self.iter().next()
    }

    /// Takes others in.
    pub fn add(&mut self, others: &Self) {
        self.services.extend(others.services.iter().cloned());
        self.pods.extend(others.pods.iter().cloned());
        self.policies |= others.policies;
    }

    /// Takes others out.
    pub fn remove(&mut self, others: &Self) {
        for name in &others.services {
            self.services.remove(name);
        }
        for name in &others.pods {
            self.pods.remove(name);
        }
        self.policies &= !others.policies;
    }
}

/// One of some [`Topics`].
#[derive(Debug, Clone)]
pub(super) enum Topic {
    Service(ObjectName),
    Pods(ClusterName),
    Policies,
}

impl Topic {
    /// Takes it out of some.
    pub(super) fn done(self, topics: &mut Topics) {
        match self {
            Self::Service(name) => _ = topics.services.remove(&name),
            Self::Pods(cluster) => _ = topics.pods.remove(&cluster),
            Self::Policies => topics.policies = false,
        }
    }

    /// Whether an object is of it.
    pub(super) fn has(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Service(name), Key::Endpoint(endpoint)) => endpoint.service.name == *name,
            (Self::Pods(cluster), Key::Pod(_) | Key::Namespace(_)) => key.cluster() == cluster,
            (Self::Policies, Key::Policy(_)) => true,
            _ => false,
        }
    }

    /// Before which keys those of its objects begin: of a cluster's own services and policies, of whosever pods.
    pub(super) fn firsts(&self, own: &ClusterName) -> Vec<Key> {
        let none = String::new;
        match self {
            Self::Service(name) => {
                let service = ServiceKey { cluster: own.clone(), name: name.clone() };
                vec![Key::Endpoint(EndpointKey { service, name: none() })]
            }
            Self::Pods(cluster) => {
                let namespace = NamespaceName { cluster: cluster.clone(), name: none() };
                vec![Key::Namespace(namespace.clone()), Key::Pod(PodName { namespace, name: none() })]
            }
            Self::Policies => vec![Key::Policy(PolicyName {
                cluster: own.clone(),
                kind: PolicyKind::NetworkPolicy,
                namespace: none(),
                name: none(),
            })],
        }
    }
}

/// Whether an object is still of the topic that begins with `first`.
pub(super) fn together(first: &Key, key: &Key) -> bool {
    match (first, key) {
        (Key::Endpoint(first), Key::Endpoint(endpoint)) => first.service == endpoint.service,
        _ => first.kind() == key.kind() && first.cluster() == key.cluster(),
    }
}

/// What a receiver wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    /// Whether the endpoints of every service are wanted, named or not.
    pub every_service: bool,
    /// Whether the receiver knows of pods, namespaces and policies. Without it none of them is wanted, named or not. An
    /// agent that does is told of its own node's pods, its cluster's namespaces and all policies in any case.
    pub policing: bool,
    /// What is wanted beside.
    pub topics: Topics,
}

impl Default for Interest {
    /// What somebody wants who knows nothing of interests.
    fn default() -> Self {
        Self { every_service: true, policing: false, topics: Topics::default() }
    }
}

impl Interest {
    /// The endpoints of every service, and what everybody is told of the rest.
    pub fn everything() -> Self {
        Self { policing: true, ..Self::default() }
    }

    /// Nothing but what always travels.
    pub fn nothing() -> Self {
        Self { every_service: false, policing: false, topics: Topics::default() }
    }

    /// These, and what always travels.
    pub fn only(topics: Topics) -> Self {
        Self { every_service: false, policing: true, topics }
    }

    /// Whether an object is wanted. `node`: the node that a pod is on. `agent`: the node whose agent wants it, if it is one.
    pub fn covers(&self, key: &Key, node: Option<&NodeName>, agent: Option<&NodeName>) -> bool {
        match key {
            Key::Cluster(_) | Key::Node(_) | Key::Peer(_) | Key::Service(_) | Key::Import(_) => true,
            Key::Endpoint(_) => self.every_service || self.topics.cover(key),
            Key::Policy(_) => self.policing && (agent.is_some() || self.topics.policies),
            Key::Namespace(name) => {
                self.policing
                    && (self.topics.cover(key) || agent.is_some_and(|agent| agent.cluster == name.cluster))
            }
            Key::Pod(_) => {
                self.policing && (self.topics.cover(key) || node.is_some_and(|node| agent == Some(node)))
            }
        }
    }

    /// How many services are named; none when all are wanted.
    pub fn named(&self) -> Option<usize> {
        (!self.every_service).then_some(self.topics.services.len())
    }
}

/// The node that an object's being told may depend on: a pod's.
pub(super) fn node_of(object: &Object) -> Option<&NodeName> {
    match object {
        Object::Pod(pod) => pod.node.as_ref(),
        _ => None,
    }
}

/// What a receiver asks for when a conversation begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Where it left off; none for everything.
    pub position: Option<Position>,
    /// What it has as of that position, or wants with everything.
    pub interest: Interest,
    /// Whether it understands [`super::Tell::Keep`].
    pub keeps: bool,
}

/// A change of what is wanted, in the middle of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// What is wanted from now on.
    pub add: Topics,
    /// What is not wanted any more.
    pub remove: Topics,
}

impl Want {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}
