//! SCTP, whose addresses are exchanged and whose ports are not. Packets are written and read here: not every kernel has
//! SCTP, and none would show a checksum that is wrong.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use causeway_kernel::bpf::{Datapath, TcHook};
use causeway_kernel::netns::Netns;
use model::Protocol::Sctp;
use model::Tier;
use nix::sys::socket::{SockaddrStorage, bind};

use crate::bpf_common::{Wanted, converge, counted, ip};
use crate::world::{CLIENT, FAR, MESH, NEAR, NODE, OTHER, World};
use crate::{PORT, at, one};

const PATIENCE: Duration = Duration::from_secs(5);

/// Types of chunks (RFC 9260, section 3.2).
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;

/// What matters of a packet with one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    source: u16,
    destination: u16,
    chunk: u8,
    tag: u32,
}

impl Packet {
    fn encode(self) -> Vec<u8> {
        // As long as an INIT is, whatever it is.
        let mut bytes = [&self.source.to_be_bytes()[..], &self.destination.to_be_bytes()].concat();
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([self.chunk, 0, 0, 20]);
        bytes.extend((0..16).map(|i| i * 7 + self.chunk));
        let checksum = crc32c(&bytes);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Panics if it was damaged.
    fn decode(bytes: &[u8]) -> Self {
        let mut plain = bytes.to_vec();
        plain[8..12].fill(0);
        assert_eq!(bytes[8..12], crc32c(&plain).to_le_bytes(), "the checksum is wrong: {bytes:?}");
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let tag = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
        Self { source: word(0), destination: word(2), chunk: bytes[12], tag }
    }

    fn answer(self, chunk: u8) -> Self {
        Self { source: self.destination, destination: self.source, chunk, tag: !self.tag }
    }
}

/// Castagnoli's polynomial, the lowest bit first (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Who speaks SCTP at an address.
struct Peer {
    socket: UdpSocket,
    ip: IpAddr,
}

impl Peer {
    fn new(netns: &Netns, ip: IpAddr) -> Self {
        let open = || {
            let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
            // SAFETY: socket(2) takes no pointers.
            let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_SCTP) };
            assert!(fd >= 0, "a raw socket: {}", std::io::Error::last_os_error());
            // SAFETY: the descriptor is new, and nobody else's.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, 0))).expect("bind");
            // Of a raw socket the standard library knows nothing; sending and receiving is the same for all.
            UdpSocket::from(socket)
        };
        let socket = netns.run(open).expect("enter the namespace");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, ip }
    }

    fn send(&self, to: IpAddr, packet: Packet) {
        self.socket.send_to(&packet.encode(), SocketAddr::new(to, 0)).unwrap();
    }

    /// The next packet, and whose it is.
    fn hear(&self) -> (IpAddr, Packet) {
        let mut buffer = [0; 2048];
        let (length, from) = loop {
            match self.socket.recv_from(&mut buffer) {
                Ok(heard) => break heard,
                // An ICMP error about an earlier case.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
                Err(e) => panic!("{} heard nothing: {e}", self.ip),
            }
        };
        // An IPv4 socket of this kind shows the header, too.
        let header = if from.is_ipv4() { usize::from(buffer[0] & 15) * 4 } else { 0 };
        (from.ip(), Packet::decode(&buffer[header..length]))
    }
}

/// A service at an address and port outside, with this one backend.
fn outside(wanted: Wanted, dialled: SocketAddr, backend: SocketAddr, masquerade: bool) -> Wanted {
    let backends = one(&backend.ip().to_string(), backend.port());
    wanted.outside(&dialled.to_string(), Sctp, &backends, |o| o.masquerade = masquerade)
}

fn first(source: u16) -> Packet {
    Packet { source, destination: PORT, chunk: INIT, tag: 0 }
}

