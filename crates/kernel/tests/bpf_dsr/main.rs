//! Direct server return, in real packets: a client's packets come in at one node, the pod of another answers.

#[path = "../bpf_common/mod.rs"]
mod bpf_common;
#[path = "../net_common/mod.rs"]
mod net_common;
#[path = "../bpf_edge/talk.rs"]
mod talk;
mod world;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;

use bpf_common::{Wanted, backend, converge, counted, ip};
use causeway_kernel::bpf::Datapath;
use causeway_kernel::netns::Netns;
use engine::plan::{Backend, Direct};
use engine::services::{TableSize, table};
use model::Protocol;
use talk::{Server, Way, datagram, echo};
use world::{CLIENT, GATEWAY, MTU, VIP, World, mesh, pod, wire};

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];
const PORT: u16 = 8080;
const DIALLED: u16 = 80;
/// Bytes of the envelope, by family.
const ENVELOPE: [u32; 2] = [28, 48];

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

fn way<'a>(from: &'a Netns, dialled: SocketAddr) -> Way<'a> {
    Way { from, own: None, dialled }
}

/// The pod of a node, as a backend.
fn pod_of(n: usize, family: usize, port: u16) -> Backend {
    backend(&at(&pod(n)[family], port).to_string(), n as u64)
}

/// The service at an address, in both protocols, with these nodes' pods behind it.
fn service(wanted: Wanted, address: &str, family: usize, pods: &[usize]) -> Wanted {
    let backends: Vec<_> = pods.iter().map(|n| pod_of(*n, family, PORT)).collect();
    let dialled = at(address, DIALLED).to_string();
    BOTH.into_iter().fold(wanted, |wanted, protocol| wanted.outside(&dialled, protocol, &backends, |_| {}))
}

/// The same at the address that all nodes serve, in both families.
fn vip(pods: &[usize]) -> Wanted {
    (0..2).fold(Wanted::default(), |wanted, family| service(wanted, VIP[family], family, pods))
}

/// Brings every node to the same services.
fn converge_all(world: &World, datapaths: &mut [Datapath], wanted: impl Fn() -> Wanted) {
    for (node, datapath) in world.nodes.iter().zip(datapaths) {
        converge(datapath, &node.knowing(wanted()));
    }
}

/// Somebody asks at an address, and the pod of a node says whom it saw.
fn sees(
    world: &World,
    dialled: SocketAddr,
    n: usize,
    protocol: Protocol,
    bytes: usize,
) -> Option<SocketAddr> {
    let family = usize::from(dialled.is_ipv6());
    let server = Server::new(world.nodes[n - 1].pod.netns(), at(&pod(n)[family], PORT), protocol);
    server.hears(way(world.client.netns(), dialled), bytes)
}

fn check_direct(offloads: bool) {
    let name = if offloads { "dsr" } else { "dsrplain" };
    let world = World::new(name);
    let mut datapaths = world.open();
    if !offloads {
        let nodes = world.nodes.iter();
        let ends = nodes.flat_map(|node| [(&node.net, "eth0"), (&node.net, "cwpod0"), (&node.pod, "eth0")]);
        for (netns, device) in ends.chain([(&world.client, "eth0")]) {
            netns.run(&format!("ethtool -K {device} tx off rx off gso off tso off gro off"));
        }
    }
    // At the load balancer's address and at a port of the first node, which no other node has.
    for family in [0, 1] {
        for address in [VIP[family].to_owned(), wire(1)[family].clone()] {
            let dialled = at(&address, DIALLED);
            for n in [2, 1] {
                converge_all(&world, &mut datapaths, || service(Wanted::default(), &address, family, &[n]));
                for protocol in BOTH {
                    let (eth0, cw0) = (world.nodes[0].bytes("eth0", "tx"), world.nodes[0].bytes("cw0", "rx"));
                    let bytes = if protocol == Protocol::Tcp { 1 << 20 } else { 1000 };
                    let saw = sees(&world, dialled, n, protocol, bytes);
                    let saw = saw.unwrap_or_else(|| panic!("{protocol} to {dialled} did not arrive at {n}"));
                    assert_eq!(saw.ip(), ip(CLIENT[family]), "{protocol} to {dialled}, at {n}");
                    if n == 2 {
                        // Neighbours may have been asked for, and no more.
                        let sent = world.nodes[0].bytes("eth0", "tx") - eth0;
                        let got = world.nodes[0].bytes("cw0", "rx") - cw0;
                        assert!(sent < 600 && got == 0, "answers crossed the node: {sent} out, {got} in");
                    }
                }
            }
        }
    }
    let [first, second, _] = datapaths.as_slice() else { panic!("three nodes") };
    let packets = counted(first, "edge_direct");
    assert!(counted(second, "edge_arrived") > packets, "the first of each flow is counted apart");
    assert_eq!(counted(first, "edge_too_big"), 0, "nobody had to learn what fits");
    let segments = 4 * (1 << 20) / 1372;
    assert_eq!(packets < segments, offloads, "{packets} packets for at least {segments} segments");
    assert_eq!(world.forged.load(Ordering::Relaxed), 0);
}

