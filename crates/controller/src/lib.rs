//! The cluster daemon.

pub mod config;
mod known;
