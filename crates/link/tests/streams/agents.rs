//! A controller and its agents over loopback, with real TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::proxy::Proxy;
use crate::common::{Agent, Controller, cluster, endpoint, name, node, report, service, upserts};
use causeway_link::agent::AgentEvent;
use causeway_link::controller::{ControllerEvent, TokenTerms};
use model::{Change, NodeName};

fn aws(n: u64) -> NodeName {
    NodeName::new(name("aws"), format!("aws-{n}")).unwrap()
}

/// An agent of `aws-1` that has joined and is synced.
async fn joined(aws_: &Controller, dir: &Path, through: SocketAddr) -> Agent {
    let mut agent = Agent::start(dir, aws(1), vec![through], &aws_.token());
    agent.until_synced().await;
    agent
}

fn is_disconnected(event: &AgentEvent) -> bool {
    matches!(event, AgentEvent::Disconnected { .. })
}

#[tokio::test]
async fn an_agent_joins_and_hears() {
    let mut controller = Controller::start(cluster("aws", 1)).await;
    controller.handle.publish(upserts([node("aws", 1, 1), service("aws", "echo", false)]));
    let dir = tempfile::tempdir().unwrap();
    let mut agent = joined(&controller, dir.path(), controller.handle.local_addr()).await;
    // The cluster itself is told without being published.
    assert_eq!(agent.world.len(), 3);
    let says = |n| move |_: &Controller, event: &ControllerEvent| matches!(event, ControllerEvent::Report { node, report: said } if *node == aws(1) && *said == report(n));
    controller.until("a report", says(1)).await;
    assert_eq!(controller.handle.agents(), [aws(1)]);

    controller.handle.publish(upserts([endpoint("aws", 1, "echo", 1)]));
    agent.until_synced().await;
    assert_eq!(agent.world.len(), 4);
    assert_eq!(agent.position.unwrap().revision, controller.handle.revision());
    agent.report.send_replace(report(2));
    controller.until("a new report", says(2)).await;

    drop(agent);
    controller.until("the agent's end", |_, event| matches!(event, ControllerEvent::AgentDown { .. })).await;
    assert!(controller.handle.agents().is_empty());
    assert!(controller.handle.refused().is_empty(), "{:?}", controller.handle.refused());
}

#[tokio::test]
async fn tokens_that_do_not_help() {
    let controller = Controller::start(cluster("aws", 1)).await;
    let other = Controller::start(cluster("gcp", 2)).await;
    let handle = &controller.handle;
    let reused = controller.token();
    let dir = tempfile::tempdir().unwrap();
    let mut first = Agent::start(dir.path(), aws(9), vec![handle.local_addr()], &reused);
    first.until_synced().await;

    let good = controller.token();
    let terms = TokenTerms::default();
    let node_token = |terms: TokenTerms| handle.node_token(&terms).unwrap().token;
    let cases = [
        ("", "no token in"),
        ("hello", "this is no token"),
        (&good[..good.len() - 9], "cut short"),
        (&handle.link_token(&terms).unwrap().token, "/v1/tokens/node"),
        (&other.token(), "for cluster gcp"),
        (&reused, "used up"),
        (&node_token(TokenTerms { uses: 0, ..terms.clone() }), "used up"),
        (&node_token(TokenTerms { expires: Duration::ZERO, ..terms.clone() }), "has expired"),
        (&node_token(TokenTerms { node: Some("aws-2".into()), ..terms.clone() }), "for another node"),
    ];
    for (token, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut agent = Agent::start(dir.path(), aws(1), vec![handle.local_addr()], token);
        agent.until_error(expected).await;
        // A good token in the same place is enough to go on.
        std::fs::write(dir.path().join("join-token"), controller.token()).unwrap();
        agent.until_synced().await;
    }
    assert!(handle.refused()["token"] >= 4, "{:?}", handle.refused());
}

