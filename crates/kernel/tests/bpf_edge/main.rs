//! Services for clients that no socket hook sees, in real packets.

#[path = "../bpf_common/mod.rs"]
mod bpf_common;
mod limits;
#[path = "../net_common/mod.rs"]
mod net_common;
mod sctp;
mod talk;
mod world;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use bpf_common::{Wanted, backend, converge, counted, ip};
use causeway_kernel::bpf::{Datapath, TcHook};
use causeway_kernel::netns::Netns;
use engine::plan::{Backend, Otherwise, Outside};
use model::{Protocol, Tier};
use talk::{Server, Way, datagram, echo, who_is_dialled};
use world::{CLIENT, FAR, MESH, NEAR, NODE, OTHER, World};

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];
const PORT: u16 = 8080;

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// One backend, on no node that could be dead.
fn one(address: &str, port: u16) -> [Backend; 1] {
    [backend(&at(address, port).to_string(), 0)]
}

fn way<'a>(from: &'a Netns, dialled: SocketAddr) -> Way<'a> {
    Way { from, own: None, dialled }
}

/// A backend that answers, dialled at an address.
struct Case<'a> {
    from: &'a Netns,
    dialled: SocketAddr,
    runs: &'a Netns,
    backend: SocketAddr,
    /// Whom the backend sees.
    sees: &'a str,
}

fn check(cases: &[Case<'_>], bytes: usize) {
    for Case { from, dialled, runs, backend, sees } in cases {
        for protocol in BOTH {
            let server = Server::new(runs, *backend, protocol);
            let bytes = if protocol == Protocol::Tcp { bytes } else { bytes.min(1000) };
            let saw = server.hears(way(from, *dialled), bytes);
            let saw = saw.unwrap_or_else(|| panic!("{protocol} to {dialled} did not arrive at {backend}"));
            assert_eq!(saw.ip(), ip(sees), "{protocol} to {dialled}, at {backend}");
        }
    }
}

/// Every node port of the cases, with or without masquerade.
fn node_ports(cases: &[Case<'_>], masquerade: bool) -> Wanted {
    cases.iter().fold(Wanted::default(), |wanted, case| {
        let backends = one(&case.backend.ip().to_string(), case.backend.port());
        BOTH.into_iter().fold(wanted, |wanted, protocol| {
            wanted.outside(&case.dialled.to_string(), protocol, &backends, |o| o.masquerade = masquerade)
        })
    })
}

/// The node's own pod and another's, in both families, masqueraded.
fn masqueraded(world: &World) -> Vec<Case<'_>> {
    let (client, pod, far) = (world.client.netns(), world.pod.netns(), world.far.netns());
    let case = |port, runs, address: &[&str; 2], family: usize| Case {
        from: client,
        dialled: at(NODE[family], port),
        runs,
        backend: at(address[family], PORT),
        sees: MESH[family],
    };
    [0, 1].into_iter().flat_map(|f| [case(30001, pod, &NEAR, f), case(30002, far, &FAR, f)]).collect()
}

#[test]
fn a_node_port_leads_to_pods_of_this_node_and_others() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let world = World::new("edge", tc);
        let mut datapath = world.open();
        let cases = masqueraded(&world);
        converge(&mut datapath, &node_ports(&cases, true));
        world.node.leave(|| check(&cases, 1000));
        assert_eq!(counted(&datapath, "edge_opened"), 8, "{tc:?}");
        assert!(counted(&datapath, "edge_reply") >= 8, "{tc:?}");
    }
}

#[test]
fn super_packets_stay_together_and_checksums_are_right() {
    for offloads in [true, false] {
        let world = World::new("edgebulk", TcHook::Best);
        let mut datapath = world.open();
        let cases = masqueraded(&world);
        converge(&mut datapath, &node_ports(&cases, true));
        if !offloads {
            for (netns, device) in [
                (&world.client, "eth0"),
                (&world.pod, "eth0"),
                (&world.node.net, "eth0"),
                (&world.node.net, "cwpod0"),
            ] {
                netns.run(&format!("ethtool -K {device} tx off rx off gso off tso off gro off"));
            }
        }
        world.node.leave(|| check(&cases, 1 << 20));
        let packets = counted(&datapath, "edge_forward") + counted(&datapath, "edge_reply");
        let segments = 2 * 4 * (1 << 20) / 1448;
        assert_eq!(packets < segments, offloads, "{packets} packets for at least {segments} segments");
    }
}

