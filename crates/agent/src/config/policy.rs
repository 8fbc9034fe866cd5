//! The policies' part of the configuration.

use engine::policy::{Distributed, Established, Selectors, Settings};
use model::NodeName;
use serde::{Deserialize, Serialize};

/// Who may talk to whom: what holds for all policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Whether policies are enforced. Without it the node does not even hear of them.
    pub enabled: bool,
    /// Which clusters a selector of pods means that names none.
    pub selectors: Selectors,
    /// What becomes of flows that there are when policies change.
    pub established: Established,
}

impl Policy {
    /// As the engine wants it for a node.
    pub(crate) fn settings(&self, node: NodeName) -> Settings {
        // What the controller does not accept it does not tell.
        Settings { selectors: self.selectors, distributed: Distributed::Accept, ..Settings::of_node(node) }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { enabled: true, selectors: Selectors::Local, established: Established::Cut }
    }
}
