//! A cluster of Kubernetes: its API server.
//!
//! What is read, and how, is [`watch`]'s: the same events as from a folder of manifests. Everything written goes out as
//! server-side apply of one field manager, [`FIELD_MANAGER`], and only where it changes something.

pub mod access;
pub mod client;
pub mod clusterlink;
pub mod error;
pub mod lease;
pub mod meshnode;
pub mod multicluster;
pub mod peer;
pub mod report;
mod retry;
pub mod review;
pub mod state;
pub mod watch;
pub mod write;

pub use error::Error;
pub use kube::Client;

/// Who owns the fields that we apply.
pub const FIELD_MANAGER: &str = "causeway";
