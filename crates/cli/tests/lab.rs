//! The lab, end to end: the real binary, real namespaces, real daemons. Needs root and what `causeway lab up` needs,
//! and fails with its words where something is missing. One lab at a time on a machine, so this is one test.

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{CAUSEWAY, Folder, good, items, lab, status, until};
use serde_json::Value;

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
  hosts: [{name: out, location: l}]
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

/// An echo server on a node, ready as long as `/run/causeway-lab/unready-NODE` is not there, and a client.
fn pods_on(node: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata:
  name: echo-{node}
  namespace: demo
  labels: {{app: echo}}
  annotations: {{lab.causeway.io/probe-period: 50ms}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    command: [causeway, echo, --listen, ":8080"]
    readinessProbe:
      exec: {{command: [sh, -c, "test ! -e /run/causeway-lab/unready-{node}"]}}
      failureThreshold: 1
---
apiVersion: v1
kind: Pod
metadata: {{name: client-{node}, namespace: demo}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers: [{{name: client, command: [sleep, infinity]}}]
"#
    )
}

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: demo, annotations: {causeway.io/global: "true"}}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}
"#;

/// Runs a verb that has to fail; gives its standard error.
fn bad(args: &[&str], status: i32) -> String {
    let output = lab(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
    said
}

fn named<'a>(status: &'a Value, what: &str, name: &str) -> &'a Value {
    items(status, what).iter().find(|item| item["name"] == name).unwrap_or(&Value::Null)
}

/// Whether everybody is ready and every tunnel answers.
fn all_well(status: &Value) -> bool {
    let nodes = items(status, "nodes").iter().all(|node| {
        let tunnels = items(node, "tunnels");
        node["agent"]["ready"] == true && tunnels.len() == 2 && tunnels.iter().all(|t| t["alive"] == true)
    });
    let pods = items(status, "pods").iter().all(|pod| pod["ready"] == true);
    nodes && pods && items(status, "links").iter().all(|link| link["connected"] == true)
}

/// The service's address in a cluster.
fn vip(cluster: &str) -> String {
    let status = status();
    let service = items(&status, "services").iter().find(|service| service["cluster"] == cluster);
    service.and_then(|service| service["vips"][0].as_str()).expect("the service has an address").to_string()
}

/// The pods that answer a client's requests; `nobody` among them where a request fails.
fn answers(client: &str, address: &str) -> BTreeSet<String> {
    let url = format!("http://{address}/");
    let ask = |_| {
        let output = lab(&["exec", client, "--", "curl", "-s", "-m", "2", &url]);
        let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        answer.and_then(|answer| Some(answer["pod"].as_str()?.to_string())).unwrap_or_else(|| "nobody".into())
    };
    (0..8).map(ask).collect()
}

fn only(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_string()])
}

/// What of a lab is on this machine.
fn left_behind() -> Vec<String> {
    let prefixes = ["cwn_", "cwp_", "cwl_", "cwc_", "cwh_"];
    let ours = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut found: Vec<String> =
        names.filter_map(|entry| entry.file_name().into_string().ok()).filter(ours).collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    found.extend(mounts.lines().filter(|line| line.contains("causeway-lab")).map(String::from));
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let mut places: Vec<PathBuf> =
        cgroups.filter_map(|line| Some(Path::new(line.split(' ').nth(4)?).join("causeway-lab"))).collect();
    places.push("/run/causeway-lab".into());
    found.extend(places.iter().filter(|place| place.exists()).map(|place| place.display().to_string()));
    found
}