#[test]
fn the_backend_sees_the_client_and_answers_it() {
    check_direct(true);
}

#[test]
fn single_segments_have_right_checksums() {
    check_direct(false);
}

/// A node that is not known to answer by itself, or that is no node of ours: everything as without direct server return.
#[test]
fn backends_elsewhere_see_the_node() {
    let world = World::new("dsrsnat");
    let mut datapaths = world.open();
    converge_all(&world, &mut datapaths, || vip(&[2]));
    let mut wanted = world.nodes[0].knowing(vip(&[2]));
    wanted.state.direct.remove(&Direct::Peer(2));
    converge(&mut datapaths[0], &wanted);
    for family in [0, 1] {
        for protocol in BOTH {
            let saw = sees(&world, at(VIP[family], DIALLED), 2, protocol, 1000).expect("it arrives");
            assert_eq!(saw.ip(), ip(&mesh(1)[family]), "{protocol}");
        }
    }
    assert_eq!(counted(&datapaths[0], "edge_direct") + counted(&datapaths[1], "edge_arrived"), 0);
    assert!(counted(&datapaths[0], "edge_reply") > 0);
}

#[test]
fn envelopes_come_from_nodes_for_what_is_here() {
    let world = World::new("dsrstray");
    let mut datapaths = world.open();
    let dialled = at(VIP[0], DIALLED);
    let in_vain = |datapaths: &[Datapath], reason| {
        let before = counted(&datapaths[1], reason);
        way(world.client.netns(), dialled).dial_in_vain();
        assert!(counted(&datapaths[1], reason) > before, "{reason}");
    };
    converge_all(&world, &mut datapaths, || vip(&[2]));
    // A pod writes an envelope of its own: it is nobody's to open.
    let forged = [&[0x20, 0, 8, 0, 0x1f, 0x90, 0, 0][..], &[0x45; 60]].concat();
    let raw = world.nodes[0].pod.netns().run(|| raw_gre(&pod(2)[0], &forged)).expect("enter the namespace");
    raw.expect("a raw socket sends");
    let passed = || counted(&datapaths[1], "edge_passed");
    assert!((0..1000).any(|_| {
        std::thread::yield_now();
        passed() > 0
    }));
    assert_eq!(counted(&datapaths[1], "edge_arrived") + counted(&datapaths[1], "edge_stray"), 0);
    // The other node's agent knows no such pod.
    let missing = [backend("10.1.2.77:8080", 2)];
    for (node, datapath) in world.nodes.iter().zip(&mut datapaths) {
        let wanted = Wanted::default().outside(&dialled.to_string(), Protocol::Tcp, &missing, |_| {});
        converge(datapath, &node.knowing(wanted));
    }
    in_vain(&datapaths, "edge_stray");
    // And a node that is none of ours gets nothing opened.
    converge_all(&world, &mut datapaths, || vip(&[2]));
    let mut wanted = world.nodes[1].knowing(vip(&[2]));
    wanted.state.direct.remove(&Direct::Sender(ip(&mesh(1)[0])));
    converge(&mut datapaths[1], &wanted);
    in_vain(&datapaths, "edge_passed");
    assert_eq!(counted(&datapaths[1], "edge_arrived"), 0);
}

/// Sends these bytes as GRE.
fn raw_gre(to: &str, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use nix::libc;
    use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};

    // SAFETY: it takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_GRE) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: it was made just now, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    sendto(socket.as_raw_fd(), bytes, &SockaddrStorage::from(at(to, 0)), MsgFlags::empty())?;
    Ok(())
}

#[test]
fn flows_outlive_what_made_them() {
    let world = World::new("dsrflow");
    let mut datapaths = world.open();
    let dialled = at(VIP[0], DIALLED);
    let client = way(world.client.netns(), dialled);
    let server =
        |n: usize, protocol| Server::new(world.nodes[n - 1].pod.netns(), at(&pod(n)[0], PORT), protocol);
    let Server::Tcp(listener) = &server(2, Protocol::Tcp) else { panic!("TCP was asked for") };
    let [Server::Udp(two), Server::Udp(three)] = &[2, 3].map(|n| server(n, Protocol::Udp)) else {
        panic!("UDP was asked for")
    };
    converge_all(&world, &mut datapaths, || vip(&[2]));
    let (mut stream, socket) = (client.dial().unwrap(), client.socket());
    let (mut served, _) = listener.accept().unwrap();
    assert!(datagram(&socket, two, 10).is_some());
    // The service leaves the backend: a connection stays, datagrams go where the service is now.
    converge_all(&world, &mut datapaths, || vip(&[3]));
    echo(&mut stream, &mut served, 1000);
    assert!(datagram(&socket, three, 10).is_some());
    // So do those to a dead node.
    converge_all(&world, &mut datapaths, || vip(&[2, 3]).dead(&[3]));
    assert!(datagram(&socket, two, 10).is_some());
    // A restart of everybody is not felt, nor that the node where it comes in hands nobody on any more.
    drop(datapaths);
    let mut datapaths = world.open();
    echo(&mut stream, &mut served, 1000);
    for (node, datapath) in world.nodes.iter().zip(&mut datapaths) {
        let mut wanted = node.knowing(Wanted::default());
        wanted.state.direct.retain(|known| matches!(known, Direct::Sender(_)));
        converge(datapath, &wanted);
    }
    echo(&mut stream, &mut served, 1000);
    assert_eq!(counted(&datapaths[0], "edge_reply"), 0);
}

