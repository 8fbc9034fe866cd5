//! Two locations in which everything is encrypted, and then nothing, with each way of it: everybody reaches everybody, in both
//! families; what pods say is heard in the clear between neighbours alone; and connections go on while the setting is changed under them. Needs
//! root and tcpdump, and nobody else's lab; so this is one test.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{CAUSEWAY, Folder, good, items, lab, until};
use kernel::netns::Netns;
use serde_json::Value;

const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
mesh: {granularity: location}
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
  - {name: w2, region: west, zone: w-b}
  - {name: w3, region: west, zone: w-c}
  manifests: [pods.yaml]
"#;

const NODES: [&str; 6] = ["e1", "e2", "e3", "w1", "w2", "w3"];
/// A gateway's, and two of nodes that are none.
const PODS: [&str; 3] = ["e1", "e3", "w3"];

/// Nobody says this by accident.
const MARK: &[u8] = b"causeway-said-by-a-pod-5d21e7";
const PORT: u16 = 7007;
const PACE: Duration = Duration::from_millis(5);
/// The UDP port of VXLAN.
const VXLAN: [u8; 2] = 4789_u16.to_be_bytes();

fn pod(node: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: on-{node}, namespace: demo}}\nspec:\n  nodeName: {node}\n  \
         terminationGracePeriodSeconds: 1\n  containers: [{{name: sleep, command: [sleep, infinity]}}]\n"
    )
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(String::from)).collect()
}

/// A node's own addresses in the mesh: the first ones of its ranges.
fn mesh_ips(node: &Value) -> Vec<String> {
    let first = |range: String| {
        let (network, _) = range.split_once('/').expect("a range");
        network.strip_suffix(".0").map_or_else(|| format!("{network}1"), |network| format!("{network}.1"))
    };
    strings(&node["podCIDRs"]).into_iter().map(first).collect()
}

/// Addresses that do not answer from there.
fn silent(from: &str, addresses: &[String]) -> String {
    let script = "for a in \"$@\"; do (ping -nqc 1 -W 3 $a >/dev/null || echo $a) & done; wait";
    let mut args = vec!["exec", from, "--", "sh", "-c", script, "sh"];
    args.extend(addresses.iter().map(String::as_str));
    let output = lab(&args);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn everybody_reaches(addresses: &[String], what: &str) {
    let pods = PODS.map(|node| format!("on-{node}"));
    let froms = NODES.iter().copied().chain(pods.iter().map(String::as_str));
    thread::scope(|scope| {
        let all: Vec<_> = froms.map(|from| (from, scope.spawn(move || silent(from, addresses)))).collect();
        for (from, missing) in all {
            assert_eq!(missing.join().expect("no panic"), "", "{what}: from {from}");
        }
    });
}

fn netns(name: &str) -> Netns {
    Netns::open(name).unwrap_or_else(|e| panic!("{e}"))
}

/// A TCP connection that says something and hears it again, for as long as it is not stopped; the longest silence.
struct Talk {
    name: String,
    stop: Arc<AtomicBool>,
    longest: Arc<Mutex<Duration>>,
    talk: thread::JoinHandle<()>,
}

impl Talk {
    fn begin(from: &Value, to: &Value, v4: bool, port: u16) -> Self {
        let ips = strings(&to["ips"]).into_iter().map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let ip = ips.into_iter().find(|ip| ip.is_ipv4() == v4).expect("of that family");
        let there = netns(to["netns"].as_str().expect("a namespace"));
        let listener = there.run(|| TcpListener::bind((ip, port))).expect("netns").expect("listen");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut answers = stream.try_clone().expect("the same stream");
            let _ = std::io::copy(&mut stream, &mut answers);
        });
        let here = netns(from["netns"].as_str().expect("a namespace"));
        let mut stream = here.run(|| TcpStream::connect((ip, port))).expect("netns").expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Duration::ZERO)));
        let (stopped, silence) = (stop.clone(), longest.clone());
        let talk = thread::spawn(move || {
            let mut answer = [0; MARK.len()];
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let heard = stream.write_all(MARK).and_then(|()| stream.read_exact(&mut answer));
                heard.expect("the stream goes on");
                let mut longest = silence.lock().expect("no panic");
                *longest = longest.max(asked.elapsed());
                drop(longest);
                #[expect(clippy::disallowed_methods, reason = "it has a pace")]
                thread::sleep(PACE);
            }
        });
        let name = format!("{} to {} at {ip}", from["name"], to["name"]);
        Self { name, stop, longest, talk }
    }

    /// The longest silence since this was last asked.
    fn silence(&self) -> Duration {
        std::mem::take(&mut *self.longest.lock().expect("no panic"))
    }
}

