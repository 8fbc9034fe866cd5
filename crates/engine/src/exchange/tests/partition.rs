//! A break that outlasts what is remembered: what it costs, in virtual hours.

use super::*;

/// A small generator (splitmix64): tests need no better one, and the same numbers each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

const SERVICES: u8 = 100;
const PODS: u8 = 100;

fn pod(of: &str, n: u8, i: u8, j: u8, weight: u16) -> Object {
    endpoint(of, i, j, &format!("10.{n}.{i}.{}", j + 1), weight)
}

fn side(of: &str, n: u8) -> Teller {
    let mut teller = Teller::new(name(of), 7, Limits::default());
    teller.apply(Change::Upsert(Object::Cluster(cluster(of, n.into(), &[&format!("10.{n}.0.0/16")]))));
    for i in 0..SERVICES {
        teller.apply(Change::Upsert(service(of, i, true)));
        for j in 0..PODS {
            teller.apply(Change::Upsert(pod(of, n, i, j, 1)));
        }
    }
    teller
}

/// Changes to pods of the first `busy` services: half of them go and come back.
fn churn(teller: &mut Teller, of: &str, n: u8, busy: u8, changes: u32, dice: &mut Dice) {
    for change in 0..changes {
        let (i, j) = (dice.roll(busy.into()) as u8, dice.roll(PODS.into()) as u8);
        let object = pod(of, n, i, j, (change % 1000) as u16 + 2);
        if dice.roll(2) == 0 && teller.apply(Change::Delete(object.key())) {
            continue;
        }
        teller.apply(Change::Upsert(object));
    }
}

/// What the receiver was told, in bytes.
struct Cost {
    whole: usize,
    kept: usize,
}

fn reconnect(mirror: &mut Mirror, world: &mut World, teller: &Teller, wanted: &Interest) -> Cost {
    mirror.handle_break();
    let Opening { ask, wants, dropped } = mirror.open(wanted.clone(), true);
    assert!(wants.is_empty() && dropped.is_empty());
    let (mut cursor, mut cost) = (Cursor::new(ask), Cost { whole: 0, kept: 0 });
    while let Some(told) = teller.poll(Audience::Peers, &mut cursor) {
        if let Told::Batch { changes, .. } = &told {
            for tell in changes {
                match tell {
                    Tell::Upsert(object) => cost.whole += weight(object),
                    Tell::Delete(_) => cost.whole += 100,
                    Tell::Keep(_) => cost.kept += 8,
                }
            }
        }
        let heard = mirror.handle(told, &[]).unwrap();
        assert_eq!(heard.refused, []);
        heard.changes.into_iter().for_each(|change| {
            world.apply(change);
        });
    }
    cost
}

/// Two clusters that hear nothing of each other while 325 changes a second happen on each side, until far more deletions
/// are forgotten than are remembered. From then on the cost grows no more: two hours cost what a quarter of one does (the
/// simulation in `dev/sim` runs them).
#[test]
fn a_long_partition_costs_what_differs() {
    const CHANGES: u32 = 900 * 325;
    let mut dice = Dice(1);
    for (of, n, other) in [("aws", 1, "gcp"), ("gcp", 2, "aws")] {
        let mut teller = side(of, n);
        let peer = cluster(of, n.into(), &[&format!("10.{n}.0.0/16")]);
        let held = Held::default().with_interest(Interest::nothing());
        let (mut mirror, mut world) = (Mirror::of_peer(peer, held), World::default());
        let wanted = only(0..SERVICES);
        let Opening { ask, wants, .. } = mirror.open(wanted.clone(), true);
        let mut cursor = Cursor::new(ask);
        wants.into_iter().for_each(|want| cursor.want(want));
        while let Some(told) = teller.poll(Audience::Peers, &mut cursor) {
            let heard = mirror.handle(told, &[]).unwrap();
            heard.changes.into_iter().for_each(|change| {
                world.apply(change);
            });
        }
        let full = reconnect_from_nothing(&teller, of, n, &wanted);

        // A tenth of the services is busy.
        churn(&mut teller, of, n, SERVICES / 10, CHANGES, &mut dice);
        let cost = reconnect(&mut mirror, &mut world, &teller, &wanted);
        assert_eq!(world, expected_of(&teller), "{of} as {other} sees it");
        let (services, pods) = (usize::from(SERVICES), usize::from(PODS));
        let kept = 8 * (1 + services + services / 10 * 9 * pods);
        assert_eq!(cost.kept, kept);
        assert!(cost.whole <= full / 10, "{} of {full} bytes", cost.whole);
        println!("{of}: {CHANGES} changes: {} + {} bytes, a snapshot {full}", cost.whole, cost.kept);

        // A short break costs less still: no snapshot, however small.
        churn(&mut teller, of, n, SERVICES / 10, 100, &mut dice);
        let cost = reconnect(&mut mirror, &mut world, &teller, &wanted);
        assert_eq!((world == expected_of(&teller), cost.kept), (true, 0));
        assert!(cost.whole <= 100 * 400, "{}", cost.whole);
    }
}

