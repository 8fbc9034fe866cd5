//! A node's packet path.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::EbpfLoader;
use aya::maps::{Map, MapData, PerCpuArray};
use engine::plan::{Op, State};
use engine::services::Connects;

use super::attach::{self, Direction, OnDevice, TcHook};
use super::edge::Edge;
use super::host;
use super::near::{self, Near};
use super::object::{self, EDGE, GUARD, HOST, OUTLIERS, Object, POD, POLICY, SOCK};
use super::outliers::ConnectCounts;
use super::outside::OutsideMaps;
use super::policing::PolicyMaps;
use super::services::PlanMaps;
use super::sys::Hook;
use super::table::Table;
use super::tables::TableMap;
use super::{BpfError, abi, bytes, pins};
use crate::{features, netns};

/// Where pins belong: the folder of the layout this version speaks.
pub const PIN_DIR: &str = "/sys/fs/bpf/causeway/v1";

const _: () = assert!(abi::LAYOUT == 1, "PIN_DIR names the layout");
const _: () = assert!(abi::PAGE == engine::plan::PAGE, "plans count the entries of maps");

/// The hooks of the balancer, by the names of its programs.
const SOCKET_HOOKS: [(&str, Hook); 8] = [
    ("connect4", Hook::Connect4),
    ("connect6", Hook::Connect6),
    ("sendmsg4", Hook::Sendmsg4),
    ("sendmsg6", Hook::Sendmsg6),
    ("recvmsg4", Hook::Recvmsg4),
    ("recvmsg6", Hook::Recvmsg6),
    ("getpeername4", Hook::Getpeername4),
    ("getpeername6", Hook::Getpeername6),
];

/// What the packet path is to be attached to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of pins; ends with the layout's version. Usually [`PIN_DIR`].
    pub pin_dir: PathBuf,
    /// Programs in this control group, and below it, dial through the balancer.
    pub cgroup: PathBuf,
    /// The device to the outside, in the network namespace of the caller.
    pub underlay: String,
    /// The tunnel's device, in the same network namespace. It may come later, and go.
    pub tunnel: String,
    /// How long an unconnected socket, or a client outside, may be silent before its datagrams may go elsewhere.
    pub flow_idle: Duration,
    /// How many flows of clients outside are remembered; the kernel sets aside 250 bytes for each.
    pub flows: u32,
    /// How many connections of pods that policies are about are remembered; the kernel sets aside 150 bytes for each.
    pub connections: u32,
    /// Whether services have tables on which all nodes agree (Maglev): then segments of TCP that belong to no flow are looked
    /// up, for they may have come in by another node until now.
    pub tables: bool,
    /// How tc programs are attached.
    pub tc: TcHook,
    /// Whether it is counted what becomes of TCP connects.
    pub count_connects: bool,
    /// Whether the node itself is judged by policies, on the underlay.
    pub judge_host: bool,
}

impl Options {
    /// The usual ones.
    pub fn new(cgroup: impl Into<PathBuf>, underlay: impl Into<String>) -> Self {
        Self {
            pin_dir: PIN_DIR.into(),
            cgroup: cgroup.into(),
            underlay: underlay.into(),
            tunnel: "cw0".into(),
            flow_idle: Duration::from_secs(60),
            flows: 32_768,
            connections: 65_536,
            tables: false,
            tc: TcHook::Best,
            count_connects: false,
            judge_host: false,
        }
    }
}

/// The packet path of a node, loaded and attached. Dropping it leaves it at work: [`Datapath::unload`] ends it.
pub struct Datapath {
    options: Options,
    plan: PlanMaps,
    pods: Table<abi::PodKey, u8>,
    counters: PerCpuArray<MapData, u64>,
    pod: Object,
    policy: Object,
    policing: PolicyMaps,
    /// None on a kernel that cannot put packets on devices by its neighbours: clients outside are not served there.
    edge: Option<Edge>,
    /// None where nobody asked for it.
    connects: Option<ConnectCounts>,
    /// None where everything is encrypted.
    near: Option<Near>,
}

