//! The packet path as the agent sees it: what was applied is observed, restarts are not felt, nothing stays behind.

mod bpf_common;
mod net_common;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bpf_common::{TestNode, Wanted, backend, converge, counted, ip};
use causeway_kernel::bpf::{Datapath, TcHook};
use causeway_kernel::netns::Netns;
use engine::plan::{Op, Otherwise, diff};
use ipnet::IpNet;
use model::{Protocol, Tier};

const VIP: &str = "10.101.0.1:80";

fn ranges(ranges: &[&str]) -> BTreeSet<IpNet> {
    ranges.iter().map(|range| range.parse().unwrap()).collect()
}

/// Two services that share a backend, ranges of every length, the dead.
fn rich() -> Wanted {
    let near = [backend("10.1.0.2:8080", 1), backend("10.1.0.3:8080", 2)];
    let far = [backend("[fd00:2::2]:53", 3), backend("[fd00:2::2]:53", 3)];
    Wanted::default()
        .service(VIP, Protocol::Tcp, &[(Tier::Node, &near[..1]), (Tier::Elsewhere, &near[1..])])
        .service("[fd00:101::1]:53", Protocol::Udp, &[(Tier::Zone, &far), (Tier::Elsewhere, &far[..1])])
        .service("10.101.0.2:443", Protocol::Tcp, &[])
        .service("10.101.0.3:7", Protocol::Sctp, &[(Tier::Region, &near)])
        .outside("192.0.2.1:30080", Protocol::Tcp, &near[..1], |o| o.masquerade = false)
        .outside("[2001:db8::1]:30053", Protocol::Udp, &far, |o| o.otherwise = Otherwise::Drop)
        .outside("192.0.2.7:443", Protocol::Tcp, &near, |o| o.sources = Some(ranges(&["0.0.0.0/0"])))
        .outside("192.0.2.8:443", Protocol::Tcp, &near, |o| o.sources = Some(BTreeSet::new()))
        .dead(&[2, 9, u64::MAX])
        .guarded(&["10.1.0.0/16", "10.2.3.4/32", "fd00:1::/48", "fd00::1/128", "0.0.0.0/0", "::/0"])
}

#[test]
fn what_was_applied_is_observed() {
    let node = TestNode::new("observe", &[]);
    let mut datapath = node.open();
    let empty = Wanted::default();
    let other = Wanted::default()
        .service(VIP, Protocol::Tcp, &[(Tier::Cluster, &[backend("10.1.0.3:8080", 2)])])
        .outside("192.0.2.7:443", Protocol::Tcp, &[], |o| {
            o.sources = Some(ranges(&["10.0.0.0/8", "192.0.2.9/32", "2001:db8::/32"]));
        })
        .dead(&[1])
        .guarded(&["10.1.0.0/16", "fd00:2::/48"]);
    for wanted in [&empty, &rich(), &other, &rich(), &empty, &other] {
        converge(&mut datapath, wanted);
    }
    // What is others' business is left to them, and said so.
    assert!(!datapath.apply(&Op::TunnelPort(51820)).unwrap());
    assert!(datapath.apply(&Op::MarkDead(77)).unwrap());
    // What is gone already may be deleted.
    assert!(datapath.apply(&Op::DeleteSet(12345, 10)).unwrap());
    assert!(datapath.apply(&Op::MarkAlive(4711)).unwrap());
}

#[test]
fn a_removal_that_was_interrupted_is_finished() {
    let node = TestNode::new("half", &[]);
    let mut datapath = node.open();
    converge(&mut datapath, &rich());
    let many: Vec<_> = (1..=9).map(|n| backend("10.1.0.9:9", n)).collect();
    let long = rich().service("10.101.0.9:9", Protocol::Tcp, &[(Tier::Zone, &many)]);
    converge(&mut datapath, &long);
    let id = long.state.sets.iter().find(|(_, set)| set.len() == many.len()).unwrap().0;
    // Without its beginning it is told as long as it reaches.
    for count in [5, 1] {
        datapath.apply(&Op::DeleteSet(*id, count)).unwrap();
        let held = datapath.observe().unwrap().sets;
        assert!(held[id].len() == many.len() && held[id] != many, "{held:?}");
        converge(&mut datapath, &long);
    }
    converge(&mut datapath, &rich());
    converge(&mut datapath, &Wanted::default());
}

#[test]
fn ten_thousand_services() {
    let node = TestNode::new("many", &[]);
    let mut datapath = node.open();
    let mut wanted = Wanted::default();
    for n in 0..10_000_u32 {
        let backends = [0, 1].map(|i| backend(&format!("10.{}.{}.{}:80", n >> 16, n >> 8 & 255, n & 255), i));
        let vip = format!("10.101.{}.{}:80", n >> 8 & 255, n & 255);
        wanted = wanted.service(&vip, Protocol::Tcp, &[(Tier::Cluster, &backends)]);
    }
    let ops = diff(&datapath.observe().unwrap(), &wanted.state);
    let start = Instant::now();
    datapath.apply_all(&ops).unwrap();
    let applied = start.elapsed();
    assert_eq!(datapath.observe().unwrap(), wanted.state);
    println!("{} operations applied in {applied:?}, observed in {:?}", ops.len(), start.elapsed() - applied);
}