#[test]
fn without_masquerade_backends_see_the_client() {
    let world = World::new("edgelocal", TcHook::Best);
    let mut datapath = world.open();
    let node = world.node.net.netns();
    let case = |port, runs, backend, family: usize| Case {
        from: world.client.netns(),
        dialled: at(NODE[family], port),
        runs,
        backend,
        sees: CLIENT[family],
    };
    let families = [0, 1].into_iter();
    let pods = families.clone().map(|f| case(30003, world.pod.netns(), at(NEAR[f], PORT), f));
    // Who listens in the node's own network cannot see another address of the node, so it sees the client, too.
    let hosts = families.map(|f| case(30004, node, at(NODE[f], 9090), f));
    let cases: Vec<_> = pods.chain(hosts).collect();
    // A client's own choice of an IPv6 address is not what this is about.
    world.client.run(&format!("ip addr change {}/64 dev eth0 nodad preferred_lft 0", OTHER[1]));
    converge(&mut datapath, &node_ports(&cases, false));
    world.node.leave(|| check(&cases, 1000));
}

#[test]
fn virtual_addresses_are_dialled_in_packets() {
    let world = World::new("edgevip", TcHook::Best);
    let mut datapath = world.open();
    let (client, pod, far) = (world.client.netns(), world.pod.netns(), world.far.netns());
    let (near, away) = (["10.101.0.1", "fd00:101::1"], ["10.101.0.2", "fd00:101::2"]);
    let mut wanted = Wanted::default();
    let mut cases = Vec::new();
    for f in [0, 1] {
        for (vip, address) in [(near[f], NEAR[f]), (away[f], FAR[f])] {
            for protocol in BOTH {
                let tiers: &[(Tier, &[Backend])] = &[(Tier::Cluster, &one(address, PORT))];
                wanted = wanted.service(&at(vip, 80).to_string(), protocol, tiers);
            }
        }
        let case = |from, vip, runs, address, sees| Case {
            from,
            dialled: at(vip, 80),
            runs,
            backend: at(address, PORT),
            sees,
        };
        cases.extend([
            case(client, near[f], pod, NEAR[f], MESH[f]),
            case(client, away[f], far, FAR[f], MESH[f]),
            // A pod is seen by its own address, but for itself.
            case(pod, away[f], far, FAR[f], NEAR[f]),
            case(pod, near[f], pod, NEAR[f], MESH[f]),
        ]);
    }
    converge(&mut datapath, &wanted);
    world.node.leave(|| check(&cases, 1000));
}

#[test]
fn who_may_not_or_finds_nobody() {
    let world = World::new("edgedeny", TcHook::Best);
    let mut datapath = world.open();
    let client = world.client.netns();
    let [only, nobody, elsewhere] = [30007, 30005, 30006].map(|port| at(NODE[0], port));
    let ranges = |wanted: Wanted, ranges: &[&str]| {
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        wanted.outside(&only.to_string(), Protocol::Tcp, &one(NEAR[0], PORT), |o| o.sources = Some(ranges))
    };
    let rest = || {
        Wanted::default().outside(&nobody.to_string(), Protocol::Tcp, &[], |_| {}).outside(
            &elsewhere.to_string(),
            Protocol::Tcp,
            &[],
            |o| o.otherwise = Otherwise::Drop,
        )
    };
    let server = Server::new(world.pod.netns(), at(NEAR[0], PORT), Protocol::Tcp);
    let as_whom = |own: &str| Way { from: client, own: Some(at(own, 0)), dialled: only };
    let timed_out = |way: Way<'_>| {
        // What connect(2) says when a socket's own timeout ends it.
        assert_eq!(way.dial_in_vain().raw_os_error(), Some(nix::libc::EINPROGRESS));
    };
    for (allowed, other, list) in [
        (CLIENT[0], OTHER[0], &["198.51.100.0/24", "192.0.2.9/32"][..]),
        (OTHER[0], CLIENT[0], &["192.0.2.10/32"]),
    ] {
        converge(&mut datapath, &ranges(rest(), list));
        world.node.leave(|| {
            assert!(server.hears(as_whom(allowed), 10).is_some());
            timed_out(as_whom(other));
        });
    }
    assert!(counted(&datapath, "edge_denied") >= 2);
    world.node.leave(|| {
        assert_eq!(way(client, nobody).dial().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        timed_out(way(client, elsewhere));
    });
    assert!(counted(&datapath, "edge_no_backend") >= 1);
    assert_eq!(counted(&datapath, "edge_refused"), 1);
    converge(&mut datapath, &Wanted::default());
}

