//! A service under load in a lab of three clouds: the shares that the status promises are those that clients get, and
//! every pod of a Deployment can be put in another's place without a client noticing. Needs root, and nobody else's lab;
//! one lab at a time, so this is one test.

mod common;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::traffic::{Heart, STILL, TIMEOUT, load, restart, samples};
use common::{CAUSEWAY, Folder, good, items, status, until};
use serde_json::Value;

const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: left
  id: 1
  podCIDRs: ["10.1.0.0/16"]
  serviceCIDRs: ["10.101.0.0/16"]
  nodes:
  - {name: left-1, region: l, zone: l-a}
  - {name: left-2, region: l, zone: l-b}
  manifests: [left.yaml]
- name: middle
  id: 2
  podCIDRs: ["10.2.0.0/16"]
  serviceCIDRs: ["10.102.0.0/16"]
  nodes:
  - {name: middle-1, region: m, zone: m-a}
  manifests: [middle.yaml]
- name: right
  id: 3
  podCIDRs: ["10.3.0.0/16"]
  serviceCIDRs: ["10.103.0.0/16"]
  nodes:
  - {name: right-1, region: r, zone: r-a}
  manifests: [right.yaml]
links:
- {between: [left, middle], rtt: 5ms}
- {between: [left, right], rtt: 20ms}
- {between: [middle, right], rtt: 10ms}
"#;

/// Each cloud's part of the Deployment: twenty backends together.
const REPLICAS: [(&str, usize); 3] = [("left", 8), ("middle", 6), ("right", 6)];
/// New connections a second, from all clouds together.
const RATE: usize = 500;
/// For how long: a pod's end takes some two seconds, and each cloud replaces one at a time.
const DURATION: Duration = Duration::from_secs(24);

/// `echo` of one cloud, one with the others', and a client.
fn echo(cluster: &str, replicas: usize) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: demo, annotations: {{causeway.io/global: "true"}}}}
spec: {{selector: {{app: echo}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: echo, namespace: demo}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: echo}}}}
  template:
    metadata: {{labels: {{app: echo}}, annotations: {{lab.causeway.io/probe-period: 100ms}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: echo
        command: [causeway, echo, --listen, ":8080"]
        readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, failureThreshold: 1}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client, namespace: demo}}
spec:
  nodeName: {cluster}-1
  terminationGracePeriodSeconds: 1
  containers: [{{name: client, command: [sleep, infinity]}}]
---
"#
    )
}

