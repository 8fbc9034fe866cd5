//! What a peer may cost, and whose keys it may show.

use model::PublicKey;

use super::*;

fn with_key(object: Object, key: u8) -> Object {
    match object {
        Object::Node(node) => Object::Node(Node { public_key: Some(PublicKey([key; 32])), ..node }),
        other => other,
    }
}

fn with_next_key(object: Object, key: u8) -> Object {
    match object {
        Object::Node(mut node) => {
            node.mesh.rekeying.next_key = Some(PublicKey([key; 32]));
            Object::Node(node)
        }
        other => other,
    }
}

#[test]
fn a_budget_ends_what_comes_in() {
    let each = |budget: Budget| {
        let mut mirror = Mirror::of_peer(aws(), Held::default()).with_budget(budget);
        mirror.handle(Told::Begin { epoch: 7, snapshot: true }, &[]).unwrap();
        mirror
    };
    let all = || vec![Object::Cluster(aws()), service("aws", 0, true), service("aws", 1, true)];
    let bytes: u64 = all().iter().map(|object| weight(object) as u64).sum();
    let enough = Budget { objects: 3, bytes, ..Budget::default() };
    let few = Budget { objects: 2, ..Budget::default() };
    let light = Budget { bytes: bytes - 1, ..Budget::default() };
    assert_eq!(hear(&mut each(enough), all()).overrun, None);
    for (budget, measure, limit, found) in
        [(few, Measure::Objects, 2, 3), (light, Measure::Bytes, bytes - 1, bytes)]
    {
        let mut mirror = each(budget);
        let heard = hear(&mut mirror, all());
        assert_eq!(heard.overrun, Some(Overrun { measure, limit, found }));
        // What fits is held; nothing that comes after it counts, and the place is where it was.
        assert_eq!((heard.changes.len(), mirror.len(), mirror.position()), (2, 2, None));
        let next = Told::Batch { changes: Vec::new(), revision: 11 };
        assert_eq!(mirror.handle(next, &[]), Err(OutOfTurn::BeforeBegin));
    }
    // What only changes takes no more room.
    let mut mirror = each(enough);
    hear(&mut mirror, all());
    let position = Position { epoch: 7, revision: 10 };
    mirror.handle(Told::Synced { position }, &[]).unwrap();
    assert_eq!(hear(&mut mirror, all()).overrun, None);
    assert_eq!(mirror.bytes(), bytes);
    assert_eq!(hear(&mut mirror, vec![service("aws", 9, true)]).overrun.map(|o| o.found), Some(4));
}

#[test]
fn snapshots_without_end_are_held_once_more_at_most() {
    let budget = Budget { objects: 3, ..Budget::default() };
    let mut mirror = Mirror::of_peer(aws(), Held::default()).with_budget(budget);
    let begin = |mirror: &mut Mirror, epoch| {
        mirror.handle_break();
        mirror.handle(Told::Begin { epoch, snapshot: true }, &[]).unwrap();
    };
    let three = |i: u8| (0..3).map(|j| service("aws", 10 * i + j, true)).collect::<Vec<_>>();
    begin(&mut mirror, 7);
    assert_eq!(hear(&mut mirror, three(0)).overrun, None);
    // It never ends, and others are begun; the second fits beside it, the third does not.
    begin(&mut mirror, 8);
    assert_eq!(hear(&mut mirror, three(1)).overrun, None);
    begin(&mut mirror, 9);
    assert_eq!(hear(&mut mirror, three(2)).overrun.map(|o| (o.limit, o.found)), Some((6, 7)));
    // Whoever becomes modest is heard, though it was too much before.
    begin(&mut mirror, 10);
    assert_eq!(hear(&mut mirror, three(1)).overrun, None);
    mirror.handle(Told::Synced { position: Position { epoch: 10, revision: 1 } }, &[]).unwrap();
    assert_eq!(mirror.len(), 3);
}

#[test]
fn our_keys_are_ours() {
    let mut teller = Teller::new(name("gcp"), 7, Limits::default());
    let ours = |i, key| with_key(node("gcp", i, &format!("10.2.{i}.0/24")), key);
    for (i, key) in [(0, 1), (1, 2), (0, 3)] {
        teller.apply(Change::Upsert(ours(i, key)));
    }
    teller.apply(Change::Upsert(with_key(node("azure", 0, "10.3.0.0/24"), 4)));
    let key_of = |key: &PublicKey| teller.key_of(key).cloned();
    let others = [gcp()];
    let around = Around { clusters: &others, key_of: Some(&key_of) };
    for (key, good) in [(1, true), (2, false), (3, false), (4, true)] {
        let mut mirror = mirror();
        let thief = with_key(node("aws", 1, "10.1.1.0/24"), key);
        let told = Told::Batch { changes: vec![Change::Upsert(thief).into()], revision: 10 };
        let heard = mirror.handle(told, around).unwrap();
        let reasons: Vec<_> = heard.refused.iter().map(|r| r.reason).collect();
        assert_eq!(reasons, if good { vec![] } else { vec![Reason::ForeignKey] }, "{key}");
    }
    // A key that is to come is no other's either.
    teller.apply(Change::Upsert(with_next_key(ours(0, 3), 5)));
    let key_of = |key: &PublicKey| teller.key_of(key).cloned();
    let around = Around { clusters: &others, key_of: Some(&key_of) };
    let theirs = |key| with_key(node("aws", 1, "10.1.1.0/24"), key);
    for (thief, good) in [
        (theirs(5), false),
        (with_next_key(theirs(6), 3), false),
        (with_next_key(theirs(6), 5), false),
        (with_next_key(theirs(6), 7), true),
    ] {
        let told = Told::Batch { changes: vec![Change::Upsert(thief).into()], revision: 10 };
        assert_eq!(mirror().handle(told, around).unwrap().refused.is_empty(), good);
    }
    teller.apply(Change::Upsert(ours(0, 5)));
    assert_eq!(teller.key_of(&PublicKey([3; 32])), None, "it is a key of ours no more");
    teller.apply(Change::Delete(ours(1, 2).key()));
    assert_eq!(teller.key_of(&PublicKey([2; 32])), None);
}

#[test]
fn everything_can_be_let_go() {
    let mut mirror = mirror();
    assert_eq!(mirror.clear().deletions().len(), 2);
    assert_eq!((mirror.len(), mirror.bytes(), mirror.position()), (0, 0, None));
    // It begins again from nothing.
    assert_eq!(mirror.open(only([1]), true).ask.position, None);
}
