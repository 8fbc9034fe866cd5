//! The exchange: how one process's objects become another's, by snapshot, then deltas, resumable.
//!
//! The teller keeps a [`Log`]; each receiver is only a [`Cursor`] into it, so a slow receiver costs nothing and is
//! never awaited: what it missed is told as it stands when it asks again, and when the log has forgotten a deletion
//! that it has not heard of, it gets a snapshot, in which what is as it was takes eight bytes. [`Teller`] keeps two
//! logs: what agents of the own cluster see, and what may leave the cluster. A receiver is told of the endpoints of
//! the services that it names, and of the pods of the clusters that it names ([`Interest`]) only. It keeps a [`Mirror`], which checks what the other side may say
//! ([`Bounds`]), stops at what it may cost ([`Budget`]), and turns what it hears into changes. No bytes here, no
//! streams: `link` carries these values.

mod bounds;
mod budget;
mod cursor;
mod digest;
mod interest;
mod log;
mod mirror;
mod refusal;
mod teller;
mod weight;

pub use bounds::{Around, Bounds, KeyOf};
pub use budget::{Budget, Measure, Meter, Overrun};
pub use cursor::Cursor;
pub use digest::digest;
pub use interest::{Ask, Interest, Topics, Want};
pub use log::{Limits, Log, Position, Tell, Told};
pub use mirror::{Heard, Held, Mirror, Opening, OutOfTurn};
pub use refusal::{Reason, Refusal, Refusals};
pub use teller::{Audience, Teller};
pub use weight::weight;

#[cfg(test)]
mod tests;
