//! Policies where an end is no pod: names of hosts outside, and nodes themselves, on real packets of both families. Needs root,
//! dnsmasq, and nobody else's lab; one lab at a time, so this is one test.

mod common;

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{CAUSEWAY, Folder, good, items, until};
use serde_json::Value;

/// The office is where the node finds its upstream server of names, too.
const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: left
  id: 1
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes: [{name: left-1, region: l, zone: l-a, labels: {role: db}}]
  hosts: [{name: office, location: l}, {name: home, location: l}]
  agent: {masquerade: true}
  dns: {upstreams: ["172.16.1.2:53"]}
  policy: {host: true}
  manifests: [left.yaml]
- name: right
  id: 2
  podCIDRs: ["10.2.0.0/16", "fd00:2::/48"]
  serviceCIDRs: ["10.102.0.0/16", "fd00:102::/112"]
  nodes: [{name: right-1, region: r, zone: r-a}]
"#;

const CLIENT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: demo, labels: {app: client}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: client, command: [sleep, infinity]}]}
"#;

/// Outside, pods reach what is called so and nothing else.
const BY_NAME: &str = r#"
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: by-name}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  egress:
  - name: who-answers-names
    action: Accept
    to: [{networks: [169.254.20.53/32]}]
    protocols: [{udp: {destinationPort: {number: 53}}}, {tcp: {destinationPort: {number: 53}}}]
  - {name: partners, action: Accept, to: [{domainNames: ["*.example.test"]}]}
  - {name: the-rest, action: Deny, to: [{networks: ["0.0.0.0/0", "::/0"]}]}
"#;

/// Nodes of this role take one port from one host.
const DATABASES: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: databases}
spec:
  nodeSelector: {matchLabels: {role: db}}
  ingress:
  - fromCIDR: [172.16.1.3/32, "fd10:0:0:1::3/128"]
    toPorts: [{ports: [{port: "9000", protocol: TCP}]}]
"#;

/// Names, each with an address of its own, so that each one is asked for and dialled for the first time.
const NAMES: std::ops::Range<u8> = 20..40;

/// A program that runs in the lab until the test is over.
struct Running(Child);

