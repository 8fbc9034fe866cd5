//! Keys in a lab: nodes change them, and the generations of their pre-shared keys, while numbered packets flow both ways, in
//! both families, over gateways and without, and none is lost; what pods say is never seen in the clear on any wire, whatever starts, ends or changes; and the key of a node
//! that is gone is refused at once. Needs root and tcpdump, and nobody else's lab; so this is one test.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster::manifest::{Id, Kind};
use cluster::standalone::Store;
use common::flows::{Flows, MARK, Talk, netns};
use common::nodes::{capture, lead, pod};
use common::{CAUSEWAY, Folder, good, items, status, until};
use model::PublicKey;
use serde_json::Value;

const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
mesh: {granularity: location}
presharedKeys: required
clusters:
- name: home
  id: 1
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes:
  - {name: e1, region: east, zone: e-a}
  - {name: e2, region: east, zone: e-b}
  - {name: e3, region: east, zone: e-c}
  - {name: w1, region: west, zone: w-a}
  manifests: [pods.yaml]
"#;

const NODES: [&str; 4] = ["e1", "e2", "e3", "w1"];
const PODS: [&str; 3] = ["e1", "e3", "w1"];

/// Listens on a node's wire.
struct Wire {
    node: String,
    tcpdump: Child,
    /// Bytes that passed, and how often the mark was among them.
    heard: Arc<(AtomicU64, AtomicU64)>,
}

impl Wire {
    fn listen(node: &str) -> Self {
        let mut tcpdump = capture(node);
        let mut packets = tcpdump.stdout.take().expect("its output");
        let heard = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let counts = heard.clone();
        thread::spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            let mut kept = 0;
            while let Ok(read @ 1..) = packets.read(&mut bytes[kept..]) {
                counts.0.fetch_add(read as u64, Ordering::Relaxed);
                let there = kept + read;
                let marks = bytes[..there].windows(MARK.len()).filter(|window| *window == MARK).count();
                counts.1.fetch_add(marks as u64, Ordering::Relaxed);
                // A mark may be cut in two by the next read; one byte less than a whole one is kept.
                kept = there.min(MARK.len() - 1);
                bytes.copy_within(there - kept..there, 0);
            }
        });
        Self { node: node.into(), tcpdump, heard }
    }

    fn marks(&self) -> u64 {
        self.heard.1.load(Ordering::Relaxed)
    }

    /// It hears what is said in the clear by somebody else.
    fn prove(&self, to: IpAddr) {
        let here = netns(&format!("cwn_home_{}", self.node));
        let socket = here.run(|| UdpSocket::bind(("0.0.0.0", 0))).expect("netns").expect("bind");
        let until = Instant::now() + Duration::from_secs(10);
        while self.marks() == 0 {
            assert!(Instant::now() < until, "{}: tcpdump hears nothing", self.node);
            socket.send_to(MARK, (to, 9)).expect("send");
            #[expect(clippy::disallowed_methods, reason = "tcpdump has no event to await")]
            thread::sleep(Duration::from_millis(20));
        }
        // As many as it sent come, and no more.
        #[expect(clippy::disallowed_methods, reason = "tcpdump has no event to await")]
        thread::sleep(Duration::from_millis(200));
        self.heard.1.store(0, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

fn unheard(wires: &[Wire], what: &str) {
    for wire in wires {
        let bytes = wire.heard.0.load(Ordering::Relaxed);
        assert_eq!(wire.marks(), 0, "{what}: pods' words in the clear on {}'s wire", wire.node);
        assert!(bytes > 10_000, "{what}: {} heard {bytes} bytes only", wire.node);
    }
}

fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    items(status, "nodes").iter().find(|node| node["name"] == name).expect("the node is there")
}

/// The process on a node whose command line has this word.
fn process(node: &str, word: &str) -> Option<String> {
    let netns = format!("cwn_home_{node}");
    let pids = Command::new("ip").args(["netns", "pids", &netns]).output().expect("run ip");
    let pids = String::from_utf8_lossy(&pids.stdout).into_owned();
    let is_meant = |pid: &&str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(word.as_bytes())
    };
    pids.lines().find(is_meant).map(String::from)
}

fn kill(node: &str, word: &str) {
    let pid = process(node, word).unwrap_or_else(|| panic!("no {word} runs on {node}"));
    assert!(Command::new("kill").args(["-9", &pid]).status().expect("run kill").success());
}

fn causeway(args: &[&str]) -> Value {
    let output = Command::new(CAUSEWAY).args(args).output().expect("run causeway");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", said(&output.stdout), said(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn keys() -> BTreeMap<String, PublicKey> {
    let all = causeway(&["keys", "show", "--cluster", "home", "-o", "json"]);
    let key = |node: &Value| node["publicKey"].as_str().and_then(|key| key.parse().ok()).expect("a key");
    let name = |node: &Value| node["node"].as_str().expect("a name").to_string();
    all.as_array().expect("a list").iter().map(|node| (name(node), key(node))).collect()
}

