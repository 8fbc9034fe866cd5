//! Masquerading and host ports with real packets: a client, a node and two pods. Needs root, and Debian's `nft` to
//! read what was written.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use causeway_kernel::firewall;
use causeway_kernel::netlink::{LinkChange, Netlink, RouteKind, RouteSpec, VethEnd, sysctl};
use causeway_kernel::netns::{Netns, path_of};
use causeway_kernel::nft::{HostPort, Masquerade, Nft, Table};
use causeway_kernel::pod::{self, PodSpec, Wirer, host_ifname};
use model::Protocol;

mod net_common;
use net_common::{TestNetns, run_in};

const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const CLIENT: [&str; 2] = ["192.0.2.9", "2001:db8::9"];
const PODS: [[&str; 2]; 2] = [["10.1.0.2", "fd00:1::2"], ["10.1.0.3", "fd00:1::3"]];

/// A node with two pods, and a client on its wire that knows no way to the pods.
struct Scene {
    node: TestNetns,
    client: TestNetns,
    pods: [TestNetns; 2],
    nft: Nft,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let node = TestNetns::new(&format!("nft_{name}"));
        let client = TestNetns::new(&format!("nft_{name}_client"));
        let pods = [1, 2].map(|n| TestNetns::new(&format!("nft_{name}_pod{n}")));
        sysctl::write(node.netns(), sysctl::NODE).unwrap();
        sysctl::write(client.netns(), sysctl::POD).unwrap();
        let netlink = Netlink::open_in(node.netns()).unwrap();
        let outside = Netlink::open_in(client.netns()).unwrap();
        let end = VethEnd { netns: Some(client.netns()), ..VethEnd::named("eth0") };
        netlink.add_veth(&VethEnd::named("eth0"), &end).await.unwrap();
        for (netlink, own) in [(&netlink, NODE), (&outside, CLIENT)] {
            let index = netlink.index("eth0").await.unwrap();
            netlink.set_link(index, &LinkChange { up: Some(true), ..LinkChange::default() }).await.unwrap();
            netlink.add_address(index, format!("{}/24", own[0]).parse().unwrap()).await.unwrap();
            netlink.add_address(index, format!("{}/64", own[1]).parse().unwrap()).await.unwrap();
        }
        let wirer = Wirer::new(node.netns().try_clone().unwrap());
        for (pod, ips) in pods.iter().zip(PODS) {
            let spec = PodSpec {
                root: "/".into(),
                netns: path_of(pod.name()).unwrap(),
                ifname: "eth0".into(),
                host_ifname: host_ifname(pod.name(), "eth0"),
                ips: ips.map(ip).to_vec(),
                mtu: 1420,
                note: String::new(),
                limits: Default::default(),
            };
            wirer.add(&spec).unwrap();
            let device = format!("net/ipv4/conf/{}/route_localnet", spec.host_ifname);
            sysctl::write(node.netns(), &[sysctl::Setting::required(&device, "1")]).unwrap();
        }
        let nft = Nft::open_in(node.netns()).unwrap();
        Self { node, client, pods, nft }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(protocol: Protocol, host_ip: Option<&str>, host_port: u16, pod: &str, pod_port: u16) -> HostPort {
    HostPort { protocol, host_ip: host_ip.map(ip), host_port, pod_ip: ip(pod), pod_port }
}

/// Serves TCP and UDP at a port of both families, telling each client what address it has.
fn serve(netns: &Netns, port: u16) {
    netns
        .run(|| {
            let tcp = TcpListener::bind(("::", port)).unwrap();
            std::thread::spawn(move || {
                for stream in tcp.incoming() {
                    let mut stream = stream.unwrap();
                    let _ = write!(stream, "{}", stream.peer_addr().unwrap().ip().to_canonical());
                }
            });
            let udp = UdpSocket::bind(("::", port)).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(from.ip().to_canonical().to_string().as_bytes(), from);
                }
            });
        })
        .unwrap();
}

