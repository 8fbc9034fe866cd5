//! The underlay's side: one UDP socket per address family, many datagrams per system call.
//!
//! Receiving, the kernel may join datagrams of equal size into one buffer (UDP_GRO); sending, it splits one buffer
//! (UDP_SEGMENT). The local address of each datagram is kept, so that peers are answered from where they reached us.

mod address;
mod receive;
mod send;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use self::address::{RawAddress, to_raw};
pub(super) use self::receive::{Received, Receiver};
pub(super) use self::send::{SendQueue, Sent};

/// As much as fits into one send or receive.
const MAX_DATAGRAM: usize = 65535;
/// Bytes the kernel may keep for us in each direction.
const BUFFER: libc::c_int = 4 << 20;

/// A bound UDP socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// Whether the underlay takes several datagrams at once.
    gso: AtomicBool,
}

impl Socket {
    fn bind(v6: bool, port: u16, mark: u32) -> io::Result<Self> {
        let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        // SAFETY: a plain system call; the result is checked.
        let fd = unsafe { libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd, gso: AtomicBool::new(true) };
        if v6 {
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        } else {
            socket.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            // Routers may fragment what has become too big for the path: slow, but no black hole. As Linux does.
            socket.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
        }
        socket.set_mark(mark)?;
        // Beyond the limit of the system if we may; otherwise as much as it gives.
        for (forced, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            if socket.set(libc::SOL_SOCKET, forced, BUFFER).is_err() {
                socket.set(libc::SOL_SOCKET, plain, BUFFER)?;
            }
        }
        // Without it (before Linux 5.0) datagrams come one by one.
        if let Err(error) = socket.set(libc::SOL_UDP, libc::UDP_GRO, 1) {
            tracing::info!(%error, "the kernel does not join received datagrams (UDP_GRO)");
        }
        let address = if v6 {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
        } else {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
        };
        let (raw, len) = to_raw(address);
        // SAFETY: `raw` is a socket address of `len` bytes.
        let result = unsafe { libc::bind(socket.raw(), (&raw const raw).cast(), len) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option's value is an int, which outlives the call.
        let result = unsafe { libc::setsockopt(self.raw(), level, name, (&raw const value).cast(), len) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_MARK, mark as libc::c_int)
    }

    fn port(&self) -> io::Result<u16> {
        let mut raw = RawAddress::default();
        let mut len = size_of::<RawAddress>() as libc::socklen_t;
        // SAFETY: `raw` has room for `len` bytes.
        let result = unsafe { libc::getsockname(self.raw(), (&raw mut raw).cast(), &raw mut len) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        raw.parse().map(|address| address.port()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Wakes whoever waits in a receive on this socket, for good.
    fn hang_up(&self) {
        // An unconnected socket says ENOTCONN, and wakes its readers all the same.
        // SAFETY: a plain system call on a descriptor we own.
        unsafe { libc::shutdown(self.raw(), libc::SHUT_RD) };
    }

    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The sockets of both families, bound to one port.
#[derive(Debug)]
pub(super) struct Sockets {
    v4: Socket,
    /// Missing where IPv6 is disabled.
    v6: Option<Socket>,
    port: u16,
    closed: AtomicBool,
}

impl Sockets {
    /// Binds both to `port`; 0 for any that is free in both.
    pub(super) fn bind(port: u16, mark: u32) -> io::Result<Self> {
        // A port that is free in one family may be taken in the other.
        let mut tries = if port == 0 { 16 } else { 1 };
        loop {
            tries -= 1;
            let v4 = Socket::bind(false, port, mark)?;
            let bound = v4.port()?;
            let v6 = match Socket::bind(true, bound, mark) {
                Ok(socket) => Some(socket),
                Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) && tries > 0 => continue,
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
                {
                    None
                }
                Err(error) => return Err(error),
            };
            return Ok(Self { v4, v6, port: bound, closed: AtomicBool::new(false) });
        }
    }

    /// The port of both.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Sets the mark that routing policy sees on what is sent.
    pub(super) fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.v4.set_mark(mark)?;
        self.v6.as_ref().map_or(Ok(()), |v6| v6.set_mark(mark))
    }

    /// The sockets there are, to receive from.
    pub(super) fn families(&self) -> impl Iterator<Item = Family> {
        [Some(Family::V4), self.v6.is_some().then_some(Family::V6)].into_iter().flatten()
    }

    /// Ends all receiving, now and later.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.v4.hang_up();
        if let Some(v6) = &self.v6 {
            v6.hang_up();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn get(&self, family: Family) -> Option<&Socket> {
        match family {
            Family::V4 => Some(&self.v4),
            Family::V6 => self.v6.as_ref(),
        }
    }
}

/// An address family of the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}
