//! What becomes of links: removed, forgotten, away; and what a receiver that wants little is sent.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::proxy::Proxy;
use crate::common::{
    Controller, cluster, endpoint, eventually, link, name, node, pair, service, service_key, upserts,
};
use causeway_link::controller::{ControllerEvent, LinkSettings};
use engine::exchange::{Interest, Topics};
use model::{Change, Object};
use wire::local::LinkState;

/// What a removed link may take to be over on both sides.
const AT_ONCE: Duration = Duration::from_secs(1);

fn is_synced(event: &ControllerEvent) -> bool {
    matches!(event, ControllerEvent::PeerSynced { .. })
}

#[tokio::test]
async fn a_removed_link_is_over_on_both_sides_at_once() {
    // Whoever dialled, and whoever removes it.
    for remover in ["aws", "gcp"] {
        let (mut aws, mut gcp) = pair().await;
        aws.handle.publish(upserts([node("aws", 1, 1)]));
        gcp.handle.publish(upserts([node("gcp", 2, 1)]));
        aws.until_world("gcp", |world| world.len() == 2).await;
        gcp.until_world("aws", |world| world.len() == 2).await;
        let (mut here, mut there) = if remover == "aws" { (aws, gcp) } else { (gcp, aws) };
        let (own, other) = (here.cluster.name.clone(), there.cluster.name.clone());

        let start = Instant::now();
        assert!(here.handle.remove_link(&other).unwrap());
        here.until_world("nothing of the other", |world| world.is_empty()).await;
        there.until_world("nothing of the one that removed it", |world| world.is_empty()).await;
        let took = start.elapsed();
        println!("removed at {remover}: over on both sides after {took:?}");
        assert!(took < AT_ONCE, "{took:?}");
        assert!(here.handle.links().is_empty());
        there.until("the end", |_, event| matches!(event, ControllerEvent::PeerDown { .. })).await;
        let link = there.link(own.as_str());
        assert_eq!((link.state, link.stream.connected), (LinkState::Removed, false));
        let why = link.stream.last_error.unwrap_or_default();
        assert!(why.contains(&format!("cluster {own} has removed the link")), "{why}");
        assert!(!here.handle.remove_link(&other).unwrap());
        // A new token makes it a link again.
        link_again(&mut here, &mut there).await;
    }
}

async fn link_again(here: &mut Controller, there: &mut Controller) {
    link(here, there).await;
    here.until_world("the other, again", |world| world.len() == 2).await;
    there.until_world("the one, again", |world| world.len() == 2).await;
    assert_eq!(there.link(here.cluster.name.as_str()).state, LinkState::Connected);
}

#[tokio::test]
async fn a_link_that_is_removed_while_the_other_side_is_away() {
    let (aws, mut gcp) = pair().await;
    aws.handle.publish(upserts([node("aws", 1, 1)]));
    gcp.until("aws", |gcp, event| gcp.world.len() == 2 && is_synced(event)).await;
    let held = gcp.held("aws");
    let (state, address) = gcp.stop().await;
    // It restarts, so nothing is left but what is on disk.
    let (aws_state, aws_address) = {
        aws.handle.remove_link(&name("gcp")).unwrap();
        aws.stop().await
    };
    let aws = Controller::start_in(aws_state, cluster("aws", 1), aws_address, |_| {}).await;
    let mut gcp = Controller::start_in(state, cluster("gcp", 2), address, |o| o.held = held).await;
    gcp.until("the withdrawal", |_, event| {
        matches!(event, ControllerEvent::PeerChanges { changes, .. }
            if changes.iter().filter(|change| matches!(change, Change::Delete(_))).count() == 2)
    })
    .await;
    eventually("the state", || gcp.link("aws").state == LinkState::Removed).await;
    // That stays so, and nobody is asked any more.
    let refused = aws.handle.refused().get("caller").copied();
    let (state, address) = gcp.stop().await;
    let gcp = Controller::start_in(state, cluster("gcp", 2), address, |_| {}).await;
    assert_eq!(gcp.link("aws").state, LinkState::Removed);
    assert!(gcp.link("aws").stream.last_error.is_some_and(|e| e.contains("has removed the link")));
    assert_eq!(aws.handle.refused().get("caller").copied(), refused);
}

