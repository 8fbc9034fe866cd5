//! Which packet arrives where and when: a plain state machine. It reads no clock; `now` is any growing duration.

mod counters;
mod table;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use super::nat::Nat;
use super::packet::{Facts, Packet, facts};
use super::{Config, Error};
use crate::file::Shape;
use crate::plan::Wire;
use table::Table;

pub use counters::{Counters, Dropped, WireCounters};

/// How far behind its rate a wire may fall before it drops: its queue.
const QUEUE: Duration = Duration::from_millis(50);

/// The most bytes on their way at once, over all wires.
const MAX_IN_FLIGHT: usize = 256 << 20;

/// The wires and what is on them.
pub(crate) struct Switch {
    /// The segments' numbers, by index.
    numbers: Vec<u8>,
    table: Table,
    /// Of each segment.
    nats: Vec<Vec<Nat>>,
    /// From each segment (row) to each (column).
    lanes: Vec<Lane>,
    flights: BinaryHeap<Reverse<Flight>>,
    in_flight: usize,
    taken: u64,
    random: u64,
    dropped: Dropped,
}

/// One direction of a wire.
#[derive(Debug, Clone, Default)]
struct Lane {
    /// Nothing where there is no wire.
    shape: Option<Shape>,
    up: bool,
    /// When what was accepted last has left.
    busy_until: Duration,
    /// When what was accepted last arrives: nothing overtakes it.
    last_arrival: Duration,
    counters: WireCounters,
}

/// A packet on its way.
struct Flight {
    due: Duration,
    /// Keeps packets of one moment in order.
    number: u64,
    lane: usize,
    segments: u32,
    packet: Packet,
}

