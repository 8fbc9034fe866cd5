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

use super::session::Session;
use crate::pki::{Roots, parse_roots};
use crate::{Address, Error, files};

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
}

/// A record as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    cluster: Cluster,
    addresses: Vec<Address>,
    roots: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    declared_by: Option<String>,
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
    /// The task that dials, if we do.
    pub(crate) dialler: Option<AbortHandle>,
}

impl Link {
    fn new(record: Record, held: Held) -> Self {
        Self {
            mirror: Mirror::of_peer(record.cluster.clone(), held),
            record,
            session: None,
            remote: None,
            dialled: false,
            confirmed: false,
            last_error: None,
            dialler: None,
        }
    }

    fn status(&self) -> LinkStatus {
        let connected = self.session.is_some();
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
    list: Vec<Link>,
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
    ) -> Result<Self, Error> {
        let path = dir.join("links.json");
        let records = load(&path)?.into_iter();
        let list = records.map(|record| {
            let held = held.remove(&record.cluster.name).unwrap_or_default();
            Link::new(record, held)
        });
        let list = list.collect();
        Ok(Self { own, path, saved, list, leaving: held })
    }

    /// Loads the list again: somebody else has written it. `held` is what is known of each cluster by now; what belongs
    /// to no link is leaving. Ends every stream.
    pub(crate) fn reload(&mut self, held: BTreeMap<ClusterName, Held>) -> Result<(), Error> {
        let own = self.own.clone();
        let dir = self.path.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut next = Self::open(&dir, own, held, self.saved.clone())?;
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
        match self.get(&name) {
            Some(link) => {
                let before = std::mem::replace(&mut link.record, record);
                if let Err(error) = self.save() {
                    if let Some(link) = self.get(&name) {
                        link.record = before;
                    }
                    return Err(error);
                }
            }
            None => {
                let held = Held { position: None, keys: self.leaving.remove(&name).unwrap_or_default().keys };
                self.list.push(Link::new(record, held));
                if let Err(error) = self.save() {
                    self.forget(&name);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Removes a link and saves the list. What it brought is leaving.
    pub(crate) fn remove(&mut self, cluster: &ClusterName) -> Result<bool, Error> {
        let there = self.forget(cluster);
        if there {
            self.save()?;
        }
        Ok(there)
    }

    fn forget(&mut self, cluster: &ClusterName) -> bool {
        let Some(at) = self.list.iter().position(|link| link.record.cluster.name == *cluster) else {
            return false;
        };
        let mut link = self.list.remove(at);
        let empty = Mirror::trusting(Held::default());
        let held = std::mem::replace(&mut link.mirror, empty).into_held();
        self.leaving.insert(cluster.clone(), held);
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

    /// Writes the list down.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let stored: Vec<Stored> = self.list.iter().map(|link| store(&link.record)).collect();
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|e| Error::Crypto(e.to_string()))?;
        files::write(&self.path, &bytes)?;
        self.saved.send_replace(());
        Ok(())
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
    let record = |Stored { cluster, addresses, roots, declared_by }| {
        let roots: Result<_, _> = roots.iter().map(|r: &String| STANDARD.decode(r)).collect();
        let roots = parse_roots(roots.map_err(|e| damaged(e.to_string()))?)
            .map_err(|e| damaged(format!("{}: {e}", cluster.name)))?;
        Ok(Record { cluster, addresses, roots, declared_by })
    };
    stored.into_iter().map(record).collect()
}

fn store(record: &Record) -> Stored {
    Stored {
        cluster: record.cluster.clone(),
        addresses: record.addresses.clone(),
        roots: record.roots.iter().map(|root| STANDARD.encode(root)).collect(),
        declared_by: record.declared_by.clone(),
    }
}