/// The file of a generation of pre-shared keys on a node.
fn generation(node: &str, number: u32) -> PathBuf {
    Path::new("/run/causeway-lab/nodes/home").join(node).join("lib/preshared-keys").join(number.to_string())
}

/// What a node's agent says of itself.
fn problems(node: &str) -> String {
    let socket = Path::new("/run/causeway-lab/nodes/home").join(node).join("run/agent.sock");
    let status = Command::new(CAUSEWAY).args(["status", "-o", "json", "--socket"]).arg(socket).output();
    String::from_utf8_lossy(&status.expect("run causeway").stdout).into_owned()
}

fn new_generation() -> Vec<u8> {
    let output =
        Command::new(CAUSEWAY).args(["keys", "preshared", "2", "--bare"]).output().expect("run causeway");
    assert!(output.status.success());
    output.stdout
}

/// Of each node, whether it holds so many generations and uses its newest with all others.
fn uses(held: usize) -> BTreeMap<String, bool> {
    let all = causeway(&["keys", "show", "--cluster", "home", "-o", "json"]);
    let one = |node: &Value| {
        let (ids, shared) = (node["generations"].as_array().expect("a list"), &node["preshared"]);
        let with = serde_json::json!([{"generation": ids.first(), "nodes": NODES.len() - 1}]);
        let newest = ids.len() == held && shared["with"] == with && shared["withoutNodes"] == 0;
        (node["node"].as_str().expect("a name").to_string(), newest)
    };
    all.as_array().expect("a list").iter().map(one).collect()
}

