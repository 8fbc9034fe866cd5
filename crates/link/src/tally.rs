//! What was refused: counted by reason, said once for each reason and origin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// How many different refusals are remembered as said. Beyond it they are counted only.
const REMEMBERED: usize = 1024;

/// Why a stranger or a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refused {
    /// Bytes that are no TLS, or a handshake that was not finished in time.
    Handshake,
    /// A certificate that is not what it says.
    Certificate,
    /// A token.
    Token,
    /// A token, from where too many came that proved nothing.
    Impatience,
    /// A token that could not be checked.
    Unreviewed,
    /// A call without the certificate it needs, or with another's.
    Caller,
    /// A version too far from ours.
    Version,
    /// A message that does not parse or is too large.
    Message,
    /// A frame that the other side may not send, or that this version does not know.
    Frame,
    /// A cluster that cannot be linked.
    Link,
    /// An object inside a frame.
    Object,
    /// More than a link may cost.
    Budget,
}

impl Refused {
    /// As metrics and logs write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Impatience => "impatience",
            Self::Unreviewed => "unreviewed",
            Self::Caller => "caller",
            Self::Version => "version",
            Self::Message => "message",
            Self::Frame => "frame",
            Self::Link => "link",
            Self::Object => "object",
            Self::Budget => "budget",
        }
    }
}

#[derive(Default)]
struct Counted {
    counts: BTreeMap<&'static str, u64>,
    said: BTreeSet<(Refused, String)>,
}

/// Counts refusals and logs the first of each.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Counted>);

impl Tally {
    /// Counts a refusal of something that came from `origin`. Returns the line for the operator if it is the first.
    pub(crate) fn refuse(&self, why: Refused, origin: &str, detail: &str) -> Option<String> {
        let mut counted = self.0.lock().expect("no panic while the tally is locked");
        *counted.counts.entry(why.as_str()).or_default() += 1;
        let first = counted.said.len() < REMEMBERED && counted.said.insert((why, origin.to_string()));
        first.then(|| {
            tracing::warn!(reason = why.as_str(), origin, detail, "refused");
            format!("refused ({}) from {origin}: {detail}", why.as_str())
        })
    }

    /// Counts objects that the state machine refused, and has said already.
    pub(crate) fn add_objects(&self, count: u64) {
        if count > 0 {
            let mut counted = self.0.lock().expect("no panic while the tally is locked");
            *counted.counts.entry(Refused::Object.as_str()).or_default() += count;
        }
    }

    /// The counts by reason.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().expect("no panic while the tally is locked").counts.clone()
    }
}
