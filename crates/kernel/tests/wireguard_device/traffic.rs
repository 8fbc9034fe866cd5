//! What goes through the tunnel arrives whole.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;

use crate::net_common::answers;
use crate::pair::{End, Kind, Setup, over_a_relay, pair, until};

/// Bytes of a stream in one direction.
const STREAM: usize = 8 << 20;

pub(crate) fn two_of_ours() {
    let ends = pair(Setup { name: "wgo", kinds: [Kind::Ours, Kind::Ours], mtu: 1500 });
    for end in &ends {
        let rss = causeway_kernel::process::rss_bytes(end.pid() as i32).expect("rss").expect("running");
        assert!(rss < 10 << 20, "{rss} bytes resident while idle");
    }
    everything(&ends);
}

pub(crate) fn jumbo_frames() {
    everything(&pair(Setup { name: "wgj", kinds: [Kind::Ours, Kind::Ours], mtu: 9000 }));
}

pub(crate) fn ours_asks_wireguard_go() {
    everything(&pair(Setup { name: "wgog", kinds: [Kind::Ours, Kind::Go], mtu: 1500 }));
}

pub(crate) fn wireguard_go_asks_ours() {
    everything(&pair(Setup { name: "wggo", kinds: [Kind::Go, Kind::Ours], mtu: 1500 }));
}

/// The wire carries less than the tunnels' MTU needs: outer packets are fragmented, and nothing is lost.
pub(crate) fn a_path_narrower_than_it_says() {
    let ends = pair(Setup { name: "wgn", kinds: [Kind::Ours, Kind::Ours], mtu: 1500 });
    for end in &ends {
        end.netns.run("ip link set eth0 mtu 1400");
    }
    everything(&ends);
}

/// One peer is sent more than can be carried; another's questions are answered all the same.
pub(crate) fn a_flood_for_another() {
    const QUESTIONS: usize = 300;
    let ([busy, quiet], hub) = over_a_relay("wgf", [Kind::Ours, Kind::Ours]);
    assert!(echo(&hub, busy.inside[0]) && echo(&hub, quiet.inside[0]));
    let socket = |end: &End| {
        let ip = end.inside[0];
        let socket = end.netns.netns().run(|| UdpSocket::bind((ip, 7000))).expect("netns").expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("timeout");
        socket
    };
    let (flooding, answering) = (socket(&hub), socket(&quiet));
    let asking = hub.netns.netns().run(|| UdpSocket::bind((hub.inside[0], 0))).expect("netns").expect("bind");
    asking.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
    asking.connect(answering.local_addr().expect("address")).expect("connect");
    let (flooded, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Nobody listens there.
            while !done.load(Ordering::Relaxed) {
                if flooding.send_to(&[0; 1300], (busy.inside[0], 7001)).is_ok() {
                    flooded.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut question = [0; 8];
                if let Ok((len, from)) = answering.recv_from(&mut question) {
                    answering.send_to(&question[..len], from).expect("answer");
                }
            }
        });
        until("the flood", || flooded.load(Ordering::Relaxed) > 10_000);
        let answered = (0..QUESTIONS)
            .filter(|question| {
                let question = question.to_be_bytes();
                asking.send(&question).expect("question");
                let mut answer = [0; 8];
                // An answer that is late is of an earlier question.
                while asking.recv(&mut answer).is_ok() {
                    if answer == question {
                        return true;
                    }
                }
                false
            })
            .count();
        done.store(true, Ordering::Relaxed);
        answered
    });
    println!("  {answered} of {QUESTIONS} answered beside {} others", flooded.into_inner());
    assert!(answered * 10 >= QUESTIONS * 8, "{answered} of {QUESTIONS}");
}

