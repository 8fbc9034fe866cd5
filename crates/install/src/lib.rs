//! What a cluster is given so that it runs us: one typed definition, for `causeway install` and for the Helm chart.
//!
//! [`settings`] is what can be chosen, [`objects()`] what comes of it, [`definitions`] what it shares with others, [`chart`] the same with the choice left open.
//! [`read`] and [`decide`] find settings that suit a cluster; [`apply`], [`standing`], [`installed()`] and [`remove`] are
//! single steps of an installation's life. Their order, and waiting, is the caller's.
#![forbid(unsafe_code)]

pub mod api;
mod apply;
pub mod chart;
pub mod decide;
pub mod definitions;
pub mod facts;
mod installed;
mod objects;
pub mod read;
pub mod remove;
pub mod settings;
mod standing;
mod tree;

pub use apply::{Applied, apply, name};
pub use installed::{Installed, Skew, Unknown, installed, skew};
pub use objects::{objects, to_yaml};
pub use settings::Settings;
pub use standing::{Daemon, Standing, Trouble, standing};
