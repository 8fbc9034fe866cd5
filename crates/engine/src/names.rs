//! Names: which of them exist on this node, and what they stand for.
//!
//! Two zones: the clusterset's, from the own cluster's imports (KEP-1645's DNS specification), and the cluster's, from
//! its own services (Kubernetes' DNS specification). A [`Planner`] works out what a change of the world means for the
//! names of the services it touches; a [`Zone`] holds the names and finds them without allocating. Records are kept
//! as messages carry them (RFC 1035), so an answer is a copy.
//!
//! A headless service's addresses are the ladder's view: ready endpoints on nodes that answer, nearest first. Nothing
//! here reads or writes packets, and what is outside the two zones is somebody else's to answer.

mod name;
mod planner;
mod record;
mod records;
mod reverse;
#[cfg(test)]
mod tests;
mod zone;

pub use name::{Name, NameError};
pub use planner::{Domain, Planner, Settings, Subject, Update};
pub use record::{Kind, Rrset, Written};
pub use zone::{Apex, Found, Zone};
