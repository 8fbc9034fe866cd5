//! Which addresses, names and ways the plan gives.

use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::*;
use crate::file;

fn plan(clusters: &str, links: &str) -> Plan {
    let text =
        format!("apiVersion: lab.causeway.io/v1alpha1\nkind: Lab\nclusters:\n{clusters}\nlinks: [{links}]\n");
    let lab = file::parse(Path::new("lab.yaml"), &text, |_| Err(std::io::ErrorKind::NotFound.into()));
    Plan::new(&lab.unwrap_or_else(|error| panic!("{error}\n{text}")))
}

fn cluster(name: &str, id: u8, pods: &str, nodes: &str) -> String {
    let services =
        if pods.contains("10.") { format!("10.20{id}.0.0/16") } else { format!("'fd00:20{id}::/112'") };
    format!(
        "- {{name: {name}, id: {id}, podCIDRs: [{pods}], serviceCIDRs: [{services}], nodes: [{nodes}]}}\n"
    )
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn two_clusters() -> Plan {
    let aws = "{name: a1, region: west, zone: w1}, {name: a2, region: west, zone: w2}, {name: a3, region: east, zone: e1}";
    let gcp = "{name: g1, region: west, zone: w1}, {name: g2, region: west, zone: w1, location: basement}";
    let clusters =
        cluster("aws", 1, "10.1.0.0/16, 'fd00:1::/48'", aws) + &cluster("gcp", 2, "10.2.0.0/16", gcp);
    plan(
        &clusters,
        "{between: [aws, gcp], rtt: 14ms}, {between: [gcp/basement, aws/east], rtt: 40ms, rate: 1Gbit}",
    )
}

#[test]
fn places_and_addresses() {
    let plan = two_clusters();
    let names: Vec<&str> = plan.locations.iter().map(|l| l.netns.as_str()).collect();
    assert_eq!(names, ["cwl_aws_west", "cwl_aws_east", "cwl_gcp_west", "cwl_gcp_basement"]);
    let places: Vec<(&str, u8, u8)> =
        plan.nodes().map(|n| (n.host.netns.as_str(), n.host.location, n.host.number)).collect();
    let want = [
        ("cwn_aws_a1", 1, 1),
        ("cwn_aws_a2", 1, 2),
        ("cwn_aws_a3", 2, 1),
        ("cwn_gcp_g1", 3, 1),
        ("cwn_gcp_g2", 4, 1),
    ];
    assert_eq!(places, want);
    let a3 = plan.nodes().nth(2).unwrap();
    assert_eq!(a3.cgroup, "aws/a3");
    let addresses = &a3.host.addresses;
    assert_eq!(addresses.private, nets(&["172.16.2.1/24", "fd10:0:0:2::1/64"]));
    assert_eq!(addresses.public, nets(&["198.18.2.1/32", "2001:db8:2::1/128"]));
    assert_eq!(
        addresses.gateways,
        ["172.16.2.254".parse::<IpAddr>().unwrap(), "fd10:0:0:2::fe".parse().unwrap()]
    );
    let east = &plan.locations[1];
    assert_eq!(east.gateways, nets(&["172.16.2.254/24", "fd10:0:0:2::fe/64"]));
    assert_eq!(east.uplink, nets(&["198.18.2.254/32", "2001:db8:2::fe/128"]));
    assert_eq!(east.public, nets(&["198.18.2.0/24", "2001:db8:2::/48"]));
    let controller = &plan.clusters[1].controller;
    assert_eq!((controller.netns.as_str(), controller.location, controller.number), ("cwc_gcp", 3, 250));
    assert_eq!(controller.addresses.private, nets(&["172.16.3.250/24", "fd10:0:0:3::fa/64"]));
}

#[test]
fn machines_that_are_no_nodes() {
    let nodes = "{name: a1, region: west, zone: w1}], hosts: [{name: office, location: west}, {name: home, location: far}";
    let plan = plan(&cluster("aws", 1, "10.1.0.0/16", nodes), "");
    let hosts = &plan.clusters[0].hosts;
    let places: Vec<_> =
        hosts.iter().map(|h| (h.host.netns.as_str(), h.host.location, h.host.number)).collect();
    assert_eq!(places, [("cwh_aws_office", 1, 2), ("cwh_aws_home", 2, 1)]);
    assert_eq!(hosts[1].host.addresses.public, nets(&["198.18.2.1/32", "2001:db8:2::1/128"]));
    assert_eq!(plan.locations[1].netns, "cwl_aws_far");
    assert!(plan.wire(1, 2).is_some());
}

#[test]
fn ways() {
    let plan = two_clusters();
    let rtt = |a, b| plan.wire(a, b).map(|wire| (wire.shape.rtt.as_millis(), wire.shape.rate));
    assert_eq!(rtt(1, 1), None);
    assert_eq!(rtt(1, 2), Some((10, None)), "regions of one cluster");
    assert_eq!(rtt(1, 3), Some((14, None)), "clusters as linked");
    assert_eq!(rtt(4, 2), Some((40, Some(1_000_000_000))), "the narrower link wins, in both directions");
    assert_eq!(rtt(2, 4), rtt(4, 2));
    assert_eq!(plan.wires.len(), 6);
    let apart = plan_of_two_without_links();
    assert_eq!(apart.wire(1, 2).unwrap().shape.rtt, Duration::from_millis(20), "clusters nobody linked");
}

fn plan_of_two_without_links() -> Plan {
    let one = |n: &str| format!("{{name: {n}, region: r, zone: z}}");
    plan(&(cluster("a", 1, "10.1.0.0/16", &one("x")) + &cluster("b", 2, "10.2.0.0/16", &one("x"))), "")
}

#[test]
fn slices_of_pod_ranges() {
    let node = |n: usize, cidr: &str| format!("{{name: n{n}, region: r, zone: z, podCIDRs: [{cidr}]}}");
    type Texts = &'static [&'static str];
    let cases: [(&str, Texts, &[Texts]); 6] = [
        (
            "10.1.0.0/16, 'fd00:1::/48'",
            &["", ""],
            &[&["10.1.0.0/24", "fd00:1::/64"], &["10.1.1.0/24", "fd00:1:0:1::/64"]],
        ),
        ("10.1.0.0/25", &["", "", ""], &[&["10.1.0.0/27"], &["10.1.0.32/27"], &["10.1.0.64/27"]]),
        ("10.1.0.0/24", &[""], &[&["10.1.0.0/24"]]),
        ("'fd00:1::/112'", &["", ""], &[&["fd00:1::/113"], &["fd00:1::8000/113"]]),
        ("10.1.0.0/23", &["", "10.1.0.0/24"], &[&["10.1.1.0/24"], &["10.1.0.0/24"]]),
        ("10.1.0.0/24, 10.3.0.0/24", &["", ""], &[&["10.1.0.0/24"], &["10.3.0.0/24"]]),
    ];
    for (pods, given, want) in cases {
        let nodes: Vec<String> = given.iter().enumerate().map(|(n, cidr)| node(n, cidr)).collect();
        let plan = plan(&cluster("a", 1, pods, &nodes.join(", ")), "");
        let got: Vec<Vec<IpNet>> = plan.nodes().map(|node| node.pod_cidrs.clone()).collect();
        let want: Vec<Vec<IpNet>> = want.iter().map(|nets_of_one| nets(nets_of_one)).collect();
        assert_eq!(got, want, "{pods}");
    }
}

