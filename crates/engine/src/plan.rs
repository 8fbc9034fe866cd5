//! The plan: the kernel state this node ought to have, as a plain value, and the operations that lead to it.

mod assemble;
mod diff;
mod entries;
mod op;
mod state;
mod within;

pub use diff::diff;
pub use op::Op;
pub use state::{
    Backend, Frontend, Ladder, Masquerade, NodeId, Otherwise, Outside, Peer, Route, RouteVia, Set, SetId,
    State, TierSpan, Tunnel,
};
pub use within::within;
