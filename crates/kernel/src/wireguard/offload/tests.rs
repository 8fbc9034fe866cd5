//! Cutting and joining, against each other.

use std::ops::Range;

use proptest::prelude::*;

use super::checksum::{fold, pseudo, sum};
use super::header::{Layout, TCP, UDP};
use super::{Coalescer, Malformed, Segments};
use crate::tun::{Gso, VnetHeader};

/// A packet's description, from which its bytes are made.
#[derive(Debug, Clone)]
struct Spec {
    v6: bool,
    protocol: u8,
    port: u16,
    sequence: u32,
    flags: u8,
    payload: usize,
}

impl Spec {
    fn tcp(sequence: u32, payload: usize) -> Self {
        Self { v6: false, protocol: TCP, port: 80, sequence, flags: 0x10, payload }
    }

    fn bytes(&self) -> Vec<u8> {
        let transport = if self.protocol == TCP { 32 } else { 8 };
        let mut packet = vec![0; if self.v6 { 40 } else { 20 }];
        let (ip, len) = (packet.len(), packet.len() + transport + self.payload);
        if self.v6 {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&((len - ip) as u16).to_be_bytes());
            (packet[6], packet[7]) = (self.protocol, 64);
            packet[8..40].fill(0xfd);
        } else {
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (packet[6], packet[8], packet[9]) = (0x40, 64, self.protocol);
            packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            let checksum = !fold(sum(&packet));
            packet[10..12].copy_from_slice(&checksum.to_ne_bytes());
        }
        packet.extend(self.port.to_be_bytes());
        packet.extend([0, 9]);
        if self.protocol == TCP {
            packet.extend(self.sequence.to_be_bytes());
            packet.extend([0, 0, 0, 5, 0x80, self.flags, 1, 0, 0, 0, 0, 0]);
            packet.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        } else {
            packet.extend(((8 + self.payload) as u16).to_be_bytes());
            packet.extend([0, 0]);
        }
        packet.extend((0..self.payload).map(|at| (self.sequence as usize + at) as u8));
        let layout = Layout::of(&packet).unwrap();
        let total = pseudo(layout.addresses(&packet), self.protocol, len - ip) + sum(&packet[ip..]);
        packet[layout.checksum_at()..][..2].copy_from_slice(&(!fold(total)).to_ne_bytes());
        packet
    }
}

/// Joins packets; gives each result with its header.
fn join(packets: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut bytes = packets.concat();
    let mut at = 0;
    let ranges: Vec<Range<usize>> = packets
        .iter()
        .map(|packet| {
            at += packet.len();
            at - packet.len()..at
        })
        .collect();
    let mut coalescer = Coalescer::new(true);
    let runs = coalescer.join(&mut bytes, &ranges);
    (0..runs)
        .map(|run| {
            let joined = coalescer.get(run, &bytes, &ranges);
            (joined.header, joined.parts(&bytes).flatten().copied().collect())
        })
        .collect()
}

