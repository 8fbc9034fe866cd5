//! The clusters this one is linked with: on disk, so they are redialled after a restart, and as they stand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::exchange::{Bounds, Held, Mirror};
use model::{Cluster, ClusterName, Kind};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use wire::local::{LinkStatus, StreamStatus};

use super::LinkSettings;
use super::pulse::Pulse;
use super::session::Session;
use crate::pki::{Roots, parse_roots};
use crate::{Address, Error, files};

/// Beside the list: the links that were removed here.
const REMOVED: &str = "removed.json";
/// How many of those are remembered.
const REMEMBERED: usize = 64;

/// What is remembered of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The other cluster, as it was last accepted.
    pub(crate) cluster: Cluster,
    /// Where to dial; empty when the other side dials us.
    pub(crate) addresses: Vec<Address>,
    /// The roots of its CA.
    pub(crate) roots: Roots,
    /// The object that asked for the link; none if it was made by hand.
    pub(crate) declared_by: Option<String>,
    /// Whether the other cluster has removed the link.
    pub(crate) severed: bool,
    /// When the other cluster was last heard, in seconds since 1970, if anybody wants to know.
    pub(crate) heard: Option<u64>,
}

impl Record {
    /// A new link.
    pub(crate) fn new(cluster: Cluster, addresses: Vec<Address>, roots: Roots) -> Self {
        Self { cluster, addresses, roots, declared_by: None, severed: false, heard: None }
    }
}

/// A record as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    cluster: Cluster,
    addresses: Vec<Address>,
    roots: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    declared_by: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    severed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heard: Option<u64>,
}

/// A link as it stands.
pub(crate) struct Link {
    pub(crate) record: Record,
    pub(crate) mirror: Mirror,
    /// The one stream that counts.
    pub(crate) session: Option<Session>,
    /// Where it comes from or goes to.
    pub(crate) remote: Option<SocketAddr>,
    /// Whether it is one that we dialled.
    pub(crate) dialled: bool,
    /// Whether everything it exports was heard since this process started.
    pub(crate) confirmed: bool,
    pub(crate) last_error: Option<String>,
    pub(crate) pulse: Pulse,
    /// The task that dials, if we do.
    pub(crate) dialler: Option<AbortHandle>,
}

impl Link {
    fn new(record: Record, held: Held, settings: LinkSettings) -> Self {
        let mut pulse = Pulse::new(settings);
        pulse.sever(record.severed);
        let last_error = record.severed.then(|| Error::Removed(record.cluster.name.clone()).to_string());
        Self {
            mirror: Mirror::of_peer(record.cluster.clone(), held).with_budget(settings.budget),
            record,
            pulse,
            session: None,
            remote: None,
            dialled: false,
            confirmed: false,
            last_error,
            dialler: None,
        }
    }

    fn status(&self) -> LinkStatus {
        let connected = self.session.is_some();
        let (state, since) = self.pulse.state();
        LinkStatus {
            cluster: self.record.cluster.name.clone(),
            id: self.record.cluster.id.get(),
            dials: !self.record.addresses.is_empty(),
            declared_by: self.record.declared_by.clone(),
            stream: StreamStatus {
                connected,
                address: self.remote,
                revision: self.mirror.position().map_or(0, |p| p.revision),
                stale: !self.confirmed,
                last_error: self.last_error.clone().filter(|_| !connected),
            },
            nodes: self.mirror.count(Kind::Node),
            services: self.mirror.count(Kind::Service),
            endpoints: self.mirror.count(Kind::Endpoint),
            refused: self.mirror.refusals().total(),
            state,
            since_seconds: since.as_secs_f64(),
            flow: self.pulse.flow(&self.mirror),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(dialler) = &self.dialler {
            dialler.abort();
        }
    }
}

/// All links, in the order they were made: who came first keeps its ranges.
pub(crate) struct Links {
    own: Cluster,
    path: PathBuf,
    /// Ticks when the file was written.
    saved: watch::Sender<()>,
    settings: LinkSettings,
    list: Vec<Link>,
    /// Clusters with which there was a link until it was removed here, so that they can be told.
    removed: Vec<Record>,
    /// What was brought by links that are gone, until it is said to be gone too.
    leaving: BTreeMap<ClusterName, Held>,
}

impl Links {
    /// Loads the list. `held` is what is known of each cluster; what belongs to no link is leaving.
    pub(crate) fn open(
        dir: &Path,
        own: Cluster,
        mut held: BTreeMap<ClusterName, Held>,
        saved: watch::Sender<()>,
        settings: LinkSettings,
    ) -> Result<Self, Error> {
        let path = dir.join("links.json");
        let records = load(&path)?.into_iter();
        let list = records.map(|record| {
            // Of a link that the other side has removed nothing stays.
            let held = if record.severed { None } else { held.remove(&record.cluster.name) };
            Link::new(record, held.unwrap_or_default(), settings)
        });
        let list = list.collect();
        let removed = load(&dir.join(REMOVED))?;
        Ok(Self { own, path, saved, settings, list, removed, leaving: held })
    }