impl Datapath {
    /// Loads and attaches everything, or takes over from an agent before us: its maps are kept as they are, its
    /// programs are replaced by ours one by one without a gap.
    ///
    /// To be called in the node's network namespace and mount view.
    pub fn open(options: Options) -> Result<Self, BpfError> {
        let folder = &options.pin_dir;
        pins::prepare(folder)?;
        pins::remove_smaller(folder, "counters", abi::Reason::ALL.len())?;
        let flow_idle = u64::try_from(options.flow_idle.as_nanos()).unwrap_or(u64::MAX);
        let have_set_retval = u8::from(features::has_set_retval());
        // Kernels before 5.14 do not say it; there node ports are not dialled at localhost.
        let node_netns = netns::cookie().unwrap_or_default();
        let have_tables = u8::from(options.tables);
        let mut loader = object::loader(&[SOCK, OUTLIERS, GUARD, POD, EDGE, POLICY, HOST], folder);
        loader.override_global("flow_idle", &flow_idle, false);
        loader.override_global("node_netns", &node_netns, false);
        loader.override_global("have_tables", &have_tables, false);
        loader.override_global("have_set_retval", &have_set_retval, false);
        // One a direction.
        loader.map_max_entries("nat", options.flows.saturating_mul(2));
        loader.map_max_entries("connections", options.connections);
        let mut sock = Object::open(SOCK, &mut loader)?;
        let mut guard = Object::open(GUARD, &mut loader)?;
        let mut pod = Object::open(POD, &mut loader)?;
        let mut edge = Edge::maps(&mut loader)?;
        let mut policy = Object::open(POLICY, &mut loader)?;

        let on = OnDevice::find(GUARD.name, &options.underlay)?;
        attach::to_device(folder, &on, guard.classifier()?, Direction::Egress, options.tc)?;
        for (name, hook) in SOCKET_HOOKS {
            attach::to_cgroup(folder, name, sock.program(name)?, &options.cgroup, hook)?;
        }
        let connects = if options.count_connects {
            Some(ConnectCounts::attach(&mut loader, folder, &options.cgroup)?)
        } else {
            ConnectCounts::detach(folder)?;
            None
        };
        let plan = PlanMaps {
            frontends: Table::new("frontends", sock.map("frontends")?)?,
            backends: Table::new("backends", sock.map("backends")?)?,
            node_addresses: Table::new("node_addresses", sock.map("node_addresses")?)?,
            dead: Table::new("dead", sock.map("dead")?)?,
            guarded: Table::new("guarded", guard.map("guarded")?)?,
            neighbours: Table::new("neighbours", guard.map("neighbours")?)?,
            mtus: Table::new("mtus", edge.map("mtus")?)?,
            direct: Table::new("direct", edge.map("direct")?)?,
            tables: TableMap(Table::new("tables", edge.map("tables")?)?),
            outside: OutsideMaps {
                entries: Table::new("outside", edge.map("outside")?)?,
                sources: Table::new("outside_sources", edge.map("outside_sources")?)?,
            },
        };
        let edge = if features::has_redirect_to_neighbours() {
            Some(Edge::load(edge, &options.underlay)?)
        } else {
            Edge::replace(&mut edge, policy.program("policy_pod")?)?;
            None
        };
        policy.classifier()?;
        let policing = PolicyMaps::new(&mut policy, folder)?;
        let pods = Table::new("pods", pod.map("pods")?)?;
        let counters = counters(sock.map("counters")?)?;
        let near = None;
        let mut datapath =
            Self { options, plan, pods, counters, pod, policy, policing, edge, connects, near };
        datapath.renew_devices(&on)?;
        datapath.watch_ways()?;
        datapath.judge_host(&mut loader, &mut guard)?;
        for old in pins::other_layouts(&datapath.options.pin_dir)? {
            unload(&old)?;
        }
        Ok(datapath)
    }

