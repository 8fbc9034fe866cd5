//! Who answers, and who asks. Both are threads of this process, each on a processor of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use causeway_kernel::netns::Netns;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use crate::statistics::{cpu_time, cpu_time_of, percentile};
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
}

impl Test {
    pub(crate) const ALL: [Self; 4] = [Self::Crr, Self::Rr, Self::Stream, Self::Udp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crr => "TCP_CRR",
            Self::Rr => "TCP_RR",
            Self::Stream => "TCP_STREAM",
            Self::Udp => "UDP_RR",
        }
    }
}

/// What one turn gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Transactions a second; of a stream, Gbit/s.
    pub(crate) rate: f64,
    /// Microseconds of CPU for a transaction, of both sides; of a stream, for a MiB.
    pub(crate) cpu: f64,
    /// Microseconds of a transaction; not of a stream.
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
        let (for_tcp, name) = (told.clone(), names.clone());
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
            let mut buffer = [0; LARGEST];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
        let mut both = [named.recv().expect("a name"), named.recv().expect("a name")];
        both.sort();
        let [(_, udp), (_, tcp)] = both;
        Self { told, tcp, udp }
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
) -> Sample {
    server.told.size.store(size, Ordering::Relaxed);
    server.told.swallow.store(test == Test::Stream, Ordering::Relaxed);
    let answering = if test == Test::Udp { &server.udp } else { &server.tcp };
    let turn = || {
        pin(CLIENT_CPU);
        match test {
            Test::Stream => stream(to, answering, size, window),
            Test::Crr => {
                let mut buffer = vec![7; size];
                transactions(answering, window, || crr(to, &mut buffer))
            }
            Test::Rr => {
                let mut buffer = vec![7; size];
                let mut stream = TcpStream::connect(to).unwrap_or_else(|e| panic!("dialling {to}: {e}"));
                stream.set_nodelay(true).expect("TCP_NODELAY");
                transactions(answering, window, || {
                    stream.write_all(&buffer)?;
                    stream.read_exact(&mut buffer)
                })
            }
            Test::Udp => {
                let (question, mut answer) = (vec![7; size], vec![0; size]);
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
                socket.set_read_timeout(Some(LOST_AFTER)).expect("a timeout");
                transactions(answering, window, || {
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
    answering: &str,
    window: Duration,
    mut transaction: impl FnMut() -> std::io::Result<()>,
) -> Sample {
    for _ in 0..WARM_UP {
        // What is lost here is lost below, too.
        let _ = transaction();
    }
    let (begun, used) = (Instant::now(), cpu_time() + cpu_time_of(answering));
    let (mut times, mut lost) = (Vec::with_capacity(1 << 16), 0);
    while begun.elapsed() < window {
        let start = Instant::now();
        match transaction() {
            Ok(()) => times.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)),
            Err(_) => lost += 1,
        }
    }
    let took = begun.elapsed();
    let cpu = cpu_time() + cpu_time_of(answering) - used;
    let count = times.len() as f64;
    Sample {
        rate: count / took.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / count,
        p50: percentile(&mut times, 0.5) / 1e3,
        p99: percentile(&mut times, 0.99) / 1e3,
        lost,
    }
}

fn stream(to: SocketAddr, answering: &str, size: usize, window: Duration) -> Sample {
    let buffer = vec![7; size];
    let mut stream = TcpStream::connect(to).unwrap_or_else(|e| panic!("dialling {to}: {e}"));
    let (begun, used) = (Instant::now(), cpu_time() + cpu_time_of(answering));
    let mut bytes = 0;
    while begun.elapsed() < window {
        stream.write_all(&buffer).expect("write to the stream");
        bytes += size;
    }
    // Until the last byte is read at the other end.
    stream.shutdown(Shutdown::Write).expect("end the stream");
    let _ = stream.read(&mut [0]);
    let took = begun.elapsed();
    let cpu = cpu_time() + cpu_time_of(answering) - used;
    Sample {
        rate: bytes as f64 * 8.0 / took.as_secs_f64() / 1e9,
        cpu: cpu.as_secs_f64() * 1e6 / (bytes as f64 / f64::from(1 << 20)),
        p50: f64::NAN,
        p99: f64::NAN,
        lost: 0,
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