    /// Loads the list again: somebody else has written it. `held` is what is known of each cluster by now; what belongs
    /// to no link is leaving. Ends every stream.
    pub(crate) fn reload(&mut self, held: BTreeMap<ClusterName, Held>) -> Result<(), Error> {
        let own = self.own.clone();
        let dir = self.path.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut next = Self::open(&dir, own, held, self.saved.clone(), self.settings)?;
        for (cluster, held) in std::mem::take(&mut self.leaving) {
            next.leaving.entry(cluster).or_insert(held);
        }
        *self = next;
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.list.iter()
    }

    pub(crate) fn get(&mut self, cluster: &ClusterName) -> Option<&mut Link> {
        self.list.iter_mut().find(|link| link.record.cluster.name == *cluster)
    }

    /// The link, if `session` is the one that counts.
    pub(crate) fn of_session(&mut self, cluster: &ClusterName, session: u64) -> Option<&mut Link> {
        self.get(cluster).filter(|link| link.session.as_ref().is_some_and(|s| s.id() == session))
    }

    /// All known clusters but one, the own one first.
    pub(crate) fn others(&self, but: &ClusterName) -> Vec<Cluster> {
        let linked = self.list.iter().filter_map(|link| link.mirror.peer());
        std::iter::once(&self.own).chain(linked).filter(|c| c.name != *but).cloned().collect()
    }

    pub(crate) fn status(&self) -> Vec<LinkStatus> {
        let mut all: Vec<_> = self.list.iter().map(Link::status).collect();
        all.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        all
    }

    /// Checks that a cluster can be linked. One that is linked already can be linked again with the same roots:
    /// its answer may have been lost.
    pub(crate) fn check(&self, cluster: &Cluster, roots: &Roots) -> Result<(), Error> {
        let same = self.list.iter().find(|link| {
            link.record.cluster.name == cluster.name
                && link.record.cluster.id == cluster.id
                && link.record.roots.iter().any(|root| roots.contains(root))
        });
        let others: Vec<Cluster> = match same {
            Some(_) => self.others(&cluster.name),
            None => std::iter::once(&self.own)
                .chain(self.list.iter().map(|link| &link.record.cluster))
                .cloned()
                .collect(),
        };
        Bounds::check_link(cluster, &others).map_err(Error::Link)
    }

