//! Streams by iperf3; datagrams by threads of this program.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use crate::pair::{End, until};

/// Datagrams under way at most: fewer than a TUN's queue takes.
const WINDOW: u64 = 256;
/// Datagrams with one call.
const BATCH: usize = 32;
const SMALL: usize = 64;
/// What iperf3 writes at once. Not its usual 128 KiB: these keep their place within a page towards the kernel's buffers for a
/// whole run, and on some processors (AMD's Zen 3, measured) copying is then slow or fast by chance of the first byte.
const BLOCK: usize = 130_000;

/// What streams carried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    /// Gbit/s, all streams.
    pub(crate) rate: f64,
    /// Seconds of all processors for each Gbit, iperf3's own included.
    pub(crate) cost: f64,
}

/// What iperf3 carries with these arguments.
pub(crate) fn streams(ends: &[End; 2], seconds: f64, arguments: &[&str]) -> Carried {
    let target = ends[1].inside[0].to_string();
    let mut server = ends[1]
        .netns
        .netns()
        .run(|| Command::new("iperf3").args(["-s", "-1"]).stdout(Stdio::null()).spawn())
        .expect("netns")
        .expect("install iperf3");
    until("the server", || ends[1].netns.run("ss -Hltn sport = 5201").contains("5201"));
    let before = machine_time();
    let answer =
        ends[0].netns.run(&format!("iperf3 -J -t {seconds} -l {BLOCK} -c {target} {}", arguments.join(" ")));
    server.wait().expect("wait");
    let spent = (machine_time() - before).as_secs_f64();
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let end = &answer["end"];
    let sums = ["sum_received", "sum_received_bidir_reverse"].map(|key| &end[key]);
    let of = |what: &str| sums.iter().filter_map(|sum| sum[what].as_f64()).sum::<f64>();
    // Some carry nothing at some MTUs; that is no rate.
    let gigabits = of("bytes") * 8.0 / 1e9;
    if gigabits == 0.0 {
        return Carried { rate: f64::NAN, cost: f64::NAN };
    }
    Carried { rate: of("bits_per_second") / 1e9, cost: spent / gigabits }
}

/// Datagrams of 64 bytes that arrive in a second, as many as there are ways to send without losing them.
pub(crate) fn datagrams(ends: &[End; 2], time: Duration) -> f64 {
    let (here, there) = sockets(ends);
    let (arrived, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| receive(&there, &arrived, &done));
        let begun = Instant::now();
        let (mut sent, mut lost) = (0, 0u64);
        while begun.elapsed() < time {
            let mut waiting = Instant::now();
            let mut seen = arrived.load(Ordering::Relaxed);
            while sent > lost + seen + WINDOW - BATCH as u64 {
                std::thread::yield_now();
                let now = arrived.load(Ordering::Relaxed);
                if now != seen {
                    (seen, waiting) = (now, Instant::now());
                } else if waiting.elapsed() > Duration::from_millis(20) {
                    // They are not coming any more.
                    lost = sent.saturating_sub(seen);
                }
            }
            sent += send(&here) as u64;
        }
        let rate = arrived.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        rate
    })
}

fn send(socket: &UdpSocket) -> usize {
    let bytes = [7; SMALL];
    let parts = [[io::IoSlice::new(&bytes)]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    sendmmsg(socket.as_raw_fd(), &mut headers, &parts, [None; BATCH], [], MsgFlags::empty())
        .map_or(0, |sent| sent.count())
}

fn receive(socket: &UdpSocket, arrived: &AtomicU64, done: &AtomicBool) {
    let mut buffers = [[0; SMALL]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    while !done.load(Ordering::Relaxed) {
        let mut parts: Vec<[io::IoSliceMut<'_>; 1]> =
            buffers.iter_mut().map(|buffer| [io::IoSliceMut::new(buffer)]).collect();
        let wait = MsgFlags::MSG_WAITFORONE;
        if let Ok(received) = recvmmsg(socket.as_raw_fd(), &mut headers, parts.iter_mut(), wait, None) {
            arrived.fetch_add(received.count() as u64, Ordering::Relaxed);
        }
    }
}

/// Microseconds of the median round trip of 64 bytes.
pub(crate) fn round_trip(ends: &[End; 2], trips: usize) -> f64 {
    let (here, there) = sockets(ends);
    let mut times = Vec::with_capacity(trips);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..trips {
                let mut bytes = [0; SMALL];
                there.recv(&mut bytes).expect("question");
                there.send(&bytes).expect("answer");
            }
        });
        for _ in 0..trips {
            let begun = Instant::now();
            here.send(&[7; SMALL]).expect("question");
            here.recv(&mut [0; SMALL]).expect("answer");
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    });
    times.sort_by(f64::total_cmp);
    times[trips / 2]
}

/// A socket at each end, connected with the other.
fn sockets(ends: &[End; 2]) -> (UdpSocket, UdpSocket) {
    let bind = |end: &End| {
        let ip: IpAddr = end.inside[0];
        let socket = end.netns.netns().run(|| UdpSocket::bind((ip, 0))).expect("netns").expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
        socket
    };
    let (here, there) = (bind(&ends[0]), bind(&ends[1]));
    here.connect(there.local_addr().expect("address")).expect("connect");
    there.connect(here.local_addr().expect("address")).expect("connect");
    (here, there)
}

/// What all processors have done since the machine was started, interrupts and the network stack's own threads included.
/// As exact as /proc/stat is: 10 ms.
fn machine_time() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").expect("read /proc/stat");
    let line =
        text.lines().next().and_then(|line| line.strip_prefix("cpu ")).expect("the sum over processors");
    let ticks: Vec<u64> = line.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    // user, nice, system, idle, iowait, irq, softirq; what follows is others' time, or counted already.
    Duration::from_millis(10 * (ticks[..3].iter().sum::<u64>() + ticks[5] + ticks[6]))
}
