use model::{KubeProxy, NodeName, Protocol, PublicKey, ServiceKey, Topology};

use wire::local::{KubeProxyStatus, OldRoot};

use super::*;

pub(crate) fn a_tunnel(peer: &str, rtt_ms: Option<f64>, alive: bool) -> TunnelStatus {
    let peer = NodeName::try_from(peer.to_string()).unwrap();
    let region = if peer.cluster.as_str() == "aws" { "eu-west-1" } else { "europe-west1" };
    TunnelStatus {
        peer_topology: Topology { region: region.into(), zone: format!("{region}b"), ..Topology::default() },
        peer_location: region.into(),
        peer,
        public_key: PublicKey([1; 32]),
        endpoint: rtt_ms.map(|_| "198.18.2.1:51820".parse().unwrap()),
        last_handshake_seconds: rtt_ms.map(|_| 64.0),
        rtt_ms,
        rx_bytes: 21_400_000,
        tx_bytes: 812,
        alive,
        transport: Default::default(),
        path: Default::default(),
        relay: None,
        generation: None,
    }
}

fn a_backend(cluster: &str, tier: Tier, healthy: bool, share: f64) -> BackendStatus {
    BackendStatus {
        pod: "demo/echo".into(),
        ips: vec![],
        node: None,
        zone: String::new(),
        region: String::new(),
        cluster: cluster.parse().unwrap(),
        tier,
        weight: 1,
        healthy,
        takes: share > 0.0,
        share,
        why: String::new(),
    }
}

fn a_service(name: &str, vips: &[&str], backends: Vec<BackendStatus>) -> ServiceStatus {
    ServiceStatus {
        service: ServiceKey { cluster: "aws".parse().unwrap(), name: name.parse().unwrap() },
        vips: vips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ports: vec![
            PortStatus { name: "tcp".into(), protocol: Protocol::Tcp, port: 80 },
            PortStatus { name: "udp".into(), protocol: Protocol::Udp, port: 80 },
        ],
        global: backends.len() > 1,
        backends,
    }
}

pub(crate) fn an_agent() -> AgentStatus {
    AgentStatus {
        node: NodeName::try_from("aws/aws-1".to_string()).unwrap(),
        version: "0.1.0".into(),
        pid: 4242,
        uptime_seconds: 185.0,
        ready: true,
        waiting_for: vec![],
        rss_bytes: 17_300_000,
        controller: StreamStatus {
            connected: true,
            address: Some("172.16.1.250:9640".parse().unwrap()),
            revision: 42,
            stale: false,
            last_error: None,
        },
        topology: Topology { region: "eu-west-1".into(), zone: "eu-west-1a".into(), ..Topology::default() },
        location: "eu-west-1".into(),
        public_key: Some(PublicKey([0; 32])),
        wireguard: "userspace".into(),
        tunnels: vec![a_tunnel("aws/aws-2", Some(0.52), true), a_tunnel("gcp/gcp-1", None, false)],
        peers: vec![],
        services: vec![
            a_service(
                "demo/echo",
                &["10.101.0.10", "fd00:101::a"],
                vec![
                    a_backend("aws", Tier::Node, false, 0.0),
                    a_backend("aws", Tier::Region, true, 0.5),
                    a_backend("aws", Tier::Region, true, 0.5),
                    a_backend("gcp", Tier::Elsewhere, true, 0.0),
                    a_backend("azure", Tier::Elsewhere, false, 0.0),
                ],
            ),
            a_service("demo/peers", &[], vec![a_backend("aws", Tier::Node, true, 0.0)]),
        ],
        underlay: "eth0".into(),
        pod_cidrs: vec!["10.1.1.0/24".parse().unwrap(), "fd00:1:0:1::/64".parse().unwrap()],
        kube_proxy: KubeProxyStatus {
            state: KubeProxy::Unknown,
            seen: vec!["nftables table kube-proxy".into()],
        },
        features: vec![
            FeatureStatus {
                name: "tcx".into(),
                present: true,
                purpose: "the underlay guard".into(),
                fallback: None,
            },
            FeatureStatus {
                name: "wireguard".into(),
                present: false,
                purpose: "tunnels".into(),
                fallback: Some("user space".into()),
            },
        ],
        pending_operations: 0,
        problems: vec![],
    }
}

