//! Conversations with other processes of ours: gRPC streams over mutual TLS.
//!
//! [`agent`] is the node's side of the exchange, [`controller`] the cluster's: one listener for the cluster's own
//! agents and for the controllers of linked clusters, and the dialling to those. What is said is `engine::exchange`'s
//! to decide; this crate finds the other side, proves who it is, carries bytes, notices silence, and tries again.
#![forbid(unsafe_code)]

mod address;
pub mod agent;
mod backoff;
pub mod clock;
pub mod controller;
mod enrol;
mod error;
mod files;
pub mod frames;
mod pki;
mod report;
pub mod saved;
mod talk;
mod tally;
mod token;
mod tokens;
mod transport;

#[cfg(test)]
extern crate self as causeway_link;
#[cfg(test)]
mod strangers;

pub use address::{Address, NoAddress};
pub use error::{Error, ProtocolError};
pub use pki::{Examiner, Identity, Untrusted};
pub use report::NodeReport;
pub use token::{TokenError, token_cluster};
