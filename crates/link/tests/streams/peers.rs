//! Two and three controllers over loopback, with real TLS.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{Controller, cluster, endpoint, link, name, node, pair, service, upserts};
use causeway_link::controller::{ControllerEvent, TokenTerms};
use engine::exchange::Held;
use model::{Change, Cluster, Object, World};

fn is_synced(event: &ControllerEvent) -> bool {
    matches!(event, ControllerEvent::PeerSynced { .. })
}

#[tokio::test]
async fn one_token_links_both_ways() {
    let (mut aws, mut gcp) = pair().await;
    for (controller, n) in [(&aws, 1), (&gcp, 2)] {
        let own = controller.cluster.name.as_str();
        controller.handle.publish(upserts([
            node(own, n, 1),
            service(own, "echo", true),
            service(own, "secret", false),
            endpoint(own, n, "echo", 1),
            endpoint(own, n, "secret", 2),
        ]));
    }
    // The cluster, its node, the global service and its endpoint; nothing else.
    aws.until_world("gcp's exports", |world| world.len() == 4).await;
    gcp.until_world("aws' exports", |world| world.len() == 4).await;
    gcp.handle.publish(upserts([service("gcp", "echo", false)]));
    aws.until_world("the withdrawal", |world| world.len() == 2).await;

    for (controller, other) in [(&aws, "gcp"), (&gcp, "aws")] {
        let links = controller.handle.links();
        assert_eq!(links.len(), 1);
        assert!(links[0].stream.connected && !links[0].stream.stale, "{links:?}");
        assert_eq!((links[0].cluster.as_str(), links[0].nodes), (other, 1));
        assert!(controller.handle.refused().is_empty(), "{:?}", controller.handle.refused());
    }
}