/// What address the server behind this one sees; none if nobody answers.
fn seen(from: &Netns, protocol: Protocol, to: &str, port: u16) -> Option<IpAddr> {
    let to = SocketAddr::new(ip(to), port);
    let wait = Some(Duration::from_secs(2));
    let text = from
        .run(|| -> std::io::Result<String> {
            if protocol == Protocol::Udp {
                let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.connect(to)?;
                socket.set_read_timeout(wait)?;
                socket.send(b"who am I?")?;
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer)?;
                return Ok(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
            stream.set_read_timeout(wait)?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
        .unwrap();
    text.ok().map(|text| text.parse().unwrap())
}

#[tokio::test]
async fn host_ports_lead_to_pods() {
    use Protocol::{Tcp, Udp};
    let mut scene = Scene::new("ports").await;
    scene.pods.iter().for_each(|pod| serve(pod.netns(), 80));
    let mut table = Table::named("cwt-ports");
    for pod in PODS[0] {
        table.host_ports.extend([Tcp, Udp].map(|protocol| port(protocol, None, 8080, pod, 80)));
    }
    // One address alone, before all; and every address, said with zeroes.
    table.host_ports.insert(port(Tcp, Some(NODE[0]), 9090, PODS[1][0], 80));
    table.host_ports.insert(port(Tcp, Some("0.0.0.0"), 9091, PODS[1][0], 80));
    scene.nft.replace(&table).unwrap();
    let (node, client) = (scene.node.netns(), scene.client.netns());
    let (own, other) = (scene.pods[0].netns(), scene.pods[1].netns());
    let cases = [
        (client, Tcp, NODE[0], 8080, Some(CLIENT[0])),
        (client, Tcp, NODE[1], 8080, Some(CLIENT[1])),
        (client, Udp, NODE[0], 8080, Some(CLIENT[0])),
        (client, Udp, NODE[1], 8080, Some(CLIENT[1])),
        (client, Tcp, NODE[0], 9090, Some(CLIENT[0])),
        (client, Tcp, NODE[0], 9091, Some(CLIENT[0])),
        (client, Tcp, NODE[1], 9091, None),
        (client, Udp, NODE[0], 9090, None),
        (client, Tcp, NODE[0], 8081, None),
        // The node itself, by its address and by its loopback address.
        (node, Tcp, NODE[0], 8080, Some(NODE[0])),
        (node, Tcp, NODE[1], 8080, Some(NODE[1])),
        (node, Tcp, "127.0.0.1", 8080, Some(NODE[0])),
        (node, Udp, "127.0.0.1", 8080, Some(NODE[0])),
        (node, Tcp, "127.0.0.1", 9090, None),
        (node, Tcp, "::1", 8080, None),
        // Another pod, and the pod to itself: it sees the node, or it would answer itself.
        (other, Tcp, NODE[0], 8080, Some(PODS[1][0])),
        (other, Udp, NODE[1], 8080, Some(PODS[1][1])),
        (own, Tcp, NODE[0], 8080, Some(NODE[0])),
        (own, Tcp, NODE[1], 8080, Some(NODE[1])),
        (own, Udp, NODE[0], 8080, Some(NODE[0])),
    ];
    for (from, protocol, to, port, expected) in cases {
        assert_eq!(seen(from, protocol, to, port), expected.map(ip), "{protocol} {to} {port}");
    }
    // A pod cannot speak to the node's loopback addresses, route_localnet or not.
    let own_wire = Netlink::open_in(own).unwrap();
    let eth0 = own_wire.index("eth0").await.unwrap();
    let gateway = RouteKind::Unicast { device: eth0, gateway: Some(pod::GATEWAY_V4.into()) };
    let stolen = RouteSpec::new("127.9.9.9/32".parse().unwrap(), gateway);
    own_wire.set_route(&stolen).await.unwrap();
    run_in(own, "ip route del table local local 127.0.0.0/8 dev lo");
    sysctl::write(own, &[sysctl::Setting::required("net/ipv4/conf/eth0/route_localnet", "1")]).unwrap();
    let listener = node.run(|| UdpSocket::bind("127.9.9.9:7").unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let sent = own.run(|| UdpSocket::bind(("10.1.0.2", 0))?.send_to(b"hello", "127.9.9.9:7")).unwrap();
    assert_eq!(sent.unwrap(), 5);
    assert!(
        seen(own, Tcp, NODE[0], 8080).is_some(),
        "behind it on the same wire: what came before is decided"
    );
    assert!(listener.recv(&mut [0; 8]).is_err(), "the node's loopback was reached");

    scene.nft.remove("cwt-ports").unwrap();
    scene.nft.remove("cwt-ports").unwrap();
    assert_eq!(seen(client, Tcp, NODE[0], 8080), None);
}

#[tokio::test]
async fn pods_leave_with_the_nodes_address() {
    use Protocol::{Tcp, Udp};
    let mut scene = Scene::new("masquerade").await;
    serve(scene.client.netns(), 80);
    serve(scene.node.netns(), 81);
    let one = scene.pods[0].netns();
    // Nobody answers a pod that the client has no way to.
    assert_eq!(seen(one, Udp, CLIENT[0], 80), None);
    let range = |text: &str| text.parse().unwrap();
    let masquerade = Masquerade {
        sources: vec![range("10.1.0.0/24"), range("fd00:1::/64")],
        except_destinations: vec![range("10.0.0.0/8"), range("fd00::/16")],
    };
    let table = Table { masquerade: Some(masquerade), ..Table::named("cwt-masquerade") };
    scene.nft.replace(&table).unwrap();
    serve(scene.pods[1].netns(), 80);
    for (protocol, to, port, expected) in [
        (Tcp, CLIENT[0], 80, NODE[0]),
        (Tcp, CLIENT[1], 80, NODE[1]),
        (Udp, CLIENT[0], 80, NODE[0]),
        (Tcp, NODE[0], 81, PODS[0][0]),
        (Tcp, NODE[1], 81, PODS[0][1]),
        (Tcp, PODS[1][0], 80, PODS[0][0]),
        (Tcp, PODS[1][1], 80, PODS[0][1]),
    ] {
        assert_eq!(seen(one, protocol, to, port), Some(ip(expected)), "{protocol} {to} {port}");
    }
    // A connection outlives the exchange of the table, and keeps its translation under one that would not begin it.
    let (mut near, mut far) = scene
        .client
        .netns()
        .run(|| TcpListener::bind(("0.0.0.0", 90)).unwrap())
        .map(|listener| {
            let stream = one.run(|| TcpStream::connect((CLIENT[0], 90)).unwrap()).unwrap();
            (stream, listener.accept().unwrap().0)
        })
        .unwrap();
    let mut word = [0; 4];
    let elsewhere = Masquerade { sources: vec![range("10.9.0.0/24")], ..Masquerade::default() };
    for table in [table.clone(), Table { masquerade: Some(elsewhere), ..table }] {
        scene.nft.replace(&table).unwrap();
        near.write_all(b"ping").unwrap();
        far.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        far.read_exact(&mut word).unwrap();
    }
}

#[tokio::test]
async fn what_is_written_is_seen() {
    let node = TestNetns::new("nft_seen");
    let mut nft = Nft::open_in(node.netns()).unwrap();
    let empty = Table::named("cwt-seen");
    let range = |text: &str| text.parse().unwrap();
    let mut table = empty.clone();
    table.host_ports.insert(port(Protocol::Sctp, None, 7, "10.1.0.2", 8));
    table.masquerade = Some(Masquerade {
        sources: vec![range("10.1.0.0/24"), range("fd00:1::/64")],
        except_destinations: vec![range("10.0.0.0/8")],
    });
    let mut other = table.clone();
    other.masquerade.as_mut().unwrap().except_destinations.push(range("172.16.0.0/12"));
    let held = |nft: &mut Nft| {
        let observed = nft.observe("cwt-seen").unwrap();
        [&empty, &table, &other].map(|table| table.is_held(observed.as_ref()))
    };
    assert_eq!(held(&mut nft), [true, false, false]);
    nft.replace(&table).unwrap();
    assert_eq!(held(&mut nft), [false, true, false]);
    let text = node.run("nft list table inet cwt-seen");
    for line in [
        "comment \"causeway ",
        "elements = { 10.1.0.0/24 }",
        "elements = { fd00:1::/64 }",
        "elements = { sctp . 7 : 10.1.0.2 . 8 }",
        "type nat hook prerouting priority dstnat; policy accept;",
        "type nat hook output priority -100; policy accept;",
        "type nat hook postrouting priority srcnat; policy accept;",
        "type filter hook prerouting priority raw; policy accept;",
        "fib daddr type local",
        "ip saddr @sources4 ip daddr != @except4",
        "masquerade fully-random",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    nft.replace(&other).unwrap();
    assert_eq!(held(&mut nft), [false, false, true]);
    // Others empty it, change it, or take it away.
    node.run("nft flush chain inet cwt-seen postrouting");
    assert_eq!(held(&mut nft), [false, false, false]);
    nft.replace(&other).unwrap();
    assert_eq!(held(&mut nft), [false, false, true]);
    node.run("nft add chain inet cwt-seen more");
    assert_eq!(held(&mut nft), [false, false, false]);
    node.run("nft flush ruleset");
    assert_eq!(held(&mut nft), [true, false, false]);
    node.run("nft add table inet cwt-seen");
    node.run("nft add table inet cwt-mine");
    assert_eq!(held(&mut nft), [false, false, false]);
    nft.replace(&table).unwrap();
    nft.replace(&empty).unwrap();
    assert_eq!(held(&mut nft), [true, false, false]);
    assert_eq!(node.run("nft list tables").trim(), "table inet cwt-mine");
    // A refusal changes nothing and names the part; the conversation goes on.
    nft.replace(&table).unwrap();
    let bad = nft.replace(&Table { name: "x".repeat(300), ..table.clone() }).unwrap_err().to_string();
    assert!(bad.contains("the table"), "{bad}");
    assert_eq!(held(&mut nft), [false, true, false]);
}

#[tokio::test]
async fn many_host_ports_are_one_lookup() {
    let node = TestNetns::new("nft_many");
    let mut nft = Nft::open_in(node.netns()).unwrap();
    let mut table = Table::named("cwt-many");
    let mut times = Vec::new();
    for n in 0..5000_u16 {
        for pod in [format!("10.1.{}.{}", n / 250, n % 250 + 2), format!("fd00:1::{n:x}")] {
            table.host_ports.insert(port(Protocol::Tcp, None, 10_000 + n, &pod, 80));
        }
        if [0, 1, 199, 4999].contains(&n) {
            let begin = Instant::now();
            nft.replace(&table).unwrap();
            times.push((n + 1, begin.elapsed()));
        }
    }
    eprintln!("writing a table of so many ports: {times:?}");
    assert!(table.is_held(nft.observe("cwt-many").unwrap().as_ref()));
    let text = node.run("nft list table inet cwt-many");
    assert_eq!(
        text.matches("dport map @at-all").count(),
        4,
        "one rule a family and hook:\n{}",
        &text[text.len() - 900..]
    );
    assert_eq!(text.matches(" . 80").count(), 10_000);
}

#[test]
fn firewalls_that_drop_what_is_forwarded() {
    let node = TestNetns::new("nft_firewall");
    let dropping = || node.netns().run(firewall::dropping_forward).unwrap().unwrap();
    assert_eq!(dropping(), Vec::<String>::new());
    for line in [
        "nft add table inet filter",
        "nft add chain inet filter input { type filter hook input priority 0; policy drop; }",
        "nft add chain inet filter forward { type filter hook forward priority 0; policy accept; }",
    ] {
        node.run(line);
    }
    assert_eq!(dropping(), Vec::<String>::new());
    node.run("nft add chain inet filter forward { policy drop; }");
    assert_eq!(dropping(), ["nftables, chain forward of table inet filter"]);
    node.run("nft flush ruleset");
    node.run("iptables-nft -P FORWARD DROP");
    node.run("ip6tables-nft -P FORWARD DROP");
    let by_nft =
        ["nftables, chain FORWARD of table ip filter", "nftables, chain FORWARD of table ip6 filter"];
    assert_eq!(dropping(), by_nft);
    node.run("nft flush ruleset");
    // The tables before nf_tables, where the kernel has them.
    let mut expected = Vec::new();
    for family in ["iptables", "ip6tables"] {
        let mut command = Command::new(format!("{family}-legacy"));
        command.args(["-P", "FORWARD", "DROP"]).stderr(Stdio::null());
        if node.netns().run(|| command.status()).unwrap().expect("iptables is installed").success() {
            expected.push(format!("{family}-legacy, chain FORWARD"));
        }
        assert_eq!(dropping(), expected);
    }
}

#[tokio::test]
async fn a_change_is_what_differs() {
    let node = TestNetns::new("nft_change");
    let mut nft = Nft::open_in(node.netns()).unwrap();
    let with = |ports: &[(u16, &str)]| Table {
        host_ports: ports.iter().map(|(number, pod)| port(Protocol::Udp, None, *number, pod, 53)).collect(),
        ..Table::named("cwt-change")
    };
    let steps = [
        with(&[(1, "10.1.0.2")]),
        with(&[(1, "10.1.0.2"), (2, "10.1.0.3")]),
        with(&[(1, "10.1.0.4"), (2, "10.1.0.3"), (3, "fd00:1::3")]),
        with(&[(1, "10.1.0.4"), (3, "fd00:1::4")]),
        with(&[(4, "10.1.0.4"), (3, "fd00:1::4")]),
        with(&[(3, "fd00:1::4")]),
        with(&[]),
        with(&[(1, "10.1.0.2")]),
    ];
    let mut before = Table::named("cwt-change");
    for table in steps {
        nft.change(&before, &table).unwrap();
        let observed = nft.observe("cwt-change").unwrap();
        assert!(table.is_held(observed.as_ref()) && !before.is_held(observed.as_ref()), "{table:?}");
        let changed = if table.host_ports.is_empty() { String::new() } else { node.run("nft list ruleset") };
        nft.replace(&table).unwrap();
        let written = if table.host_ports.is_empty() { String::new() } else { node.run("nft list ruleset") };
        assert_eq!(changed, written);
        before = table;
    }
    // Somebody took it away: it is written as a whole.
    node.run("nft flush ruleset");
    let next = with(&[(1, "10.1.0.2"), (2, "10.1.0.3")]);
    nft.change(&before, &next).unwrap();
    assert!(next.is_held(nft.observe("cwt-change").unwrap().as_ref()));
}
