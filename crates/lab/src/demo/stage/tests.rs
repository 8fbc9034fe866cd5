//! Which players are found in which lab.

use model::PublicKey;
use wire::local::TunnelStatus;

use super::*;
use crate::status::{AgentStatus, NodeStatus, PodStatus, WireStatus};

fn name(text: &str) -> ClusterName {
    ClusterName::new(text).unwrap()
}

fn node(cluster: &str, number: u8, tunnels: Vec<TunnelStatus>) -> NodeStatus {
    NodeStatus {
        cluster: name(cluster),
        name: format!("{cluster}-{number}"),
        netns: String::new(),
        region: "r".into(),
        zone: format!("z{number}"),
        location: "r".into(),
        up: true,
        private_ips: vec![],
        public_ips: vec![],
        pod_cidrs: vec![],
        agent: AgentStatus { ready: true, ..AgentStatus::default() },
        tunnels,
        peers: vec![],
        features: vec![],
    }
}

fn tunnel(peer: &str, rtt_ms: f64) -> TunnelStatus {
    TunnelStatus {
        peer: peer.to_string().try_into().unwrap(),
        public_key: PublicKey([0; 32]),
        endpoint: None,
        last_handshake_seconds: Some(1.0),
        rtt_ms: Some(rtt_ms),
        rx_bytes: 0,
        tx_bytes: 0,
        alive: true,
        transport: Default::default(),
        path: Default::default(),
        relay: None,
        generation: None,
        peer_location: String::new(),
        peer_topology: model::Topology::default(),
    }
}

fn backend(cluster: &str, number: u8, tier: Tier) -> BackendStatus {
    BackendStatus {
        pod: format!("echo-{cluster}-{number}"),
        ips: vec![[10, 0, 0, number].into()],
        node: Some(format!("{cluster}-{number}")),
        zone: format!("z{number}"),
        region: "r".into(),
        cluster: name(cluster),
        tier,
        healthy: true,
        share: 0.0,
        why: String::new(),
        tiers: BTreeMap::from([("aws-1".to_string(), tier)]),
    }
}

fn pod(cluster: &str, kind: &str, number: u8) -> PodStatus {
    PodStatus {
        cluster: name(cluster),
        namespace: "demo".into(),
        name: format!("{kind}-{cluster}-{number}"),
        node: Some(format!("{cluster}-{number}")),
        ips: vec![],
        netns: format!("cwp_{cluster}_demo_{kind}-{cluster}-{number}"),
        ready: true,
        phase: "Running".into(),
        restarts: 0,
        message: String::new(),
    }
}

/// A lab like the default one, as far as the story looks.
fn lab() -> LabStatus {
    let tunnels = vec![tunnel("aws/aws-2", 0.1), tunnel("azure/azure-1", 22.5), tunnel("gcp/gcp-1", 14.2)];
    let backends = vec![
        backend("aws", 1, Tier::Node),
        backend("aws", 2, Tier::Region),
        backend("gcp", 1, Tier::Elsewhere),
        backend("azure", 1, Tier::Elsewhere),
    ];
    let pods =
        backends.iter().map(|b| pod(b.cluster.as_str(), "echo", b.ips[0].to_string().as_bytes()[7] - b'0'));
    LabStatus {
        nodes: vec![node("aws", 1, tunnels), node("aws", 2, vec![])],
        pods: pods.chain([pod("aws", "client", 1)]).collect(),
        services: vec![ServiceStatus {
            cluster: name("aws"),
            namespace: "demo".into(),
            name: "echo".into(),
            vips: vec![[10, 101, 0, 7].into()],
            ports: vec![],
            global: true,
            from: "aws-1".into(),
            backends,
        }],
        ..LabStatus::default()
    }
}

#[test]
fn the_default_lab_has_everybody() {
    let stage = Stage::set(&lab()).unwrap();
    assert_eq!(stage.client, "aws/demo/client-aws-1");
    assert_eq!(stage.own.pod, "aws/demo/echo-aws-1");
    assert_eq!(stage.own.netns, "cwp_aws_demo_echo-aws-1");
    assert_eq!(stage.rest.iter().map(Backend::name).collect::<Vec<_>>(), ["echo-aws-2"]);
    assert_eq!(stage.next_tier, Tier::Region);
    assert_eq!(stage.url(), "http://10.101.0.7/");
    let clouds: Vec<&str> = stage.clouds.iter().map(|(cloud, _)| cloud.as_str()).collect();
    assert_eq!(clouds, ["gcp", "azure"], "nearest first");
}

#[test]
fn measured_times_are_believed_once_they_are_near_the_wires() {
    let wire = |cloud: &str, rtt_ms| WireStatus {
        between: [format!("{cloud}/r"), "aws/r".into()],
        rtt_ms,
        loss: 0.0,
        rate: None,
        mtu: None,
        up: true,
    };
    let stage = Stage::set(&lab()).unwrap();
    for (gcp, calm) in [(14.0, true), (11.0, true), (5.0, false)] {
        let status = LabStatus { wires: vec![wire("gcp", gcp), wire("azure", 22.0)], ..lab() };
        assert_eq!(stage.clouds_now(&status), (stage.clouds.clone(), calm), "{gcp} ms");
    }
}

#[test]
fn labs_that_lack_someone_or_are_not_whole() {
    type Case = (&'static str, fn(&mut LabStatus), &'static str);
    let cases: [Case; 7] = [
        (
            "no client",
            |lab| lab.pods.retain(|pod| !pod.name.starts_with("client")),
            "lacks a pod demo/client-",
        ),
        ("no service", |lab| lab.services.clear(), "lacks a pod demo/client-"),
        ("no address", |lab| lab.services[0].vips.clear(), "lacks an address"),
        ("one backend", |lab| drop(lab.services[0].backends.remove(1)), "lacks a second backend"),
        ("two clouds", |lab| drop(lab.services[0].backends.pop()), "lacks two more clusters"),
        ("a node is down", |lab| lab.nodes[1].agent.ready = false, "node aws/aws-2 is not ready"),
        ("a backend is out", |lab| lab.services[0].backends[2].healthy = false, "echo-gcp-1 of gcp is out"),
    ];
    for (name, change, words) in cases {
        let mut lab = lab();
        change(&mut lab);
        let error = Stage::set(&lab).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
        assert!(error.contains("causeway lab"), "{name}: {error}");
    }
}