#[tokio::test]
async fn who_is_away_for_long_is_forgotten_if_that_is_wanted() {
    let forget = LinkSettings { forget_after: Some(Duration::from_secs(1)), ..LinkSettings::default() };
    let mut aws = Controller::start_with(cluster("aws", 1), |o| o.links = forget).await;
    let mut gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    aws.handle.publish(upserts([service("aws", "echo", true)]));
    let objects =
        || upserts([node("gcp", 2, 1), service("gcp", "echo", true), endpoint("gcp", 2, "echo", 1)]);
    gcp.handle.publish(objects());
    aws.until_world("gcp", |world| world.len() == 4).await;
    gcp.until_world("aws", |world| world.len() == 2).await;
    let (state, address) = gcp.stop().await;
    aws.until("the end", |_, event| matches!(event, ControllerEvent::PeerDown { .. })).await;
    // At first everything stays as it was last known, for discovery: what is dead, the data path knows.
    assert_eq!((aws.world.len(), aws.link("gcp").endpoints), (4, 1));
    assert_eq!(aws.link("gcp").state, LinkState::Connecting);
    aws.until_world("nothing of gcp", |world| world.is_empty()).await;
    assert_eq!(aws.handle.links().len(), 1, "the link stays");
    // It comes back with everything.
    let gcp = Controller::start_mute(state, cluster("gcp", 2), address, |_| {}).await;
    gcp.handle.publish(objects());
    aws.until_world("gcp again", |world| world.len() == 4).await;
}

#[tokio::test]
async fn what_is_known_stays_while_nobody_can_be_reached() {
    let (mut aws, gcp) = pair().await;
    let azure = Controller::start(cluster("azure", 3)).await;
    link(&azure, &aws).await;
    aws.handle.publish(upserts([service("aws", "echo", true)]));
    for (other, n) in [(&gcp, 2), (&azure, 3)] {
        let own = other.cluster.name.as_str();
        other.handle.publish(upserts([
            node(own, n, 1),
            service(own, "echo", true),
            endpoint(own, n, "echo", 1),
        ]));
    }
    let mut synced = 0;
    aws.until("both", |aws, event| {
        synced += u32::from(is_synced(event));
        aws.world.len() == 8 && aws.places.len() == 2 && is_synced(event) && synced >= 2
    })
    .await;
    let mut held = aws.held("gcp");
    held.extend(aws.held("azure"));
    let (state, address) = aws.stop().await;
    let (gcp_state, gcp_address) = gcp.stop().await;
    drop(azure);
    let mut aws = Controller::start_in(state, cluster("aws", 1), address, |o| o.held = held).await;
    aws.handle.publish(upserts([service("aws", "echo", true)]));
    for other in ["gcp", "azure"] {
        let link = aws.link(other);
        assert_eq!((link.nodes, link.services, link.endpoints), (1, 1, 1), "{other}");
        assert!(link.stream.stale && link.state == LinkState::Connecting, "{link:?}");
    }
    // The first that is back is taken up again; of the other everything stays.
    let gcp = Controller::start_mute(gcp_state, cluster("gcp", 2), gcp_address, |_| {}).await;
    gcp.handle.publish(upserts([node("gcp", 2, 1)]));
    aws.until("gcp", |_, event| is_synced(event)).await;
    assert_eq!((aws.link("gcp").services, aws.link("azure").endpoints), (0, 1));
}

