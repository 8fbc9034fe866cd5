//! Nodes behind NATs of each kind: which of them reach each other through the NATs, which by a relay, and over whom; and
//! what becomes of it when the relay is gone.

mod common;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{CAUSEWAY, Folder, good, items, status, until};
use lab::underlay::Control;
use serde_json::Value;

/// `near` is nearer to everybody than `far` is.
const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: hub
  id: 1
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes:
  - {name: near, region: near, zone: n}
  - {name: far, region: far, zone: f}
- name: home
  id: 2
  podCIDRs: ["10.2.0.0/16", "fd00:2::/48"]
  serviceCIDRs: ["10.102.0.0/16", "fd00:102::/112"]
  nodes:
  - {name: cone, region: cone, zone: c, nat: full-cone}
  - {name: port-a, region: port-a, zone: p, nat: port-restricted}
  - {name: sym-a, region: sym-a, zone: s, nat: symmetric}
- name: shop
  id: 3
  nat: port-restricted
  podCIDRs: ["10.3.0.0/16", "fd00:3::/48"]
  serviceCIDRs: ["10.103.0.0/16", "fd00:103::/112"]
  nodes:
  - {name: port-b, region: port-b, zone: p}
  - {name: sym-b, region: sym-b, zone: s, nat: symmetric}
links:
- {between: [hub/near, home], rtt: 6ms}
- {between: [hub/near, shop], rtt: 6ms}
- {between: [hub/far, home], rtt: 30ms}
- {between: [hub/far, shop], rtt: 30ms}
- {between: [home, shop], rtt: 8ms}
"#;

/// Each pair of nodes, and which way it goes.
fn ways() -> BTreeMap<String, String> {
    let output =
        Command::new(CAUSEWAY).args(["graph", "--lab", "-o", "json"]).output().expect("run causeway");
    let graph: Value = serde_json::from_slice(&output.stdout).expect("the graph is JSON");
    let end = |tunnel: &Value, end: &str| {
        tunnel[end].as_str().and_then(|name| name.rsplit('/').next()).expect("a node").to_string()
    };
    let way = |tunnel: &Value| {
        let path = tunnel["path"].as_str().expect("a path");
        match tunnel["relay"].as_str() {
            Some(relay) => format!("{path} {}", relay.rsplit('/').next().expect("a node")),
            None => path.to_string(),
        }
    };
    items(&graph, "tunnels")
        .iter()
        .map(|tunnel| (format!("{} {}", end(tunnel, "a"), end(tunnel, "b")), way(tunnel)))
        .collect()
}

/// The same as somebody expects it, but for pairs that everybody can dial.
fn expect(told: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut ways = ways();
    ways.retain(|pair, _| !pair.contains("near") && !pair.contains("far"));
    let expected: BTreeMap<String, String> =
        told.iter().map(|(pair, way)| (pair.to_string(), way.to_string())).collect();
    assert_eq!(ways, expected);
    ways
}

fn all_alive(status: &Value) -> bool {
    let others = items(status, "nodes").len() - 1;
    items(status, "nodes").iter().all(|node| {
        let tunnels = items(node, "tunnels");
        tunnels.len() == others && tunnels.iter().all(|tunnel| tunnel["alive"] == true)
    })
}

/// Fifty echo requests a second to a node, each with so many bytes, never in fragments.
fn stream(from: &str, to: &str, count: u32, bytes: u32) -> Child {
    let [count, bytes] = [count, bytes].map(|n| n.to_string());
    Command::new(CAUSEWAY)
        .args(["lab", "exec", from, "--", "ping", "-nq", "-M", "do", "-i", "0.02", "-W", "1"])
        .args(["-c", &count, "-s", &bytes, to])
        .stdout(Stdio::piped())
        .spawn()
        .expect("run causeway")
}

/// How many of them were answered.
fn answered(stream: Child) -> u32 {
    counts(stream)[1]
}

/// No more of them are sent; how many were, and how many were answered.
fn stopped(stream: Child) -> [u32; 2] {
    let told = Command::new("kill").args(["-INT", &stream.id().to_string()]).status().expect("run kill");
    assert!(told.success());
    counts(stream)
}

