//! The controller's life: read the source, listen, then carry every change to whoever is to know it.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::manifest::Id;
use cluster::{Complaint, standalone};
use link::controller::{ControllerEvent, ControllerOptions, Handle, Server};
use model::{Change, Cluster, NodeName};
use serve::metrics::ControllerMetrics;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::{Config, Source};
use crate::known::{Known, Report};

/// How long what changed may wait before it is on disk: what a crash costs is asked for again.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// How many problems are kept for `causeway status`.
const PROBLEMS: usize = 100;

/// The controller, as its local API sees it.
pub(crate) struct Controller {
    pub(crate) cluster: Cluster,
    pub(crate) handle: Handle,
    inner: Mutex<Inner>,
    pub(crate) metrics: ControllerMetrics,
}

/// What changes while it runs.
pub(crate) struct Inner {
    pub(crate) known: Known,
    pub(crate) problems: VecDeque<String>,
    /// What the source says of itself, as long as it is so.
    notes: Vec<String>,
    /// What is wrong with objects, as long as it is.
    pub(crate) complaints: BTreeMap<Id, Vec<Complaint>>,
    reports_file: PathBuf,
    peers_file: PathBuf,
    /// When to write what linked clusters said; none when it is on disk.
    save_at: Option<Instant>,
}

/// Runs until `stop` resolves.
///
/// # Errors
/// A folder, a file or a port that it cannot do without. What happens later is tried again and shown in the status.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    let cluster = Cluster::from(config.cluster.clone());
    for folder in [&config.state_dir, &config.run_dir] {
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let Source::Standalone { path } = &config.source;
    let mut source = standalone::watch(path, &cluster).context("watching the source")?;

    let peers_file = config.state_dir.join("peers.state");
    let reports_file = config.state_dir.join("nodes.json");
    let found = link::saved::load(&peers_file)?;
    let known = Known::new(cluster.clone(), load_reports(&reports_file), &found.saved);
    let mut inner = Inner {
        known,
        problems: VecDeque::new(),
        notes: Vec::new(),
        complaints: BTreeMap::new(),
        reports_file,
        peers_file,
        save_at: None,
    };
    if let Some(problem) = found.problem {
        inner.note(problem);
    }

    // Nobody is told anything before the source has been read in full: an agent would take what is missing for gone.
    loop {
        match source.recv().await.context("the source ended before it was read in full")? {
            standalone::Event::Changes(changes) => drop(inner.known.handle_source(changes)),
            standalone::Event::Problem(problem) => inner.note(problem),
            standalone::Event::Object { id, complaints } => inner.complain(id, complaints),
            standalone::Event::Notes(notes) => inner.take_notes(notes),
            standalone::Event::Synced => break,
        }
    }
    let mut options =
        ControllerOptions::new(cluster.clone(), config.listen, config.advertise.clone(), &config.state_dir);
    options.held = inner.known.held();
    let (handle, mut streams) = Server::start(options).await?;
    handle.publish(inner.known.everything());
    info!(cluster = %cluster.name, listen = %handle.local_addr(), "the source is read; agents and clusters are served");

    let metrics = ControllerMetrics::new(env!("CARGO_PKG_VERSION"));
    let controller = Arc::new(Controller { cluster, handle, inner: Mutex::new(inner), metrics });
    crate::api::start(&controller, &config).await?;
    tokio::pin!(stop);
    loop {
        let save_at = controller.inner().save_at;
        tokio::select! {
            event = source.recv() => {
                controller.handle_source(event.context("the source ended")?);
            }
            event = streams.recv() => {
                controller.handle_stream(event.context("the listener ended")?);
            }
            () = at(save_at) => controller.save_peers().await,
            () = &mut stop => break,
        }
    }
    controller.save_peers().await;
    info!("stopped");
    Ok(())
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Controller {
    fn handle_source(&self, event: standalone::Event) {
        let mut inner = self.inner();
        match event {
            standalone::Event::Changes(changes) => self.publish(inner.known.handle_source(changes)),
            standalone::Event::Problem(problem) => inner.note(problem),
            standalone::Event::Object { id, complaints } => inner.complain(id, complaints),
            standalone::Event::Notes(notes) => inner.take_notes(notes),
            standalone::Event::Synced => {}
        }
    }

    fn handle_stream(&self, event: ControllerEvent) {
        let mut inner = self.inner();
        match event {
            ControllerEvent::AgentUp { node } => info!(%node, "agent connected"),
            ControllerEvent::AgentDown { node } => info!(%node, "agent disconnected"),
            ControllerEvent::Report { node, report } => {
                if let Some(changes) = inner.known.handle_report(node, Report::from(report)) {
                    self.publish(changes);
                    inner.save_reports();
                }
            }
            ControllerEvent::PeerUp { cluster } => info!(%cluster, "link up"),
            ControllerEvent::PeerDown { cluster, error } => warn!(%cluster, error, "link down"),
            ControllerEvent::PeerChanges { cluster, changes, position } => {
                self.publish(inner.known.handle_peer(&cluster, changes, position));
                inner.save_soon();
            }
            ControllerEvent::PeerSynced { cluster, position } => {
                inner.known.handle_peer_synced(&cluster, position);
                inner.save_soon();
            }
            ControllerEvent::Problem(problem) => inner.note(problem),
        }
    }

    /// Writes what linked clusters said to disk, if it is not there yet.
    async fn save_peers(&self) {
        let (path, (world, places)) = {
            let mut inner = self.inner();
            if inner.save_at.take().is_none() {
                return;
            }
            (inner.peers_file.clone(), inner.known.peers())
        };
        let saved = tokio::task::spawn_blocking(move || link::saved::save(&path, &world, &places)).await;
        if let Ok(Err(e)) = saved {
            self.inner().note(e.to_string());
        }
    }

    /// What changes; never held across an await.
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics while holding it")
    }

    fn publish(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.handle.publish(changes);
        }
    }
}

