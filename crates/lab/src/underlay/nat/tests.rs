//! Each kind, as three sockets find it (RFC 4787), and the sums of what is translated.

use super::*;

const INSIDE: [u8; 4] = [172, 16, 1, 1];
const OUTSIDE: [u8; 4] = [198, 18, 1, 253];

/// Two ports of one machine outside, and one of another.
const REMOTES: [([u8; 4], u16); 3] =
    [([198, 18, 2, 1], 1_000), ([198, 18, 2, 1], 2_000), ([198, 18, 3, 1], 1_000)];

fn nat(kind: NatKind) -> Nat {
    Nat::new(NatBox { kind, outside: OUTSIDE.into(), inside: vec![INSIDE.into(), [172, 16, 1, 2].into()] }, 1)
}

fn packet(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Packet {
    let mut bytes = vec![7; 60];
    bytes[..20].copy_from_slice(&[0x45, 0, 0, 60, 0, 1, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes[12..16].copy_from_slice(&from.0);
    bytes[16..20].copy_from_slice(&to.0);
    if protocol == ICMP {
        bytes[20..24].copy_from_slice(&[if from.1 == 0 { 0 } else { 8 }, 0, 0, 0]);
        bytes[24..26].copy_from_slice(&(from.1 | to.1).to_be_bytes());
    } else {
        bytes[20..22].copy_from_slice(&from.1.to_be_bytes());
        bytes[22..24].copy_from_slice(&to.1.to_be_bytes());
    }
    let at = sum_at(protocol);
    bytes[at..at + 2].fill(0);
    let (ip, transport) = (!sum(&bytes[..20]), !transport_sum(protocol, &bytes));
    bytes[10..12].copy_from_slice(&ip.to_be_bytes());
    bytes[at..at + 2].copy_from_slice(&transport.to_be_bytes());
    Packet { header: VnetHeader::default(), bytes: bytes.into() }
}

fn sum_at(protocol: u8) -> usize {
    20 + match protocol {
        ICMP => 2,
        TCP => 16,
        _ => 6,
    }
}

fn sum(bytes: &[u8]) -> u16 {
    fold(bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum())
}

fn transport_sum(protocol: u8, bytes: &[u8]) -> u16 {
    let pseudo = if protocol == ICMP { 0 } else { u32::from(sum(&bytes[12..20])) + u32::from(protocol) + 40 };
    fold(pseudo + u32::from(sum(&bytes[20..])))
}

fn assert_sums(packet: &Packet, what: &str) {
    assert_eq!(sum(&packet.bytes[..20]), 0xffff, "{what}: IP");
    assert_eq!(transport_sum(packet.bytes[9], &packet.bytes), 0xffff, "{what}: transport");
}

/// Sends from inside; returns the port that is seen outside.
fn send(nat: &mut Nat, protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16), now: u64) -> u16 {
    let mut packet = packet(protocol, from, to);
    assert!(nat.leave(&mut packet, Duration::from_secs(now)));
    assert_sums(&packet, "out");
    let ends = Ends::of(&packet.bytes).unwrap();
    assert_eq!(ends.source.0, Ipv4Addr::from(OUTSIDE));
    assert_eq!(ends.destination.0, Ipv4Addr::from(to.0));
    ends.source.1
}

/// Where an answer arrives inside, if it does.
fn answer(nat: &mut Nat, protocol: u8, from: ([u8; 4], u16), port: u16, now: u64) -> Option<End> {
    let mut packet = packet(protocol, from, (OUTSIDE, port));
    if !nat.arrive(&mut packet, Duration::from_secs(now)) {
        return None;
    }
    assert_sums(&packet, "in");
    Some(Ends::of(&packet.bytes).unwrap().destination)
}

#[test]
fn each_kind_behaves_as_it_is_called() {
    // Whether the mapping is one for all; who may answer after the first of the remotes was talked to.
    let cases = [
        (NatKind::FullCone, true, [true, true, true]),
        (NatKind::Restricted, true, [true, true, false]),
        (NatKind::PortRestricted, true, [true, false, false]),
        (NatKind::Symmetric, false, [true, false, false]),
    ];
    for protocol in [UDP, TCP] {
        for (kind, one, passes) in cases {
            let mut nat = nat(kind);
            let mine = (INSIDE, 51_820);
            let port = send(&mut nat, protocol, mine, REMOTES[0], 0);
            assert_eq!(port == 51_820, one, "{kind:?}: the port is kept");
            let answers = REMOTES.map(|remote| answer(&mut nat, protocol, remote, port, 1).is_some());
            assert_eq!(answers, passes, "{kind:?}: filtering");
            let inside = answer(&mut nat, protocol, REMOTES[0], port, 1);
            assert_eq!(inside, Some((INSIDE.into(), 51_820)), "{kind:?}");
            let others = [1, 2].map(|at: usize| send(&mut nat, protocol, mine, REMOTES[at], 1));
            assert_eq!(others.map(|other| other == port), [one, one], "{kind:?}: mapping");
            assert_eq!(others[0] == others[1], one, "{kind:?}: mapping");
            for (remote, port) in REMOTES.into_iter().zip([port, others[0], others[1]]) {
                assert!(answer(&mut nat, protocol, remote, port, 2).is_some(), "{kind:?}: who was talked to");
            }
            assert_eq!(answer(&mut nat, protocol, REMOTES[0], 7, 2), None, "{kind:?}: no mapping");
        }
    }
}

#[test]
fn mappings_end_and_ports_are_not_shared() {
    let mut nat = nat(NatKind::PortRestricted);
    let (one, other) = ((INSIDE, 51_820), ([172, 16, 1, 2], 51_820));
    let port = send(&mut nat, UDP, one, REMOTES[0], 0);
    let second = send(&mut nat, UDP, other, REMOTES[0], 0);
    assert_eq!(port, 51_820);
    assert_ne!(second, port, "two of one port inside");
    assert_eq!(answer(&mut nat, UDP, REMOTES[0], second, 1), Some(([172, 16, 1, 2].into(), 51_820)));
    assert!(answer(&mut nat, UDP, REMOTES[0], port, 30).is_some());
    assert_eq!(answer(&mut nat, UDP, REMOTES[0], port, 31), None, "what comes in keeps nothing open");
    assert_eq!(send(&mut nat, UDP, one, REMOTES[1], 25), 51_820);
    assert_eq!(answer(&mut nat, UDP, REMOTES[0], port, 31), None, "nor what goes elsewhere");
    assert!(answer(&mut nat, UDP, REMOTES[1], port, 50).is_some());
    nat.forget();
    assert_eq!(answer(&mut nat, UDP, REMOTES[1], port, 50), None, "switched off and on");
}

#[test]
fn echoes_pass_and_fragments_do_not() {
    let mut nat = nat(NatKind::Symmetric);
    let id = send(&mut nat, ICMP, (INSIDE, 5), (REMOTES[0].0, 0), 0);
    assert_eq!(answer(&mut nat, ICMP, (REMOTES[0].0, 0), id, 1), Some((INSIDE.into(), 5)));
    assert_eq!(answer(&mut nat, ICMP, (REMOTES[2].0, 0), id, 1), None);
    let mut fragment = packet(UDP, (INSIDE, 5), REMOTES[0]);
    fragment.bytes[6] = 0x20;
    assert!(!nat.leave(&mut fragment, Duration::ZERO));
    let mut other = packet(47, (INSIDE, 5), REMOTES[0]);
    assert!(!nat.leave(&mut other, Duration::ZERO));
    for len in 0..28 {
        let mut short = Packet {
            header: VnetHeader::default(),
            bytes: packet(UDP, (INSIDE, 5), REMOTES[0]).bytes[..len].into(),
        };
        nat.leave(&mut short, Duration::ZERO);
        nat.arrive(&mut short, Duration::ZERO);
    }
}

#[test]
fn sums_that_are_only_begun_stay_so() {
    let mut nat = nat(NatKind::FullCone);
    let mut begun = packet(TCP, (INSIDE, 5), REMOTES[0]);
    begun.header =
        VnetHeader { needs_checksum: true, checksum_start: 20, checksum_offset: 16, ..begun.header };
    let pseudo = |bytes: &[u8]| fold(u32::from(sum(&bytes[12..20])) + u32::from(TCP) + 40);
    let before = pseudo(&begun.bytes);
    begun.bytes[36..38].copy_from_slice(&before.to_be_bytes());
    assert!(nat.leave(&mut begun, Duration::ZERO));
    assert_eq!(begun.bytes[36..38], pseudo(&begun.bytes).to_be_bytes());
    assert_ne!(pseudo(&begun.bytes), before);
}
