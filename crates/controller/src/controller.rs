//! The controller while it runs: what is said to it, and what it says then. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cluster::kubernetes::lease::{Contact, Role};
use cluster::kubernetes::meshnode;
use cluster::kubernetes::report::Ledger;
use cluster::manifest::{Id, Kind};
use cluster::{Complaint, Event};
use engine::exchange::Position;
use engine::policy::{Host, Selectors};
use link::controller::{ControllerEvent, Handle};
use model::{Change, Cluster, ClusterName, Key, NodeName, Object};
use serve::metrics::ControllerMetrics;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};
use wire::state::Encoder;

use crate::complaints::{Complaints, Origin};
use crate::disk::Disk;
use crate::doubts::Doubts;
use crate::known::{Known, Report, report};
use crate::mesh::Mesh;
use crate::multicluster::Multicluster;
use crate::peers::Place;
use crate::site::Nodes;

/// How long what linked clusters said may wait before it is on disk, at least: what a crash costs is asked for again.
const SAVE_PEERS: Duration = Duration::from_secs(1);
/// It waits so many times as long as it took to write the last time: in a large clusterset everything is much.
const SAVE_SHARE: u32 = 50;
/// The same for the own cluster: it costs as much as there is, and is only a beginning for when the source is away.
const SAVE_OWN: Duration = Duration::from_secs(60);
/// How long a new leader waits for linked clusters before it tells agents what it knows of them.
const HEAR_LINKS: Duration = Duration::from_secs(10);
/// How many problems are kept for `causeway status`.
const PROBLEMS: usize = 100;

/// The controller, as its local API sees it.
pub(crate) struct Controller {
    pub(crate) cluster: Cluster,
    /// Which clusters a selector of pods means that names none.
    pub(crate) selectors: Selectors,
    /// How nodes themselves are judged; none if they are not.
    pub(crate) host: Option<Host>,
    pub(crate) handle: Handle,
    /// Where the cluster's objects are written.
    pub(crate) place: Place,
    inner: Mutex<Inner>,
    pub(crate) metrics: ControllerMetrics,
    /// Ticks when there may be something to write to the API server.
    pub(crate) to_write: Notify,
    /// Held by whoever writes what linked clusters said to disk.
    pub(crate) saving_peers: Mutex<()>,
}

/// What changes while it runs.
pub(crate) struct Inner {
    pub(crate) known: Known,
    pub(crate) disk: Disk,
    /// Exports and imports.
    pub(crate) multicluster: Multicluster,
    pub(crate) problems: VecDeque<String>,
    /// What an operator ought to know as long as it is so.
    pub(crate) notes: Vec<String>,
    /// What is wrong with objects, as long as it is.
    pub(crate) complaints: Complaints,
    /// What is wrong with services beside each other.
    pub(crate) doubts: Doubts,
    /// Whether the source has said everything, and when it first had.
    pub(crate) synced: Option<Instant>,
    /// What only a controller in Kubernetes has.
    pub(crate) kubernetes: Option<Kubernetes>,
    started: Instant,
    /// Whether reports are not on disk.
    reports_changed: bool,
    /// When to write what linked clusters said; none when it is on disk.
    pub(crate) save_peers_at: Option<Instant>,
    /// How long that may wait.
    save_peers_every: Duration,
    /// When to write the own cluster.
    pub(crate) save_own_at: Option<Instant>,
    /// Linked clusters that a new leader waits for, and until when.
    awaited: BTreeSet<ClusterName>,
    pub(crate) await_until: Option<Instant>,
}

/// What only a controller in Kubernetes has.
pub(crate) struct Kubernetes {
    pub(crate) role: Role,
    pub(crate) identity: String,
    pub(crate) contact: Contact,
    pub(crate) version: Option<String>,
    pub(crate) mesh: Mesh,
    pub(crate) ledger: Ledger,
    nodes: Nodes,
    /// Reports that nobody could be given yet.
    pending: BTreeMap<NodeName, Report>,
}

impl Kubernetes {
    pub(crate) fn new(identity: String, mesh: Mesh, nodes: Nodes) -> Self {
        Self {
            role: Role::Standby { leader: None },
            identity,
            contact: Contact::Unknown,
            version: None,
            mesh,
            ledger: Ledger::default(),
            nodes,
            pending: BTreeMap::new(),
        }
    }
}

