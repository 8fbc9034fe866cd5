//! Policies on real packets: what Kubernetes' suites show in their situations, and the book's own across clusters. Every pod
//! tries every other one; who gets through has to be who should, and whom `policy check` says. Needs what `causeway lab up`
//! needs.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Folder, good, items, lab, status, until};
use ipnet::IpNet;
use model::policy::PolicyName;
use oracle::manifest::manifest;
use oracle::situations::{Change, Probe, Situation, cluster_network_policy, network_policy, pods};
use serde_json::{Value, json};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/policy");

/// The pods' addresses in the lab, by `NAMESPACE/POD`.
type Addresses = BTreeMap<String, Vec<IpNet>>;

/// What stands for a range of the situations in the lab: everywhere, all pods, or the addresses of some.
fn translated(range: IpNet, addresses: &Addresses) -> Vec<IpNet> {
    let net = |text: &str| text.parse().expect("a range");
    let inside: Vec<_> =
        pods().into_iter().filter(|pod| pod.ips.iter().all(|ip| range.contains(ip))).collect();
    match range.prefix_len() {
        0 => vec![net("0.0.0.0/0"), net("::/0")],
        _ if inside.len() == pods().len() => vec![net("10.1.0.0/16"), net("fd00:1::/48")],
        _ => {
            let name = |pod: &model::policy::Pod| format!("{}/{}", pod.name.namespace.name, pod.name.name);
            inside.iter().flat_map(|pod| addresses[&name(pod)].clone()).collect()
        }
    }
}

fn addresses() -> Addresses {
    let status = status();
    let own = items(&status, "pods").iter().filter(|pod| pod["cluster"] == "aws");
    own.map(|pod| {
        let text = |value: &Value| value.as_str().expect("text").to_string();
        let ips =
            items(pod, "ips").iter().map(|ip| text(ip).parse::<std::net::IpAddr>().expect("an address"));
        (format!("{}/{}", text(&pod["namespace"]), text(&pod["name"])), ips.map(IpNet::from).collect())
    })
    .collect()
}

/// A document of a file of situations: all of these policies in one cluster.
fn document(name: &str, policies: &BTreeMap<PolicyName, Value>) -> String {
    let all: Vec<String> = policies.values().map(ToString::to_string).collect();
    let policies = if all.is_empty() { json!({}) } else { json!({"aws": all.join("\n---\n")}) };
    json!({"apiVersion": "lab.causeway.io/v1alpha1", "kind": "Situation", "name": name, "policies": policies})
        .to_string()
}

/// One matrix for each document: a report each.
fn measure(folder: &Folder, documents: &[String], more: &[&str]) -> Vec<Value> {
    let file = folder.write("situations.yaml", &documents.join("\n---\n"));
    // What differs is tried again, so a busy machine costs time and no more.
    let words = ["matrix", "-o", "json", "--timeout", "200ms", "--settle", "10s", "--situations", &file];
    let output = lab(&[&words, more].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    let reports: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    for report in &reports {
        assert_eq!(report["differences"], json!([]), "{}: measured is not what was asked", report["name"]);
        assert_eq!(report["unchecked"], "", "{}", report["name"]);
    }
    assert_eq!(reports.len(), documents.len());
    reports
}

/// What the situation says is what was measured.
fn hold(name: &str, report: &Value, probes: &[Probe]) {
    let bare = |value: &Value| value.as_str().expect("a pod").trim_start_matches("aws/").to_string();
    for probe in probes {
        let protocol = probe.protocol.to_string().to_lowercase();
        let about = |its: &&Value| its["protocol"] == protocol.as_str() && its["port"] == probe.port;
        let mut found = 0;
        for result in items(report, "results").iter().filter(about) {
            found += 1;
            let (from, to) = (bare(&result["from"]), bare(&result["to"]));
            let open = result["outcome"] == "open";
            assert_eq!(open, probe.reaches(&from, &to), "{name}: {result:#}");
        }
        // This kernel may have no SCTP; the planner's own test asks about it.
        assert!(found == 144 || protocol == "sctp", "{name}: {found} tries of {protocol}/{}", probe.port);
    }
}

/// Runs situations without changes of labels all in one, those with them step by step.
fn kubernetes(folder: &Folder, situations: &[Situation]) {
    let addresses = addresses();
    let ranges = |range| translated(range, &addresses);
    let more = ["--cluster", "aws", "--protocol", "tcp,udp"];
    let (mut documents, mut expected) = (Vec::new(), Vec::new());
    for situation in situations {
        let mut policies = BTreeMap::new();
        let labels = |change: &Change| matches!(change, Change::LabelNamespace(..) | Change::LabelPod(..));
        let labelled = situation.steps.iter().any(|step| step.changes.iter().any(labels));
        for step in &situation.steps {
            for change in &step.changes {
                match change {
                    Change::Apply(policy) => {
                        drop(policies.insert(policy.name.clone(), manifest(policy, &ranges)))
                    }
                    Change::Delete(name) => drop(policies.remove(name)),
                    Change::LabelNamespace(name, key, value) => {
                        label(folder, "Namespace", name, Some((key, value)))
                    }
                    Change::LabelPod(name, key, value) => label(folder, "Pod", name, Some((key, value))),
                }
            }
            let document = document(situation.name, &policies);
            if labelled {
                hold(situation.name, &measure(folder, &[document], &more)[0], &step.probes);
            } else {
                documents.push(document);
                expected.push((situation.name, &step.probes));
            }
        }
        for change in situation.steps.iter().flat_map(|step| &step.changes) {
            match change {
                Change::LabelNamespace(name, ..) => label(folder, "Namespace", name, None),
                Change::LabelPod(name, ..) => label(folder, "Pod", name, None),
                Change::Apply(_) | Change::Delete(_) => {}
            }
        }
    }
    let reports = measure(folder, &documents, &more);
    for ((name, probes), report) in expected.into_iter().zip(&reports) {
        hold(name, report, probes);
    }
}

/// Gives an object of the lab's pods a label more, or what it had.
fn label(folder: &Folder, kind: &str, name: &str, more: Option<(&str, &str)>) {
    let text = std::fs::read_to_string(Path::new(EXAMPLES).join("pods.yaml")).expect("the example");
    let own = |document: &&str| {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        let lines: Vec<&str> = document.lines().map(str::trim).collect();
        lines.contains(&format!("kind: {kind}").as_str())
            && lines.contains(&format!("name: {name}").as_str())
            && (namespace.is_empty() || lines.contains(&format!("namespace: {namespace}").as_str()))
    };
    let object = text.split("---\n").find(own).unwrap_or_else(|| panic!("{kind} {name} is in the example"));
    let object = match more {
        Some((key, value)) => object.replace("labels: {", &format!("labels: {{{key}: {value}, ")),
        None => object.to_string(),
    };
    let file = folder.write("labelled.yaml", &object);
    good(&["apply", "--cluster", "aws", "--file", &file]);
}

#[test]
fn who_should_gets_through_and_nobody_else() {
    let folder = Folder::new("situations");
    good(&["up", "--file", &format!("{EXAMPLES}/lab.yaml")]);
    until("everybody is ready and the clusters know each other", |status| {
        items(status, "pods").iter().all(|pod| pod["ready"] == true)
            && items(status, "links").iter().all(|link| link["connected"] == true)
    });
    let across = std::fs::read_to_string(format!("{EXAMPLES}/situations.yaml")).expect("the example");
    let documents: Vec<String> = across.split("\n---\n").map(String::from).collect();
    measure(&folder, &documents, &[]);
    kubernetes(&folder, &network_policy());
    kubernetes(&folder, &cluster_network_policy());
}
