//! Many engines on one virtual clock: clusters that tell and hear each other through a network with delay, jitter,
//! loss, bandwidth and partitions, all from one seed.
//!
//! The engines are the real ones (`engine::exchange`), and so are the frames (`link::frames`); only streams, sockets and
//! clocks are played. The same seed gives the same run, to the byte. What a run measures is in [`Report`].
#![forbid(unsafe_code)]

mod hostile;
mod measure;
mod network;
mod random;
mod run;
mod scenario;
pub mod shape;
mod site;
mod stream;

pub use hostile::Misdeed;
pub use measure::{Ages, Report, Traffic};
pub use network::Path;
pub use random::Random;
pub use run::Sim;
pub use scenario::{Encoding, Partition, Scenario};
pub use shape::Shape;
