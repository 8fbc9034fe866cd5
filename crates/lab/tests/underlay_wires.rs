//! The underlay between real namespaces: delay, loss, rate and both families, as sockets see them.
//!
//! Bounds are generous upwards, because a busy machine adds time of its own, and exact downwards, because nothing
//! may arrive early.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use causeway_lab as lab;
use kernel::netns::Netns;
use lab::file::Shape;
use lab::plan::Wire;
use lab::underlay::{Config, Control, Segment, run};

/// Two locations and the underlay between them. The devices vanish with the process, the names with this value.
struct World {
    names: [String; 2],
    netns: [Netns; 2],
    control: Control,
    folder: PathBuf,
}

impl World {
    fn new(shape: Shape) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let names = [format!("cwt_underlay_{id}_a"), format!("cwt_underlay_{id}_b")];
        let netns = [0, 1].map(|i| {
            Netns::create(&names[i]).expect("a network namespace; this test needs root and CAP_SYS_ADMIN")
        });
        let folder = std::env::temp_dir().join(format!("cwt_underlay_{id}"));
        std::fs::create_dir_all(&folder).unwrap();
        let segment = |number: u8| Segment {
            number,
            netns: names[usize::from(number) - 1].clone(),
            uplink: ["198.18.N.1/32", "2001:db8:N::1/128"]
                .map(|net| net.replace('N', &number.to_string()).parse().unwrap())
                .to_vec(),
            public: ["198.18.N.0/24", "2001:db8:N::/48"]
                .map(|net| net.replace('N', &number.to_string()).parse().unwrap())
                .to_vec(),
            nats: Vec::new(),
        };
        let socket = folder.join("control.sock");
        let config = Config {
            seed: 7,
            control: socket.clone(),
            segments: vec![segment(1), segment(2)],
            wires: vec![Wire { between: [1, 2], shape, up: true }],
        };
        let file = folder.join("underlay.json");
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        std::thread::spawn(move || {
            if let Err(error) = run(&file) {
                panic!("{error}");
            }
        });
        let control = Control::new(socket);
        let start = Instant::now();
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing tells when a socket appears, so it is asked again"
        )]
        while control.counters().is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the underlay does not come up; is /dev/net/tun there?"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { names, netns, control, folder }
    }

    fn set(&self, shape: Shape, up: bool) {
        self.control.set_wires(&[Wire { between: [1, 2], shape, up }]).unwrap();
    }

    fn udp(&self, at: usize, ip: &str) -> UdpSocket {
        let address: SocketAddr = (ip.parse::<std::net::IpAddr>().unwrap(), 0).into();
        let socket = self.netns[at].run(|| UdpSocket::bind(address)).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket
    }

    /// Sockets at both ends of the wire.
    fn pair(&self, v6: bool) -> (UdpSocket, UdpSocket) {
        let [a, b] = if v6 { ["2001:db8:1::1", "2001:db8:2::1"] } else { ["198.18.1.1", "198.18.2.1"] };
        let (a, b) = (self.udp(0, a), self.udp(1, b));
        a.connect(b.local_addr().unwrap()).unwrap();
        b.connect(a.local_addr().unwrap()).unwrap();
        (a, b)
    }

    /// Megabits per second of one TCP stream from the first location to the second, for about a second.
    fn stream(&self, v6: bool) -> f64 {
        let listen: SocketAddr = if v6 { "[2001:db8:2::1]:0" } else { "198.18.2.1:0" }.parse().unwrap();
        let listener = self.netns[1].run(|| TcpListener::bind(listen)).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (start, mut total, mut buffer) = (Instant::now(), 0, vec![0; 1 << 18]);
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => return total as f64 * 8e-6 / start.elapsed().as_secs_f64(),
                    read => total += read,
                }
            }
        });
        let mut stream = self.netns[0].run(|| TcpStream::connect(address)).unwrap().unwrap();
        let (start, chunk) = (Instant::now(), vec![1; 1 << 16]);
        while start.elapsed() < Duration::from_secs(1) {
            stream.write_all(&chunk).unwrap();
        }
        drop(stream);
        reader.join().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Netns::delete(name);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn shape(rtt: Duration) -> Shape {
    Shape { rtt, loss: 0.0, rate: None, mtu: None }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Round-trip times, sorted.
fn round_trips(a: &UdpSocket, b: &UdpSocket, count: usize) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let (start, mut byte) = (Instant::now(), [0; 1]);
            a.send(&[1]).unwrap();
            b.recv(&mut byte).unwrap();
            b.send(&[2]).unwrap();
            a.recv(&mut byte).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn round_trip_times_are_kept_and_can_be_changed() {
    let world = World::new(shape(ms(14)));
    for v6 in [false, true] {
        let (a, b) = world.pair(v6);
        for rtt in [14, 2, 30] {
            world.set(shape(ms(rtt)), true);
            let times = round_trips(&a, &b, 30);
            let (first, median) = (times[0], times[15]);
            assert!(first >= ms(rtt), "v6 {v6}: {first:?} is less than {rtt} ms");
            assert!(median < ms(rtt) + ms(2), "v6 {v6}: median {median:?} of {rtt} ms");
        }
    }
    let counters = world.control.counters().unwrap();
    let packets: Vec<u64> = counters.wires.iter().map(|wire| wire.packets).collect();
    assert!(packets.iter().all(|packets| *packets >= 180), "{counters:?}");
}

#[test]
fn loss() {
    let world = World::new(Shape { loss: 0.1, ..shape(ms(1)) });
    let (a, b) = world.pair(false);
    b.set_read_timeout(Some(ms(100))).unwrap();
    let (mut arrived, mut byte) = (0, [0; 1]);
    for _ in 0..40 {
        for _ in 0..50 {
            a.send(&[1]).unwrap();
        }
        // Take a burst before the next is sent, so that only the wire loses.
        let took = |result: std::io::Result<usize>| match result {
            Ok(_) => true,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(e) => panic!("{e}"),
        };
        b.set_read_timeout(Some(ms(20))).unwrap();
        while took(b.recv(&mut byte)) {
            arrived += 1;
        }
    }
    let lost = 2000 - arrived;
    assert!((120..300).contains(&lost), "{lost} of 2000 lost at 10 %");
    assert_eq!(world.control.counters().unwrap().wires[0].lost, lost);
}

#[test]
fn rate() {
    let world = World::new(Shape { rate: Some(20_000_000), ..shape(ms(4)) });
    let got = world.stream(false);
    assert!((10.0..21.0).contains(&got), "{got:.1} Mbit/s over a wire of 20");
}

#[test]
fn bulk_flows_of_both_families() {
    let world = World::new(shape(ms(4)));
    for v6 in [false, true] {
        let got = world.stream(v6);
        assert!(got > 200.0, "{got:.0} Mbit/s, v6 {v6}, over a wire without a limit");
        println!("v6 {v6}: {got:.0} Mbit/s");
    }
}

#[test]
fn a_cut_wire_and_a_healed_one() {
    let world = World::new(shape(ms(2)));
    let (a, b) = world.pair(true);
    assert_eq!(round_trips(&a, &b, 1).len(), 1);
    world.set(shape(ms(2)), false);
    b.set_read_timeout(Some(ms(50))).unwrap();
    a.send(&[1]).unwrap();
    assert!(b.recv(&mut [0]).is_err(), "a cut wire carried a packet");
    world.set(shape(ms(2)), true);
    assert_eq!(round_trips(&a, &b, 1).len(), 1);
    let counters = world.control.counters().unwrap();
    assert_eq!(counters.wires.iter().map(|wire| wire.down).sum::<u64>(), 1, "{counters:?}");
    let refused = world.control.set_wires(&[Wire { between: [1, 9], shape: shape(ms(1)), up: true }]);
    assert!(refused.is_err_and(|e| e.to_string().contains("1–9")));
}
