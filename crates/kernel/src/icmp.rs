//! ICMP echo, for health probes.
//!
//! Raw sockets, because a peer's own requests are heard on them too (the kernel answers those; here they only count
//! as a sign of life). The kernel passes echo requests and replies and nothing else. Decides nothing: when to
//! probe and what silence means is the engine's.

mod message;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto, setsockopt,
    socket, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use message::{Heard, Kind, MAX_PAYLOAD, Refused, parse_v4, parse_v6};

use crate::netns::Netns;

/// Why probes cannot be sent or heard.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// No socket.
    #[error("cannot {attempt} for {family} probes: {source}; root (CAP_NET_RAW) is needed")]
    Open {
        /// What was attempted.
        attempt: &'static str,
        /// `ICMP` or `ICMPv6`.
        family: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The payload would be refused by the other side.
    #[error("a probe of {0} bytes is too long: at most {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The kernel refused to send.
    #[error("cannot send a probe to {to}: {source}")]
    Send {
        /// To whom.
        to: IpAddr,
        /// Why not: often that there is no route, or no tunnel yet.
        source: io::Error,
    },
    /// The socket is broken.
    #[error("cannot listen for probes: {0}")]
    Receive(io::Error),
}

/// Sends and hears echo messages, IPv4 and IPv6.
#[derive(Debug)]
pub struct Echo {
    v4: AsyncFd<OwnedFd>,
    v6: AsyncFd<OwnedFd>,
    refused: AtomicU64,
}

impl Echo {
    /// Opens it in the calling thread's namespace: all traffic, or one device's. Must be called in a tokio runtime.
    pub fn open(device: Option<&str>) -> Result<Self, EchoError> {
        let v4 = open_v4(device).map_err(|(attempt, e)| EchoError::Open {
            attempt,
            family: "ICMP",
            source: e.into(),
        })?;
        let v6 = open_v6(device).map_err(|(attempt, e)| EchoError::Open {
            attempt,
            family: "ICMPv6",
            source: e.into(),
        })?;
        let registered = |fd: OwnedFd, family| {
            // SAFETY: an OwnedFd is open for as long as it lives and always the same descriptor.
            let registered = unsafe { AsyncFd::register(fd) };
            registered.map_err(|e| EchoError::Open {
                attempt: "watch a raw socket",
                family,
                source: e.into_parts().1,
            })
        };
        Ok(Self { v4: registered(v4, "ICMP")?, v6: registered(v6, "ICMPv6")?, refused: AtomicU64::new(0) })
    }

    /// Opens it in another namespace. Must be called in a tokio runtime.
    pub fn open_in(netns: &Netns, device: Option<&str>) -> Result<Self, EchoError> {
        let runtime = tokio::runtime::Handle::current();
        let opened = netns.run(|| {
            let _inside = runtime.enter();
            Self::open(device)
        });
        opened.map_err(|e| EchoError::Open {
            attempt: "enter the network namespace",
            family: "ICMP",
            source: io::Error::other(e),
        })?
    }

