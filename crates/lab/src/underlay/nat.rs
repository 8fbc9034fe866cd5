//! Address translation at the edge of a location, in the four kinds that are met (RFC 4787 §4 and §5, RFC 3489 §5): a
//! plain state machine, for which `now` is any growing duration.
//!
//! A box has one public address. UDP, TCP and echoes of ICMP pass, by ports and identifiers; a fragment that says no port
//! does not, and no error of ICMP: the wires of a lab say none.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use kernel::tun::VnetHeader;
use serde::{Deserialize, Serialize};

use super::packet::Packet;

/// What a box does with what comes from inside, and from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// One mapping for a port inside, whoever is talked to; everybody may answer (endpoint-independent both).
    FullCone,
    /// One mapping; whoever was talked to may answer, from any port (address-dependent filtering).
    Restricted,
    /// One mapping; whoever was talked to may answer, from that port (address and port-dependent filtering).
    PortRestricted,
    /// Another mapping, by chance, for each one that is talked to, who alone may answer (address and port-dependent both).
    Symmetric,
}

/// One box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NatBox {
    /// What it does.
    pub kind: NatKind,
    /// Its address outside.
    pub outside: Ipv4Addr,
    /// Who is behind it.
    pub inside: Vec<Ipv4Addr>,
}

/// How long a mapping of UDP or ICMP lasts after what was sent last from inside. The least that is met; RFC 4787 §4.3 asks
/// for more.
const UDP_LASTS: Duration = Duration::from_secs(30);

/// How long one of TCP does (RFC 5382 §5).
const TCP_LASTS: Duration = Duration::from_secs(7_440);

/// The most mappings of a box.
const MAPPINGS: usize = 16_384;

/// The most who may answer to one mapping.
const REMOTES: usize = 1_024;

/// Ports that are given where the one inside is taken, or chance decides.
const PORTS: std::ops::RangeInclusive<u16> = 1_024..=65_535;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

type End = (Ipv4Addr, u16);

/// A box at work.
#[derive(Debug)]
pub(super) struct Nat {
    config: NatBox,
    /// By protocol, the end inside, and the one outside where that matters: the port outside.
    ports: BTreeMap<(u8, End, Option<End>), u16>,
    /// By protocol and port outside.
    mappings: BTreeMap<(u8, u16), Mapping>,
    random: u64,
}

#[derive(Debug)]
struct Mapping {
    key: (u8, End, Option<End>),
    /// Who was talked to, and when last.
    remotes: BTreeMap<End, Duration>,
    used: Duration,
}

/// Where the ends of a packet are written.
#[derive(Debug, Clone, Copy)]
struct Ends {
    protocol: u8,
    source: End,
    destination: End,
    /// Where the transport's header begins.
    at: usize,
}

impl Nat {
    pub(super) fn new(config: NatBox, seed: u64) -> Self {
        let random = seed ^ u64::from(u32::from(config.outside));
        Self { config, ports: BTreeMap::new(), mappings: BTreeMap::new(), random }
    }

    /// Whether this address is behind it.
    pub(super) fn is_inside(&self, ip: Ipv4Addr) -> bool {
        self.config.inside.contains(&ip)
    }

    /// Its address outside.
    pub(super) fn outside(&self) -> Ipv4Addr {
        self.config.outside
    }

    /// Whether this address is its own, outside.
    pub(super) fn is_outside(&self, ip: Ipv4Addr) -> bool {
        self.config.outside == ip
    }

    /// Forgets all mappings, as a box does that was switched off and on.
    pub(super) fn forget(&mut self) {
        self.ports.clear();
        self.mappings.clear();
    }

    /// Translates what leaves; false if it does not pass.
    pub(super) fn leave(&mut self, packet: &mut Packet, now: Duration) -> bool {
        let Some(ends) = Ends::of(&packet.bytes) else { return false };
        if ends.protocol == ICMP && packet.bytes[ends.at] != 8 {
            return false;
        }
        let Some(port) = self.map(&ends, now) else { return false };
        let outside = (self.config.outside, port);
        ends.rewrite(packet, true, outside);
        true
    }

    /// Translates what arrives at its address; false if it does not pass.
    pub(super) fn arrive(&mut self, packet: &mut Packet, now: Duration) -> bool {
        let Some(ends) = Ends::of(&packet.bytes) else { return false };
        if ends.protocol == ICMP && packet.bytes[ends.at] != 0 {
            return false;
        }
        let Some(mapping) = self.mappings.get(&(ends.protocol, ends.destination.1)) else { return false };
        let lasts = lasts(ends.protocol);
        if mapping.used + lasts < now || !mapping.admits(self.config.kind, ends.source, lasts, now) {
            return false;
        }
        let (_, inside, _) = mapping.key;
        ends.rewrite(packet, false, inside);
        true
    }

    /// The port outside for what is sent.
    fn map(&mut self, ends: &Ends, now: Duration) -> Option<u16> {
        let symmetric = self.config.kind == NatKind::Symmetric;
        let key = (ends.protocol, ends.source, symmetric.then_some(ends.destination));
        let lasts = lasts(ends.protocol);
        if let Some(port) = self.ports.get(&key).copied() {
            let mapping = self.mappings.get_mut(&(ends.protocol, port)).expect("a port has its mapping");
            if mapping.used + lasts >= now {
                return mapping.allow(ends.destination, lasts, now).then_some(port);
            }
            self.mappings.remove(&(ends.protocol, port));
            self.ports.remove(&key);
        }
        if self.mappings.len() >= MAPPINGS {
            self.forget_old(now);
        }
        let wished = (!symmetric).then_some(ends.source.1);
        let port = wished.filter(|port| !self.mappings.contains_key(&(ends.protocol, *port)));
        let port = port.or_else(|| self.free_port(ends.protocol))?;
        let remotes = BTreeMap::from([(ends.destination, now)]);
        self.ports.insert(key, port);
        self.mappings.insert((ends.protocol, port), Mapping { key, remotes, used: now });
        Some(port)
    }

