//! Who answers through the mesh, and how far away the other clusters are.
//!
//! [`Prober`] decides whom to ask when and whom to call dead; [`Gateways`] tells which of them carry nothing, [`Relief`] which
//! forward badly; [`Ranking`] orders clusters by their
//! [`scores`]: what was measured, what the way costs, how much each is wanted.
//! [`Paths`] finds ways between nodes behind NATs; [`Front`] chooses among the gateways of a client that is no node.
//! None sends anything: the caller carries probes (ICMP echo to a peer's mesh address) and answers.

mod answers;
mod front;
mod gateways;
pub mod paths;
mod prober;
mod ranking;
mod relief;
mod rtt;
mod score;
#[cfg(test)]
mod tests;
mod timing;
pub mod unanswered;

pub use answers::Answers;
pub use front::Front;
pub use gateways::Gateways;
pub use paths::Paths;
pub use prober::{Event, Probe, Prober};
pub use ranking::Ranking;
pub use relief::Relief;
pub use score::{Way, scores};