#[tokio::test]
async fn both_may_dial() {
    let (mut aws, mut gcp) = pair().await;
    // Each has joined the other: one stream stays, and it is not taken down again and again.
    link(&gcp, &aws).await;
    link(&aws, &gcp).await;
    aws.handle.publish(upserts([node("aws", 1, 1)]));
    gcp.handle.publish(upserts([node("gcp", 2, 1)]));
    aws.until_world("gcp", |world| world.len() == 2).await;
    gcp.until_world("aws", |world| world.len() == 2).await;
    let calm = async {
        loop {
            tokio::select! {
                event = aws.events.recv() => drop(event),
                event = gcp.events.recv() => drop(event),
            }
        }
    };
    // Whatever was under way settles; then nothing happens any more.
    let _ = tokio::time::timeout(Duration::from_secs(1), calm).await;
    let calm = async {
        tokio::select! {
            event = aws.events.recv() => event,
            event = gcp.events.recv() => event,
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(2), calm).await;
    assert!(event.is_err(), "{event:?}");
    assert!(aws.handle.links()[0].stream.connected && gcp.handle.links()[0].stream.connected);
}

#[tokio::test]
async fn tokens_that_do_not_link() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    let terms = TokenTerms::default();
    let link_token = |terms: &TokenTerms| aws.handle.link_token(terms).unwrap().token;
    let good = link_token(&terms);
    let expired = link_token(&TokenTerms { expires: Duration::ZERO, ..terms.clone() });
    for (token, expected) in [
        ("", "empty"),
        (&good[..40], "cut short"),
        (&aws.token(), "causeway link token"),
        (&expired, "has expired"),
    ] {
        let error = gcp.handle.join(token).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = aws.handle.join(&good).await.unwrap_err();
    assert!(error.to_string().contains("made by this cluster itself"), "{error}");
    gcp.handle.join(&good).await.unwrap();
    let error = gcp.handle.join(&good).await.unwrap_err();
    assert!(error.to_string().contains("used up"), "{error}");
    assert!(!error.is_transient());
    // Linking again, with a new token, is fine: the answer to the first may have been lost.
    gcp.handle.join(&link_token(&terms)).await.unwrap();
    assert_eq!(gcp.handle.links().len(), 1);
}

#[tokio::test]
async fn clusters_that_cannot_be_linked() {
    let (mut aws, _gcp) = pair().await;
    let token = aws.handle.link_token(&TokenTerms::default()).unwrap().token;
    let overlapping = Cluster { pod_cidrs: vec!["10.2.0.0/24".parse().unwrap()], ..cluster("azure", 3) };
    for (stranger, expected) in [
        (cluster("gcp", 3), "calls itself gcp with id 3, but gcp with id 2"),
        (cluster("azure", 2), "calls itself azure with id 2, but gcp with id 2"),
        (cluster("azure", 1), "calls itself azure with id 1, but aws with id 1"),
        (overlapping, "its pod ranges 10.2.0.0/24 overlap those of gcp: 10.2.0.0/16"),
    ] {
        let stranger = Controller::start(stranger).await;
        // The same token each time: what is refused costs no use.
        let error = stranger.handle.join(&token).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(stranger.handle.links().is_empty());
    }
    aws.until("saying so", |aws, _| aws.problems.iter().any(|p| p.contains("refused (link)"))).await;
    assert_eq!(aws.handle.refused()["link"], 4);
    let good = Controller::start(cluster("azure", 3)).await;
    good.handle.join(&token).await.unwrap();
}

#[tokio::test]
async fn links_outlive_either_side() {
    let (mut aws, mut gcp) = pair().await;
    gcp.handle.publish(upserts([node("gcp", 2, 1), node("gcp", 2, 2)]));
    aws.handle.publish(upserts([node("aws", 1, 1)]));
    aws.until_world("gcp", |world| world.len() == 3).await;
    gcp.until("all of aws", |gcp, event| gcp.world.len() == 2 && is_synced(event)).await;

    // The side that dials restarts, with what it knew of aws on disk: it dials again, and hears only what changed.
    let held = |c: &Controller, of: &str| {
        let place = c.places.get(&name(of)).copied();
        let held = Held::of(&c.world, place, |key| key.cluster().as_str() == of);
        BTreeMap::from([(name(of), held)])
    };
    let known = held(&gcp, "aws");
    assert!(known[&name("aws")].position.is_some());
    let (state, address) = gcp.stop().await;
    aws.until("the end", |_, event| matches!(event, ControllerEvent::PeerDown { .. })).await;
    aws.handle.publish(vec![Change::Delete(node("aws", 1, 1).key())]);
    let mut gcp = Controller::start_in(state, cluster("gcp", 2), address, |o| o.held = known).await;
    let mut heard = Vec::new();
    gcp.until("aws again", |_, event| {
        if let ControllerEvent::PeerChanges { changes, .. } = event {
            heard.extend(changes.clone());
        }
        is_synced(event)
    })
    .await;
    assert_eq!(heard, [Change::Delete(node("aws", 1, 1).key())]);

    // The new process publishes less than the old one: what it no longer says is gone at the other side.
    gcp.handle.publish(upserts([node("gcp", 2, 1)]));
    aws.until_world("gcp's new world", |world| world.nodes.len() == 1 && world.len() == 2).await;

    // The side that is dialled restarts without what it knew: the other dials until it is there.
    let (state, address) = aws.stop().await;
    gcp.until("the end", |_, event| matches!(event, ControllerEvent::PeerDown { .. })).await;
    let mut aws = Controller::start_in(state, cluster("aws", 1), address, |_| {}).await;
    aws.until_world("gcp again", |world| world.len() == 2).await;
}

#[tokio::test]
async fn what_no_link_stands_for_is_withdrawn() {
    let mut world = World::default();
    for change in upserts([Object::Cluster(cluster("gcp", 2)), node("gcp", 2, 1)]) {
        world.apply(change);
    }
    let known = Held::of(&world, None, |_| true);
    let held = BTreeMap::from([(name("gcp"), known)]);
    let mut aws = Controller::start_with(cluster("aws", 1), |o| o.held = held).await;
    aws.until("the withdrawal", |_, event| {
        matches!(event, ControllerEvent::PeerChanges { changes, position: None, .. } if changes.len() == 2)
    })
    .await;
}

#[tokio::test]
async fn what_a_peer_may_not_say_is_dropped_alone() {
    let (mut aws, gcp) = pair().await;
    aws.handle.publish(upserts([service("aws", "echo", true)]));
    let mut foreign = node("gcp", 2, 9);
    if let Object::Node(node) = &mut foreign {
        node.pod_cidrs = vec!["10.1.9.0/24".parse().unwrap()];
    }
    let mut outside = endpoint("gcp", 2, "echo", 1);
    if let Object::Endpoint(endpoint) = &mut outside {
        endpoint.ips = vec!["10.1.0.1".parse().unwrap()];
    }
    let good = [service("gcp", "echo", true), endpoint("gcp", 2, "echo", 2), node("gcp", 2, 1)];
    gcp.handle.publish(upserts([foreign.clone(), outside]));
    gcp.handle.publish(upserts(good));
    let all =
        |aws: &Controller| aws.world.len() == 4 && aws.problems.iter().any(|p| p.contains("10.1.9.0/24"));
    aws.until("the rest", |aws, _| all(aws)).await;
    assert_eq!(aws.handle.refused()["object"], 2);
    assert_eq!(aws.handle.links()[0].refused, 2);
    let said = aws.problems.join("\n");
    assert!(
        said.contains("node gcp/gcp-9") && said.contains("10.1.9.0/24") && said.contains("echo-7d9c5b-1"),
        "{said}"
    );
    assert!(aws.handle.links()[0].stream.connected);
}

#[tokio::test]
async fn a_cluster_that_moves_into_anothers_ranges() {
    let (mut aws, gcp) = pair().await;
    gcp.handle.publish(upserts([node("gcp", 2, 1)]));
    aws.until_world("gcp", |world| world.len() == 2).await;
    let grown = Cluster {
        pod_cidrs: vec!["10.2.0.0/16".parse().unwrap(), "10.22.0.0/16".parse().unwrap()],
        ..cluster("gcp", 2)
    };
    gcp.handle.publish(upserts([Object::Cluster(grown.clone()), node("gcp", 22, 2)]));
    aws.until_world("the grown gcp", |world| world.nodes.len() == 2).await;
    assert_eq!(aws.world.clusters[&name("gcp")], grown);

    let thief = Cluster { pod_cidrs: vec!["10.0.0.0/8".parse().unwrap()], ..grown };
    gcp.handle.publish(upserts([Object::Cluster(thief)]));
    aws.until("the refusal", |aws, _| aws.problems.iter().any(|p| p.contains("overlap those of aws"))).await;
    assert!(aws.handle.links()[0].stream.connected);
}

#[tokio::test]
async fn links_stay_while_certificates_change() {
    let lifetime = Duration::from_secs(4);
    let mut aws = Controller::start_with(cluster("aws", 1), |o| o.lifetimes.certificate = lifetime).await;
    let gcp = Controller::start_with(cluster("gcp", 2), |o| o.lifetimes.certificate = lifetime).await;
    link(&aws, &gcp).await;
    let start = std::time::Instant::now();
    for i in 1.. {
        gcp.handle.publish(upserts([node("gcp", 2, i)]));
        aws.until_world("the node", |world| world.nodes.len() as u64 == i).await;
        if start.elapsed() > 2 * lifetime {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!gcp.handle.refused().contains_key("certificate"), "{:?}", gcp.handle.refused());
}