    fn forget_old(&mut self, now: Duration) {
        let Self { ports, mappings, .. } = self;
        mappings.retain(|(protocol, _), mapping| {
            let stays = mapping.used + lasts(*protocol) >= now;
            if !stays {
                ports.remove(&mapping.key);
            }
            stays
        });
    }

    /// By chance (splitmix64, as the switch's).
    fn free_port(&mut self, protocol: u8) -> Option<u16> {
        if self.mappings.len() >= MAPPINGS {
            return None;
        }
        let count = u64::from(PORTS.end() - PORTS.start()) + 1;
        loop {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let port = PORTS.start() + ((z ^ (z >> 31)) % count) as u16;
            // At least three quarters of the ports are free.
            if !self.mappings.contains_key(&(protocol, port)) {
                return Some(port);
            }
        }
    }
}

impl Mapping {
    /// Whether this one may answer.
    fn admits(&self, kind: NatKind, from: End, lasts: Duration, now: Duration) -> bool {
        let fresh = |at: &Duration| *at + lasts >= now;
        match kind {
            NatKind::FullCone => true,
            NatKind::Restricted => {
                let of_it = self.remotes.range((from.0, 0)..=(from.0, u16::MAX));
                of_it.map(|(_, at)| at).any(fresh)
            }
            NatKind::PortRestricted | NatKind::Symmetric => self.remotes.get(&from).is_some_and(fresh),
        }
    }

    /// Notes that this one is talked to; false if there are too many.
    fn allow(&mut self, to: End, lasts: Duration, now: Duration) -> bool {
        if !self.remotes.contains_key(&to) && self.remotes.len() >= REMOTES {
            self.remotes.retain(|_, at| *at + lasts >= now);
            if self.remotes.len() >= REMOTES {
                return false;
            }
        }
        self.remotes.insert(to, now);
        self.used = now;
        true
    }
}

impl Ends {
    /// Nothing where a packet says none.
    fn of(bytes: &[u8]) -> Option<Self> {
        let ip: &[u8; 20] = bytes.first_chunk()?;
        let fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
        if ip[0] >> 4 != 4 || fragment {
            return None;
        }
        let at = usize::from(ip[0] & 15) * 4;
        let number = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let (source, destination) = match ip[9] {
            TCP | UDP => (number(at)?, number(at + 2)?),
            ICMP if matches!(bytes.get(at)?, 0 | 8) => (number(at + 4)?, number(at + 4)?),
            _ => return None,
        };
        let mut ends = Self {
            protocol: ip[9],
            source: (address(12), source),
            destination: (address(16), destination),
            at,
        };
        if ip[9] == ICMP {
            // The identifier is the end that is inside; the other side has none.
            match bytes[at] {
                8 => ends.destination.1 = 0,
                _ => ends.source.1 = 0,
            }
        }
        Some(ends)
    }

    /// Writes another end in place of the source, or of the destination; sums stay right.
    fn rewrite(&self, packet: &mut Packet, source: bool, to: End) {
        let (header, bytes) = (&packet.header, &mut packet.bytes);
        let was = if source { self.source } else { self.destination };
        let address_at = if source { 12 } else { 16 };
        let port_at = match (self.protocol, source) {
            (ICMP, _) => self.at + 4,
            (_, true) => self.at,
            (_, false) => self.at + 2,
        };
        bytes[address_at..address_at + 4].copy_from_slice(&to.0.octets());
        bytes[port_at..port_at + 2].copy_from_slice(&to.1.to_be_bytes());
        let address = difference(&was.0.octets(), &to.0.octets());
        let port = difference(&was.1.to_be_bytes(), &to.1.to_be_bytes());
        adjust(bytes, 10, address);
        let sum_at = self.at
            + match self.protocol {
                ICMP => 2,
                TCP => 16,
                _ => 6,
            };
        if sum_at + 2 > bytes.len() {
            return;
        }
        if is_unfinished(header, self.at) {
            // What stands there is the sum of the pseudo-header, not inverted, without the ports (virtio 1.2 §5.1.6.2).
            let sum = u16::from_be_bytes([bytes[sum_at], bytes[sum_at + 1]]);
            let sum = fold(u32::from(sum) + u32::from(address));
            bytes[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        } else if self.protocol == ICMP {
            adjust(bytes, sum_at, port);
        } else if self.protocol != UDP || bytes[sum_at..sum_at + 2] != [0, 0] {
            adjust(bytes, sum_at, fold(u32::from(address) + u32::from(port)));
        }
    }
}

fn lasts(protocol: u8) -> Duration {
    if protocol == TCP { TCP_LASTS } else { UDP_LASTS }
}

fn is_unfinished(header: &VnetHeader, transport: usize) -> bool {
    header.needs_checksum && usize::from(header.checksum_start) == transport
}

/// What is to be added to a sum of what was, so that it is one of what is (RFC 1624).
fn difference(was: &[u8], is: &[u8]) -> u16 {
    let mut sum = 0;
    for (was, is) in was.chunks_exact(2).zip(is.chunks_exact(2)) {
        sum +=
            u32::from(!u16::from_be_bytes([was[0], was[1]])) + u32::from(u16::from_be_bytes([is[0], is[1]]));
    }
    fold(sum)
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// HC' = ~(~HC + ~m + m'), RFC 1624 §3.
fn adjust(bytes: &mut [u8], at: usize, difference: u16) {
    let sum = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let sum = !fold(u32::from(!sum) + u32::from(difference));
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests;