impl Inner {
    /// Says a problem once and keeps it for whoever asks.
    fn note(&mut self, problem: String) {
        if self.problems.contains(&problem) {
            return;
        }
        warn!("{problem}");
        if self.problems.len() == PROBLEMS {
            self.problems.pop_front();
        }
        self.problems.push_back(problem);
    }

    /// Takes in what the source says of itself now.
    fn take_notes(&mut self, notes: Vec<String>) {
        for note in notes.iter().filter(|note| !self.notes.contains(note)) {
            warn!("{note}");
        }
        for note in self.notes.iter().filter(|note| !notes.contains(note)) {
            info!("no longer: {note}");
        }
        self.notes = notes;
    }

    /// Takes in what is wrong with an object now.
    fn complain(&mut self, id: Id, complaints: Vec<Complaint>) {
        if complaints.is_empty() {
            self.complaints.remove(&id);
            return;
        }
        for Complaint { reason, message } in &complaints {
            warn!(%id, reason, "{message}");
        }
        self.complaints.insert(id, complaints);
    }

    /// Everything that an operator should put right.
    pub(crate) fn all_problems(&self) -> Vec<String> {
        let objects = self.complaints.iter().flat_map(|(id, complaints)| {
            complaints.iter().map(move |Complaint { reason, message }| format!("{id}: {reason}: {message}"))
        });
        self.notes.iter().cloned().chain(objects).chain(self.problems.iter().cloned()).collect()
    }

    fn save_soon(&mut self) {
        self.save_at.get_or_insert_with(|| Instant::now() + SAVE_AFTER);
    }

    fn save_reports(&mut self) {
        let text = serde_json::to_vec(&self.known.reports().iter().collect::<Vec<_>>());
        let text = text.expect("names and keys are text");
        let temporary = self.reports_file.with_extension("new");
        let written =
            std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &self.reports_file));
        if let Err(e) = written {
            let problem = format!("cannot write {}: {e}", self.reports_file.display());
            self.note(problem);
        }
    }
}

/// What nodes said before the last stop. They say it again when they connect, so a file that cannot be read costs
/// nothing but that wait.
fn load_reports(path: &Path) -> BTreeMap<NodeName, Report> {
    let Ok(text) = std::fs::read(path) else { return BTreeMap::new() };
    match serde_json::from_slice::<Vec<(NodeName, Report)>>(&text) {
        Ok(reports) => reports.into_iter().collect(),
        Err(e) => {
            warn!("{}: {e}; nodes will report themselves anew", path.display());
            BTreeMap::new()
        }
    }
}
