//! The namespaces: a client on a wire, a node, a pod of it, and a pod of another node, one hop further on: over a plain link, or
//! through our tunnel.

use std::net::IpAddr;

use causeway_kernel::netns::Netns;

use crate::net_common::TestNetns;
use crate::pair::End;
use crate::stage::{self, PREFIX, TUNNEL_MTU, addresses, forward, pod};
use crate::traffic::Server;

/// The node on its wire, where clients dial it.
pub(crate) const WIRE: [u8; 4] = [198, 51, 100, 1];
/// The client there, and its network.
const CLIENT: &str = "198.51.100.9";
const OUTSIDE: &str = "198.51.100.0/24";
/// The nodes in the mesh.
pub(crate) const MESH: [[u8; 4]; 2] = [[10, 1, 0, 1], [10, 2, 0, 1]];
/// The ranges of their pods.
pub(crate) const PODS: [&str; 2] = ["10.1.0.0/24", "10.2.0.0/24"];
/// Their ends of the pods' links.
pub(crate) const LINK: &str = "server";
/// Their devices to the client.
pub(crate) const UNDERLAY: &str = "out0";

/// By which way the other node's answers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    /// Through the node where the client came in.
    Same,
    /// Out of its own device.
    Own,
}

/// A place where a node's pods and another node's are dialled from outside.
pub(crate) struct Border {
    pub(crate) client: TestNetns,
    pub(crate) nodes: Nodes,
    /// What answers in the node's own pod, and where.
    pub(crate) near: (Server, Vec<IpAddr>),
    /// The same on the other node.
    pub(crate) far: (Server, Vec<IpAddr>),
    _pods: [TestNetns; 2],
}

/// The node, and the other one.
pub(crate) enum Nodes {
    /// On a plain link, so that the hop itself is the same for everybody.
    Linked(Box<[TestNetns; 2]>),
    Tunnelled(Box<[End; 2]>),
}

impl Nodes {
    pub(crate) fn node(&self, n: usize) -> &TestNetns {
        match self {
            Self::Linked(nodes) => &nodes[n],
            Self::Tunnelled(ends) => &ends[n].netns,
        }
    }

    /// The node's device to the other one.
    pub(crate) fn tunnel(&self, n: usize) -> &str {
        match self {
            // As the tunnel is named.
            Self::Linked(_) => "cw0",
            Self::Tunnelled(ends) => ends[n].device.interface(),
        }
    }
}

impl Border {
    /// With a plain link between the nodes.
    pub(crate) fn linked(name: &str) -> Self {
        let nodes = ["node", "other"].map(|part| TestNetns::new(&format!("{PREFIX}{name}_{part}")));
        let [node, other] = &nodes;
        wire(node, "cw0", "192.168.7.1", other, "cw0", "192.168.7.2");
        for net in [node, other] {
            forward(net.netns());
        }
        node.run("ip route add 10.2.0.0/24 via 192.168.7.2");
        other.run("ip route add 10.1.0.0/24 via 192.168.7.1");
        other.run(&format!("ip route add {OUTSIDE} via 192.168.7.1"));
        Self::new(name, Nodes::Linked(Box::new(nodes)), 1500)
    }

    /// With our tunnel in user space between them, of this name. The client has a wire to each.
    pub(crate) fn tunnelled(name: &str, tunnel: &'static str, back: Back) -> Self {
        let first: &[&str] = match back {
            Back::Same => &["10.1.0.0/24", OUTSIDE],
            Back::Own => &["10.1.0.0/24"],
        };
        let border = Self::new(name, Nodes::Tunnelled(Box::new(stage::tunnel(tunnel, first))), TUNNEL_MTU);
        let other = border.nodes.node(1);
        wire(&border.client, "eth1", "203.0.113.9", other, UNDERLAY, "203.0.113.1");
        if back == Back::Own {
            other.run(&format!("ip route add {OUTSIDE} via 203.0.113.9"));
            // What the node was asked is answered by the other one, on another wire.
            for device in ["all", "eth1"] {
                border.client.run(&format!("sysctl -qw net.ipv4.conf.{device}.rp_filter=0"));
            }
        }
        border
    }

    fn new(name: &str, nodes: Nodes, mtu: u32) -> Self {
        let client = TestNetns::new(&format!("{PREFIX}{name}_out"));
        let node = nodes.node(0);
        wire(&client, "eth0", CLIENT, node, UNDERLAY, &IpAddr::from(WIRE).to_string());
        client.run("ip route add 10.0.0.0/8 via 198.51.100.1");
        // What is made in trains goes over the wire as single datagrams: devices that segment UDP are not what nodes have.
        client.run("ethtool -K eth0 tx-udp-segmentation off");
        let hosts = [10, 11, 12, 13];
        let inside =
            |node: &Netns, part: &str, range| pod(node, &format!("{name}_{part}"), LINK, range, &hosts, mtu);
        let near = inside(node.netns(), "near", "10.1.0");
        let far = inside(nodes.node(1).netns(), "far", "10.2.0");
        Self {
            near: (Server::start(near.netns()), addresses("10.1.0")),
            far: (Server::start(far.netns()), addresses("10.2.0")),
            client,
            nodes,
            _pods: [near, far],
        }
    }
}

fn wire(one: &TestNetns, device: &str, ip: &str, other: &TestNetns, its_device: &str, its_ip: &str) {
    one.run(&format!("ip link add {device} type veth peer name {its_device} netns {}", other.name()));
    for (net, device, ip) in [(one, device, ip), (other, its_device, its_ip)] {
        net.run(&format!("ip link set {device} up"));
        net.run(&format!("ip addr add {ip}/24 dev {device}"));
    }
}
