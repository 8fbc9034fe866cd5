//! The exchange: how one process's objects become another's, by snapshot, then deltas, resumable.
//!
//! The teller keeps a [`Log`]; each receiver is only a [`Cursor`] into it, so a slow receiver costs nothing and is
//! never awaited: what it missed is told as it stands when it asks again, and when the log has forgotten a deletion
//! that it has not heard of, it gets a snapshot. [`Teller`] keeps two logs: what agents of the own cluster see, and
//! what may leave the cluster. The receiver keeps a [`Mirror`], which checks what the other side may say ([`Bounds`])
//! and turns what it hears into changes. No bytes here, no streams: `link` carries these values.

mod bounds;
mod log;
mod mirror;
mod refusal;
mod teller;
mod weight;

pub use bounds::Bounds;
pub use log::{Cursor, Limits, Log, Position, Tell, Told};
pub use mirror::{Heard, Held, Mirror, OutOfTurn};
pub use refusal::{Reason, Refusal, Refusals};
pub use teller::{Audience, Teller};
pub use weight::weight;

#[cfg(test)]
mod tests;