#[tokio::test]
async fn a_token_of_another_ca_is_not_shown() {
    let real = Controller::start(cluster("aws", 1)).await;
    // Somebody else who calls itself aws, at the address where the agent expects its controller.
    let false_one = Controller::start(cluster("aws", 1)).await;
    let dir = tempfile::tempdir().unwrap();
    let token = TokenTerms { uses: 5, ..TokenTerms::default() };
    let token = false_one.handle.node_token(&token).unwrap().token;
    let mut agent = Agent::start(dir.path(), aws(1), vec![real.handle.local_addr()], &token);
    // The token's own address is right, so it joins there; the stream is refused where it was told to go.
    agent.until_error("does not vouch for it").await;
    assert!(real.handle.agents().is_empty());
}

#[tokio::test]
async fn an_identity_survives_a_restart_and_damage_is_not_fatal() {
    let controller = Controller::start(cluster("aws", 1)).await;
    let address = controller.handle.local_addr();
    let dir = tempfile::tempdir().unwrap();
    drop(joined(&controller, dir.path(), address).await);
    std::fs::remove_file(dir.path().join("join-token")).unwrap();
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], "");
    agent.until_synced().await;
    drop(agent);

    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("tls"), mode("tls/node.crt")), (0o700, 0o600));
    std::fs::write(dir.path().join("tls/node.crt"), "garbage").unwrap();
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], &controller.token());
    agent.until_synced().await;
}

#[tokio::test]
async fn a_cut_stream_resumes_with_what_changed() {
    let controller = Controller::start(cluster("aws", 1)).await;
    let proxy = Proxy::to(controller.handle.local_addr()).await;
    controller.handle.publish(upserts((0..500).map(|i| endpoint("aws", 1, "echo", i))));
    let dir = tempfile::tempdir().unwrap();
    let mut agent = joined(&controller, dir.path(), proxy.address).await;
    assert_eq!(agent.heard, 501);

    proxy.cut();
    agent.until("the cut", |_, event| is_disconnected(event)).await;
    controller.handle.publish(vec![Change::Delete(endpoint("aws", 1, "echo", 7).key())]);
    controller.handle.publish(upserts([endpoint("aws", 1, "echo", 900)]));
    agent.until_synced().await;
    assert_eq!((agent.heard, agent.world.len()), (2, 501));

    // The agent's own restart, with its world on disk, costs no more.
    let Agent { world, position, .. } = agent;
    controller.handle.publish(vec![Change::Delete(endpoint("aws", 1, "echo", 8).key())]);
    let mut agent = Agent::resume(dir.path(), aws(1), vec![proxy.address], "", world, position);
    agent.until_synced().await;
    assert_eq!((agent.heard, agent.world.len()), (1, 500));
}

#[tokio::test]
async fn a_restarted_controller_tells_everything() {
    let controller = Controller::start(cluster("aws", 1)).await;
    controller.handle.publish(upserts((0..10).map(|i| endpoint("aws", 1, "echo", i))));
    let dir = tempfile::tempdir().unwrap();
    let mut agent = joined(&controller, dir.path(), controller.handle.local_addr()).await;
    let before = agent.position.unwrap();

    let (state, address) = controller.stop().await;
    agent.until("the end of the stream", |_, event| is_disconnected(event)).await;
    assert_eq!(agent.world.len(), 11, "the last known world stays");
    let controller = Controller::start_mute(state, cluster("aws", 1), address, |_| {}).await;
    // It tells nothing before it knows everything: nothing would be taken for gone.
    agent.until("the stream", |_, event| matches!(event, AgentEvent::Connected { .. })).await;
    controller.handle.publish(upserts((5..12).map(|i| endpoint("aws", 1, "echo", i))));
    agent.until_synced().await;
    assert_eq!(agent.world.len(), 8);
    assert_eq!(agent.heard, 8 + 5, "what is, and what is no longer");
    assert_ne!(agent.position.unwrap().epoch, before.epoch);
}

