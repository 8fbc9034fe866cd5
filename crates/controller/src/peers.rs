//! Peers that an operator adds and removes: written where the cluster's objects are, from where they are read again.

use std::path::PathBuf;

use cluster::index::{Endpoints, Index};
use cluster::kubernetes::{Client, peer};
use cluster::manifest::{self, Id, Kind, Manifest};
use cluster::standalone::Store;
use model::{Object, PeerName};
use serve::local::Refusal;
use wire::local::{MeshReport, PeerWrite};

use crate::controller::Controller;

/// Where the cluster's objects are written.
pub(crate) enum Place {
    /// A folder of manifests.
    Folder(PathBuf),
    /// An API server.
    Server(Client),
}

impl Controller {
    /// What a mesh is planned from.
    pub(crate) fn mesh(&self) -> MeshReport {
        let mut report =
            MeshReport { cluster: self.cluster.name.clone(), clusters: vec![], nodes: vec![], peers: vec![] };
        for object in self.handle.told() {
            match &*object {
                Object::Cluster(cluster) => report.clusters.push(cluster.clone()),
                Object::Node(node) => report.nodes.push(node.clone()),
                Object::Peer(peer) => report.peers.push(peer.clone()),
                _ => {}
            }
        }
        report
    }

    /// Writes a peer that is not there yet.
    pub(crate) async fn write_peer(&self, write: PeerWrite) -> Result<(), Refusal> {
        let wrong = |error: String| Refusal::Wrong(error);
        let mut found = manifest::parse("peer", &write.manifest).map_err(|e| wrong(e.to_string()))?;
        let manifest = match (found.pop(), found.is_empty()) {
            (Some(manifest), true) => manifest.value,
            _ => return Err(wrong("one Peer object is expected".into())),
        };
        let Manifest::Peer(object) = &manifest else {
            return Err(wrong(format!("a Peer is expected, not a {}", manifest.kind())));
        };
        let id = manifest.id();
        if let Some(why) = self.refuses(&manifest) {
            return Err(wrong(why));
        }
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                let taken = format!("{id} is there already: remove it first, or choose another name");
                blocking(move || {
                    let store = Store::open(folder)?;
                    let free = store.get(&id)?.is_none();
                    if free {
                        store.apply(&[manifest])?;
                    }
                    Ok(free)
                })
                .await
                .and_then(|free| if free { Ok(()) } else { Err(wrong(taken)) })
            }
            Place::Server(client) => peer::create(client, object).await.map_err(refusal),
        }
    }

    /// Why the cluster would not take an object: then it is not written at all.
    fn refuses(&self, manifest: &Manifest) -> Option<String> {
        let mut index = Index::new(self.cluster.clone(), Endpoints::FromSlices);
        index.apply(manifest);
        let complaints = index.take_complaints().into_iter().flat_map(|(_, complaints)| complaints);
        let complaints: Vec<String> = complaints.map(|complaint| complaint.message).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    /// Removes a peer.
    pub(crate) async fn remove_peer(&self, name: &str) -> Result<(), Refusal> {
        let name =
            PeerName::new(self.cluster.name.clone(), name).map_err(|e| Refusal::Wrong(e.to_string()))?;
        let id = Id::new(Kind::Peer, "", &name.peer);
        let missing = || Refusal::Wrong(format!("there is no {id}; see: causeway peer list"));
        match &self.place {
            Place::Folder(folder) => {
                let (folder, id) = (folder.clone(), id.clone());
                let was_there = blocking(move || Store::open(folder)?.delete(&id)).await?;
                if was_there { Ok(()) } else { Err(missing()) }
            }
            Place::Server(client) => match peer::delete(client, &name.peer).await {
                Ok(()) => Ok(()),
                Err(error) if error.remedy() == cluster::kubernetes::write::Remedy::Gone => Err(missing()),
                Err(error) => Err(refusal(error)),
            },
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, cluster::standalone::StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|e| Refusal::Failed(e.to_string())),
        Err(error) => Err(Refusal::Failed(error.to_string())),
    }
}

fn refusal(error: cluster::kubernetes::Error) -> Refusal {
    use cluster::kubernetes::write::Remedy;
    match error.remedy() {
        Remedy::Again(_) => Refusal::NotNow(error.to_string()),
        Remedy::Look => {
            Refusal::Wrong(format!("{error}: it is there already, or has changed: choose another name"))
        }
        Remedy::Gone => Refusal::Failed(format!(
            "{error}: the cluster has no definition of peers.kilo.squat.ai: install or upgrade Causeway's definitions"
        )),
        Remedy::Repair => Refusal::Failed(error.to_string()),
    }
}