    /// Adds a link, or replaces the one with the same cluster, and saves the list.
    pub(crate) fn add(&mut self, record: Record) -> Result<(), Error> {
        let name = record.cluster.name.clone();
        if self.removed.iter().any(|gone| gone.cluster.name == name) {
            self.removed.retain(|gone| gone.cluster.name != name);
            self.save_removed()?;
        }
        match self.get(&name) {
            Some(link) => {
                link.pulse.sever(false);
                let before = std::mem::replace(&mut link.record, record);
                if let Err(error) = self.save() {
                    if let Some(link) = self.get(&name) {
                        link.record = before;
                    }
                    return Err(error);
                }
            }
            None => {
                let keys = self.leaving.remove(&name).unwrap_or_default().keys;
                self.list.push(Link::new(record, Held { keys, ..Held::default() }, self.settings));
                if let Err(error) = self.save() {
                    self.forget(&name);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Removes a link and saves the list. What it brought is leaving; its stream ends, and the other side is told. Returns
    /// those that were removed so long ago that they are told no more; none if there was no link.
    pub(crate) fn remove(&mut self, cluster: &ClusterName) -> Result<Option<Vec<ClusterName>>, Error> {
        let why = format!("the link was removed at cluster {}", self.own.name);
        let Some(link) = self.get(cluster) else { return Ok(None) };
        let record = link.record.clone();
        if let Some(session) = link.session.take() {
            session.dismiss(why);
        }
        // Whoever dialled says farewell, and ends then.
        link.dialler = None;
        self.forget(cluster);
        self.save()?;
        if record.severed {
            // It has nobody to be told any more.
            return Ok(Some(vec![record.cluster.name]));
        }
        self.removed.push(record);
        let surplus = self.removed.len().saturating_sub(REMEMBERED);
        let forgotten = self.removed.drain(..surplus).map(|record| record.cluster.name).collect();
        self.save_removed()?;
        Ok(Some(forgotten))
    }

    /// Whether there was a link with the cluster until it was removed here.
    pub(crate) fn was_removed(&self, cluster: &ClusterName) -> bool {
        self.removed.iter().any(|record| record.cluster.name == *cluster)
    }

    /// Clusters with which there was a link until it was removed here.
    pub(crate) fn removed(&self) -> &[Record] {
        &self.removed
    }

    /// The other side has removed the link: it stays as one that is over. Returns what it brought, which goes.
    pub(crate) fn sever(&mut self, cluster: &ClusterName) -> Result<Held, Error> {
        let Some(link) = self.get(cluster) else { return Ok(Held::default()) };
        link.record.severed = true;
        link.pulse.sever(true);
        let held = link.mirror.clear();
        self.save()?;
        Ok(held)
    }

    /// Lets go of what a link has brought, if it has no stream and `is_over` says so of when it was last heard (none: not
    /// since this process began). Returns what that was.
    pub(crate) fn let_go(
        &mut self,
        cluster: &ClusterName,
        is_over: impl FnOnce(Option<u64>) -> bool,
    ) -> Option<Held> {
        let link = self.get(cluster)?;
        let over = link.session.is_none() && !link.mirror.is_empty() && is_over(link.record.heard);
        over.then(|| link.mirror.clear())
    }

    fn forget(&mut self, cluster: &ClusterName) -> bool {
        let Some(at) = self.list.iter().position(|link| link.record.cluster.name == *cluster) else {
            return false;
        };
        let mut link = self.list.remove(at);
        self.leaving.insert(cluster.clone(), link.mirror.clear());
        true
    }

    /// The clusters whose objects are leaving.
    pub(crate) fn leaving(&self) -> Vec<ClusterName> {
        self.leaving.keys().cloned().collect()
    }

    /// What to take away of a cluster that is leaving, unless it has come back.
    pub(crate) fn take_leaving(&mut self, cluster: &ClusterName) -> Option<Held> {
        self.leaving.remove(cluster)
    }

    fn save_removed(&self) -> Result<(), Error> {
        self.write(&self.removed, &self.path.with_file_name(REMOVED))
    }

    fn write(&self, records: &[Record], path: &Path) -> Result<(), Error> {
        let stored: Vec<Stored> = records.iter().map(store).collect();
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|e| Error::Crypto(e.to_string()))?;
        files::write(path, &bytes)?;
        self.saved.send_replace(());
        Ok(())
    }

    /// Writes the list down.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let records: Vec<Record> = self.list.iter().map(|link| link.record.clone()).collect();
        self.write(&records, &self.path)
    }
}

fn load(path: &Path) -> Result<Vec<Record>, Error> {
    let damaged = |detail: String| Error::Damaged {
        path: path.into(),
        detail,
        advice: "remove it and link the clusters again with new tokens",
    };
    let stored: Vec<Stored> = match files::read(path)? {
        None => Vec::new(),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?,
    };
    let record = |Stored { cluster, addresses, roots, declared_by, severed, heard }| {
        let roots: Result<_, _> = roots.iter().map(|r: &String| STANDARD.decode(r)).collect();
        let roots = parse_roots(roots.map_err(|e| damaged(e.to_string()))?)
            .map_err(|e| damaged(format!("{}: {e}", cluster.name)))?;
        Ok(Record { cluster, addresses, roots, declared_by, severed, heard })
    };
    stored.into_iter().map(record).collect()
}

fn store(record: &Record) -> Stored {
    Stored {
        cluster: record.cluster.clone(),
        addresses: record.addresses.clone(),
        roots: record.roots.iter().map(|root| STANDARD.encode(root)).collect(),
        declared_by: record.declared_by.clone(),
        severed: record.severed,
        heard: record.heard,
    }
}
