//! How a CA goes over to the next root: the new key signs at once, the old root vouches for it, and is dropped when it
//! can no longer matter.

use std::time::{Duration, SystemTime};

use super::root::{self, made_at};
use super::{Authority, Key};
use crate::Error;

/// Roots at the same time, at most: a bundle that others have to take in stays small.
const ROOTS: usize = 4;
/// Words of older roots for newer ones that go with each certificate, at most.
const CROSSES: usize = 7;

impl Authority {
    /// Makes the next root and goes over to it. The old ones still count.
    ///
    /// # Errors
    /// There are too many already, or a file cannot be written. Then nothing has changed.
    pub(crate) fn rotate(&self, now: SystemTime) -> Result<Self, Error> {
        if self.roots.len() >= ROOTS {
            return Err(Error::TooManyRoots(self.roots.len()));
        }
        let key = Key::generate()?;
        let root = root::make(&self.cluster, &key, self.lifetimes.root, now)?;
        let cross = root::cross(&self.cluster, (&self.roots[0], &self.issuer), key.pair(), now)?;
        let roots = std::iter::once(root).chain(self.roots.iter().cloned()).collect();
        let crosses = std::iter::once(cross).chain(self.crosses.iter().cloned()).take(CROSSES).collect();
        self.replaced(key, roots, crosses)
    }

    /// Drops the roots that no longer matter, or all but the newest. None if there is nothing to drop.
    ///
    /// # Errors
    /// A file cannot be written. Then nothing has changed.
    pub(crate) fn retire(&self, now: SystemTime, all: bool) -> Result<Option<Self>, Error> {
        let count = match all {
            true => 1,
            false => self.ends().take_while(|end| *end > now).count() + 1,
        };
        if count >= self.roots.len() {
            return Ok(None);
        }
        self.reduced(self.roots[..count].to_vec()).map(Some)
    }

    /// When the next root is due.
    pub(crate) fn rotate_at(&self) -> SystemTime {
        made_at(&self.roots[0]).unwrap_or(SystemTime::UNIX_EPOCH) + self.lifetimes.rotate_after
    }

    /// How long until there is something to do.
    pub(crate) fn pause(&self, now: SystemTime) -> Duration {
        let next = self.ends().chain(std::iter::once(self.rotate_at())).min();
        next.and_then(|next| next.duration_since(now).ok()).unwrap_or_default()
    }

    /// When each root but the newest no longer matters, newest first: everything that it had signed has expired, and
    /// the grace is over.
    pub(crate) fn ends(&self) -> impl Iterator<Item = SystemTime> {
        let after = self.lifetimes.certificate + self.lifetimes.grace;
        let successors = self.roots.iter().take(self.roots.len() - 1);
        successors.map(move |newer| made_at(newer).unwrap_or(SystemTime::UNIX_EPOCH) + after)
    }
}
