//! The agent's side of the CNI plugin: addresses and wires for the pods of this node.
//!
//! The plugin (`causeway cni`) hands over what the container runtime said; here it is checked and done: one request at a
//! time for each container, those of different containers at once. What was handed out is written down before the
//! kernel is told, so nothing is given out twice whatever happens in between, and every request may be repeated.
//!
//! Paths of network namespaces are the machine's, which an agent in a container sees below a root of its own.

mod answer;
mod extras;
mod failure;
pub mod install;
mod ipam;
mod journal;
mod ledger;
mod ports;
mod request;
mod turns;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use kernel::conntrack::Stale;
use kernel::host::Host;
use kernel::netlink::Netlink;
use kernel::netns::{Netns, NetnsError};
use kernel::nft::Table;
use kernel::pod::{self, PodSpec, Wired, Wirer};
use model::ObjectName;
use serde_json::Value;
use tokio::sync::RwLock;
use tracing::{info, warn};
use wire::local::{CniRequest, CniResponse};

pub use extras::{Extras, PortMapping};
pub use failure::Failure;
pub use ipam::choose;
pub use journal::{Damage, Replayed, replay, sealed, written};
pub use ledger::{Entry, Ledger};
pub use request::{Attachment, Request, VERSIONS, Version, parse};

use journal::{Journal, Opened};
use ports::Ports;
use turns::Turns;

