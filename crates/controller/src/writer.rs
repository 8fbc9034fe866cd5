//! What a leader writes to the API server, and only a leader: the shared state, the roots that agents mount, MeshNodes,
//! Events, and what [`imports`] says.
//!
//! Every write stands behind the fence of the Lease. What fails is tried again, with patience for a server in trouble; what
//! is there already is not written.

mod imports;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::kubernetes::Error;
use cluster::kubernetes::lease::{Fence, Role};
use cluster::kubernetes::meshnode::{self, Held};
use cluster::kubernetes::state::Files;
use cluster::kubernetes::write::Remedy;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use link::controller::state;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::controller::Controller;
use crate::mesh::Step;
use crate::site::Site;

/// Writes at the same time.
const AT_ONCE: usize = 8;
/// Between two Events: they can wait.
const BETWEEN_EVENTS: Duration = Duration::from_millis(50);
/// After a failure that time may mend, at first and at last.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// How often one that stands by looks at what the leader has saved.
const LOOK: Duration = Duration::from_secs(30);
/// The roots among the state's files.
const ROOTS: &str = "ca.crt";
/// After a failure that somebody has to mend.
const REPAIR: Duration = Duration::from_secs(10);

/// Writes while it leads.
pub(crate) struct Writer<'a> {
    pub(crate) controller: Arc<Controller>,
    pub(crate) site: &'a Site,
    pub(crate) fence: Fence,
    pub(crate) role: watch::Receiver<Role>,
    pub(crate) dir: std::path::PathBuf,
}

/// The leadership is over.
struct Deposed;

/// A pause that grows with failures in a row.
struct Pause {
    until: Option<Instant>,
    next: Duration,
}

impl Pause {
    fn new() -> Self {
        Self { until: None, next: FIRST }
    }