#[test]
fn an_agent_that_is_well() {
    assert_eq!(
        agent(&an_agent()),
        "\
node aws/aws-1: ready
  agent      causeway 0.1.0, process 4242, up 3 min, 17.3 MB resident
  place      region eu-west-1, zone eu-west-1a, location eu-west-1
  controller connected to 172.16.1.250:9640, revision 42
  wireguard  userspace, key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
  pods       10.1.1.0/24 fd00:1:0:1::/64, other nodes by eth0
  kube-proxy unknown: nftables table kube-proxy
  plan       the kernel holds it

tunnels, 1 of 2 answer
  PEER       STATE      RTT  HANDSHAKE  RECEIVED   SENT  ENDPOINT
  aws/aws-2  up     0.52 ms   64 s ago   21.4 MB  812 B  198.18.2.1:51820
  gcp/gcp-1  down         -      never   21.4 MB  812 B  waits to be called

services, 2
  SERVICE             ADDRESS                  PORTS          NODE  ZONE  REGION    CLUSTER  ELSEWHERE
  demo/echo (global)  10.101.0.10 fd00:101::a  80/TCP 80/UDP  0/1   -     2/2 100%  -        gcp 1/1, azure 0/1
  demo/peers          headless                 80/TCP 80/UDP  1/1   -     -         -        -
  (healthy/all backends of each tier; who takes new connections, with its share)

features of the kernel
  FEATURE    PRESENT         FOR
  tcx        yes             the underlay guard
  wireguard  no: user space  tunnels
"
    );
}

#[test]
fn an_agent_that_waits() {
    let mut status = an_agent();
    status.ready = false;
    status.waiting_for = vec!["the first answer of gcp/gcp-1".into()];
    status.controller = StreamStatus {
        stale: true,
        revision: 41,
        last_error: Some("connection refused; is the controller running?".into()),
        ..StreamStatus::default()
    };
    status.public_key = None;
    status.pending_operations = 3;
    status.topology = Topology::default();
    status.pod_cidrs = vec![];
    status.kube_proxy = KubeProxyStatus { state: KubeProxy::Absent, seen: vec![] };
    (status.tunnels, status.services, status.features) = (vec![], vec![], vec![]);
    assert_eq!(
        agent(&status),
        "\
node aws/aws-1: not ready
  waits for  the first answer of gcp/gcp-1
  agent      causeway 0.1.0, process 4242, up 3 min, 17.3 MB resident
  place      region unknown, zone unknown, location eu-west-1
  controller not connected, last revision 41, what is known is from disk: connection refused; is the controller running?
  wireguard  userspace, no key yet
  pods       no range yet, other nodes by eth0
  kube-proxy absent
  plan       3 operations to go

tunnels, 0 of 0 answer

services, 0

features of the kernel
"
    );
}

pub(crate) fn a_controller_status() -> ControllerStatus {
    ControllerStatus {
        cluster: "aws".parse().unwrap(),
        id: 1,
        authority: AuthorityStatus {
            root: "0123456789abcdef0123".into(),
            rotate_at: 1_795_910_400,
            old: vec![OldRoot { root: "fedcba98765432100123".into(), until: 951_868_800 }],
        },
        version: "0.1.0".into(),
        pid: 7,
        ready: true,
        rss_bytes: 9_000_000,
        revision: 42,
        agents: ["aws/aws-1", "aws/aws-2"].map(|n| NodeName::try_from(n.to_string()).unwrap()).into(),
        links: vec![LinkStatus {
            cluster: "gcp".parse().unwrap(),
            id: 2,
            dials: true,
            declared_by: None,
            stream: StreamStatus { connected: true, revision: 9, ..StreamStatus::default() },
            nodes: 2,
            services: 1,
            endpoints: 2,
            refused: 0,
            state: Default::default(),
            since_seconds: 0.0,
            flow: Default::default(),
        }],
        problems: vec!["demo/broken: port 0: use 1 to 65535".into()],
        role: RoleStatus { leads: false, identity: "node-2_1f".into(), leader: Some("node-1_7a".into()) },
        source: SourceStatus {
            kind: "kubernetes".into(),
            server_version: Some("v1.33.1".into()),
            synced_seconds: Some(7200.0),
            away_seconds: Some(42.0),
            away_why: "connection refused".into(),
            ..SourceStatus::default()
        },
        objects: [("nodes".to_string(), 2), ("services".to_string(), 1)].into(),
        complaints: vec![],
    }
}

#[test]
fn a_controller() {
    let status = a_controller_status();
    assert_eq!(
        controller(&status),
        "\
cluster aws: ready
  controller causeway 0.1.0, process 7, 9.0 MB resident
  revision   42
  role       standby; node-1_7a leads
  source     kubernetes v1.33.1, read in full 2 h ago; the API server does not answer since 42 s: connection refused
  objects    2 nodes, 1 services
  CA         root 0123456789abcdef, until 2026-11-29 the next one takes its place; root fedcba9876543210 counts until 2000-03-01

agents connected, 2
  aws-1 aws-2

links, 1
  CLUSTER  STREAM                 NODES  SERVICES  ENDPOINTS  REFUSED
  gcp      connected, revision 9      2         1          2        0

problems, 1
  demo/broken: port 0: use 1 to 65535
"
    );
}
