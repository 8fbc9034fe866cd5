//! Policy: who may talk to whom, decided for one node.
//!
//! [`Planner`] takes in policies, pods, namespaces, nodes, clusters and names that were resolved, each as it changes, and says
//! what the kernel is to hold of them ([`crate::plan::policing::Policing`]) and which operations lead there. What it holds
//! depends on what is so now alone, never on the order in which it came about. [`judge`] judges a packet as the kernel does,
//! and [`explain`] says by which rule.

mod addresses;
mod classes;
mod compiled;
pub mod explain;
mod host;
mod identities;
mod interest;
pub mod judge;
mod lint;
mod matchers;
mod names;
mod networks;
mod peer;
mod planner;
mod ports;
mod problem;
mod rulesets;
mod select;
mod settings;
mod subjects;
mod tracked;
mod verdicts;
mod world;

pub use compiled::Direction;
pub use host::{AllowedError, allowed};
pub use interest::interest;
pub use lint::{Finding, Flaw};
pub use planner::{Outcome, Planner};
pub use problem::Problem;
pub use settings::{Distributed, Established, Host, Limits, Scope, Selectors, Settings};
pub use world::interest_in;
