//! The balancer with real sockets: every hook, both families, both protocols.

mod bpf_common;
mod net_common;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bpf_common::{TestNode, Wanted, backend, converge, counted};
use causeway_kernel::bpf::Datapath;
use model::{Protocol, Tier};

const PATIENCE: Duration = Duration::from_secs(5);

/// A server that answers everything with its own address, over TCP and UDP.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// To be called inside the node: the sockets are made here, the threads only use them.
    fn start(address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let listener = TcpListener::bind(address).unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let tcp = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client that left early is its own affair.
                let _ = stream.and_then(|mut s| s.write_all(address.to_string().as_bytes()));
            }
        });
        let udp = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if &buffer[..length] == b"stop" {
                    return;
                }
                let _ = socket.send_to(address.to_string().as_bytes(), from);
            }
        });
        Self { address, stop, threads: vec![tcp, udp] }
    }

    /// To be called inside the node.
    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let any = if self.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any).and_then(|s| s.send_to(b"stop", self.address)).unwrap();
        self.threads.into_iter().for_each(|t| t.join().unwrap());
    }
}

/// Runs `f` inside the node with servers on these addresses.
fn with_servers<T: Send>(node: &TestNode, addresses: &[&str], f: impl FnOnce() -> T + Send) -> T {
    node.inside(|| {
        let servers: Vec<Server> = addresses.iter().map(|a| Server::start(a)).collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        servers.into_iter().for_each(Server::stop);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn tcp(to: SocketAddr) -> io::Result<(String, SocketAddr)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let peer = stream.peer_addr()?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok((text, peer))
}

fn udp_socket(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
}

/// One question on a connected socket: the answer, whom it comes from, whom the socket says it is connected to.
fn udp_connected(to: SocketAddr) -> io::Result<(String, SocketAddr, SocketAddr)> {
    let socket = udp_socket(to);
    socket.connect(to)?;
    socket.send(b"?")?;
    let (text, from) = receive(&socket);
    Ok((text, from, socket.peer_addr()?))
}

fn udp_unconnected(socket: &UdpSocket, to: SocketAddr) -> io::Result<(String, SocketAddr)> {
    socket.send_to(b"?", to)?;
    Ok(receive(socket))
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    }
}

const VIP4: &str = "10.101.0.1:80";
const VIP6: &str = "[fd00:101::1]:80";
const BACK4: [&str; 3] = ["127.0.0.11:8080", "127.0.0.12:8080", "127.0.0.13:8080"];
const BACK6: [&str; 2] = ["[fd00:9::11]:8080", "[fd00:9::12]:8080"];

/// One service in both families, over both protocols, whose first backend is nearest.
fn service() -> Wanted {
    let v4 = BACK4.map(|a| backend(a, u64::from(a.as_bytes()[9] - b'0') + 1));
    let v6 = BACK6.map(|a| backend(a, 7));
    [Protocol::Tcp, Protocol::Udp].into_iter().fold(Wanted::default(), |wanted, protocol| {
        wanted
            .service(
                VIP4,
                protocol,
                &[(Tier::Node, &v4[..1]), (Tier::Zone, &v4[1..2]), (Tier::Elsewhere, &v4[2..])],
            )
            .service(VIP6, protocol, &[(Tier::Region, &v6[..1]), (Tier::Cluster, &v6[1..])])
    })
}

fn node(name: &str) -> TestNode {
    TestNode::new(name, &["fd00:9::11/128", "fd00:9::12/128"])
}

#[test]
fn every_way_to_dial() {
    let node = node("dial");
    let mut datapath = node.open();
    converge(&mut datapath, &service());
    with_servers(&node, &[BACK4[0], BACK6[0]], || {
        let vip4: SocketAddr = VIP4.parse().unwrap();
        let vip6: SocketAddr = VIP6.parse().unwrap();
        for (vip, backend) in [(vip4, BACK4[0]), (vip6, BACK6[0]), (mapped(vip4), BACK4[0])] {
            // The kernel shows an IPv6 socket mapped addresses.
            let seen = vip;
            assert_eq!(tcp(vip).unwrap(), (backend.to_owned(), seen), "TCP to {vip}");
            assert_eq!(
                udp_connected(vip).unwrap(),
                (backend.to_owned(), seen, seen),
                "connected UDP to {vip}"
            );
            let socket = udp_socket(vip);
            for _ in 0..3 {
                assert_eq!(
                    udp_unconnected(&socket, vip).unwrap(),
                    (backend.to_owned(), seen),
                    "UDP to {vip}"
                );
            }
            let direct: SocketAddr = backend.parse().unwrap();
            let direct = if vip.is_ipv6() { mapped(direct) } else { direct };
            assert_eq!(tcp(direct).unwrap(), (backend.to_owned(), direct), "TCP to {direct}");
            let socket = udp_socket(direct);
            assert_eq!(
                udp_unconnected(&socket, direct).unwrap(),
                (backend.to_owned(), direct),
                "UDP to {direct}"
            );
        }
    });
    assert_eq!(counted(&datapath, "lb_node"), 2 * 3);
    assert_eq!(counted(&datapath, "lb_region"), 3);
    assert_eq!(counted(&datapath, "lb_stayed"), 3 * 2);
    assert!(counted(&datapath, "reply_translated") >= 3 * 4);
    assert!(counted(&datapath, "peer_translated") >= 3 * 2);
}

#[test]
fn the_ladder_follows_health_and_readiness() {
    let node = node("ladder");
    let mut datapath = node.open();
    let vip: SocketAddr = VIP4.parse().unwrap();
    let answers = |datapath: &mut Datapath, wanted: Wanted| {
        converge(datapath, &wanted);
        with_servers(&node, &BACK4, || tcp(vip).map(|(text, _)| text).map_err(|e| e.kind()))
    };
    assert_eq!(answers(&mut datapath, service()), Ok(BACK4[0].into()));
    assert_eq!(answers(&mut datapath, service().dead(&[2])), Ok(BACK4[1].into()));
    assert_eq!(answers(&mut datapath, service().dead(&[2, 3])), Ok(BACK4[2].into()));
    assert_eq!(answers(&mut datapath, service().dead(&[2, 3, 4])), Err(io::ErrorKind::ConnectionRefused));
    assert_eq!(answers(&mut datapath, service().dead(&[3, 4])), Ok(BACK4[0].into()));
    let empty = Wanted::default().service(VIP4, Protocol::Tcp, &[]);
    assert_eq!(answers(&mut datapath, empty), Err(io::ErrorKind::ConnectionRefused));
    assert_eq!(counted(&datapath, "lb_all_dead"), 1);
    assert_eq!(counted(&datapath, "lb_no_backend"), 1);
}

#[test]
fn nobody_there_is_said_at_once() {
    let node = node("refuse");
    let mut datapath = node.open();
    let wanted = [Protocol::Tcp, Protocol::Udp].into_iter().fold(Wanted::default(), |wanted, protocol| {
        wanted.service(VIP4, protocol, &[]).service(VIP6, protocol, &[])
    });
    converge(&mut datapath, &wanted);
    node.inside(|| {
        for vip in [VIP4, VIP6] {
            let vip: SocketAddr = vip.parse().unwrap();
            let refused = |result: io::Result<()>, how: &str| {
                let error = result.expect_err(how);
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{how} to {vip}: {error}");
            };
            refused(tcp(vip).map(drop), "TCP");
            refused(udp_connected(vip).map(drop), "connected UDP");
            refused(udp_unconnected(&udp_socket(vip), vip).map(drop), "UDP");
        }
    });
    assert_eq!(counted(&datapath, "lb_no_backend"), 6);
}

#[test]
fn a_backend_of_the_other_family_is_refused() {
    let node = node("family");
    let mut datapath = node.open();
    let (v4, v6) = (backend(BACK4[0], 0), backend(BACK6[0], 0));
    let wanted = Wanted::default().service(VIP4, Protocol::Tcp, &[(Tier::Node, &[v6])]).service(
        VIP6,
        Protocol::Tcp,
        &[(Tier::Node, &[v4])],
    );
    converge(&mut datapath, &wanted);
    node.inside(|| {
        for vip in [VIP4, VIP6] {
            assert_eq!(tcp(vip.parse().unwrap()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    });
    assert_eq!(counted(&datapath, "lb_family"), 2);
}

#[test]
fn connections_spread_evenly_inside_a_tier() {
    let node = node("fair");
    let mut datapath = node.open();
    let backends = BACK4.map(|a| backend(a, 0));
    converge(&mut datapath, &Wanted::default().service(VIP4, Protocol::Udp, &[(Tier::Node, &backends)]));
    let vip: SocketAddr = VIP4.parse().unwrap();
    let mut seen: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    node.inside(|| {
        for _ in 0..3000 {
            let socket = udp_socket(vip);
            socket.connect(vip).unwrap();
            socket.send(b"?").unwrap_or_default();
            *seen.entry(local_view(&socket)).or_default() += 1;
        }
    });
    // 1000 each, with a standard deviation of 26.
    assert!(seen.len() == 3 && seen.values().all(|n| (850..1150).contains(n)), "{seen:?}");
}

/// Where a connected socket's packets really go: what getpeername hides is in /proc.
fn local_view(socket: &UdpSocket) -> SocketAddr {
    let port = socket.local_addr().unwrap().port();
    let text = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let line = text.lines().find(|l| l.contains(&format!(":{port:04X} "))).unwrap();
    let remote = line.split_whitespace().nth(2).unwrap();
    let (ip, port) = remote.split_once(':').unwrap();
    let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
    (ip, u16::from_str_radix(port, 16).unwrap()).into()
}

#[test]
fn datagrams_of_a_socket_stay_together() {
    let node = node("stay");
    let mut datapath = node.open();
    let all = BACK4.map(|a| backend(a, u64::from(a.as_bytes()[9] - b'0') + 1));
    let wanted = |backends: &[_], dead: &[_]| {
        Wanted::default().service(VIP4, Protocol::Udp, &[(Tier::Node, backends)]).dead(dead)
    };
    converge(&mut datapath, &wanted(&all, &[]));
    let vip: SocketAddr = VIP4.parse().unwrap();
    with_servers(&node, &BACK4, || {
        let socket = udp_socket(vip);
        let ask = || udp_unconnected(&socket, vip).unwrap();
        let (first, from) = ask();
        assert_eq!(from, vip);
        assert!((0..50).all(|_| ask().0 == first), "moved without a reason");
        // The set changes around it: it stays.
        let mut others = all.to_vec();
        others.rotate_left(1);
        converge(&mut datapath, &wanted(&others, &[]));
        assert!((0..50).all(|_| ask().0 == first), "moved with the set");
        // Its node dies: it moves, and stays there when the node comes back.
        let own = all.iter().find(|b| SocketAddr::new(b.ip, b.port.get()).to_string() == first).unwrap();
        converge(&mut datapath, &wanted(&others, &[own.node]));
        let (second, from) = ask();
        assert_eq!(from, vip);
        assert_ne!(second, first, "stayed with a dead node");
        converge(&mut datapath, &wanted(&others, &[]));
        assert!((0..50).all(|_| ask().0 == second), "moved back without a reason");
        // The backend leaves the set: it moves.
        let left: Vec<_> = all
            .iter()
            .filter(|b| SocketAddr::new(b.ip, b.port.get()).to_string() != second)
            .copied()
            .collect();
        converge(&mut datapath, &wanted(&left, &[]));
        assert_ne!(ask().0, second, "stayed with a backend that left");
    });
}

#[test]
fn only_the_control_group_is_balanced() {
    let node = node("outside");
    let mut datapath = node.open();
    converge(&mut datapath, &service());
    let before = counted(&datapath, "lb_no_frontend");
    node.leave(|| {
        let unbalanced = UdpSocket::bind("127.0.0.1:0").unwrap();
        unbalanced.connect("127.0.0.1:9").unwrap();
    });
    assert_eq!(counted(&datapath, "lb_no_frontend"), before);
}

#[test]
fn node_ports_are_dialled_at_any_address_of_a_node() {
    let node = node("nodeport");
    let mut datapath = node.open();
    let v4 = [backend(BACK4[0], 7)];
    let v6 = [backend(BACK6[0], 7)];
    let mut wanted =
        [Protocol::Tcp, Protocol::Udp].into_iter().fold(Wanted::default(), |wanted, protocol| {
            wanted.service("0.0.0.0:30080", protocol, &[(Tier::Node, &v4)]).service(
                "[::]:30080",
                protocol,
                &[(Tier::Node, &v6)],
            )
        });
    let ips = ["127.0.0.1", "127.0.0.98", "127.0.0.99", "::1", "fd00:9::12"];
    wanted.state.node_addresses = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    converge(&mut datapath, &wanted);
    with_servers(&node, &[BACK4[0], BACK6[0]], || {
        for (at, answer) in [
            ("127.0.0.1:30080", BACK4[0]),
            ("127.0.0.98:30080", BACK4[0]),
            ("127.0.0.99:30080", BACK4[0]),
            ("[::1]:30080", BACK6[0]),
            ("[fd00:9::12]:30080", BACK6[0]),
        ] {
            let at: SocketAddr = at.parse().unwrap();
            assert_eq!(tcp(at).unwrap(), (answer.to_string(), at), "{at}");
            assert_eq!(udp_unconnected(&udp_socket(at), at).unwrap(), (answer.to_string(), at), "{at}");
        }
        // Another port there, and this port elsewhere, are nobody's business.
        for at in ["127.0.0.98:30081", "127.0.0.97:30080"] {
            assert_eq!(
                tcp(at.parse().unwrap()).unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused,
                "{at}"
            );
        }
    });
    // A pod's localhost is its own.
    let before = counted(&datapath, "lb_no_frontend");
    node.inside(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        tcp("127.0.0.1:30080".parse().unwrap()).unwrap_err();
    });
    assert_eq!(counted(&datapath, "lb_no_frontend"), before + 1);
    wanted.state.node_addresses.clear();
    converge(&mut datapath, &wanted);
    with_servers(&node, &[BACK4[0]], || {
        let refused = tcp("127.0.0.98:30080".parse().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_client_stays_with_its_backend_where_the_service_asks_for_it() {
    let node = node("affinity");
    let mut datapath = node.open();
    let backends = BACK4.map(|a| backend(a, 7));
    let mut wanted =
        [Protocol::Tcp, Protocol::Udp].into_iter().fold(Wanted::default(), |wanted, protocol| {
            wanted.service(VIP4, protocol, &[(Tier::Node, &backends)])
        });
    for ladder in wanted.state.frontends.values_mut() {
        ladder.affinity = 60;
    }
    converge(&mut datapath, &wanted);
    let vip: SocketAddr = VIP4.parse().unwrap();
    let answers = |node: &TestNode| {
        with_servers(node, &BACK4, || {
            let tcp: BTreeMap<String, u32> = (0..32).fold(BTreeMap::new(), |mut seen, _| {
                *seen.entry(tcp(vip).unwrap().0).or_default() += 1;
                seen
            });
            let udp: BTreeMap<String, u32> = (0..32).fold(BTreeMap::new(), |mut seen, _| {
                *seen.entry(udp_unconnected(&udp_socket(vip), vip).unwrap().0).or_default() += 1;
                seen
            });
            (tcp.len(), udp.len())
        })
    };
    assert_eq!(answers(&node), (1, 1), "one client, one backend for each protocol");
    for ladder in wanted.state.frontends.values_mut() {
        ladder.affinity = 0;
    }
    converge(&mut datapath, &wanted);
    assert_eq!(answers(&node), (3, 3), "and any of three without");
}