#[test]
fn two_clients_may_have_one_port() {
    let world = World::new("edgetwo", TcHook::Best);
    let mut datapath = world.open();
    let dialled = at(NODE[0], 30002);
    for protocol in BOTH {
        converge(
            &mut datapath,
            &Wanted::default().outside(&dialled.to_string(), protocol, &one(FAR[0], PORT), |_| {}),
        );
        let server = Server::new(world.far.netns(), at(FAR[0], PORT), protocol);
        let own = |own: &str| Way { from: world.client.netns(), own: Some(at(own, 5555)), dialled };
        world.node.leave(|| match &server {
            Server::Udp(server) => {
                let sockets = [own(CLIENT[0]).socket(), own(OTHER[0]).socket()];
                let [one, two] = [0, 1].map(|i| datagram(&sockets[i], server, 10).unwrap());
                assert_ne!(one.port(), two.port());
                assert_eq!(datagram(&sockets[0], server, 20), Some(one));
            }
            Server::Tcp(listener) => {
                let mut ends = [CLIENT[0], OTHER[0]].map(|address| {
                    let client = own(address).dial().unwrap();
                    (client, listener.accept().unwrap())
                });
                assert_ne!(ends[0].1.1, ends[1].1.1);
                for (client, (server, _)) in &mut ends {
                    echo(client, server, 1000);
                }
            }
        });
    }
}

#[test]
fn a_client_comes_back_to_its_backend() {
    let world = World::new("edgeaffinity", TcHook::Best);
    let mut datapath = world.open();
    let dialled = at(NODE[0], 30010);
    let backends = [one(NEAR[0], PORT), one(FAR[0], PORT)].concat();
    let sticky = |o: &mut Outside| o.ladder.affinity = 600;
    converge(
        &mut datapath,
        &Wanted::default().outside(&dialled.to_string(), Protocol::Tcp, &backends, sticky),
    );
    let servers = [(world.pod.netns(), NEAR[0]), (world.far.netns(), FAR[0])]
        .map(|(netns, address)| Server::new(netns, at(address, PORT), Protocol::Tcp));
    // From a port of its own each: who dials again from one is known by its flow.
    let dial = |n: u16| {
        let client = Way { own: Some(at(CLIENT[0], 40_000 + n)), ..way(world.client.netns(), dialled) };
        world.node.leave(|| who_is_dialled(client, &servers))
    };
    // By chance alone they would be together once in 2048 runs.
    let first = dial(0);
    for n in 1..12 {
        assert_eq!(dial(n), first);
    }
    assert_eq!(counted(&datapath, "lb_affinity"), 11);
}

