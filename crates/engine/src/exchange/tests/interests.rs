//! Who is told of which endpoints.

use super::*;

/// Three services with two endpoints each.
fn teller() -> Teller {
    let mut teller = Teller::new(name("aws"), 7, Limits { batch_objects: 2, ..Limits::default() });
    teller.apply(Change::Upsert(Object::Cluster(aws())));
    teller.apply(Change::Upsert(node("aws", 0, "10.1.0.0/24")));
    for i in 0..3 {
        teller.apply(Change::Upsert(service("aws", i, true)));
        for j in 0..2 {
            teller.apply(Change::Upsert(endpoint("aws", i, j, &format!("10.1.{i}.{}", j + 1), 1)));
        }
    }
    teller
}

fn services_with_endpoints(world: &World) -> Vec<String> {
    world.endpoints.keys().map(|key| key.name.name.clone()).collect()
}

#[test]
fn whoever_imports_nothing_hears_of_no_endpoint() {
    let mut teller = teller();
    let mut peer = Receiver::wanting(only([]));
    peer.drain(&teller);
    assert!(peer.synced);
    assert_eq!((peer.heard, peer.world.services.len(), peer.world.endpoints.len()), (5, 3, 0));
    // However much happens to them.
    for weight in 2..100 {
        teller.apply(Change::Upsert(endpoint("aws", 0, 0, "10.1.0.1", weight)));
        teller.apply(Change::Delete(endpoint("aws", 1, 0, "10.1.1.1", 1).key()));
        teller.apply(Change::Upsert(endpoint("aws", 1, 0, "10.1.1.1", weight)));
        assert!(!peer.step(&teller, false), "nothing is to be told");
    }
    // It may be told where it stands, so that its place does not grow old.
    teller.mark(Audience::Peers, peer.stream.as_mut().unwrap());
    assert!(peer.step(&teller, false));
    assert_eq!(peer.mirror.position(), Some(teller.position(Audience::Peers)));
    assert_eq!(peer.heard, 5);
}

#[test]
fn what_comes_to_be_wanted_is_filled_without_a_snapshot() {
    let mut teller = teller();
    let mut peer = Receiver::wanting(only([0]));
    peer.drain(&teller);
    assert_eq!(services_with_endpoints(&peer.world), ["s0"]);
    let before = peer.heard;
    peer.want(only([1, 2]));
    assert_eq!(services_with_endpoints(&peer.world), Vec::<String>::new(), "what is not wanted goes at once");
    peer.drain(&teller);
    assert_eq!(services_with_endpoints(&peer.world), ["s1", "s2"]);
    assert_eq!((peer.heard - before, peer.snapshots), (4, 1));
    assert_eq!(*peer.mirror.interest(), only([1, 2]));
    // It resumes with what it has, and is told what it does not.
    teller.apply(Change::Delete(endpoint("aws", 1, 0, "10.1.1.1", 1).key()));
    peer.wanted = only([0, 1, 2]);
    peer.connect();
    peer.drain(&teller);
    assert_eq!((peer.heard, peer.snapshots), (3, 0), "a deletion, and two of the new one");
    assert!(peer.synced);
}

#[test]
fn it_is_not_synced_before_what_was_asked_for_is_told() {
    let teller = teller();
    let mut peer = Receiver::wanting(only([0]));
    let mut synced = Vec::new();
    while peer.step(&teller, false) {
        synced.push(peer.synced);
    }
    assert!(!synced.contains(&true), "the teller has not been told what is wanted");
    peer.drain(&teller);
    assert!(peer.synced);
}

#[test]
fn what_was_under_way_does_not_count() {
    let mut teller = teller();
    let mut peer = Receiver::wanting(only([0]));
    peer.drain(&teller);
    // A change is on its way when the service is given up and wanted again; then the endpoint goes, unheard.
    teller.apply(Change::Upsert(endpoint("aws", 0, 0, "10.1.0.1", 9)));
    let under_way = teller.poll(Audience::Peers, peer.stream.as_mut().unwrap()).unwrap();
    peer.want(only([]));
    peer.want(only([0]));
    peer.deliver();
    teller.apply(Change::Delete(endpoint("aws", 0, 0, "10.1.0.1", 9).key()));
    assert!(!peer.synced || peer.mirror.handle(under_way, &[gcp()]).unwrap().changes.is_empty());
    peer.drain(&teller);
    assert_eq!(peer.world.endpoints[&service_key("aws", 0)].len(), 1);
}

