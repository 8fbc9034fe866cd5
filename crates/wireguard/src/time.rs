//! Time as the protocol sees it.

use std::time::Duration;

/// What the clocks say. Both are read by the caller, once per batch of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Since any fixed moment; never goes back. Timers live here.
    pub uptime: Duration,
    /// Since 1970. Handshakes are stamped with it, and people are told it.
    pub unix: Duration,
}

/// A TAI64N timestamp, 12 bytes, compared as bytes: <https://cr.yp.to/libtai/tai64.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) [u8; 12]);

impl Timestamp {
    /// The stamp of this moment, later than `last` even if the clock went back or stood still. The nanoseconds are
    /// rounded to 2^24 as Linux does, so that the exact clock does not leak.
    pub(crate) fn after(unix: Duration, last: Option<Self>) -> Self {
        const TAI64_OF_1970: u64 = (1 << 62) + 10;
        let nanos = unix.subsec_nanos() & !((1 << 24) - 1);
        let stamp = Self::new(TAI64_OF_1970 + unix.as_secs(), nanos);
        match last {
            Some(last) if stamp <= last => last.next(),
            _ => stamp,
        }
    }

    fn new(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }

    fn next(self) -> Self {
        let (seconds, nanos) = self.0.split_at(8);
        let seconds = u64::from_be_bytes(seconds.try_into().expect("8 bytes"));
        let nanos = u32::from_be_bytes(nanos.try_into().expect("4 bytes"));
        if nanos < 999_999_999 { Self::new(seconds, nanos + 1) } else { Self::new(seconds + 1, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_only_grow() {
        let first = Timestamp::after(Duration::new(1_700_000_000, 999_999_999), None);
        let again = Timestamp::after(Duration::new(1_700_000_000, 999_999_999), Some(first));
        let back = Timestamp::after(Duration::new(5, 0), Some(again));
        assert!(first < again && again < back);
        assert_eq!(first.0[..8], (0x4000_0000_0000_000a_u64 + 1_700_000_000).to_be_bytes());
        let last = Timestamp::new(7, 999_999_999);
        assert_eq!(last.next(), Timestamp::new(8, 0));
    }
}
