//! A cluster without Kubernetes: a folder of the same manifests.
//!
//! [`Store`] writes the folder the way an API server's clients would write objects; [`watch`] reads it and says what
//! changed; [`workloads`] stands in for the Deployment controller and the scheduler. A folder may be written by
//! programs, by hand, or both: only files named `*.yaml`, `*.yml` or `*.json` count, subfolders and names that begin with
//! a dot do not. One watcher a folder: it alone gives services their virtual addresses, and keeps them in `.vips.json`.

mod folder;
mod source;
mod store;
mod text;
mod vips;
mod watch;
pub mod workloads;

pub use crate::Event;
pub use store::{Store, StoreError};
pub use watch::{Watch, WatchError, watch};