#[test]
fn errors_find_their_way_back() {
    let world = World::new("dsrerror");
    let mut datapaths = world.open();
    // Nobody listens there.
    converge_all(&world, &mut datapaths, || vip(&[2]));
    for vip in VIP {
        let socket = way(world.client.netns(), at(vip, DIALLED)).socket();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
        socket.send(b"?").unwrap();
        let told = socket.recv(&mut [0; 8]).unwrap_err().kind();
        assert_eq!(told, ErrorKind::ConnectionRefused, "{vip}");
        let refused = way(world.client.netns(), at(vip, DIALLED)).dial().unwrap_err().kind();
        assert_eq!(refused, ErrorKind::ConnectionRefused, "{vip}");
    }
    assert_eq!(counted(&datapaths[1], "edge_error"), 2);
    // A wire before the client is narrow: the router says so to whom the packet names, which is the first node.
    world.router.run("ip link set client mtu 1300");
    for family in [0, 1] {
        let server = Server::new(world.nodes[1].pod.netns(), at(&pod(2)[family], PORT), Protocol::Udp);
        let Server::Udp(server) = &server else { panic!("UDP was asked for") };
        let socket = way(world.client.netns(), at(VIP[family], DIALLED)).socket();
        let saw = datagram(&socket, server, 10).unwrap();
        server.send_to(&[0; 1350], saw).unwrap();
        let route = format!("ip route get {}", CLIENT[family]);
        let learnt = || world.nodes[1].pod.run(&route).contains("mtu 1300");
        assert!((0..100).any(|_| learnt()), "{}", world.nodes[1].pod.run(&route));
    }
    assert_eq!(counted(&datapaths[0], "edge_error"), 2);
}

#[test]
fn senders_learn_what_fits_the_envelope() {
    let world = World::new("dsrmtu");
    let mut datapaths = world.open();
    converge_all(&world, &mut datapaths, || vip(&[2]));
    for family in [0, 1] {
        let server = Server::new(world.nodes[1].pod.netns(), at(&pod(2)[family], PORT), Protocol::Udp);
        let Server::Udp(server) = &server else { panic!("UDP was asked for") };
        let socket = way(world.client.netns(), at(VIP[family], DIALLED)).socket();
        let fits = MTU - ENVELOPE[family];
        // Linux sets DF by itself: the first one is lost, and says what fits.
        socket.send(&[0; 1400]).unwrap();
        let route = format!("ip route get {}", VIP[family]);
        let learnt = || world.client.run(&route).contains(&format!("mtu {fits}"));
        assert!((0..100).any(|_| learnt()), "{}", world.client.run(&route));
        assert_eq!(socket.take_error().unwrap().unwrap().raw_os_error(), Some(nix::libc::EMSGSIZE));
        let headers = [28, 48][family];
        assert!(datagram(&socket, server, fits as usize - headers).is_some());
    }
    assert_eq!(counted(&datapaths[0], "edge_too_big"), 2);
}

#[test]
fn fragments_follow_their_first() {
    let world = World::new("dsrfragment");
    let mut datapaths = world.open();
    converge_all(&world, &mut datapaths, || vip(&[2]));
    // So small that they fit the envelope: what is larger comes apart again behind it, where a pod gets it no more.
    for family in [0, 1] {
        world.client.run(&format!("ip route change default via {} mtu 1300", GATEWAY[family]));
        let saw = sees(&world, at(VIP[family], DIALLED), 2, Protocol::Udp, 4000);
        assert_eq!(saw.expect("it arrives").ip(), ip(CLIENT[family]));
    }
    assert_eq!(counted(&datapaths[1], "edge_fragment"), 0);
}

