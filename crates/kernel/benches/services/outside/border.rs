//! The namespaces: a client on a wire, a node, a pod of it, and a pod of another node, one hop further on.

use std::net::IpAddr;

use crate::net_common::TestNetns;
use crate::stage::{PREFIX, addresses, forward, pod};
use crate::traffic::Server;

/// The node on its wire, where clients dial it.
pub(crate) const WIRE: [u8; 4] = [192, 0, 2, 1];
/// The node in the mesh.
pub(crate) const MESH: [u8; 4] = [10, 1, 0, 1];
/// The range of its pods.
pub(crate) const PODS: &str = "10.1.0.0/24";
/// Its end of the pod's link.
pub(crate) const LINK: &str = "server";

/// A place where a node's pods and another node's are dialled from outside.
pub(crate) struct Border {
    pub(crate) client: TestNetns,
    pub(crate) node: TestNetns,
    /// What answers in the node's own pod, and where.
    pub(crate) near: (Server, Vec<IpAddr>),
    /// The same on the other node.
    pub(crate) far: (Server, Vec<IpAddr>),
    _rest: [TestNetns; 3],
}

impl Border {
    pub(crate) fn new(name: &str) -> Self {
        let [client, node, other] =
            ["out", "node", "other"].map(|part| TestNetns::new(&format!("{PREFIX}{name}_{part}")));
        wire(&client, "eth0", "192.0.2.9", &node, "eth0", "192.0.2.1");
        // As the tunnel is named; a plain link, so that the hop itself is the same for everybody.
        wire(&node, "cw0", "192.168.7.1", &other, "cw0", "192.168.7.2");
        for net in [&node, &other] {
            forward(net.netns());
        }
        let near = pod(node.netns(), &format!("{name}_near"), LINK, "10.1.0", &[10, 11, 12, 13], 1500);
        let far = pod(other.netns(), &format!("{name}_far"), LINK, "10.2.0", &[10, 11, 12, 13], 1500);
        node.run("ip route add 10.2.0.0/24 via 192.168.7.2");
        other.run("ip route add 10.1.0.0/24 via 192.168.7.1");
        other.run("ip route add 192.0.2.0/24 via 192.168.7.1");
        client.run("ip route add 10.0.0.0/8 via 192.0.2.1");
        // What is made in trains goes over the wire as single datagrams: devices that segment UDP are not what nodes have.
        client.run("ethtool -K eth0 tx-udp-segmentation off");
        Self {
            near: (Server::start(near.netns()), addresses("10.1.0")),
            far: (Server::start(far.netns()), addresses("10.2.0")),
            client,
            node,
            _rest: [near, far, other],
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
