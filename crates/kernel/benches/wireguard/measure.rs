//! One TCP stream, and the round trip of a small datagram.

use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::pair::{End, Kind, Setup, pair, until};

const ROUNDS: usize = 5;
const SECONDS: &str = "4";
const TRIPS: usize = 3000;

/// The kinds that are compared.
const KINDS: [Kind; 2] = [Kind::Ours, Kind::Go];

pub(crate) fn tables() {
    println!("{:<34} {:<6} {:>22} {:>24}", "wire", "device", "stream, Gbit/s", "round trip, µs");
    for (wire, mtu, offloads) in [
        ("MTU 1500", 1500, true),
        ("MTU 1500, no offloads on the wire", 1500, false),
        ("MTU 9000", 9000, true),
    ] {
        let mut found = KINDS.map(|_| (Vec::new(), Vec::new()));
        for _ in 0..ROUNDS {
            for (kind, (speeds, trips)) in KINDS.into_iter().zip(&mut found) {
                let ends = pair(Setup { name: "wgx", kinds: [kind, kind], mtu });
                if !offloads {
                    switch_off(&ends);
                }
                trips.push(round_trip(&ends));
                speeds.push(stream(&ends));
            }
        }
        for (kind, (speeds, trips)) in KINDS.into_iter().zip(found) {
            println!("{wire:<34} {:<6} {:>22} {:>24}", format!("{kind:?}"), spread(speeds), spread(trips));
        }
    }
}

/// The median, and the least and the greatest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2}–{:.2})", values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Every packet on the wire by itself, as on a network card without offloads.
fn switch_off(ends: &[End; 2]) {
    for end in ends {
        end.netns.run("ethtool -K eth0 tx-udp-segmentation off gso off gro off tso off");
    }
}

/// Gbit/s of one stream.
fn stream(ends: &[End; 2]) -> f64 {
    let target = ends[1].inside[0].to_string();
    let mut server = ends[1]
        .netns
        .netns()
        .run(|| Command::new("iperf3").args(["-s", "-1"]).stdout(Stdio::null()).spawn())
        .expect("netns")
        .expect("install iperf3");
    until("the server", || ends[1].netns.run("ss -Hltn sport = 5201").contains("5201"));
    let answer = ends[0].netns.run(&format!("iperf3 -J -t {SECONDS} -c {target}"));
    server.wait().expect("wait");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    answer["end"]["sum_received"]["bits_per_second"].as_f64().expect("a speed") / 1e9
}

/// Microseconds of the median round trip of 64 bytes.
fn round_trip(ends: &[End; 2]) -> f64 {
    let bind = |end: &End| {
        let ip: IpAddr = end.inside[0];
        let socket = end.netns.netns().run(|| UdpSocket::bind((ip, 0))).expect("netns").expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
        socket
    };
    let (here, there) = (bind(&ends[0]), bind(&ends[1]));
    here.connect(there.local_addr().expect("address")).expect("connect");
    there.connect(here.local_addr().expect("address")).expect("connect");
    let mut trips = Vec::with_capacity(TRIPS);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..TRIPS {
                let mut bytes = [0; 64];
                there.recv(&mut bytes).expect("question");
                there.send(&bytes).expect("answer");
            }
        });
        for _ in 0..TRIPS {
            let begun = Instant::now();
            here.send(&[7; 64]).expect("question");
            here.recv(&mut [0; 64]).expect("answer");
            trips.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    });
    trips.sort_by(f64::total_cmp);
    trips[TRIPS / 2]
}
