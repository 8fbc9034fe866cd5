//! Traces of kube-proxy, in a namespace of their own: the rules of each of its modes, its device, its answer.

mod net_common;

use std::io::{Read, Write};
use std::net::TcpListener;

use causeway_kernel::kube_proxy::{Sighting, look};
use model::KubeProxy;
use net_common::TestNetns;

fn sight(netns: &TestNetns) -> Sighting {
    netns.netns().run(look).unwrap()
}

fn unknown(seen: &str) -> Sighting {
    Sighting { state: KubeProxy::Unknown, seen: vec![seen.into()] }
}

#[test]
fn each_trace_is_seen() {
    let netns = TestNetns::new("kubeproxy");
    let nothing = Sighting { state: KubeProxy::Absent, seen: vec![] };
    assert_eq!(sight(&netns), nothing);
    for (made, seen, unmade) in [
        (
            "nft add table ip6 kube-proxy; nft add chain ip6 kube-proxy services",
            "nftables table kube-proxy",
            "nft delete table ip6 kube-proxy",
        ),
        ("nft add table ip kube-proxy-like; nft add chain ip kube-proxy-like KUBE", "", "nft flush ruleset"),
        ("iptables-nft -t nat -N KUBE-SERVICES", "iptables-nft chain KUBE-SERVICES", "nft flush ruleset"),
        // What a kubelet makes by itself.
        ("iptables-nft -t mangle -N KUBE-KUBELET-CANARY", "", "nft flush ruleset"),
        ("ip link add kube-ipvs0 type bridge", "device kube-ipvs0", "ip link del kube-ipvs0"),
    ] {
        made.split("; ").for_each(|line| drop(netns.run(line)));
        let expected = if seen.is_empty() { nothing.clone() } else { unknown(seen) };
        assert_eq!(sight(&netns), expected, "{made}");
        netns.run(unmade);
        assert_eq!(sight(&netns), nothing, "{unmade}");
    }
}

/// Kernels may come without the old tables; then there is nothing to see.
#[test]
fn the_old_tables_are_read_where_there_are_any() {
    let netns = TestNetns::new("kubeproxyold");
    let made = netns.netns().run(|| {
        let command =
            std::process::Command::new("iptables-legacy").args(["-t", "nat", "-N", "KUBE-SERVICES"]).output();
        command.expect("this test needs iptables").status.success()
    });
    let expected = if made.unwrap() {
        unknown("iptables-legacy chain KUBE-SERVICES")
    } else {
        Sighting { state: KubeProxy::Absent, seen: vec![] }
    };
    assert_eq!(sight(&netns), expected);
}

#[test]
fn whoever_answers_runs() {
    let netns = TestNetns::new("kubeproxyup");
    let listener = netns.netns().run(|| TcpListener::bind("127.0.0.1:10256").unwrap()).unwrap();
    for (answer, state) in [
        ("HTTP/1.1 200 OK\r\n\r\n{\"lastUpdated\": \"2026-01-01\"}", KubeProxy::Running),
        ("HTTP/1.1 404 Not Found\r\n\r\n", KubeProxy::Absent),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 512]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(sight(&netns).state, state, "{answer}");
        });
    }
}
