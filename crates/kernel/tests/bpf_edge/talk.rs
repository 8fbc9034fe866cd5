//! Conversations across namespaces, and whom the one at the other end saw.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use causeway_kernel::netns::Netns;
use model::Protocol;

/// Longer than anything here takes, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing is waited for: a packet that is dropped leaves no other trace.
const SILENCE: Duration = Duration::from_millis(300);
/// For how long something is waited for before it is asked again whether it is lost.
const STEP: Duration = Duration::from_millis(10);

/// Whether nothing comes: for so long that it would have, or after what was sent is known to be lost. `comes` waits for so
/// long.
pub(crate) fn nothing_comes(lost: impl Fn() -> bool, mut comes: impl FnMut(Duration) -> bool) -> bool {
    let until = Instant::now() + SILENCE;
    loop {
        // Asked before it is waited for: what passed all the same has its moment.
        let lost = lost();
        if comes(STEP) {
            return false;
        }
        if lost || Instant::now() > until {
            return true;
        }
    }
}

/// A client's way to a service: the socket's own address, if it matters, and what is dialled.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) from: &'a Netns,
    pub(crate) own: Option<SocketAddr>,
    pub(crate) dialled: SocketAddr,
}

impl Way<'_> {
    fn own(&self) -> SocketAddr {
        let any = if self.dialled.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        self.own.unwrap_or_else(|| any.parse().unwrap())
    }

    /// Dials by TCP.
    pub(crate) fn dial(&self) -> std::io::Result<TcpStream> {
        self.dial_for(PATIENCE)
    }

    /// Dials what does not answer.
    pub(crate) fn dial_in_vain(&self) -> std::io::Error {
        self.dial_for(SILENCE).expect_err("it answered")
    }

    /// Whether nobody answers a dial.
    pub(crate) fn is_not_answered(&self, lost: impl Fn() -> bool) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let socket = self.begin(None).expect("begin to dial");
        nothing_comes(lost, |step| {
            let mut answer = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            poll(&mut answer, PollTimeout::try_from(step).expect("short")).expect("poll") > 0
                && socket.peer_addr().is_ok()
        })
    }

    fn dial_for(&self, patience: Duration) -> std::io::Result<TcpStream> {
        self.begin(Some(patience))
    }

    /// Dials, and waits for so long; without waiting if no time is given.
    fn begin(&self, patience: Option<Duration>) -> std::io::Result<TcpStream> {
        use nix::errno::Errno;
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
        };
        use std::os::fd::AsRawFd;
        let dial = || {
            let family = if self.dialled.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(self.own()))?;
            let socket = TcpStream::from(socket);
            match patience {
                Some(patience) => {
                    let seconds = patience.as_secs() as i64;
                    let patience = nix::sys::time::TimeVal::new(seconds, patience.subsec_micros().into());
                    setsockopt(&socket, sockopt::SendTimeout, &patience)?;
                }
                None => socket.set_nonblocking(true)?,
            }
            match connect(socket.as_raw_fd(), &SockaddrStorage::from(self.dialled)) {
                Err(Errno::EINPROGRESS) if patience.is_none() => Ok(socket),
                connected => Ok(connected.map(|()| socket)?),
            }
        };
        self.from.run(dial).expect("enter the namespace")
    }

    /// A UDP socket that is connected there.
    pub(crate) fn socket(&self) -> UdpSocket {
        let open = || {
            let socket = UdpSocket::bind(self.own()).unwrap();
            socket.connect(self.dialled).unwrap();
            socket
        };
        self.from.run(open).expect("enter the namespace")
    }
}

/// Somebody who answers.
pub(crate) enum Server {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Server {
    pub(crate) fn new(netns: &Netns, at: SocketAddr, protocol: Protocol) -> Self {
        let open = || match protocol {
            Protocol::Tcp => Self::Tcp(TcpListener::bind(at).unwrap()),
            _ => Self::Udp(UdpSocket::bind(at).unwrap()),
        };
        netns.run(open).expect("enter the namespace")
    }

    /// A client asks, and gets its own words back. Whom the server saw; none if it heard nothing.
    pub(crate) fn hears(&self, way: Way<'_>, bytes: usize) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => {
                let mut client = way.dial().ok()?;
                let (mut server, saw) = listener.accept().unwrap();
                assert_eq!(client.peer_addr().unwrap(), way.dialled);
                echo(&mut client, &mut server, bytes);
                Some(saw)
            }
            Self::Udp(server) => datagram(&way.socket(), server, bytes),
        }
    }
}

/// Which of these servers a new connection comes to.
pub(crate) fn who_is_dialled(way: Way<'_>, servers: &[Server; 2]) -> usize {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let listeners = servers.each_ref().map(|server| match server {
        Server::Tcp(listener) => listener,
        Server::Udp(_) => panic!("datagrams make no connections"),
    });
    let _client = way.dial().unwrap();
    let mut waiting = listeners.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN));
    assert_eq!(poll(&mut waiting, PollTimeout::from(5000_u16)).unwrap(), 1);
    let heard = waiting.iter().position(|fd| fd.any().unwrap()).unwrap();
    listeners[heard].accept().unwrap();
    heard
}

/// What the client writes comes back to it.
pub(crate) fn echo(client: &mut TcpStream, server: &mut TcpStream, bytes: usize) {
    let words: Vec<u8> = (0..bytes).map(|i| ((i * 31) >> 3) as u8).collect();
    for stream in [&*client, &*server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    let pass = |from: &mut TcpStream, to: &mut TcpStream| {
        let mut heard = vec![0; bytes];
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| from.write_all(&words));
            to.read_exact(&mut heard).unwrap();
            writer.join().unwrap().unwrap();
        });
        assert!(heard == words, "the stream arrived damaged");
    };
    pass(client, server);
    pass(server, client);
}

/// A datagram goes there and comes back. Whom the server saw; none if it heard nothing.
pub(crate) fn datagram(client: &UdpSocket, server: &UdpSocket, bytes: usize) -> Option<SocketAddr> {
    let words: Vec<u8> = (0..bytes).map(|i| ((i * 31) >> 3) as u8).collect();
    let mut heard = vec![0; 1 << 16];
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(&words).unwrap();
    let (length, saw) = server.recv_from(&mut heard).ok()?;
    assert!(heard[..length] == words, "the datagram arrived damaged");
    server.send_to(&words, saw).unwrap();
    let length = client.recv(&mut heard).unwrap();
    assert!(heard[..length] == words, "the answer arrived damaged");
    Some(saw)
}