#[tokio::test]
async fn endpoints_travel_to_whoever_uses_them() {
    // 1,000 endpoints of 50 services, seen from a cluster that has none of the services.
    let listen = ports::free();
    let proxy = Proxy::to(listen).await;
    let dir = tempfile::tempdir().unwrap();
    let aws =
        Controller::start_in(dir, cluster("aws", 1), listen, |o| o.advertise = vec![proxy.address]).await;
    let service_of = |i: u64| format!("service-{}", i % 50);
    let services = (0..50).map(|i| service("aws", &service_of(i), true));
    let all = services.chain((0..1000).map(|i| endpoint("aws", 1, &service_of(i), i)));
    aws.handle.publish(upserts(all));
    let mut gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    gcp.until("aws", |_, event| is_synced(event)).await;
    assert_eq!(gcp.world.len(), 51, "the cluster and its services");
    let received = || proxy.received.load(Ordering::Relaxed);
    let first = received();
    for weight in 2..100 {
        let changed = (0..100).map(|i| {
            let mut object = endpoint("aws", 1, &service_of(i), i);
            if let Object::Endpoint(endpoint) = &mut object {
                endpoint.weight = weight;
            }
            object
        });
        aws.handle.publish(upserts(changed));
    }
    // Whatever was under way is there with the next node.
    aws.handle.publish(upserts([node("aws", 1, 1)]));
    gcp.until_world("the node", |world| world.nodes.len() == 1).await;
    let churn = received() - first;
    println!("nothing imported: {first} bytes for 50 services, {churn} for 9,800 changes and a node");
    assert!(churn < 2000, "{churn} bytes");
    assert_eq!((gcp.world.endpoints.len(), gcp.link("aws").endpoints), (0, 0));

    // It comes to have one of them, and later has it no more.
    gcp.handle.publish(upserts([service("gcp", "service-7", true)]));
    gcp.until("the endpoints", |gcp, event| gcp.link("aws").endpoints == 20 && is_synced(event)).await;
    assert_eq!(gcp.world.endpoints[&service_key("aws", "service-7")].len(), 20);
    let only = Interest::only(Topics::services([service_key("aws", "service-7").name]));
    assert_eq!(gcp.interests[&name("aws")], only);
    assert_eq!(gcp.link("aws").flow.wanted, Some(1));
    // A restart resumes with what it has.
    let held = gcp.held("aws");
    let (state, address) = gcp.stop().await;
    let mut gcp = Controller::start_mute(state, cluster("gcp", 2), address, |o| o.held = held).await;
    gcp.handle.publish(upserts([service("gcp", "service-7", true)]));
    aws.handle.publish(vec![Change::Delete(endpoint("aws", 1, "service-7", 7).key())]);
    let mut heard = 0;
    gcp.until("aws again", |_, event| {
        if let ControllerEvent::PeerChanges { changes, .. } = event {
            heard += changes.len();
        }
        is_synced(event)
    })
    .await;
    assert_eq!((heard, gcp.link("aws").endpoints), (1, 19));
    gcp.handle.publish(vec![Change::Delete(service("gcp", "service-7", true).key())]);
    eventually("no endpoints", || gcp.link("aws").endpoints == 0).await;
}

#[tokio::test]
async fn links_say_how_they_fare() {
    let (aws, gcp) = pair().await;
    for controller in [&aws, &gcp] {
        let other = if controller.cluster.name == name("aws") { "gcp" } else { "aws" };
        eventually("a round trip", || controller.link(other).flow.rtt_ms.is_some()).await;
        eventually("the lag", || controller.link(other).flow.lag_ms.is_some()).await;
        let link = controller.link(other);
        assert_eq!(link.state, LinkState::Connected);
        assert!(link.flow.lag_ms.unwrap() < 5000.0 && link.flow.rtt_ms.unwrap() < 5000.0, "{link:?}");
        let measures: Vec<_> = link.flow.budget.iter().map(|part| part.measure.as_str()).collect();
        assert_eq!(measures, ["objects", "bytes", "changesPerSecond", "bytesPerSecond"]);
        assert!(link.flow.budget.iter().all(|part| part.used < part.limit as f64));
    }
}
