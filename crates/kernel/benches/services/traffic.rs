//! Who answers, and who asks. Both are threads of this process, each on a processor of its own.

use std::io::{IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use causeway_kernel::netns::Netns;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use nix::unistd::Pid;

use crate::statistics::{cpu_time, cpu_time_of, machine_time, percentile};
use crate::world::SERVED;

/// Where clients run, and where servers.
const CLIENT_CPU: usize = 0;
const SERVER_CPU: usize = 1;

/// The largest message.
pub(crate) const LARGEST: usize = 8192;
/// What is done before the clock runs.
const WARM_UP: usize = 8;
/// A datagram that has not come back after this is lost.
const LOST_AFTER: Duration = Duration::from_millis(250);
/// Datagrams that are given to the kernel by one call, and taken from it.
const TRAIN: usize = 64;
/// Room for datagrams that the server has not read yet.
const UNREAD: usize = 16 << 20;

/// The transactions of netperf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// A connection, a question, an answer, the end of the connection.
    Crr,
    /// A question and an answer on a connection.
    Rr,
    /// As much as goes through, in writes of a size.
    Stream,
    /// A datagram and its answer, on a socket that does not connect.
    Udp,
    /// As many datagrams as go through, one way. They are made in trains, so that the sender is not what is measured.
    Flood,
}

impl Test {
    pub(crate) const ALL: [Self; 4] = [Self::Crr, Self::Rr, Self::Stream, Self::Udp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crr => "TCP_CRR",
            Self::Rr => "TCP_RR",
            Self::Stream => "TCP_STREAM",
            Self::Udp => "UDP_RR",
            Self::Flood => "UDP_STREAM",
        }
    }
}

/// Whose processor time is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The client's thread and the server's, with what the kernel does in their names.
    Threads,
    /// Everybody's: what the kernel does for packets besides. Nothing else may run.
    Machine,
}

/// A clock of processor time.
enum Meter<'a> {
    /// Of this thread, and of the one of this name.
    Threads(&'a str),
    Machine,
}

impl Meter<'_> {
    fn used(&self) -> Duration {
        match self {
            Self::Threads(answering) => cpu_time() + cpu_time_of(answering),
            Self::Machine => machine_time(),
        }
    }
}

/// What one turn gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Transactions, or datagrams that arrived, a second; of a stream, Gbit/s.
    pub(crate) rate: f64,
    /// Microseconds of CPU for a transaction or datagram, of both sides; of a stream, for a MiB.
    pub(crate) cpu: f64,
    /// Microseconds of a transaction; not of what has no answers.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Connections refused and datagrams lost.
    pub(crate) lost: usize,
}

/// Two threads in a namespace, for TCP and for UDP. They end with the process.
pub(crate) struct Server {
    told: Arc<Told>,
    tcp: String,
    udp: String,
}

/// What the client wants.
#[derive(Default)]
struct Told {
    size: AtomicUsize,
    swallow: AtomicBool,
    /// Datagrams that were swallowed.
    heard: AtomicU64,
}

impl Server {
    pub(crate) fn start(netns: &Netns) -> Self {
        let (listener, socket) = netns
            .run(|| {
                let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVED));
                (TcpListener::bind(any).expect("listen"), UdpSocket::bind(any).expect("bind"))
            })
            .expect("enter the namespace");
        let told = Arc::new(Told::default());
        let (names, named) = mpsc::channel();
        setsockopt(&socket, sockopt::RcvBufForce, &UNREAD).expect("room for datagrams");
        let (for_tcp, for_udp, name) = (told.clone(), told.clone(), names.clone());
        std::thread::spawn(move || {
            pin(SERVER_CPU);
            name.send((true, own_name())).expect("somebody waits");
            for stream in listener.incoming().flatten() {
                // How a conversation ends is the client's affair.
                let _ = converse(stream, &for_tcp);
            }
        });
        std::thread::spawn(move || {
            pin(SERVER_CPU);
            names.send((false, own_name())).expect("somebody waits");
            answer(&socket, &for_udp);
        });
        let mut both = [named.recv().expect("a name"), named.recv().expect("a name")];
        both.sort();
        let [(_, udp), (_, tcp)] = both;
        Self { told, tcp, udp }
    }
}

