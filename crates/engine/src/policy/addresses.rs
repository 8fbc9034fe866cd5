//! Who is at an address, of those who say that they are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::tracked::Tracked;
use crate::plan::policing::Identity;

/// Whose word counts for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A pod that this node has given the address.
    Attached,
    /// This node.
    Myself,
    /// A node of the own cluster: another cluster's private addresses are not seen here.
    OwnNode,
    /// Everybody else.
    Told,
}

/// Who says what.
type Claims = Vec<(Rank, u64, Identity)>;

/// Claims to addresses. Those with the highest rank count, if they agree: an address that two different pods have is nobody's
/// until one of them is gone.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    claims: BTreeMap<IpAddr, Claims>,
}

impl Addresses {
    /// `who`, a number for the pod or node, is at the address, and is this.
    pub(super) fn claim(
        &mut self,
        ip: IpAddr,
        (rank, who): (Rank, u64),
        identity: Identity,
        written: &mut Tracked<IpAddr, Identity>,
    ) {
        let claims = self.claims.entry(ip).or_default();
        claims.retain(|(_, other, _)| *other != who);
        claims.push((rank, who, identity));
        written.put(ip, agreed(claims));
    }

    /// It is not any more.
    pub(super) fn leave(&mut self, ip: IpAddr, who: u64, written: &mut Tracked<IpAddr, Identity>) {
        let Some(claims) = self.claims.get_mut(&ip) else { return };
        claims.retain(|(_, other, _)| *other != who);
        written.put(ip, agreed(claims));
        if claims.is_empty() {
            self.claims.remove(&ip);
        }
    }
}

fn agreed(claims: &Claims) -> Option<Identity> {
    let rank = claims.iter().map(|(rank, _, _)| *rank).min()?;
    let mut best = claims.iter().filter(|(its, _, _)| *its == rank).map(|(_, _, identity)| *identity);
    let first = best.next()?;
    // Not what some slots agree on: who is known by namespace alone would pass by rules that deny its labels.
    (first != Identity::default() && best.all(|its| its == first)).then_some(first)
}