    /// Applies one operation of the plan; false if it is about tunnels or routes, which are others' business.
    pub fn apply(&mut self, op: &Op) -> Result<bool, BpfError> {
        Ok(self.apply_all(std::slice::from_ref(op))? > 0)
    }

    /// Applies operations in their order, neighbours of one kind in one call to the kernel; says how many were ours.
    pub fn apply_all(&mut self, ops: &[Op]) -> Result<usize, BpfError> {
        let alike = |a: &Op, b: &Op| std::mem::discriminant(a) == std::mem::discriminant(b);
        ops.chunk_by(alike).try_fold(0, |done, run| Ok(done + self.plan.apply(run)?))
    }

    /// Serves clients outside by the devices that are there now, with these addresses of the node in the mesh: to be told
    /// again when they changed, or when the tunnel's device is another one. What is right already is left alone.
    ///
    /// # Errors
    /// The underlay is gone, or the kernel refused.
    pub fn serve_outside(&mut self, mesh: &[IpAddr]) -> Result<(), BpfError> {
        self.watch_ways()?;
        let underlay = &self.options.underlay;
        self.edge.as_mut().map_or(Ok(()), |edge| edge.appear(underlay, mesh))
    }

    /// Opens unencrypted ways to nodes of the same location: by this device of VXLAN's, and as packets are, where that is
    /// wanted. Without either there are none, and the programs are taken off. To be told again when a device is another one.
    /// Which ways are used the plan says.
    ///
    /// # Errors
    /// A device is gone, or the kernel refused.
    pub fn go_unencrypted(&mut self, vxlan: Option<&str>, plain: bool) -> Result<(), BpfError> {
        let Options { pin_dir, underlay, tunnel, tc, .. } = &self.options;
        if vxlan.is_none() && !plain {
            self.near = None;
            return near::detach(pin_dir);
        }
        if self.near.is_none() {
            self.near = Some(Near::open(pin_dir)?);
        }
        let Some(near) = &mut self.near else { return Ok(()) };
        near.attach(pin_dir, near::Places { tunnel, underlay, vxlan, plain }, *tc)
    }

    /// What the maps hold: frontends, sets, addresses of node ports, dead nodes, guarded ranges. The rest of the state is left empty, to be
    /// filled in by who knows it: `State { tunnel, routes, ..datapath.observe()? }`.
    pub fn observe(&self) -> Result<State, BpfError> {
        Ok(State {
            guarded: self.plan.guarded()?,
            neighbours: self.plan.neighbours()?,
            mtus: self.plan.mtus()?,
            frontends: self.plan.frontends()?,
            outside: self.plan.outside.observe()?,
            sets: self.plan.sets()?,
            node_addresses: self.plan.node_addresses()?,
            tables: self.plan.tables.observe()?,
            direct: self.plan.direct()?,
            dead: self.plan.dead()?,
            ..State::default()
        })
    }

    /// From now on the pod behind this device speaks with these source addresses and no others.
    pub fn add_pod(&mut self, device: &str, ips: &[IpAddr]) -> Result<(), BpfError> {
        let on = OnDevice::find(POD.name, device)?;
        let key = |ip: &IpAddr| abi::PodKey { ifindex: on.index, ip: bytes::address(*ip) };
        let wanted: Vec<_> = ips.iter().map(|ip| (key(ip), 1)).collect();
        self.pods.insert(&wanted)?;
        let extra = self.pod_keys(on.index)?.into_iter().filter(|key| wanted.iter().all(|(k, _)| k != key));
        self.pods.remove(&extra.collect::<Vec<_>>())?;
        let (folder, tc) = (&self.options.pin_dir, self.options.tc);
        attach::to_device(folder, &on, self.pod.classifier()?, Direction::Ingress, tc)?;
        // What is sent to the pod is judged as it will see it: behind what translates.
        self.edge.as_mut().map_or(Ok(()), |edge| edge.watch_egress(folder, device, tc))?;
        self.judge(device)
    }

    /// The maps of policies.
    pub fn policing(&self) -> &PolicyMaps {
        &self.policing
    }

