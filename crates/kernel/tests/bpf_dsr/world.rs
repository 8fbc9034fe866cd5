//! Several nodes with a router before them and a mesh behind them: a client's packets may come in at each node, and each
//! has its own way back. The mesh lets through what a tunnel would: what a node sends in its own and its pods' names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use causeway_kernel::bpf::{Datapath, Options};
use causeway_kernel::cgroup::Cgroup;
use causeway_kernel::tun::{Offload, Tun, TunOptions};
use engine::plan::Direct;

use crate::bpf_common::{Wanted, ip};
use crate::net_common::TestNetns;

pub(crate) const NODES: usize = 3;
/// What fits the tunnel, and so pods.
pub(crate) const MTU: u32 = 1420;
/// The client, and the router before it.
pub(crate) const CLIENT: [&str; 2] = ["198.51.100.9", "2001:db8:c::9"];
pub(crate) const GATEWAY: [&str; 2] = ["198.51.100.1", "2001:db8:c::1"];
/// An address that the router sends to one of the nodes, as load balancers' addresses are.
pub(crate) const VIP: [&str; 2] = ["203.0.113.1", "2001:db8:f::1"];

/// The addresses of the node of this number, from 1 on: on the wire, in the mesh; and its pod's.
pub(crate) fn wire(n: usize) -> [String; 2] {
    [format!("172.20.{n}.2"), format!("2001:db8:{n}::2")]
}

pub(crate) fn mesh(n: usize) -> [String; 2] {
    [format!("10.1.{n}.1"), format!("fd00:1:{n}::1")]
}

pub(crate) fn pod(n: usize) -> [String; 2] {
    [format!("10.1.{n}.5"), format!("fd00:1:{n}::5")]
}

pub(crate) struct Node {
    pub(crate) net: TestNetns,
    pub(crate) pod: TestNetns,
    pub(crate) n: usize,
    options: Options,
    cgroup: Cgroup,
}

pub(crate) struct World {
    pub(crate) client: TestNetns,
    pub(crate) router: TestNetns,
    pub(crate) nodes: Vec<Node>,
    /// Packets that no tunnel would have let through.
    pub(crate) forged: Arc<AtomicU64>,
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        let [client, router] = ["client", "router"].map(|part| TestNetns::new(&format!("bpf_{name}_{part}")));
        let nodes = (1..=NODES).map(|n| Node::new(name, n)).collect();
        let world = Self { client, router, nodes, forged: Arc::default() };
        world.wire();
        world
    }

    fn wire(&self) {
        let Self { client, router, nodes, .. } = self;
        for setting in
            ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0"]
        {
            router.run(&format!("sysctl -qw {setting}"));
        }
        link(router, "client", client, &GATEWAY.map(str::to_owned), &CLIENT.map(str::to_owned));
        for gateway in GATEWAY {
            client.run(&format!("ip route add default via {gateway}"));
        }
        for node in nodes {
            let gateway = [format!("172.20.{}.1", node.n), format!("2001:db8:{}::1", node.n)];
            link(router, &format!("node{}", node.n), &node.net, &gateway, &wire(node.n));
            node.wire(&gateway);
        }
        self.lead_to(1);
        self.dig();
    }

    /// From now on packets to [`VIP`] come in at this node.
    pub(crate) fn lead_to(&self, n: usize) {
        for (vip, via) in VIP.iter().zip(wire(n)) {
            self.router.run(&format!("ip route replace {vip} via {via}"));
        }
    }

    /// Every node's tunnel, and what is between them.
    fn dig(&self) {
        let open = |node: &Node| {
            let options = TunOptions { vnet_hdr: true, ..TunOptions::default() };
            let tun = node.net.netns().run(|| Tun::open("cw0", options)).expect("enter").expect("a TUN");
            tun.set_offload(Offload::ALL).expect("offloads");
            Arc::new(tun)
        };
        let ends: Vec<_> = self.nodes.iter().map(open).collect();
        for (from, n) in ends.iter().cloned().zip(1..) {
            let (ends, forged) = (ends.clone(), self.forged.clone());
            // It ends when the device does.
            thread::spawn(move || {
                let mut packet = vec![0; 1 << 17];
                while let Ok((header, length)) = from.read_vnet(&mut packet) {
                    let packet = &packet[..length];
                    let Some((source, destination)) = owners(packet) else { continue };
                    if source != n {
                        forged.fetch_add(1, Ordering::Relaxed);
                    } else if let Some(to) = ends.get(destination.wrapping_sub(1)) {
                        // Nobody there, or no more: a wire loses it.
                        let _ = to.write_vnet(&header, packet);
                    }
                }
            });
        }
        for node in &self.nodes {
            let net = &node.net;
            net.run(&format!("ip link set cw0 mtu {MTU} up"));
            for address in mesh(node.n) {
                add(net, "cw0", &address, ("/32", "/128"));
            }
            for range in ["10.1.0.0/16", "fd00:1::/32"] {
                net.run(&format!("ip route add {range} dev cw0"));
            }
        }
    }

    /// From now on nodes are loaded for services with tables.
    pub(crate) fn tables(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.options.tables = true);
    }

    /// Every node's packet path, serving.
    pub(crate) fn open(&self) -> Vec<Datapath> {
        self.nodes.iter().map(Node::open).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Else the threads at its ends would keep the namespaces.
        for node in &self.nodes {
            if let Err(e) = node
                .net
                .netns()
                .run(|| std::process::Command::new("ip").args(["link", "del", "cw0"]).status())
            {
                eprintln!("{e}");
            }
        }
    }
}

