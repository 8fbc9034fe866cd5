//! The plan: the kernel state this node ought to have, as a plain value, and the operations that lead to it.

mod assemble;
mod diff;
mod entries;
mod op;
pub mod policing;
mod state;
mod touched;
mod within;

pub use diff::{diff, diff_touched};
pub use op::Op;
pub use state::{
    Backend, Direct, Frontend, Ladder, Masquerade, Neighbour, NodeId, Otherwise, Outside, PAGE, Peer, Route,
    RouteVia, Set, SetId, State, TABLE_PAGE, Table, TableKey, TierSpan, Tunnel, pages, table_pages,
};
pub use touched::Touched;
pub use within::within;
