//! Packets from a peer, joined for the host, and cut again: the same packets must come out. And whatever the host hands
//! over is cut without harm.
#![no_main]

use std::ops::Range;

use kernel::tun::{Gso, VnetHeader};
use kernel::wireguard::offload::{Coalescer, Segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<10>() else { return };
    let header = VnetHeader::parse(head);
    if let Ok(segments) = Segments::new(&header, &mut rest.to_vec()) {
        cut(&segments);
    }

    // Lengths and packets in turn.
    let mut bytes = rest.to_vec();
    let mut packets: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(len) = bytes.get(at..at + 2).map(|len| usize::from(len[0]) | usize::from(len[1] & 7) << 8)
    {
        let end = (at + 2 + len).min(bytes.len());
        packets.push(at + 2..end);
        at = end;
    }
    let before: Vec<Vec<u8>> = packets.iter().map(|range| bytes[range.clone()].to_vec()).collect();
    let mut coalescer = Coalescer::new(true);
    let runs = coalescer.join(&mut bytes, &packets);
    let mut after = Vec::new();
    for run in 0..runs {
        let joined = coalescer.get(run, &bytes, &packets);
        let mut packet: Vec<u8> = joined.parts(&bytes).flatten().copied().collect();
        if joined.header.gso == Gso::None {
            after.push(packet);
        } else {
            let segments = Segments::new(&joined.header, &mut packet).expect("what is joined can be cut");
            assert_eq!(segments.count(), joined.count());
            after.extend(cut(&segments));
        }
    }
    // Flows may overtake each other, and identifications are counted anew.
    let mut before: Vec<Vec<u8>> = before.into_iter().map(without_id).collect();
    let mut after: Vec<Vec<u8>> = after.into_iter().map(without_id).collect();
    before.sort();
    after.sort();
    assert_eq!(before, after);
});

fn cut(segments: &Segments<'_>) -> Vec<Vec<u8>> {
    (0..segments.count())
        .map(|at| {
            let mut packet = vec![0; segments.len_of(at)];
            segments.write(at, &mut packet);
            packet
        })
        .collect()
}

fn without_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet.len() >= 20 && packet[0] >> 4 == 4 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}
