//! A small lab, its reports made by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::{ClusterName, NodeName, ObjectName, ServiceKey, Tier, Topology};
use wire::local;

use super::*;
use crate::plan::Plan;

const FILE: &str = "\
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: aws
  id: 1
  podCIDRs: [10.1.0.0/16]
  serviceCIDRs: [10.101.0.0/16]
  nodes:
  - {name: aws-1, region: eu, zone: eu-a}
  - {name: aws-2, region: eu, zone: eu-b}
- name: gcp
  id: 2
  podCIDRs: [10.2.0.0/16]
  serviceCIDRs: [10.102.0.0/16]
  nodes:
  - {name: gcp-1, region: west, zone: west-b}
";

fn plan() -> Plan {
    let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    Plan::new(&crate::file::parse(Path::new("lab.yaml"), FILE, none).unwrap())
}

fn node(text: &str) -> NodeName {
    text.to_string().try_into().unwrap()
}

fn cluster(text: &str) -> ClusterName {
    text.parse().unwrap()
}

fn echo(of: &str) -> ServiceKey {
    ServiceKey { cluster: cluster(of), name: "demo/echo".parse::<ObjectName>().unwrap() }
}

fn backend(of: &str, on: &str, tier: Tier) -> local::BackendStatus {
    local::BackendStatus {
        pod: format!("demo/echo-{on}"),
        ips: vec![],
        node: Some(on.into()),
        zone: String::new(),
        region: String::new(),
        cluster: cluster(of),
        tier,
        weight: 1,
        healthy: true,
        takes: true,
        share: 0.0,
        why: String::new(),
    }
}

fn agent(name: &str, backends: Vec<local::BackendStatus>) -> NodeReport {
    let name = node(name);
    let service = local::ServiceStatus {
        service: echo(name.cluster.as_str()),
        vips: vec![],
        ports: vec![],
        global: true,
        backends,
    };
    let agent = local::AgentStatus {
        node: name.clone(),
        version: String::new(),
        pid: 7,
        uptime_seconds: 1.0,
        ready: true,
        waiting_for: vec![],
        rss_bytes: 1 << 20,
        controller: local::StreamStatus::default(),
        topology: Topology::default(),
        location: String::new(),
        public_key: None,
        wireguard: "userspace".into(),
        tunnels: vec![],
        peers: vec![],
        services: vec![service],
        underlay: String::new(),
        pod_cidrs: vec![],
        kube_proxy: Default::default(),
        features: vec![],
        pending_operations: 0,
        problems: vec![],
    };
    NodeReport { name, up: true, restarts: 0, agent: Ok(agent) }
}

fn controller(of: &str, peers: &[&str]) -> ControllerReport {
    let link = |peer: &&str| local::LinkStatus {
        cluster: cluster(peer),
        id: 2,
        dials: true,
        declared_by: None,
        stream: local::StreamStatus { connected: true, ..Default::default() },
        nodes: 1,
        services: 1,
        endpoints: 1,
        refused: 0,
        state: Default::default(),
        since_seconds: 0.0,
        flow: Default::default(),
    };
    let status = local::ControllerStatus {
        cluster: cluster(of),
        id: 1,
        authority: Default::default(),
        version: String::new(),
        pid: 8,
        ready: true,
        rss_bytes: 1,
        revision: 9,
        agents: vec![],
        links: peers.iter().map(link).collect(),
        problems: vec![],
        role: Default::default(),
        source: Default::default(),
        objects: Default::default(),
        complaints: vec![],
    };
    ControllerReport { restarts: 1, controller: Ok(status) }
}

/// Two clusters, three nodes, one echo on aws-1 and one on gcp-1; everything known everywhere.
fn reports() -> (Vec<ControllerReport>, Vec<NodeReport>) {
    let controllers = vec![controller("aws", &["gcp"]), controller("gcp", &["aws"])];
    let nodes = vec![
        agent(
            "aws/aws-1",
            vec![backend("aws", "aws-1", Tier::Node), backend("gcp", "gcp-1", Tier::Elsewhere)],
        ),
        agent(
            "aws/aws-2",
            vec![backend("aws", "aws-1", Tier::Region), backend("gcp", "gcp-1", Tier::Elsewhere)],
        ),
        agent(
            "gcp/gcp-1",
            vec![backend("gcp", "gcp-1", Tier::Node), backend("aws", "aws-1", Tier::Elsewhere)],
        ),
    ];
    (controllers, nodes)
}