/// `graded`: of left-1's three pods one is ready, of left-2's three one, so two thirds stay near, of the rest again two
/// thirds in the region, and what is left is middle's.
fn graded() -> String {
    let service = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: demo, annotations: \
             {{causeway.io/global: \"true\"}}}}\nspec: {{selector: {{app: graded}}, ports: [{{port: 80, targetPort: \
             8080}}]}}\n"
        )
    };
    let pod = |n: usize, node: &str, ready: bool| {
        let probe = if ready { "" } else { ", readinessProbe: {exec: {command: [\"false\"]}}" };
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: graded-{n}, namespace: demo, labels: {{app: \
             graded}}}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers: [{{name: echo, \
             command: [causeway, echo, --listen, \":8080\"]{probe}}}]\n"
        )
    };
    let pods = (0..6).map(|n| pod(n, ["left-1", "left-2"][n % 2], n < 2));
    std::iter::once(service("graded")).chain(pods).collect()
}

/// middle's part of it.
fn graded_elsewhere() -> String {
    graded().split("---\n").take(2).collect::<String>().to_string()
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: graded-9, namespace: demo, labels: {app: graded}}\nspec: \
           {nodeName: middle-1, terminationGracePeriodSeconds: 1, containers: [{name: echo, command: [causeway, echo, \
           --listen, \":8080\"]}]}\n"
}

fn service<'a>(status: &'a Value, cluster: &str, name: &str) -> &'a Value {
    let mut services = items(status, "services").iter();
    services.find(|s| s["cluster"] == cluster && s["name"] == name).unwrap_or(&Value::Null)
}

fn url(cluster: &str, name: &str) -> String {
    let status = status();
    let vip =
        service(&status, cluster, name)["vips"][0].as_str().expect("the service has an address").to_string();
    format!("http://{vip}/")
}

#[test]
fn under_load() {
    let folder = Folder::new("rolling");
    let file = folder.write("lab.yaml", LAB);
    let graded = folder.write("graded.yaml", &graded());
    for (cluster, replicas) in REPLICAS {
        let more = if cluster == "middle" { graded_elsewhere() } else { String::new() };
        folder.write(&format!("{cluster}.yaml"), &[echo(cluster, replicas), more].concat());
    }
    good(&["up", "--file", &file]);

    // Not before: up waits until every pod is ready, and some of these never are.
    good(&["apply", "-f", &graded, "--cluster", "left"]);
    shares_are_kept();
    nobody_notices_a_rolling_restart();
}

/// Ten thousand connections fall on the tiers as the status says, within two of a hundred.
fn shares_are_kept() {
    let promised = |status: &Value, tier: &str| -> f64 {
        let of_tier =
            items(service(status, "left", "graded"), "backends").iter().filter(|b| b["tier"] == tier);
        of_tier.filter_map(|b| b["share"].as_f64()).sum()
    };
    until("graded by readiness", |status| {
        let near = |tier, part: f64| (promised(status, tier) - part).abs() < 0.01;
        near("node", 2.0 / 3.0) && near("region", 2.0 / 9.0) && near("elsewhere", 1.0 / 9.0)
    });
    explained();
    let status = status();
    let samples = samples(load("left/demo/client", &url("left", "graded"), 1_000, Duration::from_secs(10)));
    let answered = samples.iter().filter(|sample| sample["outcome"] == "ok").count();
    assert_eq!((samples.len(), answered), (10_000, 10_000));
    for tier in ["node", "zone", "region", "cluster", "elsewhere"] {
        let seen = samples.iter().filter(|sample| sample["tier"] == tier).count() as f64 / 10_000.0;
        let promised = promised(&status, tier);
        assert!(
            (seen - promised).abs() < 0.02,
            "{tier}: {seen} of the connections, {promised} in the status"
        );
    }
}

/// What each tier could carry, keeps and lets go on, and how the other cloud's place came about.
fn explained() {
    let args = ["services", "show", "demo/graded", "--from", "left-1", "-o", "json"];
    let deadline = Instant::now() + Duration::from_secs(20);
    let shown: Value = loop {
        let output = Command::new(CAUSEWAY).args(args).output().expect("run causeway");
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if output.status.success() && shown[0]["distances"][0]["rttMs"].is_number() {
            break shown;
        }
        assert!(Instant::now() < deadline, "as planned and measured: not within 20 s\n{shown:#}");
        #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
        std::thread::sleep(Duration::from_millis(50));
    };
    let tiers: Vec<String> = items(&shown[0], "tiers")
        .iter()
        .map(|t| {
            let hundredths = |what: &str| (t[what].as_f64().unwrap_or_default() * 100.0).round();
            format!(
                "{} {}/{} {} {}",
                t["tier"],
                t["ready"],
                t["capacity"],
                hundredths("passes"),
                hundredths("share")
            )
        })
        .collect();
    assert_eq!(tiers, ["\"node\" 1/3 33 67", "\"region\" 1/3 33 22", "\"elsewhere\" 1/1 0 11"]);
    let nearest = &shown[0]["distances"][0];
    assert_eq!(
        (&nearest["cluster"], &nearest["place"], &nearest["weight"]),
        (&"middle".into(), &1.into(), &1.into())
    );
    assert!(nearest["rttMs"].as_f64().is_some_and(|ms| ms >= 5.0), "{nearest}");
    assert_eq!(nearest["rttMs"], nearest["scoreMs"], "without cost and weight the time alone counts");
}

/// Every pod of the Deployment is replaced, one at a time in each cloud, while clients of all clouds go on connecting.
/// The promise holds on a machine whose processes get their turns: a run in which they did not is made again.
fn nobody_notices_a_rolling_restart() {
    for attempt in 1.. {
        let heart = Heart::new();
        let (samples, took) = rolling_restart();
        let gap = heart.longest_gap();
        assert!(samples.len() >= RATE * DURATION.as_secs() as usize, "{} were sent", samples.len());
        let wrong: Vec<_> = samples.iter().filter(|(_, s)| s["outcome"] != "ok").collect();
        let in_time = took < DURATION;
        if wrong.is_empty() && in_time {
            return;
        }
        // A client gives up after its timeout, unless it was not given a processor to do so.
        let longest = samples.iter().filter_map(|(_, s)| s["ms"].as_f64()).fold(0.0, f64::max);
        let stood_still = !in_time || gap > STILL || longest > (TIMEOUT + STILL).as_secs_f64() * 1e3;
        assert!(
            stood_still && attempt < 3,
            "{} of {} failed in {took:?}, and nothing stood still for longer than {gap:?}:\n{wrong:#?}",
            wrong.len(),
            samples.len()
        );
        eprintln!("the machine stood still ({gap:?}; {took:?} in all; a request of {longest} ms): once more");
    }
}

/// What became of every request meanwhile, and the cloud that it was sent from; and how long the replacing took.
fn rolling_restart() -> (Vec<(&'static str, Value)>, Duration) {
    until("all ready", |status| {
        items(status, "pods").iter().filter(|pod| pod["ready"] == true).count() == 20 + 3 + 3
    });
    let loads = REPLICAS.map(|(cluster, _)| {
        load(&format!("{cluster}/demo/client"), &url(cluster, "echo"), RATE / 3 + 1, DURATION)
    });
    let begun = Instant::now();
    let restarts = REPLICAS.map(|(cluster, replicas)| {
        std::thread::spawn(move || {
            for n in 0..replicas {
                restart(cluster, &format!("echo-{n}"));
            }
        })
    });
    for restart in restarts {
        restart.join().expect("a restart");
    }
    let took = begun.elapsed();
    let of_cloud = |(load, (cluster, _)): (Child, (&'static str, usize))| {
        samples(load).into_iter().map(move |sample| (cluster, sample))
    };
    (loads.into_iter().zip(REPLICAS).flat_map(of_cloud).collect(), took)
}
