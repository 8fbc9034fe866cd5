//! Several clouds on one machine.
#![forbid(unsafe_code)]

pub mod file;
pub mod plan;