#[test]
fn kubernetes_nodes() {
    let plan = two_clusters();
    let node = plan.nodes().next().unwrap().manifest();
    assert_eq!(node["metadata"]["labels"]["topology.kubernetes.io/region"], "west");
    assert_eq!(node["metadata"]["labels"]["topology.kubernetes.io/zone"], "w1");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "a1");
    assert_eq!(node["spec"]["podCIDRs"], serde_json::json!(["10.1.0.0/24", "fd00:1::/64"]));
    let addresses = node["status"]["addresses"].as_array().unwrap();
    let of = |kind: &str| -> Vec<&str> {
        addresses.iter().filter(|a| a["type"] == kind).filter_map(|a| a["address"].as_str()).collect()
    };
    assert_eq!(of("InternalIP"), ["172.16.1.1", "fd10:0:0:1::1"]);
    assert_eq!(of("ExternalIP"), ["198.18.1.1", "2001:db8:1::1"]);
    let basement = plan.nodes().last().unwrap().manifest();
    assert_eq!(basement["metadata"]["labels"]["causeway.io/location"], "basement");
}

#[test]
fn nodes_behind_a_nat_have_no_public_address() {
    let nodes = "{name: a1, region: west, zone: w1}, {name: a2, region: west, zone: w1, nat: full-cone}, \
                 {name: a3, region: west, zone: w1, nat: none}, {name: a4, region: east, zone: e1}";
    let text = cluster("aws", 1, "10.1.0.0/16", nodes).replace("nodes:", "nat: symmetric, nodes:");
    let plan = plan(&text, "");
    let outside: Vec<Option<String>> =
        plan.nodes().map(|node| node.host.nat.map(|nat| nat.outside.to_string())).collect();
    let [shared, own, east] = ["198.18.1.253", "198.18.1.2", "198.18.2.253"].map(|ip| Some(ip.to_string()));
    assert_eq!(outside, [shared, own, None, east]);
    for node in plan.nodes() {
        assert_eq!(node.host.public_ips().is_empty(), node.host.nat.is_some(), "{}", node.name);
    }
    let nats = plan.nats(1);
    let inside: Vec<_> = nats.iter().map(|nat| (nat.kind, nat.inside.len())).collect();
    assert_eq!(inside, [(NatKind::FullCone, 1), (NatKind::Symmetric, 1)]);
    assert_eq!(plan.nats(2)[0].inside, [Ipv4Addr::new(172, 16, 2, 1)]);
}
