//! This machine's clock, as seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 on a clock that is before that.
pub fn now() -> i64 {
    i64::try_from(seconds(SystemTime::now())).unwrap_or(i64::MAX)
}

/// Seconds from 1970 to a time; 0 for one before that.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
