//! Two peers that reach each other over a third only.

use super::*;

/// The two, and who passes on between them; each at its own address.
struct Three {
    now: Now,
    sides: [Side; 3],
    /// Whether the two hear each other directly.
    open: bool,
}

const R: usize = 2;

fn change(of: &Side, endpoint: Option<SocketAddr>) -> PeerChange {
    PeerChange {
        public_key: *of.device.key().unwrap().public(),
        endpoint,
        allowed_ips: vec![AllowedChange::Add(of.inside.into())],
        ..PeerChange::default()
    }
}

impl Three {
    /// All know each other, the two know where the third is, and have talked to it.
    fn new() -> Self {
        let World { now, sides: [a, b] } = World::strangers();
        let mut device = Device::new(random(3));
        device.set_key(Some([3; 32]));
        let at = SocketAddr::from(([192, 0, 2, 3], 51820));
        let third = Side { device, at, inside: IpAddr::from([10, 0, 0, 3]) };
        let mut three = Self { now, sides: [a, b, third], open: false };
        for (side, other, endpoint) in
            [(A, R, Some(at)), (B, R, Some(at)), (R, A, None), (R, B, None), (A, B, None), (B, A, None)]
        {
            let change =
                PeerChange { relay: (side == R).then_some(true), ..change(&three.sides[other], endpoint) };
            three.sides[side].device.change_peer(&change, now);
        }
        assert!(three.reaches(A, R) && three.reaches(B, R));
        three
    }

    fn tell(&mut self, side: usize, of: usize, told: impl FnOnce(&mut PeerChange)) {
        let mut change =
            PeerChange { public_key: change(&self.sides[of], None).public_key, ..PeerChange::default() };
        told(&mut change);
        self.sides[side].device.change_peer(&change, self.now);
    }

    fn endpoint(&self, side: usize, of: usize) -> Option<SocketAddr> {
        let key = *self.sides[of].device.key().unwrap().public();
        self.sides[side].device.peers().find(|peer| peer.public_key == key).unwrap().endpoint
    }

    /// Carries a datagram over, and whatever follows; which packets arrived, and where.
    fn carry(&mut self, from: usize, transmit: Transmit) -> Vec<(usize, Vec<u8>)> {
        let mut arrived = Vec::new();
        let mut waiting = std::collections::VecDeque::from([(from, transmit)]);
        loop {
            for side in [A, B, R] {
                while let Some(transmit) = self.sides[side].device.poll_transmit() {
                    waiting.push_back((side, transmit));
                }
            }
            let Some((from, Transmit { endpoint, mut datagram })) = waiting.pop_front() else {
                return arrived;
            };
            let to = self.sides.iter().position(|side| side.at == endpoint.remote);
            let Some(to) = to.filter(|to| from == R || *to == R || self.open) else { continue };
            let source = Endpoint { remote: self.sides[from].at, local: None };
            let device = &mut self.sides[to].device;
            let Some(data) = Data::parse(&datagram) else {
                device.handle_handshake(&datagram, source, self.now);
                continue;
            };
            match device.keys_for(data.receiver) {
                Some(keys) => {
                    let Some(packet) = keys.open(data.counter, &mut datagram) else { continue };
                    if let Inbound::Packet(len) = device.handle_opened(data, packet, source, self.now) {
                        arrived.push((to, packet[..len].to_vec()));
                    }
                }
                None => {
                    if let Some(endpoint) = device.relay_data(data, datagram.len(), source.remote, self.now) {
                        waiting.push_back((to, Transmit { endpoint, datagram }));
                    }
                }
            }
        }
    }

