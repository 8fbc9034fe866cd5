//! A small world: clients on a wire, a node, a pod of it, and a pod of another node at the far end of a device without
//! Ethernet headers, which hands on what is not yet segmented, as our tunnel does.

use std::sync::Arc;
use std::thread;

use causeway_kernel::bpf::{Datapath, TcHook};
use causeway_kernel::netns::Netns;
use causeway_kernel::tun::{Offload, Tun, TunOptions};

use crate::bpf_common::{TestNode, ip};
use crate::net_common::TestNetns;

/// The node, on the wire and in the mesh.
pub(crate) const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
pub(crate) const MESH: [&str; 2] = ["10.1.0.1", "fd00:1::1"];
/// The client, and another one.
pub(crate) const CLIENT: [&str; 2] = ["192.0.2.9", "2001:db8::9"];
pub(crate) const OTHER: [&str; 2] = ["192.0.2.10", "2001:db8::a"];
/// The node's pod.
pub(crate) const NEAR: [&str; 2] = ["10.1.0.5", "fd00:1::5"];
/// The pod at the far end of the tunnel.
pub(crate) const FAR: [&str; 2] = ["10.1.2.5", "fd00:1:2::5"];

/// Namespaces and wires, with a packet path.
pub(crate) struct World {
    pub(crate) client: TestNetns,
    pub(crate) pod: TestNetns,
    pub(crate) far: TestNetns,
    pub(crate) node: TestNode,
}

impl World {
    pub(crate) fn new(name: &str, tc: TcHook) -> Self {
        let mut node = TestNode::new(name, &[]);
        node.options.tc = tc;
        let [client, pod, far] =
            ["client", "pod", "far"].map(|part| TestNetns::new(&format!("bpf_{name}_{part}")));
        let world = Self { client, pod, far, node };
        world.wire();
        world
    }

    fn wire(&self) {
        let Self { client, pod, node, .. } = self;
        node.net.run(&format!("ip link set wire0 netns {} name eth0", client.name()));
        node.net.run(&format!("ip link add cwpod0 type veth peer name eth0 netns {}", pod.name()));
        for setting in
            ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=1"]
        {
            node.net.run(&format!("sysctl -qw {setting}"));
        }
        self.dig();
        for (netns, device, addresses) in [
            (&node.net, "eth0", &[NODE[0], NODE[1]][..]),
            (client, "eth0", &[CLIENT[0], OTHER[0], OTHER[1], CLIENT[1]]),
            (pod, "eth0", &NEAR),
        ] {
            up(netns, device);
            for address in addresses {
                let mesh = if device == "eth0" && netns.name() != pod.name() {
                    ("/24", "/64")
                } else {
                    ("/32", "/128")
                };
                add(netns, device, address, mesh);
            }
        }
        up(&node.net, "cwpod0");
        let mac = |netns: &TestNetns, device: &str| {
            let text = netns.run(&format!("ip -o link show {device}"));
            text.split("link/ether ").nth(1).expect("a MAC").split(' ').next().expect("a word").to_owned()
        };
        let (host, inside) = (mac(&node.net, "cwpod0"), mac(pod, "eth0"));
        for (gateway, v6) in [("169.254.1.1", ""), ("fe80::1", "-6")] {
            pod.run(&format!("ip neigh replace {gateway} lladdr {host} dev eth0"));
            pod.run(&format!("ip {v6} route add default via {gateway} dev eth0 onlink"));
        }
        for address in NEAR {
            node.net.run(&format!("ip neigh replace {address} lladdr {inside} dev cwpod0"));
            node.net.run(&format!("ip route add {address} dev cwpod0"));
        }
        client.run(&format!("ip route add 10.101.0.0/16 via {}", NODE[0]));
        client.run(&format!("ip route add fd00:101::/64 via {}", NODE[1]));
    }

    /// The tunnel, with both ends.
    pub(crate) fn dig(&self) {
        let options = TunOptions { vnet_hdr: true, ..TunOptions::default() };
        let open = |netns: &Netns| {
            let tun = netns.run(|| Tun::open("cw0", options)).expect("enter the namespace").expect("a TUN");
            tun.set_offload(Offload::ALL).expect("offloads");
            Arc::new(tun)
        };
        let ends = [open(self.node.net.netns()), open(self.far.netns())];
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to) = (ends[from].clone(), ends[to].clone());
            // It ends when the device does.
            thread::spawn(move || {
                let mut packet = vec![0; 1 << 17];
                while let Ok((header, length)) = from.read_vnet(&mut packet) {
                    // Nobody there, or no more: a wire loses it.
                    let _ = to.write_vnet(&header, &packet[..length]);
                }
            });
        }
        for (netns, addresses) in [(&self.node.net, MESH), (&self.far, FAR)] {
            up(netns, "cw0");
            addresses.iter().for_each(|address| add(netns, "cw0", address, ("/32", "/128")));
        }
        for range in ["10.1.2.0/24", "fd00:1:2::/64"] {
            self.node.net.run(&format!("ip route add {range} dev cw0"));
        }
        for range in ["10.0.0.0/8", "fd00::/16"] {
            self.far.run(&format!("ip route add {range} dev cw0"));
        }
    }

    /// Takes the tunnel away.
    pub(crate) fn bury(&self) {
        self.node.net.run("ip link del cw0");
        self.far.run("ip link del cw0");
    }

    /// The packet path, serving.
    pub(crate) fn open(&self) -> Datapath {
        let mut datapath = self.node.open();
        self.node.inside(|| {
            datapath.add_pod("cwpod0", &NEAR.map(ip)).unwrap();
            datapath.serve_outside(&MESH.map(ip)).unwrap();
        });
        datapath
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Else the threads at its ends would keep the namespaces. After a failure it may be gone already.
        if !thread::panicking() {
            self.bury();
        }
    }
}

fn up(netns: &TestNetns, device: &str) {
    netns.run(&format!("ip link set {device} up"));
}

fn add(netns: &TestNetns, device: &str, address: &str, (v4, v6): (&str, &str)) {
    let (length, nodad) = if address.contains(':') { (v6, "nodad") } else { (v4, "") };
    netns.run(&format!("ip addr add {address}{length} dev {device} {nodad}"));
}
