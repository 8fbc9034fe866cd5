//! The agent's side of the CNI plugin: addresses and wires for the pods of this node.
//!
//! The plugin (`causeway cni`) hands over what the container runtime said; here it is checked and done, one request
//! at a time: the kernel makes and deletes devices under one lock anyway. What was handed out is on disk before the
//! kernel is told, so nothing is given out twice whatever happens in between, and every request may be repeated.
//!
//! Paths of network namespaces are the machine's, which an agent in a container sees below a root of its own.

mod answer;
mod extras;
mod failure;
pub mod install;
mod ipam;
mod ports;
mod request;
mod store;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use kernel::host::Host;
use kernel::netlink::Netlink;
use kernel::netns::{Netns, NetnsError};
use kernel::pod::{self, PodSpec, Wired};
use serde_json::Value;
use tracing::{info, warn};
use wire::local::{CniRequest, CniResponse};

pub use extras::{Extras, PortMapping};
pub use failure::Failure;
pub use ipam::choose;
pub use request::{Attachment, Request, VERSIONS, Version, parse};
pub use store::{CorruptError, Entry, Ledger};

use ports::Ports;
use store::Loaded;

/// Whoever has to know of pods' wires: the data path, which lets a pod send with its own addresses only.
pub trait PodHook: Send + Sync {
    /// A pod has this device and these addresses. Told before `ADD` answers, and again for every pod when the agent
    /// starts.
    fn attached(&self, device: &str, ips: &[IpAddr]) -> impl Future<Output = Result<(), String>> + Send;
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
    /// The file of what was handed out.
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
    /// The file system refused.
    #[error("cannot read the pods' addresses from {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The kernel did not say which pods there are.
    #[error("cannot find the pods of this node: {0}")]
    Wires(#[from] pod::PodError),
}

/// Serves CNI requests.
#[derive(Debug)]
pub struct Cni<H> {
    place: Place,
    hook: H,
    network: Mutex<Option<PodNetwork>>,
    state: tokio::sync::Mutex<State>,
}

/// What changes with every request: whoever holds it is alone.
#[derive(Debug)]
struct State {
    ledger: Ledger,
    ports: Ports,
    /// What the data path did not take back of the pods of before.
    cut_off: Vec<String>,
}

impl<H: PodHook> Cni<H> {
    /// Reads what was handed out before. A file that is missing or corrupt (it is set aside then) is made up for
    /// from the wires that are on the node, and from the file of before the last change.
    pub async fn open(place: Place, hook: H) -> Result<Self, OpenError> {
        let path = place.ledger.as_path();
        let failed = |source| OpenError::File { path: path.into(), source };
        let wires = pod::find(&place.netlink).await?;
        let ledger = match store::load(path).map_err(failed)? {
            Loaded::Ledger(mut ledger) => {
                let gone = ledger.keep_wired(&wires);
                if gone > 0 {
                    info!(gone, "let go of the addresses of pods that are not on this node any more");
                }
                ledger
            }
            Loaded::Nothing => Ledger::from_wires(&wires, &store::load_older(path)),
            Loaded::SetAside(aside, why) => {
                let ledger = Ledger::from_wires(&wires, &store::load_older(path));
                let (pods, aside) = (ledger.entries.len(), aside.display().to_string());
                warn!(%why, aside, pods, "the file of pods' addresses was corrupt; put together again from the wires");
                ledger
            }
        };
        store::save(path, &ledger).map_err(failed)?;
        let state = State { ledger, ports: Ports::default(), cut_off: Vec::new() };
        Ok(Self { place, hook, network: Mutex::new(None), state: tokio::sync::Mutex::new(state) })
    }

    /// Tells the data path of every pod that was there before, and brings back their host ports: once, after the
    /// agent's start. Returns what could not be done.
    pub async fn reattach(&self) -> Vec<String> {
        let mut state = self.state.lock().await;
        let mut refused = Vec::new();
        for entry in state.ledger.entries.values() {
            let attached = self.hook.attached(&entry.host_ifname, &entry.ips).await;
            refused.extend(attached.err().map(|why| format!("{}: {why}", entry.host_ifname)));
            let passed = ports::let_loopback_pass(&self.place.netns, entry);
            refused.extend(passed.err().map(|failure| format!("{}: {failure}", entry.host_ifname)));
        }
        refused.extend(self.repair_ports(&mut state).err().map(|failure| failure.to_string()));
        state.cut_off.clone_from(&refused);
        refused
    }

    /// Writes the table of host ports again if somebody changed it or took it away. Returns whether that was so.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or refused.
    pub async fn repair(&self) -> Result<bool, Failure> {
        self.repair_ports(&mut *self.state.lock().await)
    }

