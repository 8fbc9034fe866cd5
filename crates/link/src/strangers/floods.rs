//! A linked cluster that says too much, or what it may not.

use super::*;
use crate::controller::LinkSettings;
use engine::exchange::Budget;
use model::{Change, PublicKey};
use wire::local::LinkState;

/// A controller whose links may cost this much, linked with a stranger and with a cluster that behaves.
async fn between(budget: Budget) -> (Controller, Somebody, Controller) {
    let links = LinkSettings { budget, thaw: Duration::from_millis(200), ..LinkSettings::default() };
    let aws = Controller::start_with(cluster("aws", 1), |o| o.links = links).await;
    let gcp = Somebody::new("gcp");
    gcp.link(&aws, 2).await;
    let azure = Controller::start(cluster("azure", 3)).await;
    common::link(&aws, &azure).await;
    (aws, gcp, azure)
}

/// The other link does not notice.
async fn undisturbed(aws: &mut Controller, azure: &Controller, i: u64) {
    azure.handle.publish(common::upserts([node("azure", 3, i)]));
    aws.until_world("azure's node", |world| {
        world.nodes.keys().filter(|n| n.cluster == name("azure")).count() as u64 == i
    })
    .await;
    assert_eq!(aws.link("azure").state, LinkState::Connected);
}

#[tokio::test]
async fn a_million_services() {
    let (mut aws, gcp, azure) = between(Budget { objects: 10_000, ..Budget::default() }).await;
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    raw.say(Body::Begin(pb::Begin { epoch: 7, snapshot: true })).await;
    for batch in 0..1000 {
        let one = |i: u32| bytes(service("gcp", &format!("s{}", batch * 1000 + i), true)).into();
        let body =
            Body::Batch(pb::Batch { changes: (0..1000).map(one).collect(), revision: 1, keeps: vec![] });
        if raw.out.send(pb::Frame { body: Some(body) }).await.is_err() {
            break;
        }
    }
    let status = raw.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let said = "budget objects exceeded: 10001 objects held, 10000 are allowed";
    assert!(status.message().contains(said), "{status}");
    aws.until("the end", |_, event| matches!(event, ControllerEvent::PeerDown { .. })).await;
    let link = aws.link("gcp");
    assert_eq!((link.state, link.services), (LinkState::Frozen, 10_000), "what was held stays");
    assert!(link.stream.last_error.unwrap().contains(said));
    assert_eq!(aws.handle.refused()["budget"], 1);
    undisturbed(&mut aws, &azure, 1).await;

    // After a while it may try again; and if it has become modest, it is well again.
    let mut turns = 0;
    let raw = loop {
        let mut raw = Raw::greeted_or_not(&aws, gcp.claim(&gcp.controller())).await;
        match &mut raw {
            Ok(_) => break raw.unwrap(),
            Err(status) => assert!(status.message().contains(said), "{status}"),
        }
        turns += 1;
    };
    println!("refused {turns} times while it was frozen");
    let mut raw = raw;
    raw.tell(vec![bytes(Object::Cluster(cluster("gcp", 2)))]).await;
    raw.say(Body::Synced(pb::Synced { position: Some(pb::Position { epoch: 7, revision: 9 }) })).await;
    raw.say(Body::Ping(pb::Ping { sent: 0, behind: 0 })).await;
    eventually("being well", || aws.link("gcp").state == LinkState::Connected).await;
    assert_eq!(aws.link("gcp").services, 0);
}

#[tokio::test]
async fn changes_without_end() {
    let budget = Budget { objects: 100, changes_per_second: 10, ..Budget::default() };
    let (mut aws, gcp, azure) = between(budget).await;
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    raw.say(Body::Begin(pb::Begin { epoch: 7, snapshot: true })).await;
    let object = service("gcp", "echo", true);
    let flood = async {
        for i in 0..400u64 {
            let change =
                if i % 2 == 0 { Change::Upsert(object.clone()) } else { Change::Delete(object.key()) };
            let changes = vec![wire::encode_change(&change).encode_to_vec().into()];
            let body = Body::Batch(pb::Batch { changes, revision: i, keeps: vec![] });
            if raw.out.send(pb::Frame { body: Some(body) }).await.is_err() {
                break;
            }
        }
        raw.end().await
    };
    let ended = aws.until("the end", |_, event| matches!(event, ControllerEvent::PeerDown { .. }));
    let (status, ()) = tokio::join!(flood, ended);
    assert!(status.message().contains("budget changesPerSecond exceeded"), "{status}");
    undisturbed(&mut aws, &azure, 1).await;
}

#[tokio::test]
async fn a_hundred_megabytes_at_once() {
    let (mut aws, gcp, azure) = between(Budget::default()).await;
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    let changes = vec![vec![0; 100 * 1024 * 1024].into()];
    raw.say(Body::Batch(pb::Batch { changes, revision: 1, keeps: vec![] })).await;
    raw.end().await;
    eventually("the count", || aws.handle.refused().get("message") == Some(&1)).await;
    undisturbed(&mut aws, &azure, 1).await;
    // The stranger may come again.
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    raw.tell(vec![bytes(Object::Cluster(cluster("gcp", 2)))]).await;
    aws.until_world("gcp", |world| world.clusters.contains_key(&name("gcp"))).await;
}

