//! The controller's life: read the source, listen, then carry every change to whoever is to know it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::index::Unsaid;
use cluster::kubernetes::lease::{Contact, Election, Role};
use cluster::kubernetes::meshnode;
use cluster::kubernetes::watch::{WatchOptions, watch};
use cluster::standalone::{self, Watch};
use cluster::{Event, kubernetes};
use engine::policy::Distributed;
use engine::ranges::Ranges;
use link::controller::{ControllerEvent, ControllerOptions, Server};
use model::{Cluster, World};
use tokio::sync::{mpsc, watch as latest};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::Front;
use crate::config::{ClusterConfig, Config, Source};
use crate::controller::{Controller, Inner, Kubernetes};
use crate::declared::Declared;
use crate::disk::Disk;
use crate::known::Known;
use crate::mesh::Mesh;
use crate::multicluster::Multicluster;
use crate::peers::Place;
use crate::site::{Nodes, Site};
use crate::writer::Writer;

/// How long the API server may take to say everything before a controller that knows how the cluster was begins with that.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a controller that stops gives the Lease back.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where objects come from.
enum Objects {
    Folder(Watch),
    Server { objects: mpsc::Receiver<Event>, mesh_nodes: mpsc::Receiver<meshnode::Event> },
}

/// What was said by where objects come from.
#[expect(clippy::large_enum_variant, reason = "each is moved once")]
enum Said {
    Source(Event),
    MeshNode(meshnode::Event),
}

impl Objects {
    async fn next(&mut self) -> Result<Said> {
        match self {
            Self::Folder(watch) => watch.recv().await.map(Said::Source).context("the source ended"),
            Self::Server { objects, mesh_nodes } => tokio::select! {
                // What nodes reported comes first: a node without its key is none to others.
                biased;
                event = mesh_nodes.recv() => event.map(Said::MeshNode).context("the watch of MeshNodes ended"),
                event = objects.recv() => event.map(Said::Source).context("the source ended"),
            },
        }
    }
}

/// Runs until `stop` resolves.
///
/// # Errors
/// A folder, a file or a port that it cannot do without. What happens later is tried again and shown in the status.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    for folder in [&config.state_dir, &config.run_dir] {
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let front = crate::api::open_front(&config).await?;
    let site = Site::find(&config.source).await?;
    tokio::pin!(stop);
    tokio::select! {
        begun = begin(&config, site.as_ref(), &front) => {
            let (controller, objects, streams) = begun?;
            live(&config, site.as_ref(), &controller, objects, streams, stop).await
        }
        () = &mut stop => Ok(()),
    }
}

/// Reads everything, and listens.
async fn begin(
    config: &Config,
    site: Option<&Site>,
    front: &Front,
) -> Result<(Arc<Controller>, Objects, mpsc::Receiver<ControllerEvent>)> {
    let cluster = Cluster::from(config.cluster.clone());
    if let Some(site) = site {
        site.fetch_state(&config.state_dir, &cluster.name).await?;
    }
    let nodes = Nodes::default();
    let (mut inner, from_disk) = remembered(config, &cluster, site.map(|site| (site, nodes.clone())))?;
    let unsaid = Unsaid {
        spread: config.services.traffic,
        shared: config.multicluster.share_namespaces,
        mesh: (&config.mesh).into(),
    };
    let mut objects = match (&config.source, site) {
        (Source::Standalone { path }, _) => {
            Objects::Folder(standalone::watch(path, &cluster, unsaid).context("watching the source")?)
        }
        (Source::Kubernetes { .. }, Some(site)) => Objects::Server {
            objects: watch(site.client.clone(), &cluster, WatchOptions { unsaid, ..WatchOptions::default() }),
            mesh_nodes: meshnode::watch_all(site.client.clone()),
        },
        (Source::Kubernetes { .. }, None) => unreachable!("a source of Kubernetes has a site"),
    };
    // Nobody is told anything before the source has been read in full: an agent would take what is missing for gone.
    let read = read_all(&mut objects, &mut inner);
    if !from_disk {
        read.await?;
    } else if let Ok(read) = tokio::time::timeout(PATIENCE, read).await {
        read?;
    } else {
        warn!("the API server has not said everything yet; beginning with the cluster as it was last");
    }

    let host = config.policy.judging(&config.advertise).context("reading policy.hostAlwaysAllowed")?;
    let mut options =
        ControllerOptions::new(cluster.clone(), config.listen, config.advertise.clone(), &config.state_dir);
    options.held = inner.known.held();
    options.advertise_to_clusters.clone_from(&config.advertise_to_clusters);
    options.lifetimes = (&config.authority).into();
    options.links = (&config.link).into();
    options.links.policies = config.policy.distributed == Distributed::Accept;
    if let Some(site) = site {
        options.reviewer = Some(site.reviewer(nodes));
        options.reviewed_lifetime = site.certificate_lifetime;
        options.leads = false;
    }
    let (handle, streams) = Server::start(options).await?;
    handle.publish(inner.known.begin());
    info!(cluster = %cluster.name, listen = %handle.local_addr(), "agents and clusters are served");
    let place = match (&config.source, site) {
        (Source::Standalone { path }, _) => Place::Folder(path.clone()),
        (Source::Kubernetes { .. }, Some(site)) => Place::Server(site.client.clone()),
        (Source::Kubernetes { .. }, None) => unreachable!("a source of Kubernetes has a site"),
    };
    let judging = (config.policy.selectors, host);
    let controller = Controller::new(cluster, judging, handle, place, inner);
    crate::api::start(&controller, front, config).await?;
    Ok((controller, objects, streams))
}

