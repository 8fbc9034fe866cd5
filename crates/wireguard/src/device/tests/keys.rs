//! Keys that change while packets flow, and keys that are gone.

use std::collections::VecDeque;

use super::*;

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [3; 32];

fn public(secret: [u8; 32]) -> [u8; 32] {
    *crate::LocalKey::new(secret).public()
}

/// What B is told of A's keys: the one by which it is named, and another.
fn tell(world: &mut World, key: [u8; 32], other: Option<[u8; 32]>) {
    let inside = world.sides[A].inside.into();
    let change = PeerChange {
        public_key: public(key),
        other_key: Some(other.map_or([0; 32], public)),
        replace_allowed_ips: true,
        allowed_ips: vec![AllowedChange::Add(inside)],
        ..PeerChange::default()
    };
    world.sides[B].device.change_peer(&change, world.now);
}

/// The keys of A that the two ends' sessions are of.
fn in_use(world: &World) -> [Option<[u8; 32]>; 2] {
    let ours = world.sides[A].device.peers().next().unwrap().own_key;
    let theirs = world.sides[B].device.peers.values().next().unwrap().sessions.ends().map(|ends| ends.theirs);
    [ours, theirs]
}

/// Time passes, and what is due is done and carried over.
fn let_pass(world: &mut World, seconds: u64) {
    for _ in 0..seconds * 4 {
        world.pass(Duration::from_millis(250));
        for side in [A, B] {
            world.sides[side].device.handle_timeout(world.now);
        }
        world.settle();
    }
}

/// Packets that are on their way while everything changes: each is sealed at once, and is opened four packets later.
#[derive(Default)]
struct Flow {
    way: [VecDeque<(Vec<u8>, Vec<u8>)>; 2],
}

impl Flow {
    fn go_on(&mut self, world: &mut World) {
        for from in [A, B] {
            let packet = world.packet(from, 100);
            let sealed = world.send(from, &packet).expect("there are keys all the while");
            self.way[from].push_back((packet, sealed.datagram));
            if self.way[from].len() > 4 {
                let (packet, datagram) = self.way[from].pop_front().unwrap();
                assert_eq!(world.carry(from, &datagram), Some(packet), "from {from}");
            }
        }
        world.settle();
        world.pass(Duration::from_millis(50));
        for side in [A, B] {
            world.sides[side].device.handle_timeout(world.now);
        }
        world.settle();
    }
}

#[test]
fn a_key_changes_and_no_packet_is_lost() {
    let mut world = World::new();
    assert!(world.reaches(A) && world.reaches(B));
    world.pass(Duration::from_secs(6));
    let mut flow = Flow::default();
    let mut some = |world: &mut World| (0..10).for_each(|_| flow.go_on(world));
    some(&mut world);
    world.sides[A].device.set_keys(Some(OLD), Some(NEW), world.now);
    some(&mut world);
    tell(&mut world, OLD, Some(NEW));
    some(&mut world);
    assert_eq!(in_use(&world), [Some(public(OLD)); 2], "nothing is used before it is told to be");
    world.sides[A].device.set_keys(Some(NEW), Some(OLD), world.now);
    some(&mut world);
    assert_eq!(in_use(&world), [Some(public(NEW)); 2]);
    tell(&mut world, NEW, None);
    some(&mut world);
    world.sides[A].device.set_keys(Some(NEW), None, world.now);
    some(&mut world);
    assert_eq!(world.sides[B].device.peers().map(|peer| peer.public_key).collect::<Vec<_>>(), [public(NEW)]);
    assert!(!world.sides[B].device.has_peer(&public(OLD)));
    for side in [A, B] {
        assert_eq!(world.sides[side].device.counters(), &crate::Counters::default());
    }
}

#[test]
fn who_has_not_heard_of_a_key_goes_on_with_the_old_one() {
    let mut world = World::new();
    assert!(world.reaches(A));
    world.sides[A].device.set_keys(Some(NEW), Some(OLD), world.now);
    // B answers only the old key, which is the second one that is tried.
    for _ in 0..60 {
        let_pass(&mut world, 5);
        assert!(world.send(A, &world.packet(A, 60)).is_ok() && world.send(B, &world.packet(B, 60)).is_ok());
        world.sides[A].device.set_keys(Some(NEW), Some(OLD), world.now);
    }
    assert_eq!(in_use(&world), [Some(public(OLD)); 2]);
    tell(&mut world, OLD, Some(NEW));
    world.sides[A].device.set_keys(Some(NEW), Some(OLD), world.now);
    let_pass(&mut world, 12);
    assert_eq!(in_use(&world), [Some(public(NEW)); 2]);
    // And one that hears of the new one alone.
    let mut world = World::new();
    assert!(world.reaches(A));
    world.sides[A].device.set_keys(Some(NEW), Some(OLD), world.now);
    tell(&mut world, NEW, None);
    let_pass(&mut world, 6);
    assert!(world.reaches(A));
    assert_eq!(in_use(&world)[0], Some(public(NEW)));
}