#[test]
fn flows_outlive_what_made_them() {
    let world = World::new("edgeflow", TcHook::Best);
    let mut datapath = world.open();
    let dialled = at(NODE[0], 30009);
    let to = |wanted: Wanted, backends: &[Backend]| {
        BOTH.into_iter()
            .fold(wanted, |wanted, protocol| wanted.outside(&dialled.to_string(), protocol, backends, |_| {}))
    };
    let (near, far) = (one(NEAR[0], PORT), one(FAR[0], PORT));
    let both = |protocol| {
        [(world.pod.netns(), NEAR[0]), (world.far.netns(), FAR[0])]
            .map(|(netns, address)| Server::new(netns, at(address, PORT), protocol))
    };
    let client = way(world.client.netns(), dialled);
    let [Server::Tcp(listener), _] = &both(Protocol::Tcp) else { panic!("TCP was asked for") };
    let [Server::Udp(here), Server::Udp(there)] = &both(Protocol::Udp) else { panic!("UDP was asked for") };
    converge(&mut datapath, &to(Wanted::default(), &near));
    let (mut stream, socket) = world.node.leave(|| (client.dial().unwrap(), client.socket()));
    let (mut server, _) = listener.accept().unwrap();
    world.node.leave(|| assert!(datagram(&socket, here, 10).is_some()));
    // The service leaves the backend: a connection stays, datagrams go where the service is now.
    converge(&mut datapath, &to(Wanted::default(), &far));
    echo(&mut stream, &mut server, 1000);
    assert!(datagram(&socket, there, 10).is_some());
    // So do those to a dead node.
    let mortal = [Backend { node: 1, ..near[0] }, Backend { node: 2, ..far[0] }];
    converge(&mut datapath, &to(Wanted::default(), &mortal).dead(&[2]));
    assert!(datagram(&socket, here, 10).is_some());
    converge(&mut datapath, &to(Wanted::default(), &mortal).dead(&[1]));
    assert!(datagram(&socket, there, 10).is_some());
    // And a restart is not felt.
    drop(datapath);
    let mut datapath = world.open();
    echo(&mut stream, &mut server, 1000);
    // The service itself is gone: the connection is not.
    converge(&mut datapath, &Wanted::default());
    echo(&mut stream, &mut server, 1000);
    world.node.leave(|| assert_eq!(client.dial().unwrap_err().kind(), ErrorKind::ConnectionRefused));
}

#[test]
fn the_tunnel_may_come_again() {
    let world = World::new("edgetunnel", TcHook::Best);
    let mut datapath = world.open();
    let cases = masqueraded(&world);
    converge(&mut datapath, &node_ports(&cases, true));
    world.bury();
    world.dig();
    world.node.inside(|| datapath.serve_outside(&MESH.map(ip))).unwrap();
    world.node.leave(|| check(&cases, 1000));
    // Without any tunnel the node's own pods are served.
    world.bury();
    world.node.inside(|| datapath.serve_outside(&MESH.map(ip))).unwrap();
    world.node.leave(|| check(&cases[..1], 1000));
    world.dig();
}

#[test]
fn unloaded_nothing_is_served() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let world = World::new("edgegone", tc);
        let mut datapath = world.open();
        let cases = masqueraded(&world);
        converge(&mut datapath, &node_ports(&cases, true));
        drop(datapath);
        world.node.leave(|| check(&cases, 10));
        world.node.inside(|| Datapath::unload(&world.node.options.pin_dir)).unwrap();
        let dialled = cases[0].dialled;
        world.node.leave(|| {
            let refused = way(world.client.netns(), dialled).dial().unwrap_err().kind();
            assert_eq!(refused, ErrorKind::ConnectionRefused, "{tc:?}");
        });
        for device in ["eth0", "cw0", "cwpod0"] {
            for direction in ["ingress", "egress"] {
                assert_eq!(
                    world.node.net.run(&format!("tc filter show dev {device} {direction}")),
                    "",
                    "{tc:?}"
                );
            }
        }
    }
}

/// The service of every way to the near pod and the far one, by UDP.
fn datagrams(masquerade: bool, backend: &str, dialled: SocketAddr, port: u16) -> Wanted {
    let backends = one(backend, port);
    Wanted::default().outside(&dialled.to_string(), Protocol::Udp, &backends, |o| o.masquerade = masquerade)
}