    fn repair_ports(&self, state: &mut State) -> Result<bool, Failure> {
        let State { ledger, ports, .. } = state;
        let asked = ledger.entries.values().any(|entry| !entry.extras.ports.is_empty());
        match Ports::is_set(&self.place.netns, ledger.entries.values()) {
            Ok(false) => {}
            Err(failure) if asked => return Err(failure),
            // A kernel that cannot have a table has none that is wrong.
            Ok(true) | Err(_) => {
                ports.adopt(ledger.entries.values());
                return Ok(false);
            }
        }
        ports.forget();
        ports.set(&self.place.netns, ledger.entries.values()).map(|()| true)
    }

    /// The network namespace of a pod; none if nobody knows it any more.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub fn open_netns(&self, entry: &Entry) -> Result<Option<Netns>, NetnsError> {
        if entry.netns.as_os_str().is_empty() {
            return Ok(None);
        }
        match Netns::open_below(&self.root(), &entry.netns) {
            Ok(netns) => Ok(Some(netns)),
            Err(NetnsError::Missing(_) | NetnsError::NotANamespace(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The machine's root directory.
    fn root(&self) -> PathBuf {
        self.place.host.path(Path::new("/"))
    }

    /// Says what pods are made from, from now on. Before the first time every `ADD` is asked to try again.
    pub fn configure(&self, network: PodNetwork) {
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
    }

    /// Every pod that is wired, or was about to be.
    pub async fn entries(&self) -> Vec<Entry> {
        self.state.lock().await.ledger.entries.values().cloned().collect()
    }

    /// Does what is asked.
    pub async fn handle(&self, request: CniRequest) -> CniResponse {
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

    async fn fulfil(&self, request: Request) -> Result<Value, Failure> {
        let state = &mut *self.state.lock().await;
        match request {
            Request::Add { attachment, netns, pod, version, dns, prev, extras } => {
                let network = self.network()?;
                let asked = Asked { attachment, pod, netns: netns.clone(), extras };
                let entry = self.reserve(&mut state.ledger, &network, asked)?;
                let spec = self.spec(&entry, netns, network.mtu);
                let wired = self.wire(&spec, &entry, state).await;
                let result =
                    wired.and_then(|wired| answer::added(version, &spec, &wired, &dns, prev.as_ref()));
                if result.is_err()
                    && let Err(failure) = self.take_away(state, &entry).await
                {
                    // The first failure is the one to tell; DEL or GC finds what is left.
                    warn!(device = entry.host_ifname, %failure, "a failed ADD could not be taken back");
                }
                result
            }
            Request::Del { attachment } => {
                let host_ifname = pod::host_ifname(&attachment.container_id, &attachment.ifname);
                let entry = state.ledger.entries.get(&attachment).cloned();
                let unknown = || Entry {
                    attachment,
                    host_ifname,
                    ips: Vec::new(),
                    pod: None,
                    netns: PathBuf::new(),
                    extras: Extras::default(),
                };
                self.take_away(state, &entry.unwrap_or_else(unknown)).await?;
                Ok(Value::Null)
            }
            Request::Check { attachment, netns, ips } => {
                let network = self.network()?;
                let entry = state.ledger.entries.get(&attachment);
                let entry = entry.ok_or(Failure::UnknownContainer(attachment))?;
                if !entry.ips.iter().all(|ip| ips.contains(ip)) {
                    let why = "its ips must contain those that ADD gave to this container";
                    return Err(Failure::Config { field: "prevResult", why });
                }
                pod::check(&self.place.netlink, &self.spec(entry, netns, network.mtu)).await?;
                let ports = !entry.extras.ports.is_empty();
                if ports && !Ports::is_set(&self.place.netns, state.ledger.entries.values())? {
                    return Err(Failure::PortsChanged);
                }
                Ok(Value::Null)
            }
            Request::Status => {
                let unavailable = |failure: Failure| match state.cut_off.first() {
                    None => Failure::Unavailable { why: failure.to_string() },
                    Some(first) => Failure::Limited { why: format!("{failure}; {first}") },
                };
                let network = self.network().map_err(unavailable)?;
                let chosen = choose(&network.pod_cidrs, &state.ledger.used(), &state.ledger.freed);
                chosen.map(|_| Value::Null).map_err(|ranges| unavailable(Failure::Exhausted(ranges)))
            }
            Request::Gc { valid } => {
                let stale: Vec<Entry> = state
                    .ledger
                    .entries
                    .values()
                    .filter(|entry| !valid.contains(&entry.attachment))
                    .cloned()
                    .collect();
                let mut failures = Vec::new();
                for entry in &stale {
                    failures.extend(self.take_away(state, entry).await.err());
                }
                // Wires that nobody knows of any more.
                let known: Vec<&str> =
                    state.ledger.entries.values().map(|entry| entry.host_ifname.as_str()).collect();
                for device in pod::find(&self.place.netlink).await?.into_keys() {
                    if !known.contains(&device.as_str()) {
                        failures.extend(self.unwire(&device).await.err());
                    }
                }
                match failures.first() {
                    None => Ok(Value::Null),
                    Some(first) => Err(Failure::Leftovers(failures.len(), first.to_string())),
                }
            }
        }
    }

    fn network(&self) -> Result<PodNetwork, Failure> {
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        network.clone().filter(|network| !network.pod_cidrs.is_empty()).ok_or(Failure::NotReady)
    }

    /// The container's entry: the one it has, or a new one, which is on disk when this returns.
    fn reserve(&self, ledger: &mut Ledger, network: &PodNetwork, asked: Asked) -> Result<Entry, Failure> {
        let Asked { attachment, pod, netns, extras } = asked;
        ports::taken(ledger, &attachment, &extras.ports)?;
        let entry = match ledger.entries.get(&attachment) {
            Some(entry) if (&entry.netns, &entry.extras) == (&netns, &extras) => return Ok(entry.clone()),
            Some(entry) => Entry { netns, extras, ..entry.clone() },
            None => {
                let chosen = choose(&network.pod_cidrs, &ledger.used(), &ledger.freed);
                let host_ifname = pod::host_ifname(&attachment.container_id, &attachment.ifname);
                Entry {
                    attachment,
                    host_ifname,
                    ips: chosen.map_err(Failure::Exhausted)?,
                    pod,
                    netns,
                    extras,
                }
            }
        };
        let mut next = ledger.clone();
        next.freed.retain(|ip| !entry.ips.contains(ip));
        next.entries.insert(entry.attachment.clone(), entry.clone());
        self.save(ledger, next)?;
        Ok(entry)
    }

    fn save(&self, ledger: &mut Ledger, next: Ledger) -> Result<(), Failure> {
        store::save(&self.place.ledger, &next).map_err(Failure::State)?;
        *ledger = next;
        Ok(())
    }

    /// Makes the wire, unless it is there and good, tells the data path, and opens the host ports.
    async fn wire(&self, spec: &PodSpec, entry: &Entry, state: &mut State) -> Result<Wired, Failure> {
        let netlink = &self.place.netlink;
        self.refuse_own_namespace(spec)?;
        let there = netlink.link(&spec.host_ifname).await.map_err(pod::PodError::from)?.is_some();
        let good = if there { pod::check(netlink, spec).await.ok() } else { None };
        let wired = match good {
            Some(wired) => wired,
            None => pod::add(netlink, spec).await?,
        };
        self.hook.attached(&spec.host_ifname, &spec.ips).await.map_err(Failure::Datapath)?;
        ports::let_loopback_pass(&self.place.netns, entry)?;
        state.ports.set(&self.place.netns, state.ledger.entries.values())?;
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

    async fn unwire(&self, host_ifname: &str) -> Result<(), Failure> {
        pod::remove(&self.place.netlink, host_ifname).await?;
        self.hook.detached(host_ifname).await.map_err(Failure::Datapath)
    }

    /// Takes the host ports away, then the wire, then the addresses: as long as something leads to them, they are not
    /// free.
    async fn take_away(&self, state: &mut State, entry: &Entry) -> Result<(), Failure> {
        let State { ledger, ports, .. } = state;
        if !entry.extras.ports.is_empty() {
            let others = ledger.entries.values().filter(|other| other.attachment != entry.attachment);
            ports.set(&self.place.netns, others)?;
        }
        self.unwire(&entry.host_ifname).await?;
        if ledger.entries.contains_key(&entry.attachment) {
            let mut next = ledger.clone();
            next.release(&entry.attachment);
            self.save(ledger, next)?;
        }
        Ok(())
    }

    fn spec(&self, entry: &Entry, netns: PathBuf, mtu: u32) -> PodSpec {
        PodSpec {
            root: self.root(),
            netns,
            ifname: entry.attachment.ifname.clone(),
            host_ifname: entry.host_ifname.clone(),
            ips: entry.ips.clone(),
            mtu,
            note: entry.note(),
            limits: entry.extras.limits,
        }
    }
}

/// What a container asks for.
struct Asked {
    attachment: Attachment,
    pod: Option<model::ObjectName>,
    netns: PathBuf,
    extras: Extras,
}
