//! Rules of the shape that kube-proxy writes, in its modes nftables and iptables, for as many services as are wanted.
//! Written from what its documentation says of them and from listings of clusters; nothing is left out that a packet to a
//! cluster's virtual address meets.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Instant;

use crate::net_common::TestNetns;
use crate::report::Report;
use crate::stage::Node;
use crate::world::{DIALLED, Virtual, virtuals};

/// Who reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `nft`: verdict maps.
    Nftables,
    /// `iptables-legacy`: lists, in the kernel's old tables.
    Legacy,
    /// `iptables-nft`: the same lists, as nftables' rules.
    IptablesNft,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nftables => "kube-proxy nftables",
            Self::Legacy => "kube-proxy iptables (legacy)",
            Self::IptablesNft => "kube-proxy iptables (nft)",
        }
    }

    /// For names of namespaces.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Nftables => "nft",
            Self::Legacy => "leg",
            Self::IptablesNft => "ipn",
        }
    }

    /// Loads them into the node, counts them, and says how long it took.
    pub(crate) fn load(self, node: &Node, services: u32, report: &mut Report) {
        let virtuals = virtuals(services, &node.servers);
        let text = match self {
            Self::Nftables => nftables(&virtuals),
            Self::Legacy | Self::IptablesNft => iptables(&virtuals),
        };
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &text).expect("write the rules");
        let path = file.path().display();
        let begun = Instant::now();
        let listed = match self {
            Self::Nftables => {
                node.net.run(&format!("nft -f {path}"));
                let took = begun.elapsed();
                report.cost(self.name(), services, "wall_ms", took.as_secs_f64() * 1e3);
                node.net.run("nft list table ip kube-proxy")
            }
            Self::Legacy | Self::IptablesNft => {
                let program = if self == Self::Legacy { "iptables-legacy" } else { "iptables-nft" };
                node.net.run(&format!("{program}-restore {path}"));
                let took = begun.elapsed();
                report.cost(self.name(), services, "wall_ms", took.as_secs_f64() * 1e3);
                node.net.run(&format!("{program}-save -t nat"))
            }
        };
        let took = begun.elapsed();
        let exchanged = if self == Self::Nftables { "dnat to" } else { "-j DNAT" };
        let found = listed.lines().filter(|line| line.contains(exchanged)).count();
        let wanted: usize = virtuals.iter().map(|one| one.endpoints.len()).sum();
        assert_eq!(found, wanted, "{}: rules that exchange an address", self.name());
        report.say(&format!(
            "{}, {services} services: {found} endpoints' rules loaded and counted in {took:.2?}",
            self.name()
        ));
    }
}

/// Pods' traffic to the world under the node's address, which is what makes the kernel track connections.
pub(crate) fn masquerade(node: &TestNetns) {
    node.run("nft add table ip outside");
    node.run("nft add chain ip outside post { type nat hook postrouting priority srcnat ; }");
    node.run("nft add rule ip outside post ip saddr 10.1.0.0/16 ip daddr != 10.0.0.0/8 masquerade");
}

/// The same services, dialled from outside at this address of the node as well. Loaded piece by piece: all in one takes
/// minutes, and that is measured elsewhere.
pub(crate) fn load_outside(node: &TestNetns, wire: IpAddr, virtuals: &[Virtual]) {
    const PIECE: usize = 1000;
    for (piece, some) in virtuals.chunks(PIECE).enumerate() {
        let text = if piece == 0 {
            format!("{}add element ip kube-proxy nodeport-ips {{ {wire} }}\n", nftables(some))
        } else {
            let (chains, map) = chains(some, piece * PIECE);
            format!(
                "table ip kube-proxy {{\n{chains} }}\nadd element ip kube-proxy service-ips {{\n{map} }}\n"
            )
        };
        let ports: String = (piece * PIECE..)
            .zip(some)
            .filter_map(|(n, one)| Some((n, one.protocol, one.node_port?)))
            .map(|(n, protocol, port)| {
                format!(
                    "add chain ip kube-proxy external-{n} {{ jump mark-for-masquerade ; goto service-{n} ; }}\nadd \
                     element ip kube-proxy service-nodeports {{ {protocol} . {port} : goto external-{n} }}\n"
                )
            })
            .collect();
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text + &ports).expect("write the rules");
        node.run(&format!("nft -f {}", file.path().display()));
    }
    let listed = node.run("nft list table ip kube-proxy");
    let counted = |what: &str| listed.lines().filter(|line| line.contains(what)).count();
    assert_eq!(counted("dnat to"), virtuals.iter().map(|one| one.endpoints.len()).sum::<usize>());
    let ports = virtuals.iter().filter(|one| one.node_port.is_some()).count();
    assert_eq!(counted("chain external-"), ports, "chains of node ports");
}

