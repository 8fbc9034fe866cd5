//! Whether a firewall drops WireGuard's messages: nodes that are dialled and agree on no keys.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use model::NodeName;

/// A handshake is repeated every 5 s: so long, and three were in vain.
const PATIENCE: Duration = Duration::from_secs(15);

/// Since when dialled nodes have not answered.
#[derive(Debug, Default)]
pub struct Unanswered(BTreeMap<NodeName, Duration>);

/// Nodes that do not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// One of them, and where it is dialled.
    pub node: NodeName,
    /// Its address.
    pub at: SocketAddr,
    /// How many more there are.
    pub more: usize,
    /// Whether no node that is dialled answers.
    pub all: bool,
}

impl Unanswered {
    /// Takes in whom messages are sent to at which address, and whether keys have been agreed on with them lately.
    pub fn follow(
        &mut self,
        dialled: &BTreeMap<NodeName, (SocketAddr, bool)>,
        now: Duration,
    ) -> Option<Silence> {
        self.0.retain(|name, _| dialled.get(name).is_some_and(|(_, answered)| !answered));
        for (name, _) in dialled.iter().filter(|(_, (_, answered))| !answered) {
            self.0.entry(name.clone()).or_insert(now);
        }
        let mut silent = self.0.iter().filter(|(_, since)| **since + PATIENCE <= now);
        let (node, _) = silent.next()?;
        let more = silent.count();
        Some(Silence { node: node.clone(), at: dialled[node].0, more, all: more + 1 == dialled.len() })
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, at, more, all } = self;
        if *all {
            write!(f, "no other node answers by UDP, such as {node} at {at}")?;
        } else {
            write!(f, "{node} does not answer by UDP at {at}")?;
            if *more > 0 {
                write!(f, " (nor do {more} more)")?;
            }
        }
        let (port, where_) = (at.port(), if *all { "here" } else { "there, or on the way," });
        write!(
            f,
            "; unless it is down, a firewall {where_} drops WireGuard's messages: let UDP port {port} pass in both directions"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node_name;

    #[test]
    fn who_is_silent_for_long() {
        let mut unanswered = Unanswered::default();
        let mut at = |seconds: u64, answered: [bool; 3]| {
            let one = |(n, answered): (usize, bool)| {
                let place = format!("198.18.0.{n}:51820").parse().unwrap();
                (node_name(&format!("a/{n}")), (place, answered))
            };
            let dialled = answered.into_iter().enumerate().map(one).collect();
            unanswered.follow(&dialled, Duration::from_secs(seconds)).map(|silence| silence.to_string())
        };
        assert_eq!(at(0, [false; 3]), None);
        assert_eq!(at(14, [false, false, true]), None);
        let said = at(15, [false, false, true]).unwrap();
        assert!(
            said.starts_with("a/0 does not answer by UDP at 198.18.0.0:51820 (nor do 1 more); unless"),
            "{said}"
        );
        assert!(said.contains("UDP port 51820"), "{said}");
        assert_eq!(at(16, [true; 3]), None);
        assert_eq!(at(20, [false; 3]), None, "it begins anew");
        let said = at(35, [false; 3]).unwrap();
        assert!(
            said.starts_with("no other node answers by UDP, such as a/0") && said.contains("firewall here"),
            "{said}"
        );
    }
}
