//! Names in a lab: what pods find in their `resolv.conf`, every row of the schema through `dig` (bind9-dnsutils), and
//! headless services when a cloud dies. Needs root, and nobody else's lab; one lab at a time, so this is one test.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{Folder, good};

const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: left
  id: 1
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes:
  - {name: left-1, region: l, zone: l-a}
  - {name: left-2, region: l, zone: l-b}
  manifests: [left.yaml]
- name: right
  id: 2
  podCIDRs: ["10.2.0.0/16", "fd00:2::/48"]
  serviceCIDRs: ["10.102.0.0/16", "fd00:102::/112"]
  nodes:
  - {name: right-1, region: r, zone: r-a}
  manifests: [right.yaml]
links:
- {between: [left, right], rtt: 10ms}
"#;

/// `db`, headless, with one pod that has a host name and one that has none; `echo`, with an address. Both exported.
fn manifests(node: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: demo}}
spec: {{selector: {{app: db}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: demo}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{name: http, port: 8080}}]}}
---
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {{name: echo, namespace: demo}}
---
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {{name: db, namespace: demo}}
---
apiVersion: v1
kind: Pod
metadata: {{name: db-0, namespace: demo, labels: {{app: db}}}}
spec:
  nodeName: {node}
  hostname: db-0
  subdomain: db
  terminationGracePeriodSeconds: 1
  containers: [{{name: echo, command: [causeway, echo, --listen, ":8080"]}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: plain, namespace: demo, labels: {{app: db}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers: [{{name: echo, command: [causeway, echo, --listen, ":8080"]}}]
"#
    )
}

const CLIENT: &str = r#"
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: demo}
spec:
  nodeName: left-1
  terminationGracePeriodSeconds: 1
  containers: [{name: client, command: [sleep, infinity]}]
"#;

/// Runs a program in the client's pod.
fn client(words: &[&str]) -> String {
    good(&[&["exec", "left/demo/client", "--"], words].concat())
}

fn dig(words: &[&str]) -> String {
    client(&[&["dig", "+tries=1", "+time=2"], words].concat())
}

/// The answers, a line each.
fn short(name: &str, kind: &str) -> BTreeSet<String> {
    dig(&["+short", name, kind]).lines().map(String::from).collect()
}

/// Asks until the answers are so many; how long that took.
fn until(name: &str, count: usize, patience: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let answers = short(name, "A");
        if answers.len() == count {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < patience, "{name}: still {answers:?} after {patience:?}, not {count}");
    }
}

#[test]
fn names_in_a_lab() {
    let folder = Folder::new("names");
    let file = folder.write("lab.yaml", LAB);
    folder.write("left.yaml", &[&manifests("left-2"), CLIENT].concat());
    folder.write("right.yaml", &manifests("right-1"));
    good(&["up", "--file", &file]);

    clusters_own();
    until(DB, 4, Duration::from_secs(10));
    clusterset();
    a_cloud_dies();
}

const DB: &str = "db.demo.svc.clusterset.local";
const ECHO: &str = "echo.demo.svc.clusterset.local";