#[test]
fn a_restart_is_not_felt() {
    let node = TestNode::new("restart", &[]);
    let mut datapath = node.open();
    let vip: SocketAddr = VIP.parse().unwrap();
    let wanted = Wanted::default()
        .service(VIP, Protocol::Tcp, &[(Tier::Node, &[backend("127.0.0.11:8080", 1)])])
        .guarded(&["10.1.0.0/16"]);
    converge(&mut datapath, &wanted);
    let links = || links(&node);
    let before = links();
    assert_eq!(before.len(), 10, "{before:?}");
    drop(datapath);
    let done = AtomicBool::new(false);
    let dials = node.inside(|| {
        let listener = TcpListener::bind("127.0.0.11:8080").unwrap();
        std::thread::scope(|scope| {
            let dialling = scope.spawn(|| {
                let mut dials = 0;
                while !done.load(Ordering::Relaxed) {
                    let stream = TcpStream::connect(vip).expect("a dial during a restart");
                    assert_eq!(stream.peer_addr().unwrap(), vip);
                    listener.accept().unwrap();
                    dials += 1;
                }
                dials
            });
            for _ in 0..5 {
                let datapath = Datapath::open(node.options.clone()).unwrap();
                assert_eq!(datapath.observe().unwrap(), wanted.state);
            }
            done.store(true, Ordering::Relaxed);
            dialling.join().unwrap()
        })
    });
    assert_eq!(links(), before, "links were made anew");
    println!("{dials} dials during 5 restarts");
    assert!(dials > 0);
}

/// Numbers of the links that are pinned, by bpftool's or the kernel's account of open descriptors.
fn links(node: &TestNode) -> Vec<String> {
    let folder = node.options.pin_dir.join("links");
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let out = std::process::Command::new("bpftool").args(["link", "show", "pinned"]).arg(&path).output();
        let text = String::from_utf8_lossy(&out.expect("install bpftool").stdout).into_owned();
        let id = text.split(':').next().unwrap_or_default().to_owned();
        format!("{} {id}", path.file_name().unwrap().to_string_lossy())
    };
    let mut links: Vec<_> = std::fs::read_dir(folder).unwrap().map(number).collect();
    links.sort();
    links
}

#[test]
fn unloading_leaves_nothing() {
    let node = TestNode::new("unload", &[]);
    for tc in [TcHook::Best, TcHook::Clsact] {
        let mut node_options = node.options.clone();
        node_options.tc = tc;
        let mut datapath = node.inside(|| Datapath::open(node_options)).unwrap();
        converge(
            &mut datapath,
            &Wanted::default().service(VIP, Protocol::Tcp, &[]).guarded(&["10.1.0.0/16"]),
        );
        let dial = || node.inside(|| TcpStream::connect(VIP).unwrap_err().kind());
        assert_eq!(dial(), ErrorKind::ConnectionRefused);
        drop(datapath);
        assert_eq!(dial(), ErrorKind::ConnectionRefused, "the packet path went with the agent");
        node.unload();
        assert_eq!(dial(), ErrorKind::NetworkUnreachable, "the balancer is still there");
        assert!(!node.options.pin_dir.exists());
        let filters = node.net.run("tc filter show dev eth0 egress");
        assert_eq!(filters, "", "{tc:?}");
        node.unload();
    }
}

#[test]
fn another_layout_is_retired() {
    let node = TestNode::new("layout", &[]);
    let mut old = node.options.clone();
    old.pin_dir.set_file_name("v0");
    drop(node.inside(|| Datapath::open(old.clone())).unwrap());
    assert!(old.pin_dir.join("links/connect4").exists());
    let datapath = node.open();
    assert!(!old.pin_dir.exists());
    assert_eq!(counted(&datapath, "lb_node"), 0);
}

#[test]
fn links_of_a_lost_device_or_control_group_are_made_anew() {
    let node = TestNode::new("lost", &[]);
    let mut datapath = node.open();
    converge(&mut datapath, &Wanted::default().service(VIP, Protocol::Tcp, &[]).guarded(&["10.9.0.0/16"]));
    drop(datapath);
    node.net.run("ip link del eth0");
    node.net.run("ip link add eth0 type veth peer name wire0");
    node.net.run("ip link set eth0 up");
    node.net.run("ip link set wire0 up");
    node.renew_cgroup();
    let datapath = node.open();
    let dial = node.inside(|| TcpStream::connect(VIP).unwrap_err().kind());
    assert_eq!(dial, ErrorKind::ConnectionRefused, "the new control group is not balanced");
    send_guarded(&node);
    assert_eq!(counted(&datapath, "guard_destination"), 1);
    let pins = links(&node);
    assert_eq!(pins.len(), 10, "the pin of the lost device stayed: {pins:?}");
}

