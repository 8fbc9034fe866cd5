//! Backends that say they are ready and refuse who connects.

use std::time::Instant;

use kernel::sandbox::Sandbox;
use serde_json::json;
use wire::local::BackendStatus;

use crate::machine::{Lan, Machine, NEAR_VIP, PORT, Program, run_in, serve, until};

/// More than any number of connects in a row that would spare one of three backends by chance.
const MANY: usize = 60;

pub(crate) fn are_ejected_and_come_back() {
    let mut lan = Lan::build("outliers");
    for node in &mut lan.nodes {
        let (mut config, place) = (node.config(), node.place());
        config["services"] = json!({ "ejectOutliers": true });
        node.start_with(&config, &place);
    }
    let pods: Vec<Sandbox> = ["p1", "p2", "p3"].map(|tag| lan.pod(1, tag).0).into();
    let client = lan.pod(1, "client").0;
    let node = &lan.nodes[0];
    let mut servers: Vec<Program> = pods.iter().map(serve).collect();
    assert_eq!(failed(&client, MANY), 0);

    // One of them refuses. Its endpoint stays ready: nobody watches it.
    servers.pop();
    let begun = Instant::now();
    let (mut tries, mut lost) = (0, 0);
    until("the one that refuses is passed over", || {
        let failed = failed(&client, 10);
        (tries, lost) = (tries + 10, lost + failed);
        failed == 0 && ejected(node).len() == 1
    });
    println!("ejected after {:.2?}, {lost} of {tries} connects failed", begun.elapsed());
    assert_eq!(failed(&client, MANY), 0, "while it is out nobody meets it");
    let out = &ejected(node)[0];
    assert_eq!((out.pod.as_str(), out.share, out.healthy), ("demo/near-3", 0.0, false));
    assert!(out.why.contains("refused, 0 unanswered)"), "{}", out.why);

    servers.push(serve(&pods[2]));
    until("it comes back by itself", || ejected(node).is_empty());
    until("it takes its share again", || backends(node).iter().all(|backend| backend.share > 0.3));
    assert_eq!(failed(&client, MANY), 0);

    // One of them does not answer.
    let silent = pods[1].netns.as_ref().expect("it has one");
    for line in [
        "nft add table inet hole",
        "nft add chain inet hole in { type filter hook input priority 0 ; }",
        &format!("nft add rule inet hole in tcp dport {PORT} drop"),
    ] {
        run_in(silent, line);
    }
    let begun = Instant::now();
    let dialled = format!("{NEAR_VIP}:80");
    let _dialling: Vec<_> = (0..30).map(|_| Program::start(&client, &["dial", &dialled, "1"])).collect();
    until("the one that is silent is passed over", || !ejected(node).is_empty());
    println!("ejected after {:.2?}", begun.elapsed());
    let out = &ejected(node)[0];
    assert_eq!(out.pod, "demo/near-2");
    assert!(out.why.contains("(0 refused"), "{}", out.why);
    assert_eq!(failed(&client, MANY), 0);
    run_in(silent, "nft delete table inet hole");
    until("it comes back, too", || ejected(node).is_empty() && failed(&client, MANY) == 0);

    // All of them refuse: whoever counts may be wrong, and a service is never emptied.
    servers.clear();
    until("as many are ejected as may be", || failed(&client, 10) > 0 && ejected(node).len() == 1);
    assert!(failed(&client, MANY) > 0);
    let left = backends(node).iter().filter(|backend| backend.share > 0.0).count();
    assert_eq!((left, ejected(node).len()), (2, 1));
    let stays = |problem: &String| problem.contains("demo/near") && problem.contains("stay");
    until("it is said why", || node.status().unwrap().problems.iter().any(stays));
    let _servers: Vec<Program> = pods.iter().map(serve).collect();
    until("all are back", || failed(&client, 10) == 0 && ejected(node).is_empty());
    assert_eq!(failed(&client, MANY), 0);
}

/// How many of so many connects fail.
fn failed(client: &Sandbox, count: usize) -> usize {
    let said = Program::start(client, &["dial", &format!("{NEAR_VIP}:80"), &count.to_string()]).line();
    said.parse().unwrap_or_else(|_| panic!("not a number: {said}"))
}

fn backends(node: &Machine) -> Vec<BackendStatus> {
    let services = node.status().expect("the agent answers").services;
    services.into_iter().find(|one| one.service.name.name == "near").expect("the service").backends
}

fn ejected(node: &Machine) -> Vec<BackendStatus> {
    backends(node).into_iter().filter(|backend| backend.why.starts_with("ejected")).collect()
}
