//! Nodes, pods, and the plugins' processes.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kernel::netlink::sysctl;
use kernel::netns::{Netns, path_of};
use kernel::sandbox::{self, Sandbox};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serde_json::{Value, json};

/// Where Debian's plugins are.
const THEIRS: &str = "/usr/lib/cni";

/// The name of a network namespace that goes with its owner. Open it takes a descriptor, and there are many.
struct Space {
    name: String,
}

impl Space {
    fn new(name: String) -> Self {
        Netns::delete(&name).expect("root");
        Netns::create(&name).expect("root");
        Self { name }
    }

    fn open(&self) -> Netns {
        Netns::open(&self.name).expect("it was made")
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Netns::delete(&self.name);
    }
}

/// How the names of all of them begin.
const PREFIX: &str = "cwt_bench_";

/// Takes away what a run that was killed has left.
pub(crate) fn clear() {
    let names = Netns::list().expect("a folder of names");
    for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
        Netns::delete(name).expect("root");
    }
}

/// Has SIGINT and SIGTERM end this program as they do, but not before everything is taken away. Called before there are
/// other threads, which inherit that they do not take these signals; programs that are started do not.
pub(crate) fn clear_when_told_to_end() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().expect("signals that may be blocked");
    std::thread::spawn(move || {
        let signal = signals.wait().expect("signals that are blocked");
        // Who is just making a namespace may leave one: the next run takes it away.
        clear();
        let _ = fs::remove_dir_all(folder("ours"));
        let _ = fs::remove_dir_all(folder("theirs"));
        std::process::exit(128 + signal as i32);
    });
}

/// Where the nodes keep what they keep.
fn folder(whose: &str) -> PathBuf {
    std::env::temp_dir().join(format!("causeway-bench-{whose}-{}", std::process::id()))
}

/// A pod: a namespace for each of the two nodes. Fresh ones for every round, and all of them stay to the end: the kernel
/// would be busy with those that go.
pub(crate) struct Pod {
    number: usize,
    ports: bool,
    ours: Space,
    theirs: Space,
}

impl Pod {
    pub(crate) fn new(round: usize, number: usize, ports: bool) -> Self {
        let space = |whose| Space::new(format!("{PREFIX}{whose}_{ports}_{round}_{number}"));
        Self { number, ports, ours: space("ours"), theirs: space("theirs") }
    }

    /// What the runtime says beside the configuration.
    fn runtime_config(&self) -> Value {
        let mapping = json!({"hostPort": 20_000 + self.number, "containerPort": 80, "protocol": "tcp"});
        if self.ports { json!({"portMappings": [mapping]}) } else { json!({}) }
    }
}

/// Whoever gives pods their network.
pub(crate) trait Node: Sync {
    /// Runs its plugins for a pod, and says how long that took.
    fn ask(&self, command: &str, pod: &Pod) -> Duration;
    /// Time on processors until now of those of its processes that do not end.
    fn cpu(&self) -> Duration;
}

/// One after the other: how long, and the time on processors of everything.
pub(crate) fn ask(node: &impl Node, command: &str, pod: &Pod) -> (Duration, Duration) {
    let before = node.cpu() + children();
    let time = node.ask(command, pod);
    (time, node.cpu() + children() - before)
}

/// All at once.
pub(crate) fn ask_together(node: &impl Node, command: &str, pods: &[Pod]) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = pods.iter().map(|pod| scope.spawn(|| node.ask(command, pod))).collect();
        asking.into_iter().map(|thread| thread.join().expect("it was asked")).collect()
    })
}

/// Runs a plugin as a runtime does. Returns its answer, and how long it took.
fn run(
    node: &Netns,
    program: &Path,
    command: &str,
    pod: (usize, &Space),
    config: &Value,
) -> (Value, Duration) {
    let mut plugin = Command::new(program);
    plugin.env("CNI_COMMAND", command).env("CNI_CONTAINERID", format!("bench-{}", pod.0));
    plugin.env("CNI_NETNS", path_of(&pod.1.name).expect("a name")).env("CNI_IFNAME", "eth0");
    plugin.env("CNI_PATH", THEIRS).stdin(Stdio::piped()).stdout(Stdio::piped());
    let config = config.to_string();
    let ran = node.run(|| {
        let begun = Instant::now();
        let mut running = plugin.spawn().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let mut input = running.stdin.take().expect("it is piped");
        input.write_all(config.as_bytes()).expect("the plugin reads");
        drop(input);
        let output = running.wait_with_output().expect("the plugin ends");
        (output, begun.elapsed())
    });
    let (output, time) = ran.expect("the node's namespace");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} {command}: {text}", program.display());
    (serde_json::from_str(&text).unwrap_or(Value::Null), time)
}

