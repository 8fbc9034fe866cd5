//! Policies of two clouds while what they are about comes and goes: pods with new addresses, and agents that are killed, under
//! load. Not one connection that should be is refused, and none that should not be is made. Needs root, and nobody else's lab;
//! one lab at a time, so this is one test.

mod common;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::traffic::{Heart, STILL, TIMEOUT, load, restart, samples};
use common::{CAUSEWAY, Folder, good, items, left_and_right, status, until};
use serde_json::Value;

/// The client may dial servers of the other cloud and nobody else.
const LEFT: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: server, namespace: demo, annotations: {causeway.io/global: "true"}}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: demo, labels: {app: client}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: client, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: demo, labels: {app: stranger}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: client, command: [sleep, infinity]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: demo}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: server, causeway.io/cluster: right}}}]}]
"#;

/// Servers take the other cloud's client and nobody else; beside them a pod that takes everybody.
const RIGHT: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: server, namespace: demo, annotations: {causeway.io/global: "true"}}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}, annotations: {lab.causeway.io/probe-period: 100ms}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: echo
        command: [causeway, echo, --listen, ":8080"]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, failureThreshold: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: decoy, namespace: demo}
spec:
  replicas: 1
  selector: {matchLabels: {app: decoy}}
  template:
    metadata: {labels: {app: decoy}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: echo, command: [causeway, echo, --listen, ":8080", --drain, 0s]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: demo}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client, causeway.io/cluster: left}}}]}]
"#;

/// New connections a second of who may, and of each who may not.
const RATE: usize = 200;
const STRANGE_RATE: usize = 50;
fn server_vip() -> String {
    let status = status();
    let mut services = items(&status, "services").iter();
    let service = services.find(|s| s["cluster"] == "left" && s["name"] == "server").expect("the service");
    service["vips"][0].as_str().expect("it has an address").into()
}

fn decoy_ip() -> String {
    let status = status();
    let decoy = items(&status, "pods").iter().find(|pod| pod["name"] == "decoy-0").expect("the decoy");
    decoy["ips"][0].as_str().expect("it has an address").into()
}

#[test]
fn policies_hold() {
    let folder = Folder::new("policy-holds");
    folder.write("left.yaml", LEFT);
    folder.write("right.yaml", RIGHT);
    good(&["up", "--file", &folder.write("lab.yaml", &left_and_right("rtt: 5ms"))]);
    until("the service has two backends far away", |status| {
        let servers = items(status, "services").iter().find(|s| s["cluster"] == "left");
        servers.is_some_and(|s| items(s, "backends").iter().filter(|b| b["share"] == 0.5).count() == 2)
    });
    // Servers and the decoy get each other's old addresses.
    under_load("pods with new addresses", Duration::from_secs(12), || {
        for name in ["server-0", "decoy-0", "server-1", "decoy-0"] {
            restart("right", name);
        }
    });
    under_load("agents killed", Duration::from_secs(24), || {
        for _ in 0..2 {
            let before = agents(&status());
            let pids = before.iter().map(ToString::to_string);
            let killed = Command::new("kill").arg("-9").args(pids).status().expect("run kill");
            assert!(killed.success());
            until("agents of their own again", |status| {
                let nodes = items(status, "nodes").iter().all(|node| node["agent"]["ready"] == true);
                nodes && agents(status).iter().all(|pid| *pid != 0 && !before.contains(pid))
            });
        }
    });
}

fn agents(status: &Value) -> Vec<u64> {
    items(status, "nodes").iter().map(|node| node["agent"]["pid"].as_u64().unwrap_or_default()).collect()
}

/// Does something while the client dials the servers, a stranger dials them, too, and the client dials whoever is at
/// the decoy's address. What must not be never is; what must be fails only where the machine stood still.
fn under_load(what: &str, duration: Duration, act: impl Fn()) {
    for attempt in 1.. {
        let heart = Heart::new();
        let begun = Instant::now();
        let vip = format!("http://{}/", server_vip());
        let aside = format!("http://{}:8080/", decoy_ip());
        let may = load("left/demo/client", &vip, RATE, duration);
        let stranger = load("left/demo/stranger", &vip, STRANGE_RATE, duration);
        let astray = load("left/demo/client", &aside, STRANGE_RATE, duration);
        act();
        let in_time = begun.elapsed() < duration;
        let made = |load: Child| -> Vec<Value> {
            samples(load).into_iter().filter(|s| s["outcome"] == "ok").collect()
        };
        let wrong = made(stranger);
        assert!(wrong.is_empty(), "{what}: a stranger reached a server: {wrong:#?}");
        let mut wrong = made(astray);
        wrong.retain(|s| s["answer"]["pod"] == "decoy-0");
        assert!(wrong.is_empty(), "{what}: the client reached the decoy: {wrong:#?}");
        let samples = samples(may);
        let failed: Vec<_> = samples.iter().filter(|s| s["outcome"] != "ok").collect();
        assert!(samples.len() >= RATE * duration.as_secs() as usize, "{} were sent", samples.len());
        if failed.is_empty() && in_time {
            return;
        }
        let gap = heart.longest_gap();
        let longest = samples.iter().filter_map(|s| s["ms"].as_f64()).fold(0.0, f64::max);
        let stood_still = !in_time || gap > STILL || longest > (TIMEOUT + STILL).as_secs_f64() * 1e3;
        let denied = Command::new(CAUSEWAY).args(["policy", "watch", "--for", "1s"]).output();
        assert!(
            stood_still && attempt < 3,
            "{what}: {} of {} failed, and nothing stood still for longer than {gap:?}:\n{failed:#?}\n{denied:?}",
            failed.len(),
            samples.len()
        );
        eprintln!("the machine stood still ({gap:?}; a request of {longest} ms): once more");
    }
}
