//! A mesh of locations: who has a tunnel to whom, everybody reaches everybody over the gateways, and a gateway that
//! stops carrying packets is replaced while they flow.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};

use common::{CAUSEWAY, Folder, good, items, lab, status, until};
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
  - {name: w2, region: west, zone: w-b, annotations: {kilo.squat.ai/leader: "false"}}
  - {name: w3, region: west, zone: w-c}
  manifests: [pods.yaml]
- name: far
  id: 2
  podCIDRs: ["10.2.0.0/16", "fd00:2::/48"]
  serviceCIDRs: ["10.102.0.0/16", "fd00:102::/112"]
  mesh: {granularity: full}
  nodes:
  - {name: f1, region: far, zone: f-a}
"#;

/// On a node that is no gateway.
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

/// Each node's peers, by their names.
fn peers(status: &Value) -> BTreeMap<String, String> {
    let of = |node: &Value| {
        let names = items(node, "tunnels").iter().filter_map(|tunnel| tunnel["peer"].as_str());
        let names: BTreeSet<&str> = names.filter_map(|name| name.rsplit('/').next()).collect();
        names.into_iter().collect::<Vec<_>>().join(" ")
    };
    let name = |node: &Value| node["name"].as_str().expect("a name").to_string();
    items(status, "nodes").iter().map(|node| (name(node), of(node))).collect()
}

/// The pairs that `causeway graph` draws.
fn drawn() -> BTreeSet<(String, String)> {
    let output =
        Command::new(CAUSEWAY).args(["graph", "--lab", "-o", "json"]).output().expect("run causeway");
    let graph: Value = serde_json::from_slice(&output.stdout).expect("the graph is JSON");
    let end = |tunnel: &Value, end: &str| {
        tunnel[end].as_str().and_then(|name| name.rsplit('/').next()).expect("a node").to_string()
    };
    items(&graph, "tunnels").iter().map(|tunnel| (end(tunnel, "a"), end(tunnel, "b"))).collect()
}

/// The same from nodes' own lists.
fn pairs(peers: &BTreeMap<String, String>) -> BTreeSet<(String, String)> {
    let ends = peers.iter().flat_map(|(a, others)| others.split(' ').map(move |b| (a.as_str(), b)));
    // As the graph has them: ordered by cluster first.
    let key = |name: &str| (if name.starts_with('f') { 0 } else { 1 }, name.to_string());
    ends.map(|(a, b)| if key(a) < key(b) { (a, b) } else { (b, a) })
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .collect()
}

/// Addresses that do not answer from there.
fn silent(from: &str, addresses: &[String]) -> String {
    let script = "for a in \"$@\"; do (ping -nqc 1 -W 3 $a >/dev/null || echo $a) & done; wait";
    let mut args = vec!["exec", from, "--", "sh", "-c", script, "sh"];
    args.extend(addresses.iter().map(String::as_str));
    let output = lab(&args);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Fifty echo requests a second.
fn stream(from: &str, to: &str) -> Child {
    Command::new(CAUSEWAY)
        .args(["lab", "exec", from, "--", "ping", "-nq", "-i", "0.02", "-c", "200", "-W", "1", to])
        .stdout(Stdio::piped())
        .spawn()
        .expect("run causeway")
}

/// How many of them were lost.
fn lost(stream: Child) -> u32 {
    let said = stream.wait_with_output().expect("ping ends").stdout;
    let said = String::from_utf8_lossy(&said);
    let received = said.split(" received").next().and_then(|before| before.rsplit(' ').next());
    200 - received.and_then(|count| count.parse::<u32>().ok()).unwrap_or_else(|| panic!("{said}"))
}

/// The process that is a node's tunnel.
fn tunnel_process(status: &Value, node: &str) -> String {
    let node = items(status, "nodes").iter().find(|one| one["name"] == node).expect("the node is there");
    let netns = node["netns"].as_str().expect("a namespace");
    let pids = Command::new("ip").args(["netns", "pids", netns]).output().expect("run ip");
    let pids = String::from_utf8_lossy(&pids.stdout).into_owned();
    let is_tunnel = |pid: &&str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"wireguard")
    };
    pids.lines().find(is_tunnel).expect("a tunnel in user space").to_string()
}

