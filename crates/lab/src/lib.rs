//! Several clouds on one machine.
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod daemon;
pub mod demo;
pub mod down;
pub mod echo;
pub mod file;
pub mod load;
pub mod matrix;
pub mod node;
pub mod plan;
pub mod pod;
pub mod policy;
pub mod probe;
pub mod state;
pub mod status;
pub mod supervise;
pub mod underlay;
pub mod up;
