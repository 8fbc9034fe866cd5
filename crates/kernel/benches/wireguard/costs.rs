//! What a device costs besides traffic: handshakes it answers, and memory for many peers.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_kernel::process::rss_bytes;
use causeway_kernel::wireguard::Options;
use causeway_kernel::wireguard::uapi::SetRequest;
use wireguard::{AllowedChange, Data, Device, Endpoint, Message, Now, PeerChange};

use crate::Arguments;
use crate::pair::{End, PORT, Setup, pair};
use crate::report::{Metric, Report};

/// Peers of the device.
const PEERS: u16 = 1000;
/// Those that shake hands.
const SHAKE: u16 = 400;
/// boringtun answers a hundred messages in a second, and then asks for cookies.
const PACE: Duration = Duration::from_millis(22);

const METRICS: [Metric; 4] = [
    Metric::new("handshakes answered, per core", "/s", 0),
    Metric::new("resident, without peers", "MB", 1),
    Metric::new("resident, 1,000 idle peers", "MB", 1),
    Metric::new("resident, 400 of them having shaken hands", "MB", 1),
];

pub(crate) fn table(arguments: &Arguments, report: &mut Report) {
    let mut samples = vec![vec![Vec::new(); arguments.compared.len()]; METRICS.len()];
    for round in 0..arguments.rounds {
        for (at, compared) in arguments.compared.iter().enumerate() {
            eprintln!("costs, round {} of {}: {}", round + 1, arguments.rounds, compared.name);
            let ends = pair(Setup { name: "wgx", kinds: [compared.kind; 2], mtu: 1500 });
            for (metric, value) in samples.iter_mut().zip(sample(&ends)) {
                metric[at].push(value);
            }
        }
    }
    report.table("A device as responder", &METRICS, &samples);
}

/// In the order of [`METRICS`].
fn sample(ends: &[End; 2]) -> [f64; METRICS.len()] {
    let [device, elsewhere] = ends;
    let pid = device.pid();
    let resident = || rss_bytes(pid as i32).expect("rss").expect("running") as f64 / 1e6;
    let alone = resident();
    let target = SocketAddr::new(device.underlay[0], PORT);
    let mut initiators: Vec<Initiator> =
        (0..PEERS).map(|number| Initiator::new(number, device.key.public().0, target)).collect();
    if let Err(answer) = tell(device, &initiators) {
        eprintln!("it does not take so many peers: {answer}");
        return [f64::NAN, alone, f64::NAN, f64::NAN];
    }
    let known = resident();

    // From a port of its own each: boringtun takes all that comes from one for one peer's.
    let sockets: Vec<UdpSocket> = (0..SHAKE)
        .map(|_| elsewhere.netns.netns().run(|| UdpSocket::bind((elsewhere.underlay[0], 0))))
        .map(|socket| socket.expect("netns").expect("bind"))
        .collect();
    let begun = Instant::now();
    let before = cpu_time(pid);
    let dues = (1..).map(|at| PACE * at);
    let mut answered = 0;
    for ((initiator, socket), due) in initiators.iter_mut().zip(&sockets).zip(dues) {
        let sender = initiator.begin(now(begun), socket, target);
        answered += u32::from(initiator.hear(sender, socket, target, begun, due));
    }
    let spent = cpu_time(pid) - before;
    if answered < u32::from(SHAKE) {
        eprintln!("{answered} of {SHAKE} handshakes were answered");
    }
    // One that answers few of them is not the cheaper for it.
    let rate = if answered * 10 < u32::from(SHAKE) * 9 {
        f64::NAN
    } else {
        f64::from(answered) / spent.as_secs_f64()
    };
    [rate, alone, known, resident()]
}

/// Another peer of the device, as far as a handshake goes.
struct Initiator {
    device: Device,
    inside: [u8; 4],
}

impl Initiator {
    fn new(number: u16, target: [u8; 32], at: SocketAddr) -> Self {
        let mut device = Device::new(Box::new(|bytes| {
            aws_lc_rs::rand::fill(bytes).expect("the operating system gives randomness");
        }));
        let [high, low] = number.to_be_bytes();
        let mut secret = [7; 32];
        // The lowest bits of the first byte do not count.
        secret[1..3].copy_from_slice(&[high, low]);
        device.set_key(Some(secret));
        let peer = PeerChange { public_key: target, endpoint: Some(at), ..PeerChange::default() };
        device.change_peer(&peer, Now::default());
        Self { device, inside: [10, 100, high, low] }
    }

    /// Sends an initiation; the number it gives itself.
    fn begin(&mut self, now: Now, socket: &UdpSocket, target: SocketAddr) -> u32 {
        let key = self.device.peers().next().expect("a peer").public_key;
        // A keepalive is due at once, and needs a session.
        let due = PeerChange { public_key: key, keepalive: Some(3600), ..PeerChange::default() };
        self.device.change_peer(&due, now);
        self.device.handle_timeout(now);
        let datagram = self.device.poll_transmit().expect("an initiation").datagram;
        socket.send_to(&datagram, target).expect("send");
        match Message::parse(&datagram) {
            Some(Message::Initiation(initiation)) => initiation.sender,
            other => panic!("not an initiation: {other:?}"),
        }
    }

    /// Handles what is answered until `due`; whether the handshake is complete.
    fn hear(
        &mut self,
        sender: u32,
        socket: &UdpSocket,
        target: SocketAddr,
        begun: Instant,
        due: Duration,
    ) -> bool {
        let mut complete = false;
        let mut buffer = [0; 2048];
        while let Some(left) = due.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left)).expect("timeout");
            let Ok(len) = socket.recv(&mut buffer) else { continue };
            let Some(Message::Response(response)) = Message::parse(&buffer[..len]) else { continue };
            if response.receiver != sender {
                continue;
            }
            let from = Endpoint { remote: target, local: None };
            self.device.handle_handshake(&buffer[..len], from, now(begun));
            let Some(transmit) = self.device.poll_transmit() else { continue };
            assert!(Data::parse(&transmit.datagram).is_some(), "a keepalive confirms");
            socket.send_to(&transmit.datagram, target).expect("send");
            complete = true;
        }
        complete
    }
}

/// Tells the device of all of them; what it said if it did not take them.
fn tell(device: &End, initiators: &[Initiator]) -> Result<(), String> {
    let path = Options::new(device.device.interface()).socket();
    // Some read a request with one call, so it must not be long.
    for some in initiators.chunks(20) {
        let peers = some.iter().map(|initiator| PeerChange {
            public_key: *initiator.device.key().expect("a key").public(),
            allowed_ips: vec![AllowedChange::Add(std::net::IpAddr::from(initiator.inside).into())],
            ..PeerChange::default()
        });
        let request = SetRequest { peers: peers.collect(), ..SetRequest::default() }.to_string();
        let talk = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(&path)?;
            stream.write_all(request.as_bytes())?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let answer = talk().map_err(|error| error.to_string())?;
        if !answer.contains("errno=0") {
            return Err(answer.trim().to_owned());
        }
    }
    Ok(())
}

/// What all threads of a process have had of the processors.
fn cpu_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    let of = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(|task| of(task.ok()?)).sum())
}

fn now(begun: Instant) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { uptime: begun.elapsed(), unix }
}
