//! Our own data path with so many services: a control group, the maps, the programs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use causeway_kernel::bpf::{Datapath, Options};
use causeway_kernel::cgroup::{self, Cgroup};
use engine::plan::{State, diff};
use engine::services::{LoadBalancerMode, LoadBalancing, Planner, View};
use model::{NodeName, World};

use crate::net_common::TestNetns;
use crate::report::Report;
use crate::statistics::cpu_time;
use crate::world;

/// The control group this process came from.
static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/self/cgroup").expect("read /proc/self/cgroup");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("a cgroup2 line");
    cgroup::root().expect("cgroup2").join(path)
});

const BPF_FS: &str = "/sys/fs/bpf";
const PINS: &str = "cwt_svc_";
const GROUP: &str = "causeway-bench-services-";

/// From now on sockets of this process belong there; in no balancer's group they dial what they say.
pub(crate) fn enter(balancer: Option<&Balancer>) {
    let pid = std::process::id();
    match balancer {
        Some(balancer) => balancer.cgroup.add(pid.cast_signed()).expect("enter the control group"),
        None => std::fs::write(HOME.join("cgroup.procs"), pid.to_string()).expect("leave the control group"),
    }
}

/// Removes what a crashed run has left.
pub(crate) fn clear() {
    // Read before this process goes anywhere.
    LazyLock::force(&HOME);
    let names = |folder: &Path, prefix: &str| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(prefix)).collect()
    };
    for name in names(Path::new(BPF_FS), PINS) {
        unload(&Path::new(BPF_FS).join(name));
    }
    for name in names(&cgroup::root().expect("cgroup2"), GROUP) {
        Cgroup::at(name).and_then(|group| group.remove_tree()).expect("remove an old control group");
    }
}

fn unload(folder: &Path) {
    Datapath::unload(&folder.join("v1")).expect("unload");
    // Only there if something was loaded.
    let _ = std::fs::remove_dir(folder);
}

/// Whether a data path counts what becomes of connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connects {
    Counted,
    Uncounted,
}

/// Whose data path it is, and what is around it.
pub(crate) struct Site<'a> {
    /// Of pins and control groups; each has its own.
    pub(crate) name: String,
    pub(crate) node: &'a TestNetns,
    pub(crate) me: NodeName,
    /// The device to the outside, and the one to other nodes.
    pub(crate) devices: [&'a str; 2],
    /// Whom backends see of clients outside.
    pub(crate) mode: LoadBalancerMode,
}

/// One of ours.
pub(crate) struct Balancer {
    pub(crate) services: u32,
    pub(crate) datapath: Datapath,
    pub(crate) planner: Planner,
    pub(crate) world: World,
    pub(crate) state: State,
    me: NodeName,
    balancing: LoadBalancing,
    folder: PathBuf,
    cgroup: Cgroup,
}

impl Balancer {
    /// For pods of a node. Behind the services there are two more, with endpoints in the zone and far.
    pub(crate) fn for_pods(services: u32, connects: Connects, node: &TestNetns, report: &mut Report) -> Self {
        let servers = |range: u8, third: u8| -> [IpAddr; 4] {
            [10, 11, 12, 13].map(|host| [10, range, third, host].into())
        };
        let (near, zone, far) = (servers(1, 0), servers(1, 1), servers(2, 0));
        let world = world::world(services, &near, &[&zone, &far]);
        let name = match connects {
            Connects::Counted => format!("{services}_counted"),
            Connects::Uncounted => services.to_string(),
        };
        let mode = LoadBalancerMode::Snat;
        let site = Site { name, node, me: world::me(), devices: ["eth0", "cw0"], mode };
        Self::open(site, services, connects, world, report)
    }

    /// Loads it, and says how long that took.
    pub(crate) fn open(
        site: Site<'_>,
        services: u32,
        connects: Connects,
        world: World,
        report: &mut Report,
    ) -> Self {
        let Site { name, node, me, devices: [underlay, tunnel], mode } = site;
        let folder = Path::new(BPF_FS).join(format!("{PINS}{name}"));
        let cgroup = Cgroup::create(format!("{GROUP}{name}"))
            .unwrap_or_else(|e| panic!("this bench needs root and cgroup2: {e}"));
        let mut options = Options::new(cgroup.path(), underlay);
        options.tunnel = tunnel.into();
        options.pin_dir = folder.join("v1");
        options.count_connects = connects == Connects::Counted;
        let begun = Instant::now();
        let open = || Datapath::open(options.clone()).unwrap_or_else(|e| panic!("{e}"));
        let datapath = node.netns().run(open).expect("enter the namespace");
        let opened = begun.elapsed();
        let (planner, state) = (Planner::default(), State::default());
        let balancing = LoadBalancing { mode, maglev: None };
        let mut this = Self { services, datapath, planner, world, state, me, balancing, folder, cgroup };
        let (wall, cpu) = this.load();
        report.say(&format!(
            "ours ({name}), {services} services: programs loaded in {opened:.2?}; planned and written in {wall:.2?} \
             ({cpu:.2?} of CPU)"
        ));
        report.cost("load", services, "wall_ms", wall.as_secs_f64() * 1e3);
        report.cost("load", services, "cpu_ms", cpu.as_secs_f64() * 1e3);
        this
    }

    /// From nothing: everything planned, compared with the empty maps, written.
    fn load(&mut self) -> (Duration, Duration) {
        let dead = BTreeSet::new();
        let (begun, used) = (Instant::now(), cpu_time());
        let view = world::view(&self.world, &self.me, &dead);
        let plan = self.planner.plan(&View { balancing: &self.balancing, ..view });
        self.state = State {
            frontends: plan.frontends,
            outside: plan.outside,
            sets: plan.sets,
            node_addresses: plan.node_addresses,
            direct: plan.direct,
            ..State::default()
        };
        let ops = diff(&State::default(), &self.state);
        let applied = self.datapath.apply_all(&ops).unwrap_or_else(|e| panic!("{e}"));
        let took = (begun.elapsed(), cpu_time() - used);
        assert_eq!(applied, ops.len());
        assert_eq!(self.datapath.observe().expect("observe"), self.state, "all of it is there");
        took
    }

    /// What the kernel says that a map takes, in bytes.
    pub(crate) fn memory(&self, map: &str) -> u64 {
        let path = self.folder.join("v1").join(map);
        let map = aya::maps::MapData::from_pin(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(map.fd()));
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("read fdinfo");
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).expect("memlock");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        enter(None);
        unload(&self.folder);
        if let Err(e) = self.cgroup.remove_tree() {
            eprintln!("{e}");
        }
    }
}
