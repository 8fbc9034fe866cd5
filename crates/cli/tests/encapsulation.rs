//! Two locations in which everything is encrypted, and then nothing, with each way of it: everybody reaches everybody, in both
//! families; what pods say is heard in the clear between neighbours alone; and connections go on while the setting is changed under them. Needs
//! root and tcpdump, and nobody else's lab; so this is one test.

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::flows::{Flows, MARK, Talk, addresses};
use common::nodes::{capture, gateway_to, graph, lead, mesh_ips, pod, reach, strings};
use common::{Folder, good, items, until};
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

/// The UDP port of VXLAN.
const VXLAN: [u8; 2] = 4789_u16.to_be_bytes();

/// What is heard of pods' words in the clear: the frame's ends, and whether it was in VXLAN.
type Heard = Arc<Mutex<BTreeMap<([u8; 6], [u8; 6], bool), u64>>>;

/// Listens on a node's wire.
struct Wire {
    tcpdump: Child,
    heard: Heard,
}

impl Wire {
    fn listen(node: &str) -> Self {
        let mut tcpdump = capture(node);
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
    let graph = graph();
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let pair = |tunnel: &Value| format!("{} {}", text(&tunnel["a"]), text(&tunnel["b"]));
    items(&graph, "tunnels").iter().map(|tunnel| (pair(tunnel), text(&tunnel["transport"]))).collect()
}

/// The gateways between two pods that are on nodes behind them are to be none, and then are again. What is lost.
fn gateways_change(pods: &[Value]) -> Vec<String> {
    let at = |name: &str| addresses(pods.iter().find(|pod| pod["name"] == name).expect("it is there"))[0];
    let ways = [("e3", at("on-w3")), ("w3", at("on-e3"))];
    let carriers = |status: &Value| ways.map(|(node, to)| gateway_to(status, node, to));
    let before = carriers(&common::status());
    let flows = Flows::begin(pods);
    flows.await_all("before gateways change");
    let since = flows.sent();
    before.iter().for_each(|gateway| lead(gateway, Some("false")));
    until("others carry", |status| carriers(status).iter().zip(&before).all(|(now, before)| now != before));
    before.iter().for_each(|gateway| lead(gateway, None));
    until("they carry what they carried", |status| carriers(status) == before);
    // Those that are last to go over are a second later than the nodes behind them.
    flows.go_on(Duration::from_millis(1_500));
    let (sent, lost) = flows.lost(since);
    println!("gateways changed twice: of {sent} packets of each flow were lost {lost:?}");
    lost
}

#[test]
fn inside_a_location_nothing_need_be_encrypted() {
    let folder = Folder::new("encapsulation");
    let file = folder.write("lab.yaml", LAB);
    folder.write("pods.yaml", &PODS.map(|node| pod(node, "sleep, infinity")).concat());
    good(&["up", "--file", &file]);
    until("everything is encrypted", |status| travels(status, "wireguard"));
    let status = common::status();
    let pods = items(&status, "pods");
    let everywhere: Vec<String> = items(&status, "nodes")
        .iter()
        .flat_map(mesh_ips)
        .chain(pods.iter().flat_map(|pod| strings(&pod["ips"])))
        .collect();
    assert_eq!(everywhere.len(), 2 * (NODES.len() + PODS.len()));
    let at = |name: &str| pods.iter().find(|pod| pod["name"] == name).expect("it is there");
    let ways = [("on-e3", "on-e1"), ("on-e3", "on-w3"), ("on-w3", "on-e1")];
    let ends = ways.iter().flat_map(|way| [(way, true), (way, false)]);
    let talks: Vec<Talk> = ends.map(|((from, to), v4)| Talk::begin(at(from), at(to), v4)).collect();
    let names = PODS.map(|node| format!("on-{node}"));
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
        let froms = NODES.iter().copied().chain(names.iter().map(String::as_str));
        reach(froms, &everywhere, &what);
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
        if inside == "vxlan" {
            // On a busy machine nodes may learn of it more than a second apart.
            let lost = (0..3).map(|_| gateways_change(pods)).find(Vec::is_empty);
            assert!(lost.is_some(), "packets were lost whenever gateways changed");
        }
    }
    for talk in talks {
        talk.end();
    }
}
