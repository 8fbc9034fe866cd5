//! Who reaches whom, in a lab: as it is, with a cable cut, and where nobody listens. Needs what `causeway lab up` needs.

mod common;

use common::{Folder, good, items, lab, left_and_right, until};
use serde_json::Value;

/// Two pods: `a` has servers on both ports, `b` only on the first.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: echo, command: [causeway, echo, --listen, ":80", --listen, ":81", --drain, 0s]}]
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: echo, command: [causeway, echo, --listen, ":80", --drain, 0s]}]
"#;

fn situation(expect: &str) -> String {
    let lines: String = expect.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: lab.causeway.io/v1alpha1\nkind: Situation\nname: a situation\nexpect: |\n{lines}")
}

/// The matrix under an expectation: whether all was as expected, and the report.
fn matrix(folder: &Folder, expect: &str, more: &[&str]) -> (bool, Value) {
    let file = folder.write("situation.yaml", &situation(expect));
    let args = [&["matrix", "-o", "json", "--situations", &file], more].concat();
    let output = lab(&args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    (output.status.success(), reports[0].clone())
}

fn outcomes<'a>(report: &'a Value, to: &str, port: u64) -> Vec<&'a str> {
    let about = |result: &&Value| result["to"] == to && result["port"] == port;
    items(report, "results").iter().filter(about).filter_map(|result| result["outcome"].as_str()).collect()
}

#[test]
fn who_reaches_whom() {
    let folder = Folder::new("matrix");
    folder.write("left.yaml", PODS);
    folder.write("right.yaml", PODS);
    let file = folder.write("lab.yaml", &left_and_right("rtt: 2ms"));
    good(&["up", "--file", &file]);
    until("both clusters have heard of each other", |status| {
        let links = items(status, "links");
        let tunnels = |node: &Value| items(node, "tunnels").iter().all(|tunnel| tunnel["alive"] == true);
        links.len() == 2
            && links.iter().all(|link| link["connected"] == true)
            && items(status, "nodes").iter().all(tunnels)
    });

    // Four pods, so 12 pairs; two protocols with two ports and one without, in two families.
    let (as_expected, report) = matrix(&folder, "+ * -> *", &[]);
    assert!(as_expected, "{:#}", report["differences"]);
    assert_eq!((&report["tried"], items(&report, "pods").len()), (&Value::from(12 * 5 * 2), 4));
    assert!(outcomes(&report, "right/x/a", 81).iter().all(|outcome| *outcome == "open"));
    // Where nobody listens it is refused: it has arrived.
    assert_eq!(outcomes(&report, "right/x/b", 81), ["refused"; 12]);

    good(&["cut", "left", "right"]);
    let apart = "- left/*/* -> right/*/*\n- right/*/* -> left/*/*";
    // What `policy check` says does not count here: no policy cuts cables.
    let (as_expected, report) = matrix(&folder, apart, &["--no-check"]);
    assert!(as_expected, "{:#}", report["differences"]);
    let (as_expected, report) =
        matrix(&folder, "+ * -> *", &["--no-check", "--settle", "0s", "--port", "80", "--protocol", "tcp"]);
    assert!(!as_expected);
    // Eight of the twelve pairs are of both clusters, in two families.
    assert_eq!(items(&report, "differences").len(), 16);
    // Silence; or, for whoever dials a node that its agent knows to be dead, that there is no way.
    assert!(items(&report, "differences").iter().all(|difference| difference["outcome"] != "open"));

    good(&["heal", "left", "right"]);
    let (as_expected, report) = matrix(&folder, "+ * -> *", &["--settle", "20s"]);
    assert!(as_expected, "{:#}", report["differences"]);
}
