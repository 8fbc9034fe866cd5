use proptest::prelude::*;

use super::*;
use crate::{encode_change, encode_object, strategies};

proptest! {
    #[test]
    fn what_is_told_is_heard(change in strategies::change()) {
        let bytes = encode_change(&change).encode_to_vec();
        prop_assert_eq!(decode_change(&bytes), Ok(change));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = decode_change(&bytes);
    }

    #[test]
    fn damage_is_read_or_refused(change in strategies::change(), at: prop::sample::Index, bits in 1u8..) {
        let mut bytes = encode_change(&change).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(heard) = decode_change(&bytes) {
            // Whatever passes the border can be told again.
            prop_assert_eq!(decode_change(&encode_change(&heard).encode_to_vec()), Ok(heard));
        }
    }
}

fn an_endpoint() -> pb::Endpoint {
    let service = pb::ServiceKey { cluster: "aws".into(), namespace: "demo".into(), name: "echo".into() };
    pb::Endpoint {
        key: Some(pb::EndpointKey { service: Some(service), name: "echo-0".into() }),
        ips: vec![vec![10, 1, 0, 1]],
        ports: vec![pb::Port { protocol: 1, port: 80, ..pb::Port::default() }],
        node: Some(pb::NodeName { cluster: "aws".into(), node: "aws-1".into() }),
        ..pb::Endpoint::default()
    }
}

fn a_node() -> pb::Node {
    pb::Node {
        name: Some(pb::NodeName { cluster: "aws".into(), node: "aws-1".into() }),
        pod_cidrs: vec![pb::Prefix { address: vec![10, 1, 0, 0], length: 24 }],
        public_key: vec![1; 32],
        port: 51820,
        ..pb::Node::default()
    }
}

fn refused(object: pb::object::Object) -> String {
    let change = pb::change::Change::Upsert(pb::Object { object: Some(object) });
    let bytes = pb::Change { change: Some(change) }.encode_to_vec();
    decode_change(&bytes).expect_err("should be refused").error.to_string()
}

#[test]
fn endpoints_that_are_none() {
    type Spoil = fn(&mut pb::Endpoint);
    let cases: &[(&str, Spoil)] = &[
        ("key is missing", |e| e.key = None),
        ("a service's key is missing", |e| e.key.as_mut().unwrap().service = None),
        ("an endpoint's name", |e| e.key.as_mut().unwrap().name.clear()),
        ("printable ASCII", |e| e.key.as_mut().unwrap().name = "a b".into()),
        ("printable ASCII", |e| e.key.as_mut().unwrap().name = "x".repeat(254)),
        ("cluster name", |e| e.node.as_mut().unwrap().cluster = "AWS".into()),
        ("node name", |e| e.node.as_mut().unwrap().node = "a/b".into()),
        ("has 5 bytes", |e| e.ips = vec![vec![1; 5]]),
        ("has 0 bytes", |e| e.ips = vec![vec![]]),
        ("no host's address", |e| e.ips = vec![vec![0; 4]]),
        ("no host's address", |e| e.ips = vec![vec![224, 0, 0, 1]]),
        ("no host's address", |e| {
            e.ips = vec![vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 1]];
        }),
        ("two of one family", |e| e.ips = vec![vec![10, 1, 0, 1], vec![10, 1, 0, 2]]),
        ("3 an endpoint's addresses", |e| e.ips = vec![vec![10, 1, 0, 1]; 3]),
        ("protocol number 99", |e| e.ports[0].protocol = 99),
        ("protocol number 0", |e| e.ports[0].protocol = 0),
        ("a port is 0", |e| e.ports[0].port = 0),
        ("a port is 65536", |e| e.ports[0].port = 65536),
        ("1025 ports", |e| e.ports = vec![e.ports[0].clone(); 1025]),
        ("a port's name", |e| e.ports[0].name = "x".repeat(64)),
        ("weight is 65536", |e| e.weight = 65536),
        ("a label's value", |e| {
            e.labels.insert("app".into(), "x".repeat(64));
        }),
        ("a label's key", |e| {
            e.labels.insert(String::new(), String::new());
        }),
        ("1025 labels", |e| e.labels = (0..1025).map(|i| (i.to_string(), String::new())).collect()),
    ];
    for (expected, spoil) in cases {
        let mut endpoint = an_endpoint();
        spoil(&mut endpoint);
        let message = refused(pb::object::Object::Endpoint(endpoint));
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
}