impl Running {
    fn new(place: &str, words: &[&str]) -> Self {
        let words = [&["lab", "exec", place, "--"], words].concat();
        let quiet = || Stdio::null();
        let child = Command::new(CAUSEWAY).args(words).stdout(quiet()).stderr(quiet()).spawn();
        Self(child.expect("run causeway"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Down with the lab otherwise.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether an echo server answers there, to whoever asks from a pod, a node or a host.
fn answers(place: &str, url: &str) -> bool {
    let words = ["lab", "exec", place, "--", "curl", "-s", "-g", "-o", "/dev/null", "-m", "2", url];
    Command::new(CAUSEWAY).args(words).status().expect("run causeway").success()
}

/// Waits until it is so: programs take a moment to listen, and policies to travel.
fn soon(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
    }
}

fn json(words: &[&str]) -> Value {
    let output = Command::new(CAUSEWAY).args(words).args(["-o", "json"]).output().expect("run causeway");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {said}"))
}

fn apply(folder: &Folder, text: &str) {
    good(&["apply", "--cluster", "left", "--file", &folder.write("policy.yaml", text)]);
}

#[test]
fn names_and_nodes() {
    let folder = Folder::new("policy-outside");
    folder.write("left.yaml", CLIENT);
    good(&["up", "--file", &folder.write("lab.yaml", LAB)]);
    let echo = ["causeway", "echo", "--listen", ":9000", "--listen", ":22"];
    let _servers = ["left/office", "left/home", "left-1"].map(|place| Running::new(place, &echo));
    names(&folder);
    nodes(&folder);
}

fn names(folder: &Folder) {
    let mut dns = vec!["dnsmasq".to_string(), "--no-daemon".into(), "--conf-file=/dev/null".into()];
    dns.extend(["--no-resolv", "--no-hosts", "--pid-file="].map(String::from));
    for n in NAMES {
        let (ip, v6) = (format!("172.16.1.{n}/24"), format!("fd10:0:0:1::{n}/64"));
        good(&["exec", "left/office", "--", "ip", "address", "add", &ip, "dev", "eth0"]);
        good(&["exec", "left/office", "--", "ip", "address", "add", &v6, "dev", "eth0", "nodad"]);
        dns.push(format!("--host-record=n{n}.example.test,172.16.1.{n},fd10:0:0:1::{n}"));
    }
    dns.push("--host-record=elsewhere.test,172.16.1.2,fd10:0:0:1::2".into());
    let words: Vec<&str> = dns.iter().map(String::as_str).collect();
    let _dns = Running::new("left/office", &words);
    soon("names are answered", || answers("client", "http://elsewhere.test:9000/"));

    apply(folder, BY_NAME);
    soon("the rest is denied", || !answers("client", "http://172.16.1.2:9000/"));
    assert!(!answers("client", "http://[fd10:0:0:1::2]:9000/"));
    assert!(!answers("client", "http://elsewhere.test:9000/"), "a name that no rule is about");
    assert!(!answers("client", "http://172.16.1.20:9000/"), "an address whose name was not asked for");
    for n in NAMES {
        let (family, other) = if n % 2 == 0 { ("-4", "-6") } else { ("-6", "-4") };
        // Who dials as soon as the name is answered is let through at the first packet.
        for family in [family, other] {
            let url = format!("http://n{n}.example.test:9000/");
            let words = ["curl", "-s", "-S", family, "-m", "0.9", "-o", "/dev/null", &url];
            good(&[&["exec", "client", "--"], &words[..]].concat());
        }
    }
    assert!(answers("client", "http://172.16.1.20:9000/"), "its name has been asked for");
    // What a node learned outlives its agent.
    let pid = |status: &Value| items(status, "nodes")[0]["agent"]["pid"].as_u64().unwrap_or_default();
    let before = pid(&common::status());
    assert!(Command::new("kill").args(["-9", &before.to_string()]).status().expect("run kill").success());
    until("another agent is ready", |status| {
        ![0, before].contains(&pid(status)) && items(status, "nodes")[0]["agent"]["ready"] == true
    });
    assert!(answers("client", "http://172.16.1.21:9000/"), "it is still known");
    assert!(!answers("client", "http://172.16.1.2:9000/"));
    good(&["delete", "clusternetworkpolicy", "by-name", "--cluster", "left"]);
    soon("everything is open again", || answers("client", "http://172.16.1.2:9000/"));
}

fn nodes(folder: &Folder) {
    let v4 = |port: u16| format!("http://172.16.1.1:{port}/");
    let v6 = |port: u16| format!("http://[fd10:0:0:1::1]:{port}/");
    soon("the node answers", || answers("left/office", &v4(9000)) && answers("left/office", &v6(9000)));
    apply(folder, DATABASES);
    soon("the node is isolated", || !answers("left/office", &v4(9000)));
    assert!(!answers("left/office", &v6(9000)));
    for url in [v4(9000), v6(9000)] {
        assert!(answers("left/home", &url), "{url}: the one that is let in");
    }
    for url in [v4(22), v6(22)] {
        assert!(answers("left/office", &url), "{url}: SSH always passes");
    }
    // What it says itself is not touched, nor what its pods say by it, nor what keeps it in the mesh.
    assert!(answers("left-1", "http://172.16.1.2:9000/"));
    assert!(answers("client", "http://172.16.1.2:9000/"));
    until("tunnels, links and agents are well", |status| {
        let tunnels = |node: &Value| items(node, "tunnels").iter().all(|tunnel| tunnel["alive"] == true);
        items(status, "links").iter().all(|link| link["connected"] == true)
            && items(status, "nodes").iter().all(|node| tunnels(node) && node["agent"]["ready"] == true)
    });

    let check = |from: &str, port: &str| json(&["policy", "check", from, "node:left-1", "--port", port]);
    let denied = check("172.16.1.2", "9000");
    assert_eq!(
        (&denied["allowed"], &denied["ingress"]["by"]),
        (&false.into(), &"isolated".into()),
        "{denied:#}"
    );
    let allowed = check("172.16.1.3", "9000");
    assert_eq!(allowed["allowed"], true, "{allowed:#}");
    assert_eq!(allowed["ingress"]["rule"]["name"], "databases", "{allowed:#}");
    assert_eq!(check("172.16.1.2", "22")["ingress"]["by"], "always-allowed");
    let mut shown = String::new();
    write!(shown, "{}", json(&["policy", "show", "node/left-1"])).expect("text");
    assert!(shown.contains("databases"), "{shown}");

    // Who is dropped is told, with the node as the end.
    let watch = ["policy", "watch", "--for", "4s", "-o", "json"];
    let watch = Command::new(CAUSEWAY).args(watch).stdout(Stdio::piped()).spawn().expect("run causeway");
    soon("some were dropped", || !answers("left/office", &v4(9000)));
    let told = watch.wait_with_output().expect("wait for the watch");
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("left-1") && told.contains("policy_isolated"), "{told}");

    good(&["delete", "ciliumclusterwidenetworkpolicy", "databases", "--cluster", "left"]);
    soon("the node is open again", || answers("left/office", &v4(9000)));
}
