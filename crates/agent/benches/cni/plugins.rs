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

/// A network namespace that goes with its owner.
struct Space {
    name: String,
    netns: Netns,
}

impl Space {
    fn new(name: String) -> Self {
        Netns::delete(&name).expect("root");
        let netns = Netns::create(&name).expect("root");
        Self { name, netns }
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

/// A pod: a namespace for each of the two nodes.
pub(crate) struct Pod {
    number: usize,
    ports: bool,
    ours: Space,
    theirs: Space,
}

impl Pod {
    pub(crate) fn new(number: usize, ports: bool) -> Self {
        let space = |whose| Space::new(format!("{PREFIX}{whose}_{number}"));
        Self { number, ports, ours: space("ours"), theirs: space("theirs") }
    }

    /// What the runtime says beside the configuration.
    fn runtime_config(&self) -> Value {
        let mapping = json!({"hostPort": 20_000 + self.number, "containerPort": 80, "protocol": "tcp"});
        if self.ports { json!({"portMappings": [mapping]}) } else { json!({}) }
    }
}

/// Whoever gives pods their network.
pub(crate) trait Node {
    fn add(&mut self, pod: &Pod) -> Duration;
    fn delete(&mut self, pod: &Pod) -> Duration;
    /// Time on processors until now.
    fn cpu(&self) -> Duration;
}

/// Runs a plugin as a runtime does. Returns its answer, how long it took, and its time on processors.
fn run(
    node: &Space,
    program: &Path,
    command: &str,
    pod: (usize, &Space),
    config: &Value,
) -> (Value, Duration, Duration) {
    let mut plugin = Command::new(program);
    plugin.env("CNI_COMMAND", command).env("CNI_CONTAINERID", format!("bench-{}", pod.0));
    plugin.env("CNI_NETNS", path_of(&pod.1.name).expect("a name")).env("CNI_IFNAME", "eth0");
    plugin.env("CNI_PATH", THEIRS).stdin(Stdio::piped()).stdout(Stdio::piped());
    let config = config.to_string();
    let before = children();
    let ran = node.netns.run(|| {
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
    (serde_json::from_str(&text).unwrap_or(Value::Null), time, children() - before)
}

/// Time on processors of the processes that were started here and ended.
fn children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is always known");
    let of = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    of(usage.user_time()) + of(usage.system_time())
}

/// The numbers of a `stat` file behind the name: proc(5), from the third on.
fn stat(path: &str) -> Vec<u64> {
    let text = fs::read_to_string(path).expect("a process");
    let rest = text.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
}

/// A node with our agent.
pub(crate) struct Ours {
    space: Space,
    folder: PathBuf,
    program: PathBuf,
    server: Child,
    plugins: Duration,
}

impl Ours {
    pub(crate) fn start() -> Self {
        let space = Space::new(format!("{PREFIX}ours"));
        sysctl::write(&space.netns, sysctl::NODE).expect("root");
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
        Self { space, folder, program, server, plugins: Duration::ZERO }
    }

    fn run(&mut self, command: &str, pod: &Pod) -> Duration {
        let config = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "causeway",
            "socket": self.folder.join("agent.sock"), "runtimeConfig": pod.runtime_config(),
        });
        let (_, time, cpu) = run(&self.space, &self.program, command, (pod.number, &pod.ours), &config);
        self.plugins += cpu;
        time
    }
}

impl Node for Ours {
    fn add(&mut self, pod: &Pod) -> Duration {
        self.run("ADD", pod)
    }

    fn delete(&mut self, pod: &Pod) -> Duration {
        self.run("DEL", pod)
    }

    fn cpu(&self) -> Duration {
        let fields = stat(&format!("/proc/{}/stat", self.server.id()));
        // proc(5): utime and stime, in hundredths of a second.
        self.plugins + Duration::from_millis(10 * (fields[11] + fields[12]))
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
    space: Space,
    folder: PathBuf,
    plugins: Duration,
}

impl Theirs {
    pub(crate) fn start() -> Self {
        let space = Space::new(format!("{PREFIX}theirs"));
        sysctl::write(&space.netns, sysctl::NODE).expect("root");
        let folder = folder("theirs");
        let _ = fs::remove_dir_all(&folder);
        Self { space, folder, plugins: Duration::ZERO }
    }

    fn run(&mut self, name: &str, command: &str, pod: &Pod, prev: Option<&Value>) -> (Value, Duration) {
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
        let (answer, time, cpu) = run(&self.space, &program, command, (pod.number, &pod.theirs), &config);
        self.plugins += cpu;
        (answer, time)
    }
}

impl Node for Theirs {
    fn add(&mut self, pod: &Pod) -> Duration {
        let (result, wired) = self.run("bridge", "ADD", pod, None);
        wired + self.run("portmap", "ADD", pod, Some(&result)).1
    }

    fn delete(&mut self, pod: &Pod) -> Duration {
        let mapped = self.run("portmap", "DEL", pod, None).1;
        mapped + self.run("bridge", "DEL", pod, None).1
    }

    fn cpu(&self) -> Duration {
        self.plugins
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
