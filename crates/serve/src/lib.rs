//! Answers to whoever asks us: the local API on a Unix socket, metrics and health over HTTP,
//! names over DNS.
//!
//! It translates and obeys: what is answered comes from whoever implements [`local::AgentApi`],
//! [`local::ControllerApi`] and [`Vitals`]. The other side of the local API is [`client`].
#![forbid(unsafe_code)]

pub mod client;
mod connections;
pub mod denied;
pub mod dns;
pub mod health_check;
pub mod http;
pub mod local;
pub mod metrics;
pub mod policing;

pub use denied::Denied;
pub use http::{Health, Vitals};