/// The service at the address that all nodes serve, whose backends all nodes choose by the same table.
fn agreed(pods: &[usize]) -> Wanted {
    let size: TableSize = 251.try_into().unwrap();
    let mut wanted = vip(pods);
    for outside in wanted.state.outside.values_mut() {
        outside.ladder.table = Some(size);
        let key = outside.ladder.table_key().expect("there is a rung");
        wanted.state.tables.insert(key, table(&wanted.state.sets[&key.set], size).expect("they fit").into());
    }
    wanted
}

/// Servers of TCP in all pods.
fn listeners(world: &World, family: usize) -> Vec<Server> {
    let nodes = world.nodes.iter();
    nodes.map(|node| Server::new(node.pod.netns(), at(&pod(node.n)[family], PORT), Protocol::Tcp)).collect()
}

/// Which of them a connection from this port comes to, and both ends of it.
fn whose(world: &World, servers: &[Server], family: usize, port: u16) -> (usize, TcpStream, TcpStream) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let (own, dialled) = (Some(at(CLIENT[family], port)), at(VIP[family], DIALLED));
    let client = Way { from: world.client.netns(), own, dialled }.dial().unwrap();
    let listeners: Vec<_> = servers
        .iter()
        .map(|server| match server {
            Server::Tcp(listener) => listener,
            Server::Udp(_) => panic!("datagrams make no connections"),
        })
        .collect();
    let mut waiting: Vec<_> =
        listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)).collect();
    assert_eq!(poll(&mut waiting, PollTimeout::from(5000_u16)).unwrap(), 1);
    let heard = waiting.iter().position(|fd| fd.any().unwrap()).unwrap();
    let (server, saw) = listeners[heard].accept().unwrap();
    assert_eq!(saw, own.unwrap());
    (heard + 1, client, server)
}

/// A router may send a connection's packets to another node at any time: that node finds the same backend.
#[test]
fn connections_go_on_by_another_node() {
    let mut world = World::new("maglev");
    world.tables();
    let mut datapaths = world.open();
    converge_all(&world, &mut datapaths, || agreed(&[1, 2, 3]));
    for family in [0, 1] {
        let servers = listeners(&world, family);
        world.lead_to(1);
        // By chance alone each pod would be missing from twenty once in a thousand runs; which port goes where is fixed.
        let mut ends: Vec<_> = (0..20).map(|n| whose(&world, &servers, family, 40_000 + n)).collect();
        assert!((1..=3).all(|n| ends.iter().any(|(heard, ..)| *heard == n)));
        for n in [2, 3, 1] {
            world.lead_to(n);
            for (_, client, server) in &mut ends {
                echo(client, server, 5000);
            }
        }
    }
    // A node that has no table leaves such segments to its stack, as always.
    let servers = listeners(&world, 0);
    world.lead_to(1);
    let (_, mut client, _server) = whose(&world, &servers, 0, 41_000);
    converge(&mut datapaths[1], &world.nodes[1].knowing(vip(&[1, 2, 3])));
    world.lead_to(2);
    client.write_all(b"?").unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let _ = client.read(&mut [0; 1]).expect_err("nobody answers there");
}

/// All nodes agree on where a flow leads, and a dead node's flows alone go elsewhere.
#[test]
fn nodes_agree_on_backends() {
    let mut world = World::new("maglevagree");
    world.tables();
    let mut datapaths = world.open();
    converge_all(&world, &mut datapaths, || agreed(&[1, 2, 3]));
    let servers = listeners(&world, 0);
    let by = |n: usize, base: u16| -> Vec<usize> {
        use nix::sys::socket::{setsockopt, sockopt};
        world.lead_to(n);
        let dial = |port| {
            let (heard, client, _server) = whose(&world, &servers, 0, base + port);
            // It ends at once, so that its port may be used again.
            let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&client, sockopt::Linger, &at_once).unwrap();
            heard
        };
        (0..12).map(dial).collect()
    };
    let first = by(1, 42_000);
    assert_eq!(by(2, 42_000), first);
    assert_eq!(by(3, 42_000), first);
    converge_all(&world, &mut datapaths, || agreed(&[1, 2, 3]).dead(&[3]));
    let (one, two) = (by(1, 42_000), by(2, 42_000));
    assert_eq!(one, two, "also where they go instead");
    for (was, is) in first.iter().zip(&one) {
        assert!(was == is || *was == 3, "{first:?} became {one:?}");
    }
    assert!(!one.contains(&3));
    // A change of the table's size is a change of the table.
    for datapath in &mut datapaths {
        let mut wanted = world.nodes[0].knowing(agreed(&[1, 2, 3]));
        for (key, places) in &mut wanted.state.tables {
            let size = 509.try_into().unwrap();
            *places = table(&wanted.state.sets[&key.set], size).expect("they fit").into();
        }
        for outside in wanted.state.outside.values_mut() {
            outside.ladder.table = Some(509.try_into().unwrap());
        }
        converge(datapath, &wanted);
        converge(datapath, &Wanted::default());
    }
}