impl Controller {
    pub(crate) fn new(
        cluster: Cluster,
        (selectors, host): (Selectors, Option<Host>),
        handle: Handle,
        place: Place,
        inner: Inner,
    ) -> Arc<Self> {
        let metrics = ControllerMetrics::new(env!("CARGO_PKG_VERSION"));
        let inner = Mutex::new(inner);
        let (to_write, saving_peers) = (Notify::new(), Mutex::default());
        Arc::new(Self { cluster, selectors, host, handle, place, inner, metrics, to_write, saving_peers })
    }

    pub(crate) fn handle_source(&self, event: Event) {
        let mut inner = self.inner();
        let changes = inner.handle_source(event);
        self.publish(changes);
        inner.mind_services();
        if inner.kubernetes.is_some() && inner.synced.is_some() {
            inner.save_own_at.get_or_insert_with(|| Instant::now() + SAVE_OWN);
        }
        self.to_write.notify_one();
    }

    pub(crate) fn handle_meshnode(&self, event: meshnode::Event) {
        let changes = self.inner().handle_meshnode(event);
        self.publish(changes);
        self.to_write.notify_one();
    }

    pub(crate) fn handle_stream(&self, event: ControllerEvent) {
        let mut inner = self.inner();
        match event {
            ControllerEvent::AgentUp { node } => info!(%node, "agent connected"),
            ControllerEvent::AgentDown { node } => {
                info!(%node, "agent disconnected");
                if let Some(kubernetes) = &mut inner.kubernetes {
                    kubernetes.pending.remove(&node);
                }
            }
            ControllerEvent::Report { node, report: said } => {
                self.handle_report(&mut inner, node, report(said))
            }
            ControllerEvent::PeerUp { cluster } => info!(%cluster, "link up"),
            ControllerEvent::PeerDown { cluster, error } => warn!(%cluster, error, "link down"),
            ControllerEvent::PeerChanges { cluster, changes, position } => {
                self.publish(inner.handle_peer(&cluster, changes, position));
                inner.mind_services();
                inner.save_peers_soon();
                self.to_write.notify_one();
            }
            ControllerEvent::PeerInterest { cluster, interest } => {
                inner.known.handle_peer_interest(&cluster, interest);
                inner.save_peers_soon();
            }
            ControllerEvent::PeerSynced { cluster, position } => {
                inner.known.handle_peer_synced(&cluster, position);
                inner.save_peers_soon();
                if inner.awaited.remove(&cluster) && inner.awaited.is_empty() {
                    inner.await_until = None;
                    self.handle.release();
                }
            }
            ControllerEvent::Problem(problem) => inner.note(problem),
        }
    }

    /// What an agent says of its node. One that stands by can make nothing of news: it writes nothing.
    fn handle_report(&self, inner: &mut Inner, node: NodeName, report: Report) {
        if let Some(kubernetes) = &mut inner.kubernetes {
            let news = inner.known.report(&node) != Some(&report);
            match &kubernetes.role {
                Role::Leader => kubernetes.mesh.handle_report(&node.node, report.clone()),
                Role::Standby { leader: Some(leader) } if news => {
                    let why = format!("this controller stands by; {leader} leads, and takes reports");
                    self.handle.dismiss(&node, &why);
                    return;
                }
                // Whoever leads next takes it.
                Role::Standby { leader: None } if news => {
                    kubernetes.pending.insert(node, report);
                    return;
                }
                Role::Standby { .. } => return,
            }
        }
        if let Some(changes) = inner.known.handle_report(node, report) {
            self.publish(changes);
            inner.save_reports_soon();
            // A node's key may be a peer's.
            inner.mind_services();
        }
        self.to_write.notify_one();
    }

