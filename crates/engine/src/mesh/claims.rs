//! Who owns which range, when no two owners may share an address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::overlaps;

/// Disjoint ranges by their first address, so that one look at each neighbour finds any overlap.
#[derive(Debug)]
pub(super) struct Claims<T>(BTreeMap<IpAddr, (IpNet, T)>);

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Claims<T> {
    /// Takes the range for `owner`, unless a part of it is taken: then says by whom.
    pub(super) fn claim(&mut self, range: IpNet, owner: T) -> Result<(), &T> {
        let first = range.network();
        let before = self.0.range(..=first).next_back();
        let after = self.0.range(first..).next();
        let rival = before.into_iter().chain(after).find(|(_, (taken, _))| overlaps(taken, &range));
        if let Some(key) = rival.map(|(key, _)| *key) {
            return Err(&self.0[&key].1);
        }
        self.0.insert(first, (range, owner));
        Ok(())
    }

    /// Who has the whole of this range.
    pub(super) fn owner_of(&self, range: &IpNet) -> Option<&T> {
        let (_, (taken, owner)) = self.0.range(..=range.network()).next_back()?;
        taken.contains(range).then_some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn first_come_first_served() {
        let mut claims = Claims::default();
        claims.claim(net("10.1.0.0/16"), "a").unwrap();
        claims.claim(net("10.3.0.0/16"), "b").unwrap();
        claims.claim(net("fd00:1::/48"), "a").unwrap();
        for (range, owner) in [
            ("10.1.0.0/16", "a"), // the same
            ("10.1.2.0/24", "a"), // inside
            ("10.0.0.0/8", "a"),  // around both: the first is named
            ("10.2.0.0/15", "b"), // around the second only
            ("0.0.0.0/0", "a"),   // everything
            ("fd00:1::/64", "a"), // the other family
        ] {
            assert_eq!(claims.claim(net(range), "c"), Err(&owner), "{range}");
        }
        for range in ["10.2.0.0/16", "10.4.0.0/16", "fd00:2::/48", "9.0.0.0/8"] {
            assert_eq!(claims.claim(net(range), "c"), Ok(()), "{range}");
        }
    }

    #[test]
    fn the_whole_or_nothing() {
        let mut claims = Claims::default();
        claims.claim(net("10.1.0.0/16"), "a").unwrap();
        for (range, owner) in [
            ("10.1.0.0/16", Some(&"a")),
            ("10.1.255.0/24", Some(&"a")),
            ("10.0.0.0/8", None),
            ("10.2.0.0/24", None),
            ("fd00::/64", None),
        ] {
            assert_eq!(claims.owner_of(&net(range)), owner, "{range}");
        }
    }
}