#[test]
fn half_a_filling_is_made_good() {
    let mut teller = teller();
    let mut peer = Receiver::wanting(only([0]));
    peer.drain(&teller);
    peer.want(only([0, 1]));
    peer.deliver();
    teller.apply(Change::Upsert(endpoint("aws", 1, 2, "10.1.1.3", 1)));
    // The acknowledgement and the first two of three; then the stream breaks, and one of the two goes.
    assert!(peer.step(&teller, false) && peer.step(&teller, false));
    assert_eq!(peer.world.endpoints[&service_key("aws", 1)].len(), 2);
    teller.apply(Change::Delete(endpoint("aws", 1, 0, "10.1.1.1", 1).key()));
    peer.connect();
    peer.drain(&teller);
    assert_eq!(peer.snapshots, 0);
    assert_eq!(services_with_endpoints(&peer.world), ["s0", "s1"]);
    assert_eq!(peer.world.endpoints[&service_key("aws", 1)].keys().collect::<Vec<_>>(), ["e1", "e2"]);
}

#[test]
fn a_teller_that_knows_no_interests_tells_everything() {
    let teller = teller();
    let mut peer = Receiver::wanting(only([0]));
    peer.drain(&teller);
    peer.heeds = false;
    peer.connect();
    peer.drain(&teller);
    assert_eq!((peer.snapshots, peer.world.endpoints.len()), (1, 3), "all, since nobody knows what we lack");
    // Upgraded, it goes on from there: what is too much goes, and nothing is told again.
    peer.heeds = true;
    peer.connect();
    peer.drain(&teller);
    assert_eq!((peer.snapshots, peer.heard), (0, 0));
    assert_eq!(services_with_endpoints(&peer.world), ["s0"]);
}

#[test]
fn names_without_end_are_asked_for_in_parts() {
    let many = Interest::only(Topics::services(
        (0..20_000).map(|i| ObjectName::new("demo", format!("x{i}")).unwrap()),
    ));
    let mut teller = teller();
    let mut peer = Receiver::wanting(many);
    peer.drain(&teller);
    assert_eq!(peer.mirror.interest().named(), Some(20_000));
    peer.connect();
    assert_eq!(peer.stream.as_ref().map(Cursor::named), Some(8192));
    assert!(peer.sent.iter().all(|want| want.add.len() <= 4096));
    teller.apply(Change::Upsert(service("aws", 3, true)));
    peer.drain(&teller);
    assert_eq!((peer.snapshots, peer.heard, peer.synced), (0, 1, true));
}

#[test]
fn what_is_wanted_follows_from_what_there_is() {
    let mut teller = Teller::new(name("aws"), 7, Limits::default());
    let wanted = |teller: &Teller| teller.wanted().iter().map(|n| n.name.clone()).collect::<Vec<_>>();
    let import = |of: &str, i| {
        Object::Import(model::Import {
            key: service_key(of, i),
            vips: Vec::new(),
            ports: Vec::new(),
            terms: Default::default(),
            traffic: Default::default(),
            clusters: vec![name("gcp")],
        })
    };
    for object in [service("aws", 0, true), service("aws", 1, false), import("aws", 0), import("aws", 2)] {
        teller.apply(Change::Upsert(object));
    }
    // Other clusters' make no difference.
    teller.apply(Change::Upsert(service("gcp", 3, true)));
    assert_eq!(wanted(&teller), ["s0", "s2"]);
    teller.apply(Change::Upsert(service("aws", 0, false)));
    assert_eq!(wanted(&teller), ["s0", "s2"], "it is imported still");
    teller.apply(Change::Delete(import("aws", 0).key()));
    teller.apply(Change::Upsert(service("aws", 1, true)));
    assert_eq!(wanted(&teller), ["s1", "s2"]);
    teller.apply(Change::Delete(service("aws", 1, true).key()));
    assert_eq!(wanted(&teller), ["s2"]);
}
