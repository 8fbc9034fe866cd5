//! What became of every question, by a closed set of reasons.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Answered with records.
    Answered,
    /// Answered with as many records as fit; the client asks again over TCP.
    Truncated,
    /// The name has no records of the kind (NODATA).
    NoData,
    /// There is no such name (NXDOMAIN).
    NoName,
    /// Not known yet: the agent has not heard of everything (SERVFAIL).
    Unsynced,
    /// No question as the RFCs write it (FORMERR).
    Malformed,
    /// Another operation than a question (NOTIMP).
    NotImplemented,
    /// A zone transfer, another class than the Internet's, or a name that nobody was named to ask for (REFUSED).
    Refused,
    /// Asked from outside the ranges that are answered (REFUSED).
    Stranger,
    /// A version of EDNS that is not spoken here (BADVERS).
    BadVersion,
    /// No DNS header, or an answer: dropped.
    Dropped,
    /// Answered by an upstream server.
    Forwarded,
    /// No upstream server answered in time (SERVFAIL).
    UpstreamFailed,
    /// Too many questions wait for upstream servers already (SERVFAIL).
    Busy,
    /// A TCP connection was closed because there are too many, or because its client was silent.
    TcpClosed,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 15] = [
        Self::Answered,
        Self::Truncated,
        Self::NoData,
        Self::NoName,
        Self::Unsynced,
        Self::Malformed,
        Self::NotImplemented,
        Self::Refused,
        Self::Stranger,
        Self::BadVersion,
        Self::Dropped,
        Self::Forwarded,
        Self::UpstreamFailed,
        Self::Busy,
        Self::TcpClosed,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Truncated => "truncated",
            Self::NoData => "no_data",
            Self::NoName => "no_name",
            Self::Unsynced => "unsynced",
            Self::Malformed => "malformed",
            Self::NotImplemented => "not_implemented",
            Self::Refused => "refused",
            Self::Stranger => "stranger",
            Self::BadVersion => "bad_version",
            Self::Dropped => "dropped",
            Self::Forwarded => "forwarded",
            Self::UpstreamFailed => "upstream_failed",
            Self::Busy => "busy",
            Self::TcpClosed => "tcp_closed",
        }
    }
}

/// How often each reason was given.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Reason::ALL.len()]);

impl Counters {
    /// One more.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}
