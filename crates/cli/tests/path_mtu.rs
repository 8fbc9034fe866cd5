//! Packets of every size around the limit of every way between pods: unencrypted, in VXLAN, by a tunnel, by one whose way carries
//! less than both ends' networks do and tells nobody, by a relay, and by a tunnel of the pods' own inside of one. What fits
//! arrives; who sends more is told how much does; and connections need not be told. Needs root, nftables, tcpdump and
//! wireguard-go, and nobody else's lab; one lab at a time, so this is one test.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::flows::{addresses, netns};
use common::nodes::pod;
use common::{Folder, good, items, lab, status, until};
use kernel::netns::Netns;
use serde_json::Value;

/// Between `away/s` and `shop` nobody gets through but by a relay, and the nearest is a `v`.
const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: home
  id: 1
  mesh: {locations: {p: {encryption: mesh, encapsulate: never}, v: {encryption: mesh, encapsulate: always}}}
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes:
  - {name: p1, region: p, zone: p}
  - {name: p2, region: p, zone: p}
  - {name: v1, region: v, zone: v}
  - {name: v2, region: v, zone: v}
  manifests: [home.yaml]
- name: away
  id: 2
  podCIDRs: ["10.2.0.0/16", "fd00:2::/48"]
  serviceCIDRs: ["10.102.0.0/16", "fd00:102::/112"]
  nodes:
  - {name: a1, region: a, zone: a}
  - {name: s1, region: s, zone: s, nat: symmetric}
  manifests: [away.yaml]
- name: shop
  id: 3
  podCIDRs: ["10.3.0.0/16", "fd00:3::/48"]
  serviceCIDRs: ["10.103.0.0/16", "fd00:103::/112"]
  nodes:
  - {name: t1, region: t, zone: t, nat: symmetric}
  manifests: [shop.yaml]
links:
- {between: [home/p, home/v], rtt: 4ms}
- {between: [home/p, away/a], rtt: 4ms, mtu: 1440}
- {between: [home/v, away/s], rtt: 4ms}
- {between: [home/v, shop], rtt: 4ms, mtu: 1400}
- {between: [home/p, away/s], rtt: 30ms}
- {between: [home/p, shop], rtt: 30ms}
- {between: [away/a, away/s], rtt: 30ms}
- {between: [away/a, shop], rtt: 30ms}
"#;

/// What the tunnel's device takes, and pods'.
const MTU: usize = 1420;
/// What a tunnel takes of a packet, at most: 40 bytes of IPv6, 8 of UDP, 32 of WireGuard's own.
const TUNNEL: usize = 80;
const PORT: u16 = 7007;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Headers of an echo request, of a datagram, of a segment of TCP.
fn headers(to: IpAddr, transport: usize) -> usize {
    transport + if to.is_ipv4() { 20 } else { 40 }
}

/// Two pods, and what is between them.
struct Way {
    what: &'static str,
    /// Names of the pods, and their addresses.
    pods: [String; 2],
    /// Names of their network namespaces.
    netns: [String; 2],
    ips: [Vec<IpAddr>; 2],
    /// Bytes of the largest packet that the pods' devices take.
    takes: usize,
    /// Bytes of the largest packet that gets through.
    limit: usize,
}

impl Way {
    /// Between the pods of two nodes of these clusters.
    fn new(what: &'static str, nodes: [&str; 2], status: &Value, limit: usize) -> Self {
        let pods = nodes.map(|node| format!("on-{node}"));
        let each = pods.each_ref().map(|name| {
            items(status, "pods").iter().find(|pod| pod["name"] == name.as_str()).expect("the pod")
        });
        let netns = each.map(|pod| pod["netns"].as_str().expect("a namespace").to_string());
        Self { what, pods, netns, ips: each.map(addresses), takes: MTU, limit }
    }

    /// The addresses of the first and of the second pod, family by family.
    fn families(&self) -> impl Iterator<Item = [IpAddr; 2]> {
        let of = |ips: &[IpAddr], v4: bool| *ips.iter().find(|ip| ip.is_ipv4() == v4).expect("an address");
        [true, false].map(|v4| self.ips.each_ref().map(|ips| of(ips, v4))).into_iter()
    }