fn reconnect_from_nothing(teller: &Teller, of: &str, n: u8, wanted: &Interest) -> usize {
    let peer = cluster(of, n.into(), &[&format!("10.{n}.0.0/16")]);
    let mut mirror = Mirror::of_peer(peer, Held::default().with_interest(wanted.clone()));
    let cost = reconnect(&mut mirror, &mut World::default(), teller, wanted);
    assert_eq!(cost.kept, 0);
    cost.whole
}

fn expected_of(teller: &Teller) -> World {
    let mut world = World::default();
    for object in teller.log(Audience::Peers).objects() {
        world.apply(Change::Upsert((**object).clone()));
    }
    world
}

#[test]
fn a_slow_receiver_keeps_what_it_was_told() {
    let mut teller = Teller::new(name("aws"), 7, Limits { deletions: 2, ..Limits::default() });
    teller.apply(Change::Upsert(Object::Cluster(aws())));
    for i in 0..3 {
        teller.apply(Change::Upsert(service("aws", i, true)));
        for j in 0..9 {
            teller.apply(Change::Upsert(endpoint("aws", i, j, &format!("10.1.{i}.{}", j + 1), 1)));
        }
    }
    let mut peer = Receiver::wanting(only([0, 1]));
    peer.drain(&teller);
    // In the middle of a stream, more is deleted than is remembered, and another service is wanted.
    for j in 0..5 {
        teller.apply(Change::Delete(endpoint("aws", 0, j, "10.1.0.1", 1).key()));
    }
    peer.want(only([1, 2]));
    peer.want(only([0, 1, 2]));
    (peer.heard, peer.kept, peer.snapshots) = (0, 0, 0);
    while peer.deliver() {}
    peer.drain(&teller);
    assert_eq!(peer.world, peer.expected(&expected_of(&teller)));
    assert_eq!((peer.snapshots, peer.kept), (1, 4 + 9), "cluster, services, and the endpoints of s1");
    assert_eq!(peer.heard, 4 + 9, "those of s0, which was given up for a moment, and of s2");
}

#[test]
fn who_was_not_here_is_told_nothing_by_number() {
    let mut mirror = mirror();
    let keep = Told::Batch { changes: vec![Tell::Keep(1)], revision: 9 };
    // Among deltas; and nothing beside it is taken in, since it could not be handed out.
    let beside = Change::Upsert(node("aws", 1, "10.1.1.0/24")).into();
    let both = Told::Batch { changes: vec![beside, Tell::Keep(1)], revision: 9 };
    assert_eq!(mirror.handle(both, &[]), Err(OutOfTurn::Keep));
    assert_eq!(mirror.len(), 2);
    // In a snapshot of another log.
    mirror.handle_break();
    mirror.handle(Told::Begin { epoch: 8, snapshot: true }, &[]).unwrap();
    assert_eq!(mirror.handle(keep.clone(), &[]), Err(OutOfTurn::Keep));
    // In the right one a number that means nothing changes nothing: what was refused before is refused still.
    mirror.handle_break();
    mirror.handle(Told::Begin { epoch: 7, snapshot: true }, &[]).unwrap();
    assert_eq!(mirror.handle(keep, &[]), Ok(Heard::default()));
    let known = Tell::Keep(digest(7, &Key::Cluster(name("aws"))));
    mirror.handle(Told::Batch { changes: vec![known], revision: 9 }, &[]).unwrap();
    let position = Position { epoch: 7, revision: 9 };
    let heard = mirror.handle(Told::Synced { position }, &[]).unwrap();
    assert_eq!(heard.changes, [Change::Delete(node("aws", 0, "10.1.0.0/24").key())]);
}

#[test]
fn new_ranges_are_not_kept_by_number() {
    let mut mirror = mirror();
    let moved = cluster("aws", 1, &["10.9.0.0/16"]);
    mirror.handle_break();
    mirror.handle(Told::Begin { epoch: 7, snapshot: true }, &[]).unwrap();
    // The node may be outside of them, and would not be checked.
    assert!(hear(&mut mirror, vec![Object::Cluster(moved)]).resync);
    assert_eq!(mirror.position(), None);
}
