//! A laptop in a lab: Debian's wireguard-go with what `causeway peer add` printed reaches pods, services and names of both
//! clusters, over IPv4 and IPv6, and pods reach it; policies know it; `causeway connect` does the same, leaves a gateway that dies
//! for another, and leaves nothing behind. Needs root, wireguard-go, wireguard-tools and bind9-dnsutils, and nobody else's lab; so this is one test.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::flows::Talk;
use common::{CAUSEWAY, Folder, good, items, lab, status};
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
  hosts: [{name: laptop, location: far}]
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

/// How long a connection may be silent when its gateway is lost: until that is noticed, and TCP has tried again. It is 4 or 7 s.
const SILENT: Duration = Duration::from_secs(15);

/// A service of pods that say who answered, one on each node, and exported.
fn manifests(nodes: &[&str]) -> String {
    let mut text = String::from(
        r#"
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: demo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: echo, namespace: demo}
"#,
    );
    for node in nodes {
        text += &format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{name: on-{node}, namespace: demo, labels: {{app: echo}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers: [{{name: echo, command: [causeway, echo, --listen, ":8080"]}}]
"#
        );
    }
    text
}

/// Only this peer may talk to the pods of the left cluster.
fn policy(peer: &str) -> String {
    format!(
        r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: peers, namespace: demo}}
spec:
  podSelector: {{}}
  ingress: [{{from: [{{podSelector: {{matchLabels: {{causeway.io/peer: {peer}}}}}}}]}}]
"#
    )
}

fn causeway(args: &[&str]) -> Output {
    Command::new(CAUSEWAY).args(args).output().expect("run causeway")
}