    /// Whether a packet arrives, by whatever it takes.
    fn reaches(&mut self, from: usize, to: usize) -> bool {
        let mut packet = vec![0xab; 100];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&100u16.to_be_bytes());
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => unreachable!("the sides have IPv4 addresses"),
        };
        packet[12..16].copy_from_slice(&octets(self.sides[from].inside));
        packet[16..20].copy_from_slice(&octets(self.sides[to].inside));
        let device = &mut self.sides[from].device;
        let first = match device.handle_outbound(self.sides[to].inside, 1, 100, self.now) {
            Outbound::Send(sealing) => {
                let mut datagram = vec![0; HEADER_LEN + padded(100, sealing.mtu) + TAG_LEN];
                datagram[HEADER_LEN..][..100].copy_from_slice(&packet);
                sealing.keys.seal(sealing.counter, &mut datagram);
                Transmit { endpoint: sealing.endpoint, datagram }
            }
            Outbound::Wait(id) => {
                device.handle_waiting(id, packet.clone(), self.now);
                let Some(first) = device.poll_transmit() else { return false };
                first
            }
            Outbound::Drop(_) => return false,
        };
        self.carry(from, first).contains(&(to, packet))
    }

    fn settle(&mut self) {
        for side in [A, B, R] {
            while let Some(transmit) = self.sides[side].device.poll_transmit() {
                self.carry(side, transmit);
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now.uptime += Duration::from_millis(millis);
        self.now.unix += Duration::from_millis(millis);
    }

    fn dropped(&self, side: usize, reason: DropReason) -> u64 {
        self.sides[side].device.counters().get(reason)
    }
}

#[test]
fn messages_pass_as_they_are() {
    let mut three = Three::new();
    let relay = three.sides[R].at;
    assert!(!three.reaches(A, B), "nobody knows where");
    three.tell(A, B, |change| change.endpoint = Some(relay));
    assert!(three.reaches(A, B));
    assert_eq!(three.endpoint(B, A), Some(relay), "the other side needs no telling");
    assert!(three.reaches(B, A) && three.reaches(A, R) && three.reaches(R, B));
    let relayed = three.sides[R].device.relayed();
    // An initiation, a response, a packet of 100 bytes each way, which is padded to 112.
    assert_eq!((relayed.messages, relayed.bytes), (4, 148 + 92 + 2 * 144));
    // New keys, and messages of the old ones that are late.
    three.pass(121_000);
    assert!(three.reaches(A, B) && three.reaches(B, A));
    for reason in [DropReason::NoSession, DropReason::BadMac, DropReason::RelayNowhere, DropReason::Forged] {
        assert_eq!(three.dropped(R, reason), 0, "{reason:?}");
    }
}

#[test]
fn only_who_may_is_passed_on() {
    for side in [A, B] {
        let mut three = Three::new();
        three.tell(R, side, |change| change.relay = Some(false));
        let relay = three.sides[R].at;
        three.tell(A, B, |change| change.endpoint = Some(relay));
        assert!(!three.reaches(A, B));
        assert_eq!(three.dropped(R, DropReason::BadMac), 1, "as from anybody");
    }
    // From an address where no peer is.
    let mut three = Three::new();
    let relay = three.sides[R].at;
    three.tell(A, B, |change| change.endpoint = Some(relay));
    three.sides[A].at = "203.0.113.9:9".parse().unwrap();
    assert!(!three.reaches(A, B));
    assert!(three.reaches(A, R), "there it is now");
    three.pass(5_000);
    assert!(three.reaches(A, B));
}

#[test]
fn a_peer_that_moved_or_went_is_followed() {
    let mut three = Three::new();
    let relay = three.sides[R].at;
    three.tell(A, B, |change| change.endpoint = Some(relay));
    assert!(three.reaches(A, B));
    three.sides[B].at = "203.0.113.9:9".parse().unwrap();
    assert!(!three.reaches(A, B), "nobody knows yet");
    assert!(three.reaches(B, R) && three.reaches(A, B) && three.reaches(B, A));
    three.tell(R, B, |change| change.remove = true);
    assert!(!three.reaches(A, B));
    assert!(three.dropped(R, DropReason::NoSession) > 0);
}

#[test]
fn nothing_goes_in_a_circle() {
    let mut three = Three::new();
    let (relay, a) = (three.sides[R].at, three.sides[A].at);
    three.tell(A, B, |change| change.endpoint = Some(relay));
    // As if B were reached over A, which reaches it over R.
    three.tell(R, B, |change| change.endpoint = Some(a));
    assert!(!three.reaches(A, B));
    assert_eq!(three.sides[R].device.relayed().messages, 0);
}

#[test]
fn who_begins_too_much_is_not_passed_on() {
    let mut three = Three::new();
    let relay = three.sides[R].at;
    for _ in 0..100 {
        three.tell(A, B, |change| {
            change.endpoint = Some(relay);
            change.renew = true;
        });
        three.settle();
    }
    assert_eq!(three.dropped(R, DropReason::RelayLimited), 100 - 64);
    three.pass(6_000);
    assert!(three.reaches(A, B));
}

#[test]
fn a_sign_of_life_finds_the_direct_way_and_both_stay_on_it() {
    let mut three = Three::new();
    let (relay, a, b) = (three.sides[R].at, three.sides[A].at, three.sides[B].at);
    three.tell(A, B, |change| change.endpoint = Some(relay));
    assert!(three.reaches(A, B));
    three.tell(A, B, |change| change.probe = Some(b));
    three.settle();
    assert_eq!([three.endpoint(A, B), three.endpoint(B, A)], [Some(relay); 2], "nothing came through");
    assert!(three.reaches(A, B) && three.reaches(B, A), "and nothing is lost");

    three.open = true;
    three.tell(A, B, |change| change.probe = Some(b));
    three.settle();
    assert_eq!(three.endpoint(B, A), Some(a), "heard it");
    assert!(three.reaches(B, A));
    assert_eq!(three.endpoint(A, B), Some(b), "answered there");
    // What was sent by the relay before arrives now.
    three.tell(A, B, |change| change.probe = Some(relay));
    three.settle();
    assert_eq!([three.endpoint(A, B), three.endpoint(B, A)], [Some(b), Some(a)]);
    // But not when the direct way has been silent.
    three.pass(1_500);
    three.tell(A, B, |change| change.probe = Some(relay));
    three.settle();
    assert_eq!(three.endpoint(B, A), Some(relay));
}

#[test]
fn keys_are_agreed_on_by_another_way_before_it_is_taken() {
    let mut three = Three::new();
    let (relay, b) = (three.sides[R].at, three.sides[B].at);
    three.open = true;
    three.tell(A, B, |change| change.endpoint = Some(b));
    assert!(three.reaches(A, B));
    three.pass(1_500);
    three.tell(A, B, |change| {
        change.probe = Some(relay);
        change.renew = true;
    });
    assert_eq!(three.endpoint(A, B), Some(b), "until they are");
    three.settle();
    assert_eq!(three.endpoint(A, B), Some(relay));
    three.open = false;
    assert!(three.reaches(A, B) && three.reaches(B, A));
}
