//! What a source of objects says.

use model::Change;

/// What a source of objects says: first everything there is, then [`Event::Synced`], then what changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These objects are now so, or gone. Each key occurs at most once.
    Changes(Vec<Change>),
    /// Everything that was there at the start has been said: what a consumer still holds beyond it is gone.
    Synced,
    /// Something that an operator must put right; the rest goes on as before.
    Problem(String),
}
