//! The cluster daemon.