#[test]
fn nodes_that_are_none() {
    type Spoil = fn(&mut pb::Node);
    let cases: &[(&str, Spoil)] = &[
        ("a node's name is missing", |n| n.name = None),
        ("10.1.0.0/33", |n| n.pod_cidrs[0].length = 33),
        ("10.1.0.0/4000", |n| n.pod_cidrs[0].length = 4000),
        ("bits beyond its length", |n| n.pod_cidrs[0].length = 15),
        ("two of one family", |n| n.pod_cidrs = vec![n.pod_cidrs[0].clone(); 2]),
        ("65 pod CIDRs", |n| n.pod_cidrs = vec![n.pod_cidrs[0].clone(); 65]),
        ("32 bytes, not 31", |n| n.public_key = vec![1; 31]),
        ("port is 65536", |n| n.port = 65536),
        ("provider", |n| n.provider = "p".repeat(254)),
        ("region", |n| n.region = "ü".into()),
        ("zone", |n| n.zone = "z".repeat(254)),
        ("65 private addresses", |n| n.private_ips = vec![vec![10, 0, 0, 1]; 65]),
    ];
    for (expected, spoil) in cases {
        let mut node = a_node();
        spoil(&mut node);
        let message = refused(pb::object::Object::Node(node));
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
}

#[test]
fn what_it_was_about_is_known_even_so() {
    let object = pb::object::Object::Endpoint(pb::Endpoint { ips: vec![vec![1]], ..an_endpoint() });
    let change = pb::change::Change::Upsert(pb::Object { object: Some(object) });
    let unreadable = parse_change(pb::Change { change: Some(change) }).unwrap_err();
    assert_eq!(unreadable.key.unwrap().to_string(), "endpoint aws/demo/echo/echo-0");
}

#[test]
fn later_versions_may_add() {
    // A field this version does not know, inside an object it does: number 1000, varint 1.
    let mut object = an_endpoint().encode_to_vec();
    object.extend_from_slice(&[0xc0, 0x3e, 0x01]);
    let endpoint = pb::Endpoint::decode(&*object).unwrap();
    assert_eq!(endpoint, an_endpoint());
    // What an earlier one cannot say, nobody has said: how clients are spread as of 1.3, `aws=3`.
    let before = pb::Traffic::decode(&b"\x1a\x07\x0a\x03aws\x10\x03"[..]).unwrap();
    assert_eq!((before.cluster_weights["aws"], before.capacities.len()), (3, 0));
    // A kind of object it does not know: refused, alone.
    let change = [&[0x0a, 0x03, 0xc2, 0x3e, 0x00][..]].concat();
    assert_eq!(decode_change(&change).unwrap_err().error, ParseError::Missing("object"));
    let body = pb::object::Object::Node(a_node());
    let node = parse_object(pb::Object { object: Some(body) }).unwrap();
    assert_eq!(parse_object(encode_object(&node)), Ok(node));
}

fn a_policy() -> pb::Policy {
    let rule = pb::PolicyRule {
        path: "spec.ingress[0]".into(),
        action: pb::PolicyAction::Accept.into(),
        ..pb::PolicyRule::default()
    };
    pb::Policy {
        name: Some(pb::PolicyName {
            cluster: "aws".into(),
            kind: pb::PolicyKind::NetworkPolicy.into(),
            namespace: "demo".into(),
            name: "allow".into(),
        }),
        tier: pb::PolicyTier::Namespace.into(),
        subject: Some(pb::PodSelector {
            namespaces: Some(pb::pod_selector::Namespaces::Named("demo".into())),
            pods: None,
        }),
        ingress: Some(pb::PolicyRules { rules: vec![rule] }),
        ..pb::Policy::default()
    }
}

fn with_peers(peers: Vec<pb::policy_peer::Peer>) -> impl FnOnce(&mut pb::Policy) {
    let peers = peers.into_iter().map(|peer| pb::PolicyPeer { peer: Some(peer) }).collect();
    |p| p.ingress.as_mut().unwrap().rules[0].peers = Some(pb::PolicyPeers { peers })
}

fn networks(ranges: usize, length: u8) -> pb::policy_peer::Peer {
    let v4 = (0..ranges).flat_map(|n| [10, (n >> 16) as u8, (n >> 8) as u8, n as u8, length]);
    pb::policy_peer::Peer::Networks(pb::Networks { ranges4: v4.collect(), ..pb::Networks::default() })
}

#[test]
fn policies_that_are_none() {
    use pb::policy_peer::Peer;
    type Spoil = Box<dyn FnOnce(&mut pb::Policy)>;
    let selector = |requirements| pb::Selector { requirements };
    let requirement = |operator, values| pb::Requirement { key: "app".into(), operator, values };
    let port = |port| {
        move |p: &mut pb::Policy| {
            let ports = vec![pb::PolicyPort { port }];
            p.ingress.as_mut().unwrap().rules[0].ports = Some(pb::PolicyPorts { ports });
        }
    };
    let range =
        |protocol, first, last| Some(pb::policy_port::Port::Range(pb::PortRange { protocol, first, last }));
    let rules = |n: usize| {
        move |p: &mut pb::Policy| {
            let rules = &mut p.ingress.as_mut().unwrap().rules;
            *rules = vec![rules[0].clone(); n];
        }
    };
    let cases: Vec<(&str, Spoil)> = vec![
        ("name is missing", Box::new(|p| p.name = None)),
        ("kind of policy 9", Box::new(|p| p.name.as_mut().unwrap().kind = 9)),
        ("a/b", Box::new(|p| p.name.as_mut().unwrap().name = "a/b[0]".into())),
        ("tier of policies 0", Box::new(|p| p.tier = 0)),
        ("priority is 1001", Box::new(|p| p.priority = 1001)),
        ("subject is missing", Box::new(|p| p.subject = None)),
        ("subjects of a policy", Box::new(move |p| p.nodes = Some(selector(Vec::new())))),
        ("choice of namespaces", Box::new(|p| p.subject.as_mut().unwrap().namespaces = None)),
        ("action of a rule 7", Box::new(|p| p.ingress.as_mut().unwrap().rules[0].action = 7)),
        ("a rule's path", Box::new(|p| p.ingress.as_mut().unwrap().rules[0].path.clear())),
        ("a rule's name", Box::new(|p| p.ingress.as_mut().unwrap().rules[0].name = "a\nb".into())),
        ("65537 parts", Box::new(rules(65_537))),
        ("entity 77", Box::new(with_peers(vec![Peer::Entity(77)]))),
        ("operator 5", Box::new(with_peers(vec![Peer::Nodes(selector(vec![requirement(5, vec![])]))]))),
        (
            "parts of a policy",
            Box::new(with_peers(vec![Peer::Nodes(selector(vec![requirement(1, vec!["a".into(); 65_536])]))])),
        ),
        ("10.0.0.1/31", Box::new(with_peers(vec![networks(2, 31)]))),
        ("10.0.0.0/33", Box::new(with_peers(vec![networks(1, 33)]))),
        ("131073 a policy's ranges", Box::new(with_peers(vec![networks(65_537, 32), networks(65_536, 32)]))),
        (
            "has 3 bytes",
            Box::new(with_peers(vec![Peer::Networks(pb::Networks {
                except6: vec![1; 20],
                ..pb::Networks::default()
            })])),
        ),
        (
            "peer is missing",
            Box::new(|p| {
                let peers = vec![pb::PolicyPeer { peer: None }];
                p.ingress.as_mut().unwrap().rules[0].peers = Some(pb::PolicyPeers { peers });
            }),
        ),
        ("protocol number 0", Box::new(port(range(0, 1, 2)))),
        ("a port is 65536", Box::new(port(range(1, 1, 65536)))),
        ("last port of a range is 1", Box::new(port(range(1, 2, 1)))),
        ("a port is missing", Box::new(port(None))),
        (
            "type of ICMP is 256",
            Box::new(port(Some(pb::policy_port::Port::Icmp(pb::Icmp { v6: false, r#type: Some(256) })))),
        ),
    ];
    assert!(parse_object(pb::Object { object: Some(pb::object::Object::Policy(a_policy())) }).is_ok());
    for (expected, spoil) in cases {
        let mut policy = a_policy();
        spoil(&mut policy);
        let message = refused(pb::object::Object::Policy(policy));
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
}

#[test]
fn a_policy_of_a_hundred_thousand_ranges_passes() {
    let mut policy = a_policy();
    with_peers(vec![networks(100_000, 32)])(&mut policy);
    let change = pb::change::Change::Upsert(pb::Object { object: Some(pb::object::Object::Policy(policy)) });
    let bytes = pb::Change { change: Some(change) }.encode_to_vec();
    assert!(bytes.len() < limits::FRAME_BYTES / 2, "{} bytes", bytes.len());
    let Ok(Change::Upsert(Object::Policy(policy))) = decode_change(&bytes) else { panic!("refused") };
    assert_eq!(policy.size(), (2, 100_000));
}
