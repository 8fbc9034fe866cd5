//! Many packets of one flow into one large packet.
//!
//! What is joined is what Linux' own GRO joins: packets that a segmenting network card could have made of one, with
//! correct checksums. Order within a flow is kept.

use std::ops::Range;

use super::checksum::{fold, pseudo, sum};
use super::header::{Layout, TCP};
use crate::tun::{Gso, VnetHeader};

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// As many packets as the kernel takes apart again where it must.
const MAX_PACKETS: usize = 64;
/// As long as an IP packet can say it is.
const MAX_BYTES: usize = 65535;
/// So many flows are joined at the same time.
const FLOWS: usize = 8;

/// Finds what belongs together among packets that arrived together.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// Whether the host takes joined UDP datagrams.
    udp: bool,
    runs: Vec<Run>,
    /// For each packet, the next of its run.
    next: Vec<Option<usize>>,
}

/// Packets that become one.
#[derive(Debug)]
struct Run {
    first: usize,
    last: usize,
    count: usize,
    bytes: usize,
    /// None if it is a packet that cannot be joined.
    flow: Option<Flow>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    layout: Layout,
    /// Payload bytes of each packet but the last.
    size: usize,
    /// TCP: what must come next.
    sequence: u32,
    /// A short packet or a push ended it, or a bad checksum.
    closed: bool,
    /// The first packet's checksum is known to be right.
    verified: bool,
    push: bool,
}

/// A packet for the host, in parts.
#[derive(Debug)]
pub struct Joined<'a> {
    coalescer: &'a Coalescer,
    packets: &'a [Range<usize>],
    run: usize,
    /// What the host must be told.
    pub header: VnetHeader,
}

impl Coalescer {
    /// As many packets as are ever joined.
    pub const MAX_PACKETS: usize = MAX_PACKETS;

    /// `udp` if the host takes joined UDP datagrams.
    pub fn new(udp: bool) -> Self {
        Self { udp, runs: Vec::with_capacity(64), next: Vec::with_capacity(64) }
    }

    /// Looks at packets, which are at these places in `bytes`, and prepares the headers of those that are joined. The
    /// results are as many as returned, and are had from [`Coalescer::get`].
    pub fn join(&mut self, bytes: &mut [u8], packets: &[Range<usize>]) -> usize {
        self.runs.clear();
        self.next.clear();
        self.next.resize(packets.len(), None);
        for (at, range) in packets.iter().enumerate() {
            self.add(bytes, packets, at, range);
        }
        for run in self.runs.iter().filter(|run| run.count > 1) {
            let flow = run.flow.as_ref().expect("only packets of flows are joined");
            prepare(run, flow, &mut bytes[packets[run.first].clone()]);
        }
        self.runs.len()
    }

    /// One of the results of the last [`Coalescer::join`].
    pub fn get<'a>(&'a self, run: usize, bytes: &[u8], packets: &'a [Range<usize>]) -> Joined<'a> {
        let header = match &self.runs[run] {
            Run { count: 1, .. } | Run { flow: None, .. } => VnetHeader::default(),
            Run { flow: Some(flow), first, .. } => describe(flow, &bytes[packets[*first].clone()]),
        };
        Joined { coalescer: self, packets, run, header }
    }

    fn add(&mut self, bytes: &[u8], packets: &[Range<usize>], at: usize, range: &Range<usize>) {
        let packet = &bytes[range.clone()];
        let flow = self.flow_of(packet);
        if let Some(flow) = &flow {
            let same = |run: &&mut Run| {
                run.flow
                    .is_some_and(|other| is_same(&other, flow, &bytes[packets[run.first].clone()], packet))
            };
            // The latest run of the flow, or order would be lost.
            if let Some(run) = self.runs.iter_mut().rev().take(FLOWS).find(same)
                && run.append(flow, bytes, packets, packet)
            {
                self.next[run.last] = Some(at);
                run.last = at;
                return;
            }
        }
        self.runs.push(Run { first: at, last: at, count: 1, bytes: packet.len(), flow });
    }

    /// What can be joined: TCP packets with nothing special but data, UDP datagrams with a checksum.
    fn flow_of(&self, packet: &[u8]) -> Option<Flow> {
        let layout = Layout::of(packet)?;
        let size = packet.len() - layout.all;
        let plain = layout.v6 || layout.ip == 20;
        if size == 0 || !plain || wireguard::packet_len(packet) != Some(packet.len()) {
            return None;
        }
        let transport = &packet[layout.ip..];
        if layout.protocol == TCP {
            let flags = transport[13];
            if flags & !PSH != ACK {
                return None;
            }
            let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            let push = flags & PSH != 0;
            Some(Flow { layout, size, sequence, closed: push, verified: false, push })
        } else {
            let whole = usize::from(u16::from_be_bytes([transport[4], transport[5]])) == size + 8;
            let checked = transport[6..8] != [0, 0];
            (self.udp && whole && checked).then_some(Flow {
                layout,
                size,
                sequence: 0,
                closed: false,
                verified: false,
                push: false,
            })
        }
    }
}

