//! What a controller keeps on its own disk, so that it can begin while everything else is dark: what nodes reported, what
//! linked clusters said, and its own cluster as it was last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ClusterName, NodeName, Object, ObjectName, World};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;
use wire::state::{Encoder, Saved};

use crate::known::Report;

/// Where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    dir: PathBuf,
}

impl Disk {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What linked clusters said, and what was wrong with the file.
    pub(crate) fn peers(&self) -> Result<(Saved, Option<String>), link::Error> {
        let found = link::saved::load(&self.path("peers.state"))?;
        Ok((found.saved, found.problem))
    }

    /// The own cluster as it was, and what was wrong with the file.
    pub(crate) fn own(&self) -> Result<(World, Option<String>), link::Error> {
        let found = link::saved::load(&self.path("own.state"))?;
        Ok((found.saved.world, found.problem))
    }

    /// Writes what linked clusters said. Blocks.
    pub(crate) fn save_peers(&self, state: Encoder) -> Result<(), link::Error> {
        link::saved::save_encoded(&self.path("peers.state"), state)
    }

    /// Writes the own cluster's objects. Blocks.
    pub(crate) fn save_own(&self, own: &ClusterName, told: &[Arc<Object>]) -> Result<(), link::Error> {
        let mut state = Encoder::default();
        told.iter().filter(|object| object.key().cluster() == own).for_each(|object| state.object(object));
        link::saved::save_encoded(&self.path("own.state"), state)
    }

    /// What nodes said before the last stop. They say it again when they connect, so a file that cannot be read costs
    /// nothing but that wait.
    pub(crate) fn reports(&self) -> BTreeMap<NodeName, Report> {
        let reports: Vec<(NodeName, Report)> = self.read("nodes.json", "nodes will report themselves anew");
        reports.into_iter().collect()
    }

    /// Writes what nodes said. Returns what went wrong.
    pub(crate) fn save_reports(&self, reports: &BTreeMap<NodeName, Report>) -> Result<(), String> {
        self.write("nodes.json", &reports.iter().collect::<Vec<_>>())
    }

    /// Which import had which addresses. Forgotten, most of them are the same again.
    pub(crate) fn clusterset_ips(&self) -> BTreeMap<ObjectName, Vec<IpAddr>> {
        self.read("clusterset-ips.json", "imports get their addresses anew, mostly the same ones")
    }

    /// Writes which import has which addresses. Returns what went wrong.
    pub(crate) fn save_clusterset_ips(&self, ips: &BTreeMap<ObjectName, Vec<IpAddr>>) -> Result<(), String> {
        self.write("clusterset-ips.json", ips)
    }

    fn read<T: DeserializeOwned + Default>(&self, name: &str, hence: &str) -> T {
        let path = self.path(name);
        let Ok(text) = std::fs::read(&path) else { return T::default() };
        serde_json::from_slice(&text).unwrap_or_else(|e| {
            warn!("{}: {e}; {hence}", path.display());
            T::default()
        })
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), String> {
        let path = self.path(name);
        let text = serde_json::to_vec(value).expect("names, keys and addresses are text");
        let temporary = path.with_extension("new");
        let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|e| format!("cannot write {}: {e}", path.display()))
    }
}