pub(crate) fn with_the_kernel() {
    for kinds in [[Kind::Ours, Kind::Kernel], [Kind::Kernel, Kind::Ours], [Kind::Kernel, Kind::Kernel]] {
        println!("{kinds:?}");
        let ends = pair(Setup { name: "wgl", kinds, mtu: 1500 });
        everything(&ends);
        let stats = ends[0].stats(&ends[1]);
        assert!(stats.last_handshake.is_some() && stats.rx_bytes > 1 << 20 && stats.tx_bytes > 1 << 20);
        assert_eq!(stats.endpoint, Some((ends[1].underlay[0], crate::pair::PORT).into()));
        let observed = ends[0].device.observe().expect("observe");
        assert_eq!((observed.tunnel.port, observed.tunnel.mtu), (crate::pair::PORT, 1420));
        assert_eq!(observed.public_key, Some(ends[0].key.public()));
        let peer = &observed.tunnel.peers[&ends[1].key.public()];
        assert_eq!(peer.allowed_ips, ends[1].inside.iter().map(|ip| (*ip).into()).collect());
        ends[0].device.apply(&engine::plan::Op::DeletePeer(ends[1].key.public())).expect("delete");
        assert!(ends[0].device.observe().expect("observe").peers.is_empty());
    }
}

/// Echoes, datagrams of all sizes around the MTU, streams; both families, both directions.
pub(crate) fn everything(ends: &[End; 2]) {
    for (from, to) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        for family in 0..2 {
            let (source, target) = (from.inside[family], to.inside[family]);
            assert!(echo(from, target), "{source} asks {target}");
            datagrams(from, to, source, target);
            many_datagrams_at_once(from, to, source, target);
            stream(from, to, target);
        }
    }
}

pub(crate) fn echo(from: &End, to: IpAddr) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(answers(from.netns.netns(), to))
}

/// Sizes from empty to several fragments; one by one, so that a lost one is known by its size.
fn datagrams(from: &End, to: &End, source: IpAddr, target: IpAddr) {
    let (sender, receiver) = (bind(from, source), bind(to, target));
    let target: SocketAddr = receiver.local_addr().expect("address");
    let around = |size: usize| size.saturating_sub(50)..size + 50;
    let sizes = [0, 100, 1380, 1420, 2800].into_iter().flat_map(around).chain([9000, 40_000, 65_000]);
    let mut buffer = vec![0; 65_536];
    for size in sizes {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
        sender.send_to(&bytes, target).unwrap_or_else(|error| panic!("{size} bytes to {target}: {error}"));
        let len = receiver
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{size} bytes from {source} to {target}: {error}"));
        assert_eq!(buffer[..len], bytes, "{size} bytes from {source} to {target}");
    }
}

/// Datagrams that the sender's host hands over in one piece (UDP_SEGMENT), the last of them shorter.
fn many_datagrams_at_once(from: &End, to: &End, source: IpAddr, target: IpAddr) {
    const SIZE: usize = 1000;
    let (sender, receiver) = (bind(from, source), bind(to, target));
    let target = receiver.local_addr().expect("address");
    let bytes: Vec<u8> = (0..SIZE * 20 + 1).map(|at| (at / SIZE) as u8).collect();
    // Routes whose device does not split for us say so here; the tunnel's does from Linux 6.2.
    setsockopt(&sender, UdpGsoSegment, &(SIZE as i32)).expect("UDP_SEGMENT");
    sender.send_to(&bytes, target).unwrap_or_else(|error| panic!("20 datagrams to {target}: {error}"));
    let mut buffer = vec![0; 65_536];
    for expected in bytes.chunks(SIZE) {
        let len = receiver.recv(&mut buffer).expect("one of many datagrams");
        assert_eq!(buffer[..len], *expected);
    }
}

fn bind(end: &End, ip: IpAddr) -> UdpSocket {
    let socket = end.netns.netns().run(|| UdpSocket::bind((ip, 0))).expect("netns").expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    socket
}

/// A stream both ways, and what it carried.
fn stream(from: &End, to: &End, target: IpAddr) {
    let bytes: Vec<u8> = (0..STREAM).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    let listener = to.netns.netns().run(|| TcpListener::bind((target, 0))).expect("netns").expect("bind");
    let address = listener.local_addr().expect("address");
    let patience = Some(Duration::from_secs(10));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("accept");
            stream.set_read_timeout(patience).expect("timeout");
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).expect("read");
            assert!(heard == bytes, "{} bytes arrived changed", heard.len());
            stream.write_all(&heard).expect("write");
        });
        let mut stream =
            from.netns.netns().run(|| TcpStream::connect(address)).expect("netns").expect("connect");
        stream.set_read_timeout(patience).expect("timeout");
        stream.write_all(&bytes).expect("write");
        stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("read");
        assert!(heard == bytes, "{} bytes came back changed", heard.len());
    });
}