/// What ping says in the end: `300 packets transmitted, 297 received, …`.
fn counts(stream: Child) -> [u32; 2] {
    let said = stream.wait_with_output().expect("ping ends").stdout;
    let said = String::from_utf8_lossy(&said);
    [" packets transmitted", " received"].map(|word| {
        let count = said.split(word).next().and_then(|before| before.rsplit([' ', '\n']).next());
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    })
}

/// A node's own address in the mesh.
fn mesh_ip(status: &Value, node: &str) -> String {
    let node = items(status, "nodes").iter().find(|one| one["name"] == node).expect("the node is there");
    let range = node["podCIDRs"][0].as_str().expect("a range");
    range.split_once(".0/").map(|(network, _)| format!("{network}.1")).expect("a /24")
}

#[test]
fn nats() {
    let folder = Folder::new("nat");
    let file = folder.write("lab.yaml", LAB);
    let begun = Instant::now();
    good(&["up", "--file", &file]);
    println!("up after {:.1} s", begun.elapsed().as_secs_f64());
    until("everybody reaches everybody", all_alive);
    println!("everybody reaches everybody after {:.1} s", begun.elapsed().as_secs_f64());
    // A symmetric NAT has another port for everybody, which nobody can tell to one that lets in whom it knows by port.
    let expected = [
        ("cone port-a", "punched"),
        ("cone port-b", "punched"),
        ("cone sym-a", "punched"),
        ("cone sym-b", "punched"),
        ("port-a port-b", "punched"),
        ("port-a sym-a", "relay near"),
        ("port-a sym-b", "relay near"),
        ("sym-a port-b", "relay near"),
        ("port-b sym-b", "relay near"),
        ("sym-a sym-b", "relay near"),
    ];
    let is_so = |_: &Value| {
        let ways = ways();
        expected.iter().all(|(pair, way)| ways.get(*pair).is_some_and(|found| found == way))
    };
    until("each pair goes the best way there is", is_so);
    println!("each by its best way after {:.1} s", begun.elapsed().as_secs_f64());
    expect(&expected);

    // 1500 on the wire are 1420 inside: 1392 and the headers of ICMP and IPv4. No way takes more of it than another.
    let status = status();
    let ip = mesh_ip(&status, "sym-b");
    for (from, to) in [("sym-a", "sym-b"), ("port-a", "port-b"), ("sym-b", "cone")] {
        let answered = answered(stream(from, &mesh_ip(&status, to), 50, 1_392));
        assert!(answered >= 49, "{from} to {to}: {answered} of 50");
    }

    // The relay loses its power; another one takes over.
    let pings = stream("sym-a", &ip, 300, 56);
    good(&["kill", "near"]);
    let answered = answered(pings);
    println!("relay killed: {} of 300 lost, 50 a second", 300 - answered);
    // Two seconds, for a busy machine.
    assert!(answered >= 200, "{answered} of 300");
    until("the other relay carries", |_| ways().get("sym-a sym-b").is_some_and(|way| way == "relay far"));

    // It comes back, and is taken again without a loss.
    let pings = stream("sym-a", &ip, 10_000, 56);
    good(&["start", "near"]);
    until("the nearer relay carries again", |_| {
        ways().get("sym-a sym-b").is_some_and(|way| way == "relay near")
    });
    // And two seconds more.
    let later = self::answered(stream("sym-a", &ip, 100, 56));
    let [sent, answered] = stopped(pings);
    println!("relay back: {} of {sent} lost, then {} of 100", sent - answered, 100 - later);
    // The last one may be on its way.
    assert!(sent - answered <= 3 && later >= 98, "{answered} of {sent}, {later} of 100");

    // All NATs are switched off and on: nobody is any more where others see it.
    let ways_to = [("sym-a", "sym-b"), ("port-a", "port-b"), ("sym-a", "near")];
    let pings: Vec<Child> =
        ways_to.iter().map(|(from, to)| stream(from, &mesh_ip(&status, to), 300, 56)).collect();
    underlay().forget_mappings().expect("the underlay answers");
    for ((from, to), pings) in ways_to.iter().zip(pings) {
        let answered = self::answered(pings);
        println!("NATs forgot, {from} to {to}: {} of 300 lost, 50 a second", 300 - answered);
        assert!(answered >= 200, "{from} to {to}: {answered} of 300");
    }
    until("each pair goes the best way there is, again", is_so);
}

/// The lab's underlay.
fn underlay() -> Control {
    Control::new("/run/causeway-lab/underlay.sock")
}
