//! What the daemons count and measure, in the OpenMetrics text format.
//!
//! Labels are closed sets and cluster names: never an address, a pod or an error's text.

mod agent;
mod controller;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use agent::{AgentMetrics, DatapathCounter};
pub use controller::ControllerMetrics;

/// What every name begins with.
const PREFIX: &str = "causeway";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCluster {
    cluster: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDirection {
    direction: &'static str,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMap {
    map: &'static str,
}

/// A registry that already says which build this is.
fn registry(version: &str) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", version.to_string())]);
    registry.register("build", "Which build this is", build);
    registry
}

fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a String takes everything");
    text
}
