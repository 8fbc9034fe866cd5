//! The node's kernel as one thing: it can be observed as a plan's state and changed by a plan's operations. Which part
//! of the kernel an operation belongs to is all that is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result};
use engine::plan::{Masquerade, Op, State, Tunnel};
use engine::services::{Connects, Limits};
use ipnet::IpNet;
use kernel::netlink::{LinkChange, LinkLocal, Netlink};
use kernel::wireguard::{self, Device, Launch};
use kernel::{bpf, capacity, nft, routes};
use model::ObjectName;
use model::mesh::Transport;
use serve::metrics::DatapathCounter;

use crate::cni::PodHook;
use crate::config::Config;
use crate::police::Police;

/// The nf_tables table that lets pods out of the mesh.
pub(crate) const TABLE: &str = "causeway";

/// VXLAN's device, where packets inside the location travel in it.
pub(crate) const VXLAN: &str = "cw-vxlan";

/// Where WireGuard's control socket belongs, on the machine.
const WIREGUARD_SOCKETS: &str = "/run/wireguard";

/// WireGuard, routes, packet filters and eBPF of this node.
pub(crate) struct Datapath {
    pub(crate) device: Device,
    maps: Arc<Mutex<bpf::Datapath>>,
    pub(crate) netlink: Netlink,
    interface: String,
    masquerade: Masqueraded,
}

/// Whether the kernel translates addresses, and what it was last told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Masqueraded {
    /// It does not.
    Never,
    /// It does; the kernel says whether it holds just this.
    Told(Masquerade),
}

impl Datapath {
    /// Makes what is missing and takes over what is there, without disturbing it.
    pub(crate) async fn open(config: &Config, underlay: &str, masquerade: Masqueraded) -> Result<Self> {
        let bpf = load(config, underlay)?;
        let netlink = Netlink::open()?;
        let device = ensure(config)?;
        let interface = config.interface.clone();
        Ok(Self { device, maps: Arc::new(Mutex::new(bpf)), netlink, interface, masquerade })
    }

    /// From now on another device leads to other nodes.
    pub(crate) fn move_to(&mut self, config: &Config, underlay: &str) -> Result<()> {
        let moved = load(config, underlay)?;
        *self.maps() = moved;
        Ok(())
    }

    /// Brings the tunnel device back if it is gone. Returns whether it was; then it has no key yet.
    pub(crate) async fn revive(&mut self, config: &Config) -> Result<bool> {
        if self.netlink.link(&self.interface).await?.is_some() {
            return Ok(false);
        }
        self.device = ensure(config)?;
        Ok(true)
    }

    /// Serves clients outside of the cluster by the devices that are there now, as a node with these addresses in the mesh.
    pub(crate) fn serve_outside(&self, mesh: &BTreeSet<IpNet>) -> Result<()> {
        let mesh: Vec<_> = mesh.iter().map(IpNet::addr).collect();
        self.maps().serve_outside(&mesh).context("serving clients outside of the cluster")
    }

    /// Opens these unencrypted ways to nodes of the same location, and no others. Returns which it could not, and why.
    pub(crate) async fn go_unencrypted(
        &self,
        wanted: &BTreeSet<Transport>,
        port: u16,
        mtu: u32,
    ) -> Result<Option<anyhow::Error>> {
        let vxlan = match wanted.contains(&Transport::Vxlan) {
            true => Some(self.ensure_vxlan(port, mtu).await),
            false => None,
        };
        let (device, failed) = match vxlan {
            Some(Ok(())) => (Some(VXLAN), None),
            Some(Err(e)) => (None, Some(e)),
            None => (None, None),
        };
        let opened = self.maps().go_unencrypted(device, wanted.contains(&Transport::Plain));
        opened.context("opening unencrypted ways inside the location")?;
        if device.is_none() {
            self.netlink.delete_link(VXLAN).await?;
        }
        Ok(failed)
    }