#[tokio::test]
async fn what_nobody_asked_for_and_what_nobody_knows() {
    let (mut aws, gcp, _azure) = between(Budget::default()).await;
    let mut ours = node("aws", 1, 1);
    let mut thief = node("gcp", 2, 9);
    let mut inside = node("gcp", 2, 8);
    for (object, key) in [(&mut ours, 1), (&mut thief, 1), (&mut inside, 8)] {
        if let Object::Node(node) = object {
            node.public_key = Some(PublicKey([key; 32]));
        }
    }
    if let Object::Node(node) = &mut inside {
        node.public_ips = vec!["10.1.0.9".parse().unwrap()];
    }
    aws.handle.publish(common::upserts([ours]));
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    let unknown_kind = [0x0a, 0x04, 0x7a, 0x02, 0x08, 0x01].to_vec();
    let mut told = vec![
        bytes(Object::Cluster(cluster("gcp", 2))),
        unknown_kind,
        bytes(thief),
        bytes(inside),
        bytes(service("gcp", "echo", true)),
    ];
    told.extend((0..100).map(|i| bytes(endpoint("gcp", 2, "echo", i))));
    told.push(bytes(node("gcp", 2, 1)));
    raw.tell(told).await;
    aws.until_world("the last", |world| world.nodes.values().any(|n| n.name.node == "gcp-1")).await;
    assert_eq!(aws.world.len(), 3, "no endpoint that nobody has asked for");
    aws.until("saying so", |aws, _| !aws.problems.is_empty()).await;
    let said = aws.problems.join("\n");
    for part in [
        "malformed",
        "foreign-key",
        "node gcp/gcp-9",
        "of our node aws/aws-1",
        "10.1.0.9 is in the pod ranges of aws",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(aws.link("gcp").refused, 3);
}

#[tokio::test]
async fn wishes_without_end() {
    let (aws, gcp, _azure) = between(Budget::default()).await;
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    let interest = Some(pb::Interest::default());
    raw.say(Body::Subscribe(pb::Subscribe { interest, keeps: true, ..pb::Subscribe::default() })).await;
    for want in 0..20 {
        let name =
            |i: u32| pb::ServiceName { namespace: "demo".into(), name: format!("s{}", want * 16_384 + i) };
        let want = pb::Want { add: (0..16_384).map(name).collect(), ..pb::Want::default() };
        if raw.out.send(pb::Frame { body: Some(Body::Want(want)) }).await.is_err() {
            break;
        }
    }
    let status = raw.end().await;
    assert!(status.message().contains("services are wanted; 262144 can be"), "{status}");
    assert_eq!(aws.handle.refused()["message"], 1);
}

#[tokio::test]
async fn versions_around_ours() {
    for minor in [VERSION.minor - 2, VERSION.minor - 1, VERSION.minor, VERSION.minor + 1, VERSION.minor + 2] {
        let knows = minor >= 2;
        let mut aws = Controller::start(cluster("aws", 1)).await;
        let gcp = Somebody::new("gcp");
        gcp.link(&aws, 2).await;
        aws.handle.publish(common::upserts([service("aws", "echo", true), endpoint("aws", 1, "echo", 1)]));
        let mut raw = Raw::open(&aws, gcp.claim(&gcp.controller())).await.unwrap();
        let version = Some(pb::Version { major: VERSION.major, minor });
        raw.say(Body::Hello(pb::Hello { version, ..pb::Hello::default() })).await;
        // It asks as it did before there were interests, and tells more than is of use.
        raw.say(Body::Subscribe(pb::Subscribe::default())).await;
        let own = Object::Cluster(cluster("gcp", 2));
        let told = [
            own,
            service("gcp", "echo", true),
            service("gcp", "other", true),
            endpoint("gcp", 2, "other", 1),
            node("gcp", 2, 1),
        ];
        let (mut asked, mut heard) = (None, 0);
        let mut pings = 0;
        loop {
            match raw.incoming.message().await.unwrap().unwrap().body {
                Some(Body::Subscribe(ask)) => asked = Some(ask),
                Some(Body::Batch(batch)) => heard += batch.changes.len(),
                Some(Body::Ping(_)) => pings += 1,
                Some(Body::Synced(_)) if asked.is_some() => break,
                _ => {}
            }
        }
        assert_eq!(heard, 3, "everything: the cluster, the service, its endpoint ({minor})");
        let ask = asked.unwrap();
        assert_eq!((ask.interest.is_some(), ask.keeps, pings > 0), (knows, knows, knows), "{minor}");
        raw.tell(told.map(bytes).into()).await;
        aws.until_world("the node", |world| world.nodes.len() == 1).await;
        // What is of no use is left out where the other side knows how to do so; who does not, tells it and is heard.
        assert_eq!(aws.world.endpoints.len(), usize::from(!knows), "{minor}");
    }
}