/// Runs a verb that has to succeed; gives its standard output.
fn done(args: &[&str]) -> String {
    let output = causeway(args);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

fn refused(args: &[&str]) -> String {
    let output = causeway(args);
    assert!(!output.status.success(), "{args:?} is refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Runs a line of shell on the laptop.
fn laptop(line: &str) -> Output {
    lab(&["exec", "left/laptop", "--", "sh", "-c", line])
}

fn on_laptop(line: &str) -> String {
    let output = laptop(line);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{line}: {}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

/// Waits until a condition holds. Long, for a busy machine: nothing waits for it to pass.
fn await_that(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A folder with a kubectl in it that is none: it asks the controller of the left cluster, and writes down what it was told.
fn kubectl(folder: &Folder) -> String {
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> \"${{0%/*}}/asked\"\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\n\
         exec {CAUSEWAY} \"$@\" --cluster left\n"
    );
    let file = folder.write("kubectl", &text);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("it can be run");
    file.trim_end_matches("/kubectl").to_string()
}

fn url(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("http://[{ip}]:{port}/") } else { format!("http://{ip}:{port}/") }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
}

fn reaches(ip: &str, port: u16) -> bool {
    laptop(&format!("curl -sS -m 2 '{}'", url(ip, port))).status.success()
}

/// Sets a device up as `wg-quick` does, with Debian's programs.
fn wg_quick(conf: &str, file: &str) -> String {
    let values = |key: &str| -> Vec<String> {
        let lines = conf.lines().filter_map(|line| line.split_once('='));
        let of_key = lines.filter(|(its, _)| its.trim() == key).map(|(_, value)| value.to_string());
        of_key.flat_map(|all| all.split(',').map(|one| one.trim().to_string()).collect::<Vec<_>>()).collect()
    };
    let addresses =
        values("Address").iter().map(|ip| format!("ip addr add {ip} dev wg9\n")).collect::<String>();
    let routes =
        values("AllowedIPs").iter().map(|net| format!("ip route add {net} dev wg9\n")).collect::<String>();
    format!(
        "set -e\nexport WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1\nwireguard-go wg9 >/dev/null 2>&1\n\
         wg-quick strip {file} > {file}.stripped\nwg setconf wg9 {file}.stripped\n{addresses}\
         ip link set wg9 up mtu 1420\n{routes}"
    )
}

#[test]
fn a_laptop() {
    let folder = Folder::new("peers");
    folder.write("left.yaml", &manifests(&["left-1", "left-2"]));
    folder.write("right.yaml", &manifests(&["right-1"]));
    good(&["up", "--file", &folder.write("lab.yaml", LAB)]);
    let pods: Vec<(String, Vec<String>)> = items(&status(), "pods")
        .iter()
        .map(|pod| (pod["name"].as_str().unwrap_or_default().to_string(), strings(&pod["ips"])))
        .collect();
    assert_eq!(pods.len(), 3);

    // Mistakes first.
    let said = refused(&["peer", "add", "Alice!", "--cluster", "left"]);
    assert!(said.contains("peer name"), "{said}");
    let said = refused(&["peer", "add", "x", "--address", "10.1.0.7", "--cluster", "left"]);
    assert!(said.contains("spec.allowedIPs[0]") && said.contains("overlaps"), "{said}");

    let conf = done(&["peer", "add", "alice", "--cluster", "left", "--expires", "1d", "--preshared-key"]);
    assert!(refused(&["peer", "add", "alice", "--cluster", "left"]).contains("already"));
    let file = folder.write("alice.conf", &conf);
    let shown = json(&done(&["peer", "show", "alice", "--cluster", "left", "-o", "json"]));
    assert_eq!(strings(&shown["allowedIPs"]), ["10.254.1.1/32", "fd43:c5e8:1::1/128"]);
    assert_eq!((shown["expired"].as_bool(), strings(&shown["problems"])), (Some(false), vec![]));
    let gateway = strings(&shown["gateways"]).concat();

    on_laptop(&wg_quick(&conf, &file));
    // Pods of every node of both clusters, both families.
    for (pod, ips) in &pods {
        assert_eq!(ips.len(), 2, "{pod}");
        for ip in ips {
            await_that(&format!("the laptop reaches {pod} at {ip}"), || reaches(ip, 8080));
        }
    }
    // Names and services.
    let dns = conf.lines().find_map(|line| line.strip_prefix("DNS = ")).expect("there are DNS servers");
    let servers: Vec<&str> =
        dns.split(", ").filter(|word| word.parse::<std::net::IpAddr>().is_ok()).collect();
    assert_eq!(servers.len(), 2, "{dns}");
    for name in ["echo.demo.svc.cluster.local", "echo.demo.svc.clusterset.local"] {
        for (kind, server) in [("A", servers[0]), ("AAAA", servers[1])] {
            let answer = on_laptop(&format!("dig +short +time=2 +tries=3 @{server} {name} {kind}"));
            let vip = answer.lines().next().unwrap_or_else(|| panic!("{name} {kind} at {server}"));
            await_that(&format!("{name} at {vip}"), || reaches(vip, 80));
        }
    }
    // Back: a pod elsewhere dials the laptop, and is seen by its own address.
    on_laptop(&format!("{CAUSEWAY} echo --listen :8081 >/dev/null 2>&1 & echo $! > {file}.pid"));
    for (pod, ips) in &pods {
        for ip in ["10.254.1.1", "fd43:c5e8:1::1"] {
            let own = ips.iter().find(|own| own.contains(':') == ip.contains(':')).expect("of that family");
            let dial = || lab(&["exec", pod, "--", "curl", "-sS", "-m", "2", &url(ip, 8081)]);
            await_that(&format!("{pod} reaches {ip}"), || {
                String::from_utf8_lossy(&dial().stdout).contains(own.as_str())
            });
        }
    }
    on_laptop(&format!("kill $(cat {file}.pid)"));

    // Policies know who it is.
    let inside = &pods.iter().find(|(name, _)| name == "on-left-2").expect("it is there").1[0];
    good(&["apply", "--cluster", "left", "-f", &folder.write("bob.yaml", &policy("bob"))]);
    await_that("another peer alone is let in", || !reaches(inside, 8080));
    good(&["apply", "--cluster", "left", "-f", &folder.write("only.yaml", &policy("alice"))]);
    await_that("the laptop is let in", || reaches(inside, 8080));
    good(&["delete", "networkpolicy", "demo/peers", "--cluster", "left"]);

    // As others see it.
    let node = done(&["showconf", "node", &gateway, "--cluster", "left"]);
    assert!(node.contains("# left/alice") && node.contains("10.254.1.1/32"), "{node}");
    let other = done(&["showconf", "node", "right/right-1", "--cluster", "left", "-o", "json"]);
    assert!(other.contains("10.254.1.1/32"), "through its gateway: {other}");
    let object = done(&["showconf", "peer", "alice", "--as-peer", "--cluster", "left", "-o", "yaml"]);
    assert!(object.contains("kind: Peer") && object.contains("fd43:c5e8:1::1/128"), "{object}");
    assert!(done(&["showconf", "peer", "alice", "--cluster", "left"]).contains("[Peer]"));
    let manager = done(&["peer", "conf", "alice", "--cluster", "left", "-o", "networkmanager"]);
    assert!(manager.contains("type=wireguard"), "{manager}");
    let list = json(&done(&["peer", "list", "--cluster", "right", "-o", "json"]));
    assert_eq!(list[0]["name"], "alice", "linked clusters know it: {list}");

    // The same by our own program, which leaves nothing behind.
    let secret = conf.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).expect("it has a key");
    let other = folder.write("other.key", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n");
    let keyless = folder.write("keyless.conf", &conf.replace("PrivateKey = ", "# "));
    on_laptop("ip link del wg9");
    await_that("without a tunnel nobody is reached", || !reaches(inside, 8080));
    // Here by its name, with a key that does not leave the laptop, and a controller that kubectl reaches.
    let mistakes = [
        (&["connect", "alice", "--cluster", "left"][..], "the private key of alice is not here"),
        (&["connect", "nobody", "--cluster", "left"], "no peer nobody"),
        (&["connect", "Nobody!"], "there is no file Nobody!"),
        (
            &["connect", "alice", "--cluster", "left", "--private-key", &other],
            "holds another key than alice's",
        ),
        (&["connect", &keyless], "has no PrivateKey"),
    ];
    for (args, said) in mistakes {
        let error = refused(args);
        assert!(error.contains(said) && !error.contains(secret), "{args:?}: {error}");
    }
    let kubectl = kubectl(&folder);
    on_laptop(&format!(
        "PATH={kubectl}:$PATH {CAUSEWAY} connect alice --private-key {file} --context left --no-dns -i cw9 > {file}.log 2>&1 & \
         echo $! > {file}.pid"
    ));
    await_that("connected", || reaches(inside, 8080));
    let asked = std::fs::read_to_string(format!("{kubectl}/asked")).expect("kubectl was run");
    let expected = "--context left --namespace kube-system exec deployment/causeway-controller -- /causeway peer conf alice";
    assert!(asked.lines().any(|line| line.starts_with(expected)) && !asked.contains(secret), "{asked}");
    on_laptop(&format!("kill -INT $(cat {file}.pid)"));
    await_that("disconnected", || !laptop("ip link show cw9").status.success());
    assert!(on_laptop("ip route; ip -6 route").lines().all(|line| !line.contains("cw9")));
    await_that("it says so", || {
        std::fs::read_to_string(format!("{file}.log")).unwrap_or_default().contains("disconnected")
    });
    assert!(!std::path::Path::new("/run/wireguard/cw9.sock").exists());

    // Gone is gone.
    on_laptop(&wg_quick(&conf, &file));
    await_that("connected again", || reaches(inside, 8080));
    done(&["peer", "remove", "alice", "--cluster", "left"]);
    await_that("it is let in no more", || !reaches(inside, 8080));
    assert!(refused(&["peer", "remove", "alice", "--cluster", "left"]).contains("there is no peer alice"));
    on_laptop("ip link del wg9");

    // Of several gateways the first that answers is in front: for the laptop, and for nodes that have no tunnel with it.
    let conf = done(&["peer", "add", "bob", "--cluster", "left", "--gateway", "all"]);
    assert_eq!(conf.matches("[Peer]").count(), 2, "{conf}");
    let file = folder.write("bob.conf", &conf);
    let shown = json(&done(&["peer", "show", "bob", "--cluster", "left", "-o", "json"]));
    let first = strings(&shown["gateways"]).first().cloned().expect("it has gateways");
    on_laptop(&format!(
        "{CAUSEWAY} connect bob --cluster left --private-key {file} --no-dns -i cw9 > {file}.log 2>&1 & \
         echo $! > {file}.pid"
    ));
    let far = &pods.iter().find(|(name, _)| name == "on-right-1").expect("it is there").1;
    await_that("connected by both", || far.iter().all(|ip| reaches(ip, 8080)));
    let now = status();
    let named = |what: &str, name: &str| {
        items(&now, what)
            .iter()
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("{name} in {now}"))
            .clone()
    };
    let (from, to) = (named("hosts", "laptop"), named("pods", "on-right-1"));
    let talks = [true, false].map(|v4| Talk::patient(&from, &to, v4, SILENT));
    good(&["kill", &first]);
    for ip in far {
        await_that(&format!("{ip} by the other gateway"), || reaches(ip, 8080));
    }
    let log = std::fs::read_to_string(format!("{file}.log")).unwrap_or_default();
    assert_eq!(log.matches("in place of").count(), 1, "{log}");
    // Connections that were there go on, or their end fails.
    for talk in talks {
        let name = talk.name.clone();
        let silent = talk.end();
        println!("{name}: silent for {silent:?}");
    }
    on_laptop(&format!("kill -INT $(cat {file}.pid)"));
    await_that("disconnected", || !laptop("ip link show cw9").status.success());
}
