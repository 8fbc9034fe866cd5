//! What services and peers ask for and do not get, or hardly mean. It shows only beside all others: two that ask for one
//! address, hints for zones without a node. Agents say it in their status; here it is said of the Service or Peer itself, as an
//! Event.
//!
//! What is a node's own is not known here: the ports at which agents answer, and maps that are full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::Complaint;
use cluster::kubernetes::lease::Role;
use cluster::manifest::{Id, Kind};
use engine::mesh::{Problem, external};
use engine::services::{View, wrong};
use model::{Change, ClusterName, Endpoint, NodeName, Object, World};
use tokio::time::Instant;
use tracing::warn;

use crate::complaints::Origin;
use crate::controller::{Controller, Inner};

/// How long it waits after a change, at least: changes come in crowds.
const SOON: Duration = Duration::from_secs(1);
/// It waits so many times as long as it took the last time: in a large cluster everything is much.
const SHARE: u32 = 50;
/// How long it waits at most.
const LATE: Duration = Duration::from_secs(60);

/// When services are looked at, and what was found.
#[derive(Debug)]
pub(crate) struct Doubts {
    /// When to look; none when nothing has changed.
    pub(crate) look_at: Option<Instant>,
    every: Duration,
    /// What something was wrong with the last time.
    of: BTreeSet<Id>,
}

impl Default for Doubts {
    fn default() -> Self {
        Self { look_at: None, every: SOON, of: BTreeSet::new() }
    }
}

impl Controller {
    /// Looks at all services and peers, and takes in what is wrong with them.
    pub(crate) async fn look_at_services(&self) {
        self.inner().doubts.look_at = None;
        let (told, own, began) = (self.handle.told(), self.cluster.name.clone(), Instant::now());
        let unix = link::clock::now();
        let found = match tokio::task::spawn_blocking(move || find(own, &told, unix)).await {
            Ok(found) => found,
            Err(error) => return warn!(%error, "what is wrong with services and peers is not known"),
        };
        let mut inner = self.inner();
        inner.doubts.every = (began.elapsed() * SHARE).clamp(SOON, LATE);
        if inner.leads() {
            inner.complain_of_services(found);
            self.to_write.notify_one();
        }
    }
}

impl Inner {
    fn leads(&self) -> bool {
        self.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.role == Role::Leader)
    }

    /// Something has changed, or somebody else leads. Who does not lead says nothing.
    pub(crate) fn mind_services(&mut self) {
        if !self.leads() {
            self.doubts.look_at = None;
            self.complain_of_services(BTreeMap::new());
        } else if self.synced.is_some() {
            let every = self.doubts.every;
            self.doubts.look_at.get_or_insert_with(|| Instant::now() + every);
        }
    }

    fn complain_of_services(&mut self, mut found: BTreeMap<Id, Vec<Complaint>>) {
        let now = found.keys().cloned().collect();
        for well in std::mem::replace(&mut self.doubts.of, now) {
            found.entry(well).or_default();
        }
        for (id, complaints) in found {
            self.complain(Origin::Services, &id, complaints);
        }
    }
}

/// What is wrong with which service, import or peer of the cluster, at this Unix time.
fn find(own: ClusterName, told: &[Arc<Object>], now: i64) -> BTreeMap<Id, Vec<Complaint>> {
    let mut world = World::default();
    for object in told {
        world.apply(Change::Upsert(match &**object {
            // They say nothing of services and peers.
            Object::Policy(_) | Object::Namespace(_) | Object::Pod(_) => continue,
            // Without what nothing follows from here, of which there is much.
            Object::Endpoint(e) => Object::Endpoint(Endpoint {
                ready: e.ready,
                hints: e.hints.clone(),
                ..Endpoint::new(e.key.clone(), e.ips.clone(), Vec::new())
            }),
            other => other.clone(),
        }));
    }
    let peers = external::wrong(&world, &own, now).into_iter().map(|(peer, problems)| {
        let said = |problem: &Problem| {
            let (_, reason) = problem.of_peer()?;
            Some(Complaint { reason, message: problem.to_string() })
        };
        (Id::new(Kind::Peer, "", &peer.peer), problems.iter().filter_map(said).collect())
    });
    let peers: Vec<(Id, Vec<Complaint>)> = peers.collect();
    let me = NodeName::new(own, "controller").expect("a name");
    let complaints = wrong(&View::new(&world, &me)).into_iter().map(|(claimant, wrong)| {
        let kind = if claimant.import { Kind::ServiceImport } else { Kind::Service };
        let name = &claimant.key.name;
        let problems = wrong.problems.iter().map(|problem| (problem.reason(), problem.to_string()));
        let doubts = wrong.doubts.iter().map(|doubt| (doubt.reason(), doubt.to_string()));
        let all = problems.chain(doubts).map(|(reason, message)| Complaint { reason, message });
        (Id::new(kind, &name.namespace, &name.name), all.collect())
    });
    complaints.chain(peers).collect()
}