    /// Something failed in a way that time may mend.
    fn grow(&mut self, least: Option<Duration>) {
        let pause = self.next.max(least.unwrap_or_default());
        self.until = Some(Instant::now() + pause);
        self.next = (self.next * 2).min(LONGEST);
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Writer<'_> {
    /// Writes whenever this controller leads.
    ///
    /// # Errors
    /// The cluster has another CA than this controller began with.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            self.stand_by().await?;
            // A leadership that was over may have been renewed before anybody noticed.
            self.fence.held().await;
            if let Ok(saved) = self.take_over().await? {
                let Deposed = self.write(saved).await;
            }
        }
    }

    /// Waits until this controller leads. Meanwhile it follows what the one that does has saved: by the CA, agents know
    /// whom to believe.
    async fn stand_by(&mut self) -> Result<()> {
        loop {
            let look = Instant::now() + LOOK;
            tokio::select! {
                // The sender lives as long as the election.
                role = self.role.wait_for(|role| *role == Role::Leader) => {
                    role.context("the election ended")?;
                    return Ok(());
                }
                () = sleep_until(look) => {}
            }
            if self.controller.handle.leads() {
                continue;
            }
            match self.site.store.load().await {
                Ok(Some(saved)) => self.take_state(&saved)?,
                // The leader notices, too, and does something about it.
                Ok(None) => {}
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Takes what the leader has saved.
    fn take_state(&self, saved: &Files) -> Result<()> {
        let written = state::write(&self.dir, saved)?;
        if written.iter().any(|name| name.starts_with("ca")) && self.controller.handle.reload_authority()? {
            bail!("the cluster has another CA than this controller began with; it begins anew with that one");
        }
        Ok(())
    }

    /// Takes over what other controllers have left. Returns the state as it is saved.
    async fn take_over(&self) -> Result<Result<Files, Deposed>> {
        let Ok(saved) = self.until_done(|| self.site.store.load()).await else { return Ok(Err(Deposed)) };
        let saved = match saved {
            Some(saved) => saved,
            // Somebody has removed it: ours is what is left.
            None => {
                let ours = state::read(&self.dir)?;
                match self.until_done(|| self.site.store.found(ours.clone())).await {
                    Ok(saved) => saved,
                    Err(Deposed) => return Ok(Err(Deposed)),
                }
            }
        };
        // Otherwise nobody else has led meanwhile, and what is on disk is the latest.
        if !self.controller.handle.leads() {
            self.take_state(&saved)?;
            self.controller.lead()?;
            info!(identity = self.site.identity, "this controller leads");
        }
        Ok(self.show_roots().await.map(|()| saved))
    }

    /// Writes the roots for agents to see, if others are there.
    async fn show_roots(&self) -> Result<(), Deposed> {
        let roots = self.controller.handle.roots();
        if self.until_done(|| self.site.store.roots()).await?.as_ref() != Some(&roots) {
            self.until_done(|| self.site.store.save_roots(&roots)).await?;
        }
        Ok(())
    }

    /// Does one thing until it is done.
    async fn until_done<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, Deposed>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pause = Pause::new();
        loop {
            let error = match self.fence.keep(work()).await {
                None => return Err(Deposed),
                Some(Ok(done)) => return Ok(done),
                Some(Err(error)) => error,
            };
            self.failed(&error);
            match error.remedy() {
                Remedy::Again(after) => pause.grow(after),
                Remedy::Look => pause.grow(None),
                Remedy::Gone | Remedy::Repair => pause.grow(Some(REPAIR)),
            }
            if let Some(until) = pause.until {
                self.fence.keep(sleep_until(until)).await.ok_or(Deposed)?;
            }
        }
    }

    /// Writes what changes, until the leadership is over.
    async fn write(&self, mut saved: Files) -> Deposed {
        let mut state_saved = self.controller.handle.state_saved();
        // What was written to disk before is compared once.
        state_saved.mark_changed();
        let mut pause = Pause::new();
        let mut steps = FuturesUnordered::new();
        let mut imports = FuturesUnordered::new();
        let mut next_event = Instant::now();
        loop {
            if !self.fence.holds() {
                return Deposed;
            }
            let wait = pause.until.filter(|until| *until > Instant::now());
            if wait.is_none() {
                while steps.len() < AT_ONCE
                    && let Some(step) = self.next_step()
                {
                    steps.push(self.step(step));
                }
                while imports.len() < AT_ONCE
                    && let Some(step) = self.next_import()
                {
                    imports.push(self.write_import(step));
                }
            }
            let mesh_at = self.mesh_at();
            let imports_at = self.imports_at();
            let event_at = self.event_at().map(|at| at.max(next_event));
            tokio::select! {
                Some((step, done)) = steps.next() => {
                    let Some(done) = done else { return Deposed };
                    self.stepped(&step, done, &mut pause);
                }
                Some((step, done)) = imports.next() => {
                    let Some(done) = done else { return Deposed };
                    self.import_written(&step, done, &mut pause);
                }
                () = at(wait), if wait.is_some() => pause.until = None,
                changed = state_saved.changed(), if wait.is_none() => {
                    if changed.is_err() {
                        return Deposed;
                    }
                    if self.save_state(&mut saved).await.is_err() {
                        return Deposed;
                    }
                }
                () = at(event_at), if wait.is_none() => {
                    next_event = Instant::now() + BETWEEN_EVENTS;
                    if self.say(&mut pause).await.is_err() {
                        return Deposed;
                    }
                }
                () = at(mesh_at), if wait.is_none() => {}
                () = at(imports_at), if wait.is_none() => {}
                () = self.controller.to_write.notified() => {}
                () = self.over() => return Deposed,
            }
        }
    }

    /// Waits until the leadership is over.
    async fn over(&self) {
        self.fence.keep(std::future::pending::<()>()).await;
    }

    fn next_step(&self) -> Option<Step> {
        let mut inner = self.controller.inner();
        let now = inner.now();
        let step = inner.kubernetes.as_mut()?.mesh.poll(now);
        inner.complain_of_ranges();
        step
    }

    fn mesh_at(&self) -> Option<Instant> {
        let inner = self.controller.inner();
        let at = inner.kubernetes.as_ref()?.mesh.deadline()?;
        Some(inner.at(at))
    }

    fn event_at(&self) -> Option<Instant> {
        let inner = self.controller.inner();
        let at = inner.kubernetes.as_ref()?.ledger.deadline()?;
        Some(inner.at(at))
    }

    async fn step(&self, step: Step) -> (Step, Option<Result<Option<Held>, Error>>) {
        let client = &self.site.client;
        let work = async {
            match &step {
                Step::Give { node, ranges } => match meshnode::owner(client, node).await? {
                    Some(owner) => meshnode::apply_spec(client, &owner, ranges).await.map(Some),
                    // It is gone, and that will be heard soon.
                    None => Ok(None),
                },
                Step::Report { node, reported } => {
                    meshnode::apply_status(client, node, reported).await.map(Some)
                }
                Step::Remove { node, uid } => meshnode::delete(client, node, uid).await.map(|()| None),
            }
        };
        let done = self.fence.keep(work).await;
        (step, done)
    }

    fn stepped(&self, step: &Step, done: Result<Option<Held>, Error>, pause: &mut Pause) {
        if let Err(error) = &done {
            self.failed(error);
        }
        let mut inner = self.controller.inner();
        let now = inner.now();
        let Some(kubernetes) = inner.kubernetes.as_mut() else { return };
        match (step, done) {
            // A Node that is gone may come back before it is heard that it was gone.
            (Step::Give { node, .. }, Ok(None)) => kubernetes.mesh.handle_failed(node, now + REPAIR),
            (step, Ok(held)) => {
                pause.reset();
                kubernetes.mesh.handle_done(step.node(), held);
            }
            (step, Err(error)) => {
                let again = match error.remedy() {
                    Remedy::Again(after) => {
                        pause.grow(after);
                        FIRST
                    }
                    Remedy::Look => FIRST,
                    Remedy::Gone | Remedy::Repair => REPAIR,
                };
                kubernetes.mesh.handle_failed(step.node(), now + again);
            }
        }
        inner.complain_of_ranges();
    }

    /// Saves what the state directory holds, if it is not what is saved.
    async fn save_state(&self, saved: &mut Files) -> Result<(), Deposed> {
        let files = match state::read(&self.dir) {
            Ok(files) => files,
            Err(error) => {
                self.controller.inner().note(error.to_string());
                return Ok(());
            }
        };
        // Files that are not there yet are no change.
        if files.iter().all(|(name, bytes)| saved.get(name) == Some(bytes)) {
            return Ok(());
        }
        let turned = files.get(ROOTS) != saved.get(ROOTS);
        self.until_done(|| self.site.store.save(&files)).await?;
        *saved = files;
        // Only what every controller will know is shown.
        if turned { self.show_roots().await } else { Ok(()) }
    }

    /// Says one thing that is wrong.
    async fn say(&self, pause: &mut Pause) -> Result<(), Deposed> {
        let note = {
            let mut inner = self.controller.inner();
            let now = inner.now();
            inner.kubernetes.as_mut().and_then(|kubernetes| kubernetes.ledger.poll(now))
        };
        let Some(note) = note else { return Ok(()) };
        match self.fence.keep(self.site.reporter.say(&note)).await.ok_or(Deposed)? {
            Ok(()) => pause.reset(),
            Err(error) => {
                self.failed(&error);
                if let Remedy::Again(after) = error.remedy() {
                    pause.grow(after);
                }
                let mut inner = self.controller.inner();
                let now = inner.now();
                if let Some(kubernetes) = inner.kubernetes.as_mut() {
                    kubernetes.ledger.handle_failure(&note, now);
                }
            }
        }
        Ok(())
    }

    /// Says what somebody has to mend; the rest mends itself.
    fn failed(&self, error: &Error) {
        match error.remedy() {
            Remedy::Repair => self.controller.inner().note(error.to_string()),
            Remedy::Again(_) | Remedy::Look | Remedy::Gone => warn!(%error, "a write is tried again"),
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