#[test]
fn checksums_are_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn associations_are_led_to_backends() {
    let world = World::new("edgesctp", TcHook::Best);
    let mut datapath = world.open();
    let (client, pod, far) = (world.client.netns(), world.pod.netns(), world.far.netns());
    let node = world.node.net.netns();
    let vip = [["10.101.0.1", "fd00:101::1"], ["10.101.0.2", "fd00:101::2"], ["10.101.0.3", "fd00:101::3"]];
    for f in [0, 1] {
        // From where, by whom; what is dialled, where it leads; whom the backend sees.
        for (from, who, dialled, runs, backend, masquerade, sees) in [
            (client, CLIENT[f], NODE[f], pod, NEAR[f], true, MESH[f]),
            (client, CLIENT[f], NODE[f], far, FAR[f], true, MESH[f]),
            (client, CLIENT[f], NODE[f], pod, NEAR[f], false, CLIENT[f]),
            (client, CLIENT[f], vip[0][f], node, NODE[f], false, CLIENT[f]),
            (pod, NEAR[f], vip[1][f], far, FAR[f], true, NEAR[f]),
        ] {
            let case = format!("{who} dials {dialled}, backend {backend}, masquerade {masquerade}");
            let (dialled, backend) = (at(dialled, PORT), at(backend, PORT));
            let wanted = if std::ptr::eq(from, pod) {
                let tiers = [(Tier::Cluster, &one(&backend.ip().to_string(), PORT)[..])];
                Wanted::default().service(&dialled.to_string(), Sctp, &tiers)
            } else {
                outside(Wanted::default(), dialled, backend, masquerade)
            };
            converge(&mut datapath, &wanted);
            let (client, server) = (Peer::new(from, ip(who)), Peer::new(runs, backend.ip()));
            for (asked, answered) in [(INIT, INIT_ACK), (DATA, DATA), (ABORT, DATA)] {
                let question = Packet { chunk: asked, ..first(5555) };
                client.send(dialled.ip(), question);
                assert_eq!(server.hear(), (ip(sees), question), "{case}");
                server.send(ip(sees), question.answer(answered));
                assert_eq!(client.hear(), (dialled.ip(), question.answer(answered)), "{case}");
            }
            // The service is gone; the association is not.
            converge(&mut datapath, &Wanted::default());
            client.send(dialled.ip(), Packet { chunk: DATA, ..first(5555) });
            assert_eq!(server.hear().0, ip(sees), "{case}");
        }
    }
}

/// Nothing is heard of what is dropped or passed on; what is sent next, on the same way, is heard next.
#[test]
fn what_cannot_be_served_is_counted() {
    for f in [0, 1] {
        let world = World::new("edgesctpno", TcHook::Best);
        let mut datapath = world.open();
        let [same, other] = [PORT, 30001].map(|port| at(NODE[f], port));
        let wanted = outside(Wanted::default(), same, at(NEAR[f], PORT), true);
        converge(&mut datapath, &outside(wanted, other, at(NEAR[f], PORT), true));
        let server = Peer::new(world.pod.netns(), ip(NEAR[f]));
        let [one, two] = [CLIENT[f], OTHER[f]].map(|own| Peer::new(world.client.netns(), ip(own)));
        let hears = |from: &Peer, packet| {
            from.send(same.ip(), packet);
            assert_eq!(server.hear(), (ip(MESH[f]), packet));
        };
        hears(&one, first(5555));
        // Another client with the same port; it is served from another one.
        two.send(same.ip(), first(5555));
        hears(&two, first(5556));
        assert_eq!(counted(&datapath, "edge_sctp_taken"), 1);
        // Another port than the backend's.
        one.send(same.ip(), Packet { destination: other.port(), ..first(5557) });
        hears(&one, first(5558));
        assert_eq!(counted(&datapath, "edge_sctp_port"), 1);
        // What begins no association and belongs to none.
        one.send(same.ip(), Packet { chunk: DATA, ..first(5559) });
        hears(&one, first(5560));
        assert_eq!(counted(&datapath, "edge_opened"), 4);
    }
}

#[test]
fn errors_about_it_find_their_way_back() {
    let world = World::new("edgesctperr", TcHook::Best);
    let mut datapath = world.open();
    for f in [0, 1] {
        let dialled = at(NODE[f], PORT);
        converge(&mut datapath, &outside(Wanted::default(), dialled, at(FAR[f], PORT), true));
        // Nobody speaks SCTP there.
        Peer::new(world.client.netns(), ip(CLIENT[f])).send(dialled.ip(), first(5555));
        becomes(&datapath, "edge_error", f as u64 + 1);
    }
}

/// Waits until a reason has been counted so often.
fn becomes(datapath: &Datapath, reason: &str, times: u64) {
    let begun = Instant::now();
    while counted(datapath, reason) < times {
        assert!(begun.elapsed() < PATIENCE, "{reason} was counted {} times", counted(datapath, reason));
        std::thread::yield_now();
    }
}
