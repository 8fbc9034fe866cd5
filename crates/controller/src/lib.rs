//! The cluster daemon.

pub mod config;