fn answer(socket: &UdpSocket, told: &Told) {
    let mut buffers = vec![[0; LARGEST]; TRAIN];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(TRAIN, None);
    loop {
        if told.swallow.load(Ordering::Relaxed) {
            let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let flags = MsgFlags::MSG_WAITFORONE;
            let heard = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None);
            let heard = heard.map_or(0, |heard| heard.count() as u64);
            told.heard.fetch_add(heard, Ordering::Relaxed);
        } else if let Ok((length, from)) = socket.recv_from(&mut buffers[0]) {
            let _ = socket.send_to(&buffers[0][..length], from);
        }
    }
}

fn converse(mut stream: TcpStream, told: &Told) -> std::io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    if told.swallow.load(Ordering::Relaxed) {
        while stream.read(&mut buffer)? > 0 {}
        return Ok(());
    }
    stream.set_nodelay(true)?;
    // Before anything is asked for: no question is empty, or its end would not be seen.
    let size = told.size.load(Ordering::Relaxed).max(1);
    loop {
        stream.read_exact(&mut buffer[..size])?;
        stream.write_all(&buffer[..size])?;
    }
}

/// Whether somebody answers there, at once.
pub(crate) fn answers(from: &Netns, to: IpAddr, port: u16) -> bool {
    let dial = || TcpStream::connect_timeout(&(to, port).into(), Duration::from_secs(3)).is_ok();
    from.run(dial).expect("enter the namespace")
}

/// One turn.
pub(crate) fn measure(
    from: &Netns,
    to: SocketAddr,
    server: &Server,
    test: Test,
    size: usize,
    window: Duration,
    account: Account,
) -> Sample {
    server.told.size.store(size, Ordering::Relaxed);
    server.told.swallow.store(matches!(test, Test::Stream | Test::Flood), Ordering::Relaxed);
    let answering = if matches!(test, Test::Udp | Test::Flood) { &server.udp } else { &server.tcp };
    let meter = match account {
        Account::Threads => Meter::Threads(answering),
        Account::Machine => Meter::Machine,
    };
    let turn = || {
        pin(CLIENT_CPU);
        match test {
            Test::Stream => stream(to, &meter, size, window),
            Test::Flood => flood(to, &server.told.heard, &meter, size, window),
            Test::Crr => {
                let mut buffer = vec![7; size];
                transactions(&meter, window, || crr(to, &mut buffer))
            }
            Test::Rr => {
                let mut buffer = vec![7; size];
                let mut stream = TcpStream::connect(to).unwrap_or_else(|e| panic!("dialling {to}: {e}"));
                stream.set_nodelay(true).expect("TCP_NODELAY");
                transactions(&meter, window, || {
                    stream.write_all(&buffer)?;
                    stream.read_exact(&mut buffer)
                })
            }
            Test::Udp => {
                let (question, mut answer) = (vec![7; size], vec![0; size]);
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
                socket.set_read_timeout(Some(LOST_AFTER)).expect("a timeout");
                transactions(&meter, window, || {
                    socket.send_to(&question, to)?;
                    socket.recv_from(&mut answer).map(drop)
                })
            }
        }
    };
    from.run(turn).expect("enter the namespace")
}

/// A connection that ends with a reset: none waits for its port to be free again (TIME-WAIT).
fn crr(to: SocketAddr, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &at_once)?;
    stream.write_all(buffer)?;
    stream.read_exact(buffer)
}

