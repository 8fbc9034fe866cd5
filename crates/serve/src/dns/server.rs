//! The server: what it shares, where it listens, and the thread that does whatever waits.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::{fmt, io};

use engine::names::{Update, Zone};
use ipnet::IpNet;
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt,
    shutdown, socket, sockopt,
};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::forward::Forwarder;
use super::{Counters, Told, Upstreams, tcp, told, udp};

/// Bytes of questions that may wait while they are not read.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How many ports the kernel may choose before one is free for UDP and TCP.
const ANY_PORT_TRIES: u32 = 16;

/// Why an address is not answered on.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// It cannot be listened on.
    #[error("cannot listen for DNS on {address} ({transport}): {source}; does another DNS server have it?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread of the DNS server: {0}")]
    Thread(io::Error),
}

/// How questions that are not of our zones are dealt with.
#[derive(Debug, Default)]
pub struct Options {
    /// Who is asked.
    pub upstreams: Upstreams,
}

/// Is told where names of others lead, before the client is: what it does then is done when the client dials.
pub type Witness = Box<dyn Fn(&Told) + Send + Sync>;

/// What the server reads, and others write.
pub struct Shared {
    known: RwLock<Known>,
    counters: Counters,
    witness: OnceLock<Witness>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("known", &self.known).finish_non_exhaustive()
    }
}

/// What is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) zone: Zone,
    askers: Vec<IpNet>,
}

impl Known {
    /// Whether questions from there are answered.
    pub(super) fn serves(&self, ip: IpAddr) -> bool {
        self.askers.iter().any(|range| range.contains(&ip))
    }
}

impl Shared {
    /// A zone that nobody may ask yet.
    pub fn new(zone: Zone) -> Self {
        Self {
            known: RwLock::new(Known { zone, askers: Vec::new() }),
            counters: Counters::default(),
            witness: OnceLock::new(),
        }
    }

    /// From now on this one is told of every answer that has addresses. Only the first is.
    pub fn set_witness(&self, witness: Witness) {
        // Two of them nobody asks for.
        let _ = self.witness.set(witness);
    }

    /// Tells the witness what an upstream server answered.
    pub(super) fn bear_witness(&self, answer: &[u8]) {
        if let Some(witness) = self.witness.get()
            && let Some(told) = told(answer)
        {
            witness(&told);
        }
    }

    /// Makes names so. The next question finds them.
    pub fn apply(&self, updates: Vec<Update>) {
        if updates.is_empty() {
            return;
        }
        let mut known = self.known.write().expect("nobody panics while holding it");
        updates.into_iter().for_each(|update| known.zone.apply(update));
    }

    /// Whether everything is known: before that, names of ours are neither there nor missing.
    pub fn set_synced(&self, synced: bool) {
        self.known.write().expect("nobody panics while holding it").zone.set_synced(synced);
    }

    /// From which ranges questions are answered, the likeliest first.
    pub fn set_askers(&self, askers: Vec<IpNet>) {
        self.known.write().expect("nobody panics while holding it").askers = askers;
    }

    /// What became of questions.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().expect("nobody panics while holding it")
    }
}

/// A server. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    forwarder: Arc<Forwarder>,
    runtime: runtime::Handle,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    listeners: BTreeMap<SocketAddr, Listener>,
}

#[derive(Debug)]
struct Listener {
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    udp: Option<JoinHandle<()>>,
    tcp: AbortHandle,
}

impl Server {
    /// A server that listens nowhere yet.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(shared: Arc<Shared>, options: Options) -> Result<Self, DnsError> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(DnsError::Thread)?;
        let handle = runtime.handle().clone();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let waiting = std::thread::Builder::new().name("dns".into());
        let thread = waiting.spawn(move || runtime.block_on(stopped.notified())).map_err(DnsError::Thread)?;
        let forwarder = Arc::new(Forwarder::new(options.upstreams, Arc::clone(&shared)));
        Ok(Self {
            shared,
            forwarder,
            runtime: handle,
            stop,
            thread: Some(thread),
            listeners: BTreeMap::new(),
        })
    }

    /// Listens on these addresses and no others, whether the machine has them yet or not. Says what did not work;
    /// asking again tries again. A port of 0 stands for any.
    pub fn listen(&mut self, wanted: &[SocketAddr]) -> Vec<DnsError> {
        self.listeners.retain(|address, _| wanted.contains(address));
        let mut errors = Vec::new();
        for address in wanted {
            if !self.listeners.contains_key(address) {
                match self.open(*address) {
                    Ok(listener) => drop(self.listeners.insert(*address, listener)),
                    Err(e) => errors.push(e),
                }
            }
        }
        self.forwarder.set_own(self.addresses());
        errors
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.values().map(|listener| listener.address).collect()
    }

    fn open(&self, wanted: SocketAddr) -> Result<Listener, DnsError> {
        for _ in 1..ANY_PORT_TRIES {
            match self.open_once(wanted) {
                // The kernel chose a port for UDP that somebody has for TCP.
                Err(DnsError::Listen { transport: "TCP", source, .. })
                    if wanted.port() == 0 && source.kind() == io::ErrorKind::AddrInUse => {}
                other => return other,
            }
        }
        self.open_once(wanted)
    }

    fn open_once(&self, wanted: SocketAddr) -> Result<Listener, DnsError> {
        let failed = |transport| move |source| DnsError::Listen { address: wanted, transport, source };
        let socket: UdpSocket =
            bound(wanted, SockType::Datagram).map(UdpSocket::from).map_err(failed("UDP"))?;
        let address = socket.local_addr().map_err(failed("UDP"))?;
        let stream = || -> io::Result<tokio::net::TcpListener> {
            let listener = bound(address, SockType::Stream)?;
            listen(&listener, Backlog::new(64)?)?;
            let listener = TcpListener::from(listener);
            listener.set_nonblocking(true)?;
            let _inside = self.runtime.enter();
            tokio::net::TcpListener::from_std(listener)
        };
        let listener = stream().map_err(failed("TCP"))?;
        let serving = tcp::serve(listener, Arc::clone(&self.shared), Arc::clone(&self.forwarder));
        let tcp = self.runtime.spawn(serving).abort_handle();
        let (socket, stop) = (Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let worker = udp::Worker {
            socket: Arc::clone(&socket),
            shared: Arc::clone(&self.shared),
            forwarder: Arc::clone(&self.forwarder),
            runtime: self.runtime.clone(),
            stop: Arc::clone(&stop),
        };
        let udp = std::thread::Builder::new().name("dns-udp".into()).spawn(move || worker.run());
        Ok(Listener { stop, address, socket, udp: Some(udp.map_err(DnsError::Thread)?), tcp })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listeners.clear();
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tcp.abort();
        self.stop.store(true, Ordering::Release);
        // Its thread sleeps in the kernel. A datagram socket has nothing to shut down, and says so (ENOTCONN), but
        // whoever reads from it wakes up (inet_shutdown).
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        if let Some(udp) = self.udp.take() {
            let _ = udp.join();
        }
    }
}

/// A socket that is bound to an address which the machine may get later only.
fn bound(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::IpFreebind, &true)?;
    if kind == SockType::Stream {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    } else {
        // More than the kernel grants is cut to what it does.
        setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}
