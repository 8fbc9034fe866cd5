//! The node's WireGuard keys, on disk and in use: the one it has, and the next one while it is changed.
//!
//! `private.key` is the key by which everybody knows the node, or will know it in a moment; `next.key` the one that comes.
//! Each is written whole or not at all, and the next one takes the other's place by one rename.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use engine::rekey::{Phase, Rekey, Sight, Step, Why};
use kernel::wireguard::{Device, PrivateKey};
use link::NodeReport;
use model::mesh::Rekeying;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Config;

/// The node's keys, and how they change.
pub(crate) struct Keys {
    folder: PathBuf,
    /// By which others know the node.
    current: PrivateKey,
    next: Option<PrivateKey>,
    /// The number of the last request for a new key that was followed.
    followed: u64,
    /// A key that is so old is changed.
    lifetime: Option<Duration>,
    rekey: Rekey,
    report: watch::Sender<NodeReport>,
}

impl Keys {
    /// The keys in this folder; the first one is made if need be.
    pub(crate) fn open(folder: &Path) -> Result<(PrivateKey, Option<PrivateKey>)> {
        let current = PrivateKey::load_or_create(&folder.join("private.key"))?;
        let next = match PrivateKey::load(&folder.join("next.key")) {
            Ok(next) => next,
            // Nobody depends on it yet.
            Err(error) => {
                warn!("the next key is not used: {error}");
                None
            }
        };
        Ok((current, next))
    }

    /// Takes them over as they were left. `report` says what others are to know.
    pub(crate) fn new(
        config: &Config,
        (current, next): (PrivateKey, Option<PrivateKey>),
        report: watch::Sender<NodeReport>,
    ) -> Self {
        let folder = &config.state_dir;
        // Nodes that were set up together do not change their keys together: some do up to a tenth earlier.
        let early = u32::try_from(model::Node::id(&config.name()) % 1000).expect("less than 1000");
        let lifetime = config.key_rotation.0.map(|lifetime| lifetime - lifetime / 10_000 * early);
        let followed = std::fs::read_to_string(folder.join("rekey.request"));
        let followed = followed.ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        let rekey = Rekey::resume(next.is_some(), false, Duration::ZERO);
        Self { folder: folder.into(), current, next, followed, lifetime, rekey, report }
    }

    /// Gives the device its keys, as it is made or found.
    pub(crate) fn load(&mut self, device: &Device, now: Duration) -> Result<()> {
        match (&self.next, self.rekey.phase()) {
            (Some(next), Phase::Used) => {
                device.set_private_keys(next.secret(), Some(self.current.secret()))?;
            }
            (Some(next), _) => device.set_private_keys(self.current.secret(), Some(next.secret()))?,
            (None, phase) => {
                device.set_private_key(self.current.secret())?;
                if phase == Phase::Rest {
                    let has_former = device.observe()?.other_key.is_some();
                    self.rekey = Rekey::resume(false, has_former, now);
                }
            }
        }
        let (two, groups) = (device.knows_two_keys(), device.knows_groups());
        self.report.send_if_modified(|report| {
            let before = (report.knows_two_keys, report.knows_groups);
            (report.knows_two_keys, report.knows_groups) = (two, groups);
            before != (two, groups)
        });
        Ok(())
    }

    /// Whether a key is being changed, and the next one is in use already.
    pub(crate) fn in_use(&self) -> Option<model::PublicKey> {
        self.next.as_ref().filter(|_| self.rekey.phase() == Phase::Used).map(PrivateKey::public)
    }

    /// Begins to change the key if it is old enough, or if the controller was asked for it. `held_back`: why an old key is
    /// kept all the same.
    pub(crate) fn begin(
        &mut self,
        device: &Device,
        told: Rekeying,
        held_back: Option<String>,
        now: Duration,
    ) -> Result<Option<String>> {
        if told.requested != 0 && told.requested != self.followed {
            if let Some(step) = self.rekey.begin(Why::Asked, now) {
                self.take(step, device, now)?;
            }
            self.followed = told.requested;
            replace(&self.path("rekey.request"), &told.requested.to_string())
                .context("keeping in mind which request for a new key was followed")?;
        } else if self.rekey.phase() == Phase::Rest && self.is_old() {
            if held_back.is_some() {
                return Ok(held_back);
            }
            if let Some(step) = self.rekey.begin(Why::Age, now) {
                self.take(step, device, now)?;
            }
        }
        Ok(None)
    }

    /// Goes on with it. `told` is what the controller tells of this node, `behind` how many nodes have not taken the next key.
    pub(crate) fn poll(
        &mut self,
        device: &Device,
        told: Rekeying,
        behind: usize,
        now: Duration,
    ) -> Result<Option<String>> {
        let is_told = self.next.as_ref().is_some_and(|next| told.next_key == Some(next.public()));
        let sight = Sight { is_told, has_two: device.knows_two_keys(), behind };
        // A tunnel with one key takes two steps at once.
        while let Some(step) = self.rekey.poll(&sight, now) {
            self.take(step, device, now)?;
        }
        Ok(self.rekey.is_late(now).then(|| match self.rekey.phase() {
            Phase::Told => "the node's next key is not told by the controller: is it connected, and of this version?".into(),
            _ => format!("the node's key changes, and {behind} nodes go on with the old one: do they hear from their controllers?"),
        }))
    }

    fn take(&mut self, step: Step, device: &Device, now: Duration) -> Result<()> {
        let taken = self.do_step(step, device);
        if taken.is_err() {
            self.rekey.undone(step, now);
        }
        taken.with_context(|| format!("changing the node's key: {step:?}"))
    }

    fn do_step(&mut self, step: Step, device: &Device) -> Result<()> {
        let next = || self.next.as_ref().context("there is no next key");
        match step {
            Step::Make => {
                let made = PrivateKey::generate();
                made.store(&self.path("next.key"))?;
                device.set_private_keys(self.current.secret(), Some(made.secret()))?;
                info!(key = %self.current.public(), next = %made.public(), "the node gets another key");
                self.next = Some(made);
            }
            Step::Use => device.set_private_keys(next()?.secret(), Some(self.current.secret()))?,
            Step::Keep => {
                // From here on it is the key, whatever happens.
                let key = next()?.public();
                std::fs::rename(self.path("next.key"), self.path("private.key"))?;
                self.current = self.next.take().context("there is a next key")?;
                info!(%key, "the node has another key");
                if let Err(error) = sync(&self.folder) {
                    // Should the machine stop now, it has both keys again, and goes on from there.
                    warn!(%error, "it is not known whether the key's new name is on the disk");
                }
            }
            Step::Forget => device.set_private_keys(self.current.secret(), None)?,
        }
        self.tell();
        Ok(())
    }

    /// Lets everybody know.
    fn tell(&self) {
        let (public_key, next_key) = (self.current.public(), self.next.as_ref().map(PrivateKey::public));
        self.report.send_if_modified(|report| {
            let changed = (report.public_key, report.next_key) != (public_key, next_key);
            (report.public_key, report.next_key) = (public_key, next_key);
            changed
        });
    }

    fn is_old(&self) -> bool {
        let made = || std::fs::metadata(self.path("private.key"))?.modified();
        // A clock that went back makes a key young again, and no younger than a new one.
        let age = |made: SystemTime| SystemTime::now().duration_since(made).unwrap_or_default();
        self.lifetime.is_some_and(|lifetime| made().is_ok_and(|made| age(made) >= lifetime))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Writes a file whole or not at all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// Has the disk know which names there are.
fn sync(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}