    /// Takes up a role.
    pub(crate) fn handle_role(&self, role: Role) {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let Some(kubernetes) = &mut inner.kubernetes else { return };
        kubernetes.role = role.clone();
        let pending = std::mem::take(&mut kubernetes.pending);
        match role {
            Role::Leader => {
                kubernetes.mesh.step_up();
                let Multicluster { mcs, writes, .. } = &mut inner.multicluster;
                writes.iter_mut().for_each(|writes| writes.step_up(mcs));
                for (node, report) in pending {
                    self.handle_report(inner, node, report);
                }
            }
            Role::Standby { leader } => {
                kubernetes.mesh.step_down();
                inner.multicluster.writes.iter_mut().for_each(|writes| writes.step_down());
                let reported = kubernetes.mesh.all_reported();
                for (node, report) in reported {
                    let Ok(node) = NodeName::new(self.cluster.name.clone(), node) else { continue };
                    self.publish(inner.known.handle_report(node, report).unwrap_or_default());
                }
                if let Err(error) = self.handle.lead(false, BTreeMap::new()) {
                    inner.note(error.to_string());
                }
                match leader {
                    None => inner.kubernetes.as_mut().expect("it was there").pending = pending,
                    Some(_) => {
                        for (node, report) in pending {
                            self.handle_report(inner, node, report);
                        }
                    }
                }
                inner.awaited.clear();
                if inner.await_until.take().is_some() {
                    self.handle.release();
                }
            }
        }
        inner.complain_of_ranges();
        inner.mind_services();
        self.to_write.notify_one();
    }

    /// Becomes the controller that others talk with, with the links that the state directory has. Agents are told nothing
    /// until the linked clusters were heard: they would take what is missing for gone.
    pub(crate) fn lead(&self) -> Result<(), link::Error> {
        let mut inner = self.inner();
        let held = inner.known.held();
        self.handle.lead(true, held)?;
        let linked: BTreeSet<ClusterName> =
            self.handle.links().into_iter().map(|link| link.cluster).collect();
        if !linked.is_empty() && inner.await_until.is_none() {
            info!(?linked, "waiting for linked clusters");
            inner.awaited = linked;
            inner.await_until = Some(Instant::now() + HEAR_LINKS);
            self.handle.hold();
        }
        Ok(())
    }

    /// Waits no longer for linked clusters.
    pub(crate) fn stop_waiting(&self) {
        let mut inner = self.inner();
        let missing = std::mem::take(&mut inner.awaited);
        inner.await_until = None;
        for cluster in missing {
            let stale =
                format!("cluster {cluster} has not been heard yet; its objects are what was last known");
            inner.note(stale);
        }
        self.handle.release();
    }

    /// Writes what linked clusters said to disk, if it is not there yet. Returns when it is.
    pub(crate) async fn save_peers(self: &Arc<Self>) {
        if self.inner().save_peers_at.is_some() {
            let _ = self.begin_saving_peers().await;
        }
    }

    /// Begins to write what linked clusters said to disk. It takes as long as there is much: nobody waits for it.
    pub(crate) fn begin_saving_peers(self: &Arc<Self>) -> JoinHandle<()> {
        self.inner().save_peers_at = None;
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.write_peers())
    }

    fn write_peers(&self) {
        let _alone = self.saving_peers.lock().expect("nobody panics while holding it");
        let began = Instant::now();
        let (disk, peers) = {
            let mut inner = self.inner();
            inner.save_reports();
            (inner.disk.clone(), inner.known.peers())
        };
        let mut state = Encoder::default();
        for name in peers {
            // One after the other: whoever else needs what is known waits for one cluster, not for all. A lock that is asked
            // for again at once is had again at once, whoever waits; so it is left alone for as long as it was held.
            let taken = Instant::now();
            self.inner().known.keep_peer(&name, &mut state);
            #[expect(
                clippy::disallowed_methods,
                reason = "a thread of its own; what it waits for is others' turn"
            )]
            std::thread::sleep(taken.elapsed());
        }
        let saved = disk.save_peers(state);
        let mut inner = self.inner();
        inner.save_peers_every = (began.elapsed() * SAVE_SHARE).clamp(SAVE_PEERS, SAVE_OWN);
        if let Err(e) = saved {
            inner.note(e.to_string());
        }
    }

    /// Writes the own cluster to disk, if it has changed.
    pub(crate) async fn save_own(&self) {
        let disk = {
            let mut inner = self.inner();
            if inner.save_own_at.take().is_none() {
                return;
            }
            inner.save_reports();
            inner.disk.clone()
        };
        let (told, own) = (self.handle.told(), self.cluster.name.clone());
        let saved = tokio::task::spawn_blocking(move || disk.save_own(&own, &told)).await;
        if let Ok(Err(e)) = saved {
            self.inner().note(e.to_string());
        }
    }

    /// What changes; never held across an await.
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn publish(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.handle.publish(changes);
        }
    }
}

