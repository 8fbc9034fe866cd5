//! Conversations with other processes of ours: gRPC streams over mutual TLS.
//!
//! [`agent`] is the node's side of the exchange, [`controller`] the cluster's: one listener for the cluster's own
//! agents and for the controllers of linked clusters, and the dialling to those. What is said is `engine::exchange`'s
//! to decide; this crate finds the other side, proves who it is, carries bytes, notices silence, and tries again.
#![forbid(unsafe_code)]

pub mod agent;
pub mod controller;
mod error;
mod report;
pub mod saved;

pub use error::Error;
pub use report::NodeReport;
