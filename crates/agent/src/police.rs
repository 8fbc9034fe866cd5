//! Policies of this node: joins the engine's planner and the packet path.
//!
//! Whoever learns what policies see (the controller's news, the container runtime, the DNS server) tells it here, on whichever
//! thread that is; when the call returns the kernel judges by it.

mod denied;
mod learned;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use engine::plan::policing;
use engine::policy::{Outcome, Planner, Settings};
use kernel::bpf;
use kernel::bpf::policing::{Established, clock};
use model::policy::{NamespaceName, PodName};
use model::{ClusterName, Key, ObjectName, World};
use serve::dns::Told;
use tokio::time::Instant;
use tracing::warn;

pub(crate) use denied::watch;
use learned::Learned;

/// For how long at least a name leads where it led, whatever its record says: clients dial a little after they asked.
const LEARNED_AT_LEAST: Duration = Duration::from_secs(60);
/// And for how long at most.
const LEARNED_AT_MOST: Duration = Duration::from_secs(3600);

/// How often the kernel is compared with the plan although nothing is known to have changed.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// Judges by policies what this node's pods send and are sent.
pub(crate) struct Police {
    inner: Mutex<Inner>,
    maps: Arc<Mutex<bpf::Datapath>>,
    started: Instant,
    cluster: ClusterName,
}

/// What cannot be enforced as it is written.
pub(crate) struct Unenforced {
    /// How many directions of pods let nothing pass because of it.
    pub(crate) closed: usize,
    /// Why, each in a sentence.
    pub(crate) why: Vec<String>,
}

struct Inner {
    planner: Planner,
    /// Whose link a device is.
    devices: BTreeMap<String, PodName>,
    /// Whether the kernel follows: before that it holds what the agent before this one left.
    begun: bool,
    /// Why the kernel may hold something else than was planned.
    failed: Option<String>,
    learned: Learned,
    compare_at: Duration,
}

impl Police {
    /// Takes in what is known. The kernel goes on by what it holds until [`Police::begin`].
    pub(crate) fn new(
        settings: Settings,
        world: &World,
        names: PathBuf,
        maps: Arc<Mutex<bpf::Datapath>>,
        started: Instant,
    ) -> Self {
        let cluster = settings.scope.cluster().clone();
        let mut planner = Planner::new(settings);
        world.objects().for_each(|object| planner.handle_object(world, &object.key()));
        let learned = Learned::at(names);
        for (name, ip) in learned.read() {
            planner.learn(&name, &[ip], started.elapsed() + LEARNED_AT_LEAST);
        }
        let devices = BTreeMap::new();
        let inner =
            Inner { planner, devices, begun: false, failed: None, learned, compare_at: Duration::ZERO };
        Self { inner: Mutex::new(inner), maps, started, cluster }
    }

    /// Brings the kernel to what is known: once every pod of before is attached.
    pub(crate) fn begin(&self, established: Established) -> Result<()> {
        let mut inner = self.inner();
        inner.begun = true;
        let said = self.maps().policing_mut().set_established(established);
        said.context("saying what becomes of connections when policies change")?;
        self.compare(&mut inner).context("bringing the kernel to what policies say")
    }

    /// Has the kernel forget all policies: nothing is judged.
    pub(crate) fn forget(maps: &Mutex<bpf::Datapath>) -> Result<()> {
        let mut maps = maps.lock().expect("nobody panics while holding it");
        let maps = maps.policing_mut();
        let ops = policing::diff(&maps.observe()?, &policing::Policing::default());
        Ok(maps.apply(&ops)?)
    }

    /// Pods of these clusters are told to this node, all of them.
    pub(crate) fn subscribed(&self, clusters: BTreeSet<ClusterName>) {
        let mut inner = self.inner();
        inner.planner.handle_subscribed(clusters);
        self.settle(&mut inner);
    }

    /// The machine's devices have these addresses.
    pub(crate) fn host_has(&self, ips: BTreeSet<IpAddr>) {
        let mut inner = self.inner();
        inner.planner.handle_host_addresses(ips);
        self.settle(&mut inner);
    }

    /// Clusters whose pods this node has to know.
    pub(crate) fn interest(&self) -> BTreeSet<ClusterName> {
        self.inner().planner.interest()
    }

    /// Follows changes of objects, which the world has in it already.
    pub(crate) fn follow(&self, world: &World, keys: &[Key]) {
        let mut inner = self.inner();
        keys.iter().for_each(|key| inner.planner.handle_object(world, key));
        self.settle(&mut inner);
    }

