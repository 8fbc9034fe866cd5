//! What can go wrong in a conversation, and whose turn it is then.

use std::io;
use std::path::PathBuf;

/// Why a conversation did not happen, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours could not be read or written.
    #[error("cannot {attempt} {}: {source}", path.display())]
    File {
        /// `read`, `write`, ...
        attempt: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("cannot reach {address}: {detail}; check that it runs and that TCP gets through")]
    Unreachable {
        /// Whom.
        address: String,
        /// What happened.
        detail: String,
    },
}
