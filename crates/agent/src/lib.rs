//! The node daemon: what the exchange tells becomes the node's kernel state, and the node's pods get their network.
#![forbid(unsafe_code)]

mod aborts;
mod api;
mod cleanup;
pub mod cni;
pub mod config;
mod datapath;
mod endpoints;
mod generations;
mod health_checks;
mod install;
mod keys;
mod mtu;
mod names;
mod neighbour;
mod node;
mod outliers;
mod outlook;
mod path_mtu;
mod police;
mod problems;
mod run;
mod services;
mod status;
mod underlay;

pub use cleanup::{cleanup, rest};
pub use run::run;