fn cut(header: &VnetHeader, packet: &mut [u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let segments = Segments::new(header, packet)?;
    let all: Vec<Vec<u8>> = (0..segments.count())
        .map(|at| {
            let mut out = vec![0; segments.len_of(at)];
            segments.write(at, &mut out);
            out
        })
        .collect();
    assert_eq!(segments.bytes(), all.iter().map(Vec::len).sum::<usize>());
    Ok(all)
}

/// Segmenting counts IPv4 identifications up; the originals may not have.
fn without_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

#[test]
fn what_is_joined_and_what_is_not() {
    let first = Spec::tcp(100, 1000);
    let next = Spec::tcp(1100, 1000);
    let v6 = |spec: &Spec| Spec { v6: true, ..spec.clone() };
    let udp = |spec: &Spec| Spec { protocol: UDP, ..spec.clone() };
    let plain = |packets: &[Spec]| packets.iter().map(Spec::bytes).collect::<Vec<_>>();
    let mut bad = plain(&[first.clone(), next.clone()]);
    bad[1][60] ^= 1;
    let mut fragment = plain(&[first.clone(), next.clone()]);
    fragment[1][6] = 0x20;
    let other_flow = Spec { port: 81, ..next.clone() };
    // (name, packets, results)
    let cases = [
        ("in order", plain(&[first.clone(), next.clone()]), 1),
        ("IPv6", plain(&[v6(&first), v6(&next)]), 1),
        ("UDP", plain(&[udp(&first), udp(&next)]), 1),
        ("UDP, then a shorter and a third", plain(&[udp(&first), udp(&Spec::tcp(0, 9)), udp(&next)]), 2),
        ("a gap", plain(&[first.clone(), Spec::tcp(1101, 1000)]), 2),
        ("backwards", plain(&[next.clone(), first.clone()]), 2),
        ("a longer one", plain(&[first.clone(), Spec::tcp(1100, 1001)]), 2),
        ("a shorter one", plain(&[first.clone(), Spec::tcp(1100, 1)]), 1),
        (
            "after a shorter one",
            plain(&[Spec::tcp(100, 9), Spec::tcp(109, 9), Spec::tcp(118, 8), Spec::tcp(126, 9)]),
            2,
        ),
        ("an empty one", plain(&[first.clone(), Spec::tcp(1100, 0)]), 2),
        ("a push ends it", plain(&[Spec { flags: 0x18, ..first.clone() }, next.clone()]), 2),
        ("a push at the end", plain(&[first.clone(), Spec { flags: 0x18, ..next.clone() }]), 1),
        ("an end", plain(&[first.clone(), Spec { flags: 0x11, ..next.clone() }]), 2),
        ("another flow", plain(&[first.clone(), other_flow.clone()]), 2),
        (
            "two flows in turn",
            plain(&[first.clone(), Spec { sequence: 100, ..other_flow.clone() }, next.clone(), other_flow]),
            2,
        ),
        ("a bad checksum", bad, 2),
        ("a fragment", fragment, 2),
        ("as many as may be", (0..65).map(|at| Spec::tcp(at * 1000, 1000).bytes()).collect(), 2),
        ("not IP", vec![vec![1; 40], vec![], vec![0x45; 3]], 3),
    ];
    for (name, packets, results) in cases {
        assert_eq!(join(&packets).len(), results, "{name}");
    }
}

#[test]
fn a_begun_checksum_is_finished() {
    for protocol in [TCP, UDP] {
        let whole = Spec { protocol, ..Spec::tcp(7, 333) }.bytes();
        let layout = Layout::of(&whole).unwrap();
        let at = layout.checksum_at();
        let mut begun = whole.clone();
        let pseudo = fold(pseudo(layout.addresses(&whole), protocol, whole.len() - layout.ip));
        begun[at..at + 2].copy_from_slice(&pseudo.to_ne_bytes());
        let header = VnetHeader {
            needs_checksum: true,
            checksum_start: layout.ip as u16,
            checksum_offset: (at - layout.ip) as u16,
            ..VnetHeader::default()
        };
        assert_eq!(cut(&header, &mut begun).unwrap(), std::slice::from_ref(&whole));
        let outside = VnetHeader { checksum_start: whole.len() as u16, ..header };
        assert!(cut(&outside, &mut whole.clone()).is_err());
    }
}

fn flow() -> impl Strategy<Value = Vec<Spec>> {
    (any::<bool>(), any::<bool>(), any::<u32>(), prop::collection::vec((1usize..1400, 0u8..8), 1..40))
        .prop_map(|(v6, tcp, start, packets)| {
            let mut sequence = start;
            let mut size = 700;
            packets
                .into_iter()
                .map(|(payload, dice)| {
                    // Mostly equal sizes, as in life.
                    if dice == 0 {
                        size = payload;
                    }
                    let flags = if dice == 1 { 0x18 } else { 0x10 };
                    let protocol = if tcp { TCP } else { UDP };
                    let spec = Spec { v6, protocol, port: 80, sequence, flags, payload: size };
                    sequence = sequence.wrapping_add(size as u32);
                    spec
                })
                .collect()
        })
}

proptest! {
    /// Whatever is joined is cut into the same packets again, in the same order.
    #[test]
    fn joining_and_cutting_is_nothing(specs in flow()) {
        let packets: Vec<Vec<u8>> = specs.iter().map(Spec::bytes).collect();
        let mut again = Vec::new();
        for (header, mut packet) in join(&packets) {
            again.extend(cut(&header, &mut packet).unwrap());
        }
        let expected: Vec<Vec<u8>> = packets.into_iter().map(without_id).collect();
        let found: Vec<Vec<u8>> = again.into_iter().map(without_id).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_cut_without_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        first in prop::sample::select(vec![0x45u8, 0x60, 0x46, 0x4f]),
        protocol in prop::sample::select(vec![TCP, UDP, 1]),
        kind in prop::sample::select(vec![Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp, Gso::Other(7)]),
        numbers in any::<[u16; 3]>(),
        needs_checksum in any::<bool>(),
    ) {
        if bytes.len() >= 10 {
            bytes[0] = first;
            bytes[if first == 0x60 { 6 } else { 9 }] = protocol;
        }
        let header = VnetHeader {
            needs_checksum,
            gso: kind,
            gso_size: numbers[0] % 64,
            checksum_start: numbers[1] % 64,
            checksum_offset: numbers[2] % 64,
            ..VnetHeader::default()
        };
        let _ = cut(&header, &mut bytes.clone());
        let _ = join(&[bytes.clone(), bytes]);
    }
}
