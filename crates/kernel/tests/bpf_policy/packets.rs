//! Packets of protocols that not every kernel speaks, by raw sockets.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use causeway_kernel::netns::Netns;
use nix::sys::socket::{SockaddrStorage, bind};

/// Who speaks a protocol at an address.
pub(crate) struct Raw(UdpSocket);

impl Raw {
    pub(crate) fn new(netns: &Netns, ip: IpAddr, protocol: u8) -> Self {
        let open = || {
            let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
            // SAFETY: socket(2) takes no pointers.
            let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into()) };
            assert!(fd >= 0, "a raw socket: {}", std::io::Error::last_os_error());
            // SAFETY: the descriptor is new, and nobody else's.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, 0))).expect("bind");
            UdpSocket::from(socket)
        };
        let socket = netns.run(open).expect("enter the namespace");
        Self(socket)
    }

    pub(crate) fn send(&self, to: IpAddr, packet: &[u8]) {
        self.0.send_to(packet, SocketAddr::new(to, 0)).unwrap();
    }

    /// Whether anything comes within this time.
    pub(crate) fn hears(&self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        loop {
            match self.0.recv(&mut [0; 200]) {
                Ok(_) => return true,
                // An ICMP error about an earlier case.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return false,
            }
        }
    }
}

/// SCTP with one chunk; its checksum nobody looks at here.
fn chunk(from: u16, to: u16, kind: u8) -> Vec<u8> {
    let mut bytes = [&from.to_be_bytes()[..], &to.to_be_bytes()].concat();
    bytes.extend([0; 8]);
    bytes.extend([kind, 0, 0, 20]);
    bytes.extend([7; 16]);
    bytes
}

/// The beginning of an association.
pub(crate) fn init(from: u16, to: u16) -> Vec<u8> {
    chunk(from, to, 1)
}

/// Its answer.
pub(crate) fn init_ack(from: u16, to: u16) -> Vec<u8> {
    chunk(from, to, 2)
}
