//! A node for tests: a namespace with an underlay, a control group with this very process in it, a packet path.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use causeway_kernel::bpf::{Datapath, Options};
use causeway_kernel::cgroup::{self, Cgroup};
use engine::plan::{Backend, Frontend, Ladder, NodeId, Otherwise, Outside, SetId, State, TierSpan, diff};
use model::{Protocol, Tier};

use crate::net_common::TestNetns;

/// A process is in one control group at a time: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct TestNode {
    pub(crate) net: TestNetns,
    pub(crate) options: Options,
    cgroup: Cgroup,
    home: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl TestNode {
    /// A node with `eth0`, whose other end is `wire0`, and these addresses on its loopback device.
    pub(crate) fn new(name: &str, addresses: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let net = TestNetns::new(&format!("bpf_{name}"));
        net.run("ip link add eth0 type veth peer name wire0");
        net.run("ip link set eth0 up");
        net.run("ip link set wire0 up");
        for address in addresses {
            net.run(&format!("ip addr add {address} dev lo"));
        }
        let cgroup = Cgroup::create(format!("causeway-test-bpf-{name}"))
            .unwrap_or_else(|e| panic!("this test needs root and cgroup2: {e}"));
        let mut options = Options::new(cgroup.path(), "eth0");
        options.pin_dir = format!("/sys/fs/bpf/cwt_{name}/v1").into();
        let home = home();
        cgroup.add(own_pid()).expect("enter the control group");
        let node = Self { net, options, cgroup, home, _alone: alone };
        node.unload();
        node
    }

    /// Loads the packet path, or takes it over.
    pub(crate) fn open(&self) -> Datapath {
        let open = || Datapath::open(self.options.clone()).unwrap_or_else(|e| panic!("{e}"));
        self.inside(open)
    }

    pub(crate) fn unload(&self) {
        self.inside(|| Datapath::unload(&self.options.pin_dir)).expect("unload");
        let parent = self.options.pin_dir.parent().expect("it has a parent");
        // Only there if something was loaded.
        let _ = std::fs::remove_dir(parent);
    }

    /// Runs something in the node's namespace. The control group it is in anyway.
    pub(crate) fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.net.netns().run(f).expect("enter the namespace")
    }

    /// Runs something in the node's namespace, but not in its control group.
    pub(crate) fn leave<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.go_home();
        let result = self.inside(f);
        self.cgroup.add(own_pid()).expect("enter the control group");
        result
    }

    /// Another control group of the same name, as after a crash and a new start.
    pub(crate) fn renew_cgroup(&self) {
        self.go_home();
        let root = cgroup::root().expect("cgroup2");
        let relative = self.cgroup.path().strip_prefix(root).expect("it is below the root");
        self.cgroup.remove_tree().expect("remove the control group");
        Cgroup::create(relative).and_then(|c| c.add(own_pid())).expect("enter the control group");
    }

    fn go_home(&self) {
        let procs = self.home.join("cgroup.procs");
        std::fs::write(procs, own_pid().to_string()).expect("leave the control group");
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.go_home();
        self.unload();
        self.cgroup.remove_tree().expect("remove the control group");
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("a pid is an i32")
}

/// The control group this process came from.
fn home() -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").expect("read /proc/self/cgroup");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("a cgroup2 line");
    cgroup::root().expect("cgroup2").join(path)
}

/// A desired state, built service by service.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) state: State,
}

impl Wanted {
    /// A service on these tiers, nearest first.
    pub(crate) fn service(mut self, vip: &str, protocol: Protocol, tiers: &[(Tier, &[Backend])]) -> Self {
        let vip: SocketAddr = vip.parse().expect("an address");
        let set: Vec<Backend> = tiers.iter().flat_map(|(_, backends)| backends.iter().copied()).collect();
        let mut begin = 0;
        let span = |(tier, backends): &(Tier, &[Backend])| {
            let count = u32::try_from(backends.len()).expect("few");
            begin += count;
            TierSpan { tier: *tier, begin: begin - count, count, passes: 0 }
        };
        let tiers = tiers.iter().map(span).collect();
        let id = content(&self.state.sets, &set);
        let port = vip.port().try_into().expect("a port");
        self.state.frontends.insert(
            Frontend { ip: vip.ip(), protocol, port },
            Ladder { set: id, tiers, affinity: 0, table: None },
        );
        if id != 0 {
            self.state.sets.insert(id, set);
        }
        self
    }

    /// What leads to these backends when it is dialled from outside: masqueraded, by everybody, refused without backends;
    /// or as it is changed here.
    pub(crate) fn outside(
        self,
        at: &str,
        protocol: Protocol,
        backends: &[Backend],
        change: impl FnOnce(&mut Outside),
    ) -> Self {
        let tiers: &[(Tier, &[Backend])] =
            if backends.is_empty() { &[] } else { &[(Tier::Cluster, backends)] };
        let mut wanted = self.service(at, protocol, tiers);
        let at: SocketAddr = at.parse().expect("an address");
        let port = at.port().try_into().expect("a port");
        let frontend = Frontend { ip: at.ip(), protocol, port };
        let ladder = wanted.state.frontends.remove(&frontend).expect("it was put there just now");
        let mut outside = Outside { ladder, masquerade: true, otherwise: Otherwise::Refuse, sources: None };
        change(&mut outside);
        wanted.state.outside.insert(frontend, outside);
        wanted
    }

    pub(crate) fn dead(mut self, nodes: &[NodeId]) -> Self {
        self.state.dead.extend(nodes);
        self
    }

    pub(crate) fn guarded(mut self, ranges: &[&str]) -> Self {
        self.state.guarded.extend(ranges.iter().map(|r| r.parse::<ipnet::IpNet>().expect("a range")));
        self
    }
}

/// A number for a set: that of the same content, or one never used by these tests.
fn content(known: &BTreeMap<SetId, Vec<Backend>>, set: &[Backend]) -> SetId {
    use std::hash::{DefaultHasher, Hash, Hasher};
    if set.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    set.hash(&mut hasher);
    let id = hasher.finish();
    assert!(known.get(&id).is_none_or(|other| other == set), "two sets, one number");
    id
}

pub(crate) fn backend(address: &str, node: NodeId) -> Backend {
    let address: SocketAddr = address.parse().expect("an address");
    Backend { ip: address.ip(), port: address.port().try_into().expect("a port"), node }
}

/// Brings the kernel to the wanted state and checks that it says so.
pub(crate) fn converge(datapath: &mut Datapath, wanted: &Wanted) {
    let observed = datapath.observe().expect("observe");
    let ops = diff(&observed, &wanted.state);
    assert_eq!(datapath.apply_all(&ops).expect("apply"), ops.len());
    assert_eq!(datapath.observe().expect("observe"), wanted.state);
}

/// How often a reason was counted.
pub(crate) fn counted(datapath: &Datapath, name: &str) -> u64 {
    let counters = datapath.counters().expect("read the counters");
    counters
        .into_iter()
        .find(|(reason, _)| reason.name() == name)
        .unwrap_or_else(|| panic!("no reason {name}"))
        .1
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