/// Whoever has to know of pods' wires: the data path, which lets a pod send with its own addresses only.
pub trait PodHook: Send + Sync {
    /// A pod, if the runtime said which, has this device and these addresses. Told before `ADD` answers, and again for every
    /// pod when the agent starts.
    fn attached(
        &self,
        device: &str,
        ips: &[IpAddr],
        pod: Option<&ObjectName>,
    ) -> impl Future<Output = Result<(), String>> + Send;
    /// The device is gone. One that was never attached is no error.
    fn detached(&self, device: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// What a node's pods are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNetwork {
    /// The node's slices of its cluster's pod ranges.
    pub pod_cidrs: Vec<IpNet>,
    /// Bytes of the largest packet: the tunnel's.
    pub mtu: u32,
}

/// Where the pods of a node are served.
#[derive(Debug)]
pub struct Place {
    /// The journal of what was handed out.
    pub ledger: PathBuf,
    /// Speaks for the node's namespace.
    pub netlink: Netlink,
    /// The node's namespace.
    pub netns: Netns,
    /// The machine, whose paths the runtime says.
    pub host: Host,
}

/// The state could not be read or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused, or another agent holds the file.
    #[error("cannot take over the pods' addresses from {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel did not say which pods there are.
    #[error("cannot find the pods of this node: {0}")]
    Wires(#[from] pod::PodError),
}

/// Serves CNI requests.
#[derive(Debug)]
pub struct Cni<H> {
    shared: Arc<Shared<H>>,
}

#[derive(Debug)]
struct Shared<H> {
    place: Place,
    wirer: Wirer,
    hook: H,
    network: Mutex<Option<PodNetwork>>,
    books: Mutex<Books>,
    /// Locked before the books, if both are.
    ports: Mutex<Ports>,
    turns: Turns,
    /// `GC` is alone: it must not take away what is just being made.
    gate: RwLock<()>,
}

/// Who has what. Held for microseconds, never while the kernel is asked.
#[derive(Debug)]
struct Books {
    ledger: Ledger,
    journal: Journal,
    /// Whose ports are closed already, although their addresses are not free yet.
    leaving: BTreeSet<Attachment>,
    /// What the data path did not take back of the pods of before.
    cut_off: Vec<String>,
}

impl<H: PodHook + 'static> Cni<H> {
    /// Reads what was handed out before. What the file does not say, or not any more, the wires that are on the node
    /// do.
    pub async fn open(place: Place, hook: H) -> Result<Self, OpenError> {
        let path = place.ledger.clone();
        let failed = |source| OpenError::File { path: place.ledger.clone(), source };
        // An agent that is about to end may have requests to finish: it is waited for.
        let opened = tokio::task::spawn_blocking(move || Journal::open(&path)).await;
        let opened = opened.unwrap_or_else(|e| Err(io::Error::other(e)));
        let Opened { mut journal, mut ledger, set_aside, older } = opened.map_err(failed)?;
        let wires = pod::find(&place.netlink).await?;
        let gone = ledger.keep_wired(&wires);
        let adopted = ledger.adopt(&wires, &older);
        if let Some((why, aside)) = set_aside {
            let aside = aside.display().to_string();
            warn!(%why, aside, adopted, "the file of pods' addresses was damaged; the wires told the rest");
        }
        if gone > 0 {
            info!(gone, "let go of the addresses of pods that are not on this node any more");
        }
        if (gone, adopted) != (0, 0) {
            journal.compact(&ledger).map_err(failed)?;
        }
        let books = Books { ledger, journal, leaving: BTreeSet::new(), cut_off: Vec::new() };
        let wirer = Wirer::new(place.netns.try_clone().map_err(failed)?);
        let shared = Shared {
            place,
            wirer,
            hook,
            network: Mutex::default(),
            books: Mutex::new(books),
            ports: Mutex::default(),
            turns: Turns::default(),
            gate: RwLock::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Tells the data path of every pod that was there before, and brings back their host ports: once, after the
    /// agent's start. Returns what could not be done.
    pub async fn reattach(&self) -> Vec<String> {
        let shared = &self.shared;
        let mut refused = Vec::new();
        for entry in self.entries().await {
            let attached = shared.hook.attached(&entry.host_ifname, &entry.ips, entry.pod.as_ref()).await;
            refused.extend(attached.err().map(|why| format!("{}: {why}", entry.host_ifname)));
            let passed = ports::let_loopback_pass(&shared.place.netns, &entry);
            refused.extend(passed.err().map(|failure| format!("{}: {failure}", entry.host_ifname)));
        }
        refused.extend(self.repair().await.err().map(|failure| failure.to_string()));
        shared.books().cut_off.clone_from(&refused);
        refused
    }

    /// Writes the table of host ports again if somebody changed it or took it away. Returns whether that was so.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or refused.
    pub async fn repair(&self) -> Result<bool, Failure> {
        self.shared.blocking(Shared::repair_ports).await
    }

    /// The network namespace of a pod; none if nobody knows it any more.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub fn open_netns(&self, entry: &Entry) -> Result<Option<Netns>, NetnsError> {
        if entry.netns.as_os_str().is_empty() {
            return Ok(None);
        }
        match Netns::open_below(&self.shared.root(), &entry.netns) {
            Ok(netns) => Ok(Some(netns)),
            Err(NetnsError::Missing(_) | NetnsError::NotANamespace(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Says what pods are made from, from now on. Before the first time every `ADD` is asked to try again.
    pub fn configure(&self, network: PodNetwork) {
        *self.shared.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
    }

    /// Every pod that is wired, or was about to be.
    pub async fn entries(&self) -> Vec<Entry> {
        self.shared.books().ledger.entries.values().cloned().collect()
    }

    /// Does what is asked, to the end, even if nobody waits for the answer any more: a runtime that gives up on a
    /// plugin must not leave a pod half made.
    pub async fn handle(&self, request: CniRequest) -> CniResponse {
        let shared = self.shared.clone();
        match tokio::spawn(async move { shared.answer(request).await }).await {
            Ok(response) => response,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => Failure::Stopping.into(),
        }
    }
}

impl<H: PodHook + 'static> Shared<H> {
    async fn answer(self: Arc<Self>, request: CniRequest) -> CniResponse {
        let done = match parse(&request) {
            Ok(request) => self.fulfil(request).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(result) => CniResponse::Result(result),
            Err(failure) => {
                let CniRequest { command, container_id, .. } = request;
                info!(command, container_id, %failure, code = failure.code(), "a CNI request was not fulfilled");
                failure.into()
            }
        }
    }

    async fn fulfil(self: &Arc<Self>, request: Request) -> Result<Value, Failure> {
        match request {
            Request::Add { attachment, netns, pod, version, dns, prev, extras } => {
                let network = self.network()?;
                let _gate = self.gate.read().await;
                let _turn = self.turns.take(&attachment).await;
                let asked = Asked { attachment, pod, netns, extras };
                let (entry, made) = self.reserve(asked, network.clone()).await?;
                let spec = self.spec(&entry, network.mtu);
                let wired = self.wire(&spec, &entry, made).await;
                let result =
                    wired.and_then(|wired| answer::added(version, &spec, &wired, &dns, prev.as_ref()));
                if result.is_err()
                    && let Err(failure) = self.take_away(&entry).await
                {
                    // The first failure is the one to tell; DEL or GC finds what is left.
                    warn!(device = entry.host_ifname, %failure, "a failed ADD could not be taken back");
                }
                result
            }
            Request::Del { attachment } => {
                let _gate = self.gate.read().await;
                let _turn = self.turns.take(&attachment).await;
                let entry = self.books().ledger.entries.get(&attachment).cloned();
                self.take_away(&entry.unwrap_or_else(|| Entry::unknown(attachment))).await?;
                Ok(Value::Null)
            }
            Request::Check { attachment, netns, ips } => {
                let network = self.network()?;
                let _gate = self.gate.read().await;
                let _turn = self.turns.take(&attachment).await;
                let entry = self.books().ledger.entries.get(&attachment).cloned();
                let entry = Entry { netns, ..entry.ok_or(Failure::UnknownContainer(attachment))? };
                if !entry.ips.iter().all(|ip| ips.contains(ip)) {
                    let why = "its ips must contain those that ADD gave to this container";
                    return Err(Failure::Config { field: "prevResult", why });
                }
                pod::check(&self.place.netlink, &self.spec(&entry, network.mtu)).await?;
                if !entry.extras.ports.is_empty() && !self.blocking(Self::ports_are_set).await? {
                    return Err(Failure::PortsChanged);
                }
                Ok(Value::Null)
            }
            Request::Status => {
                let cut_off = self.books().cut_off.first().cloned();
                let unavailable = |failure: Failure| match &cut_off {
                    None => Failure::Unavailable { why: failure.to_string() },
                    Some(first) => Failure::Limited { why: format!("{failure}; {first}") },
                };
                let network = self.network().map_err(unavailable)?;
                let ledger = &self.books().ledger;
                let chosen = choose(&network.pod_cidrs, &ledger.used(), &ledger.freed);
                chosen.map(|_| Value::Null).map_err(|ranges| unavailable(Failure::Exhausted(ranges)))
            }
            Request::Gc { valid } => {
                let _alone = self.gate.write().await;
                let entries = self.books().ledger.entries.clone();
                let mut failures = Vec::new();
                for entry in entries.values().filter(|entry| !valid.contains(&entry.attachment)) {
                    failures.extend(self.take_away(entry).await.err());
                }
                // Wires that nobody knows of any more.
                let known: BTreeSet<String> =
                    self.books().ledger.entries.values().map(|entry| entry.host_ifname.clone()).collect();
                for device in pod::find(&self.place.netlink).await?.into_keys() {
                    if !known.contains(&device) {
                        failures.extend(self.unwire(device).await.err());
                    }
                }
                match failures.first() {
                    None => Ok(Value::Null),
                    Some(first) => Err(Failure::Leftovers(failures.len(), first.to_string())),
                }
            }
        }
    }

    /// What waits for the kernel or the disk, where waiting disturbs nobody.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let shared = self.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(done) => done,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            // The runtime ends before the work began; so does whoever waits here.
            Err(_) => std::future::pending().await,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn network(&self) -> Result<PodNetwork, Failure> {
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        network.clone().filter(|network| !network.pod_cidrs.is_empty()).ok_or(Failure::NotReady)
    }

    /// The container's entry: the one it has, or a new one, which is written down when this returns. A new one gets
    /// its wire at once; what became of it is told, too.
    async fn reserve(
        self: &Arc<Self>,
        asked: Asked,
        network: PodNetwork,
    ) -> Result<(Entry, Option<Result<Wired, Failure>>), Failure> {
        self.blocking(move |this| {
            let (entry, new) = this.books().reserve(&network, asked)?;
            let made = new.then(|| this.make(&this.spec(&entry, network.mtu)));
            Ok((entry, made))
        })
        .await
    }

    fn make(&self, spec: &PodSpec) -> Result<Wired, Failure> {
        self.refuse_own_namespace(spec)?;
        Ok(self.wirer.add(spec)?)
    }

    /// Makes the wire, unless it is made, or there and good, tells the data path, and opens the host ports.
    async fn wire(
        self: &Arc<Self>,
        spec: &PodSpec,
        entry: &Entry,
        made: Option<Result<Wired, Failure>>,
    ) -> Result<Wired, Failure> {
        let known = made.is_none();
        let wired = match made {
            Some(made) => made?,
            None => {
                self.refuse_own_namespace(spec)?;
                match pod::check(&self.place.netlink, spec).await {
                    Ok(wired) => wired,
                    Err(_) => {
                        let spec = spec.clone();
                        self.blocking(move |this| this.make(&spec)).await?
                    }
                }
            }
        };
        let attached = self.hook.attached(&spec.host_ifname, &spec.ips, entry.pod.as_ref()).await;
        attached.map_err(Failure::Datapath)?;
        if known || !entry.extras.ports.is_empty() {
            let entry = entry.clone();
            self.blocking(move |this| this.open_ports(&entry)).await?;
        }
        Ok(wired)
    }

    /// A pod of the host network has no wire; the node's own namespace must never be taken for a pod's.
    fn refuse_own_namespace(&self, spec: &PodSpec) -> Result<(), Failure> {
        let inode = |netns: &Netns| netns.inode().map_err(Failure::State);
        let pod = spec.open_netns().map_err(pod::PodError::from)?;
        if inode(&pod)? == inode(&self.place.netns)? {
            let why = "a namespace of the pod's own, not the node's";
            return Err(Failure::Environment { variable: "CNI_NETNS", why });
        }
        Ok(())
    }

    async fn unwire(self: &Arc<Self>, host_ifname: String) -> Result<(), Failure> {
        let device = host_ifname.clone();
        self.blocking(move |this| this.wirer.remove(&device)).await?;
        self.hook.detached(&host_ifname).await.map_err(Failure::Datapath)
    }

    /// Takes the host ports away, then the wire, then the addresses: as long as something leads to them, they are not
    /// free.
    async fn take_away(self: &Arc<Self>, entry: &Entry) -> Result<(), Failure> {
        self.books().leaving.insert(entry.attachment.clone());
        let taken = self.take_apart(entry).await;
        self.books().leaving.remove(&entry.attachment);
        taken
    }

    async fn take_apart(self: &Arc<Self>, entry: &Entry) -> Result<(), Failure> {
        if !entry.extras.ports.is_empty() {
            let entry = entry.clone();
            self.blocking(move |this| this.close_ports(&entry)).await?;
        }
        self.unwire(entry.host_ifname.clone()).await?;
        let attachment = entry.attachment.clone();
        self.blocking(move |this| this.books().release(&attachment)).await
    }

    fn open_ports(&self, entry: &Entry) -> Result<(), Failure> {
        ports::let_loopback_pass(&self.place.netns, entry)?;
        self.set_ports()?;
        ports::forget_flows(&self.place.netns, entry, Stale::Elsewhere);
        Ok(())
    }

    fn close_ports(&self, entry: &Entry) -> Result<(), Failure> {
        self.set_ports()?;
        ports::forget_flows(&self.place.netns, entry, Stale::ToThem);
        Ok(())
    }

    /// Brings the kernel's table of host ports to what the books say.
    fn set_ports(&self) -> Result<(), Failure> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.books().port_table();
        ports.set(&self.place.netns, table)
    }

    fn ports_are_set(&self) -> Result<bool, Failure> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).are_set(&self.place.netns)
    }

    fn repair_ports(&self) -> Result<bool, Failure> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.books().port_table();
        ports.repair(&self.place.netns, table)
    }

