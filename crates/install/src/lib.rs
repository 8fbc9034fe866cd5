//! What a cluster is given so that it runs us: one typed definition, for `causeway install` and for the Helm chart.
#![forbid(unsafe_code)]

pub mod chart;
mod objects;
pub mod settings;
mod tree;

pub use objects::{objects, to_yaml};
pub use settings::Settings;
