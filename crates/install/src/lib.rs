//! What a cluster is given so that it runs us: one typed definition, for `causeway install` and for the Helm chart.
#![forbid(unsafe_code)]

pub mod chart;
pub mod decide;
pub mod facts;
mod objects;
pub mod read;
pub mod settings;
mod tree;

pub use objects::{objects, to_yaml};
pub use settings::Settings;
