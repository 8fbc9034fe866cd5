//! The cluster daemon: watches one cluster's objects, tells its agents, exchanges with linked clusters.
#![forbid(unsafe_code)]

mod api;
mod complaints;
pub mod config;
mod controller;
mod declared;
mod disk;
mod known;
mod mesh;
mod run;
mod site;
mod writer;

pub use run::run;