/// What is heard of pods' words in the clear: the frame's ends, and whether it was in VXLAN.
type Heard = Arc<Mutex<BTreeMap<([u8; 6], [u8; 6], bool), u64>>>;

/// Listens on a node's wire.
struct Wire {
    tcpdump: Child,
    heard: Heard,
}

impl Wire {
    fn listen(node: &str) -> Self {
        let mut tcpdump = Command::new("ip")
            .args(["netns", "exec", &format!("cwn_home_{node}")])
            .args(["tcpdump", "-i", "eth0", "--immediate-mode", "-U", "-s", "0", "-w", "-"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("run tcpdump");
        let mut file = tcpdump.stdout.take().expect("its output");
        let heard = Heard::default();
        let counts = heard.clone();
        // The file's header, and behind it records: the length of each is in its own header (pcap-savefile(5)).
        file.read_exact(&mut [0; 24]).expect("tcpdump listens");
        thread::spawn(move || {
            let mut header = [0; 16];
            while file.read_exact(&mut header).is_ok() {
                let length = u32::from_le_bytes(header[8..12].try_into().expect("4 bytes"));
                let mut frame = vec![0; length as usize];
                if file.read_exact(&mut frame).is_err() {
                    return;
                }
                if frame.windows(MARK.len()).any(|window| window == MARK) {
                    let mac = |at: usize| frame[at..at + 6].try_into().expect("6 bytes");
                    let key = (mac(6), mac(0), is_vxlan(&frame));
                    *counts.lock().expect("no panic").entry(key).or_default() += 1;
                }
            }
        });
        Self { tcpdump, heard }
    }

    fn take(&self) -> BTreeMap<([u8; 6], [u8; 6], bool), u64> {
        std::mem::take(&mut *self.heard.lock().expect("no panic"))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// Whether it is UDP to VXLAN's port.
fn is_vxlan(frame: &[u8]) -> bool {
    let (protocol, port) = match frame[12..14] {
        [0x08, 0x00] => (23, 14 + 20 + 2),
        _ => (20, 14 + 40 + 2),
    };
    frame[protocol] == 17 && frame[port..port + 2] == VXLAN
}

fn mac(node: &str) -> [u8; 6] {
    let output = Command::new("ip")
        .args(["-n", &format!("cwn_home_{node}"), "-j", "link", "show", "eth0"])
        .output()
        .expect("run ip");
    let links: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = links[0]["address"].as_str().expect("an address").to_string();
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte"));
    bytes.collect::<Vec<_>>().try_into().expect("6 bytes")
}

/// Has the controller hold another setting.
fn set(encryption: &str, encapsulate: &str) {
    let path = "/run/causeway-lab/clusters/home/run/controller.yaml";
    let text = std::fs::read_to_string(path).expect("the controller's configuration");
    let line = |line: &str| match line.trim_start().split_once(':').map(|(key, _)| key) {
        Some("encryption") => format!("  encryption: {encryption}\n"),
        Some("encapsulate") => format!("  encapsulate: {encapsulate}\n"),
        _ => format!("{line}\n"),
    };
    std::fs::write(path, text.lines().map(line).collect::<String>()).expect("write it");
    let is_controller = |pid: &str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&&b"controller"[..]) && words.contains(&&b"/run/causeway/controller.yaml"[..])
    };
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().into_string().ok());
    let pid = pids.find(|pid| is_controller(pid)).expect("a controller runs");
    assert!(Command::new("kill").arg(&pid).status().expect("run kill").success());
}

/// Whether packets between nodes of one location travel so, and all others encrypted.
fn travels(status: &Value, inside: &str) -> bool {
    let location = |name: &str| name.rsplit('/').next().and_then(|name| name.chars().next());
    items(status, "nodes").iter().all(|node| {
        let own = location(node["name"].as_str().expect("a name"));
        items(node, "tunnels").iter().all(|tunnel| {
            let same = location(tunnel["peer"].as_str().expect("a name")) == own;
            tunnel["transport"] == if same { inside } else { "wireguard" } && tunnel["alive"] == true
        })
    })
}

/// What `causeway graph` says of pairs of nodes.
fn drawn() -> Vec<(String, String)> {
    let output =
        Command::new(CAUSEWAY).args(["graph", "--lab", "-o", "json"]).output().expect("run causeway");
    let graph: Value = serde_json::from_slice(&output.stdout).expect("the graph is JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let pair = |tunnel: &Value| format!("{} {}", text(&tunnel["a"]), text(&tunnel["b"]));
    items(&graph, "tunnels").iter().map(|tunnel| (pair(tunnel), text(&tunnel["transport"]))).collect()
}

#[test]
fn inside_a_location_nothing_need_be_encrypted() {
    let folder = Folder::new("encapsulation");
    let file = folder.write("lab.yaml", LAB);
    folder.write("pods.yaml", &PODS.map(pod).concat());
    good(&["up", "--file", &file]);
    until("everything is encrypted", |status| travels(status, "wireguard"));
    let status = common::status();
    let pods = items(&status, "pods");
    let addresses: Vec<String> = items(&status, "nodes")
        .iter()
        .flat_map(mesh_ips)
        .chain(pods.iter().flat_map(|pod| strings(&pod["ips"])))
        .collect();
    assert_eq!(addresses.len(), 2 * (NODES.len() + PODS.len()));
    let at = |name: &str| pods.iter().find(|pod| pod["name"] == name).expect("it is there");
    let ways = [("on-e3", "on-e1"), ("on-e3", "on-w3"), ("on-w3", "on-e1")];
    let ends = ways.iter().flat_map(|way| [(way, true), (way, false)]);
    let talks: Vec<Talk> =
        (PORT..).zip(ends).map(|(port, ((from, to), v4))| Talk::begin(at(from), at(to), v4, port)).collect();
    let wires = NODES.map(Wire::listen);
    let macs: BTreeMap<[u8; 6], char> =
        NODES.iter().map(|node| (mac(node), node.chars().next().expect("a letter"))).collect();

    for (encryption, encapsulate, inside) in [
        ("all", "always", "wireguard"),
        ("mesh", "never", "plain"),
        // All nodes of a location of the lab are in one subnet.
        ("mesh", "crosssubnet", "plain"),
        ("mesh", "always", "vxlan"),
        ("all", "always", "wireguard"),
    ] {
        let what = format!("{encryption} {encapsulate}");
        if !travels(&common::status(), inside) || inside == "plain" {
            set(encryption, encapsulate);
        }
        until(&what, |status| travels(status, inside));
        let drawn = drawn();
        assert!(drawn.iter().any(|(_, transport)| transport == "wireguard"), "{drawn:?}");
        assert!(drawn.iter().any(|(_, transport)| transport == inside), "{drawn:?}");
        // What came before, and what was under way.
        #[expect(clippy::disallowed_methods, reason = "tcpdump has no event to await")]
        thread::sleep(Duration::from_millis(300));
        let before: Vec<_> = wires.iter().flat_map(Wire::take).collect();
        everybody_reaches(&addresses, &what);
        #[expect(clippy::disallowed_methods, reason = "packets are to flow for a while")]
        thread::sleep(Duration::from_millis(500));
        let since: Vec<_> = wires.iter().flat_map(Wire::take).collect();
        for ((from, to, _), frames) in before.iter().chain(&since) {
            let ends = [from, to].map(|mac| macs.get(mac));
            let same = ends[0].is_some() && ends[0] == ends[1];
            assert!(same, "{what}: {frames} frames in the clear that leave a location: {from:x?} {to:x?}");
        }
        let frames = |vxlan: bool| -> u64 {
            since.iter().filter(|((.., in_vxlan), _)| *in_vxlan == vxlan).map(|(_, frames)| frames).sum()
        };
        let (plain, vxlan) = (frames(false), frames(true));
        assert_eq!((plain > 0, vxlan > 0), (inside == "plain", inside == "vxlan"), "{what}: {plain} {vxlan}");
        for talk in &talks {
            let silence = talk.silence();
            println!("{what}: {} was silent for {silence:?} at most", talk.name);
            assert!(silence < Duration::from_secs(3), "{what}: {}: {silence:?}", talk.name);
        }
    }
    for talk in talks {
        talk.stop.store(true, Ordering::Relaxed);
        talk.talk.join().expect("the stream lived");
    }
}
