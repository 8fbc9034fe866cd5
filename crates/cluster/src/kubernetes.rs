//! A cluster of Kubernetes: its API server.
//!
//! What is read, and how, is [`watch`]'s: the same events as from a folder of manifests. Everything written goes out as
//! server-side apply of one field manager, [`FIELD_MANAGER`], and only where it changes something.

pub mod client;
pub mod error;
pub mod watch;

pub use error::Error;

/// Who owns the fields that we apply.
pub const FIELD_MANAGER: &str = "causeway";
