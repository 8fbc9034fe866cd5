//! What is known goes to disk beside everything else: a disk that takes its time holds up nobody.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::exchange::Interest;
use model::{ClusterName, World};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;
use wire::state::{Place, Policing};

use super::Node;

/// How long what changed may wait before it is on disk: what a crash costs is asked for again.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// It waits so many times as long as it took to write the last time: in a large clusterset everything is much.
const SAVE_SHARE: u32 = 50;
/// But no longer.
const SAVE_LATEST: Duration = Duration::from_secs(60);

/// Writes a file, one at a time.
#[derive(Debug)]
pub(super) struct Saving {
    path: PathBuf,
    due: Option<Instant>,
    after: Duration,
    under_way: Option<(JoinHandle<Result<(), link::Error>>, Instant)>,
}

impl Saving {
    pub(super) fn to(folder: &Path) -> Self {
        Self { path: folder.join("world.state"), due: None, after: SAVE_AFTER, under_way: None }
    }

    /// Something is to be written.
    pub(super) fn soon(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + self.after);
    }

    /// When, unless the last time is not over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.under_way.is_none())
    }

    /// Whether it is time.
    async fn is_due(&mut self) -> bool {
        if self.under_way.as_ref().is_some_and(|(writing, _)| writing.is_finished()) {
            self.finish().await;
        }
        self.deadline().is_some_and(|at| at <= Instant::now())
    }

    fn begin(&mut self, world: World, places: BTreeMap<ClusterName, Place>) {
        self.due = None;
        let path = self.path.clone();
        let writing = tokio::task::spawn_blocking(move || link::saved::save(&path, &world, &places));
        self.under_way = Some((writing, Instant::now()));
    }

    /// Waits for the end of what is under way.
    async fn finish(&mut self) {
        let Some((writing, began)) = self.under_way.take() else { return };
        if let Ok(Err(e)) = writing.await {
            warn!("{e}");
        }
        self.after = (began.elapsed() * SAVE_SHARE).clamp(SAVE_AFTER, SAVE_LATEST);
    }
}

impl Node {
    /// Begins to write what is known, if it is time.
    pub(super) async fn poll_saving(&mut self) {
        if self.saving.is_due().await {
            self.begin_saving();
        }
    }

    /// Writes what is known to disk, if it is not there yet.
    pub(crate) async fn save(&mut self) {
        self.saving.finish().await;
        if self.saving.due.is_some() {
            self.begin_saving();
            self.saving.finish().await;
        }
    }

    fn begin_saving(&mut self) {
        let Interest { policing, topics, .. } = &self.told.interest;
        let policing = policing.then(|| Policing { clusters: topics.pods.clone(), policies: false });
        let place = self.told.position.map(|p| {
            let (epoch, revision) = (p.epoch, p.revision);
            Place { epoch, revision, interest: None, policing }
        });
        let places = place.map(|place| (self.config.cluster.clone(), place)).into_iter().collect();
        self.saving.begin(self.outlook.world.clone(), places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut saving = Saving::to(folder.path());
        let (done, disk) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::spawn(async { disk.await.map_or(Ok(()), Ok) });
        saving.under_way = Some((writing, Instant::now()));
        saving.due = Some(Instant::now());
        assert!(!saving.is_due().await && saving.deadline().is_none(), "one at a time");
        done.send(()).unwrap();
        saving.finish().await;
        assert!(saving.is_due().await, "and then what has come meanwhile");
        saving.begin(World::default(), BTreeMap::new());
        saving.finish().await;
        assert!(link::saved::load(&saving.path).is_ok() && saving.due.is_none());
    }
}