/// How long a process takes that is started as a plugin is and does nothing.
pub(crate) fn nothing() -> Duration {
    let mut program = Command::new("/bin/true");
    let begun = Instant::now();
    let mut running =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("every system has it");
    drop(running.stdin.take());
    running.wait_with_output().expect("it ends");
    begun.elapsed()
}

/// Time on processors of the processes that were started here and ended.
fn children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is always known");
    let of = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    of(usage.user_time()) + of(usage.system_time())
}

/// A node with our agent.
pub(crate) struct Ours {
    netns: Netns,
    _space: Space,
    folder: PathBuf,
    program: PathBuf,
    server: Child,
}

impl Ours {
    pub(crate) fn start() -> Self {
        let space = Space::new(format!("{PREFIX}ours"));
        let netns = space.open();
        sysctl::write(&netns, sysctl::NODE).expect("root");
        let folder = folder("ours");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let own = std::env::current_exe().expect("a path");
        let program = std::env::var_os("CAUSEWAY").expect("CAUSEWAY says which plugin: ./x bench cni does");
        let program = PathBuf::from(program);
        let socket = folder.join("agent.sock");
        let mut server = Command::new(own);
        server.arg("serve").arg(&space.name).arg(&socket).arg(&folder);
        let place = Sandbox { die_with_parent: true, ..Sandbox::default() };
        let server = sandbox::spawn(server, &place).expect("this program again");
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the server does not answer");
            std::thread::yield_now();
        }
        Self { netns, _space: space, folder, program, server }
    }
}

impl Node for Ours {
    fn ask(&self, command: &str, pod: &Pod) -> Duration {
        let config = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "causeway",
            "socket": self.folder.join("agent.sock"), "runtimeConfig": pod.runtime_config(),
        });
        run(&self.netns, &self.program, command, (pod.number, &pod.ours), &config).1
    }

    fn cpu(&self) -> Duration {
        // The scheduler's own count, in nanoseconds, of each of the agent's threads.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.server.id())).expect("a process");
        let time = |task: std::io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.filter_map(time).sum())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A node with Debian's plugins.
pub(crate) struct Theirs {
    netns: Netns,
    _space: Space,
    folder: PathBuf,
}

impl Theirs {
    pub(crate) fn start() -> Self {
        let space = Space::new(format!("{PREFIX}theirs"));
        let netns = space.open();
        sysctl::write(&netns, sysctl::NODE).expect("root");
        let folder = folder("theirs");
        let _ = fs::remove_dir_all(&folder);
        Self { netns, _space: space, folder }
    }

    fn run(&self, name: &str, command: &str, pod: &Pod, prev: Option<&Value>) -> (Value, Duration) {
        let mut config = json!({"cniVersion": "1.0.0", "name": "bench", "type": name});
        if name == "bridge" {
            config["bridge"] = json!("bench0");
            config["isGateway"] = json!(true);
            let ranges = json!([[{"subnet": "10.9.0.0/23"}]]);
            let routes = json!([{"dst": "0.0.0.0/0"}]);
            config["ipam"] =
                json!({"type": "host-local", "dataDir": self.folder, "ranges": ranges, "routes": routes});
        } else {
            config["capabilities"] = json!({"portMappings": true});
            config["runtimeConfig"] = pod.runtime_config();
        }
        if let Some(prev) = prev {
            config["prevResult"] = prev.clone();
        }
        let program = Path::new(THEIRS).join(name);
        run(&self.netns, &program, command, (pod.number, &pod.theirs), &config)
    }
}

impl Node for Theirs {
    fn ask(&self, command: &str, pod: &Pod) -> Duration {
        if command == "ADD" {
            let (result, wired) = self.run("bridge", "ADD", pod, None);
            wired + self.run("portmap", "ADD", pod, Some(&result)).1
        } else {
            self.run("portmap", "DEL", pod, None).1 + self.run("bridge", "DEL", pod, None).1
        }
    }

    fn cpu(&self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
