//! The policies' part of the configuration.

use std::net::SocketAddr;

use engine::policy::{Distributed, Established, Host, Selectors, Settings, allowed};
use model::NodeName;
use serde::{Deserialize, Serialize};

/// Who may talk to whom: what holds for all policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Whether policies are enforced. Without it the node does not even hear of them.
    pub enabled: bool,
    /// Which clusters a selector of pods means that names none.
    pub selectors: Selectors,
    /// What becomes of flows that there are when policies change.
    pub established: Established,
    /// Whether policies about nodes are enforced: what the node itself sends and is sent by the underlay device.
    pub host: bool,
    /// What of that no policy stops, beside what holds the clusters together: ports of the node's own (`tcp/22`), and
    /// addresses of others, with all that is said to them and from there.
    pub host_always_allowed: Vec<String>,
}

impl Policy {
    /// As the engine wants it for a node whose tunnels have these ports, and whose controllers are there.
    pub(super) fn settings(
        &self,
        node: NodeName,
        tunnel_ports: [u16; 2],
        controllers: &[SocketAddr],
    ) -> Settings {
        let allowed = || allowed(&self.host_always_allowed).expect("load() has checked them");
        let host = self.host.then(|| Host::new(allowed(), tunnel_ports, controllers));
        // What the controller does not accept it does not tell.
        let distributed = Distributed::Accept;
        Settings { selectors: self.selectors, distributed, host, ..Settings::of_node(node) }
    }

    /// Whether the node itself is judged.
    pub(crate) fn judges_host(&self) -> bool {
        self.enabled && self.host
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enabled: true,
            selectors: Selectors::Local,
            established: Established::Cut,
            host: false,
            host_always_allowed: vec!["tcp/22".into()],
        }
    }
}