    /// The device of VXLAN's, made if need be: of this port, and for packets of this size.
    async fn ensure_vxlan(&self, port: u16, mtu: u32) -> Result<()> {
        let note = format!("Causeway's, port {port}");
        let found = self.netlink.link(VXLAN).await?;
        if let Some(other) = found.filter(|link| link.alias.as_ref() != Some(&note)) {
            self.netlink.delete_link(&other.name).await?;
        }
        if self.netlink.link(VXLAN).await?.is_none() {
            self.netlink.add_vxlan(VXLAN, port, mtu).await.context(
                "this kernel makes no VXLAN device: load the module vxlan, look for another device on the UDP port \
                 agent.vxlanPort, or set mesh.encapsulate to never; packets inside the location stay encrypted",
            )?;
        }
        let index = self.netlink.index(VXLAN).await?;
        // It is passed through only: no address, nothing to say.
        let (up, mtu, link_local) = (Some(true), Some(mtu), Some(LinkLocal::None));
        self.netlink.set_link(index, &LinkChange { link_local, ..LinkChange::default() }).await?;
        let change = LinkChange { up, mtu, alias: Some(&note), ..LinkChange::default() };
        Ok(self.netlink.set_link(index, &change).await?)
    }

    /// What the packet path counted.
    pub(crate) fn counters(&self) -> Vec<DatapathCounter> {
        let counters = self.maps().counters().unwrap_or_default().into_iter();
        counters.map(|(reason, count)| DatapathCounter { reason: reason.name().into(), count }).collect()
    }

    /// What became of TCP connects, of every backend that has failed one; nothing where that is not counted.
    pub(crate) fn connects(&self) -> Result<BTreeMap<SocketAddr, Connects>> {
        self.maps().connects().context("reading what became of connects")
    }

    /// Whoever must know of pods' devices.
    pub(crate) fn pod_hook(&self, police: Option<Arc<Police>>) -> PodMaps {
        PodMaps { maps: self.maps.clone(), police }
    }

    /// The packet path, for whoever else changes it.
    pub(crate) fn shared(&self) -> Arc<Mutex<bpf::Datapath>> {
        self.maps.clone()
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
            neighbours: maps.neighbours,
            mtus: maps.mtus,
            masquerade: self.observe_masquerade()?,
            frontends: maps.frontends,
            outside: maps.outside,
            sets: maps.sets,
            node_addresses: maps.node_addresses,
            tables: maps.tables,
            direct: maps.direct,
            dead: maps.dead,
        })
    }

    /// What the kernel was told last, if it holds just that; else what no plan ever asks for.
    fn observe_masquerade(&self) -> Result<Masquerade> {
        let Masqueraded::Told(told) = &self.masquerade else { return Ok(Masquerade::default()) };
        let observed = nft::observe(TABLE)?;
        if table(told).is_held(observed.as_ref()) {
            return Ok(told.clone());
        }
        let everything = ["0.0.0.0/0", "::/0"].map(|range| range.parse::<IpNet>().expect("a range"));
        Ok(Masquerade { sources: everything.into(), ..Masquerade::default() })
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
                    let refused = self.device.apply_all(run).into_iter();
                    failed.extend(
                        refused.map(|e| anyhow::Error::from(e).context("changing the tunnel device")),
                    );
                }
                Owner::Filters => failed.extend(run.iter().filter_map(|op| self.translate(op).err())),
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

    fn translate(&mut self, op: &Op) -> Result<()> {
        if let (Op::Masquerade(wanted), Masqueraded::Told(told)) = (op, &mut self.masquerade) {
            nft::replace(&table(wanted))?;
            told.clone_from(wanted);
        }
        Ok(())
    }
}

fn table(masquerade: &Masquerade) -> nft::Table {
    let Masquerade { sources, except } = masquerade;
    let list = |ranges: &BTreeSet<IpNet>| ranges.iter().copied().collect();
    let rules = nft::Masquerade { sources: list(sources), except_destinations: list(except) };
    nft::Table { masquerade: (!sources.is_empty()).then_some(rules), ..nft::Table::named(TABLE) }
}

/// The part of the kernel that an operation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Device,
    Maps,
    Filters,
    Routes,
}