impl Run {
    /// Takes the packet in, if it continues the run.
    fn append(&mut self, other: &Flow, bytes: &[u8], packets: &[Range<usize>], packet: &[u8]) -> bool {
        let Some(flow) = &mut self.flow else { return false };
        let first = &bytes[packets[self.first].clone()];
        let tcp = flow.layout.protocol == TCP;
        let carried = (self.bytes - flow.layout.all) as u32;
        let continues = !tcp || other.sequence == flow.sequence.wrapping_add(carried);
        if flow.closed
            || !continues
            || other.size > flow.size
            || self.count >= MAX_PACKETS
            || self.bytes + other.size > MAX_BYTES
            || !is_alike(flow, first, packet)
        {
            return false;
        }
        if !flow.verified {
            flow.verified = is_right(&flow.layout, first);
            flow.closed = !flow.verified;
        }
        if flow.closed || !is_right(&other.layout, packet) {
            return false;
        }
        self.count += 1;
        self.bytes += other.size;
        flow.closed = other.size < flow.size || other.push;
        flow.push = other.push;
        true
    }
}

impl Joined<'_> {
    /// The packet's parts, in order.
    pub fn parts<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let run = &self.coalescer.runs[self.run];
        let head = run.flow.map_or(0, |flow| flow.layout.all);
        let mut at = Some(run.first);
        std::iter::from_fn(move || {
            let this = at?;
            at = self.coalescer.next[this];
            let part = &bytes[self.packets[this].clone()];
            Some(if this == run.first { part } else { &part[head..] })
        })
    }

    /// How many packets it was.
    pub fn count(&self) -> usize {
        self.coalescer.runs[self.run].count
    }
}

/// Whether both are of one flow: addresses and ports.
fn is_same(a: &Flow, b: &Flow, first: &[u8], packet: &[u8]) -> bool {
    let ip = a.layout.ip;
    a.layout == b.layout
        && first[ip..ip + 4] == packet[ip..ip + 4]
        && a.layout.addresses(first) == b.layout.addresses(packet)
}

/// Whether everything that is not about length and place is the same.
fn is_alike(flow: &Flow, first: &[u8], packet: &[u8]) -> bool {
    let ip = flow.layout.ip;
    let same = |range: Range<usize>| first[range.clone()] == packet[range];
    // Traffic class and flow label, hop limit; type of service, "don't fragment", time to live.
    let network = if flow.layout.v6 { same(0..4) && same(7..8) } else { same(0..2) && same(6..9) };
    if flow.layout.protocol != TCP {
        return network;
    }
    // Acknowledgement, reserved bits, window, urgent pointer, options such as timestamps. Flags are known to differ in
    // PSH at most.
    let tcp = |range: Range<usize>| same(ip + range.start..ip + range.end);
    network && tcp(8..13) && tcp(14..16) && tcp(18..flow.layout.all - ip)
}

/// Whether the checksums are right.
fn is_right(layout: &Layout, packet: &[u8]) -> bool {
    let (network, transport) = packet.split_at(layout.ip);
    (layout.v6 || fold(sum(network)) == 0xffff)
        && fold(pseudo(layout.addresses(packet), layout.protocol, transport.len()) + sum(transport)) == 0xffff
}

/// Makes the first packet's headers those of the whole: lengths, flags, and only the beginning of the checksum.
fn prepare(run: &Run, flow: &Flow, first: &mut [u8]) {
    let layout = &flow.layout;
    let transport_len = run.bytes - layout.ip;
    if layout.v6 {
        first[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
    } else {
        first[2..4].copy_from_slice(&(run.bytes as u16).to_be_bytes());
        first[10..12].fill(0);
        let header_sum = !fold(sum(&first[..layout.ip]));
        first[10..12].copy_from_slice(&header_sum.to_ne_bytes());
    }
    if layout.protocol == TCP {
        if flow.push {
            first[layout.ip + 13] |= PSH;
        }
    } else {
        first[layout.ip + 4..layout.ip + 6].copy_from_slice(&(transport_len as u16).to_be_bytes());
    }
    let begun = fold(pseudo(layout.addresses(first), layout.protocol, transport_len));
    first[layout.checksum_at()..][..2].copy_from_slice(&begun.to_ne_bytes());
}

fn describe(flow: &Flow, first: &[u8]) -> VnetHeader {
    let layout = &flow.layout;
    VnetHeader {
        needs_checksum: true,
        checksum_valid: false,
        gso: match (layout.protocol, layout.v6) {
            (TCP, false) => Gso::Tcp4,
            (TCP, true) => Gso::Tcp6,
            _ => Gso::Udp,
        },
        ecn: false,
        header_len: layout.all as u16,
        gso_size: (first.len() - layout.all) as u16,
        checksum_start: layout.ip as u16,
        checksum_offset: (layout.checksum_at() - layout.ip) as u16,
    }
}