impl Inner {
    /// Who leads, if this controller does not and another might.
    pub(crate) fn other_leader(&self) -> Option<Option<String>> {
        match &self.kubernetes.as_ref()?.role {
            Role::Leader => None,
            Role::Standby { leader } => Some(leader.clone()),
        }
    }

    pub(crate) fn new(
        known: Known,
        disk: Disk,
        mut multicluster: Multicluster,
        kubernetes: Option<Kubernetes>,
    ) -> Self {
        multicluster.remember(&disk.clusterset_ips());
        multicluster.handle_changes(&known.peer_services(), Duration::ZERO);
        Self {
            known,
            disk,
            multicluster,
            problems: VecDeque::new(),
            notes: Vec::new(),
            complaints: Complaints::default(),
            doubts: Doubts::default(),
            synced: None,
            kubernetes,
            started: Instant::now(),
            reports_changed: false,
            save_peers_at: None,
            save_peers_every: SAVE_PEERS,
            save_own_at: None,
            awaited: BTreeSet::new(),
            await_until: None,
        }
    }

    /// Takes in what the source says. Returns what to tell.
    pub(crate) fn handle_source(&mut self, event: Event) -> Vec<Change> {
        match event {
            Event::Changes(changes) => {
                self.mind_nodes(&changes);
                let now = self.now();
                self.multicluster.handle_changes(&changes, now);
                let mut told = self.known.handle_source(changes);
                told.extend(self.imports());
                told
            }
            Event::Facts(facts) => {
                let leads =
                    self.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.role == Role::Leader);
                self.multicluster.handle_facts(facts, leads);
                self.imports()
            }
            Event::Problem(problem) => {
                self.note(problem);
                Vec::new()
            }
            Event::Notes(notes) => {
                for note in notes.iter().filter(|note| !self.notes.contains(note)) {
                    warn!("{note}");
                }
                self.notes = notes;
                Vec::new()
            }
            Event::Object { id, complaints } => {
                self.complain(Origin::Source, &id, complaints);
                Vec::new()
            }
            Event::Synced => {
                self.synced.get_or_insert_with(Instant::now);
                if let Some(kubernetes) = &mut self.kubernetes {
                    kubernetes.mesh.handle_nodes_synced();
                    kubernetes.nodes.set(self.known.nodes().map(|node| node.name.node.clone()));
                }
                let mut told = self.imports();
                told.extend(self.known.handle_synced());
                told
            }
        }
    }

    /// Takes in what a linked cluster says. Returns what to tell.
    fn handle_peer(
        &mut self,
        cluster: &ClusterName,
        changes: Vec<Change>,
        position: Option<Position>,
    ) -> Vec<Change> {
        let mut told = self.known.handle_peer(cluster, changes, position);
        let now = self.now();
        self.multicluster.handle_changes(&told, now);
        told.extend(self.imports());
        told
    }

    /// What is to be told of imports. Nothing before the own cluster is known: what it exports would be taken for gone.
    fn imports(&mut self) -> Vec<Change> {
        if self.synced.is_none() {
            return Vec::new();
        }
        let changes = self.multicluster.poll();
        if !changes.is_empty() {
            self.save_peers_soon();
        }
        self.known.handle_source(changes)
    }

    /// Passes on which nodes there are, and which ranges they have.
    fn mind_nodes(&mut self, changes: &[Change]) {
        let now = self.now();
        let Some(kubernetes) = &mut self.kubernetes else { return };
        let mut any = false;
        for change in changes {
            match change {
                Change::Upsert(Object::Node(node)) => {
                    kubernetes.mesh.handle_node(&node.name.node, &node.pod_cidrs, now);
                    kubernetes.nodes.add(&node.name.node);
                    any = true;
                }
                Change::Delete(Key::Node(name)) => {
                    kubernetes.mesh.handle_node_gone(&name.node);
                    kubernetes.nodes.remove(&name.node);
                    any = true;
                }
                _ => {}
            }
        }
        if any {
            self.complain_of_ranges();
        }
    }

    /// Takes in what is said of MeshNodes. Returns what to tell.
    pub(crate) fn handle_meshnode(&mut self, event: meshnode::Event) -> Vec<Change> {
        let Some(kubernetes) = &mut self.kubernetes else { return Vec::new() };
        let name = match &event {
            meshnode::Event::Upsert(name, _) => Some(name.clone()),
            meshnode::Event::Delete(_) | meshnode::Event::Synced => None,
        };
        kubernetes.mesh.handle_held(event);
        // What an agent has told us ourselves is later than what stands there.
        let reported = name.as_ref().filter(|name| !kubernetes.mesh.has_report(name)).and_then(|name| {
            let name = NodeName::new(self.known.cluster().clone(), name).ok()?;
            Some((name.clone(), kubernetes.mesh.reported(&name.node)?.clone()))
        });
        self.complain_of_ranges();
        match reported.and_then(|(name, report)| self.known.handle_report(name, report)) {
            Some(changes) => {
                self.save_reports_soon();
                changes
            }
            None => Vec::new(),
        }
    }

    /// Says what is wrong with nodes' ranges now.
    pub(crate) fn complain_of_ranges(&mut self) {
        let Some(kubernetes) = &mut self.kubernetes else { return };
        let changed = kubernetes.mesh.take_changed();
        let complaints: Vec<_> =
            changed.into_iter().map(|name| (kubernetes.mesh.complaints(&name), name)).collect();
        for (complaints, name) in complaints {
            self.complain(Origin::Mesh, &Id::new(Kind::Node, "", &name), complaints);
        }
    }

    /// Says a problem once and keeps it for whoever asks.
    pub(crate) fn note(&mut self, problem: String) {
        if self.problems.contains(&problem) {
            return;
        }
        warn!("{problem}");
        if self.problems.len() == PROBLEMS {
            self.problems.pop_front();
        }
        self.problems.push_back(problem);
    }

    /// Takes in what is wrong with an object now.
    pub(crate) fn complain(&mut self, origin: Origin, id: &Id, complaints: Vec<Complaint>) {
        for Complaint { reason, message } in &complaints {
            tracing::debug!(%id, reason, "{message}");
        }
        let now = self.now();
        if let Some(all) = self.complaints.set(origin, id, complaints)
            && let Some(kubernetes) = &mut self.kubernetes
        {
            kubernetes.ledger.handle(id, &all, now);
        }
    }

    /// Everything that an operator should put right.
    pub(crate) fn all_problems(&self) -> Vec<String> {
        let wrong = self.complaints.iter();
        let objects = wrong
            .take(PROBLEMS)
            .map(|(id, Complaint { reason, message })| format!("{id}: {reason}: {message}"));
        let imports = self.multicluster.problems().take(PROBLEMS);
        let notes = self.notes.iter().cloned();
        notes.chain(objects).chain(imports).chain(self.problems.iter().cloned()).collect()
    }

    /// The time since it started, as the parts that know no clock are told it.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment at which that much time had passed.
    pub(crate) fn at(&self, time: Duration) -> Instant {
        self.started + time
    }

    fn save_peers_soon(&mut self) {
        let every = self.save_peers_every;
        self.save_peers_at.get_or_insert_with(|| Instant::now() + every);
    }

    /// Reports are to be on disk soon. Where others keep them too, there is no hurry.
    fn save_reports_soon(&mut self) {
        self.reports_changed = true;
        match self.kubernetes {
            Some(_) => drop(self.save_own_at.get_or_insert_with(|| Instant::now() + SAVE_OWN)),
            None => self.save_peers_soon(),
        }
    }

    /// Writes what is small to disk.
    fn save_reports(&mut self) {
        let disk = &self.disk;
        let saved = self.multicluster.take_addresses().map(|ips| disk.save_clusterset_ips(ips));
        if let Some(Err(problem)) = saved {
            self.note(problem);
        }
        if std::mem::take(&mut self.reports_changed)
            && let Err(problem) = self.disk.save_reports(self.known.reports())
        {
            self.note(problem);
        }
    }
}
