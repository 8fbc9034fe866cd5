//! The clock's part: what is said when nothing else happens.

use super::*;
use crate::device::peer::QUEUE;
use crate::device::timers::ATTEMPTS;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn is_about(at: Duration, expected: Duration) -> bool {
    at >= expected && at <= expected + Duration::from_millis(400)
}

#[test]
fn an_unanswered_handshake_is_repeated_and_given_up() {
    let mut world = World::new();
    assert!(world.send(A, &world.packet(A, 60)).is_err());
    assert_eq!(kinds(&world.said(A)), [Kind::Initiation]);
    let said = world.silence(A, seconds(200));
    assert_eq!(said.len(), ATTEMPTS as usize);
    let mut last = Duration::ZERO;
    for (at, kind) in said {
        assert_eq!(kind, Kind::Initiation);
        assert!(is_about(at, last + seconds(5)), "{at:?} after {last:?}");
        last = at;
    }
    assert_eq!(world.dropped(A, DropReason::NoAnswer), 1);
    // A new packet begins anew.
    assert!(world.send(A, &world.packet(A, 60)).is_err());
    assert!(world.settle()[B].len() == 1);
}

#[test]
fn who_only_receives_says_that_he_lives() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let said = world.silence(B, seconds(100));
    assert_eq!(said, [(seconds(10), Kind::Keepalive)]);

    // Received again meanwhile: one more, ten seconds later.
    let mut world = World::new();
    assert!(world.reaches(A));
    world.pass(seconds(5));
    assert!(world.reaches(A));
    let said = world.silence(B, seconds(100));
    assert_eq!(said, [(seconds(5), Kind::Keepalive), (seconds(15), Kind::Keepalive)]);
}

#[test]
fn who_sends_and_hears_nothing_shakes_hands() {
    let mut world = World::new();
    assert!(world.reaches(A) && world.reaches(B));
    assert_eq!(world.silence(A, seconds(30)), [(seconds(10), Kind::Keepalive)]);
    // Nothing comes back to this.
    assert!(world.send(A, &world.packet(A, 60)).is_ok());
    let said = world.silence(A, seconds(16));
    assert_eq!(said.len(), 1);
    assert!(said[0].1 == Kind::Initiation && is_about(said[0].0, seconds(15)), "{said:?}");
}

#[test]
fn keepalives_persist() {
    let mut world = World::new();
    let change = PeerChange {
        public_key: *world.sides[B].device.key().unwrap().public(),
        keepalive: Some(7),
        ..PeerChange::default()
    };
    let now = world.now;
    world.sides[A].device.change_peer(&change, now);
    world.sides[A].device.handle_timeout(now);
    world.settle();
    let said = world.silence(A, seconds(30));
    let times: Vec<u64> = said.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(times, [7, 14, 21, 28]);
    assert!(said.iter().all(|(_, kind)| *kind == Kind::Keepalive));
    // Long after the peer fell silent, it is still asked for.
    let said = world.silence(A, seconds(1000));
    assert!(said.iter().filter(|(at, kind)| *at > seconds(900) && *kind == Kind::Initiation).count() > 10);
    let off = PeerChange { keepalive: Some(0), ..change };
    let now = world.now;
    world.sides[A].device.change_peer(&off, now);
    world.silence(A, seconds(1000));
    assert_eq!(world.silence(A, seconds(1000)), []);
}

#[test]
fn the_initiator_makes_new_keys_in_time() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let first = world.handshakes(A);
    world.pass(seconds(119));
    assert!(world.send(A, &world.packet(A, 60)).is_ok());
    assert_eq!(world.said(A), []);
    world.pass(seconds(1));
    // The responder leaves it to the initiator.
    assert!(world.send(B, &world.packet(B, 60)).is_ok());
    assert_eq!(world.said(B), []);
    // The old keys go on being used meanwhile.
    let old = world.send(A, &world.packet(A, 60)).unwrap();
    world.settle();
    assert!(world.handshakes(A) > first && world.handshakes(B) > first);
    assert!(world.carry(A, &old.datagram).is_some(), "what was under way with the old keys still counts");
    assert!(world.reaches(A) && world.reaches(B));
}

#[test]
fn the_initiator_makes_new_keys_at_the_last_minute() {
    let mut world = World::new();
    assert!(world.reaches(A));
    world.pass(seconds(164));
    let packet = world.packet(B, 60);
    let transmit = world.send(B, &packet).unwrap();
    assert!(world.carry(B, &transmit.datagram).is_some());
    assert_eq!(world.said(A), []);
    world.pass(seconds(1));
    for expected in [vec![Kind::Initiation], vec![]] {
        let transmit = world.send(B, &packet).unwrap();
        assert!(world.carry(B, &transmit.datagram).is_some());
        assert_eq!(kinds(&world.said(A)), expected);
    }
}

#[test]
fn old_keys_are_not_used() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let late = world.send(A, &world.packet(A, 60)).unwrap();
    world.pass(seconds(180));
    assert!(matches!(world.send(A, &world.packet(A, 60)), Err(Outbound::Wait(_))));
    assert!(world.carry(A, &late.datagram).is_none());
    assert_eq!(world.dropped(B, DropReason::SessionExpired), 1);
    // And forgotten altogether after three times that.
    let mut world = World::new();
    assert!(world.reaches(A));
    let late = world.send(A, &world.packet(A, 60)).unwrap();
    world.silence(B, seconds(541));
    let data = Data::parse(&late.datagram).unwrap();
    assert!(world.sides[B].device.keys_for(data.receiver).is_none());
}

#[test]
fn handshakes_are_not_begun_too_often() {
    let mut world = World::new();
    for _ in 0..QUEUE {
        assert!(world.send(A, &world.packet(A, 60)).is_err());
        world.pass(Duration::from_millis(30));
    }
    assert_eq!(kinds(&world.said(A)), [Kind::Initiation]);
}

#[test]
fn nothing_to_do_has_no_deadline() {
    let mut world = World::new();
    assert_eq!(world.sides[A].device.deadline(), None);
    assert!(world.reaches(A));
    for side in [A, B] {
        world.silence(side, seconds(2000));
    }
    assert_eq!((world.sides[A].device.deadline(), world.sides[B].device.deadline()), (None, None));
}
