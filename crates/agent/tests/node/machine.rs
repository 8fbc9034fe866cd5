//! Two nodes and somebody outside on one wire.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::cgroup::Cgroup;
use kernel::mount::{self, Mount};
use kernel::netns::Netns;
use kernel::sandbox::{self, Sandbox};
use kernel::wireguard::PrivateKey;
use model::{
    Change, Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, EndpointPort, Node, NodeName, Object,
    ObjectName, Port, Protocol, PublicKey, Service, ServiceKey, ServicePort, Topology, World,
};
use serde_json::{Value, json};
use wire::local::{AgentStatus, CniRequest, CniResponse};
use wire::state::Place;

/// How long anything may take. Long, for a busy machine: nothing waits for it to pass.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// The address of a service whose backend is [`Lan::BACKEND`].
pub(crate) const VIP: &str = "10.101.0.10";
/// The address of a service whose backends are the first three pods on node 1.
pub(crate) const NEAR_VIP: &str = "10.101.0.20";
/// Another address of it, which somebody outside may dial.
pub(crate) const EXTERNAL: &str = "203.0.113.7";
/// The port of everything that serves.
pub(crate) const PORT: u16 = 8080;

/// Waits until `so`.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONG, "{what} did not happen");
        #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn name(node: &str) -> NodeName {
    NodeName::new(ClusterName::new("test").unwrap(), node).unwrap()
}

/// A service at port 80, with these pods on a node behind it.
fn service(cluster: &ClusterName, name: &str, vip: &str, node: &str, pods: &[&str]) -> Vec<Object> {
    let key = ServiceKey { cluster: cluster.clone(), name: ObjectName::new("demo", name).unwrap() };
    let port = |port| Port::new(port).unwrap();
    let ports = vec![ServicePort::new("", Protocol::Tcp, port(80))];
    let mut objects = vec![Object::Service(Service::new(key.clone(), vec![vip.parse().unwrap()], ports))];
    objects.extend(pods.iter().zip(1..).map(|(ip, n)| {
        let key = EndpointKey { service: key.clone(), name: format!("{name}-{n}") };
        let ports = vec![EndpointPort::new("", Protocol::Tcp, port(PORT))];
        let endpoint = Endpoint::new(key, vec![ip.parse().unwrap()], ports);
        Object::Endpoint(Endpoint { node: Some(self::name(node)), ..endpoint })
    }));
    objects
}

/// A wire, somebody on it who is no node, and nodes 1 and 2.
pub(crate) struct Lan {
    pub(crate) outside: Arc<Netns>,
    pub(crate) nodes: [Machine; 2],
    names: Vec<String>,
    group: Cgroup,
    folder: tempfile::TempDir,
}

/// A node.
pub(crate) struct Machine {
    number: u8,
    pub(crate) netns: Arc<Netns>,
    /// Its own view of files.
    pub(crate) mount: Arc<OwnedFd>,
    pub(crate) group: Cgroup,
    pub(crate) folder: PathBuf,
    agent: Option<Child>,
}

impl Lan {
    /// Node 1's and node 2's addresses and those of somebody outside, by family.
    pub(crate) const NODES: [[&str; 2]; 2] =
        [["10.88.0.1", "2001:db8:88::1"], ["10.88.0.2", "2001:db8:88::2"]];
    pub(crate) const OUTSIDE: [&str; 2] = ["10.88.0.100", "2001:db8:88::100"];
    /// The first pod on node 2.
    pub(crate) const BACKEND: &str = "10.1.2.2";

    /// Builds it. `tag` keeps tests apart; what a crashed run left is cleared first.
    pub(crate) fn build(tag: &str) -> Self {
        let names: Vec<String> = ["out", "n1", "n2"].map(|name| format!("cwt_{tag}_{name}")).into();
        let folder = tempfile::Builder::new().prefix("cwt-").tempdir().unwrap();
        let parent = format!("cwt-{tag}");
        let group = Cgroup::create(&parent).unwrap_or_else(|e| panic!("this test needs root: {e}"));
        let [outside, one, two] = [0, 1, 2].map(|n: usize| {
            Netns::delete(&names[n]).unwrap();
            Arc::new(Netns::create(&names[n]).unwrap_or_else(|e| panic!("this test needs root: {e}")))
        });
        run_in(&outside, "ip link add br0 type bridge");
        run_in(&outside, "ip link set br0 up");
        address(&outside, "br0", Self::OUTSIDE);
        let nodes = [(1, one), (2, two)].map(|(number, netns): (u8, Arc<Netns>)| {
            let port = format!("port{number}");
            let far = &names[usize::from(number)];
            run_in(&outside, &format!("ip link add {port} type veth peer name eth0 netns {far}"));
            run_in(&outside, &format!("ip link set {port} master br0 up"));
            run_in(&netns, "ip link set eth0 up");
            address(&netns, "eth0", Self::NODES[usize::from(number) - 1]);
            run_in(&netns, &format!("ip route add default via {}", Self::OUTSIDE[0]));
            let folder = folder.path().join(format!("n{number}"));
            let group = Cgroup::create(format!("{parent}/n{number}")).unwrap();
            Machine::new(number, netns, group, folder)
        });
        let lan = Self { outside, nodes, names, group, folder };
        let world = lan.world();
        for node in &lan.nodes {
            let place = Place { epoch: 7, revision: 1, interest: None, policing: None };
            let places = [(ClusterName::new("test").unwrap(), place)].into();
            link::saved::save(&node.folder.join("lib/world.state"), &world, &places).unwrap();
        }
        lan
    }

