//! A receiver's place in a log, and what it wants to hear from there on.

use model::{Key, NodeName, Object};

use super::interest::node_of;
use super::{Ask, Interest, Position, Topics, Want};

/// A receiver's place, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) phase: Phase,
    pub(super) interest: Interest,
    /// The node whose agent it is; none for another cluster.
    pub(super) agent: Option<NodeName>,
    /// Whether it understands [`super::Tell::Keep`].
    pub(super) keeps: bool,
    /// How many changes of what it wants were taken in, and how many of them it was told are.
    pub(super) taken: u32,
    pub(super) acknowledged: u32,
    /// The place that it was last told it is at.
    pub(super) said: u64,
    /// What it wants and has not been told as it stands.
    pub(super) fill: Topics,
    /// What of the first of them was told last.
    pub(super) filled: Option<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing told yet on this stream.
    Start(Option<Position>),
    /// Telling everything as of `since`, in the order of keys; `after` was told last. What has not changed since
    /// `base` the receiver has already.
    Snapshot { since: u64, base: Option<u64>, after: Option<Key> },
    /// Everything up to `revision` is told; `synced` whether that was said.
    Deltas { revision: u64, synced: bool },
}

impl Cursor {
    /// Begins with what the receiver asks for.
    pub fn new(ask: Ask) -> Self {
        let Ask { position, interest, keeps } = ask;
        Self {
            phase: Phase::Start(position),
            interest,
            agent: None,
            keeps,
            taken: 0,
            acknowledged: 0,
            said: 0,
            fill: Topics::default(),
            filled: None,
        }
    }

    /// For a receiver that wants everything, and begins where it left off, if it was here before.
    pub fn everything(position: Option<Position>) -> Self {
        Self::new(Ask { position, ..Ask::default() })
    }

    /// The same for the agent of a node: it is told of the node's pods in any case.
    #[must_use]
    pub fn of_agent(self, node: NodeName) -> Self {
        Self { agent: Some(node), ..self }
    }

    /// The clusters whose pods it wants.
    pub fn pods(&self) -> impl Iterator<Item = &model::ClusterName> {
        self.interest.topics.pods.iter().filter(|_| self.interest.policing)
    }

    /// Takes in that the receiver wants something else. It is told so before it is told anything else.
    pub fn want(&mut self, mut want: Want) {
        self.taken += 1;
        if self.interest.every_service {
            want.add.services.clear();
            want.remove.services.clear();
        }
        // What is under way for it begins anew, or ends.
        if self.filled.as_ref().is_some_and(|last| want.add.cover(last) || want.remove.cover(last)) {
            self.filled = None;
        }
        self.interest.topics.remove(&want.remove);
        self.fill.remove(&want.remove);
        self.interest.topics.add(&want.add);
        self.fill.add(&want.add);
    }

    /// How much it has named.
    pub fn named(&self) -> usize {
        self.interest.topics.len()
    }

    /// Whether an object is to be told in its turn: wanted, and not about to be told with others of its topic. `node`: the
    /// node that a pod is on.
    pub(super) fn tells(&self, key: &Key, node: Option<&NodeName>) -> bool {
        if !self.fill.cover(key) {
            return self.interest.covers(key, node, self.agent.as_ref());
        }
        // The receiver may stop to want the topic before its turn comes: what it is told in any case it is told now.
        let Interest { every_service, policing, .. } = self.interest;
        let always = Interest { every_service, policing, topics: Topics::default() };
        always.covers(key, node, self.agent.as_ref())
    }

    /// The same, of an object.
    pub(super) fn tells_object(&self, object: &Object) -> bool {
        match object {
            // What there is the most of, and of which a key need not be made.
            Object::Endpoint(endpoint) => {
                let name = &endpoint.key.service.name;
                let wanted = self.interest.every_service || self.interest.topics.services.contains(name);
                wanted && !self.fill.services.contains(name)
            }
            Object::Cluster(_)
            | Object::Node(_)
            | Object::Peer(_)
            | Object::Service(_)
            | Object::Import(_) => true,
            Object::Policy(_) | Object::Namespace(_) | Object::Pod(_) => {
                self.tells(&object.key(), node_of(object))
            }
        }
    }
}