    /// A pod has this device and these addresses. When this returns the kernel judges what it says.
    pub(crate) fn attach(&self, device: &str, pod: &ObjectName, ips: &[IpAddr]) -> Result<(), String> {
        let namespace = NamespaceName { cluster: self.cluster.clone(), name: pod.namespace.clone() };
        let name = PodName { namespace, name: pod.name.clone() };
        let mut inner = self.inner();
        inner.planner.attach(&name, ips);
        inner.devices.insert(device.into(), name);
        self.settle(&mut inner);
        // A pod that policies are about must not speak before they are enforced.
        inner.failed.clone().map_or(Ok(()), Err)
    }

    /// The device is gone. One that no pod had is no error.
    pub(crate) fn detach(&self, device: &str) {
        let mut inner = self.inner();
        let Some(name) = inner.devices.remove(device) else { return };
        if !inner.devices.values().any(|other| *other == name) {
            inner.planner.detach(&name);
            self.settle(&mut inner);
        }
    }

    /// A pod is about to hear where a name leads.
    pub(crate) fn learn(&self, told: &Told) {
        let lasts = Duration::from_secs(told.ttl.into()).clamp(LEARNED_AT_LEAST, LEARNED_AT_MOST);
        let mut inner = self.inner();
        inner.planner.learn(&told.name, &told.ips, self.started.elapsed() + lasts);
        self.settle(&mut inner);
    }

    /// Looks after what ends by itself: names, and connections that are long silent. To be called about once a second.
    pub(crate) fn poll(&self) -> Unenforced {
        let now = self.started.elapsed();
        let mut inner = self.inner();
        self.keep_talking(&mut inner, now);
        inner.planner.handle_time(now);
        self.settle(&mut inner);
        if (inner.failed.is_some() || now >= inner.compare_at)
            && let Err(e) = self.compare(&mut inner)
        {
            inner.failed = Some(format!("{e:#}"));
        }
        if let Err(e) = self.maps().policing_mut().sweep(clock()) {
            warn!("forgetting connections of pods: {e}");
        }
        let names = inner.planner.due(Duration::MAX).map(|(name, ip)| (name.to_owned(), ip)).collect();
        inner.learned.write(names);
        let problems = inner.planner.problems();
        Unenforced {
            closed: problems.iter().filter(|problem| problem.closes()).count(),
            why: problems.iter().map(ToString::to_string).chain(inner.failed.clone()).collect(),
        }
    }

    /// Where connections go on, the names that led there are learned again: who talks need not ask again.
    fn keep_talking(&self, inner: &mut Inner, now: Duration) {
        let due: Vec<(String, IpAddr)> =
            inner.planner.due(now).map(|(name, ip)| (name.to_owned(), ip)).collect();
        if due.is_empty() {
            return;
        }
        let Ok(connections) = self.maps().policing().connections() else { return };
        let goes_on = |ip: &IpAddr| connections.iter().any(|one| one.peer.ip() == *ip && !one.closed);
        for (name, ip) in due.into_iter().filter(|(_, ip)| goes_on(ip)) {
            inner.planner.learn(&name, &[ip], now + LEARNED_AT_LEAST);
        }
    }

    /// Compares the kernel with what was planned, and mends what differs.
    fn compare(&self, inner: &mut Inner) -> Result<()> {
        inner.planner.poll();
        let mut maps = self.maps();
        let maps = maps.policing_mut();
        let ops = policing::diff(&maps.observe()?, &inner.planner.policing());
        if !ops.is_empty() {
            maps.apply(&ops)?;
            maps.raise_epoch()?;
        }
        inner.failed = None;
        inner.compare_at = self.started.elapsed() + COMPARE_EVERY;
        Ok(())
    }

    /// Works out what was taken in, and tells the kernel.
    fn settle(&self, inner: &mut Inner) {
        if !inner.begun {
            return;
        }
        let Outcome { ops, raises_epoch } = inner.planner.poll();
        if ops.is_empty() && !raises_epoch {
            return;
        }
        let mut maps = self.maps();
        let maps = maps.policing_mut();
        let applied = maps.apply(&ops).and_then(|()| if raises_epoch { maps.raise_epoch() } else { Ok(()) });
        if let Err(e) = applied {
            let failed =
                format!("the maps of policies could not be changed ({e}); they are looked at again soon");
            warn!("{failed}");
            inner.failed = Some(failed);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics while holding it")
    }

    fn maps(&self) -> MutexGuard<'_, bpf::Datapath> {
        self.maps.lock().expect("nobody panics while holding it")
    }
}
