//! One controller leads; when it is gone, or cut off, another does, in less than five seconds.

use std::time::Duration;

use crate::common::proxy::Proxy;
use crate::common::{Replica, eventually, lines, node, pair, server, timed, writes};
use link::agent::AgentEvent;

/// What is promised, from the death of the leader to the next.
const TAKEOVER: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_leader_that_is_killed_is_followed() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let (first, second) = pair(&server, &dir).await;
    let before = first.until_it_leads().await.role.identity;
    assert_eq!(second.until_it_follows().await.role.leader, Some(before));
    first.kill();
    let (_, time) = timed(second.until_it_leads()).await;
    println!("takeover after a kill: {time:?}");
    assert!(time < TAKEOVER, "{time:?}");
    // It writes now.
    server.apply_json(node("a", &[]));
    eventually("a range for the new node", || server.get("meshnodes.causeway.io", "a").is_some()).await;
    assert!(server.violations().is_empty(), "{:?}", lines(&server.violations()));
}

#[tokio::test]
async fn a_leader_that_stops_gives_the_lease_back() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let (first, second) = pair(&server, &dir).await;
    let (_, time) = timed(async {
        tokio::task::spawn_blocking(|| first.stop()).await.unwrap();
        second.until_it_leads().await
    })
    .await;
    println!("takeover after a stop: {time:?}");
    assert!(time < Duration::from_secs(2), "{time:?}");
    let transitions =
        server.get("leases.coordination.k8s.io", "causeway-system/causeway-controller").unwrap();
    assert_eq!(transitions["spec"]["leaseTransitions"], 1, "{transitions}");
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let proxy = Proxy::to(server.url().trim_start_matches("http://").parse().unwrap()).await;
    let first = Replica::start(&dir.path().join("first"), &format!("http://{}", proxy.address));
    first.until_it_leads().await;
    let second = Replica::start(&dir.path().join("second"), &server.url());
    second.until_it_follows().await;

    proxy.silence();
    let ((), time) = timed(async {
        loop {
            // Asked in this order, two leaders at the same time would be seen.
            let first_leads = first.status().await.is_some_and(|status| status.role.leads);
            let second_leads = second.status().await.is_some_and(|status| status.role.leads);
            assert!(!(first_leads && second_leads), "two lead");
            if second_leads {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    println!("takeover after silence: {time:?}");
    assert!(time < TAKEOVER, "{time:?}");
    let cut_off = first.until("to notice", |status| status.source.away_seconds.is_some()).await;
    assert!(!cut_off.role.leads);
    assert!(cut_off.ready, "it serves what it has");
}

#[tokio::test]
async fn at_rest_hardly_anything_is_asked() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    for n in 0..20 {
        server.apply_json(node(&format!("n{n}"), &[&format!("10.1.{n}.0/24")]));
    }
    let (first, _second) = pair(&server, &dir).await;
    first.until("all nodes", |status| status.objects.get("nodes") == Some(&20)).await;
    // Whatever the start has left to do is done: the version is asked for, the Secret read.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.clear_requests();
    let window = Duration::from_secs(10);
    tokio::time::sleep(window).await;
    let asked = server.requests();
    println!("{} requests in {window:?}", asked.len());
    assert!(asked.len() < 10, "{:#?}", lines(&asked));
    assert_eq!(lines(&writes(&server)), Vec::<String>::new());
}

#[tokio::test]
async fn agents_hear_of_a_node_from_every_controller() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.apply_json(node("a", &["10.1.0.0/24"]));
    let (leader, standby) = pair(&server, &dir).await;
    server.accept_token("of-a", crate::common::identity("a"));
    eventually("the roots", || server.get("configmaps", "causeway-system/causeway-roots").is_some()).await;

    // It comes to the standby first, and is sent on with what it has to report.
    let addresses = [standby.address, leader.address];
    let mut agent = crate::common::Agent::start(&dir.path().join("a"), &server, "a", &addresses, "of-a");
    let at_leader = |_: &crate::common::Agent, event: &AgentEvent| matches!(event, AgentEvent::Connected { controller } if *controller == addresses[1]);
    agent.until("the leader", at_leader).await;
    assert!(agent.errors.iter().any(|e| e.contains("stands by")), "{:?}", agent.errors);
    let status = || server.get("meshnodes.causeway.io", "a").map(|object| object["status"].clone());
    eventually("the report", || status().is_some_and(|status| status["publicKey"].is_string())).await;
    assert_eq!(status().unwrap()["kubeProxy"], "Running");
    drop(agent);

    // The standby knows it now: nothing new is said, so the agent stays.
    server.clear_requests();
    let only = [standby.address];
    let mut agent = crate::common::Agent::start(&dir.path().join("a"), &server, "a", &only, "of-a");
    agent.until_synced().await;
    let node = agent.world.nodes.values().next().unwrap();
    assert_eq!((node.public_key, node.port), (Some(crate::common::report(1).public_key), 51820));
    assert_eq!(standby.until("its agent", |status| status.agents.len() == 1).await.agents[0].node, "a");
    assert_eq!(lines(&writes(&server)), Vec::<String>::new());
    agent.report.send_replace(crate::common::report(2));
    agent.until_error("stands by").await;
}

#[tokio::test]
async fn a_controller_that_has_nobody_to_ask_lives_and_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    // A port that nobody listens on: it was free a moment ago, and nothing is on disk.
    let nobody = ports::free();
    let replica = Replica::start(dir.path(), &format!("http://{nobody}"));
    let answer = async |path: &str| loop {
        match replica.answer(path).await {
            Some(answer) => return answer,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let (lives, ready) = (answer("/healthz").await, answer("/readyz").await);
    assert!(lives.starts_with("HTTP/1.1 200"), "{lives}");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("waiting for everything"), "{ready}");
    replica.kill();
}
