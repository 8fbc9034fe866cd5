//! Which versions of the protocol understand each other.

use crate::pb;

/// The protocol's version. Minor: something was added; major: something old no longer works.
/// 1.1 (2026-11): exports, imports and host names travel.
/// 1.2 (2026-11): receivers name the services whose endpoints they want; what is as it was takes eight bytes; pings, and
/// why a stream ends.
/// 1.3 (2026-11): who may dial load balancers' addresses, and where nodes tell load balancers of their endpoints.
/// 1.4 (2026-11): services declare what the backends of a cluster carry together.
/// 1.5 (2026-11): policies, and the pods and namespaces that they select, for whoever says that they are of use there;
/// labels of nodes.
/// 1.6 (2026-11): how nodes take part in the mesh: with whom they have tunnels, who is a gateway; peers that are no nodes, and
/// the ranges of their addresses; policies about nodes.
/// 1.7 (2026-11): the keys that nodes will have next; where nodes behind a NAT are seen, and who passes on for them.
/// 1.8 (2026-11): whose tunnels let gateways stand in for each other; what is not encrypted inside a location, and what nodes
/// take so; the generations of pre-shared keys that nodes hold.
pub const VERSION: pb::Version = pb::Version { major: 1, minor: 8 };

/// Whether the other side knows what came with 1.2.
pub fn knows_interests(theirs: Option<pb::Version>) -> bool {
    theirs.is_some_and(|version| version.minor >= 2)
}

/// How far two minor versions may lie apart.
const SKEW: u32 = 2;

/// The other side's version is too far from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the other side speaks version {}.{} of the exchange, this one {}.{}: they may differ by {SKEW} in the second \
     number; upgrade the older one first",
    theirs.major, theirs.minor, ours.major, ours.minor
)]
pub struct VersionSkew {
    /// What this side speaks.
    pub ours: pb::Version,
    /// What the other side speaks.
    pub theirs: pb::Version,
}

/// Whether a conversation can be had with the other side. A missing version is version 0.0, which nobody speaks.
pub fn check_version(theirs: Option<pb::Version>) -> Result<(), VersionSkew> {
    check(VERSION, theirs.unwrap_or_default())
}

fn check(ours: pb::Version, theirs: pb::Version) -> Result<(), VersionSkew> {
    if ours.major == theirs.major && ours.minor.abs_diff(theirs.minor) <= SKEW {
        Ok(())
    } else {
        Err(VersionSkew { ours, theirs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew() {
        let v = |major, minor| pb::Version { major, minor };
        for (ours, theirs, good) in [
            (v(1, 8), v(1, 6), true),
            (v(1, 6), v(1, 6), true),
            (v(1, 6), v(1, 4), true),
            (v(1, 6), v(1, 8), true),
            (v(1, 6), v(1, 3), false),
            (v(1, 6), v(1, 9), false),
            (v(1, 0), v(1, u32::MAX), false),
            (v(1, 0), v(2, 0), false),
            (v(1, 0), v(0, 0), false),
        ] {
            assert_eq!(check(ours, theirs).is_ok(), good, "{ours:?} {theirs:?}");
        }
        assert!(check_version(Some(VERSION)).is_ok());
        assert!(check_version(None).is_err());
    }
}