    /// Connections in both directions, of several packets each way, while neither pod hears that a packet was too large: what
    /// they say of segments' sizes must do.
    fn connects(&self) {
        let heard: Vec<Child> = self.netns.iter().map(|netns| segments(netns)).collect();
        let [here, there] = self.netns.each_ref().map(|name| netns(name));
        let both = [&here, &there];
        self.in_both(&format!("nft '{DEAF}'"));
        // As they were made where the mesh carried more: they ask for more, too.
        let asks = |mtu: usize| self.in_both(&format!("ip link set eth0 mtu {mtu}"));
        if self.takes == MTU {
            asks(MTU + TUNNEL);
        }
        for [first, second] in self.families() {
            for (client, server, to) in [(0, 1, second), (1, 0, first)] {
                let what = format!("{}: a connection to {to}", self.what);
                carry(both[client], both[server], to, &what);
            }
        }
        asks(MTU);
        self.in_both("nft delete table inet deaf");
        for (heard, own) in heard.into_iter().zip(&self.ips) {
            let said = sizes(heard);
            for v4 in [true, false] {
                let most =
                    self.limit - headers(own.iter().copied().find(|ip| ip.is_ipv4() == v4).expect("one"), 20);
                let said: BTreeSet<usize> =
                    said.iter().filter(|(is_v4, _)| *is_v4 == v4).map(|(_, size)| *size).collect();
                // Nobody asks for less than there is room for.
                assert_eq!(said, [most].into(), "{}: IPv{}", self.what, if v4 { 4 } else { 6 });
            }
        }
    }

    /// Datagrams and echo requests of every size around the limit.
    fn sends(&self) {
        let [here, there] = self.netns.each_ref().map(|name| netns(name));
        for [own, to] in self.families() {
            let server = there.run(|| UdpSocket::bind((to, PORT))).expect("netns").expect("bind");
            let client = here.run(|| UdpSocket::bind((own, 0))).expect("netns").expect("bind");
            client.connect((to, PORT)).expect("connect");
            server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let arrives = |size: usize| {
                let payload = vec![7; size - headers(to, 8)];
                let sent = client.send(&payload);
                let got = sent.and_then(|_| server.recv(&mut vec![0; 1 << 16]));
                let got = got.unwrap_or_else(|e| panic!("{}: {size} bytes to {to}: {e}", self.what));
                assert_eq!(got, payload.len(), "{}", self.what);
            };
            let limit = self.limit;
            for size in [headers(to, 8), limit - 1, limit] {
                arrives(size);
            }
            for size in [limit - 1, limit] {
                let said = self.ping(to, size, 2.0);
                assert!(said.is_empty(), "{}: {size} bytes to {to}: {said}", self.what);
            }
            let far = if limit < self.takes { self.takes } else { limit + 60 };
            for size in [limit + 1, far] {
                self.forget();
                // The error comes from near by; on a busy machine it is asked for once more.
                let mut said = self.ping(to, size, 0.3);
                if !said.contains("mtu") {
                    said = self.ping(to, size, 3.0);
                }
                let told = [format!("mtu={limit}"), format!("mtu = {limit}"), format!("mtu: {limit}")];
                assert!(
                    told.iter().any(|told| said.contains(told)),
                    "{}: {size} bytes to {to}: {said}",
                    self.what
                );
                if size <= self.takes {
                    self.forget();
                    // Linux sets "do not fragment" by itself until it knows better.
                    client.send(&vec![7; size - headers(to, 8)]).expect("it is sent");
                    let error = std::iter::repeat_with(|| client.take_error().expect("it can be asked"));
                    let begun = Instant::now();
                    let error = error
                        .inspect(|_| assert!(begun.elapsed() < PATIENCE, "{}: {size}", self.what))
                        .flatten()
                        .next();
                    assert!(
                        error.expect("one").to_string().contains("too long"),
                        "{}: {size} bytes to {to}",
                        self.what
                    );
                }
            }
            // And from now on divides what is larger.
            for size in [limit, limit + 1, limit + 100, MTU, MTU + 1, 4000] {
                arrives(size);
            }
        }
    }

    /// Runs a line of shell in both pods.
    fn in_both(&self, line: &str) {
        for pod in &self.pods {
            good(&["exec", pod, "--", "sh", "-c", line]);
        }
    }

    /// Has the first pod forget what it was told of sizes.
    fn forget(&self) {
        good(&["exec", &self.pods[0], "--", "sh", "-c", "ip route flush cache; ip -6 route flush cache"]);
    }

    /// Sends an echo request of this size, headers included, that may not be divided. Empty if it is answered within so many
    /// seconds, else what is said of it.
    fn ping(&self, to: IpAddr, size: usize, patience: f64) -> String {
        let payload = size - headers(to, 8);
        let ping = format!("ping -n -c 1 -W {patience} -M do -s {payload} {to}");
        let output = lab(&["exec", &self.pods[0], "--", "sh", "-c", &ping]);
        if output.status.success() {
            return String::new();
        }
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        said(&output.stdout) + &said(&output.stderr)
    }
}

/// For a namespace that is told nothing of what is too large.
const DEAF: &str = "table inet deaf { chain in { type filter hook input priority 0; \
                    icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }";