/// What is on disk, and whether that is enough to begin with.
fn remembered(config: &Config, cluster: &Cluster, site: Option<(&Site, Nodes)>) -> Result<(Inner, bool)> {
    let disk = Disk::new(&config.state_dir);
    let (peers, peers_problem) = disk.peers()?;
    let (own, own_problem) = match site {
        Some(_) => disk.own()?,
        // A folder is always there.
        None => (World::default(), None),
    };
    let from_disk = !own.is_empty();
    let known = Known::new(cluster.clone(), disk.reports(), &peers, own);
    let kubernetes = site.map(|(site, nodes)| {
        let ClusterConfig { pod_cidrs, node_mask_size_v4, node_mask_size_v6, .. } = &config.cluster;
        let ranges = Ranges::new(pod_cidrs, *node_mask_size_v4, *node_mask_size_v6);
        Kubernetes::new(site.identity.clone(), Mesh::new(ranges), nodes)
    });
    let multicluster =
        Multicluster::new(cluster, &config.multicluster, config.services.traffic, kubernetes.is_some());
    let mut inner = Inner::new(known, disk, multicluster, kubernetes);
    for problem in [peers_problem, own_problem].into_iter().flatten() {
        inner.note(problem);
    }
    Ok((inner, from_disk))
}

/// Takes in everything there is.
async fn read_all(objects: &mut Objects, inner: &mut Inner) -> Result<()> {
    let mut reports = matches!(objects, Objects::Folder(_));
    while inner.synced.is_none() || !reports {
        match objects.next().await.context("before everything was read")? {
            Said::Source(event) => drop(inner.handle_source(event)),
            Said::MeshNode(event) => {
                reports |= event == meshnode::Event::Synced;
                inner.handle_meshnode(event);
            }
        }
    }
    Ok(())
}

/// Carries every change to whoever is to know it, until it is to stop.
async fn live(
    config: &Config,
    site: Option<&Site>,
    controller: &Arc<Controller>,
    mut objects: Objects,
    mut streams: mpsc::Receiver<ControllerEvent>,
    mut stop: impl Future<Output = ()> + Unpin,
) -> Result<()> {
    let election = site.map(Site::elect);
    let mut role = election.as_ref().map(Election::role);
    let mut contact = election.as_ref().map(Election::contact);
    let write = async {
        match (site, &election) {
            (Some(site), Some(election)) => {
                let (controller, dir) = (controller.clone(), config.state_dir.clone());
                let (fence, role) = (election.fence(), election.role());
                let declared = Declared::new(controller.clone(), site, fence.clone());
                let writer = Writer { controller, site, fence, role, dir };
                tokio::try_join!(writer.run(), declared.run()).map(drop)
            }
            _ => std::future::pending().await,
        }
    };
    let ask_version = async {
        if let Some(site) = site {
            let version = kubernetes::write::version(&site.client).await;
            if let Some(kubernetes) = &mut controller.inner().kubernetes {
                kubernetes.version = Some(version);
            }
        }
        std::future::pending::<()>().await;
    };
    {
        tokio::pin!(write, ask_version);
        loop {
            let (save_peers, save_own, links, look) = {
                let inner = controller.inner();
                (inner.save_peers_at, inner.save_own_at, inner.await_until, inner.doubts.look_at)
            };
            tokio::select! {
                said = objects.next() => match said? {
                    Said::Source(event) => controller.handle_source(event),
                    Said::MeshNode(event) => controller.handle_meshnode(event),
                },
                event = streams.recv() => controller.handle_stream(event.context("the listener ended")?),
                role = changed(&mut role) => controller.handle_role(role?),
                contact = changed(&mut contact) => controller.handle_contact(contact?),
                written = &mut write => written?,
                () = &mut ask_version => {}
                () = at(save_peers) => drop(controller.begin_saving_peers()),
                () = at(save_own) => controller.save_own().await,
                () = at(links) => controller.stop_waiting(),
                () = at(look) => controller.look_at_services().await,
                () = &mut stop => break,
            }
        }
    }
    if let Some(election) = election {
        controller.handle_role(Role::Standby { leader: None });
        // A server that is away does not keep us.
        let _ = tokio::time::timeout(FAREWELL, election.resign()).await;
    }
    controller.save_peers().await;
    controller.save_own().await;
    info!("stopped");
    Ok(())
}

/// The next value, of somebody who may not be there.
async fn changed<T: Clone>(latest: &mut Option<latest::Receiver<T>>) -> Result<T> {
    match latest {
        Some(latest) => {
            latest.changed().await.context("the election ended")?;
            Ok(latest.borrow_and_update().clone())
        }
        None => std::future::pending().await,
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Controller {
    fn handle_contact(&self, contact: Contact) {
        if let Contact::Away { why, .. } = &contact {
            warn!(why, "the API server does not answer");
        }
        if let Some(kubernetes) = &mut self.inner().kubernetes {
            kubernetes.contact = contact;
        }
    }
}