fn transactions(
    meter: &Meter<'_>,
    window: Duration,
    mut transaction: impl FnMut() -> std::io::Result<()>,
) -> Sample {
    for _ in 0..WARM_UP {
        // What is lost here is lost below, too.
        let _ = transaction();
    }
    let (begun, used) = (Instant::now(), meter.used());
    let (mut times, mut lost) = (Vec::with_capacity(1 << 16), 0);
    while begun.elapsed() < window {
        let start = Instant::now();
        match transaction() {
            Ok(()) => times.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)),
            Err(_) => lost += 1,
        }
    }
    let took = begun.elapsed();
    let cpu = meter.used() - used;
    let count = times.len() as f64;
    Sample {
        rate: count / took.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / count,
        p50: percentile(&mut times, 0.5) / 1e3,
        p99: percentile(&mut times, 0.99) / 1e3,
        lost,
    }
}

fn stream(to: SocketAddr, meter: &Meter<'_>, size: usize, window: Duration) -> Sample {
    let buffer = vec![7; size];
    let mut stream = TcpStream::connect(to).unwrap_or_else(|e| panic!("dialling {to}: {e}"));
    let (begun, used) = (Instant::now(), meter.used());
    let mut bytes = 0;
    while begun.elapsed() < window {
        stream.write_all(&buffer).expect("write to the stream");
        bytes += size;
    }
    // Until the last byte is read at the other end.
    stream.shutdown(Shutdown::Write).expect("end the stream");
    let _ = stream.read(&mut [0]);
    let took = begun.elapsed();
    let cpu = meter.used() - used;
    Sample {
        rate: bytes as f64 * 8.0 / took.as_secs_f64() / 1e9,
        cpu: cpu.as_secs_f64() * 1e6 / (bytes as f64 / f64::from(1 << 20)),
        p50: f64::NAN,
        p99: f64::NAN,
        lost: 0,
    }
}

fn flood(to: SocketAddr, heard: &AtomicU64, meter: &Meter<'_>, size: usize, window: Duration) -> Sample {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
    socket.connect(to).expect("choose a destination");
    let segment = i32::try_from(size).expect("a datagram's size");
    setsockopt(&socket, sockopt::UdpGsoSegment, &segment).expect("UDP_SEGMENT");
    let train = vec![7; size * TRAIN];
    let now = || heard.load(Ordering::Relaxed);
    // The server may still wait for a question: it takes one datagram before it looks again at what is wanted.
    let quiet = now();
    while now() == quiet {
        socket.send(&train[..size]).unwrap_or_else(|e| panic!("sending to {to}: {e}"));
        settled(heard);
    }
    let (first, begun, used) = (settled(heard), Instant::now(), meter.used());
    let mut sent = 0;
    while begun.elapsed() < window {
        sent += socket.send(&train).unwrap_or_else(|e| panic!("sending to {to}: {e}")) / size;
    }
    // All that is under way counts, and the time until it is there.
    let arrived = settled(heard) - first;
    let took = begun.elapsed() - SETTLED;
    let cpu = meter.used() - used;
    Sample {
        rate: arrived as f64 / took.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / arrived as f64,
        p50: f64::NAN,
        p99: f64::NAN,
        lost: sent.saturating_sub(arrived as usize),
    }
}

/// How long nothing arrives before it is believed that nothing does any more.
const SETTLED: Duration = Duration::from_millis(5);

/// The number once it does not grow any more.
fn settled(number: &AtomicU64) -> u64 {
    let mut last = number.load(Ordering::Relaxed);
    loop {
        #[expect(clippy::disallowed_methods, reason = "nobody says that nothing comes any more")]
        std::thread::sleep(SETTLED);
        let now = number.load(Ordering::Relaxed);
        if now == last {
            return now;
        }
        last = now;
    }
}

/// The calling thread's number, as the kernel's files have it.
fn own_name() -> String {
    let link = std::fs::read_link("/proc/thread-self").expect("read /proc/thread-self");
    link.file_name().expect("a number").to_string_lossy().into_owned()
}

/// The calling thread stays on this processor; on the only one if there are no two.
fn pin(cpu: usize) {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(cpu % there).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &set).expect("stay on a processor");
}
