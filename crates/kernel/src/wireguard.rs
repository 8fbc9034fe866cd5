//! WireGuard: the tunnel device of this node.
//!
//! Two halves that meet only at the control socket. [`run`] *is* a device: the user-space process that moves packets
//! between a TUN and UDP. [`Device`] *drives* one, ours or the kernel's, from the agent.

mod baton;
mod control;
mod core;
mod driver;
mod inbound;
mod key;
pub mod offload;
mod outbound;
mod process;
mod socket;
pub mod uapi;

pub use driver::{Device, DeviceError, Launch, Observed, PeerStats, process_of};
pub use key::PrivateKey;
pub use process::{Options, RunError, run, stop_signals};