    fn world(&self) -> World {
        let cluster = ClusterName::new("test").unwrap();
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let mut objects = vec![Object::Cluster(Cluster {
            name: cluster.clone(),
            id: ClusterId::new(1).unwrap(),
            pod_cidrs: nets(&["10.1.0.0/16", "fd00:1::/48"]),
            service_cidrs: nets(&["10.101.0.0/16"]),
            clusterset_cidrs: vec![],
            peer_cidrs: vec![],
        })];
        for (node, ips) in self.nodes.iter().zip(Self::NODES) {
            let n = node.number;
            objects.push(Object::Node(Node {
                name: name(&format!("n{n}")),
                topology: Topology { region: "r".into(), zone: "z".into(), ..Topology::default() },
                location: "here".into(),
                private_ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
                public_ips: vec![],
                pod_cidrs: nets(&[&format!("10.1.{n}.0/24"), &format!("fd00:1:0:{n}::/64")]),
                public_key: Some(node.public_key()),
                port: 51820,
                labels: Default::default(),
                mesh: Default::default(),
            }));
        }
        let mut echo = service(&cluster, "echo", VIP, "n2", &[Self::BACKEND]);
        if let Object::Service(echo) = &mut echo[0] {
            echo.access.external_ips = vec![EXTERNAL.parse().unwrap()];
        }
        objects.extend(echo);
        objects.extend(service(&cluster, "near", NEAR_VIP, "n1", &["10.1.1.2", "10.1.1.3", "10.1.1.4"]));
        let mut world = World::default();
        for object in objects {
            world.apply(Change::Upsert(object));
        }
        world
    }

    /// A namespace that ends with the test.
    pub(crate) fn netns(&mut self, tag: &str) -> Arc<Netns> {
        let name = format!("{}_{tag}", self.names[0]);
        Netns::delete(&name).unwrap();
        self.names.push(name.clone());
        Arc::new(Netns::create(&name).unwrap())
    }

    /// A pod on node `n` (1 or 2), made by the CNI plugin, and its addresses.
    pub(crate) fn pod(&mut self, n: usize, tag: &str) -> (Sandbox, Vec<IpAddr>) {
        let netns = self.netns(tag);
        let path = format!("/run/netns/{}", self.names.last().unwrap());
        let node = &self.nodes[n - 1];
        let answer = node.cni("ADD", tag, &path);
        let ips = answer["ips"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let ip = |ip: &Value| ip["address"].as_str().unwrap().parse::<ipnet::IpNet>().unwrap().addr();
        let place =
            Sandbox { netns: Some(netns), cgroup: Some(node.group.path().into()), ..Sandbox::default() };
        (place, ips.iter().map(ip).collect())
    }

    /// Somebody outside.
    pub(crate) fn outside(&self) -> Sandbox {
        Sandbox { netns: Some(self.outside.clone()), ..Sandbox::default() }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.group.kill().unwrap();
        for node in &mut self.nodes {
            if let Some(mut agent) = node.agent.take() {
                agent.wait().unwrap();
            }
        }
        self.group.remove_tree().unwrap();
        for name in &self.names {
            Netns::delete(name).unwrap();
        }
        if std::thread::panicking() {
            for node in &self.nodes {
                println!(
                    "--- n{}\n{}",
                    node.number,
                    fs::read_to_string(node.folder.join("log")).unwrap_or_default()
                );
            }
        }
        let _ = &self.folder;
    }
}

impl Machine {
    fn new(number: u8, netns: Arc<Netns>, group: Cgroup, folder: PathBuf) -> Self {
        let private = [
            ("run", "/run/causeway"),
            ("wireguard", "/run/wireguard"),
            ("lib", "/var/lib/causeway"),
            ("bin", "/opt/cni/bin"),
            ("net.d", "/etc/cni/net.d"),
        ];
        let mut mounts = vec![Mount::Bpffs("/sys/fs/bpf".into())];
        for (name, target) in private {
            fs::create_dir_all(folder.join(name)).unwrap();
            mounts.push(Mount::bind(folder.join(name), target));
        }
        let mount = Arc::new(mount::namespace(&mounts).unwrap());
        Self { number, netns, mount, group, folder, agent: None }
    }

