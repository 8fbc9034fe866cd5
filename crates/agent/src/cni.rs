//! The agent's side of the CNI plugin: addresses and wires for the pods of this node.
//!
//! The plugin (`causeway cni`) hands over what the container runtime said; here it is checked and done, one request
//! at a time: the kernel makes and deletes devices under one lock anyway. What was handed out is on disk before the
//! kernel is told, so nothing is given out twice whatever happens in between, and every request may be repeated.

mod answer;
mod failure;
mod ipam;
mod request;
mod store;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use kernel::netlink::Netlink;
use kernel::pod::{self, PodSpec, Wired};
use serde_json::Value;
use tracing::{info, warn};
use wire::local::{CniRequest, CniResponse};

pub use failure::Failure;
pub use ipam::choose;
pub use request::{Attachment, Request, VERSIONS, Version, parse};
pub use store::{CorruptError, Entry, Ledger};

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
    path: PathBuf,
    netlink: Netlink,
    hook: H,
    network: Mutex<Option<PodNetwork>>,
    ledger: tokio::sync::Mutex<Ledger>,
}

impl<H: PodHook> Cni<H> {
    /// Reads what was handed out before. A file that is missing or corrupt (it is set aside then) is made up for
    /// from the wires that are on the node. `netlink` speaks for the node's namespace.
    pub async fn open(path: &Path, netlink: Netlink, hook: H) -> Result<Self, OpenError> {
        let failed = |source| OpenError::File { path: path.into(), source };
        let wires = pod::find(&netlink).await?;
        let ledger = match store::load(path).map_err(failed)? {
            Loaded::Ledger(mut ledger) => {
                let gone = ledger.keep_wired(&wires);
                if gone > 0 {
                    info!(gone, "let go of the addresses of pods that are not on this node any more");
                }
                ledger
            }
            Loaded::Nothing => Ledger::from_wires(&wires),
            Loaded::SetAside(aside, why) => {
                let ledger = Ledger::from_wires(&wires);
                let (pods, aside) = (ledger.entries.len(), aside.display().to_string());
                warn!(%why, aside, pods, "the file of pods' addresses was corrupt; put together again from the wires");
                ledger
            }
        };
        store::save(path, &ledger).map_err(failed)?;
        let (network, ledger) = (Mutex::new(None), tokio::sync::Mutex::new(ledger));
        Ok(Self { path: path.into(), netlink, hook, network, ledger })
    }

    /// Tells the data path of every pod that was there before: once, after the agent's start. Returns what it did
    /// not take.
    pub async fn reattach(&self) -> Vec<String> {
        let ledger = self.ledger.lock().await;
        let mut refused = Vec::new();
        for Entry { host_ifname, ips, .. } in ledger.entries.values() {
            let attached = self.hook.attached(host_ifname, ips).await;
            refused.extend(attached.err().map(|why| format!("{host_ifname}: {why}")));
        }
        refused
    }

    /// Says what pods are made from, from now on. Before the first time every `ADD` is asked to try again.
    pub fn configure(&self, network: PodNetwork) {
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
    }

