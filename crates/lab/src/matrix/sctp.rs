//! SCTP in the manner of TCP (RFC 6458 §4, one-to-one style), where the kernel has it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt,
    socket, sockopt,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Whether the kernel has it.
pub fn present() -> bool {
    open(false).is_ok()
}

fn open(v6: bool) -> Result<OwnedFd, Errno> {
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Stream, flags, SockProtocol::Sctp)
}

/// Opens an association.
pub async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    // The same calls as for TCP from here on.
    let stream = std::net::TcpStream::from(open(to.is_ipv6())?);
    TcpSocket::from_std_stream(stream).connect(to).await
}

/// Takes associations; none where the kernel has no SCTP.
pub(crate) fn listener(at: SocketAddr) -> io::Result<Option<TcpListener>> {
    let fd = match open(at.is_ipv6()) {
        Ok(fd) => fd,
        Err(Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT | Errno::EAFNOSUPPORT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(at))?;
    listen(&fd, Backlog::new(128)?)?;
    TcpListener::from_std(fd.into()).map(Some)
}
