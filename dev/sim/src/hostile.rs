//! A cluster that does not keep to the rules.

use std::sync::Arc;

use engine::exchange::{Position, Tell, Told};
use model::{Change, Object};

use crate::network::Time;
use crate::shape::{self, Pods};
use crate::{Random, Shape};

/// What a cluster does that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// It sends two hundred new endpoints fifty times a second, and takes none back.
    Flood,
    /// It speaks of another cluster's objects, and of addresses that are not its own.
    Foreign,
    /// Its revisions go backwards.
    Backwards,
}

const EPOCH: u64 = 0xbad;

/// The teller's side of one of its streams.
#[derive(Debug)]
pub(crate) struct Liar {
    misdeed: Misdeed,
    pods: Pods,
    first: Option<Vec<Object>>,
    said: u64,
    /// Nothing is said before.
    pub(crate) next: Time,
}

impl Liar {
    pub(crate) fn new(misdeed: Misdeed, cluster: usize, shape: Shape, random: &mut Random) -> Self {
        let (pods, objects) = Pods::new(cluster, shape, random);
        Self { misdeed, pods, first: Some(objects), said: 0, next: 0 }
    }

    /// A stream begins.
    pub(crate) fn begin(&mut self) {
        self.said = 0;
    }

    /// What it says at `now`, if it says anything.
    pub(crate) fn poll(&mut self, now: Time, random: &mut Random) -> Option<Told> {
        self.said += 1;
        match self.said {
            1 => Some(Told::Begin { epoch: EPOCH, snapshot: true }),
            2 => {
                let objects = self.first.take().unwrap_or_default();
                Some(batch(objects.into_iter().map(Change::Upsert).collect(), 1000))
            }
            3 => Some(Told::Synced { position: Position { epoch: EPOCH, revision: 1000 } }),
            _ if now < self.next => {
                self.said -= 1;
                None
            }
            said => {
                self.next = now + 20_000;
                Some(self.misbehave(1000 + said, random))
            }
        }
    }

    fn misbehave(&mut self, revision: u64, random: &mut Random) -> Told {
        match self.misdeed {
            Misdeed::Flood => {
                let fresh = (0..200).flat_map(|_| self.pods.change(random));
                batch(fresh.filter(|change| matches!(change, Change::Upsert(_))).collect(), revision)
            }
            Misdeed::Foreign => {
                let (mut others, _) = Pods::new(0, Shape { nodes: 1, endpoints: 1, services: 1 }, random);
                let mut changes = others.change(random);
                let mut stolen = shape::cluster(0);
                stolen.pod_cidrs.clear();
                changes.push(Change::Upsert(Object::Cluster(stolen)));
                for change in self.pods.change(random) {
                    if let Change::Upsert(Object::Endpoint(mut endpoint)) = change {
                        endpoint.ips = vec!["10.1.0.9".parse().expect("an address")];
                        changes.push(Change::Upsert(Object::Endpoint(endpoint)));
                    }
                }
                batch(changes, revision)
            }
            Misdeed::Backwards => batch(self.pods.change(random), 2000 - revision.min(2000)),
        }
    }
}

fn batch(changes: Vec<Change>, revision: u64) -> Told {
    let tell = |change| match change {
        Change::Upsert(object) => Tell::Upsert(Arc::new(object)),
        Change::Delete(key) => Tell::Delete(key),
    };
    Told::Batch { changes: changes.into_iter().map(tell).collect(), revision }
}
