//! Who is told of which pods, namespaces and policies.

use super::*;

fn teller() -> Teller {
    let mut teller = Teller::new(name("aws"), 7, Limits { batch_objects: 2, ..Limits::default() });
    for object in [
        Object::Cluster(aws()),
        namespace("aws", 0, true),
        namespace("aws", 1, false),
        pod("aws", 0, 0, "10.1.0.1", Some(0)),
        pod("aws", 0, 1, "10.1.1.1", Some(1)),
        pod("aws", 1, 2, "10.1.1.2", Some(1)),
        pod("aws", 1, 3, "10.1.1.3", None),
        policy("aws", 0, false),
        policy("aws", 1, true),
        namespace("gcp", 0, true),
        pod("gcp", 0, 0, "10.2.0.1", Some(0)),
        policy("gcp", 0, true),
    ] {
        teller.apply(Change::Upsert(object));
    }
    teller
}

fn pods(world: &World) -> Vec<String> {
    world.pods.keys().map(ToString::to_string).collect()
}

fn names<K: ToString>(keys: impl IntoIterator<Item = K>) -> Vec<String> {
    keys.into_iter().map(|key| key.to_string()).collect()
}

#[test]
fn an_agent_hears_of_its_own_pods_in_any_case() {
    let mut teller = teller();
    let mut agent = Receiver::new(Audience::Agents);
    agent.drain(&teller);
    assert_eq!(pods(&agent.world), ["aws/ns0/p0"]);
    assert_eq!(names(agent.world.namespaces.keys()), ["aws/ns0", "aws/ns1"]);
    assert_eq!(agent.world.policies.len(), 3, "those that its controller has taken from others, too");

    // A pod that comes, before it has an address; one that goes to another node; one that comes from there.
    let heard = agent.heard;
    teller.apply(Change::Upsert(pod("aws", 1, 3, "10.1.0.3", Some(0))));
    teller.apply(Change::Upsert(pod("aws", 0, 0, "10.1.1.9", Some(1))));
    teller.apply(Change::Upsert(pod("aws", 0, 1, "10.1.0.9", Some(0))));
    agent.drain(&teller);
    assert_eq!(pods(&agent.world), ["aws/ns0/p1", "aws/ns1/p3"]);
    assert_eq!(agent.heard - heard, 3);
    // What happens elsewhere is nothing to it.
    for _ in 0..10 {
        teller.apply(Change::Delete(pod("aws", 1, 2, "10.1.1.2", Some(1)).key()));
        teller.apply(Change::Upsert(pod("aws", 1, 2, "10.1.1.2", Some(1))));
    }
    agent.drain(&teller);
    assert_eq!((agent.heard - heard, agent.snapshots), (3, 1));
}

#[test]
fn pods_elsewhere_are_filled_in_and_taken_away() {
    let mut teller = teller();
    let mut agent = Receiver::new(Audience::Agents);
    agent.drain(&teller);
    agent.want(with_pods(&["aws", "gcp"]));
    agent.drain(&teller);
    assert_eq!(pods(&agent.world).len(), 5);
    assert_eq!((agent.world.namespaces.len(), agent.snapshots), (3, 1));
    // It resumes with them.
    let heard = agent.heard;
    teller.apply(Change::Upsert(pod("gcp", 0, 0, "10.2.0.7", Some(0))));
    agent.restart();
    agent.drain(&teller);
    assert_eq!((agent.heard, agent.snapshots), (1, 0), "after {heard}");
    // And without those that are of no use any more; its own stay.
    agent.want(with_pods(&["gcp"]));
    assert_eq!(pods(&agent.world), ["aws/ns0/p0", "gcp/ns0/p0"]);
    teller.apply(Change::Delete(pod("aws", 0, 0, "10.1.0.1", Some(0)).key()));
    agent.drain(&teller);
    assert_eq!(pods(&agent.world), ["gcp/ns0/p0"]);
}

#[test]
fn an_agent_of_before_is_asked_anew_once() {
    let teller = teller();
    let mut agent = Receiver::new(Audience::Agents);
    // It knew of nothing of the kind.
    agent.wanted = Interest::default();
    agent.drain(&teller);
    assert_eq!((agent.world.pods.len(), agent.world.namespaces.len(), agent.world.policies.len()), (0, 0, 0));
    agent.wanted = Interest::everything();
    agent.restart();
    agent.drain(&teller);
    assert_eq!((agent.world.pods.len(), agent.snapshots), (1, 1));
    agent.restart();
    agent.drain(&teller);
    assert_eq!((agent.world.pods.len(), agent.snapshots), (1, 0));
}

#[test]
fn a_linked_cluster_hears_of_shared_namespaces_only() {
    let mut teller = teller();
    let with = |pods: &[&str], policies| {
        let pods = pods.iter().map(|of| name(of)).collect();
        Interest::only(Topics { pods, policies, ..Topics::default() })
    };
    let mut peer = Receiver::wanting(with(&[], false));
    peer.drain(&teller);
    assert_eq!(peer.world.len(), 1, "nothing unless it asks: {:?}", peer.world);
    peer.want(with(&["aws", "azure"], true));
    peer.drain(&teller);
    assert_eq!(pods(&peer.world), ["aws/ns0/p0", "aws/ns0/p1"]);
    assert_eq!(names(peer.world.namespaces.keys()), ["aws/ns0"]);
    assert_eq!(names(peer.world.policies.keys()), ["NetworkPolicy ns0/policy1 of aws"]);
    // A namespace comes to be shared, and ceases to be; a policy is distributed no more.
    teller.apply(Change::Upsert(namespace("aws", 1, true)));
    peer.drain(&teller);
    assert_eq!(peer.world.pods.len(), 4);
    teller.apply(Change::Upsert(namespace("aws", 1, false)));
    teller.apply(Change::Upsert(namespace("aws", 0, false)));
    teller.apply(Change::Upsert(policy("aws", 1, false)));
    peer.drain(&teller);
    assert_eq!(peer.world.len(), 1);
}

#[test]
fn labels_of_nodes_do_not_leave_the_cluster() {
    let mut teller = teller();
    let Object::Node(mut labelled) = node("aws", 0, "10.1.0.0/24") else { panic!("a node") };
    labelled.labels.insert("role".into(), "db".into());
    teller.apply(Change::Upsert(Object::Node(labelled.clone())));
    let mut agent = Receiver::new(Audience::Agents);
    let mut peer = Receiver::new(Audience::Peers);
    agent.drain(&teller);
    peer.drain(&teller);
    assert_eq!(agent.world.nodes[&labelled.name], labelled);
    assert!(peer.world.nodes[&labelled.name].labels.is_empty());
    // Nor are they believed of another cluster.
    let mut mirror = mirror();
    let heard = hear(&mut mirror, vec![Object::Node(labelled.clone())]);
    let unlabelled = Node { labels: Labels::new(), ..labelled };
    assert_eq!(heard.changes, [Change::Upsert(Object::Node(unlabelled))]);
}