/// What a node's tunnel says of itself.
fn device(node: &str) -> String {
    let socket = Path::new("/run/causeway-lab/nodes/home").join(node).join("wireguard/cw0.sock");
    let mut stream = UnixStream::connect(&socket).unwrap_or_else(|e| panic!("{}: {e}", socket.display()));
    stream.write_all(b"get=1\n\n").expect("ask");
    let mut answer = String::new();
    stream.shutdown(std::net::Shutdown::Write).expect("that is all");
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn knows(node: &str, key: &PublicKey) -> bool {
    device(node).contains(&key.to_hex())
}

#[test]
fn keys_change_and_go() {
    let folder = Folder::new("keys");
    folder.write("pods.yaml", &PODS.map(|node| pod(node, "sleep, infinity")).concat());
    good(&["up", "--file", &folder.write("lab.yaml", LAB)]);
    let begun = status();
    let pods = items(&begun, "pods");
    let underlay = |name: &str| -> IpAddr {
        let tunnels = items(&begun, "nodes").iter().flat_map(|node| items(node, "tunnels"));
        let mut to = tunnels.filter(|tunnel| tunnel["peer"] == format!("home/{name}").as_str());
        let endpoint = to.find_map(|tunnel| tunnel["endpoint"].as_str()).expect("an endpoint");
        endpoint.parse::<SocketAddr>().expect("an address").ip()
    };
    let mut wires: Vec<Wire> = NODES.iter().map(|node| Wire::listen(node)).collect();
    for wire in &wires {
        wire.prove(underlay(if wire.node == "e1" { "e2" } else { "e1" }));
    }
    for wire in &wires {
        wire.heard.1.store(0, Ordering::Relaxed);
    }
    let flows = Flows::begin(pods);
    flows.await_all("everybody reaches everybody");
    let of = |name: &str| pods.iter().find(|pod| pod["name"] == name).expect("the pod is there");
    let talks = [Talk::begin(of("on-e3"), of("on-w1"), true), Talk::begin(of("on-w1"), of("on-e1"), false)];
    flows.go_on(Duration::from_secs(1));

    // All keys, one after the other.
    let (before, since, asked) = (keys(), flows.sent(), Instant::now());
    let rotated = causeway(&["keys", "rotate", "--all", "--cluster", "home", "-o", "json"]);
    let took = asked.elapsed();
    let changed = rotated.as_array().expect("a list");
    assert!(changed.len() == NODES.len() && changed.iter().all(|node| node["rotated"] == true), "{rotated}");
    until("the old keys are nobody's", |_| {
        NODES.iter().all(|node| NODES.iter().all(|other| other == node || !knows(other, &before[*node])))
    });
    let (sent, lost) = flows.lost(since);
    assert_eq!(lost, Vec::<String>::new(), "of {sent} of each flow, while keys changed");
    let all = sent * flows.names.len() as u64;
    println!("everybody had everybody's new key after {took:?}; {all} packets, none lost");
    unheard(&wires, "keys changed");
    assert!(before.iter().all(|(node, old)| keys()[node] != *old));
    for talk in talks {
        let longest = talk.end();
        println!("the longest that a TCP connection waited for an answer: {longest:?}");
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    }

    // All at once.
    let (before, since) = (keys(), flows.sent());
    causeway(&["keys", "rotate", "--all", "--timeout", "0", "--cluster", "home", "-o", "json"]);
    until("all keys have changed", |_| {
        let is_old = |node: &&str| before.values().any(|old| device(node).contains(&old.to_hex()));
        keys().iter().all(|(node, key)| before[node] != *key) && !NODES.iter().any(is_old)
    });
    let (sent, lost) = flows.lost(since);
    assert_eq!(lost, Vec::<String>::new(), "of {sent} of each flow, while all keys changed at once");
    unheard(&wires, "all keys changed at once");

    // Another generation of pre-shared keys, which each node gets at another time; then the first one goes.
    let since = flows.sent();
    let second = new_generation();
    for node in NODES {
        std::fs::write(generation(node, 2), &second).expect("write it");
        flows.go_on(Duration::from_millis(700));
    }
    until("everybody uses the second generation with everybody", |_| uses(2).values().all(|all| *all));
    NODES.iter().for_each(|node| std::fs::remove_file(generation(node, 1)).expect("remove it"));
    until("the first one is nobody's", |_| uses(1).values().all(|all| *all));
    let (sent, lost) = flows.lost(since);
    assert_eq!(lost, Vec::<String>::new(), "of {sent} of each flow, while pre-shared keys changed");
    unheard(&wires, "pre-shared keys changed");

    // One that has another one alone is refused, and found again.
    std::fs::rename(generation("w1", 2), generation("w1", 2).with_extension("draft")).expect("rename it");
    std::fs::write(generation("w1", 3), new_generation()).expect("write it");
    let key = keys()["w1"];
    until("nobody that would have a tunnel to it has", |_| {
        let is_refused = |node: &&str| !knows(node, &key) && problems(node).contains("have no tunnel here");
        ["e1", "e2"].iter().all(is_refused)
    });
    unheard(&wires, "a node was refused");
    std::fs::rename(generation("w1", 2).with_extension("draft"), generation("w1", 2)).expect("rename it");
    flows.await_all("it has the others' generation again");

    // One key alone. The agent is killed meanwhile; the tunnel goes on, and the agent goes on with the key.
    let key = keys()["e3"];
    let since = flows.sent();
    causeway(&["keys", "rotate", "e3", "--timeout", "0", "--cluster", "home", "-o", "json"]);
    let next = Path::new("/run/causeway-lab/nodes/home/e3/lib/next.key");
    until("it has a next key", |_| next.exists());
    let mode = std::fs::metadata(next).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    kill("e3", "agent");
    let pid = &node(&begun, "e3")["agent"]["pid"];
    until("its agent is back", |status| {
        let agent = &node(status, "e3")["agent"];
        agent["ready"] == true && agent["pid"] != *pid
    });
    until("its key has changed all the same", |_| keys()["e3"] != key && !next.exists());
    let (sent, lost) = flows.lost(since);
    assert_eq!(lost, Vec::<String>::new(), "of {sent}, while an agent was killed");
    unheard(&wires, "an agent was killed");

    // A tunnel is killed, and comes back.
    kill("e1", "wireguard");
    flows.go_on(Duration::from_millis(500));
    flows.await_all("after a tunnel was killed");
    unheard(&wires, "a tunnel was killed");

    // Another node carries the location's traffic.
    let store = Store::open("/run/causeway-lab/clusters/home/store").expect("the cluster's objects");
    let id = |node: &str| Id::new(Kind::Node, "", node);
    for leaders in [["false", "true"], ["true", "false"]] {
        for (node, leader) in ["e1", "e2"].iter().zip(leaders) {
            lead(node, Some(leader));
        }
        flows.go_on(Duration::from_millis(500));
        flows.await_all("after gateways changed");
    }
    unheard(&wires, "gateways changed");

    // A node loses its power, and comes back.
    wires.retain(|wire| wire.node != "e2");
    good(&["kill", "home/e2"]);
    flows.go_on(Duration::from_secs(1));
    good(&["start", "home/e2"]);
    until("the node is back", |status| node(status, "e2")["agent"]["ready"] == true);
    flows.await_all("a node is back");
    unheard(&wires, "a node was away");

    // A node is gone: its key is refused, and what it says by the sessions that it had.
    let gone = keys()["w1"];
    let removed = Instant::now();
    store.delete(&id("w1")).expect("delete it");
    let others = ["e1", "e2", "e3"];
    while others.iter().any(|node| knows(node, &gone)) {
        assert!(removed.elapsed() < Duration::from_secs(5), "its key is still believed");
    }
    let took = removed.elapsed();
    println!("the key of a node that was removed was refused everywhere after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let since = flows.sent() + 1;
    flows.go_on(Duration::from_millis(500));
    let come = flows.come.lock().expect("no panic");
    let heard: Vec<&String> = flows
        .names
        .iter()
        .zip(come.iter())
        .filter(|(name, come)| name.contains("on-w1") && come.range(since..).count() > 0)
        .map(|(name, _)| name)
        .collect();
    assert!(heard.is_empty(), "{heard:?} go on");
    drop(come);
    unheard(&wires, "a node was removed");
}