#[test]
fn errors_find_their_way_back() {
    let world = World::new("edgeerror", TcHook::Best);
    let mut datapath = world.open();
    // Nobody listens there: who dialled is told, by whichever of the ways the answers go.
    for (backend, family, masquerade) in [
        (NEAR[0], 0, true),
        (NEAR[1], 1, true),
        (FAR[0], 0, true),
        (FAR[1], 1, true),
        (NEAR[0], 0, false),
        (NEAR[1], 1, false),
        (NODE[0], 0, false),
        (NODE[1], 1, false),
    ] {
        let dialled = at(NODE[family], 30008);
        converge(&mut datapath, &datagrams(masquerade, backend, dialled, 7777));
        world.node.leave(|| {
            let socket = way(world.client.netns(), dialled).socket();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
            socket.send(b"?").unwrap();
            let told = socket.recv(&mut [0; 8]).unwrap_err().kind();
            assert_eq!(told, ErrorKind::ConnectionRefused, "{backend}, masquerade {masquerade}");
        });
    }
    assert_eq!(counted(&datapath, "edge_error"), 8);
}

#[test]
fn fragments_follow_their_first() {
    let world = World::new("edgefragment", TcHook::Best);
    let mut datapath = world.open();
    for (backend, runs, family, masquerade) in [
        (NEAR[0], &world.pod, 0, true),
        (NEAR[1], &world.pod, 1, true),
        (FAR[0], &world.far, 0, true),
        (FAR[1], &world.far, 1, true),
        (NEAR[0], &world.pod, 0, false),
        (NODE[0], &world.node.net, 0, false),
    ] {
        let dialled = at(NODE[family], 30001);
        converge(&mut datapath, &datagrams(masquerade, backend, dialled, PORT));
        let server = Server::new(runs.netns(), at(backend, PORT), Protocol::Udp);
        world.node.leave(|| {
            let heard = server.hears(way(world.client.netns(), dialled), 4000);
            assert!(heard.is_some(), "{backend}, masquerade {masquerade}");
        });
    }
    assert_eq!(counted(&datapath, "edge_fragment"), 0);
}

/// The pod's and the tunnel's packets are smaller than the wire's, as always in a mesh.
#[test]
fn senders_learn_what_fits() {
    let world = World::new("edgemtu", TcHook::Best);
    let mut datapath = world.open();
    for (netns, device) in [(&world.node.net, "cwpod0"), (&world.pod, "eth0"), (&world.node.net, "cw0")] {
        netns.run(&format!("ip link set {device} mtu 1420"));
    }
    for (backend, runs, family) in
        [(NEAR[0], &world.pod, 0), (NEAR[1], &world.pod, 1), (FAR[0], &world.far, 0), (FAR[1], &world.far, 1)]
    {
        let dialled = at(NODE[family], 30001);
        converge(&mut datapath, &datagrams(true, backend, dialled, PORT));
        world.client.run("ip route flush cache");
        world.client.run("ip -6 route flush cache");
        let Server::Udp(server) = Server::new(runs.netns(), at(backend, PORT), Protocol::Udp) else {
            panic!("UDP was asked for")
        };
        world.node.leave(|| {
            let socket = way(world.client.netns(), dialled).socket();
            // Linux sets DF by itself: the first one is lost, and says what fits.
            socket.send(&[0; 1440]).unwrap();
            let route = format!("ip route get {}", dialled.ip());
            let learnt = || world.client.run(&route).contains("mtu 1420");
            assert!((0..100).any(|_| learnt()), "{}", world.client.run(&route));
            assert_eq!(socket.take_error().unwrap().unwrap().raw_os_error(), Some(nix::libc::EMSGSIZE));
            let saw = datagram(&socket, &server, 1300).unwrap();
            assert_eq!(saw.ip(), ip(MESH[family]), "the way was chosen for a packet that did not go it");
        });
    }
    assert_eq!(counted(&datapath, "edge_too_big"), 4);
}

