//! kube-proxy beside us: whoever comes or goes, no connection that stands falls.

use std::io::Write;
use std::process::{Command, Stdio};

use kernel::netns::Netns;
use model::KubeProxy;

use crate::machine::{Lan, VIP, run_in, seen_at, serve, talk, until};

/// Rules as kube-proxy's nftables mode makes them, for one service with one backend.
fn rules() -> String {
    let translate = format!("ip daddr {VIP} tcp dport 80 dnat to {}:8080", Lan::OUTSIDE[0]);
    format!(
        "table ip kube-proxy {{
            chain nat-prerouting {{ type nat hook prerouting priority dstnat; {translate}; }}
            chain nat-output {{ type nat hook output priority -100; {translate}; }}
            chain nat-postrouting {{ type nat hook postrouting priority srcnat; }}
        }}"
    )
}

fn add_rules(netns: &Netns) {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped());
    let mut nft = netns.run(|| nft.spawn()).unwrap().expect("this test needs nft");
    nft.stdin.take().unwrap().write_all(rules().as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

pub(crate) fn comes_and_goes() {
    const EACH: usize = 8;
    let mut lan = Lan::build("kp");
    let vip = format!("{VIP}:80");
    lan.nodes[1].start();
    let (backend, ips) = lan.pod(2, "p2");
    assert!(ips.iter().any(|ip| ip.to_string() == Lan::BACKEND), "{ips:?}");
    let _servers = [serve(&lan.outside()), serve(&backend)];

    // The node of before: kube-proxy alone.
    let node = &mut lan.nodes[0];
    let (netns, place) = (node.netns.clone(), node.place());
    add_rules(&netns);
    assert_eq!(seen_at(&place, &vip), Lan::NODES[0][0], "kube-proxy leads outside");
    let theirs = talk(&place, &vip, EACH);

    node.start();
    until("kube-proxy's rules are seen", || {
        let seen = node.status().unwrap().kube_proxy;
        seen.state == KubeProxy::Unknown && seen.seen == ["nftables table kube-proxy"]
    });
    // The first of the mesh's addresses is the node's own: it was the socket that was led to the pod.
    assert_eq!(seen_at(&place, &vip), "10.1.1.1", "new connections are ours");
    let (pod, _) = lan.pod(1, "p1");
    let ours = [talk(&place, &vip, EACH), talk(&pod, &vip, EACH)];

    run_in(&netns, "nft delete table ip kube-proxy");
    assert_eq!(seen_at(&place, &vip), "10.1.1.1");
    let alone = talk(&pod, &vip, EACH);
    add_rules(&netns);
    assert_eq!(seen_at(&pod, &vip), "10.1.1.2", "and stay ours, from a pod as well");
    // The agent itself comes and goes, too.
    let node = &mut lan.nodes[0];
    node.kill_agent();
    run_in(&netns, "nft delete table ip kube-proxy");
    node.start();
    until("kube-proxy is seen to be gone", || node.status().unwrap().kube_proxy.state == KubeProxy::Absent);

    for talker in [theirs, alone].into_iter().chain(ours) {
        let result = talker.finish();
        println!("  {result}");
        assert!(result.starts_with(&format!("lost 0 of {EACH}")), "{result}");
    }
}
