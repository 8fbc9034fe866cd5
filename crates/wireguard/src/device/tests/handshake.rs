//! From strangers to a session.

use super::*;
use crate::device::peer::QUEUE;

#[test]
fn the_first_packet_makes_the_session() {
    let mut world = World::new();
    let packet = world.packet(A, 333);
    assert!(matches!(world.send(A, &packet), Err(Outbound::Wait(_))));
    let said = world.said(A);
    assert_eq!(kinds(&said), [Kind::Initiation]);
    assert_eq!(said[0].endpoint.remote, world.sides[B].at);
    world.carry(A, &said[0].datagram);
    let said = world.said(B);
    assert_eq!(kinds(&said), [Kind::Response]);
    // B cannot send before A has: its packets wait, and it begins no handshake of its own.
    let answer = world.packet(B, 50);
    assert!(matches!(world.send(B, &answer), Err(Outbound::Wait(_))));
    assert_eq!(world.said(B), []);
    world.carry(B, &said[0].datagram);
    let said = world.said(A);
    assert_eq!(kinds(&said), [Kind::Data], "the packet that waited, and no keepalive");
    assert_eq!(world.carry(A, &said[0].datagram), Some(packet));
    assert_eq!(world.settle()[A], [answer]);
    assert!(world.reaches(A) && world.reaches(B));
    assert_eq!(world.handshakes(A), Some(world.now.unix));
    assert_eq!(world.handshakes(B), Some(world.now.unix));
    for side in [A, B] {
        assert_eq!(world.sides[side].device.counters(), &crate::Counters::default());
    }
}

#[test]
fn without_a_packet_a_keepalive_confirms() {
    let mut world = World::new();
    let change = PeerChange {
        public_key: *world.sides[B].device.key().unwrap().public(),
        keepalive: Some(25),
        ..PeerChange::default()
    };
    let now = world.now;
    world.sides[A].device.change_peer(&change, now);
    world.sides[A].device.handle_timeout(now);
    let said = world.said(A);
    assert_eq!(kinds(&said), [Kind::Initiation]);
    world.carry(A, &said[0].datagram);
    let said = world.said(B);
    world.carry(B, &said[0].datagram);
    assert_eq!(kinds(&world.said(A)), [Kind::Keepalive]);
}

#[test]
fn a_preshared_key_must_be_shared() {
    let cases = [(None, None, true), (Some([7; 32]), Some([7; 32]), true), (Some([7; 32]), None, false)];
    for (ours, theirs, agree) in cases {
        let mut world = World::strangers();
        world.introduce(A, Some(world.sides[B].at), ours);
        world.introduce(B, None, theirs);
        assert_eq!(world.reaches(A), agree, "{ours:?} and {theirs:?}");
        assert_eq!(world.dropped(A, DropReason::BadHandshake), u64::from(!agree));
    }
}

#[test]
fn both_may_begin_at_once() {
    let mut world = World::new();
    world.introduce(B, Some(world.sides[A].at), None);
    let (ours, theirs) = (world.packet(A, 60), world.packet(B, 70));
    assert!(world.send(A, &ours).is_err() && world.send(B, &theirs).is_err());
    let crossing = [world.said(A), world.said(B)];
    for from in [A, B] {
        world.carry(from, &crossing[from][0].datagram);
    }
    let arrived = world.settle();
    assert_eq!(arrived, [vec![theirs], vec![ours]], "nobody waits for a retry");
    assert!(world.reaches(A) && world.reaches(B));

    // Each sends with the keys that it began. What is under way when there are others arrives all the same.
    world.pass(Duration::from_secs(6));
    let packets = [world.packet(A, 80), world.packet(B, 90)];
    let under_way = [A, B].map(|from| world.send(from, &packets[from]).expect("there are keys").datagram);
    let renew = PeerChange {
        public_key: *world.sides[B].device.key().unwrap().public(),
        renew: true,
        ..PeerChange::default()
    };
    let now = world.now;
    world.sides[A].device.change_peer(&renew, now);
    let initiation = world.said(A).pop().expect("a handshake begins");
    world.carry(A, &initiation.datagram);
    assert_eq!(
        world.carry(A, &under_way[A]).as_ref(),
        Some(&packets[A]),
        "the one who was asked has the former keys"
    );
    let response = world.said(B).pop().expect("it is answered");
    world.carry(B, &response.datagram);
    assert_eq!(world.carry(B, &under_way[B]).as_ref(), Some(&packets[B]), "so has the one who asked");
    world.settle();
    assert!(world.reaches(A) && world.reaches(B));
}

