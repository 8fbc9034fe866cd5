//! The nodes of a lab and who reaches whom.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use cluster::manifest::{Id, Kind, Manifest};
use cluster::standalone::Store;
use ipnet::IpNet;
use serde_json::Value;

use super::{CAUSEWAY, good, items, lab};

/// A pod on a node, `on-NODE`, that runs `command`: words of YAML.
pub(crate) fn pod(node: &str, command: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: on-{node}, namespace: demo}}\nspec:\n  nodeName: {node}\n  \
         terminationGracePeriodSeconds: 1\n  containers: [{{name: main, command: [{command}]}}]\n"
    )
}

pub(crate) fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(String::from)).collect()
}

/// A node's own addresses in the mesh: the first ones of its ranges.
pub(crate) fn mesh_ips(node: &Value) -> Vec<String> {
    let first = |range: String| {
        let (network, _) = range.split_once('/').expect("a range");
        network.strip_suffix(".0").map_or_else(|| format!("{network}1"), |network| format!("{network}.1"))
    };
    strings(&node["podCIDRs"]).into_iter().map(first).collect()
}

/// From each of these nodes and pods every address answers.
pub(crate) fn reach<'a>(froms: impl Iterator<Item = &'a str>, addresses: &[String], what: &str) {
    std::thread::scope(|scope| {
        let all: Vec<_> = froms.map(|from| (from, scope.spawn(move || silent(from, addresses)))).collect();
        for (from, missing) in all {
            assert_eq!(missing.join().expect("no panic"), "", "{what}: from {from}");
        }
    });
}

/// Addresses that do not answer from there.
fn silent(from: &str, addresses: &[String]) -> String {
    let script = "for a in \"$@\"; do (ping -nqc 1 -W 3 $a >/dev/null || echo $a) & done; wait";
    let mut args = vec!["exec", from, "--", "sh", "-c", script, "sh"];
    args.extend(addresses.iter().map(String::as_str));
    let output = lab(&args);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `causeway graph` draws.
pub(crate) fn graph() -> Value {
    let output =
        Command::new(CAUSEWAY).args(["graph", "--lab", "-o", "json"]).output().expect("run causeway");
    serde_json::from_slice(&output.stdout).expect("the graph is JSON")
}

/// The gateway over which a node reaches an address: the peer that its tunnel has for it.
pub(crate) fn gateway_to(status: &Value, node: &str, address: IpAddr) -> String {
    let ranges = good(&["exec", node, "--", "wg", "show", "cw0", "allowed-ips"]);
    let has = |line: &&str| {
        let ranges = line.split_whitespace().skip(1).filter_map(|range| range.parse::<IpNet>().ok());
        ranges.into_iter().any(|range| range.contains(&address))
    };
    let key =
        ranges.lines().find(has).and_then(|line| line.split_whitespace().next()).expect("somebody has it");
    let tunnels = items(status, "nodes").iter().flat_map(|node| items(node, "tunnels"));
    let mut of_key = tunnels.filter(|tunnel| tunnel["publicKey"] == key);
    let peer = of_key.next().and_then(|tunnel| tunnel["peer"].as_str()).expect("a node's key");
    peer.rsplit('/').next().expect("a name").to_string()
}

/// Says whether a node of the cluster `home` is to be a gateway, or no more.
pub(crate) fn lead(node: &str, leader: Option<&str>) {
    let store = Store::open("/run/causeway-lab/clusters/home/store").expect("the cluster's objects");
    let change = |object: &mut Manifest| {
        let annotations = object.metadata_mut().annotations.get_or_insert_default();
        match leader {
            Some(leader) => annotations.insert("causeway.io/leader".into(), leader.into()),
            None => annotations.remove("causeway.io/leader"),
        };
    };
    store.update(&Id::new(Kind::Node, "", node), change).expect("write it").expect("it is there");
}

/// Everything on the wire of a node of the cluster `home`, as a file of captured packets on its standard output.
pub(crate) fn capture(node: &str) -> Child {
    Command::new("ip")
        .args(["netns", "exec", &format!("cwn_home_{node}")])
        .args(["tcpdump", "-i", "eth0", "--immediate-mode", "-U", "-s", "0", "-w", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run tcpdump")
}
