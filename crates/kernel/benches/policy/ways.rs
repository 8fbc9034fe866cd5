//! The stage, and who judges on it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use causeway_kernel::bpf::Datapath;
use engine::plan::policing::Judged::By;
use engine::plan::policing::Subject;

use crate::bpf_common::{TestNode, ip};
use crate::net_common::TestNetns;
use crate::rules::{IN, OUT, Rules};

/// The two pods.
pub(crate) const PODS: [&str; 2] = ["10.1.0.5", "10.1.0.6"];
/// The port that is served, and allowed.
pub(crate) const PORT: u16 = 8080;
/// How many somebodies the rules know besides.
pub(crate) const IDENTITIES: u32 = 10_000;
const TCP: u8 = 6;

/// Who judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody: the packet path is there, and no policy is about the pods.
    Nobody,
    /// Policies, on both pods, both ways.
    Policies,
    /// nftables: what belongs to a connection passes, and new ones by a set of addresses.
    Nftables,
    /// The same by iptables and ipset.
    Ipset,
}

impl Way {
    /// Those that this machine has the programs for.
    pub(crate) fn available() -> Vec<Self> {
        let has =
            |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
        let mut ways = vec![Self::Nobody, Self::Policies];
        if has("nft") {
            ways.push(Self::Nftables);
        }
        if has("iptables") && has("ipset") {
            ways.push(Self::Ipset);
        }
        ways
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Policies => "policies",
            Self::Nftables => "nftables",
            Self::Ipset => "ipset",
        }
    }
}

/// A node with two pods.
pub(crate) struct Stage {
    pub(crate) datapath: Datapath,
    pub(crate) pods: [TestNetns; 2],
    pub(crate) rules: Rules,
    now: Way,
    pub(crate) node: TestNode,
}

/// The address of somebody.
pub(crate) fn somebody(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 2, 0, 0).to_bits() + n).into()
}

/// Somebody's identity.
pub(crate) fn identity(n: u32) -> u64 {
    10_000 + u64::from(n)
}

impl Stage {
    pub(crate) fn new() -> Self {
        let node = TestNode::new("policybench", &[]);
        let pods = ["a", "b"].map(|name| TestNetns::new(&format!("bpf_policybench_{name}")));
        node.net.run("sysctl -qw net.ipv4.ip_forward=1");
        let mut datapath = node.open();
        for (n, pod) in pods.iter().enumerate() {
            let device = format!("cwpod{n}");
            node.net.run(&format!("ip link add {device} type veth peer name eth0 netns {}", pod.name()));
            node.net.run(&format!("ip link set {device} up"));
            node.net.run(&format!("sysctl -qw net.ipv4.conf.{device}.proxy_arp=1"));
            pod.run("ip link set lo up");
            pod.run("ip link set eth0 up");
            pod.run(&format!("ip addr add {}/32 dev eth0", PODS[n]));
            pod.run("ip route add default dev eth0");
            node.net.run(&format!("ip route add {} dev {device}", PODS[n]));
            node.inside(|| datapath.add_pod(&device, &[ip(PODS[n])]).expect("add the pod"));
        }
        let mut rules = (0..IDENTITIES).fold(Rules::new(&[ip("10.1.0.1")]), |rules, n| {
            let rules = rules.identity(somebody(n), identity(n));
            rules.accept(IN, identity(n), Some((TCP, Some(PORT)))).accept(
                OUT,
                identity(n),
                Some((TCP, Some(PORT))),
            )
        });
        for pod in PODS {
            rules = rules.identity(ip(pod), identity(IDENTITIES / 2));
        }
        rules.enforce(datapath.policing_mut()).expect("enforce");
        Self { datapath, pods, rules, now: Way::Nobody, node }
    }

    /// From now on it is judged so.
    pub(crate) fn become_of(&mut self, way: Way) {
        match self.now {
            Way::Nobody => {}
            Way::Policies => {
                self.datapath.policing_mut().delete_subjects(&PODS.map(ip)).expect("open the pods");
            }
            Way::Nftables => drop(self.node.net.run("nft delete table inet bench")),
            Way::Ipset => {
                self.node.net.run("iptables -F FORWARD");
                self.node.net.run("ipset destroy bench");
            }
        }
        match way {
            Way::Nobody => {}
            Way::Policies => {
                let subject = Subject { ingress: By(IN), egress: By(OUT) };
                let subjects = PODS.map(|pod| (ip(pod), subject));
                self.datapath.policing_mut().set_subjects(&subjects).expect("judge the pods");
            }
            Way::Nftables => self.feed("nft -f -", &nft()),
            Way::Ipset => {
                self.feed("ipset restore", &set());
                for rule in [
                    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                    &format!(
                        "-p tcp --dport {PORT} -m set --match-set bench src -m set --match-set bench dst -j ACCEPT"
                    ),
                    "-j DROP",
                ] {
                    self.node.net.run(&format!("iptables -A FORWARD {rule}"));
                }
            }
        }
        self.now = way;
    }

    fn feed(&self, line: &str, text: &str) {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).stdin(Stdio::piped());
        let mut child = self.node.net.netns().run(|| command.spawn()).expect("enter").expect(line);
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect(line);
        assert!(child.wait().expect(line).success(), "{line}");
    }
}

fn addresses() -> impl Iterator<Item = String> {
    (0..IDENTITIES).map(|n| somebody(n).to_string()).chain(PODS.map(str::to_owned))
}

fn nft() -> String {
    let elements: Vec<String> = addresses().collect();
    format!(
        "table inet bench {{\n set known {{ type ipv4_addr; elements = {{ {} }}; }}\n chain forward {{\n type filter \
         hook forward priority 0; policy drop;\n ct state established,related accept\n ip saddr @known ip daddr @known \
         tcp dport {PORT} accept\n }}\n}}\n",
        elements.join(", ")
    )
}

fn set() -> String {
    let mut text = "create bench hash:ip hashsize 16384 maxelem 65536\n".to_owned();
    addresses().for_each(|address| text += &format!("add bench {address}\n"));
    text
}