#[test]
fn from_up_to_down() {
    let folder = Folder::new("lab");
    let write = |name: &str, text: &str| folder.write(name, text);
    let file = write("lab.yaml", LAB);
    write("left.yaml", &[SERVICE, &pods_on("left-1"), &pods_on("left-2")].concat());
    write("right.yaml", &[SERVICE, &pods_on("right-1")].concat());

    // Nothing is started on an error.
    let wrong = write("wrong.yaml", &LAB.replace("id: 2", "id: 1"));
    assert!(bad(&["up", "--file", &wrong], 1).contains("wrong.yaml:"));
    assert_eq!(left_behind(), Vec::<String>::new());
    assert!(bad(&["status"], 1).contains("causeway lab up"));

    good(&["up", "--file", &file]);
    assert!(bad(&["up", "--file", &file], 1).contains("is up already"));
    assert!(all_well(&status()), "up means up");

    exec_finds_its_place();
    nearest_first();
    outsiders_are_answered();
    services_do_as_they_ask(&write);
    objects_come_and_go(&write);
    exported_and_imported(&write);
    cut_and_healed();
    killed_and_started();
    what_dies_comes_back();

    good(&["down"]);
    assert_eq!(left_behind(), Vec::<String>::new());
    assert!(good(&["down"]).contains("no lab was up"));
}

