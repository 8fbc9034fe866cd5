//! The plan: the kernel state this node ought to have, as a plain value, and the operations that lead to it.

mod assemble;
mod diff;
mod state;

pub use diff::{Op, diff};
pub use state::{
    Backend, Frontend, Ladder, NodeId, Peer, Route, RouteVia, Set, SetId, State, TierSpan, Tunnel,
};