    /// The same, to change what is in them.
    pub fn policing_mut(&mut self) -> &mut PolicyMaps {
        &mut self.policing
    }

    /// Forgets the pod behind a device of this name, whether the device is still there or not.
    pub fn remove_pod(&mut self, device: &str) -> Result<(), BpfError> {
        for on in self.devices()?.into_iter().filter(|on| on.device == device) {
            if on.program == POD.name {
                self.forget(&on)?;
            } else if on.program == POLICY.name {
                attach::detach(&self.options.pin_dir, &on, Direction::Egress)?;
            } else if Edge::owns(&on.program) {
                attach::detach(&self.options.pin_dir, &on, Edge::direction(&on.program))?;
            }
        }
        Ok(())
    }

    /// The devices of pods, with the addresses they may speak with, in order.
    pub fn pods(&self) -> Result<Vec<(String, Vec<IpAddr>)>, BpfError> {
        let addresses = |on: OnDevice| {
            let mut ips: Vec<_> = self.pod_keys(on.index)?.into_iter().map(|key| bytes::ip(key.ip)).collect();
            ips.sort_unstable();
            Ok((on.device, ips))
        };
        self.devices()?.into_iter().filter(|on| on.program == POD.name).map(addresses).collect()
    }

    /// How often each reason was counted since the maps were made.
    pub fn counters(&self) -> Result<Vec<(abi::Reason, u64)>, BpfError> {
        read_counters(&self.counters)
    }

    /// What became of TCP connects that services led to backends, of every backend to which one has failed; nothing where
    /// that is not counted.
    pub fn connects(&self) -> Result<BTreeMap<SocketAddr, Connects>, BpfError> {
        self.connects.as_ref().map_or(Ok(BTreeMap::new()), ConnectCounts::read)
    }

    /// Ends the packet path whose pins are in this folder: programs are detached, maps and pins removed. Nothing there
    /// is as good. To be called in the node's network namespace.
    pub fn unload(pin_dir: &Path) -> Result<(), BpfError> {
        unload(pin_dir)
    }

    /// Puts this version's programs where the last agent's are, and forgets devices that are gone.
    fn renew_devices(&mut self, guard: &OnDevice) -> Result<(), BpfError> {
        let devices = self.devices()?;
        for on in &devices {
            if Edge::owns(&on.program) {
                self.renew_edge(on, &devices)?;
            } else if host::owns(&on.program) {
                if !self.options.judge_host || on.device != self.options.underlay || !on.is_there() {
                    attach::detach(&self.options.pin_dir, on, Direction::Ingress)?;
                }
            } else if near::owns(&on.program) {
                // Those that are wanted are replaced when that is said.
                if !on.is_there() {
                    attach::detach(&self.options.pin_dir, on, near::direction(&on.program))?;
                }
            } else if on.program == GUARD.name {
                if on != guard {
                    attach::detach(&self.options.pin_dir, on, Direction::Egress)?;
                }
            } else if on.program == POLICY.name {
                if !on.is_there() {
                    attach::detach(&self.options.pin_dir, on, Direction::Egress)?;
                }
            } else if on.is_there() {
                let program = self.pod.classifier()?;
                attach::to_device(&self.options.pin_dir, on, program, Direction::Ingress, self.options.tc)?;
            } else {
                self.forget(on)?;
            }
        }
        // Behind what translates; and also where the last agent knew no policies.
        let is_pod = |on: &&OnDevice| on.program == POD.name && on.is_there();
        devices.iter().filter(is_pod).try_for_each(|on| self.judge(&on.device))
    }

    /// Judges what the node sends and is sent by the underlay, behind what translates; or nothing of it.
    fn judge_host(&self, loader: &mut EbpfLoader<'_>, guard: &mut Object) -> Result<(), BpfError> {
        let Options { pin_dir, underlay, tc, .. } = &self.options;
        match self.options.judge_host {
            true => host::judge(&mut Object::open(HOST, loader)?, guard, pin_dir, underlay, *tc),
            false => host::let_be(guard),
        }
    }