#[tokio::test]
async fn the_next_controller_is_tried() {
    let controller = Controller::start(cluster("aws", 1)).await;
    let nobody = ports::free();
    let dir = tempfile::tempdir().unwrap();
    let controllers = vec![nobody, controller.handle.local_addr()];
    let mut agent = Agent::start(dir.path(), aws(1), controllers, &controller.token());
    agent.until_error("cannot reach").await;
    agent.until_synced().await;
}

#[tokio::test]
async fn silence_is_noticed_on_both_sides() {
    let mut controller = Controller::start(cluster("aws", 1)).await;
    let proxy = Proxy::to(controller.handle.local_addr()).await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = joined(&controller, dir.path(), proxy.address).await;
    proxy.silence();
    // TCP alone would take a quarter of an hour.
    tokio::join!(
        agent.until("the agent's notice", |_, event| is_disconnected(event)),
        controller
            .until("the controller's notice", |_, event| matches!(event, ControllerEvent::AgentDown { .. })),
    );
}

#[tokio::test]
async fn certificates_renew_themselves() {
    // Certificates count whole seconds.
    let lifetime = Duration::from_secs(4);
    let controller = Controller::start_with(cluster("aws", 1), |o| o.lifetimes.certificate = lifetime).await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = joined(&controller, dir.path(), controller.handle.local_addr()).await;
    let certificate = || std::fs::read(dir.path().join("tls/node.crt")).unwrap();
    let (first, start) = (certificate(), Instant::now());
    std::fs::remove_file(dir.path().join("join-token")).unwrap();
    // Twice its life later it has been renewed, and is heard as ever.
    for i in 0.. {
        controller.handle.publish(upserts([endpoint("aws", 1, "echo", i)]));
        agent.until_synced().await;
        if start.elapsed() > 2 * lifetime {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_ne!(certificate(), first);
    assert_eq!(agent.errors, Vec::<String>::new(), "a renewal is not a disconnection");
}

#[tokio::test]
async fn a_slow_agent_is_told_the_outcome() {
    let controller = Controller::start(cluster("aws", 1)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = joined(&controller, dir.path(), controller.handle.local_addr()).await;
    // It takes nothing while far more happens than any queue would hold, and the publisher never waits.
    const TIMES: u64 = 400;
    for i in 0..TIMES {
        let objects = (0..500).map(|j| {
            let mut object = endpoint("aws", 1, "echo", j);
            if let model::Object::Endpoint(endpoint) = &mut object {
                // Nothing that compresses: 60 digits of a number's multiples.
                let noise = (1..=4).map(|k| {
                    format!("{:015x}", (i * 500 + j).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(k) >> 4)
                });
                endpoint.labels.insert("noise".into(), noise.collect());
            }
            object
        });
        controller.handle.publish(upserts(objects));
        tokio::task::yield_now().await;
    }
    let end = controller.handle.revision();
    agent.until("the outcome", |agent, _| agent.position.is_some_and(|p| p.revision == end)).await;
    assert_eq!(agent.world.len(), 501);
    assert!(agent.heard < 500 * TIMES as usize / 4, "{} changes were told", agent.heard);
}

#[tokio::test]
async fn a_thousand_endpoints_are_small() {
    let controller = Controller::start(cluster("aws", 1)).await;
    let proxy = Proxy::to(controller.handle.local_addr()).await;
    let services = (0..50).map(|i| service("aws", &format!("service-{i}"), true));
    let endpoints = (0..1000).map(|i| endpoint("aws", 1, &format!("service-{}", i % 50), i));
    controller.handle.publish(upserts(services.chain(endpoints)));
    let dir = tempfile::tempdir().unwrap();
    let agent = joined(&controller, dir.path(), proxy.address).await;
    assert_eq!(agent.world.len(), 1051);
    let bytes = proxy.received.load(Ordering::Relaxed);
    println!("1000 endpoints of 50 services: {bytes} bytes, with both handshakes");
    // A tenth of what they take as protobuf; the handshakes are a few kilobytes of it.
    assert!(bytes < 40_000, "{bytes} bytes");
}