/// Whose a packet's ends are: the numbers of nodes, from the third part of their addresses in the mesh. Router solicitations
/// and the like are nobody's.
fn owners(packet: &[u8]) -> Option<(usize, usize)> {
    match packet.first()? >> 4 {
        4 => Some((usize::from(*packet.get(14)?), usize::from(*packet.get(18)?))),
        6 if packet.get(24) == Some(&0xfd) => {
            Some((usize::from(*packet.get(13)?), usize::from(*packet.get(29)?)))
        }
        _ => None,
    }
}

impl Node {
    fn new(name: &str, n: usize) -> Self {
        let part = |part: &str| TestNetns::new(&format!("bpf_{name}_{part}{n}"));
        let cgroup = Cgroup::create(format!("causeway-test-bpf-{name}-{n}"))
            .unwrap_or_else(|e| panic!("this test needs root and cgroup2: {e}"));
        let mut options = Options::new(cgroup.path(), "eth0");
        options.pin_dir = format!("/sys/fs/bpf/cwt_{name}{n}/v1").into();
        let node = Self { net: part("node"), pod: part("pod"), n, options, cgroup };
        node.unload();
        node
    }

    fn wire(&self, gateway: &[String; 2]) {
        let Self { net, pod: inside, n, .. } = self;
        for setting in
            ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=1"]
        {
            net.run(&format!("sysctl -qw {setting}"));
        }
        for gateway in gateway {
            net.run(&format!("ip route add default via {gateway}"));
        }
        net.run(&format!("ip link add cwpod0 type veth peer name eth0 netns {}", inside.name()));
        net.run(&format!("ip link set cwpod0 mtu {MTU} up"));
        inside.run(&format!("ip link set eth0 mtu {MTU} up"));
        let (host, own) = (mac(net, "cwpod0"), mac(inside, "eth0"));
        for address in pod(*n) {
            add(inside, "eth0", &address, ("/32", "/128"));
            net.run(&format!("ip neigh replace {address} lladdr {own} dev cwpod0"));
            net.run(&format!("ip route add {address} dev cwpod0"));
        }
        for (gateway, v6) in [("169.254.1.1", ""), ("fe80::1", "-6")] {
            inside.run(&format!("ip neigh replace {gateway} lladdr {host} dev eth0"));
            inside.run(&format!("ip {v6} route add default via {gateway} dev eth0 onlink"));
        }
    }

    /// Loads the packet path, or takes it over.
    pub(crate) fn open(&self) -> Datapath {
        let open = || {
            let mut datapath = Datapath::open(self.options.clone()).unwrap_or_else(|e| panic!("{e}"));
            datapath.add_pod("cwpod0", &pod(self.n).map(|address| ip(&address))).unwrap();
            datapath.serve_outside(&mesh(self.n).map(|address| ip(&address))).unwrap();
            datapath
        };
        self.net.netns().run(open).expect("enter the namespace")
    }

    /// What it knows of the nodes, if it hands clients on.
    pub(crate) fn direct(&self) -> BTreeSet<Direct> {
        let others = || (1..=NODES).filter(|n| *n != self.n);
        let senders = others().flat_map(mesh).map(|address| Direct::Sender(ip(&address)));
        let peers = others().map(|n| Direct::Peer(n as u64));
        senders.chain(peers).chain([Direct::Own(self.n as u64)]).collect()
    }

    /// The same state, with what this node knows of others.
    pub(crate) fn knowing(&self, mut wanted: Wanted) -> Wanted {
        wanted.state.direct = self.direct();
        // As every node's guard has it.
        wanted.guarded(&["10.1.0.0/16", "fd00:1::/32"])
    }

    /// Bytes that a device has sent (`tx`) or got (`rx`).
    pub(crate) fn bytes(&self, device: &str, way: &str) -> u64 {
        let text = self.net.run(&format!("ip -s -j link show {device}"));
        let links: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        links[0]["stats64"][way]["bytes"].as_u64().expect("a count")
    }

    fn unload(&self) {
        let unload = || Datapath::unload(&self.options.pin_dir);
        self.net.netns().run(unload).expect("enter the namespace").expect("unload");
        // Only there if something was loaded.
        let _ = std::fs::remove_dir(self.options.pin_dir.parent().expect("it has a parent"));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.unload();
        self.cgroup.remove_tree().expect("remove the control group");
    }
}

/// A wire from a device of the router to `eth0` of another.
fn link(router: &TestNetns, device: &str, to: &TestNetns, near: &[String; 2], far: &[String; 2]) {
    router.run(&format!("ip link add {device} type veth peer name eth0 netns {}", to.name()));
    for (netns, device, addresses) in [(router, device, near), (to, "eth0", far)] {
        netns.run(&format!("ip link set {device} up"));
        for address in addresses {
            add(netns, device, address, ("/24", "/64"));
        }
    }
}

fn add(netns: &TestNetns, device: &str, address: &str, (v4, v6): (&str, &str)) {
    let (length, nodad) = if address.contains(':') { (v6, "nodad") } else { (v4, "") };
    netns.run(&format!("ip addr add {address}{length} dev {device} {nodad}"));
}

fn mac(netns: &TestNetns, device: &str) -> String {
    let text = netns.run(&format!("ip -o link show {device}"));
    text.split("link/ether ").nth(1).expect("a MAC").split(' ').next().expect("a word").to_owned()
}