    /// Judges what is sent to the pod behind a device.
    fn judge(&mut self, device: &str) -> Result<(), BpfError> {
        let on = OnDevice::find(POLICY.name, device)?;
        let (folder, tc) = (&self.options.pin_dir, self.options.tc);
        attach::to_device(folder, &on, self.policy.classifier()?, Direction::Egress, tc)
    }

    /// Puts a new program behind one of the last agent's on a pod's link; takes away those that are nowhere needed. The
    /// underlay and the tunnel are seen to by themselves.
    fn renew_edge(&mut self, on: &OnDevice, devices: &[OnDevice]) -> Result<(), BpfError> {
        let Options { pin_dir, underlay, tunnel, tc, .. } = &self.options;
        let is_pod = devices.iter().any(|other| other.program == POD.name && other.index == on.index);
        let is_way = on.device == *underlay || on.device == *tunnel;
        match &mut self.edge {
            Some(edge) if on.is_there() && is_pod => edge.watch_egress(pin_dir, &on.device, *tc),
            Some(_) if on.is_there() && is_way => Ok(()),
            _ => attach::detach(pin_dir, on, Edge::direction(&on.program)),
        }
    }

    /// Looks at what comes in by the underlay and the tunnel, and at what leaves by the tunnel; the guard's program hands on
    /// what leaves by the underlay.
    fn watch_ways(&mut self) -> Result<(), BpfError> {
        let Options { pin_dir, underlay, tunnel, tc, .. } = &self.options;
        let Some(edge) = &mut self.edge else { return Ok(()) };
        edge.watch_ingress(pin_dir, underlay, *tc)?;
        match edge.watch_ingress(pin_dir, tunnel, *tc).and_then(|()| edge.watch_egress(pin_dir, tunnel, *tc))
        {
            Err(BpfError::Device { .. }) => Ok(()),
            result => result,
        }
    }

    fn forget(&mut self, on: &OnDevice) -> Result<(), BpfError> {
        attach::detach(&self.options.pin_dir, on, Direction::Ingress)?;
        let keys = self.pod_keys(on.index)?;
        self.pods.remove(&keys)
    }

    fn pod_keys(&self, index: u32) -> Result<Vec<abi::PodKey>, BpfError> {
        let keys = self.pods.entries()?.into_iter().map(|(key, _)| key);
        Ok(keys.filter(|key| key.ifindex == index).collect())
    }

    fn devices(&self) -> Result<Vec<OnDevice>, BpfError> {
        let names = pins::names(&pins::links(&self.options.pin_dir))?;
        Ok(names.iter().filter_map(|name| OnDevice::parse(name)).collect())
    }
}

fn unload(pin_dir: &Path) -> Result<(), BpfError> {
    for name in pins::names(&pins::links(pin_dir))? {
        if let Some(on) = OnDevice::parse(&name) {
            let direction = match on.program.as_str() {
                guard_or_policy if [GUARD.name, POLICY.name].contains(&guard_or_policy) => Direction::Egress,
                near if near::owns(near) => near::direction(near),
                other => Edge::direction(other),
            };
            attach::detach(pin_dir, &on, direction)?;
        }
    }
    pins::remove_all(pin_dir)
}

/// A map of counters, typed.
pub(super) fn counters(map: MapData) -> Result<PerCpuArray<MapData, u64>, BpfError> {
    PerCpuArray::try_from(Map::PerCpuArray(map)).map_err(counters_error)
}

/// Every reason with its count on all processors.
pub(super) fn read_counters(
    counters: &PerCpuArray<MapData, u64>,
) -> Result<Vec<(abi::Reason, u64)>, BpfError> {
    let read = |reason: abi::Reason| {
        let values = counters.get(&(reason as u32), 0).map_err(counters_error)?;
        Ok((reason, values.iter().sum()))
    };
    abi::Reason::ALL.into_iter().map(read).collect()
}

fn counters_error(source: aya::maps::MapError) -> BpfError {
    BpfError::Map { attempt: "read", map: "counters", source: std::io::Error::other(source) }
}