/// Streams and status come through, too.
fn exec_finds_its_place() {
    assert_eq!(lab(&["exec", "client-left-1", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(lab(&["exec", "client-left-1", "--", "no-such-program"]).status.code(), Some(127));
    assert_eq!(lab(&["exec", "client-left-1"]).status.code(), Some(2), "a command is needed");
    assert!(bad(&["exec", "demo/nobody", "--", "true"], 1).contains("pod left/demo/client-left-1"));
    assert!(bad(&["exec", "-1", "--", "true"], 2).contains("Usage"));
    assert!(bad(&["exec", "t-1", "--", "true"], 1).contains("write more of the name"));
    let status = status();
    let netns = named(&status, "pods", "client-left-1")["netns"].as_str().expect("a name");
    let inode = std::fs::metadata(Path::new("/run/netns").join(netns)).expect("`ip netns` knows it").ino();
    let seen = good(&["exec", "left/demo/client-left-1", "--", "stat", "-Lc", "%i", "/proc/self/ns/net"]);
    assert_eq!(seen.trim(), inode.to_string());
    let cgroup = good(&["exec", "client-left-1", "--", "cat", "/proc/self/cgroup"]);
    assert!(cgroup.contains("causeway-lab/left/left-1/pods/demo_client-left-1"), "{cgroup}");
    assert!(good(&["exec", "left-1", "--", "ip", "-br", "address"]).contains("cw0"));
    assert!(good(&["exec", "left/left-1", "--", "ls", "/run/causeway"]).contains("agent.sock"));
    assert!(good(&["logs", "left-1"]).contains("started"));
}

/// Own node, then own cluster, then the other one; nobody at all is a refusal.
fn nearest_first() {
    let (left, right) = (vip("left"), vip("right"));
    let mark = |node: &str| PathBuf::from(format!("/run/causeway-lab/unready-{node}"));
    let healthy = |node: &str, wanted: bool| {
        let pod = format!("echo-{node}");
        match wanted {
            true => std::fs::remove_file(mark(node)).expect("remove a mark"),
            false => std::fs::write(mark(node), "").expect("make a mark"),
        }
        until(&pod, |status| {
            let seen = |b: &Value| b["pod"] == pod.as_str() && b["healthy"] == wanted;
            items(status, "services").iter().all(|service| items(service, "backends").iter().any(seen))
        });
    };
    assert_eq!(answers("client-left-1", &left), only("echo-left-1"));
    assert_eq!(answers("client-right-1", &right), only("echo-right-1"));
    healthy("left-1", false);
    assert_eq!(answers("client-left-1", &left), only("echo-left-2"));
    healthy("left-2", false);
    assert_eq!(answers("client-left-1", &left), only("echo-right-1"));
    healthy("right-1", false);
    assert_eq!(answers("client-left-1", &left), only("nobody"));
    for node in ["left-1", "left-2", "right-1"] {
        healthy(node, true);
    }
    assert_eq!(answers("client-left-2", &left), only("echo-left-2"));
}

/// Machines without an agent, so without a socket hook: their packets are answered, by what is near to the node they reach.
fn outsiders_are_answered() {
    let vip = vip("left");
    assert!(items(&status(), "hosts").iter().any(|host| host["publicIPs"][0] == "198.18.1.3"));
    for machine in ["left/_controller", "left/out"] {
        for (node, gateway) in [("left-1", "172.16.1.1"), ("left-2", "172.16.1.2")] {
            good(&["exec", machine, "--", "ip", "route", "replace", &vip, "via", gateway]);
            assert_eq!(answers(machine, &vip), only(&format!("echo-{node}")));
        }
        good(&["exec", machine, "--", "ip", "route", "del", &vip]);
    }
}

/// What `causeway services` says of left's echo, from a client on left-1.
fn echo_from_left() -> Value {
    let args = ["services", "show", "demo/echo", "--from", "client-left-1", "-o", "json"];
    let output = Command::new(CAUSEWAY).args(args).output().expect("run causeway");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    shown[0].clone()
}

/// Preferences, node ports, affinity: asked for in a manifest, done by sockets, explained by `causeway services`.
fn services_do_as_they_ask(write: &impl Fn(&str, &str) -> String) {
    let shown = echo_from_left();
    assert_eq!(shown["cluster"], "left");
    assert_eq!(shown["from"], "left-1");
    assert_eq!(shown["healthy"], 3);
    assert_eq!(shown["total"], 3);
    let nearest = &shown["backends"][0];
    assert_eq!(nearest["pod"], "demo/echo-left-1");
    assert_eq!(nearest["in"], true);
    assert_eq!(nearest["share"], 1.0);

    let ask = |what: &str, annotations: &str, spec: &str, so: &dyn Fn(&Value) -> bool| {
        let text = SERVICE
            .replace("causeway.io/global: \"true\"", &format!("causeway.io/global: \"true\"{annotations}"))
            .replace("spec: {", &format!("spec: {{{spec}"));
        let file = write("asked.yaml", &text);
        good(&["apply", "-f", &file, "--cluster", "left"]);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = echo_from_left();
            if so(&shown) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: not within 20 s\n{shown:#}");
            #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let left = vip("left");
    ask("remote", ", service.cilium.io/affinity: remote", "", &|shown| {
        let why =
            |pod: &str| items(shown, "backends").iter().find(|b| b["pod"] == pod).map(|b| b["why"].clone());
        why("demo/echo-right-1") == Some("".into())
            && why("demo/echo-left-1") == Some("a cluster that the service prefers answers".into())
    });
    assert_eq!(answers("client-left-1", &left), only("echo-right-1"));

    ask("even and affine", ", causeway.io/prefer: even", "sessionAffinity: ClientIP, ", &|shown| {
        shown["prefer"] == "even" && items(shown, "backends").iter().all(|b| b["in"] == true)
    });
    assert_eq!(answers("client-left-1", &left).len(), 1, "a client stays with its backend");

    let text = SERVICE.replace("targetPort: 8080}", "targetPort: 8080, nodePort: 30080}");
    let file = write("node-port.yaml", &text.replace("spec: {", "spec: {type: NodePort, "));
    good(&["apply", "-f", &file, "--cluster", "left"]);
    let status = status();
    let node = named(&status, "nodes", "left-2")["publicIPs"][0].as_str().expect("an address").to_string();
    let node_port = format!("{node}:30080");
    let deadline = Instant::now() + Duration::from_secs(20);
    while answers("client-left-1", &node_port) != only("echo-left-1") {
        assert!(Instant::now() < deadline, "{node_port} is not dialled within 20 s\n{:#}", echo_from_left());
    }

    ask("as before", "", "", &|shown| shown["type"] == "ClusterIP" && shown["prefer"] == "ladder");
    assert_eq!(answers("client-left-1", &left), only("echo-left-1"));
}

/// Whole or not at all; pods run, are started again, and go away.
fn objects_come_and_go(write: &impl Fn(&str, &str) -> String) {
    let deployment = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, command: [sh, -c, "sleep 0.1; exit 1"]}]
"#;
    let pods = |status: &Value| -> Vec<Value> {
        items(status, "pods").iter().filter(|pod| pod["namespace"] == "shop").cloned().collect()
    };
    let good_and_bad =
        format!("{}---{}", SERVICE.replace("demo", "shop"), deployment.replace("replicas", "replicaz"));
    let mistaken = write("mistaken.yaml", &good_and_bad);
    let said = bad(&["apply", "-f", &mistaken, "--cluster", "left"], 1);
    assert!(said.contains("mistaken.yaml:11:") && said.contains("`replicas`"), "{said}");
    assert_eq!(items(&status(), "services").len(), 2, "all or nothing");
    assert!(bad(&["apply", "-f", &mistaken, "--cluster", "middle"], 1).contains("left, right"));

    let web = write("web.yaml", deployment);
    assert_eq!(good(&["apply", "-f", &web, "--cluster", "left"]), "deployment shop/web created\n");
    assert_eq!(good(&["apply", "-f", &web, "--cluster", "left"]), "deployment shop/web unchanged\n");
    until("three pods that keep dying", |status| {
        let pods = pods(status);
        pods.len() == 3 && pods.iter().all(|pod| pod["restarts"].as_u64() >= Some(2))
    });
    let nodes: BTreeSet<_> = pods(&status()).iter().map(|pod| pod["node"].to_string()).collect();
    assert_eq!(nodes.len(), 2, "replicas are spread over the nodes");
    good(&["delete", "deployment", "shop/web", "--cluster", "left"]);
    until("no pods", |status| pods(status).is_empty());
    assert!(bad(&["delete", "deployment", "shop/web", "--cluster", "left"], 1).contains("there is no"));
    until("well again", all_well);
}

/// What a cluster exports and imports.
fn multicluster(cluster: &str) -> Value {
    let socket = format!("/run/causeway-lab/clusters/{cluster}/run/controller.sock");
    let asked = Command::new("curl").args(["-s", "--unix-socket", &socket, "http://c/v1/services"]).output();
    serde_json::from_slice(&asked.expect("run curl").stdout).expect("the answer is JSON")
}

/// Exported by one cluster, reached in both at an address of each one's own; exported by both, by the nearest.
fn exported_and_imported(write: &impl Fn(&str, &str) -> String) {
    let service = SERVICE
        .replace("name: echo", "name: solo")
        .replace(r#", annotations: {causeway.io/global: "true"}"#, "");
    let export = "\n---\napiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\nmetadata: {name: solo, namespace: demo}\n";
    let solo = write("solo.yaml", &[&service, export].concat());
    good(&["apply", "-f", &solo, "--cluster", "right"]);
    let import = |cluster: &str| multicluster(cluster)["imports"][0].clone();
    until("an import in both", |_| {
        ["left", "right"].iter().all(|cluster| import(cluster)["clusters"] == serde_json::json!(["right"]))
    });
    let ip = |cluster: &str, n: usize| import(cluster)["ips"][n].as_str().expect("an address").to_string();
    let (v4, v6) = (ip("left", 0), format!("[{}]", ip("left", 1)));
    for (client, address) in
        [("client-left-1", &v4), ("client-left-2", &v6), ("client-right-1", &ip("right", 0))]
    {
        until(client, |_| answers(client, address) == only("echo-right-1"));
    }
    assert_eq!(multicluster("left")["exports"], serde_json::json!([]));

    let headless =
        write("headless.yaml", &[&service.replace("spec: {", "spec: {clusterIP: None, "), export].concat());
    good(&["apply", "-f", &headless, "--cluster", "left"]);
    let conflict = |cluster: &str| multicluster(cluster)["exports"][0]["conditions"][2]["reason"].clone();
    until("a conflict said in both", |_| ["left", "right"].iter().all(|c| conflict(c) == "TypeConflict"));
    assert_eq!(import("right")["type"], "Headless", "of two of one age the first by name decides");
    good(&["delete", "service", "demo/solo", "--cluster", "left"]);
    good(&["apply", "-f", &solo, "--cluster", "left"]);
    until("agreement", |_| ["left", "right"].iter().all(|c| conflict(c) == "NoConflicts"));
    until("its own first", |_| answers("client-left-1", &ip("left", 0)) == only("echo-left-1"));
    for cluster in ["left", "right"] {
        good(&["delete", "serviceexport", "demo/solo", "--cluster", cluster]);
        good(&["delete", "service", "demo/solo", "--cluster", cluster]);
    }
    until("no import", |_| ["left", "right"].iter().all(|cluster| import(cluster).is_null()));
}

fn alive(status: &Value, from: &str, to: &str) -> bool {
    items(named(status, "nodes", from), "tunnels").iter().any(|t| t["peer"] == to && t["alive"] == true)
}

/// Nodes of one location, and clusters.
fn cut_and_healed() {
    good(&["cut", "left-1", "left-2"]);
    until("two nodes apart", |s| !alive(s, "left-1", "left/left-2") && alive(s, "left-1", "right/right-1"));
    good(&["kill", "left-1"]);
    good(&["start", "left-1"]);
    until("apart still", |s| alive(s, "left-1", "right/right-1") && !alive(s, "left-1", "left/left-2"));
    good(&["heal", "left-1", "left-2"]);
    until("joined again", all_well);
    good(&["cut", "left", "right"]);
    until("clusters apart", |s| alive(s, "left-1", "left/left-2") && !alive(s, "left-2", "right/right-1"));
    assert_eq!(status()["wires"][0]["up"], false);
    assert!(bad(&["cut", "left", "left-1"], 1).contains("in common"));
    good(&["heal", "left", "right"]);
    until("joined again", all_well);
}

/// A node and a whole cluster go dark and come back.
fn killed_and_started() {
    let left = vip("left");
    good(&["kill", "left-1"]);
    assert!(bad(&["kill", "left-1"], 1).contains("down already"));
    assert!(bad(&["exec", "client-left-1", "--", "true"], 1).contains("causeway lab start left/left-1"));
    until("a dead node", |status| !alive(status, "left-2", "left/left-1"));
    good(&["start", "left-1"]);
    until("it is back", all_well);
    assert_eq!(answers("client-left-1", &left), only("echo-left-1"));

    good(&["kill", "right"]);
    until("a dead cluster", |status| {
        let links = items(status, "links").iter().all(|link| link["connected"] == false);
        links && !alive(status, "left-1", "right/right-1")
    });
    assert_eq!(answers("client-left-1", &left), only("echo-left-1"));
    good(&["start", "right"]);
    until("it is back", all_well);
    assert!(bad(&["start", "right"], 1).contains("up already"));
}

/// Agents, controllers, the underlay: killed, they are started again and take up where they were.
fn what_dies_comes_back() {
    let agents_and_controllers = |status: &Value| -> Vec<String> {
        let agents = items(status, "nodes").iter().map(|node| node["agent"]["pid"].to_string());
        let clusters = items(status, "clusters").iter();
        agents.chain(clusters.map(|cluster| cluster["controller"]["pid"].to_string())).collect()
    };
    let killed = agents_and_controllers(&status());
    let kill = Command::new("kill").arg("-9").args(&killed).arg(underlay()).status();
    assert!(kill.expect("run kill").success());
    until("other processes", |status| {
        agents_and_controllers(status).iter().all(|pid| pid != "null" && !killed.contains(pid))
    });
    until("well again", all_well);
    assert_eq!(named(&status(), "nodes", "left-1")["agent"]["restarts"], 1);
}

/// The underlay's process.
fn underlay() -> String {
    let processes = std::fs::read_dir("/proc").expect("read /proc").flatten();
    let mut found = processes.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let ours = line.starts_with(CAUSEWAY.as_bytes()) && line.windows(9).any(|word| word == b"\0underlay");
        ours.then(|| entry.file_name().to_string_lossy().into_owned())
    });
    found.next().expect("the underlay runs")
}
