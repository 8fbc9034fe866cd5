//! The decisions: what the kernel ought to hold, who is alive, what is told to whom.
//!
//! Plain functions over plain values, and small state machines of one shape: `handle_*(input, now)` takes in,
//! `poll_*()` gives out, `deadline()` says when to come back. Time is an argument (a [`core::time::Duration`] since
//! any fixed moment), seeds are arguments; nothing here sleeps, locks, opens or spawns.
#![forbid(unsafe_code)]

pub mod exchange;
pub mod health;
pub mod mcs;
pub mod mesh;
pub mod names;
pub mod plan;
pub mod policy;
pub mod preshared;
pub mod ranges;
pub mod rekey;
pub mod services;
#[cfg(test)]
mod testing;