/// Sends one datagram to 10.9.0.1 by the underlay.
fn send_guarded(node: &TestNode) {
    node.net.run("ip addr replace 172.16.0.1/24 dev eth0");
    node.net.run("ip route replace 10.9.0.0/16 dev eth0");
    node.net.run("ip neigh replace 10.9.0.1 lladdr 02:00:00:00:00:01 dev eth0");
    node.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // The guard's refusal may show as an error (EPERM has no name in UDP) or not at all.
        let _ = socket.send_to(b"?", "10.9.0.1:9");
    });
}

#[test]
fn the_guard_stands_on_the_underlay() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let mut node = TestNode::new("guard", &[]);
        node.options.tc = tc;
        let mut datapath = node.open();
        send_guarded(&node);
        assert_eq!(counted(&datapath, "guard_destination"), 0, "{tc:?}");
        assert!(counted(&datapath, "guard_passed") > 0, "{tc:?}");
        converge(&mut datapath, &Wanted::default().guarded(&["10.9.0.0/16"]));
        send_guarded(&node);
        assert_eq!(counted(&datapath, "guard_destination"), 1, "{tc:?}");
        // Taken over, it still stands there, once.
        drop(datapath);
        let mut datapath = node.open();
        send_guarded(&node);
        assert_eq!(counted(&datapath, "guard_destination"), 2, "{tc:?}");
        converge(&mut datapath, &Wanted::default());
        send_guarded(&node);
        assert_eq!(counted(&datapath, "guard_destination"), 2, "{tc:?}");
    }
}

#[test]
fn a_pod_speaks_in_its_own_name_only() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let mut node = TestNode::new("pod", &[]);
        node.options.tc = tc;
        let pod = net_common::TestNetns::new("bpf_pod_inside");
        wire_pod(&node, &pod);
        let mut datapath = node.open();
        node.inside(|| datapath.add_pod("cwpod0", &[ip("10.1.0.5"), ip("fd00:1::5")])).unwrap();
        assert_eq!(datapath.pods().unwrap(), [("cwpod0".to_owned(), vec![ip("10.1.0.5"), ip("fd00:1::5")])]);
        let heard = |from: &str, to: &str| node.inside(|| hears(pod.netns(), from, to));
        assert!(heard("10.1.0.5", "10.1.0.1"), "{tc:?}");
        assert!(heard("fd00:1::5", "fd00:1::1"), "{tc:?}: neighbours must find each other");
        assert!(!heard("10.1.0.6", "10.1.0.1"), "{tc:?}");
        assert!(!heard("fd00:1::6", "fd00:1::1"), "{tc:?}");
        assert!(counted(&datapath, "pod_spoofed") >= 2, "{tc:?}");
        // An address given and one taken, and a restart.
        node.inside(|| datapath.add_pod("cwpod0", &[ip("10.1.0.6")])).unwrap();
        drop(datapath);
        let mut datapath = node.open();
        assert_eq!(datapath.pods().unwrap(), [("cwpod0".to_owned(), vec![ip("10.1.0.6")])]);
        assert!(heard("10.1.0.6", "10.1.0.1"), "{tc:?}");
        assert!(!heard("10.1.0.5", "10.1.0.1"), "{tc:?}");
        // Forgotten while it is there, and found gone at a start.
        node.inside(|| datapath.remove_pod("cwpod0")).unwrap();
        assert!(heard("10.1.0.5", "10.1.0.1"), "{tc:?}: still filtered");
        node.inside(|| datapath.add_pod("cwpod0", &[ip("10.1.0.5")])).unwrap();
        drop(datapath);
        node.net.run("ip link del cwpod0");
        let datapath = node.open();
        assert_eq!(datapath.pods().unwrap(), []);
    }
}

fn wire_pod(node: &TestNode, pod: &net_common::TestNetns) {
    node.net.run(&format!("ip link add cwpod0 type veth peer name eth0 netns {}", pod.name()));
    node.net.run("ip link set cwpod0 up");
    pod.run("ip link set eth0 up");
    for (net, device, host) in [(&node.net, "cwpod0", 1), (pod, "eth0", 5), (pod, "eth0", 6)] {
        net.run(&format!("ip addr add 10.1.0.{host}/24 dev {device}"));
        net.run(&format!("ip addr add fd00:1::{host}/64 dev {device} nodad"));
    }
}

/// Whether a datagram from the pod's address arrives here. A veth delivers while it sends: what has not come after
/// the time neighbours need to find each other does not come.
fn hears(pod: &Netns, from: &str, to: &str) -> bool {
    let here = UdpSocket::bind((ip(to), 0)).unwrap();
    here.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let there = here.local_addr().unwrap();
    let from = SocketAddr::new(ip(from), 0);
    pod.run(|| UdpSocket::bind(from).unwrap().send_to(b"?", there).unwrap()).unwrap();
    here.recv_from(&mut [0; 8]).is_ok()
}