/// A home behind a router whose wire is narrow: backends learn of it from that router's errors.
#[test]
fn backends_learn_what_fits_on_the_way_to_the_client() {
    let world = World::new("edgehome", TcHook::Best);
    let home = net_common::TestNetns::new("bpf_edgehome_home");
    let client = &world.client;
    client.run(&format!("ip link add lan type veth peer name eth0 netns {}", home.name()));
    client.run("sysctl -qw net.ipv4.ip_forward=1");
    for (netns, device, address) in [(client, "lan", "198.51.100.1/24"), (&home, "eth0", "198.51.100.2/24")] {
        netns.run(&format!("ip addr add {address} dev {device}"));
        netns.run(&format!("ip link set {device} mtu 1300 up"));
    }
    home.run("ip route add default via 198.51.100.1");
    world.node.net.run(&format!("ip route add 198.51.100.0/24 via {}", CLIENT[0]));
    let mut datapath = world.open();
    for (masquerade, backend, runs, sees) in [
        (true, NEAR[0], &world.pod, MESH[0]),
        (true, FAR[0], &world.far, MESH[0]),
        (false, NEAR[0], &world.pod, "198.51.100.2"),
    ] {
        let dialled = at(NODE[0], 30001);
        converge(&mut datapath, &datagrams(masquerade, backend, dialled, PORT));
        let Server::Udp(server) = Server::new(runs.netns(), at(backend, PORT), Protocol::Udp) else {
            panic!("UDP was asked for")
        };
        world.node.leave(|| {
            let socket: UdpSocket = way(home.netns(), dialled).socket();
            let saw = datagram(&socket, &server, 10).unwrap();
            assert_eq!(saw.ip(), ip(sees));
            server.send_to(&[0; 1350], saw).unwrap();
            let route = format!("ip route get {sees}");
            let learnt = || runs.run(&route).contains("mtu 1300");
            assert!((0..100).any(|_| learnt()), "{}", runs.run(&route));
        });
    }
    assert_eq!(counted(&datapath, "edge_error"), 3);
}

/// A way through the mesh carries less than its device takes: who opens a connection says so, and senders of datagrams are told.
#[test]
fn what_a_way_through_the_mesh_carries_is_said() {
    use nix::sys::socket::{getsockopt, sockopt};
    for tc in [TcHook::Best, TcHook::Clsact] {
        let world = World::new("edgenarrow", tc);
        let mut datapath = world.open();
        for family in [0, 1] {
            let (dialled, backend) = (at(NODE[family], 30001), at(FAR[family], PORT));
            let backends = one(FAR[family], PORT);
            let mut wanted = BOTH.into_iter().fold(Wanted::default(), |wanted, protocol| {
                wanted.outside(&dialled.to_string(), protocol, &backends, |_| {})
            });
            let mtus = [("0.0.0.0/0", 1420), ("::/0", 1420), ("10.1.2.0/24", 1300), ("fd00:1:2::/64", 1300)];
            wanted.state.mtus = mtus.map(|(range, mtu)| (range.parse().unwrap(), mtu)).into();
            converge(&mut datapath, &wanted);
            let Server::Tcp(listener) = Server::new(world.far.netns(), backend, Protocol::Tcp) else {
                panic!("TCP was asked for")
            };
            let Server::Udp(server) = Server::new(world.far.netns(), backend, Protocol::Udp) else {
                panic!("UDP was asked for")
            };
            world.node.leave(|| {
                for (who, way) in [
                    ("a client", way(world.client.netns(), dialled)),
                    ("a pod", way(world.pod.netns(), backend)),
                    ("the node", way(world.node.net.netns(), backend)),
                ] {
                    let client = way.dial().unwrap();
                    let (server, _) = listener.accept().unwrap();
                    for (end, stream) in [(who, &client), ("the backend", &server)] {
                        let segment = getsockopt(stream, sockopt::TcpMaxSeg).unwrap();
                        // Timestamps are in all of them.
                        assert_eq!(segment + 12, [1260, 1240][family], "{tc:?}: {end}, dialled by {who}");
                    }
                }
                let socket = way(world.client.netns(), dialled).socket();
                socket.send(&[0; 1350]).unwrap();
                let route = format!("ip route get {}", dialled.ip());
                let learnt = || world.client.run(&route).contains("mtu 1300");
                assert!((0..100).any(|_| learnt()), "{}", world.client.run(&route));
                assert_eq!(socket.take_error().unwrap().unwrap().raw_os_error(), Some(nix::libc::EMSGSIZE));
                datagram(&socket, &server, 1300 - [28, 48][family]).unwrap();
            });
        }
        assert_eq!(counted(&datapath, "edge_too_big"), 2);
    }
}