#[test]
fn whoever_begins_is_answered_by_either_key() {
    // (the keys that A has, those that B knows)
    let cases = [
        ((OLD, Some(NEW)), (OLD, Some(NEW))),
        ((NEW, Some(OLD)), (OLD, Some(NEW))),
        ((NEW, Some(OLD)), (OLD, None)),
        ((OLD, Some(NEW)), (NEW, None)),
        ((NEW, None), (OLD, Some(NEW))),
        ((OLD, None), (NEW, Some(OLD))),
    ];
    for (has, knows) in cases {
        for begins in [A, B] {
            let mut world = World::strangers();
            world.sides[A].device.set_keys(Some(has.0), has.1, world.now);
            world.introduce(A, Some(world.sides[B].at), None);
            tell(&mut world, knows.0, knows.1);
            let at = world.sides[A].at;
            let change =
                PeerChange { public_key: public(knows.0), endpoint: Some(at), ..PeerChange::default() };
            world.sides[B].device.change_peer(&change, world.now);
            let met = world.reaches(begins);
            let_pass(&mut world, 6);
            assert!(met || world.reaches(begins), "{has:?} {knows:?} {begins}");
            let busy = world.reaches(1 - begins);
            assert!(busy, "{has:?} {knows:?} {begins}");
        }
    }
}

#[test]
fn a_key_that_is_gone_is_refused_with_its_sessions() {
    let mut world = World::new();
    assert!(world.reaches(A) && world.reaches(B));
    let sealed = world.send(A, &world.packet(A, 60)).unwrap();
    let indices = world.sides[B].device.shared.indices.len();
    let gone = PeerChange { public_key: public(OLD), remove: true, ..PeerChange::default() };
    world.sides[B].device.change_peer(&gone, world.now);
    assert_eq!(world.carry(A, &sealed.datagram), None, "its session has ended");
    assert!(indices > 0 && world.sides[B].device.shared.indices.is_empty());
    world.pass(Duration::from_secs(200));
    assert!(world.send(A, &world.packet(A, 60)).is_err());
    world.settle();
    assert_eq!(world.dropped(B, DropReason::UnknownPeer), 1, "and it gets no other");

    // The same for one of two keys: who has the other one alone is heard no more.
    let mut world = World::new();
    tell(&mut world, OLD, Some(NEW));
    assert!(world.reaches(A));
    tell(&mut world, NEW, None);
    let sealed = world.send(A, &world.packet(A, 60)).unwrap();
    assert_eq!(world.carry(A, &sealed.datagram), None);
    assert!(matches!(world.send(B, &world.packet(B, 60)), Err(Outbound::Wait(_))));
}

#[test]
fn a_second_key_is_nobody_elses() {
    let mut world = World::new();
    let stranger = PeerChange { public_key: public(NEW), ..PeerChange::default() };
    world.sides[B].device.change_peer(&stranger, world.now);
    tell(&mut world, OLD, Some(NEW));
    assert_eq!(world.dropped(B, DropReason::KeyTaken), 1);
    tell(&mut world, OLD, Some([2; 32]));
    assert_eq!(world.dropped(B, DropReason::OwnKey), 1);
    assert!(world.sides[B].device.peers().all(|peer| peer.other_key.is_none()));
    assert!(world.reaches(A), "the rest of it was done");
    // A key that becomes our own is no peer's.
    tell(&mut world, OLD, Some([9; 32]));
    world.sides[B].device.set_keys(Some([2; 32]), Some([9; 32]), world.now);
    assert!(!world.sides[B].device.has_peer(&public(OLD)));
}

#[test]
fn a_removed_peer_leaves_nothing_of_its_keys() {
    let mut world = World::new();
    tell(&mut world, OLD, Some(NEW));
    for key in [OLD, NEW] {
        let mut device = Device::new(random(9));
        device.set_keys(Some([2; 32]), Some([4; 32]), world.now);
        let both =
            PeerChange { public_key: public(OLD), other_key: Some(public(NEW)), ..PeerChange::default() };
        device.change_peer(&both, world.now);
        assert_eq!(device.peers().count(), 1);
        device.change_peer(&PeerChange { public_key: public(key), remove: true, ..both }, world.now);
        assert!(device.by_key.is_empty() && device.peers.is_empty());
        let left = |own: &super::super::shared::Own| {
            own.statics.get(&public(OLD)).or(own.statics.get(&public(NEW))).is_some()
        };
        assert!(!device.shared.own.iter().any(left));
    }
}