#[test]
fn side_by_side() {
    let (plan, (controllers, mut nodes)) = (plan(), reports());
    nodes[0].agent = Err("not running".into());
    let status = merge(&plan, &BTreeSet::new(), &controllers, &nodes, vec![], None);
    assert_eq!(status.clusters.len(), 2);
    assert_eq!(status.clusters[0].controller.restarts, 1);
    assert_eq!(status.links.len(), 2);
    assert_eq!(status.wires[0].between, ["aws/eu", "gcp/west"]);
    let first = status.node(&node("aws/aws-1")).unwrap();
    assert!(!first.agent.ready && first.agent.error == "not running");
    // aws-1 does not answer, so aws' services are told by aws-2.
    let echo = &status.services[0];
    assert_eq!((echo.from.as_str(), echo.backends[0].tier), ("aws-2", Tier::Region));
    assert_eq!(echo.backends[0].pod, "echo-aws-1");
    assert_eq!(echo.backends[0].tiers, BTreeMap::from([("aws-2".into(), Tier::Region)]));
}

#[test]
fn cuts() {
    let (plan, (controllers, nodes)) = (plan(), reports());
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let mut cuts = BTreeSet::from([pair("cwn_aws_aws-1", "cwn_gcp_gcp-1")]);
    let status = merge(&plan, &cuts, &controllers, &nodes, vec![], None);
    assert_eq!(status.cuts, [["aws/aws-1", "gcp/gcp-1"]]);
    assert!(status.wires[0].up, "others still reach each other");
    for a in ["cwn_aws_aws-1", "cwn_aws_aws-2", "cwc_aws"] {
        cuts.extend(["cwn_gcp_gcp-1", "cwc_gcp"].map(|b| pair(a.min(b), a.max(b))));
    }
    let status = merge(&plan, &cuts, &controllers, &nodes, vec![], None);
    assert!(!status.wires[0].up);
    assert!(status.cuts.contains(&["aws/_controller".into(), "gcp/_controller".into()]));
}

#[test]
fn from_another_node() {
    let (plan, (controllers, nodes)) = (plan(), reports());
    for (from, viewers) in [
        (None, ["aws-1", "gcp-1"]),
        (Some("aws/aws-2"), ["aws-2", "gcp-1"]),
        (Some("gcp/gcp-1"), ["aws-1", "gcp-1"]),
    ] {
        let status = merge(&plan, &BTreeSet::new(), &controllers, &nodes, vec![], from.map(node).as_ref());
        let seen: Vec<&str> = status.services.iter().map(|service| service.from.as_str()).collect();
        assert_eq!(seen, viewers, "{from:?}");
        assert_eq!(status.services[0].backends[0].tiers.len(), 2);
    }
}

#[test]
fn settled() {
    let plan = plan();
    let ready = ["10.1.0.2", "2001:db8::2"].map(|ip| vec![ip.parse().unwrap()]).to_vec();
    let one = |of| Expected { service: echo(of), global: true, ready: ready.clone() };
    // Nobody here speaks IPv6: the second endpoint of each is not waited for.
    let expected = ["aws", "gcp"].map(one);
    let check = |change: &dyn Fn(&mut Vec<ControllerReport>, &mut Vec<NodeReport>), said: &[&str]| {
        let (mut controllers, mut nodes) = reports();
        change(&mut controllers, &mut nodes);
        let missing = unsettled(&plan, &controllers, &nodes, &[], &expected);
        assert_eq!(missing.len(), said.len(), "{missing:?}");
        for (missing, said) in missing.iter().zip(said) {
            assert!(missing.contains(said), "{missing}");
        }
    };
    check(&|_, _| (), &[]);
    check(&|_, nodes| nodes[1].agent = Err("starting".into()), &["agent of aws/aws-2: starting"]);
    check(
        &|_, nodes| {
            nodes[1].up = false;
            nodes[1].agent = Err("down".into());
        },
        &[],
    );
    check(&|_, nodes| nodes[0].agent.as_mut().unwrap().ready = false, &["agent of aws/aws-1 waits"]);
    check(
        &|_, nodes| nodes[2].agent.as_mut().unwrap().services[0].backends.truncate(1),
        &["gcp/gcp-1 sees 1 of 2 backends of gcp/demo/echo"],
    );
    check(&|_, nodes| nodes[0].agent.as_mut().unwrap().services.clear(), &["does not know aws/demo/echo"]);
    check(&|c, _| c[0].controller.as_mut().unwrap().links.clear(), &["aws has 0 of 1 links"]);
    check(
        &|c, _| c[1].controller.as_mut().unwrap().links[0].stream.connected = false,
        &["link from gcp to aws: not connected"],
    );
}

#[test]
fn pods_are_waited_for() {
    let (plan, (controllers, nodes)) = (plan(), reports());
    let pod = |ready, phase: &str, message: &str| PodStatus {
        cluster: cluster("aws"),
        namespace: "demo".into(),
        name: "p".into(),
        node: None,
        ips: vec![],
        netns: String::new(),
        ready,
        phase: phase.into(),
        restarts: 0,
        message: message.into(),
    };
    let pods =
        [pod(true, "Running", ""), pod(false, "Succeeded", ""), pod(false, "Pending", "no such program")];
    let missing = unsettled(&plan, &controllers, &nodes, &pods, &[]);
    assert_eq!(missing, ["pod aws/demo/p: no such program"]);
}
