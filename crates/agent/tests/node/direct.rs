//! Clients outside of the cluster, who are answered by the backend's node: real agents, a real tunnel.

use serde_json::json;

use crate::machine::{EXTERNAL, Lan, run_in, seen_at, serve, talk};

pub(crate) fn backends_answer_clients_outside() {
    const EACH: usize = 8;
    let mut lan = Lan::build("direct");
    let start = |lan: &mut Lan, mode: &str| {
        for node in &mut lan.nodes {
            let mut config = node.config();
            config["services"] = json!({ "loadBalancerMode": mode, "loadBalancerAlgorithm": "maglev" });
            let place = node.place();
            node.start_with(&config, &place);
        }
    };
    start(&mut lan, "dsr");
    let (backend, _) = lan.pod(2, "p2");
    let _server = serve(&backend);
    let (outside, external) = (lan.outside(), format!("{EXTERNAL}:80"));
    let netns = outside.netns.clone().expect("it is a namespace");
    let lead_to =
        |node: usize| run_in(&netns, &format!("ip route replace {EXTERNAL} via {}", Lan::NODES[node][0]));
    lead_to(0);
    assert_eq!(seen_at(&outside, &external), Lan::OUTSIDE[0], "the backend sees the client");

    // A router that changes its mind, agents that come again, and the other mode for whoever comes later.
    let talkers = talk(&outside, &external, EACH);
    lead_to(1);
    for node in &mut lan.nodes {
        node.kill_agent();
    }
    lead_to(0);
    start(&mut lan, "snat");
    assert_eq!(seen_at(&outside, &external), "10.1.1.1", "new clients are seen as the node");
    let result = talkers.finish();
    assert!(result.starts_with(&format!("lost 0 of {EACH}")), "{result}");
}
