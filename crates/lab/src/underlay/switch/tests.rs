//! What the wires do, in virtual time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use kernel::tun::{Gso, VnetHeader};

use super::*;
use crate::underlay::Segment;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn shape(rtt: u64) -> Shape {
    Shape { rtt: ms(rtt), loss: 0.0, rate: None, mtu: None }
}

fn wire(a: u8, b: u8, shape: Shape) -> Wire {
    Wire { between: [a, b], shape, up: true }
}

/// Locations 1, 2 and 3 at 198.18.N.0/24.
fn switch(wires: &[Wire]) -> Switch {
    let segment = |number: u8| Segment {
        number,
        netns: String::new(),
        uplink: Vec::new(),
        public: vec![format!("198.18.{number}.0/24").parse().unwrap()],
        nats: Vec::new(),
    };
    let config = Config {
        seed: 1,
        control: "unused".into(),
        segments: [1, 2, 3].map(segment).to_vec(),
        wires: wires.to_vec(),
    };
    Switch::new(&config).unwrap_or_else(|e| panic!("{e}"))
}

fn packet_of(from: Ipv4Addr, to: Ipv4Addr, len: usize) -> Packet {
    let mut bytes = vec![0; len];
    bytes[0] = 0x45;
    bytes[9] = 17;
    bytes[12..16].copy_from_slice(&from.octets());
    bytes[16..20].copy_from_slice(&to.octets());
    Packet { header: VnetHeader::default(), bytes: bytes.into() }
}

fn packet(from: u8, to: u8, len: usize) -> Packet {
    packet_of(Ipv4Addr::new(198, 18, from, 1), Ipv4Addr::new(198, 18, to, 1), len)
}

/// Sends at the given moments and lists the moments of arrival and where.
fn arrivals(switch: &mut Switch, sent: &[(u64, u8, u8, usize)]) -> Vec<(u64, usize)> {
    for &(at, from, to, len) in sent {
        switch.handle(usize::from(from) - 1, packet(from, to, len), ms(at));
    }
    let mut arrived = Vec::new();
    while let Some(due) = switch.deadline() {
        assert!(
            due.is_zero() || switch.poll(due - Duration::from_nanos(1)).is_none(),
            "nothing arrives early"
        );
        let (to, _) = switch.poll(due).unwrap();
        arrived.push((due.as_millis() as u64, to + 1));
    }
    arrived
}

#[test]
fn half_a_round_trip_each_way() {
    let mut switch = switch(&[wire(1, 2, shape(14)), wire(1, 3, shape(30))]);
    let sent = [(0, 1, 2, 100), (0, 1, 3, 100), (1, 2, 1, 100), (2, 1, 2, 100)];
    assert_eq!(arrivals(&mut switch, &sent), [(7, 2), (8, 1), (9, 2), (15, 3)]);
}

#[test]
fn a_rate_makes_packets_wait_and_a_full_queue_drops_them() {
    // 1000 bytes take one millisecond.
    let mut switch = switch(&[wire(1, 2, Shape { rate: Some(8_000_000), ..shape(20) })]);
    let burst = [(0, 1, 2, 1000); 60];
    let arrived = arrivals(&mut switch, &burst);
    let want: Vec<(u64, usize)> = (11..=61).map(|at| (at, 2)).collect();
    assert_eq!(arrived, want, "50 ms of queue and the one being sent");
    assert_eq!(switch.counters().wires[0].queue_full, 9);
    assert_eq!(arrivals(&mut switch, &[(500, 1, 2, 1000)]), [(511, 2)], "the queue empties");
}

#[test]
fn loss_is_as_configured_and_repeatable() {
    let run = || {
        let mut switch = switch(&[wire(1, 2, Shape { loss: 0.05, ..shape(0) })]);
        let arrived = arrivals(&mut switch, &[(0, 1, 2, 100); 20_000]).len();
        (arrived, switch.counters().wires[0].lost)
    };
    let (arrived, lost) = run();
    assert_eq!(arrived as u64 + lost, 20_000);
    assert!((800..1200).contains(&lost), "{lost} of 20000 at 5 %");
    assert_eq!(run(), (arrived, lost));
}

#[test]
fn a_shorter_wire_does_not_let_packets_overtake() {
    let mut switch = switch(&[wire(1, 2, shape(40))]);
    switch.handle(0, packet(1, 2, 100), ms(0));
    switch.set_wires(&[wire(1, 2, shape(4))]).unwrap();
    assert_eq!(arrivals(&mut switch, &[(1, 1, 2, 100), (30, 1, 2, 100)]), [(20, 2), (20, 2), (32, 2)]);
}

#[test]
fn a_wire_that_is_down_carries_nothing() {
    let mut switch = switch(&[wire(1, 2, shape(10)), wire(1, 3, shape(10))]);
    switch.handle(0, packet(1, 2, 100), ms(0));
    switch.set_wires(&[Wire { up: false, ..wire(1, 2, shape(10)) }]).unwrap();
    assert_eq!(switch.poll(ms(5)), None, "not even what is on its way");
    assert_eq!(arrivals(&mut switch, &[(6, 1, 2, 100), (6, 2, 1, 100), (6, 1, 3, 100)]), [(11, 3)]);
    let down: u64 = switch.counters().wires.iter().map(|wire| wire.down).sum();
    assert_eq!(down, 3);
    switch.set_wires(&[wire(1, 2, shape(10))]).unwrap();
    assert_eq!(arrivals(&mut switch, &[(20, 1, 2, 100)]), [(25, 2)]);
}

