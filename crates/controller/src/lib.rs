//! The cluster daemon: watches one cluster's objects, tells its agents, exchanges with linked clusters.
#![forbid(unsafe_code)]

mod api;
mod complaints;
pub mod config;
mod controller;
mod declared;
mod disk;
mod doubts;
mod exports;
mod imports;
mod known;
mod mesh;
mod multicluster;
mod peers;
mod policy;
mod rekey;
mod run;
mod site;
mod slices;
mod writer;

pub use run::run;
