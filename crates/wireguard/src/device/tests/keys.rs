//! Keys that change while packets flow, and keys that are gone.

use std::collections::VecDeque;

use super::super::sessions::Ends;
use super::*;

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [3; 32];

fn public(secret: [u8; 32]) -> [u8; 32] {
    *crate::LocalKey::new(secret).public()
}

/// What B is told of A's keys: the one by which it is named, and another.
fn tell(world: &mut World, key: [u8; 32], other: Option<[u8; 32]>) {
    tell_side(world, B, key, other);
}

/// What a side is told of the other's keys.
fn tell_side(world: &mut World, side: usize, key: [u8; 32], other: Option<[u8; 32]>) {
    let inside = world.sides[1 - side].inside.into();
    let change = PeerChange {
        public_key: public(key),
        other_key: Some(other.map_or([0; 32], public)),
        replace_allowed_ips: true,
        allowed_ips: vec![AllowedChange::Add(inside)],
        ..PeerChange::default()
    };
    world.sides[side].device.change_peer(&change, world.now);
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

/// Packets that are on their way while everything changes, and what the devices say beside them: all of it takes as long as
/// four packets. Devices that say something at once do not hear each other before.
#[derive(Default)]
struct Flow {
    way: [VecDeque<Under>; 2],
    sent: u64,
}

/// A datagram under way: when it comes, and the packet that is to be in it.
type Under = (u64, Option<Vec<u8>>, Vec<u8>);

impl Flow {
    fn go_on(&mut self, world: &mut World) {
        self.sent += 1;
        for from in [A, B] {
            let packet = world.packet(from, 100);
            let sealed = world.send(from, &packet).expect("there are keys all the while");
            self.say(world, from);
            self.way[from].push_back((self.sent + 4, Some(packet), sealed.datagram));
        }
        for from in [A, B] {
            while self.way[from].front().is_some_and(|(due, ..)| *due <= self.sent) {
                let (_, packet, datagram) = self.way[from].pop_front().unwrap();
                let come = world.carry(from, &datagram);
                assert!(packet.is_none() || come == packet, "from {from}: {:?}", self.sent);
            }
        }
        world.pass(Duration::from_millis(50));
        for side in [A, B] {
            world.sides[side].device.handle_timeout(world.now);
            self.say(world, side);
        }
    }

    fn say(&mut self, world: &mut World, side: usize) {
        let said = world.said(side).into_iter().map(|said| (self.sent + 4, None, said.datagram));
        self.way[side].extend(said);
    }
}

#[test]
fn a_key_changes_and_no_packet_is_lost() {
    let mut world = World::new();
    assert!(world.reaches(A) && world.reaches(B));
    world.pass(Duration::from_secs(6));
    let mut flow = Flow::default();
    let mut some = |world: &mut World| (0..20).for_each(|_| flow.go_on(world));
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

/// Each end does as agents do: it tells of its next key, uses it, and drops the former one once the next one is in use; one of
/// them begins some packets after the other.
#[test]
fn both_ends_change_their_keys_at_once_and_no_packet_is_lost() {
    let keys = [[OLD, NEW], [[2; 32], [4; 32]]];
    let ends = |world: &World, side: usize| {
        world.sides[side].device.peers.values().next().unwrap().sessions.ends().unwrap()
    };
    for behind in 0..80 {
        let mut world = World::new();
        assert!(world.reaches(A) && world.reaches(B));
        world.pass(Duration::from_secs(6));
        let mut flow = Flow::default();
        // Since when each end may take the next step, two seconds later, and how many it has taken.
        let (mut since, mut steps) = ([0, behind], [0, 0]);
        let mut packet = 0;
        while steps != [4, 4] {
            for side in [A, B] {
                let ([old, new], waited) = (keys[side], packet - since[side]);
                match (steps[side], waited) {
                    (0, 0..) => world.sides[side].device.set_keys(Some(old), Some(new), world.now),
                    (1, 40..) => world.sides[side].device.set_keys(Some(new), Some(old), world.now),
                    (2, _) if ends(&world, side).ours != public(new) => {
                        since[side] = packet;
                        continue;
                    }
                    (2, 40..) => tell_side(&mut world, 1 - side, new, None),
                    (3, 200..) => world.sides[side].device.set_keys(Some(new), None, world.now),
                    (1, 4) => {
                        tell_side(&mut world, 1 - side, old, Some(new));
                        continue;
                    }
                    _ => continue,
                }
                (since[side], steps[side]) = (packet, steps[side] + 1);
            }
            flow.go_on(&mut world);
            packet += 1;
            assert!(packet < 1000, "{behind}: {steps:?}");
        }
        for side in [A, B] {
            let Ends { ours, theirs } = ends(&world, side);
            assert_eq!([ours, theirs], [keys[side][1], keys[1 - side][1]].map(public), "{side}, {behind}");
            assert_eq!(world.sides[side].device.counters(), &crate::Counters::default(), "{side}, {behind}");
        }
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

const FIRST: [u8; 32] = [11; 32];
const SECOND: [u8; 32] = [12; 32];
const NONE: [u8; 32] = [0; 32];

/// Gives a side the pre-shared key of the other, and those that are tried beside it.
fn share(world: &mut World, side: usize, key: [u8; 32], others: &[[u8; 32]]) {
    let change = PeerChange {
        public_key: *world.sides[1 - side].device.key().unwrap().public(),
        preshared_key: Some(key),
        other_preshared_keys: Some(others.to_vec()),
        update_only: true,
        ..PeerChange::default()
    };
    world.sides[side].device.change_peer(&change, world.now);
}

#[test]
fn whoever_begins_tries_all_the_pre_shared_keys_that_it_has() {
    // (what who begins has, what the other has, whether they agree)
    let cases = [
        ((FIRST, &[][..]), FIRST, true),
        ((FIRST, &[]), SECOND, false),
        ((FIRST, &[SECOND]), SECOND, true),
        ((FIRST, &[SECOND]), NONE, false),
        ((FIRST, &[SECOND, NONE]), NONE, true),
        ((NONE, &[FIRST]), FIRST, true),
        ((NONE, &[]), FIRST, false),
    ];
    for ((key, others), theirs, agree) in cases {
        for begins in [A, B] {
            let mut world = World::new();
            world.introduce(B, Some(world.sides[A].at), None);
            share(&mut world, begins, key, others);
            // What who answers has beside its first one is of no use: it cannot see which the other one means.
            share(&mut world, 1 - begins, theirs, &[key]);
            assert_eq!(world.reaches(begins), agree, "{key:?} {others:?} {theirs:?}");
            assert_eq!(world.dropped(begins, DropReason::BadHandshake), u64::from(!agree));
        }
    }
}

/// Each end hears at another time that the other holds the next one, and at last drops the former one.
#[test]
fn a_pre_shared_key_changes_and_no_packet_is_lost() {
    for (from, to) in [(FIRST, SECOND), (NONE, FIRST), (FIRST, NONE)] {
        for behind in [0_i32, 1, 3, 5, 50, 150] {
            for first in [A, B] {
                let mut world = World::new();
                world.introduce(B, Some(world.sides[A].at), None);
                share(&mut world, A, from, &[to]);
                share(&mut world, B, from, &[to]);
                assert!(world.reaches(A) && world.reaches(B));
                world.pass(Duration::from_secs(6));
                let mut flow = Flow::default();
                for packet in 0..400 {
                    for (side, late) in [(first, 0), (1 - first, behind)] {
                        match packet - late {
                            10 => share(&mut world, side, to, &[from]),
                            200 => share(&mut world, side, to, &[]),
                            _ => {}
                        }
                    }
                    flow.go_on(&mut world);
                }
                for side in [A, B] {
                    // The last handshake was after both had it, by the only one that is left.
                    let since = world.now.unix - world.handshakes(side).unwrap();
                    assert!(since < Duration::from_secs(20), "{since:?}");
                    assert_eq!(world.sides[side].device.counters(), &crate::Counters::default(), "{behind}");
                }
                world.pass(Duration::from_secs(200));
                assert!(world.reaches(first));
            }
        }
    }
}

/// As WireGuard has it: what was agreed on goes on.
#[test]
fn a_pre_shared_key_that_the_other_end_has_not_ends_no_session() {
    let mut world = World::new();
    assert!(world.reaches(A) && world.reaches(B));
    share(&mut world, A, FIRST, &[]);
    assert!(world.reaches(A) && world.reaches(B));
    let_pass(&mut world, 100);
    assert!(world.send(A, &world.packet(A, 60)).is_ok() && world.send(B, &world.packet(B, 60)).is_ok());
    world.pass(Duration::from_secs(100));
    assert!(!world.reaches(A), "and there is no other");
}