    /// The machine's root directory.
    fn root(&self) -> PathBuf {
        self.place.host.path(Path::new("/"))
    }

    fn spec(&self, entry: &Entry, mtu: u32) -> PodSpec {
        PodSpec {
            root: self.root(),
            netns: entry.netns.clone(),
            ifname: entry.attachment.ifname.clone(),
            host_ifname: entry.host_ifname.clone(),
            ips: entry.ips.clone(),
            mtu,
            note: entry.note(),
            limits: entry.extras.limits,
        }
    }
}

impl Books {
    /// The container's entry, and whether it is new; it is written down when this returns.
    fn reserve(&mut self, network: &PodNetwork, asked: Asked) -> Result<(Entry, bool), Failure> {
        let Asked { attachment, pod, netns, extras } = asked;
        let Self { ledger, journal, .. } = self;
        ports::taken(ledger, &attachment, &extras.ports)?;
        let (entry, new) = match ledger.entries.get(&attachment) {
            Some(entry) if (&entry.netns, &entry.extras) == (&netns, &extras) => {
                return Ok((entry.clone(), false));
            }
            Some(entry) => (Entry { netns, extras, ..entry.clone() }, false),
            None => {
                let chosen = choose(&network.pod_cidrs, &ledger.used(), &ledger.freed);
                let ips = chosen.map_err(Failure::Exhausted)?;
                (Entry { ips, pod, netns, extras, ..Entry::unknown(attachment) }, true)
            }
        };
        journal.give(ledger, entry.clone()).map_err(Failure::State)?;
        Ok((entry, new))
    }

    /// Lets go of what a container had.
    fn release(&mut self, attachment: &Attachment) -> Result<(), Failure> {
        let Self { ledger, journal, .. } = self;
        match ledger.entries.contains_key(attachment) {
            true => journal.release(ledger, attachment).map_err(Failure::State),
            false => Ok(()),
        }
    }

    /// What the table of host ports ought to hold.
    fn port_table(&self) -> Table {
        let staying = |entry: &&Entry| !self.leaving.contains(&entry.attachment);
        ports::table(self.ledger.entries.values().filter(staying))
    }
}

/// What a container asks for.
struct Asked {
    attachment: Attachment,
    pod: Option<model::ObjectName>,
    netns: PathBuf,
    extras: Extras,
}
