//! Two devices, one virtual clock, no network but what the test carries over.

mod handshake;
mod keys;
mod relay;
mod roaming;
mod timers;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{AllowedChange, Device, Endpoint, Inbound, Outbound, PeerChange, Random, Transmit};
use crate::counters::DropReason;
use crate::message::{Data, Message};
use crate::time::Now;
use crate::transport::{HEADER_LEN, TAG_LEN, padded};

/// Randomness that is the same in every run.
fn random(seed: u64) -> Random {
    let mut state = seed;
    Box::new(move |bytes| {
        for byte in bytes {
            // Knuth's linear congruence; its upper bits are good enough here.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    })
}

/// One side of a test.
struct Side {
    device: Device,
    at: SocketAddr,
    inside: IpAddr,
}

/// Two devices that know each other's keys. The first knows where the second is, not the other way round.
struct World {
    now: Now,
    sides: [Side; 2],
}

const A: usize = 0;
const B: usize = 1;

impl World {
    fn new() -> Self {
        let mut world = Self::strangers();
        world.introduce(A, Some(world.sides[B].at), None);
        world.introduce(B, None, None);
        world
    }

    fn strangers() -> Self {
        let side = |number: u8| {
            let mut device = Device::new(random(number.into()));
            device.set_key(Some([number; 32]));
            Side {
                device,
                at: SocketAddr::from(([192, 0, 2, number], 51820)),
                inside: IpAddr::from([10, 0, 0, number]),
            }
        };
        let now = Now { uptime: Duration::from_secs(1000), unix: Duration::from_secs(1_700_000_000) };
        Self { now, sides: [side(1), side(2)] }
    }

    /// Makes one side know the other.
    fn introduce(&mut self, side: usize, endpoint: Option<SocketAddr>, psk: Option<[u8; 32]>) {
        let other = &self.sides[1 - side];
        let change = PeerChange {
            public_key: *other.device.key().unwrap().public(),
            preshared_key: psk,
            endpoint,
            allowed_ips: vec![AllowedChange::Add(other.inside.into())],
            ..PeerChange::default()
        };
        self.sides[side].device.change_peer(&change, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now.uptime += time;
        self.now.unix += time;
    }

    /// An IPv4 packet of one side's to the other.
    fn packet(&self, from: usize, len: usize) -> Vec<u8> {
        let mut packet = vec![0xab; len];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => unreachable!("the sides have IPv4 addresses"),
        };
        packet[12..16].copy_from_slice(&octets(self.sides[from].inside));
        packet[16..20].copy_from_slice(&octets(self.sides[1 - from].inside));
        packet
    }

    /// One side sends a packet; the datagram, if it could be sealed at once.
    fn send(&mut self, from: usize, packet: &[u8]) -> Result<Transmit, Outbound> {
        let to = crate::destination(packet).unwrap();
        let device = &mut self.sides[from].device;
        match device.handle_outbound(to, 1, packet.len() as u64, self.now) {
            Outbound::Send(sealing) => {
                let mut datagram = vec![0; HEADER_LEN + padded(packet.len(), sealing.mtu) + TAG_LEN];
                datagram[HEADER_LEN..][..packet.len()].copy_from_slice(packet);
                sealing.keys.seal(sealing.counter, &mut datagram);
                Ok(Transmit { endpoint: sealing.endpoint, datagram })
            }
            Outbound::Wait(id) => {
                device.handle_waiting(id, packet.to_vec(), self.now);
                Err(Outbound::Wait(id))
            }
            Outbound::Drop(reason) => Err(Outbound::Drop(reason)),
        }
    }

    /// What a side has to say.
    fn said(&mut self, side: usize) -> Vec<Transmit> {
        std::iter::from_fn(|| self.sides[side].device.poll_transmit()).collect()
    }

    /// A datagram of one side's reaches the other; packets that came out, or nothing.
    fn carry(&mut self, from: usize, datagram: &[u8]) -> Option<Vec<u8>> {
        let endpoint = Endpoint { remote: self.sides[from].at, local: None };
        match self.receive(1 - from, datagram, endpoint) {
            Some((Inbound::Packet(len), packet)) => Some(packet[..len].to_vec()),
            _ => None,
        }
    }

    /// A datagram reaches a side from somewhere.
    fn receive(&mut self, side: usize, datagram: &[u8], from: Endpoint) -> Option<(Inbound, Vec<u8>)> {
        let device = &mut self.sides[side].device;
        let Some(data) = Data::parse(datagram) else {
            device.handle_handshake(datagram, from, self.now);
            return None;
        };
        let keys = device.keys_for(data.receiver)?;
        let mut datagram = datagram.to_vec();
        let packet = keys.open(data.counter, &mut datagram)?;
        Some((device.handle_opened(data, packet, from, self.now), packet.to_vec()))
    }

    /// Carries everything over, both ways, until nobody has anything to say; what came out on each side.
    fn settle(&mut self) -> [Vec<Vec<u8>>; 2] {
        let mut arrived = [Vec::new(), Vec::new()];
        loop {
            let mut quiet = true;
            for from in [A, B] {
                for transmit in self.said(from) {
                    quiet = false;
                    arrived[1 - from].extend(self.carry(from, &transmit.datagram));
                }
            }
            if quiet {
                return arrived;
            }
        }
    }

    /// Sends a packet and carries over whatever it takes; whether it arrived.
    fn reaches(&mut self, from: usize) -> bool {
        let packet = self.packet(from, 100);
        let direct = match self.send(from, &packet) {
            Ok(transmit) => self.carry(from, &transmit.datagram),
            Err(_) => None,
        };
        let later = self.settle()[1 - from].contains(&packet);
        direct.is_some_and(|arrived| arrived == packet) || later
    }

    /// Lets time pass, doing what is due when it is due, and loses everything that is said. Returns what and when.
    fn silence(&mut self, side: usize, time: Duration) -> Vec<(Duration, Kind)> {
        let (begin, end) = (self.now.uptime, self.now.uptime + time);
        let mut said = Vec::new();
        while let Some(at) = self.sides[side].device.deadline().filter(|at| *at <= end) {
            self.pass(at.saturating_sub(self.now.uptime));
            self.sides[side].device.handle_timeout(self.now);
            let kinds = self.said(side).into_iter().map(|transmit| Kind::of(&transmit.datagram));
            said.extend(kinds.map(|kind| (at.saturating_sub(begin), kind)));
        }
        self.pass(end.saturating_sub(self.now.uptime));
        said
    }

    fn dropped(&self, side: usize, reason: DropReason) -> u64 {
        self.sides[side].device.counters().get(reason)
    }

    fn handshakes(&self, side: usize) -> Option<Duration> {
        self.sides[side].device.peers().next().unwrap().last_handshake
    }
}

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Initiation,
    Response,
    Cookie,
    Keepalive,
    Data,
}

impl Kind {
    fn of(datagram: &[u8]) -> Self {
        match Message::parse(datagram).expect("devices say only messages") {
            Message::Initiation(_) => Self::Initiation,
            Message::Response(_) => Self::Response,
            Message::Cookie(_) => Self::Cookie,
            Message::Data(_) if datagram.len() == HEADER_LEN + TAG_LEN => Self::Keepalive,
            Message::Data(_) => Self::Data,
        }
    }
}

fn kinds(said: &[Transmit]) -> Vec<Kind> {
    said.iter().map(|transmit| Kind::of(&transmit.datagram)).collect()
}