fn signal(pid: &str, signal: &str) {
    let sent = Command::new("kill").args([signal, pid]).status().expect("run kill");
    assert!(sent.success());
}

const NODES: [&str; 7] = ["e1", "e2", "e3", "w1", "w2", "w3", "f1"];

/// Whether a node that has given up a gateway, if it has, lets it carry traffic again.
fn trusts(node: &str, gateway: &str) -> bool {
    let log = good(&["logs", node, "--lines", "1000"]);
    let ends = format!("/{gateway}");
    let said = |what: &str| {
        log.lines().filter(|line| line.contains(what) && line.trim_end().ends_with(&ends)).count()
    };
    said("carries nothing") <= said("may carry traffic again")
}

#[test]
fn locations() {
    let folder = Folder::new("topologies");
    let file = folder.write("lab.yaml", LAB);
    folder.write("pods.yaml", &["e3", "w2"].map(pod).concat());
    good(&["up", "--file", &file]);

    // The gateways are e1 and e2, w1 and w3: not w2, whose annotation says no.
    let expected = [
        ("e1", "e2 e3 f1 w1 w3"),
        ("e2", "e1 e3 f1 w1 w3"),
        ("e3", "e1 e2"),
        ("w1", "e1 e2 f1 w2 w3"),
        ("w2", "w1 w3"),
        ("w3", "e1 e2 f1 w1 w2"),
        ("f1", "e1 e2 w1 w3"),
    ];
    let expected: BTreeMap<String, String> =
        expected.map(|(node, peers)| (node.to_string(), peers.to_string())).into();
    until("each has the peers that it ought to", |status| peers(status) == expected);
    assert_eq!(drawn(), pairs(&expected), "the graph is what the nodes have");
    let status = status();

    let nodes = items(&status, "nodes");
    let pods = items(&status, "pods");
    let everywhere: Vec<String> =
        nodes.iter().flat_map(mesh_ips).chain(pods.iter().flat_map(|pod| strings(&pod["ips"]))).collect();
    assert_eq!(everywhere.len(), 2 * (7 + 2));
    let froms = ["e1", "e2", "e3", "w1", "w2", "w3", "f1", "on-e3", "on-w2"];
    std::thread::scope(|scope| {
        let all: Vec<_> =
            froms.iter().map(|from| (from, scope.spawn(|| silent(from, &everywhere)))).collect();
        for (from, addresses) in all {
            assert_eq!(addresses.join().expect("no panic"), "", "from {from}");
        }
    });

    // Each of the gateways of a location stops, one after the other; the pods' packets go on by the other.
    let to: Vec<String> =
        pods.iter().filter(|pod| pod["name"] == "on-w2").flat_map(|pod| strings(&pod["ips"])).collect();
    for gateway in ["e1", "e2"] {
        let pid = tunnel_process(&status, gateway);
        let streams: Vec<Child> = to.iter().map(|ip| stream("on-e3", ip)).collect();
        signal(&pid, "-STOP");
        let lost: Vec<u32> = streams.into_iter().map(lost).collect();
        signal(&pid, "-CONT");
        // A second of them would be 50; a busy machine gets twice that.
        assert!(lost.iter().all(|lost| *lost <= 100), "{gateway} stopped: {lost:?} lost");
        // Else the next one that stops leaves nobody who is trusted.
        until("whoever has given it up trusts it again", |_| NODES.iter().all(|node| trusts(node, gateway)));
        until("everybody reaches everybody again", |status| {
            items(status, "nodes")
                .iter()
                .all(|node| items(node, "tunnels").iter().all(|tunnel| tunnel["alive"] == true))
        });
        // It has to answer for three seconds before it is a gateway again; that costs less.
        let streams: Vec<Child> = to.iter().map(|ip| stream("on-e3", ip)).collect();
        let lost: Vec<u32> = streams.into_iter().map(self::lost).collect();
        assert!(lost.iter().all(|lost| *lost <= 50), "{gateway} is back: {lost:?} lost");
    }
}