#[test]
fn what_no_wire_takes() {
    let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    let cases = [
        ("private source", packet_of(ip("172.16.1.1"), ip("198.18.2.1"), 60), "sourceAddress"),
        ("someone else's source", packet_of(ip("198.18.3.1"), ip("198.18.2.1"), 60), "sourceAddress"),
        ("private destination", packet_of(ip("198.18.1.1"), ip("172.16.2.1"), 60), "unroutable"),
        ("its own location", packet(1, 1, 60), "unroutable"),
        ("no wire", packet(1, 3, 60), "unroutable"),
        ("multicast", packet_of(ip("198.18.1.1"), ip("224.0.0.1"), 60), "localTalk"),
        ("too short", Packet { header: VnetHeader::default(), bytes: Box::new([0x45]) }, "malformed"),
    ];
    for (name, packet, reason) in cases {
        let mut switch = switch(&[wire(1, 2, shape(0))]);
        switch.handle(0, packet, ms(0));
        assert_eq!(switch.deadline(), None, "{name}");
        let dropped = serde_json::to_value(switch.counters().dropped).unwrap();
        let counted: BTreeMap<String, u64> = serde_json::from_value(dropped).unwrap();
        let counted: Vec<_> = counted.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(reason.to_string(), 1)], "{name}");
    }
}

#[test]
fn super_packets_take_as_long_as_their_segments() {
    let mut switch = switch(&[wire(1, 2, Shape { rate: Some(8_000_000), ..shape(0) })]);
    let mut datagrams = packet(1, 2, 28 + 4 * 972);
    datagrams.header = VnetHeader { gso: Gso::Udp, gso_size: 972, ..VnetHeader::default() };
    switch.handle(0, datagrams, ms(0));
    assert_eq!(switch.deadline(), Some(ms(4)), "four datagrams of 1000 bytes");
    assert!(switch.poll(ms(4)).is_some());
    assert_eq!(switch.counters().wires[0].packets, 4);
}

#[test]
fn single_packets_where_they_matter() {
    let lossy = Shape { loss: 0.01, ..shape(1) };
    let slow = Shape { rate: Some(10_000_000), ..shape(1) };
    let cases = [(shape(1), [false; 3]), (lossy, [true, true, false]), (slow, [true, true, false])];
    for (shape_of_12, want) in cases {
        let switch = switch(&[wire(1, 2, shape_of_12), wire(2, 3, shape(1)), wire(1, 3, shape(1))]);
        assert_eq!([0, 1, 2].map(|i| switch.wants_single_packets(i)), want, "{shape_of_12:?}");
    }
}

#[test]
fn wires_that_cannot_be() {
    let mut switch = switch(&[]);
    let bad = [
        wire(1, 9, shape(1)),
        wire(1, 1, shape(1)),
        wire(1, 2, Shape { loss: 2.0, ..shape(1) }),
        wire(1, 2, Shape { loss: f64::NAN, ..shape(1) }),
        wire(1, 2, Shape { rate: Some(0), ..shape(1) }),
    ];
    for wire in bad {
        assert!(switch.set_wires(std::slice::from_ref(&wire)).is_err(), "{wire:?}");
    }
    assert!(switch.counters().wires.is_empty());
}

#[test]
fn a_nat_stands_at_the_edge_of_its_location() {
    let mut config = Config {
        seed: 1,
        control: "unused".into(),
        segments: [1, 2]
            .map(|number: u8| Segment {
                number,
                netns: String::new(),
                uplink: Vec::new(),
                public: vec![format!("198.18.{number}.0/24").parse().unwrap()],
                nats: Vec::new(),
            })
            .to_vec(),
        wires: vec![wire(1, 2, shape(10))],
    };
    let (inside, outside) = (Ipv4Addr::new(172, 16, 1, 1), Ipv4Addr::new(198, 18, 1, 253));
    let kind = crate::underlay::NatKind::PortRestricted;
    config.segments[0].nats.push(crate::underlay::NatBox { kind, outside, inside: vec![inside] });
    let mut switch = Switch::new(&config).unwrap_or_else(|e| panic!("{e}"));
    let there = Ipv4Addr::new(198, 18, 2, 1);

    switch.handle(1, packet_of(there, outside, 100), ms(0));
    assert!(switch.poll(ms(100)).is_none(), "nobody there has said anything");
    assert_eq!(switch.counters().dropped.filtered, 1);
    switch.handle(0, packet_of(inside, there, 100), ms(100));
    let (at, packet) = switch.poll(ms(200)).unwrap();
    assert_eq!((at, &packet.bytes[12..16]), (1, &outside.octets()[..]));
    switch.handle(1, packet_of(there, outside, 100), ms(200));
    let (at, packet) = switch.poll(ms(300)).unwrap();
    assert_eq!((at, &packet.bytes[16..20]), (0, &inside.octets()[..]));
    switch.forget_mappings();
    switch.handle(1, packet_of(there, outside, 100), ms(300));
    assert!(switch.poll(ms(400)).is_none());
    let mut other = packet_of(inside, there, 100);
    other.bytes[9] = 47;
    switch.handle(0, other, ms(400));
    assert_eq!(switch.counters().dropped.untranslated, 1);
}
