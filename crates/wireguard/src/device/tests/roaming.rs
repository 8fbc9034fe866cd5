//! Peers that move, and peers that are told to.

use super::*;

#[test]
fn a_peer_is_where_it_was_last_heard() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let moved = Endpoint {
        remote: "[2001:db8::7]:1234".parse().unwrap(),
        local: Some("2001:db8::8".parse().unwrap()),
    };
    let transmit = world.send(A, &world.packet(A, 60)).unwrap();
    assert!(world.receive(B, &transmit.datagram, moved).is_some());
    assert_eq!(world.send(B, &world.packet(B, 60)).unwrap().endpoint, moved);

    // Our own address went away: the routing table decides again.
    world.sides[B].device.handle_lost_address("2001:db8::8".parse().unwrap());
    let endpoint = world.send(B, &world.packet(B, 60)).unwrap().endpoint;
    assert_eq!(endpoint, Endpoint { local: None, ..moved });

    // A copy of an old datagram from elsewhere moves nobody.
    let thief = Endpoint { remote: "203.0.113.1:1".parse().unwrap(), local: None };
    world.receive(B, &transmit.datagram, thief);
    assert_eq!(world.send(B, &world.packet(B, 60)).unwrap().endpoint, endpoint);
}

#[test]
fn a_change_keeps_the_session() {
    let mut world = World::new();
    assert!(world.reaches(A));
    let handshake = world.handshakes(A);
    world.pass(Duration::from_secs(1));
    let elsewhere: SocketAddr = "192.0.2.77:5".parse().unwrap();
    world.introduce(A, Some(elsewhere), None);
    let change = PeerChange {
        public_key: *world.sides[B].device.key().unwrap().public(),
        replace_allowed_ips: true,
        allowed_ips: vec![
            AllowedChange::Add("10.0.0.0/24".parse().unwrap()),
            AllowedChange::Add("10.3.0.9/24".parse().unwrap()),
        ],
        ..PeerChange::default()
    };
    let now = world.now;
    world.sides[A].device.change_peer(&change, now);
    let transmit = world.send(A, &world.packet(A, 60)).unwrap();
    assert_eq!(transmit.endpoint.remote, elsewhere);
    assert!(world.carry(A, &transmit.datagram).is_some());
    assert_eq!(world.handshakes(A), handshake);
    let status = world.sides[A].device.peers().next().unwrap();
    assert_eq!(status.allowed_ips, ["10.0.0.0/24".parse().unwrap(), "10.3.0.0/24".parse().unwrap()]);

    let gone = AllowedChange::Remove("10.3.0.0/24".parse().unwrap());
    let change = PeerChange { allowed_ips: vec![gone], replace_allowed_ips: false, ..change };
    world.sides[A].device.change_peer(&change, now);
    assert_eq!(world.sides[A].device.peers().next().unwrap().allowed_ips.len(), 1);
}

#[test]
fn a_range_has_one_owner() {
    let mut world = World::new();
    let change = PeerChange {
        public_key: [5; 32],
        endpoint: Some("192.0.2.5:5".parse().unwrap()),
        allowed_ips: vec![AllowedChange::Add(world.sides[B].inside.into())],
        ..PeerChange::default()
    };
    let now = world.now;
    world.sides[A].device.change_peer(&PeerChange { update_only: true, ..change.clone() }, now);
    assert!(!world.sides[A].device.has_peer(&[5; 32]), "there was nothing to update");
    world.sides[A].device.change_peer(&change, now);
    assert_eq!(world.dropped(A, DropReason::RangeTaken), 1);
    let owners: Vec<usize> = world.sides[A].device.peers().map(|peer| peer.allowed_ips.len()).collect();
    assert_eq!(owners.iter().sum::<usize>(), 1);
    world.sides[A].device.change_peer(&PeerChange { remove: true, ..change }, now);
    assert!(matches!(world.send(A, &world.packet(A, 60)), Err(Outbound::Drop(DropReason::NoPeer))));
}

#[test]
fn a_removed_peer_is_forgotten() {
    let mut world = World::new();
    assert!(world.send(A, &world.packet(A, 60)).is_err());
    let said = world.said(A);
    world.carry(A, &said[0].datagram);
    let response = world.said(B);
    let now = world.now;
    world.sides[A].device.remove_peers();
    assert_eq!(world.dropped(A, DropReason::PeerRemoved), 1, "the packet that waited");
    world.carry(B, &response[0].datagram);
    assert_eq!(world.dropped(A, DropReason::BadHandshake), 1);
    assert_eq!(world.sides[A].device.deadline(), None);

    // Our own key is nobody's peer.
    let own = *world.sides[A].device.key().unwrap().public();
    let change = PeerChange { public_key: own, ..PeerChange::default() };
    world.sides[A].device.change_peer(&change, now);
    assert!(!world.sides[A].device.has_peer(&own));
    assert_eq!(world.dropped(A, DropReason::OwnKey), 1);
    // Nor does a peer stay whose key we are given.
    let other = PeerChange { public_key: *world.sides[B].device.key().unwrap().public(), ..change };
    world.sides[A].device.change_peer(&other, now);
    world.sides[A].device.set_key(Some([2; 32]));
    assert!(!world.sides[A].device.has_peer(&other.public_key));
    assert_eq!(world.dropped(A, DropReason::OwnKey), 2);
}

#[test]
fn an_endpoint_inside_the_tunnel_is_seen() {
    let mut world = World::new();
    let inside = SocketAddr::new(world.sides[B].inside, 51820);
    world.introduce(A, Some(inside), None);
    assert!(world.send(A, &world.packet(A, 60)).is_err());
    let said = world.said(A);
    // What the host makes of the initiation, and routes to us.
    let mut packet = world.packet(A, 28 + said[0].datagram.len());
    packet[9] = 17;
    packet[6..8].fill(0);
    packet[20..24].copy_from_slice(&[202, 108, 202, 108]);
    packet[28..].copy_from_slice(&said[0].datagram);
    let device = &world.sides[A].device;
    assert!(device.is_looped(&packet, 51820));
    assert!(!device.is_looped(&packet, 51821), "somebody else's");
    packet[23] = 109;
    assert!(!device.is_looped(&packet, 51820), "to somebody else");
}

#[test]
fn a_new_key_ends_sessions_the_same_key_does_not() {
    let mut world = World::new();
    assert!(world.reaches(A));
    world.sides[A].device.set_key(Some([1; 32]));
    assert!(world.send(A, &world.packet(A, 60)).is_ok());
    world.sides[A].device.set_key(Some([3; 32]));
    assert!(matches!(world.send(A, &world.packet(A, 60)), Err(Outbound::Wait(_))));
}
