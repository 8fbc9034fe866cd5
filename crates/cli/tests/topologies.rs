//! A mesh of locations: who has a tunnel to whom, everybody reaches everybody over the gateways, gateways change while packets
//! flow and none is lost, and one that stops carrying packets is replaced.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::flows::{Flows, Talk, addresses};
use common::nodes::{gateway_to, graph, lead, mesh_ips, pod, reach, strings};
use common::traffic::{load, samples};
use common::{Folder, good, items, status, until};
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
  - {name: e3, region: east, zone: e-c, annotations: {causeway.io/leader: "false"}}
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
    let graph = graph();
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
    folder.write(
        "pods.yaml",
        &["e3", "w2"].map(|node| pod(node, "causeway, echo, --listen, \":8080\"")).concat(),
    );
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
    reach(froms.into_iter(), &everywhere, "at first");

    let pod = |name: &str| pods.iter().find(|pod| pod["name"] == name).expect("the pod is there");
    let (near, far) = (pod("on-e3"), pod("on-w2"));
    let address = addresses(far)[0];
    let back = addresses(near)[0];
    let gateways = [gateway_to(&status, "e3", address), gateway_to(&status, "w2", back)];
    let gateways = [gateways[0].as_str(), gateways[1].as_str()];
    let flows = Flows::begin(pods);
    let talks: Vec<Talk> = (0..20).map(|n| Talk::begin(near, far, n % 2 == 0)).collect();
    let load = |seconds| load("on-e3", &format!("http://{address}:8080/"), 200, Duration::from_secs(seconds));

    // Both locations' gateways between the two pods are to be none, and then are again.
    let (since, requests) = (flows.sent(), load(20));
    gateways.iter().for_each(|gateway| lead(gateway, Some("false")));
    until("they are gateways no more", |status| {
        let peers = peers(status);
        gateways.iter().all(|gateway| !peers["f1"].split(' ').any(|peer| peer == *gateway))
    });
    gateways.iter().for_each(|gateway| lead(gateway, None));
    until("they carry what they carried", |status| {
        gateway_to(status, "e3", address) == gateways[0] && gateway_to(status, "w2", back) == gateways[1]
    });
    until("each has the peers that it had", |status| peers(status) == expected);
    let samples = samples(requests);
    let (sent, lost) = flows.lost(since);
    assert_eq!(lost, Vec::<String>::new(), "of {sent} of each flow, while gateways changed");
    let failed: Vec<_> = samples.iter().filter(|sample| sample["outcome"] != "ok").collect();
    assert!(failed.is_empty(), "{failed:?} of {} while gateways changed", samples.len());
    println!(
        "gateways changed twice: 0 of {} packets and 0 of {} connections lost",
        sent * flows.names.len() as u64,
        samples.len()
    );

    // One stops carrying packets, and is back.
    let pid = tunnel_process(&status, gateways[0]);
    let requests = load(5);
    flows.go_on(Duration::from_millis(500));
    let (stopped, since) = (SystemTime::now(), flows.sent());
    signal(&pid, "-STOP");
    let samples = self::samples(requests);
    let (_, lost) = flows.lost(since);
    signal(&pid, "-CONT");
    let stopped = stopped.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let wrong =
        samples.iter().filter(|sample| sample["outcome"] != "ok" || sample["ms"].as_f64() > Some(900.0));
    let wrong: Vec<f64> = wrong.filter_map(|sample| Some(sample["at"].as_f64()? - stopped)).collect();
    println!(
        "a gateway stopped: {lost:?} packets lost of 200 a second; connections that were slow or failed: {wrong:?} s after it"
    );
    // Out within a second; a busy machine gets twice that.
    assert!(wrong.iter().all(|at| (-1.0..2.0).contains(at)), "{wrong:?}");
    let since = flows.sent();
    until("whoever has given it up trusts it again", |_| NODES.iter().all(|node| trusts(node, gateways[0])));
    until("everybody reaches everybody again", |status| {
        let tunnels = items(status, "nodes").iter().flat_map(|node| items(node, "tunnels"));
        tunnels.into_iter().all(|tunnel| tunnel["alive"] == true)
    });
    until("it carries what it carried", |status| gateway_to(status, "e3", address) == gateways[0]);
    flows.go_on(Duration::from_secs(2));
    let (sent, lost) = flows.lost(since);
    assert_eq!(lost, Vec::<String>::new(), "of {sent} of each flow, while it came back");

    let longest = talks.into_iter().map(Talk::end).max().expect("there are some");
    println!("the longest that a connection waited for an answer: {longest:?}");
    assert!(longest < Duration::from_secs(4), "{longest:?}");

    // One forwards badly: it loses packets of others, and none of its own. All that it carried goes by the other, and once it
    // does nothing is lost.
    let rule = "numgen random mod 100 < 30 drop";
    let chain = "add table inet bad; add chain inet bad f {type filter hook forward priority 0;}";
    let change = |what: &str| good(&["exec", gateways[0], "--", "nft", what]);
    change(&format!("{chain}; add rule inet bad f iifname cw0 oifname cw0 {rule}"));
    let begun = Instant::now();
    let about = format!("{} forwards badly", gateways[0]);
    let says = |node: &&str| good(&["logs", node, "--lines", "1000"]).contains(&about);
    let relieved = |status: &Value| {
        let senders = [("e3", address), ("f1", back), ("w1", back), ("w3", back)];
        let by = senders.map(|(node, to)| gateway_to(status, node, to));
        by.iter().all(|gateway| gateway != gateways[0])
    };
    until("some goes by others", |_| NODES.iter().any(says));
    until("nothing goes by it", relieved);
    println!("a gateway that lost packets was relieved of all after {:?}", begun.elapsed());
    flows.go_on(Duration::from_millis(100));
    let since = flows.sent();
    flows.go_on(Duration::from_secs(1));
    let (sent, lost) = flows.lost(since);
    assert_eq!(lost, Vec::<String>::new(), "of {sent} of each flow, while others carry");
    change("delete table inet bad");
}
