//! What there is so much of and no more: source ports, and errors that the node tells.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use causeway_kernel::bpf::TcHook;
use model::Protocol;

use crate::bpf_common::{converge, counted};
use crate::world::{CLIENT, FAR, NEAR, NODE, World};
use crate::{PORT, at, datagrams, one};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn source_ports_run_out_and_come_back() {
    let mut world = World::new("edgeports", TcHook::Best);
    let idle = Duration::from_secs(10);
    world.node.options.flow_idle = idle;
    // More than there are source ports: flows are not what runs out.
    world.node.options.flows = 100_000;
    let mut datapath = world.open();
    let (dialled, backend) = (at(NODE[0], 30001), at(NEAR[0], PORT));
    converge(&mut datapath, &datagrams(true, NEAR[0], dialled, PORT));
    let open = |netns: &causeway_kernel::netns::Netns, own| {
        let socket = netns.run(|| UdpSocket::bind(own).unwrap()).expect("enter the namespace");
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let server = open(world.pod.netns(), backend);
    let heard = || {
        let mut buffer = [0; 8];
        std::iter::from_fn(|| server.recv_from(&mut buffer).ok()).count() as u64
    };
    // One datagram from each of so many ports; how many of them arrived.
    let send = |first: u16, count: u16| {
        let send = || {
            for port in first..first + count {
                UdpSocket::bind(at(CLIENT[0], port)).unwrap().send_to(b"?", dialled).unwrap();
            }
        };
        world.client.netns().run(send).expect("enter the namespace");
        heard()
    };
    // Of 100 some do not find a port that is free, then most.
    let (mut ports, mut sent, mut arrived) = ((10_000..60_000).step_by(100), 0, 0);
    while counted(&datapath, "edge_no_port") < 2000 {
        let first = ports.next().unwrap_or_else(|| panic!("18,000 source ports are enough for {sent} flows"));
        arrived += send(first, 100);
        sent += 100;
    }
    let (opened, without) = (counted(&datapath, "edge_opened"), counted(&datapath, "edge_no_port"));
    assert_eq!(opened + without, sent);
    assert_eq!(arrived, opened, "what has no port is dropped");
    assert!((9_000..=18_000).contains(&opened), "of 18,000 ports {opened} were used");
    // Another backend has all ports to itself.
    let other = at(NODE[0], 30002);
    let both = datagrams(true, NEAR[0], dialled, PORT);
    let both = both.outside(&other.to_string(), Protocol::Udp, &one(FAR[0], PORT), |_| {});
    converge(&mut datapath, &both);
    let far = open(world.far.netns(), at(FAR[0], PORT));
    far.set_nonblocking(false).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = open(world.client.netns(), at(CLIENT[0], 9_999));
    client.send_to(b"?", other).unwrap();
    far.recv_from(&mut [0; 8]).unwrap();
    // Those of silent flows are given again.
    let begun = Instant::now();
    while send(ports.next().expect("ports are left"), 100) < 100 {
        assert!(begun.elapsed() < PATIENCE, "no port comes back");
        #[expect(clippy::disallowed_methods, reason = "the kernel tells nobody that a flow has become idle")]
        std::thread::sleep(idle / 20);
    }
}

#[test]
fn so_many_errors_are_told_in_a_second() {
    let world = World::new("edgetold", TcHook::Best);
    let mut datapath = world.open();
    let dialled = at(NODE[0], 30001);
    converge(&mut datapath, &datagrams(true, NEAR[0], dialled, PORT));
    let socket = world.client.netns().run(|| UdpSocket::bind(at(CLIENT[0], 0)).unwrap());
    let socket = socket.expect("enter the namespace");
    socket.set_ttl(1).unwrap();
    // What the client's kernel has heard of packets that crossed too many routers.
    let heard = || -> u64 {
        let text = world.client.run("cat /proc/net/snmp");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let at = names.split(' ').position(|name| name == "InTimeExcds").unwrap();
        values.split(' ').nth(at).unwrap().parse().unwrap()
    };
    const SENT: u64 = 3000;
    let begun = Instant::now();
    for _ in 0..SENT {
        socket.send_to(b"?", dialled).unwrap();
    }
    let took = begun.elapsed();
    assert_eq!(counted(&datapath, "edge_expired"), SENT);
    let told = SENT - counted(&datapath, "edge_untold");
    assert_eq!(heard(), told);
    // 50 at once, and one more every millisecond.
    let most = 50 + took.as_millis() as u64 + 1;
    assert!((50..=most).contains(&told), "{told} were told within {took:?}");
    assert!(told < SENT, "{SENT} packets took {took:?}: too long to see a limit");
    // After a moment of silence it is told again.
    let begun = Instant::now();
    while heard() == told {
        assert!(begun.elapsed() < PATIENCE, "nothing is told any more");
        socket.send_to(b"?", dialled).unwrap();
    }
}
