//! The node's kernel as one thing: it can be observed as a plan's state and changed by a plan's operations. Which part
//! of the kernel an operation belongs to is all that is decided here.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result};
use engine::plan::{Masquerade, Op, State, Tunnel};
use kernel::bpf;
use kernel::netlink::Netlink;
use kernel::routes;
use kernel::wireguard::{self, Device, PrivateKey};
use serve::metrics::DatapathCounter;

use crate::cni::PodHook;
use crate::config::Config;

/// WireGuard, routes and eBPF of this node.
pub(crate) struct Datapath {
    pub(crate) device: Device,
    maps: Arc<Mutex<bpf::Datapath>>,
    pub(crate) netlink: Netlink,
    interface: String,
}

impl Datapath {
    /// Makes what is missing and takes over what is there, without disturbing it.
    pub(crate) async fn open(config: &Config, key: &PrivateKey) -> Result<Self> {
        let options = bpf::Options::new(&config.cgroup, &config.underlay);
        let bpf = bpf::Datapath::open(options).context("loading the eBPF programs")?;
        let netlink = Netlink::open()?;
        let device = ensure(config, key)?;
        Ok(Self { device, maps: Arc::new(Mutex::new(bpf)), netlink, interface: config.interface.clone() })
    }

    /// Brings the tunnel device back if it is gone. Returns whether it was.
    pub(crate) async fn revive(&mut self, config: &Config, key: &PrivateKey) -> Result<bool> {
        if self.netlink.link(&self.interface).await?.is_some() {
            return Ok(false);
        }
        self.device = ensure(config, key)?;
        Ok(true)
    }

    /// What the packet path counted.
    pub(crate) fn counters(&self) -> Vec<DatapathCounter> {
        let counters = self.maps().counters().unwrap_or_default().into_iter();
        counters.map(|(reason, count)| DatapathCounter { reason: reason.name().into(), count }).collect()
    }

    /// Whoever must know of pods' devices.
    pub(crate) fn pod_hook(&self) -> PodMaps {
        PodMaps(self.maps.clone())
    }

    fn maps(&self) -> MutexGuard<'_, bpf::Datapath> {
        self.maps.lock().expect("nobody panics while holding it")
    }

    /// What the kernel holds.
    pub(crate) async fn observe(&self) -> Result<State> {
        let tunnel = self.device.observe().context("asking the tunnel device")?;
        let routes = routes::observe(&self.netlink, &self.interface).await?;
        let maps = self.maps().observe().context("reading the eBPF maps")?;
        Ok(State {
            tunnel: Tunnel {
                port: tunnel.tunnel.port,
                peers: tunnel.tunnel.peers,
                addresses: routes.addresses,
                mtu: routes.mtu,
            },
            routes: routes.routes,
            guarded: maps.guarded,
            masquerade: Masquerade::default(),
            frontends: maps.frontends,
            sets: maps.sets,
            dead: maps.dead,
        })
    }

    /// Makes the changes in their order, as far as they go. Returns what failed.
    pub(crate) async fn apply(&mut self, ops: &[Op]) -> Vec<anyhow::Error> {
        let mut failed = Vec::new();
        for run in ops.chunk_by(|a, b| owner(a) == owner(b)) {
            match owner(run.first().expect("a chunk is never empty")) {
                // Maps take many entries in one call to the kernel.
                Owner::Maps => {
                    let applied = self.maps().apply_all(run).context("changing the eBPF maps");
                    failed.extend(applied.err());
                }
                Owner::Device => {
                    let changes =
                        run.iter().map(|op| self.device.apply(op).context("changing the tunnel device"));
                    failed.extend(changes.filter_map(Result::err));
                }
                Owner::Routes => {
                    for op in run {
                        let applied = routes::apply(&self.netlink, op, &self.interface).await;
                        failed.extend(applied.err().map(anyhow::Error::from));
                    }
                }
            }
        }
        failed
    }
}

/// The part of the kernel that an operation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Device,
    Maps,
    Routes,
}

fn owner(op: &Op) -> Owner {
    match op {
        Op::SetPeer(..) | Op::DeletePeer(_) | Op::TunnelPort(_) => Owner::Device,
        Op::Guard(_)
        | Op::Unguard(_)
        | Op::AddSet(..)
        | Op::DeleteSet(..)
        | Op::SetFrontend(..)
        | Op::DeleteFrontend(_)
        | Op::MarkDead(_)
        | Op::MarkAlive(_) => Owner::Maps,
        Op::Masquerade(_)
        | Op::TunnelMtu(_)
        | Op::AddAddress(_)
        | Op::DeleteAddress(_)
        | Op::SetRoute(..)
        | Op::DeleteRoute(..) => Owner::Routes,
    }
}

/// Tells the packet path which addresses are a pod's.
pub(crate) struct PodMaps(Arc<Mutex<bpf::Datapath>>);

impl PodHook for PodMaps {
    async fn attached(&self, device: &str, ips: &[IpAddr]) -> Result<(), String> {
        self.0.lock().expect("nobody panics while holding it").add_pod(device, ips).map_err(|e| e.to_string())
    }

    async fn detached(&self, device: &str) -> Result<(), String> {
        self.0.lock().expect("nobody panics while holding it").remove_pod(device).map_err(|e| e.to_string())
    }
}

/// The tunnel device, made if need be, with its key.
fn ensure(config: &Config, key: &PrivateKey) -> Result<Device> {
    let options = wireguard::Options::new(&config.interface);
    let binary = std::env::current_exe().context("finding the path of this program")?;
    let device = Device::ensure(&options, &binary)?;
    device.set_private_key(key.secret())?;
    Ok(device)
}
