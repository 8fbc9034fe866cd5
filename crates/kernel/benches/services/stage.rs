//! The namespaces: nodes, their pods, and the wires between them.

use std::net::IpAddr;

use causeway_kernel::netns::Netns;
use engine::plan::{Op, Peer};

use crate::net_common::TestNetns;
use crate::pair::{self, End, Kind, Setup};
use crate::traffic::Server;

/// How the names of this bench's namespaces begin; [`TestNetns`] puts its own before it.
pub(crate) const PREFIX: &str = "svc_";

/// How the tunnel of [`Far`] is called; a number follows.
const FAR: &str = "svc_f";

/// What fits a tunnel.
pub(crate) const TUNNEL_MTU: u32 = 1420;

/// Removes what a crashed run has left.
pub(crate) fn clear() {
    let ours = |name: &String| name.starts_with(&format!("cwt_{PREFIX}"));
    for name in Netns::list().expect("list the namespaces").iter().filter(|name| ours(name)) {
        end_tunnel(name);
        Netns::delete(name).unwrap_or_else(|e| panic!("this bench needs root: {e}"));
    }
}

/// The process of a tunnel outlives its parent; it ends with its device.
fn end_tunnel(name: &str) {
    let Ok(netns) = Netns::open(name) else { return };
    for side in 1..=2 {
        for tunnel in [FAR].into_iter().chain(crate::outside::TUNNELS) {
            let mut delete = std::process::Command::new("ip");
            delete.args(["link", "delete", &format!("{tunnel}{side}")]).stderr(std::process::Stdio::null());
            // That there is none is the usual case.
            let _ = netns.run(|| delete.status());
        }
    }
}

/// A node with two pods: one that asks, and one that answers at four addresses.
pub(crate) struct Node {
    pub(crate) net: TestNetns,
    pub(crate) client: TestNetns,
    pub(crate) server: Server,
    /// What answers on the node itself.
    pub(crate) host: Server,
    pub(crate) servers: Vec<IpAddr>,
    _pod: TestNetns,
}

impl Node {
    pub(crate) fn near(name: &str) -> Self {
        let net = TestNetns::new(&format!("{PREFIX}{name}"));
        forward(net.netns());
        let client = pod(net.netns(), &format!("{name}_c"), "client", "10.1.0", &[2], 1500);
        let answering = pod(net.netns(), &format!("{name}_s"), "server", "10.1.0", &[10, 11, 12, 13], 1500);
        let server = Server::start(answering.netns());
        let host = Server::start(net.netns());
        Self { net, client, server, host, servers: addresses("10.1.0"), _pod: answering }
    }

    pub(crate) fn netns(&self) -> &TestNetns {
        &self.net
    }
}

/// A node on the same wire, with a pod that answers.
pub(crate) struct Zone {
    pub(crate) server: Server,
    pub(crate) host: Server,
    pub(crate) host_ip: IpAddr,
    pub(crate) servers: Vec<IpAddr>,
    _net: [TestNetns; 2],
}

impl Zone {
    pub(crate) fn beside(node: &Node) -> Self {
        let net = TestNetns::new(&format!("{PREFIX}zone"));
        forward(net.netns());
        node.net.run(&format!("ip link add eth0 type veth peer name eth0 netns {}", net.name()));
        for (net, own, other, pods) in [(&node.net, 1, 2, "10.1.1.0/24"), (&net, 2, 1, "10.1.0.0/24")] {
            net.run("ip link set eth0 up");
            net.run(&format!("ip addr add 192.168.7.{own}/24 dev eth0"));
            net.run(&format!("ip route add {pods} via 192.168.7.{other}"));
        }
        let answering = pod(net.netns(), "zone_s", "server", "10.1.1", &[10, 11, 12, 13], 1500);
        Self {
            server: Server::start(answering.netns()),
            host: Server::start(net.netns()),
            host_ip: [192, 168, 7, 2].into(),
            servers: addresses("10.1.1"),
            _net: [answering, net],
        }
    }
}

/// Two nodes that reach each other through our tunnel in user space, with pods as above.
pub(crate) struct Far {
    pub(crate) client: TestNetns,
    pub(crate) server: Server,
    pub(crate) host: Server,
    pub(crate) host_ip: IpAddr,
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) ends: [End; 2],
    _pod: TestNetns,
}

impl Far {
    pub(crate) fn new() -> Self {
        let ends = tunnel(FAR, &["10.1.0.0/24"]);
        let client = pod(ends[0].netns.netns(), "far_c", "client", "10.1.0", &[2], TUNNEL_MTU);
        let answering =
            pod(ends[1].netns.netns(), "far_s", "server", "10.2.0", &[10, 11, 12, 13], TUNNEL_MTU);
        Self {
            client,
            server: Server::start(answering.netns()),
            host: Server::start(ends[1].netns.netns()),
            host_ip: ends[1].inside[0],
            servers: addresses("10.2.0"),
            ends,
            _pod: answering,
        }
    }
}

/// Two nodes and our tunnel in user space between them. At the first one's end are these ranges, at the second one's
/// 10.2.0.0/24.
pub(crate) fn tunnel(name: &'static str, first: &[&str]) -> [End; 2] {
    let ends = pair::pair(Setup { name, kinds: [Kind::Ours, Kind::Ours], mtu: TUNNEL_MTU + 80 });
    for (own, other, ranges) in [(0, 1, &["10.2.0.0/24"][..]), (1, 0, first)] {
        let (own, other): (&End, &End) = (&ends[own], &ends[other]);
        let inside = other.inside.iter().map(|ip| (*ip).into());
        let peer = Peer {
            endpoint: Some(std::net::SocketAddr::new(other.underlay[0], pair::PORT)),
            allowed_ips: inside.chain(ranges.iter().map(|range| range.parse().expect("a range"))).collect(),
            keepalive: 0,
            other_key: None,
            preshared_key: None,
            other_preshared_keys: Vec::new(),
        };
        own.device.apply(&Op::SetPeer(other.key.public(), peer)).expect("peer");
        forward(own.netns.netns());
        for range in ranges {
            own.netns.run(&format!("ip route add {range} dev {}", own.device.interface()));
        }
    }
    ends
}

pub(crate) fn addresses(range: &str) -> Vec<IpAddr> {
    (10..14).map(|n| format!("{range}.{n}").parse().expect("an address")).collect()
}

pub(crate) fn forward(netns: &Netns) {
    let set = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
    netns.run(set).expect("enter the namespace").expect("forward packets");
}

/// A pod on a veth of its own, as the CNI plugin makes it: routes to single addresses, no bridge.
pub(crate) fn pod(node: &Netns, name: &str, device: &str, range: &str, hosts: &[u8], mtu: u32) -> TestNetns {
    let pod = TestNetns::new(&format!("{PREFIX}{name}"));
    let on_node = |line: String| crate::net_common::run_in(node, &line);
    on_node(format!("ip link add {device} type veth peer name eth0 netns {}", pod.name()));
    on_node(format!("ip link set {device} mtu {mtu} up"));
    on_node(format!("ip addr add {range}.1/32 dev {device}"));
    pod.run(&format!("ip link set eth0 mtu {mtu} up"));
    for host in hosts {
        pod.run(&format!("ip addr add {range}.{host}/32 dev eth0"));
        on_node(format!("ip route add {range}.{host}/32 dev {device}"));
    }
    pod.run(&format!("ip route add {range}.1 dev eth0"));
    pod.run(&format!("ip route add default via {range}.1"));
    pod
}
