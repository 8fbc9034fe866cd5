//! Pods and the world around the mesh.

use kernel::netlink::sysctl::{self, Setting};
use kernel::sandbox::Sandbox;
use serde_json::json;

use crate::machine::{Lan, Program, run_in, seen, serve, talk};

/// A machine that does not forward yet, and takes packets only from where it would send the answer.
const STRICT: [Setting<'static>; 4] = [
    Setting::required("net/ipv4/ip_forward", "0"),
    Setting::required("net/ipv6/conf/all/forwarding", "0"),
    Setting::required("net/ipv4/conf/all/rp_filter", "1"),
    Setting::required("net/ipv4/conf/default/rp_filter", "1"),
];

pub(crate) fn pods_reach_the_outside() {
    let mut lan = Lan::build("outside");
    for node in &mut lan.nodes {
        sysctl::write(&node.netns, &STRICT).unwrap();
        node.start();
    }
    let [(one, one_ips), (two, two_ips)] = [(1, "p1"), (2, "p2")].map(|(n, tag)| lan.pod(n, tag));
    let ip =
        |ips: &[std::net::IpAddr], v4: bool| ips.iter().find(|ip| ip.is_ipv4() == v4).unwrap().to_string();
    let places: Vec<Sandbox> =
        vec![lan.outside(), one.clone(), two.clone(), lan.nodes[0].place(), lan.nodes[1].place()];
    let _servers: Vec<Program> = places.iter().map(serve).collect();

    let [node, other] = &lan.nodes;
    for (family, v4) in [(0, true), (1, false)] {
        let (mine, theirs) = (ip(&one_ips, v4), ip(&two_ips, v4));
        let [here, there] = [Lan::NODES[0][family], Lan::NODES[1][family]];
        let outside = Lan::OUTSIDE[family];
        let mesh = ["10.1.1.1", "fd00:1:0:1::1"][family];
        assert_eq!(seen(&one, outside), here, "a pod shows its node's address outside");
        assert_eq!(seen(&one, there), here, "another node is outside the mesh");
        assert_eq!(seen(&one, here), mine, "its own node knows it");
        assert_eq!(seen(&one, &theirs), mine, "inside the mesh everybody is who he is");
        assert_eq!(seen(&two, &mine), theirs);
        assert_eq!(seen(&node.place(), &theirs), mesh, "the node itself reaches pods elsewhere");
        let probe = seen(&node.place(), &mine);
        assert!([here, mesh].contains(&probe.as_str()), "a kubelet reaches its pods: {probe}");
        assert_eq!(seen(&other.place(), outside), there, "the node's own traffic is nobody's business");
    }

    let talkers = talk(&one, &format!("{}:8080", Lan::OUTSIDE[0]), 8);
    let [node, _] = &mut lan.nodes;
    node.kill_agent();
    node.start();
    assert!(talkers.finish().starts_with("lost 0 of 8"), "an agent that restarts disturbs nobody");

    node.kill_agent();
    run_in(&node.netns, "nft delete table inet causeway");
    let clear = seen(&one, Lan::OUTSIDE[0]);
    assert!(clear.starts_with("cannot ask"), "a pod's own address never leaves in the clear: {clear}");
    node.start();
    assert_eq!(seen(&one, Lan::OUTSIDE[0]), Lan::NODES[0][0], "what somebody removed is back");

    node.kill_agent();
    let mut config = node.config();
    config["masquerade"] = json!(false);
    let place = node.place();
    node.start_with(&config, &place);
    assert_eq!(run_in(&node.netns, "nft list tables"), "", "what is not wanted any more is gone");
    assert_eq!(seen(&one, &ip(&two_ips, true)), ip(&one_ips, true));
}
