//! Whose endpoints a receiver wants. Clusters, nodes and services always travel; endpoints, of which there are many,
//! only to whoever uses them.

use std::collections::BTreeSet;

use model::{Key, ObjectName};

use super::Position;

/// The services whose endpoints a receiver wants to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Interest {
    /// All of them.
    #[default]
    Everything,
    /// Those of these names.
    Only(BTreeSet<ObjectName>),
}

impl Interest {
    /// Nothing but what always travels.
    pub fn nothing() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Whether the endpoints of a service are wanted.
    pub fn has(&self, service: &ObjectName) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(names) => names.contains(service),
        }
    }

    /// Whether an object is wanted.
    pub fn covers(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Only(names), Key::Endpoint(endpoint)) => names.contains(&endpoint.service.name),
            _ => true,
        }
    }

    /// How many services are named; none when all are wanted.
    pub fn named(&self) -> Option<usize> {
        match self {
            Self::Everything => None,
            Self::Only(names) => Some(names.len()),
        }
    }
}

/// What a receiver asks for when a conversation begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Where it left off; none for everything.
    pub position: Option<Position>,
    /// The services whose endpoints it has as of that position, or wants with everything.
    pub interest: Interest,
    /// Whether it understands [`super::Tell::Keep`].
    pub keeps: bool,
}

/// A change of what is wanted, in the middle of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// Services whose endpoints are wanted from now on.
    pub add: BTreeSet<ObjectName>,
    /// Services whose endpoints are not wanted any more.
    pub remove: BTreeSet<ObjectName>,
}

impl Want {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}