#[test]
fn who_is_refused_is_counted() {
    let mut world = World::new();
    // Not a message at all.
    world.carry(A, &[9; 50]);
    assert_eq!(world.dropped(B, DropReason::NotWireGuard), 1);
    // For somebody else: the mac is made with the receiver's public key.
    let mut stranger = World::strangers();
    stranger.sides[B].device.set_key(Some([9; 32]));
    stranger.introduce(A, Some(stranger.sides[B].at), None);
    assert!(stranger.send(A, &stranger.packet(A, 50)).is_err());
    let said = stranger.said(A);
    world.carry(A, &said[0].datagram);
    assert_eq!(world.dropped(B, DropReason::BadMac), 1);
    // From a stranger who knows our key.
    let mut unknown = World::strangers();
    unknown.sides[A].device.set_key(Some([8; 32]));
    unknown.introduce(A, Some(unknown.sides[B].at), None);
    assert!(unknown.send(A, &unknown.packet(A, 50)).is_err());
    let said = unknown.said(A);
    world.carry(A, &said[0].datagram);
    assert_eq!(world.dropped(B, DropReason::UnknownPeer), 1);
    // The same initiation twice.
    assert!(world.send(A, &world.packet(A, 50)).is_err());
    let said = world.said(A);
    world.carry(A, &said[0].datagram);
    world.pass(Duration::from_secs(1));
    world.carry(A, &said[0].datagram);
    assert_eq!(world.dropped(B, DropReason::HandshakeReplayed), 1);
    assert_eq!(kinds(&world.said(B)), [Kind::Response]);
    // A device without a key answers nobody.
    world.sides[B].device.set_key(None);
    world.pass(Duration::from_secs(1));
    world.carry(A, &said[0].datagram);
    assert_eq!(world.dropped(B, DropReason::BadMac), 2);
    assert_eq!(world.said(B), []);
}

#[test]
fn a_lost_clock_does_not_lock_a_peer_out() {
    let mut world = World::new();
    assert!(world.reaches(A));
    // The wall clock goes back, as it may after a suspend; the device keeps its stamps growing.
    world.now.unix -= Duration::from_secs(3600);
    world.now.uptime += Duration::from_secs(200);
    assert!(world.reaches(A));
}

#[test]
fn a_clock_that_jumps_locks_nobody_out() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let hour = Duration::from_secs(3600);
    for forward in [true, false, false, true, true, false] {
        let unix = &mut world.now.unix;
        *unix = if forward { *unix + hour } else { *unix - hour };
        // Long enough for new keys.
        world.pass(Duration::from_secs(125));
        let before = world.handshakes(B);
        assert!(world.reaches(A) && world.reaches(B));
        assert_ne!(world.handshakes(B), before, "there are new keys");
    }
    assert_eq!(world.dropped(B, DropReason::HandshakeReplayed), 0);
}

#[test]
fn what_waits_is_bounded() {
    let mut world = World::new();
    for len in 0..QUEUE + 5 {
        assert!(world.send(A, &world.packet(A, 60 + len)).is_err());
    }
    assert_eq!(world.dropped(A, DropReason::QueueFull), 5);
    let arrived = &world.settle()[B];
    assert_eq!(arrived.len(), QUEUE);
    assert_eq!(arrived[0].len(), 65, "the oldest went");
}

#[test]
fn nothing_leaves_without_a_way() {
    let mut world = World::new();
    let mut packet = world.packet(A, 60);
    packet[16..20].copy_from_slice(&[10, 9, 9, 9]);
    assert!(matches!(world.send(A, &packet), Err(Outbound::Drop(DropReason::NoPeer))));
    let packet = world.packet(B, 60);
    assert!(matches!(world.send(B, &packet), Err(Outbound::Drop(DropReason::NoEndpoint))));
    assert_eq!((world.dropped(A, DropReason::NoPeer), world.dropped(B, DropReason::NoEndpoint)), (1, 1));
}

#[test]
fn what_comes_out_must_be_the_peers() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let mut foreign = world.packet(A, 60);
    foreign[12..16].copy_from_slice(&[10, 9, 9, 9]);
    let mut long = world.packet(A, 60);
    long[3] = 255;
    let mut nonsense = world.packet(A, 60);
    nonsense[0] = 0x15;
    let cases = [
        (foreign, DropReason::NotAllowed),
        (long, DropReason::NotIpInside),
        (nonsense, DropReason::NotIpInside),
    ];
    for (packet, reason) in cases {
        let before = world.dropped(B, reason);
        let to = world.sides[B].inside;
        let now = world.now;
        let Outbound::Send(sealing) = world.sides[A].device.handle_outbound(to, 1, 60, now) else {
            panic!("there is a session")
        };
        let mut datagram = vec![0; HEADER_LEN + 64 + TAG_LEN];
        datagram[HEADER_LEN..][..60].copy_from_slice(&packet);
        sealing.keys.seal(sealing.counter, &mut datagram);
        assert_eq!(world.carry(A, &datagram), None);
        assert_eq!(world.dropped(B, reason), before + 1, "{reason:?}");
    }
}

#[test]
fn packets_are_taken_once() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let packets: Vec<Transmit> = (0..3).map(|_| world.send(A, &world.packet(A, 80)).unwrap()).collect();
    for at in [2, 0, 1] {
        assert!(world.carry(A, &packets[at].datagram).is_some(), "out of order is fine");
    }
    assert!(world.carry(A, &packets[1].datagram).is_none());
    assert_eq!(world.dropped(B, DropReason::Replayed), 1);
}

