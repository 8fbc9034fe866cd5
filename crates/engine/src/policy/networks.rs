//! What is known of ranges of addresses: which rules' ranges are around them, whose pods they are for.
//!
//! Every range that somebody named is a prefix here, with what it adds. What holds for an address is what the prefixes around
//! it add together, and it is written down for each prefix, so that the longest one around an address tells all of it. What
//! changes at a prefix is written down anew for those inside it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::classes::{Classes, Member};
use super::peer::world;
use super::tracked::Tracked;
use crate::plan::policing::{Network, Peer};

/// What a prefix adds to those around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// Addresses in it are in a rule's ranges.
    In(Member),
    /// Addresses in it are not, whatever else is said.
    Except(Member),
    /// A cluster's pods have addresses in it, and every one of them is to be known here.
    Known,
    /// A cluster has it.
    Cluster,
    /// Whatever no cluster has is the world.
    World,
}

#[derive(Debug, Default)]
struct Prefix {
    marks: BTreeMap<Mark, u32>,
    /// What was written down.
    class: Peer,
}

/// The ranges that anything is known of.
#[derive(Debug)]
pub(super) struct Networks {
    prefixes: BTreeMap<(IpAddr, u8), Prefix>,
    /// How many prefixes there are of each length, by family.
    lengths: [[u32; 129]; 2],
    /// The sets of rules' ranges.
    pub(super) classes: Classes,
    stale: BTreeSet<(IpAddr, u8)>,
}

/// What holds inside of some prefixes.
#[derive(Default)]
struct Sum<'a> {
    around: Vec<(IpAddr, &'a BTreeMap<Mark, u32>)>,
}

impl Sum<'_> {
    fn network(&self, classes: &mut Classes) -> Network {
        let (mut members, mut except) = (BTreeSet::new(), BTreeSet::new());
        let mut network = Network::default();
        let (mut cluster, mut outside) = (false, false);
        for mark in self.around.iter().flat_map(|(_, marks)| marks.keys()) {
            match mark {
                Mark::In(member) => drop(members.insert(*member)),
                Mark::Except(member) => drop(except.insert(*member)),
                Mark::Known => network.pods = true,
                Mark::Cluster => cluster = true,
                Mark::World => outside = true,
            }
        }
        members.retain(|member| !except.contains(member));
        network.class = classes.acquire(&members);
        if outside && !cluster {
            network.world = world();
        }
        network
    }
}

impl Networks {
    pub(super) fn new() -> Self {
        Self {
            prefixes: BTreeMap::new(),
            lengths: [[0; 129]; 2],
            classes: Classes::new(b"networks"),
            stale: BTreeSet::new(),
        }
    }

    /// How many prefixes there would be with these.
    pub(super) fn len_with<'a>(&self, ranges: impl Iterator<Item = &'a IpNet>) -> usize {
        self.prefixes.len() + ranges.filter(|range| !self.prefixes.contains_key(&key(range))).count()
    }

    /// Adds to a range.
    pub(super) fn mark(&mut self, range: &IpNet, mark: Mark) {
        let key = key(range);
        let lengths = &mut self.lengths;
        let prefix = self.prefixes.entry(key).or_insert_with(|| {
            lengths[family(&key.0)][usize::from(key.1)] += 1;
            Prefix::default()
        });
        let count = prefix.marks.entry(mark).or_default();
        *count += 1;
        if *count == 1 {
            self.stale.insert(key);
        }
    }

    /// Takes back what was added to a range.
    pub(super) fn unmark(&mut self, range: &IpNet, mark: Mark) {
        let key = key(range);
        let Some(prefix) = self.prefixes.get_mut(&key) else { return };
        let Some(count) = prefix.marks.get_mut(&mark) else { return };
        *count -= 1;
        if *count == 0 {
            prefix.marks.remove(&mark);
            self.stale.insert(key);
        }
    }

    /// Writes down what holds now.
    pub(super) fn poll(&mut self, networks: &mut Tracked<IpNet, Network>) {
        let mut done: Option<IpNet> = None;
        for (first, length) in std::mem::take(&mut self.stale) {
            let Ok(range) = IpNet::new(first, length) else { continue };
            if done.is_some_and(|done| done.contains(&range)) {
                continue;
            }
            self.write(&range, networks);
            done = Some(range);
        }
    }

    /// Writes down what holds in all prefixes inside of one.
    fn write(&mut self, range: &IpNet, networks: &mut Tracked<IpNet, Network>) {
        let bounds = key(range)..=(range.broadcast(), u8::MAX);
        let (mut found, mut empty) = (Vec::new(), Vec::new());
        let mut sum = Sum::default();
        for length in 0..range.prefix_len() {
            if self.lengths[family(&range.addr())][usize::from(length)] == 0 {
                continue;
            }
            let Ok(around) = IpNet::new(range.addr(), length) else { continue };
            let around = around.trunc();
            if let Some(prefix) = self.prefixes.get(&key(&around)) {
                sum.around.push((around.broadcast(), &prefix.marks));
            }
        }
        for (key, prefix) in self.prefixes.range(bounds.clone()) {
            while sum.around.last().is_some_and(|(last, _)| *last < key.0) {
                sum.around.pop();
            }
            if prefix.marks.is_empty() {
                empty.push(*key);
                continue;
            }
            let Ok(net) = IpNet::new(key.0, key.1) else { continue };
            sum.around.push((net.broadcast(), &prefix.marks));
            found.push((*key, net, sum.network(&mut self.classes)));
        }
        for (key, net, network) in found {
            let Some(prefix) = self.prefixes.get_mut(&key) else { continue };
            let before = std::mem::replace(&mut prefix.class, network.class);
            self.classes.release(before);
            networks.put(net, Some(network));
        }
        for key in empty {
            if let Some(prefix) = self.prefixes.remove(&key) {
                self.lengths[family(&key.0)][usize::from(key.1)] -= 1;
                self.classes.release(prefix.class);
            }
            if let Ok(net) = IpNet::new(key.0, key.1) {
                networks.put(net, None);
            }
        }
    }
}

fn key(range: &IpNet) -> (IpAddr, u8) {
    (range.network(), range.prefix_len())
}

fn family(address: &IpAddr) -> usize {
    usize::from(address.is_ipv6())
}
