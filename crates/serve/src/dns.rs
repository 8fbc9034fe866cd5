//! A DNS server: the names of [`engine::names`], and everything else by asking somebody else.
//!
//! One thread an address reads and answers UDP in batches; one thread more does whatever waits: TCP, and the upstream
//! servers. Messages are read and written by hand on the way that has to be quick, and compared with a library's
//! reading of them in the tests. What a name stands for is the engine's; here is only how it is asked and told.
//! Strangers (whoever asks from outside the ranges that are told) are refused: nobody's amplifier.

mod answer;
mod counters;
mod forward;
mod message;
mod resolv;
mod server;
mod tcp;
mod told;
mod udp;

pub use answer::{Transport, answer};
pub use counters::{Counters, Reason};
pub use forward::Upstreams;
pub use message::Action;
pub use resolv::nameservers;
pub use server::{DnsError, Options, Server, Shared, Witness};
pub use told::{Told, told};