fn clusters_own() {
    let resolv = client(&["cat", "/etc/resolv.conf"]);
    assert_eq!(
        resolv,
        "nameserver 169.254.20.53\nsearch demo.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
    let echo = client(&["getent", "ahostsv4", "echo"]);
    let vip = echo.split_whitespace().next().expect("it has an address").to_string();
    assert!(vip.starts_with("10.101."), "{echo}");
    assert!(client(&["curl", "-s", "-m", "5", "http://echo/"]).contains("\"cluster\":\"left\""));
    assert_eq!(short("db.demo.svc.cluster.local", "A").len(), 2, "the own cluster's alone");
    assert_eq!(short("db-0.db.demo.svc.cluster.local", "A").len(), 1);
    let reversed: Vec<&str> = vip.rsplit('.').collect();
    let name = short(&format!("{}.in-addr.arpa", reversed.join(".")), "PTR");
    assert_eq!(name, ["echo.demo.svc.cluster.local.".to_string()].into());
    assert!(dig(&["example.com"]).contains("status: REFUSED"), "a lab has no upstream");
    // A node's own programs ask at the same address.
    let from_node =
        good(&["exec", "left-2", "--", "dig", "@169.254.20.53", "+short", "echo.demo.svc.cluster.local"]);
    assert_eq!(from_node.trim(), vip);
}

fn clusterset() {
    let one = |answer: &str| -> BTreeSet<String> { [answer.to_string()].into() };
    assert_eq!(short("dns-version.clusterset.local", "TXT"), one("\"1.0.0\""));
    for kind in ["A", "AAAA"] {
        assert_eq!(short(ECHO, kind).len(), 1, "{kind}");
    }
    assert_eq!(short(ECHO, "SRV"), one(&format!("0 100 80 {ECHO}.")));
    assert_eq!(short(&format!("_http._tcp.{ECHO}"), "SRV"), one(&format!("0 100 80 {ECHO}.")));
    assert!(client(&["curl", "-s", "-m", "5", &format!("http://{ECHO}/")]).contains("\"cluster\":\"left\""));

    assert_eq!((short(DB, "A").len(), short(DB, "AAAA").len()), (4, 4));
    for cluster in ["left", "right"] {
        let host = format!("db-0.{cluster}.{DB}");
        let address = short(&host, "A");
        assert!(address.len() == 1 && short(DB, "A").is_superset(&address), "{address:?}");
        assert!(
            short(&format!("_http._tcp.{DB}"), "SRV")
                .iter()
                .any(|srv| srv.ends_with(&format!(" 8080 {host}.")))
        );
    }
    assert_eq!(short(DB, "SRV").len(), 4);
    let nearest = dig(&["+short", DB]);
    let clusters: Vec<&str> = nearest.lines().map(|ip| &ip[..4]).collect();
    assert_eq!(clusters, ["10.1", "10.1", "10.2", "10.2"], "the nearest first");

    for (name, kind, status) in [
        (format!("left.{DB}"), "A", "NXDOMAIN"),
        (format!("right.{ECHO}"), "A", "NXDOMAIN"),
        (format!("none.{DB}"), "A", "NXDOMAIN"),
        ("none.demo.svc.clusterset.local".into(), "A", "NXDOMAIN"),
        (ECHO.into(), "TXT", "NOERROR"),
        ("demo.svc.clusterset.local".into(), "A", "NOERROR"),
        ("svc.clusterset.local".into(), "A", "NOERROR"),
    ] {
        let told = dig(&[&name, kind]);
        assert!(told.contains(&format!("status: {status}")) && told.contains("SOA"), "{name} {kind}: {told}");
        assert!(told.contains("ANSWER: 0") && told.contains("flags: qr aa"), "{name} {kind}: {told}");
    }
    for words in [&["+tcp"][..], &["+noedns"], &["+bufsize=512"], &["-6", "@fd00:1::1"]] {
        assert_eq!(
            dig(&[&["+short", "eChO.dEmO.svc.clusterset.local"], words].concat()).lines().count(),
            1,
            "{words:?}"
        );
    }
    assert!(dig(&[ECHO, "+edns=1", "+noednsnegotiation"]).contains("BADVERS"));
}

/// Headless names and the virtual address stop offering what has died in less than a second, and offer it again in less
/// than two after it came back.
fn a_cloud_dies() {
    good(&["kill", "right"]);
    let gone = until(DB, 2, Duration::from_secs(1));
    let name = format!("db-0.right.{DB}");
    assert!(dig(&[&name]).contains("NXDOMAIN"));
    assert!(client(&["curl", "-s", "-m", "5", &format!("http://{ECHO}/")]).contains("\"cluster\":\"left\""));
    good(&["start", "right"]);
    let back = until(DB, 4, Duration::from_secs(2));
    println!("not offered {gone:?} after `lab kill` returned, offered again {back:?} after `lab start` did");
}
