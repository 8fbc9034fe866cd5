//! What a source of objects says.

use model::Change;

use crate::manifest::Id;
use crate::multicluster::Fact;

/// What a source of objects says: first everything there is, then [`Event::Synced`], then what changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These objects are now so, or gone. Each key occurs at most once.
    Changes(Vec<Change>),
    /// What is now so of namespaces, exports and imports, for whoever writes imports. Each at most once.
    Facts(Vec<Fact>),
    /// Everything that was there at the start has been said: what a consumer still holds beyond it is gone.
    Synced,
    /// Something that an operator must put right; the rest goes on as before.
    Problem(String),
    /// What an operator ought to know for as long as it is so, in place of what was said before: that the API server is
    /// out of reach, that some objects change nothing. Empty when there is nothing.
    Notes(Vec<String>),
    /// What is wrong with one object, in place of what was said of it before; empty when it is well again, or gone.
    Object {
        /// Which.
        id: Id,
        /// What; the rest of the object, and every other, is used all the same.
        complaints: Vec<Complaint>,
    },
}

/// Something in an object that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// In one word, as the `reason` of a Kubernetes Event: `PodIPOutsideRanges`.
    pub reason: &'static str,
    /// In a sentence: which value, what is done without it, what to write.
    pub message: String,
}