    /// From now on requests are sent whole or not at all, whatever routes say of their size: for whoever looks how much gets
    /// through.
    pub fn forbid_fragments(&self) -> Result<(), EchoError> {
        let (v4, v6) = (libc::IP_PMTUDISC_PROBE.to_ne_bytes(), libc::IPV6_PMTUDISC_PROBE.to_ne_bytes());
        let what = "forbid fragments";
        let error = |family| {
            move |(attempt, e): (&'static str, Errno)| EchoError::Open { attempt, family, source: e.into() }
        };
        set(self.v4.get_ref(), (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), &v4, what)
            .map_err(error("ICMP"))?;
        set(self.v6.get_ref(), (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER), &v6, what)
            .map_err(error("ICMPv6"))
    }

    /// Sends an echo request.
    pub async fn send(&self, to: IpAddr, id: u16, seq: u16, payload: &[u8]) -> Result<(), EchoError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(EchoError::TooLong(payload.len()));
        }
        let (socket, message) = match to {
            IpAddr::V4(_) => (&self.v4, message::request_v4(id, seq, payload)),
            IpAddr::V6(_) => (&self.v6, message::request_v6(id, seq, payload)),
        };
        let to_socket = SockaddrStorage::from(SocketAddr::new(to, 0));
        let sent = socket.async_io(Interest::WRITABLE, |fd| {
            Ok(sendto(fd.as_raw_fd(), &message, &to_socket, MsgFlags::empty())?)
        });
        sent.await.map(drop).map_err(|source| EchoError::Send { to, source })
    }

    /// Waits for the next echo message of anybody. What is no proper echo message is passed over and counted.
    /// Dropping the future loses nothing.
    pub async fn recv(&self) -> Result<Heard, EchoError> {
        loop {
            let heard = tokio::select! {
                heard = receive(&self.v4, |buffer, _| parse_v4(buffer)) => heard,
                heard = receive(&self.v6, |buffer, from| match from {
                    IpAddr::V6(from) => parse_v6(from, buffer),
                    IpAddr::V4(_) => Err(Refused::Header),
                }) => heard,
            };
            match heard.map_err(EchoError::Receive)? {
                Ok(heard) => return Ok(heard),
                Err(_) => self.refused.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    /// How many messages were passed over because they were malformed or too long.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

async fn receive(
    socket: &AsyncFd<OwnedFd>,
    parse: impl Fn(&[u8], IpAddr) -> Result<Heard, Refused>,
) -> io::Result<Result<Heard, Refused>> {
    // One byte more than the longest good message, to tell it from one that was cut off.
    let mut buffer = [0; message::MAX_MESSAGE + 1];
    let (length, from) = socket
        .async_io(Interest::READABLE, |fd| {
            loop {
                match recvfrom::<SockaddrStorage>(fd.as_raw_fd(), &mut buffer) {
                    Ok(received) => return Ok(received),
                    // What an ICMP error about an earlier probe leaves on the socket: not about this reading.
                    Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EINTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        })
        .await?;
    let from = from.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| {
        let v4 = from.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let v6 = || from.as_sockaddr_in6().map_or(Ipv6Addr::UNSPECIFIED, |a| a.ip());
        v4.unwrap_or_else(|| v6().into())
    });
    Ok(parse(&buffer[..length], from))
}

type Step<T> = Result<T, (&'static str, Errno)>;

fn open_v4(device: Option<&str>) -> Step<OwnedFd> {
    // linux/icmp.h: ICMP_FILTER. One bit for each type that is not wanted.
    const ICMP_FILTER: libc::c_int = 1;
    let fd = open(AddressFamily::Inet, SockProtocol::Icmp, device)?;
    let unwanted: u32 = !((1 << message::V4_REQUEST) | (1 << message::V4_REPLY));
    set(&fd, (libc::SOL_RAW, ICMP_FILTER), &unwanted.to_ne_bytes(), "filter what is received")?;
    Ok(fd)
}

fn open_v6(device: Option<&str>) -> Step<OwnedFd> {
    // linux/icmpv6.h: ICMPV6_FILTER. 256 bits in eight words, one for each type that is not wanted.
    const ICMPV6_FILTER: libc::c_int = 1;
    let fd = open(AddressFamily::Inet6, SockProtocol::IcmpV6, device)?;
    let mut unwanted = [u32::MAX; 8];
    for wanted in [message::V6_REQUEST, message::V6_REPLY] {
        unwanted[usize::from(wanted) / 32] &= !(1 << (wanted % 32));
    }
    let bytes: Vec<u8> = unwanted.iter().flat_map(|word| word.to_ne_bytes()).collect();
    set(&fd, (libc::SOL_ICMPV6, ICMPV6_FILTER), &bytes, "filter what is received")?;
    Ok(fd)
}

fn open(family: AddressFamily, protocol: SockProtocol, device: Option<&str>) -> Step<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Raw, flags, protocol).map_err(|e| ("open a raw socket", e))?;
    if let Some(device) = device {
        setsockopt(&fd, sockopt::BindToDevice, &device.into()).map_err(|e| ("bind to the device", e))?;
    }
    Ok(fd)
}

fn set(
    fd: &OwnedFd,
    (level, option): (libc::c_int, libc::c_int),
    bytes: &[u8],
    what: &'static str,
) -> Step<()> {
    let length = libc::socklen_t::try_from(bytes.len()).expect("an option has a few bytes");
    // SAFETY: the kernel reads `length` bytes from the slice, which is that long; the descriptor is open.
    let set =
        unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, bytes.as_ptr().cast(), length) };
    Errno::result(set).map(drop).map_err(|e| (what, e))
}