/// Carries some hundred kilobytes there and back.
fn carry(client: &Netns, server: &Netns, to: IpAddr, what: &str) {
    const BYTES: usize = 300_000;
    let patient = |stream: &TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    };
    let listener = server.run(|| TcpListener::bind((to, 0))).expect("netns").expect("listen");
    let at: SocketAddr = listener.local_addr().expect("its address");
    thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let (mut stream, _) = listener.accept()?;
            patient(&stream);
            let mut words = vec![0; BYTES];
            stream.read_exact(&mut words)?;
            stream.write_all(&words)
        });
        let dial = || TcpStream::connect_timeout(&at, PATIENCE);
        let mut stream = client.run(dial).expect("netns").unwrap_or_else(|e| panic!("{what}: {e}"));
        patient(&stream);
        let words = vec![7; BYTES];
        let heard = stream.write_all(&words).and_then(|()| stream.read_exact(&mut vec![0; BYTES]));
        heard.unwrap_or_else(|e| panic!("{what}: {e}"));
        answers.join().expect("no panic").unwrap_or_else(|e| panic!("{what}: {e}"));
    });
}

/// Looks at segments that begin connections, at a pod.
fn segments(netns: &str) -> Child {
    let filter = "tcp[13] & 2 != 0 or (ip6[6] = 6 and ip6[53] & 2 != 0)";
    let mut tcpdump = Command::new("ip")
        .args([
            "netns",
            "exec",
            netns,
            "tcpdump",
            "-nn",
            "-l",
            "--immediate-mode",
            "-i",
            "any",
            "-Q",
            "in",
            filter,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run tcpdump");
    let mut said = BufReader::new(tcpdump.stderr.take().expect("its errors")).lines();
    assert!(said.any(|line| line.is_ok_and(|line| line.contains("listening on"))), "tcpdump listens");
    // It is read for as long as it speaks.
    thread::spawn(move || said.count());
    tcpdump
}

/// What was said to a pod of segments' sizes, and whether by IPv4: of four connections.
fn sizes(mut tcpdump: Child) -> Vec<(bool, usize)> {
    let lines = BufReader::new(tcpdump.stdout.take().expect("its output")).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        let Some((_, rest)) = line.split_once("mss ") else { continue };
        let size = rest.split([',', ']']).next().and_then(|size| size.parse().ok());
        said.push((!line.contains("IP6"), size.unwrap_or_else(|| panic!("{line}"))));
        if said.len() == 4 {
            break;
        }
    }
    tcpdump.kill().expect("end it");
    tcpdump.wait().expect("it ends");
    said
}

/// The MTU that the routes from one node to another's pods have of their own, in both families.
fn route_mtus(node: &str, ips: &[IpAddr]) -> Vec<Option<usize>> {
    let of = |ip: &IpAddr| {
        let family = if ip.is_ipv4() { "-4" } else { "-6" };
        let words = ["exec", node, "--", "ip", family, "-j", "route", "get", "fibmatch", &ip.to_string()];
        let routes: Value = serde_json::from_str(&good(&words)).expect("JSON");
        let mtu = routes[0]["metrics"].as_array()?.iter().find_map(|metric| metric["mtu"].as_u64())?;
        usize::try_from(mtu).ok()
    };
    ips.iter().map(of).collect()
}

/// Waits until a narrow way is found, from both ends; gives what it carries.
fn find(nodes: [&str; 2], status: &Value, fits: usize) -> usize {
    let way = Way::new("", nodes, status, 0);
    let begun = Instant::now();
    loop {
        let mtus = [route_mtus(nodes[0], &way.ips[1]), route_mtus(nodes[1], &way.ips[0])].concat();
        if let Some(mtus) = mtus.iter().copied().collect::<Option<BTreeSet<usize>>>() {
            // A packet is filled up to sixteen bytes, and the search ends eight bytes below what gets through.
            let near = |mtu: &usize| (fits - 24..=fits).contains(mtu);
            if mtus.len() == 1 && mtus.iter().all(near) {
                println!("{nodes:?}: {mtus:?} after {:?}", begun.elapsed());
                return *mtus.first().expect("one");
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "{nodes:?}: not found: {mtus:?} of {fits}");
        #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
        thread::sleep(Duration::from_millis(100));
    }
}

/// Each pod of a way gets a tunnel to the other one, of this MTU; gives the way through it.
fn dig(folder: &Folder, way: &Way, what: &'static str, mtu: usize) -> Way {
    let keys = way.pods.each_ref().map(|pod| {
        let script = "umask 077; wg genkey > $0; wg pubkey < $0";
        let file = folder.write(&format!("{pod}.key"), "");
        let output = Command::new("sh").args(["-c", script, &file]).output().expect("run wg");
        (file, String::from_utf8(output.stdout).expect("a key").trim().to_string())
    });
    // By IPv6: that takes the most.
    let [_, outer] = [way.families().next(), way.families().last()].map(|ends| ends.expect("both families"));
    let own = [1, 2].map(|n| [format!("192.168.77.{n}"), format!("fd77::{n}")]);
    for (n, pod) in way.pods.iter().enumerate() {
        let (other, [v4, v6]) = (1 - n, &own[n]);
        let script = format!(
            "set -e; export WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1\n\
             wireguard-go wgt{n} >/dev/null 2>&1\n\
             wg set wgt{n} private-key {} listen-port 51900 peer {} endpoint [{}]:51900 allowed-ips 0.0.0.0/0,::/0\n\
             ip addr add {v4}/24 dev wgt{n}; ip addr add {v6}/64 dev wgt{n} nodad; ip link set wgt{n} up mtu {mtu}",
            keys[n].0, keys[other].1, outer[other]
        );
        good(&["exec", pod, "--", "sh", "-c", &script]);
    }
    let ips = own.map(|own| own.map(|ip| ip.parse().expect("an address")).to_vec());
    Way { what, pods: way.pods.clone(), netns: way.netns.clone(), ips, takes: mtu, limit: mtu }
}

/// Takes those tunnels away.
fn fill_up(way: &Way) {
    for (n, pod) in way.pods.iter().enumerate() {
        good(&["exec", pod, "--", "ip", "link", "del", &format!("wgt{n}")]);
    }
}

/// Waits until packets to an address arrive.
fn await_that(to: IpAddr, arrive: impl Fn() -> bool) {
    let begun = Instant::now();
    while !arrive() {
        assert!(begun.elapsed() < PATIENCE, "large packets do not arrive at {to}");
    }
}

/// How packets from one node to another travel.
fn travels(status: &Value, from: &str, to: &str) -> Value {
    let ends =
        |value: &Value, name: &str| value.as_str().and_then(|its| its.rsplit('/').next()) == Some(name);
    let node = items(status, "nodes").iter().find(|node| ends(&node["name"], from)).expect("the node");
    let tunnel = items(node, "tunnels").iter().find(|tunnel| ends(&tunnel["peer"], to));
    tunnel.map_or(Value::Null, |tunnel| tunnel["transport"].clone())
}

#[test]
fn every_size_of_every_way() {
    let folder = Folder::new("path-mtu");
    for (cluster, nodes) in
        [("home", &["p1", "p2", "v1", "v2"][..]), ("away", &["a1", "s1"]), ("shop", &["t1"])]
    {
        let pods = nodes.iter().map(|node| pod(node, "sleep, infinity")).collect::<String>();
        folder.write(&format!("{cluster}.yaml"), &pods);
    }
    good(&["up", "--file", &folder.write("lab.yaml", LAB)]);
    until("what goes unencrypted does", |status| {
        travels(status, "p1", "p2") == "plain" && travels(status, "v1", "v2") == "vxlan"
    });
    let status = status();
    let begun = Instant::now();
    let done = |way: &Way| {
        println!("{}: {} bytes, after {:.1} s", way.what, way.limit, begun.elapsed().as_secs_f64())
    };
    let wide = [("plain", ["p1", "p2"]), ("VXLAN", ["v1", "v2"]), ("tunnel", ["p1", "v1"])];
    for (what, nodes) in wide {
        let way = Way::new(what, nodes, &status, MTU);
        way.connects();
        way.sends();
        done(&way);
    }
    // On the wire a tunnel takes 60 bytes of IPv4.
    let narrow = Way::new("narrow tunnel", ["p1", "a1"], &status, find(["p1", "a1"], &status, 1440 - 60));
    narrow.connects();
    narrow.sends();
    done(&narrow);
    let relayed = Way::new("relay", ["s1", "t1"], &status, find(["s1", "t1"], &status, 1400 - 60));
    relayed.connects();
    relayed.sends();
    done(&relayed);

    let inner = dig(&folder, &narrow, "tunnel in tunnel", narrow.limit - TUNNEL);
    inner.connects();
    inner.sends();
    done(&inner);
    // Whose device takes more than fits is told by its own pod, and sends the rest in pieces.
    for (n, pod) in inner.pods.iter().enumerate() {
        good(&["exec", pod, "--", "ip", "link", "set", &format!("wgt{n}"), "mtu", &MTU.to_string()]);
    }
    let ends = inner.families().map(|ends| ends[1]);
    ends.for_each(|to| await_that(to, || inner.ping(to, MTU, 1.0).is_empty()));
    fill_up(&inner);
}