fn owner(op: &Op) -> Owner {
    match op {
        Op::SetPeer(..) | Op::DeletePeer(_) | Op::TunnelPort(_) => Owner::Device,
        Op::Guard(_)
        | Op::Unguard(_)
        | Op::SetNeighbour(..)
        | Op::DeleteNeighbour(_)
        | Op::SetMtu(..)
        | Op::DeleteMtu(_)
        | Op::AddSet(..)
        | Op::DeleteSet(..)
        | Op::SetFrontend(..)
        | Op::DeleteFrontend(_)
        | Op::SetOutside(..)
        | Op::DeleteOutside(_)
        | Op::MarkDead(_)
        | Op::AddNodeAddress(_)
        | Op::DeleteNodeAddress(_)
        | Op::AddTable(..)
        | Op::DeleteTable(..)
        | Op::AddDirect(_)
        | Op::DeleteDirect(_)
        | Op::MarkAlive(_) => Owner::Maps,
        Op::Masquerade(_) => Owner::Filters,
        Op::TunnelMtu(_)
        | Op::AddAddress(_)
        | Op::DeleteAddress(_)
        | Op::SetRoute(..)
        | Op::DeleteRoute(..) => Owner::Routes,
    }
}

/// Tells the packet path which addresses are a pod's, and which policies are about it.
pub(crate) struct PodMaps {
    maps: Arc<Mutex<bpf::Datapath>>,
    police: Option<Arc<Police>>,
}

impl PodMaps {
    fn maps(&self) -> MutexGuard<'_, bpf::Datapath> {
        self.maps.lock().expect("nobody panics while holding it")
    }
}

impl PodHook for PodMaps {
    async fn attached(&self, device: &str, ips: &[IpAddr], pod: Option<&ObjectName>) -> Result<(), String> {
        // Before it may send anything at all. What no runtime calls a pod no policy can be about.
        if let (Some(police), Some(pod)) = (&self.police, pod) {
            police.attach(device, pod, ips)?;
        }
        self.maps().add_pod(device, ips).map_err(|e| e.to_string())
    }

    async fn detached(&self, device: &str) -> Result<(), String> {
        self.maps().remove_pod(device).map_err(|e| e.to_string())?;
        if let Some(police) = &self.police {
            police.detach(device);
        }
        Ok(())
    }
}

/// The packet path, with the programs of this version.
fn load(config: &Config, underlay: &str) -> Result<bpf::Datapath> {
    let host = config.host();
    let cgroup = match &config.cgroup {
        Some(cgroup) => host.path(cgroup),
        None => host.cgroup_root()?,
    };
    let (pin_dir, tunnel) = (pin_dir(config), config.interface.clone());
    let count_connects = config.services.eject_outliers;
    let tables = config.services.balancing().maglev.is_some();
    let judge_host = config.policy.judges_host();
    let rest = bpf::Options::new(cgroup, underlay);
    let options = bpf::Options { pin_dir, tunnel, tables, count_connects, judge_host, ..rest };
    bpf::Datapath::open(options).context("loading the eBPF programs")
}

/// Where the packet path's pins are.
pub(crate) fn pin_dir(config: &Config) -> PathBuf {
    config.host().path(Path::new(bpf::PIN_DIR))
}

/// What the packet path's maps can hold; it must be loaded. One that this version does not have holds whatever it is given.
pub(crate) fn limits(config: &Config) -> Result<Limits> {
    let folder = pin_dir(config);
    let entries = |map| Ok::<_, capacity::CapacityError>(capacity::of(&folder, map)?.unwrap_or(usize::MAX));
    Ok(Limits {
        frontends: entries("frontends")?,
        outside: entries("outside")?,
        backends: entries("backends")?,
    })
}

/// The tunnel device, made if need be.
fn ensure(config: &Config) -> Result<Device> {
    Ok(Device::ensure(&tunnel_options(config), &launch(config)?)?)
}

/// The tunnel device, as the agent reaches it.
pub(crate) fn tunnel_options(config: &Config) -> wireguard::Options {
    let uapi_dir = config.host().path(Path::new(WIREGUARD_SOCKETS));
    wireguard::Options { uapi_dir, ..wireguard::Options::new(&config.interface) }
}

/// How its process is started, where the kernel is not the device: by the machine's copy of this program, if this one
/// is in a container.
fn launch(config: &Config) -> Result<Launch> {
    let host = config.host();
    if host.is_here() {
        return Ok(Launch::here(std::env::current_exe().context("finding the path of this program")?));
    }
    let binary = crate::install::program(config)?;
    let log = config.run_dir.join(format!("{}.log", config.interface));
    Ok(Launch::on(host, binary, PathBuf::from(WIREGUARD_SOCKETS), log))
}
