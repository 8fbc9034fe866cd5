//! The kernel's packet path, by eBPF: services at the socket hooks and, for clients without sockets here, packet by packet;
//! the guard on the underlay; pods' own names; policies about what they are sent and send.
//!
//! It translates a plan into map entries and keeps programs attached; what a map entry means is written in `bpf/`, and
//! what it ought to be is decided elsewhere. Maps and links are pinned: the packet path outlives the agent.

pub mod abi;
mod attach;
mod bytes;
mod datapath;
mod edge;
mod error;
mod host;
mod near;
mod object;
mod outliers;
mod outside;
mod pins;
pub mod policing;
mod segment;
mod services;
pub(crate) mod sys;
mod table;
mod tables;

pub use attach::TcHook;
pub use bytes::{Be16, Be32, StructLayout, Verdict};
pub use datapath::{Datapath, Options, PIN_DIR};
pub use error::BpfError;
pub use object::{EDGE, GUARD, HOST, NEAR, OUTLIERS, POD, POLICY, SEGMENT, SOCK, Source};
pub use segment::Segment;
