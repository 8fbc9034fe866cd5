//! The cluster daemon: watches one cluster's objects, tells its agents, exchanges with linked clusters.
#![forbid(unsafe_code)]

mod api;
pub mod config;
mod known;
mod run;

pub use run::run;
