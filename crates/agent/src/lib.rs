//! The node daemon.

pub mod config;