/// A flood that knows our key, then an honest peer in the middle of it.
#[test]
fn under_load_strangers_get_cookies() {
    let mut world = World::new();
    let mut flood = World::strangers();
    flood.sides[A].device.set_key(Some([8; 32]));
    flood.introduce(A, Some(flood.sides[B].at), None);
    assert!(flood.send(A, &flood.packet(A, 50)).is_err());
    let message = flood.said(A).remove(0).datagram;
    for _ in 0..300 {
        world.carry(A, &message);
    }
    assert!(world.dropped(B, DropReason::Busy) > 0);
    assert_eq!(kinds(&world.said(B))[0], Kind::Cookie);

    // The honest one is sent away with a cookie, comes back with it and is let in.
    assert!(world.send(A, &world.packet(A, 99)).is_err());
    let first = world.said(A).remove(0);
    world.carry(A, &first.datagram);
    let cookie = world.said(B).remove(0);
    assert_eq!(Kind::of(&cookie.datagram), Kind::Cookie);
    world.carry(B, &cookie.datagram);
    let retry = world.silence(A, Duration::from_millis(5400));
    assert_eq!(retry.len(), 1, "the handshake is repeated: {retry:?}");
    for _ in 0..300 {
        world.carry(A, &message);
    }
    world.said(B);
    world.pass(Duration::from_secs(5));
    let now = world.now;
    world.sides[A].device.handle_timeout(now);
    let again = world.said(A).remove(0);
    for _ in 0..300 {
        world.carry(A, &message);
    }
    world.said(B);
    world.carry(A, &again.datagram);
    assert_eq!(kinds(&world.said(B)), [Kind::Response]);
}

#[test]
fn who_starts_again_with_a_clock_behind_is_asked_by_the_others() {
    let mut world = World::new();
    assert!(world.reaches(A) && world.reaches(B));
    world.pass(Duration::from_secs(10));
    // Its process ends, with all that it knew; the clock that it finds is an hour behind.
    world.now.unix -= Duration::from_secs(3600);
    world.sides[A].device = Device::new(random(7));
    world.sides[A].device.set_key(Some([1; 32]));
    world.introduce(A, Some(world.sides[B].at), None);
    assert!(!world.reaches(A));
    assert_eq!(
        world.dropped(B, DropReason::HandshakeReplayed),
        1,
        "its initiation is older than one before it"
    );
    // The other end sends (agents ask each other for echoes all the time), hears nothing, and shakes hands itself.
    let mut waited = 0;
    while !world.reaches(B) {
        waited += 1;
        assert!(waited <= 16, "seconds");
        world.pass(Duration::from_secs(1));
        for side in [A, B] {
            world.sides[side].device.handle_timeout(world.now);
        }
        world.settle();
    }
    assert!(world.reaches(A), "and then both are heard");
}

#[test]
fn who_may_send_for_others() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let a = *world.sides[A].device.key().unwrap().public();
    let foreign = IpAddr::from([10, 9, 9, 9]);
    let change = |public_key, group, accepted_ips: &[IpAddr]| PeerChange {
        public_key,
        group: Some(group),
        accepted_ips: accepted_ips.iter().map(|ip| (*ip).into()).collect(),
        ..PeerChange::default()
    };
    // Somebody else's address.
    let owner =
        PeerChange { allowed_ips: vec![AllowedChange::Add(foreign.into())], ..change([9; 32], 7, &[]) };
    let now = world.now;
    world.sides[B].device.change_peer(&owner, now);
    let mut packet = world.packet(A, 60);
    packet[12..16].copy_from_slice(&[10, 9, 9, 9]);
    let replaced = |change: PeerChange, own: IpAddr| PeerChange {
        replace_allowed_ips: true,
        allowed_ips: vec![AllowedChange::Add(own.into())],
        ..change
    };
    let own = world.sides[A].inside;
    for (what, change, is_taken) in [
        ("of no group", change(a, 0, &[]), false),
        ("of another", change(a, 8, &[]), false),
        ("of the same", change(a, 7, &[]), true),
        ("of none again", change(a, 0, &[]), false),
        ("that it may send, too", change(a, 0, &[foreign]), true),
        ("that stays until it is replaced", change(a, 0, &[]), true),
        ("that it may send no more", replaced(change(a, 0, &[]), own), false),
    ] {
        world.sides[B].device.change_peer(&change, now);
        let sent = world.send(A, &packet).unwrap();
        assert_eq!(world.carry(A, &sent.datagram).is_some(), is_taken, "{what}");
    }
    // Nothing is sent to it for that.
    assert_ne!(world.sides[B].device.peer_of(foreign), world.sides[B].device.peer_of(own));
    let status = world.sides[B].device.peers().find(|peer| peer.public_key == [9; 32]).unwrap();
    assert_eq!((status.group, status.allowed_ips), (7, vec![foreign.into()]));
}