/// The chains of services and their endpoints, numbered from `first` on, and what of the verdict map leads to them.
fn chains(virtuals: &[Virtual], first: usize) -> (String, String) {
    let mut chains = String::new();
    let mut map = String::new();
    for (n, Virtual { ip, protocol, endpoints, node_port: _ }) in (first..).zip(virtuals) {
        let mut choices = Vec::new();
        for (i, endpoint) in endpoints.iter().enumerate() {
            let (to, chain) = (endpoint.ip(), format!("endpoint-{n}-{i}"));
            writeln!(chains, " chain {chain} {{").expect("a string takes all");
            writeln!(chains, "  ip saddr {to} jump mark-for-masquerade").expect("a string takes all");
            writeln!(chains, "  meta l4proto {protocol} dnat to {endpoint}\n }}")
                .expect("a string takes all");
            choices.push(format!("{i} : goto {chain}"));
        }
        let (count, choices) = (endpoints.len(), choices.join(", "));
        writeln!(
            chains,
            " chain service-{n} {{\n  ip daddr {ip} {protocol} dport {DIALLED} ip saddr != 10.0.0.0/8 jump \
             mark-for-masquerade\n  numgen random mod {count} vmap {{ {choices} }}\n }}"
        )
        .expect("a string takes all");
        writeln!(map, "  {ip} . {protocol} . {DIALLED} : goto service-{n},").expect("a string takes all");
    }
    (chains, map)
}

/// A verdict map leads from address, protocol and port to a service's chain, and that to an endpoint's.
fn nftables(virtuals: &[Virtual]) -> String {
    let (chains, map) = chains(virtuals, 0);
    format!(
        "table ip kube-proxy {{
 comment \"rules for kube-proxy\"
 set cluster-ips {{ type ipv4_addr ; }}
 set nodeport-ips {{ type ipv4_addr ; }}
 map no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
 map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict ; }}
 map firewall-ips {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
 map service-nodeports {{ type inet_proto . inet_service : verdict ; }}
 chain mark-for-masquerade {{ mark set mark or 0x4000 ; }}
 chain masquerading {{
  mark and 0x4000 == 0 return
  mark set mark xor 0x4000
  masquerade fully-random
 }}
{chains}
 map service-ips {{
  type ipv4_addr . inet_proto . inet_service : verdict
  elements = {{
{map} }}
 }}
 chain services {{
  ip daddr . meta l4proto . th dport vmap @service-ips
  ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
 }}
 chain service-endpoints-check {{
  ip daddr . meta l4proto . th dport vmap @no-endpoint-services
 }}
 chain nodeport-endpoints-check {{
  ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
 }}
 chain firewall-check {{ ip daddr . meta l4proto . th dport vmap @firewall-ips ; }}
 chain cluster-ips-check {{ ip daddr @cluster-ips reject ; }}
 chain filter-prerouting {{
  type filter hook prerouting priority -110 ; policy accept ;
  ct state new jump firewall-check
 }}
 chain filter-input {{
  type filter hook input priority 0 ; policy accept ;
  ct state new jump nodeport-endpoints-check
  ct state new jump service-endpoints-check
 }}
 chain filter-forward {{
  type filter hook forward priority 0 ; policy accept ;
  ct state new jump service-endpoints-check
  ct state new jump cluster-ips-check
 }}
 chain filter-output {{
  type filter hook output priority -110 ; policy accept ;
  ct state new jump service-endpoints-check
  ct state new jump firewall-check
 }}
 chain filter-output-post-dnat {{
  type filter hook output priority -90 ; policy accept ;
  ct state new jump cluster-ips-check
 }}
 chain nat-prerouting {{ type nat hook prerouting priority dstnat ; policy accept ; jump services ; }}
 chain nat-output {{ type nat hook output priority -100 ; policy accept ; jump services ; }}
 chain nat-postrouting {{ type nat hook postrouting priority srcnat ; policy accept ; jump masquerading ; }}
}}
"
    )
}

/// A list of all services leads to a service's chain, in which an endpoint's is drawn.
fn iptables(virtuals: &[Virtual]) -> String {
    let (mut names, mut services, mut chains) = (String::new(), String::new(), String::new());
    for (n, Virtual { ip, protocol, endpoints, node_port: _ }) in virtuals.iter().enumerate() {
        let said = format!("-m comment --comment \"bench/s{n}:{protocol}");
        let service = format!("KUBE-SVC-{n:016}");
        writeln!(names, ":{service} - [0:0]").expect("a string takes all");
        let dialled = format!("-d {ip}/32 -p {protocol} -m {protocol} --dport {DIALLED}");
        writeln!(services, "-A KUBE-SERVICES {said} cluster IP\" {dialled} -j {service}")
            .expect("a string takes all");
        writeln!(chains, "-A {service} ! -s 10.0.0.0/8 {said} cluster IP\" {dialled} -j KUBE-MARK-MASQ")
            .expect("a string takes all");
        for (i, endpoint) in endpoints.iter().enumerate() {
            let chain = format!("KUBE-SEP-{n:014}{i:02}");
            writeln!(names, ":{chain} - [0:0]").expect("a string takes all");
            let left = endpoints.len() - i;
            let drawn = match left {
                1 => String::new(),
                left => format!(" -m statistic --mode random --probability {:.10}", 1.0 / left as f64),
            };
            writeln!(chains, "-A {service} {said} -> {endpoint}\"{drawn} -j {chain}")
                .expect("a string takes all");
            writeln!(chains, "-A {chain} -s {}/32 {said}\" -j KUBE-MARK-MASQ", endpoint.ip())
                .expect("a string takes all");
            writeln!(
                chains,
                "-A {chain} -p {protocol} {said}\" -m {protocol} -j DNAT --to-destination {endpoint}"
            )
            .expect("a string takes all");
        }
    }
    format!(
        "*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
{names}-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
{services}-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
{chains}COMMIT
"
    )
}