    fn public_key(&self) -> PublicKey {
        PrivateKey::load_or_create(&self.folder.join("lib/private.key")).unwrap().public()
    }

    /// Where the machine's own programs run.
    pub(crate) fn place(&self) -> Sandbox {
        Sandbox {
            netns: Some(self.netns.clone()),
            mount: Some(self.mount.clone()),
            cgroup: Some(self.group.path().into()),
            new_session: true,
            die_with_parent: false,
        }
    }

    /// The agent's configuration: the one of a cluster's ConfigMap, but for the control group.
    pub(crate) fn config(&self) -> Value {
        json!({
            "cluster": "test",
            "controllers": [format!("{}:9640", Lan::OUTSIDE[0])],
            "serviceAccount": { "token": "/run/secrets/causeway/token", "roots": "/run/secrets/causeway/ca.crt" },
            "cgroup": self.group.path(),
        })
    }

    /// Starts an agent and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.start_with(&self.config(), &self.place());
    }

    pub(crate) fn start_with(&mut self, config: &Value, place: &Sandbox) {
        fs::write(self.folder.join("run/agent.yaml"), config.to_string()).unwrap();
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["agent", &format!("n{}", self.number)]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(sandbox::spawn(command, place).unwrap());
        let begun = Instant::now();
        while !self.status().is_some_and(|status| status.ready) {
            let agent = self.agent.as_mut().unwrap();
            assert!(agent.try_wait().unwrap().is_none(), "the agent ended");
            let id = agent.id();
            assert!(
                begun.elapsed() < LONG,
                "n{} is not ready: {:?}\n{}",
                self.number,
                self.status(),
                threads_of(id)
            );
            #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the agent, and nothing else.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Takes note of an agent that was killed together with others.
    pub(crate) fn bury_agent(&mut self) {
        self.agent.take().expect("it ran").wait().unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("run/agent.sock")
    }

    pub(crate) fn status(&self) -> Option<AgentStatus> {
        runtime().block_on(serve::client::get(&self.socket(), "/v1/status")).ok()
    }

    /// Asks as the CNI plugin does that a container runtime calls.
    pub(crate) fn cni(&self, verb: &str, container: &str, netns: &str) -> Value {
        let request = CniRequest {
            command: verb.into(),
            container_id: container.into(),
            netns: netns.into(),
            ifname: "eth0".into(),
            args: String::new(),
            config: json!({ "cniVersion": "1.1.0", "name": "causeway", "type": "causeway" }),
        };
        match runtime().block_on(serve::client::post(&self.socket(), "/v1/cni", &request)).unwrap() {
            CniResponse::Result(result) => result,
            CniResponse::Error { msg, details, .. } => panic!("{verb}: {msg}: {details}"),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn address(netns: &Netns, device: &str, ips: [&str; 2]) {
    run_in(netns, &format!("ip addr add {}/24 dev {device}", ips[0]));
    run_in(netns, &format!("ip addr add {}/64 dev {device} nodad", ips[1]));
}

/// Runs a program in a namespace and gives its standard output; panics with what it said when it fails.
pub(crate) fn run_in(netns: &Netns, line: &str) -> String {
    let output = try_in(netns, line);
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program in a namespace, and lets it fail.
pub(crate) fn try_in(netns: &Netns, line: &str) -> std::process::Output {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    netns.run(|| command.output()).unwrap().unwrap_or_else(|e| panic!("`{line}`: {e}; is it installed?"))
}

/// A program of the test's own that runs.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(place: &Sandbox, args: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = sandbox::spawn(command, place).unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// The next line it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_string()
    }

    /// Ends its input, and waits for its last word.
    pub(crate) fn finish(mut self) -> String {
        drop(self.input.take());
        self.line()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// Serves there, from now on.
pub(crate) fn serve(place: &Sandbox) -> Program {
    let mut server = Program::start(place, &["serve", &PORT.to_string()]);
    assert_eq!(server.line(), "serving");
    server
}

/// Whom the server at this address sees when somebody here calls.
pub(crate) fn seen(from: &Sandbox, to: &str) -> String {
    let ip: IpAddr = to.parse().unwrap();
    seen_at(from, &std::net::SocketAddr::new(ip, PORT).to_string())
}

/// The same, at an address with a port.
pub(crate) fn seen_at(from: &Sandbox, to: &str) -> String {
    Program::start(from, &["who-am-i", to]).line()
}

/// Speaks on so many connections from now on.
pub(crate) fn talk(from: &Sandbox, to: &str, count: usize) -> Program {
    let mut talker = Program::start(from, &["talk", to, &count.to_string()]);
    assert_eq!(talker.line(), "connected");
    talker
}

/// What a folder holds, with what is in its folders.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}

/// What the threads of a process are at, for somebody who wonders why it does nothing.
fn threads_of(process: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        format!("{}{}{}{}", read("comm"), read("stat"), read("syscall"), read("stack"))
    };
    tasks.map(of).collect()
}
