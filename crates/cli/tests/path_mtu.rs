//! A way between two clouds that carries less than both ends' networks do, and tells nobody: found, and told to pods, so that
//! every size and every stream gets through. Needs root, iperf3, and nobody else's lab; one lab at a time, so this is one test.

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{CAUSEWAY, Folder, good, lab, left_and_right};

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: demo}}\n\
         spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: main, command: [sleep, infinity]}}]}}\n"
    )
}

fn ips(pod: &str) -> [String; 2] {
    let status = common::status();
    let pod = common::items(&status, "pods").iter().find(|its| its["name"] == pod).expect("the pod").clone();
    [0, 1].map(|n| pod["ips"][n].as_str().expect("an address").to_string())
}

/// The MTU of the route to the other cloud's pods on a node; none while it has none of its own.
fn route_mtu(node: &str, to: &str) -> Option<usize> {
    let family = if to.contains(':') { "-6" } else { "-4" };
    let text = good(&["exec", node, "--", "ip", family, "route", "show", to]);
    let line = text.lines().find(|line| line.contains("dev cw0")).unwrap_or_else(|| panic!("{to}: {text}"));
    let mut words = line.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).map(|mtu| mtu.parse().expect("a number"))
}

/// Whether a packet of this size, headers included, that may not be divided gets an answer.
fn arrives(to: &str, size: usize) -> bool {
    let payload = (size - if to.contains(':') { 48 } else { 28 }).to_string();
    let words = ["exec", "client", "--", "ping", "-c", "1", "-W", "1", "-M", "do", "-s", &payload, to];
    lab(&words).status.success()
}

#[test]
fn a_narrow_way_is_found() {
    let folder = Folder::new("path-mtu");
    folder.write("left.yaml", &pod("client"));
    folder.write("right.yaml", &pod("server"));
    // On the wire: the tunnel takes 60 bytes of it over IPv4.
    good(&["up", "--file", &folder.write("lab.yaml", &left_and_right("rtt: 5ms, mtu: 1400"))]);
    let begun = Instant::now();
    let ranges = [("left-1", "10.2.0.0/24"), ("left-1", "fd00:2::/64"), ("right-1", "10.1.0.0/24")];
    let mut mtus = ranges.map(|(node, to)| route_mtu(node, to));
    while mtus.iter().any(Option::is_none) {
        assert!(begun.elapsed() < Duration::from_secs(40), "not found: {mtus:?}");
        mtus = ranges.map(|(node, to)| route_mtu(node, to));
    }
    for mtu in mtus {
        // A packet is filled up to sixteen bytes, and the search ends eight bytes below what gets through.
        assert!(mtu.is_some_and(|mtu| (1400 - 60 - 24..=1400 - 60).contains(&mtu)), "{mtus:?}");
    }
    let mtu = mtus[0].expect("it was found");

    let servers = ips("server");
    for to in &servers {
        for size in [1280, mtu - 1, mtu] {
            assert!(arrives(to, size), "{size} bytes to {to}");
        }
        // The pod is told, by its node, and does as it was told.
        let payload = (mtu + 1 - if to.contains(':') { 48 } else { 28 }).to_string();
        let ping =
            lab(&["exec", "client", "--", "ping", "-c", "2", "-W", "1", "-M", "do", "-s", &payload, to]);
        let said =
            String::from_utf8_lossy(&ping.stdout).into_owned() + &String::from_utf8_lossy(&ping.stderr);
        assert!(!ping.status.success(), "{said}");
        assert!(said.contains(&format!("mtu={mtu}")) || said.contains(&format!("mtu = {mtu}")), "{said}");
        // What may be divided is, by whoever sends it: of IPv6 once the one who answers has been told, too.
        for size in [mtu + 100, 1420, 4000] {
            let payload = size.to_string();
            let words = ["exec", "client", "--", "ping", "-c", "4", "-i", "0.3", "-W", "1", "-M", "dont"];
            assert!(
                lab(&[&words[..], &["-s", &payload, to]].concat()).status.success(),
                "{size} bytes in pieces to {to}"
            );
        }
    }
    for to in &servers {
        for way in [&[][..], &["--reverse"]] {
            stream(to, way);
        }
    }
}

/// Streams of several megabytes do not hang.
fn stream(to: &str, way: &[&str]) {
    let words = ["lab", "exec", "server", "--", "iperf3", "--server", "--one-off"];
    let mut server = Command::new(CAUSEWAY).args(words).stdout(Stdio::null()).spawn().expect("run causeway");
    let words = ["exec", "client", "--", "timeout", "20", "iperf3", "--bytes", "4M", "--client", to];
    let begun = Instant::now();
    while !lab(&[&words[..], way].concat()).status.success() {
        assert!(begun.elapsed() < Duration::from_secs(30), "4 MB to {to} {way:?} do not get through");
    }
    // Where the client is done the server is.
    server.wait().expect("wait for the server");
}