    /// Every pod that is wired, or was about to be.
    pub async fn entries(&self) -> Vec<Entry> {
        self.ledger.lock().await.entries.values().cloned().collect()
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
        let mut ledger = self.ledger.lock().await;
        match request {
            Request::Add { attachment, netns, pod, version, dns, prev } => {
                let network = self.network()?;
                let entry = self.reserve(&mut ledger, &network, attachment, pod, &netns)?;
                let spec = spec(&entry, netns, network.mtu);
                let wired = self.wire(&spec).await;
                let result =
                    wired.and_then(|wired| answer::added(version, &spec, &wired, &dns, prev.as_ref()));
                if result.is_err()
                    && let Err(failure) = self.take_away(&mut ledger, &entry).await
                {
                    // The first failure is the one to tell; DEL or GC finds what is left.
                    warn!(device = entry.host_ifname, %failure, "a failed ADD could not be taken back");
                }
                result
            }
            Request::Del { attachment } => {
                let host_ifname = pod::host_ifname(&attachment.container_id, &attachment.ifname);
                let entry = ledger.entries.get(&attachment).cloned();
                let unknown =
                    || Entry { attachment, host_ifname, ips: Vec::new(), pod: None, netns: PathBuf::new() };
                let entry = entry.unwrap_or_else(unknown);
                self.take_away(&mut ledger, &entry).await?;
                Ok(Value::Null)
            }
            Request::Check { attachment, netns, ips } => {
                let network = self.network()?;
                let entry = ledger.entries.get(&attachment);
                let entry = entry.ok_or(Failure::UnknownContainer(attachment))?;
                if !entry.ips.iter().all(|ip| ips.contains(ip)) {
                    let why = "its ips must contain those that ADD gave to this container";
                    return Err(Failure::Config { field: "prevResult", why });
                }
                pod::check(&self.netlink, &spec(entry, netns, network.mtu)).await?;
                Ok(Value::Null)
            }
            Request::Status => {
                let unavailable = |failure: Failure| Failure::Unavailable { why: failure.to_string() };
                let network = self.network().map_err(unavailable)?;
                let chosen = choose(&network.pod_cidrs, &ledger.used(), &ledger.freed);
                chosen.map(|_| Value::Null).map_err(|ranges| unavailable(Failure::Exhausted(ranges)))
            }
            Request::Gc { valid } => {
                let stale: Vec<Entry> = ledger
                    .entries
                    .values()
                    .filter(|entry| !valid.contains(&entry.attachment))
                    .cloned()
                    .collect();
                let mut failures = Vec::new();
                for entry in &stale {
                    failures.extend(self.take_away(&mut ledger, entry).await.err());
                }
                // Wires that nobody knows of any more.
                let known: Vec<&str> =
                    ledger.entries.values().map(|entry| entry.host_ifname.as_str()).collect();
                for device in pod::find(&self.netlink).await?.into_keys() {
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
    fn reserve(
        &self,
        ledger: &mut Ledger,
        network: &PodNetwork,
        attachment: Attachment,
        pod: Option<model::ObjectName>,
        netns: &Path,
    ) -> Result<Entry, Failure> {
        let netns = netns.to_path_buf();
        let entry = match ledger.entries.get(&attachment) {
            Some(entry) if entry.netns == netns => return Ok(entry.clone()),
            Some(entry) => Entry { netns, ..entry.clone() },
            None => {
                let chosen = choose(&network.pod_cidrs, &ledger.used(), &ledger.freed);
                let host_ifname = pod::host_ifname(&attachment.container_id, &attachment.ifname);
                Entry { attachment, host_ifname, ips: chosen.map_err(Failure::Exhausted)?, pod, netns }
            }
        };
        let mut next = ledger.clone();
        next.freed.retain(|ip| !entry.ips.contains(ip));
        next.entries.insert(entry.attachment.clone(), entry.clone());
        store::save(&self.path, &next).map_err(Failure::State)?;
        *ledger = next;
        Ok(entry)
    }

    /// Makes the wire, unless it is there and good, and tells the data path.
    async fn wire(&self, spec: &PodSpec) -> Result<Wired, Failure> {
        let there = self.netlink.link(&spec.host_ifname).await.map_err(pod::PodError::from)?.is_some();
        let good = if there { pod::check(&self.netlink, spec).await.ok() } else { None };
        let wired = match good {
            Some(wired) => wired,
            None => pod::add(&self.netlink, spec).await?,
        };
        self.hook.attached(&spec.host_ifname, &spec.ips).await.map_err(Failure::Datapath)?;
        Ok(wired)
    }

    async fn unwire(&self, host_ifname: &str) -> Result<(), Failure> {
        pod::remove(&self.netlink, host_ifname).await?;
        self.hook.detached(host_ifname).await.map_err(Failure::Datapath)
    }

    /// Takes the wire away, then the addresses: as long as the one is there, the others are not free.
    async fn take_away(&self, ledger: &mut Ledger, entry: &Entry) -> Result<(), Failure> {
        self.unwire(&entry.host_ifname).await?;
        if ledger.entries.contains_key(&entry.attachment) {
            let mut next = ledger.clone();
            next.release(&entry.attachment);
            store::save(&self.path, &next).map_err(Failure::State)?;
            *ledger = next;
        }
        Ok(())
    }
}

fn spec(entry: &Entry, netns: PathBuf, mtu: u32) -> PodSpec {
    PodSpec {
        netns,
        ifname: entry.attachment.ifname.clone(),
        host_ifname: entry.host_ifname.clone(),
        ips: entry.ips.clone(),
        mtu,
        note: entry.note(),
    }
}