impl Switch {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let numbers: Vec<u8> = config.segments.iter().map(|segment| segment.number).collect();
        for (i, number) in numbers.iter().enumerate() {
            if numbers[..i].contains(number) {
                return Err(Error::Config(format!("segment {number} is there twice")));
            }
        }
        let lanes = vec![Lane::default(); numbers.len() * numbers.len()];
        let table = Table::new(&config.segments)?;
        let nats = config
            .segments
            .iter()
            .map(|segment| segment.nats.iter().map(|nat| Nat::new(nat.clone(), config.seed)).collect());
        let nats = nats.collect();
        let mut switch = Self {
            numbers,
            table,
            nats,
            lanes,
            flights: BinaryHeap::new(),
            in_flight: 0,
            taken: 0,
            random: config.seed,
            dropped: Dropped::default(),
        };
        switch.set_wires(&config.wires)?;
        Ok(switch)
    }

    /// Changes wires. What is already on its way arrives as it would have, unless its wire goes down.
    pub(crate) fn set_wires(&mut self, wires: &[Wire]) -> Result<(), Error> {
        let mut lanes = Vec::new();
        for wire in wires {
            let [a, b] = wire.between.map(|number| self.numbers.iter().position(|n| *n == number));
            let (Some(a), Some(b)) = (a, b) else {
                let [a, b] = wire.between;
                return Err(Error::Config(format!("there is no segment at an end of the wire {a}–{b}")));
            };
            if a == b || !(0.0..=1.0).contains(&wire.shape.loss) || wire.shape.rate == Some(0) {
                return Err(Error::Config(format!("no wire can be like this: {wire:?}")));
            }
            lanes.extend([(self.lane(a, b), wire), (self.lane(b, a), wire)]);
        }
        for (lane, wire) in lanes {
            self.lanes[lane].shape = Some(wire.shape);
            self.lanes[lane].up = wire.up;
        }
        Ok(())
    }

    /// Whether a segment's packets must come one by one: some wire there loses them, does not carry every size, or is so slow
    /// that a super-packet would be a burst.
    pub(crate) fn wants_single_packets(&self, segment: usize) -> bool {
        const SLOW: u64 = 500_000_000;
        let from = self.lane(segment, 0);
        self.lanes[from..from + self.numbers.len()].iter().filter_map(|lane| lane.shape).any(|shape| {
            shape.loss > 0.0 || shape.mtu.is_some() || shape.rate.is_some_and(|rate| rate < SLOW)
        })
    }

    /// Takes in a packet that left a segment.
    pub(crate) fn handle(&mut self, from: usize, mut packet: Packet, now: Duration) {
        let Some(mut facts) = facts(&packet.header, &packet.bytes) else {
            self.dropped.malformed += 1;
            return;
        };
        if let IpAddr::V4(source) = facts.source
            && let Some(nat) = self.nats[from].iter_mut().find(|nat| nat.is_inside(source))
        {
            if facts.is_local_talk() || !nat.leave(&mut packet, now) {
                self.dropped.untranslated += 1;
                return;
            }
            facts.source = nat.outside().into();
        }
        let Some(lane) = self.route(from, &facts) else { return };
        let lost = self.lanes[lane].shape.is_some_and(|shape| {
            let largest = facts.wire_bytes.div_ceil(u64::from(facts.segments.max(1)));
            shape.mtu.is_some_and(|mtu| largest > mtu.into()) || self.draw() < shape.loss
        });
        let room = self.in_flight + packet.bytes.len() <= MAX_IN_FLIGHT;
        let segments = facts.segments;
        let this = &mut self.lanes[lane];
        let Some(due) = this.accept(&facts, lost, room, now) else { return };
        // What the kernel says here is a hint about its own memory; what we know is exact.
        packet.header.header_len = facts.header_len;
        self.in_flight += packet.bytes.len();
        self.taken += 1;
        self.flights.push(Reverse(Flight { due, number: self.taken, lane, segments, packet }));
    }

    /// The next packet that has arrived, and the segment it arrived at.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<(usize, Packet)> {
        while self.flights.peek().is_some_and(|Reverse(flight)| flight.due <= now) {
            let Reverse(mut flight) = self.flights.pop()?;
            self.in_flight -= flight.packet.bytes.len();
            let to = flight.lane % self.numbers.len();
            let lane = &mut self.lanes[flight.lane];
            if lane.up {
                if !enter(&mut self.nats[to], &mut flight.packet, now) {
                    self.dropped.filtered += 1;
                    continue;
                }
                lane.counters.packets += u64::from(flight.segments);
                lane.counters.bytes += flight.packet.bytes.len() as u64;
                return Some((to, flight.packet));
            }
            lane.counters.down += u64::from(flight.segments);
        }
        None
    }

    /// All boxes forget their mappings, as if they were switched off and on.
    pub(crate) fn forget_mappings(&mut self) {
        self.nats.iter_mut().flatten().for_each(Nat::forget);
    }

    /// When the next packet arrives.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.flights.peek().map(|Reverse(flight)| flight.due)
    }

    /// Takes note of a packet that a device would not take.
    pub(crate) fn count_undelivered(&mut self) {
        self.dropped.undelivered += 1;
    }

    /// What has happened so far.
    pub(crate) fn counters(&self) -> Counters {
        let count = self.numbers.len();
        let wires =
            self.lanes.iter().enumerate().filter(|(_, lane)| lane.shape.is_some()).map(|(i, lane)| {
                WireCounters {
                    from: self.numbers[i / count],
                    to: self.numbers[i % count],
                    ..lane.counters.clone()
                }
            });
        Counters { wires: wires.collect(), dropped: self.dropped.clone() }
    }

    /// Where a packet goes, by the public addresses at both its ends.
    fn route(&mut self, from: usize, facts: &Facts) -> Option<usize> {
        if facts.is_local_talk() {
            self.dropped.local_talk += 1;
            return None;
        }
        if self.table.segment_of(facts.source) != Some(from) {
            self.dropped.source_address += 1;
            return None;
        }
        let to = self.table.segment_of(facts.destination).filter(|to| *to != from);
        let lane = to.map(|to| self.lane(from, to)).filter(|lane| self.lanes[*lane].shape.is_some());
        if lane.is_none() {
            self.dropped.unroutable += 1;
        }
        lane
    }

    fn lane(&self, from: usize, to: usize) -> usize {
        from * self.numbers.len() + to
    }

    /// A number from 0 up to 1 (splitmix64, <https://prng.di.unimi.it/splitmix64.c>).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / 2f64.powi(64)
    }
}

impl Lane {
    /// When a packet taken in now arrives; nothing when it does not.
    fn accept(&mut self, facts: &Facts, lost: bool, room: bool, now: Duration) -> Option<Duration> {
        let shape = self.shape?;
        let segments = u64::from(facts.segments);
        if !self.up {
            self.counters.down += segments;
            return None;
        }
        if lost {
            self.counters.lost += segments;
            return None;
        }
        let start = self.busy_until.max(now);
        if start - now > QUEUE || !room {
            self.counters.queue_full += segments;
            return None;
        }
        let serialise = match shape.rate {
            Some(rate) => Duration::from_nanos((facts.wire_bytes * 8).saturating_mul(1_000_000_000) / rate),
            None => Duration::ZERO,
        };
        self.busy_until = start + serialise;
        self.last_arrival = self.last_arrival.max(self.busy_until + shape.rtt / 2);
        Some(self.last_arrival)
    }
}

/// Translates what arrives at the address of a box; false if it does not pass.
fn enter(nats: &mut [Nat], packet: &mut Packet, now: Duration) -> bool {
    if nats.is_empty() {
        return true;
    }
    let to = facts(&packet.header, &packet.bytes).map(|facts| facts.destination);
    let Some(IpAddr::V4(to)) = to else { return true };
    nats.iter_mut().find(|nat| nat.is_outside(to)).is_none_or(|nat| nat.arrive(packet, now))
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Flight {}

#[cfg(test)]
mod tests;
