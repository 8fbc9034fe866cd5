//! Situations with the answers that Kubernetes' own suites expect: nine pods, what is applied to them step by step, and who
//! reaches whom after each step. Data, for whoever can ask: the engine, the oracle, real namespaces.

mod cluster;
mod network;

use std::collections::BTreeSet;

use model::policy::{
    Labels, NamedPort, Namespace, NamespaceChoice, NamespaceName, Operator, Pod, PodName, PodSelector,
    Policy, PolicyAction, PolicyKind, PolicyName, PolicyPeer, PolicyPort, PolicyRule, PolicyTier,
    Requirement, Selector,
};
use model::{ClusterName, NodeName, Protocol};

pub use cluster::cluster_network_policy;
pub use network::network_policy;

/// One thing to show.
#[derive(Debug, Clone)]
pub struct Situation {
    /// What it shows.
    pub name: &'static str,
    /// What happens, and what is so after it.
    pub steps: Vec<Step>,
}

/// What happens, and what is so then.
#[derive(Debug, Clone)]
pub struct Step {
    /// What happens.
    pub changes: Vec<Change>,
    /// What is asked, and who gets an answer.
    pub probes: Vec<Probe>,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Change {
    /// A policy is applied.
    Apply(Policy),
    /// A policy is deleted.
    Delete(PolicyName),
    /// A namespace has these labels besides those it had.
    LabelNamespace(&'static str, &'static str, &'static str),
    /// A pod does: namespace and name, key, value.
    LabelPod(&'static str, &'static str, &'static str),
}

/// A question to all pairs of pods.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The protocol.
    pub protocol: Protocol,
    /// The port that is dialled.
    pub port: u16,
    /// Who does not reach whom, and who does after all: from, to, whether. `x/a` is a pod, `x/*` all of a namespace, `*` all.
    /// The last one that is about a pair counts; who is not named reaches.
    pub expected: Vec<(&'static str, &'static str, bool)>,
}

impl Probe {
    /// Whether one pod, written `NAMESPACE/NAME`, reaches another.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let meant = |pattern: &str, pod: &str| {
            pattern == "*"
                || pattern == pod
                || pattern.strip_suffix('*').is_some_and(|start| pod.starts_with(start))
        };
        let about = self.expected.iter().rev().find(|its| meant(its.0, from) && meant(its.1, to));
        about.is_none_or(|its| its.2)
    }
}

/// The cluster they are in.
pub fn home() -> ClusterName {
    ClusterName::new("c1").expect("a label")
}

/// The node they are on.
pub fn node() -> NodeName {
    NodeName::new(home(), "n1").expect("a label")
}

/// The namespaces x, y and z.
pub fn namespaces() -> Vec<Namespace> {
    let one = |name: &str| Namespace {
        shared: true,
        name: NamespaceName { cluster: home(), name: name.into() },
        labels: labels(&[("ns", name), ("kubernetes.io/metadata.name", name)]),
    };
    ["x", "y", "z"].map(one).to_vec()
}

/// The pods a, b and c of each, at 10.1.0.11 to 10.1.0.33.
pub fn pods() -> Vec<Pod> {
    let mut pods = Vec::new();
    for (row, namespace) in (1..).zip(["x", "y", "z"]) {
        for (column, name) in (1..).zip(["a", "b", "c"]) {
            let named = |protocol: Protocol, port: u16| NamedPort {
                name: match protocol {
                    Protocol::Tcp => format!("serve-{port}"),
                    _ => format!("serve-{port}-{}", protocol.to_string().to_lowercase()),
                },
                protocol,
                port: port.try_into().expect("not 0"),
            };
            let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
            pods.push(Pod {
                name: PodName {
                    namespace: NamespaceName { cluster: home(), name: namespace.into() },
                    name: name.into(),
                },
                ips: vec![std::net::IpAddr::from([10, 1, 0, row * 10 + column])],
                node: Some(node()),
                labels: labels(&[("pod", name)]),
                ports: protocols.into_iter().flat_map(|its| [80, 81].map(|port| named(its, port))).collect(),
            });
        }
    }
    pods
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

// What tables are written with.

/// Labels that are asked for.
fn with(pairs: &[(&str, &str)]) -> Selector {
    let requirement = |(key, value): &(&str, &str)| one_of(key, &[value]).requirements.remove(0);
    let mut requirements: Vec<Requirement> = pairs.iter().map(requirement).collect();
    requirements.sort();
    Selector { requirements }
}

/// One label with one of some values.
fn one_of(key: &str, values: &[&str]) -> Selector {
    let values: BTreeSet<String> = values.iter().map(|value| value.to_string()).collect();
    Selector { requirements: vec![Requirement { key: key.into(), operator: Operator::In(values) }] }
}

/// One label without one of some values.
fn none_of(key: &str, values: &[&str]) -> Selector {
    let values: BTreeSet<String> = values.iter().map(|value| value.to_string()).collect();
    Selector { requirements: vec![Requirement { key: key.into(), operator: Operator::NotIn(values) }] }
}

fn pods_of(namespace: &str, pods: Selector) -> PolicyPeer {
    PolicyPeer::Pods(PodSelector { namespaces: NamespaceChoice::Named(namespace.into()), pods })
}

fn pods_in(namespaces: Selector, pods: Selector) -> PolicyPeer {
    PolicyPeer::Pods(PodSelector { namespaces: NamespaceChoice::Selected(namespaces), pods })
}

fn block(range: &str, except: &[&str]) -> PolicyPeer {
    let net = |text: &str| text.parse().expect("a range");
    PolicyPeer::Networks { ranges: vec![net(range)], except: except.iter().map(|its| net(its)).collect() }
}

fn port(protocol: Protocol, number: u16) -> PolicyPort {
    PolicyPort::Ports { protocol, first: number, last: number }
}

fn tcp(number: u16) -> PolicyPort {
    port(Protocol::Tcp, number)
}

fn called(name: &str) -> PolicyPort {
    PolicyPort::Named { protocol: Some(Protocol::Tcp), name: name.into() }
}

type Rules = Vec<PolicyRule>;

fn rule(
    action: PolicyAction,
    peers: impl Into<Option<Vec<PolicyPeer>>>,
    ports: impl Into<Option<Vec<PolicyPort>>>,
) -> PolicyRule {
    let (path, name) = Default::default();
    PolicyRule { path, name, action, peers: peers.into(), ports: ports.into() }
}

fn accept(
    peers: impl Into<Option<Vec<PolicyPeer>>>,
    ports: impl Into<Option<Vec<PolicyPort>>>,
) -> PolicyRule {
    rule(PolicyAction::Accept, peers, ports)
}

/// A policy, its rules' paths filled in.
fn policy(
    name: (PolicyKind, &str, &str),
    tier: PolicyTier,
    subject: (NamespaceChoice, Selector),
    [mut ingress, mut egress]: [Option<Rules>; 2],
) -> Change {
    for (side, rules) in [("ingress", &mut ingress), ("egress", &mut egress)] {
        for (at, rule) in rules.iter_mut().flatten().enumerate() {
            rule.path = format!("spec.{side}[{at}]");
        }
    }
    let (kind, namespace, name) = name;
    Change::Apply(Policy {
        name: PolicyName { cluster: home(), kind, namespace: namespace.into(), name: name.into() },
        tier,
        distribute: false,
        subject: PodSelector { namespaces: subject.0, pods: subject.1 }.into(),
        ingress,
        egress,
    })
}

/// A NetworkPolicy of a namespace.
fn np(
    namespace: &str,
    name: &str,
    pods: Selector,
    ingress: impl Into<Option<Rules>>,
    egress: impl Into<Option<Rules>>,
) -> Change {
    let subject = (NamespaceChoice::Named(namespace.into()), pods);
    let name = (PolicyKind::NetworkPolicy, namespace, name);
    policy(name, PolicyTier::Namespace, subject, [ingress.into(), egress.into()])
}

/// A ClusterNetworkPolicy about pods of one namespace.
fn cnp(
    name: &str,
    tier: PolicyTier,
    namespace: &str,
    ingress: impl Into<Option<Rules>>,
    egress: impl Into<Option<Rules>>,
) -> Change {
    let subject = (NamespaceChoice::Selected(with(&[("ns", namespace)])), Selector::default());
    policy((PolicyKind::ClusterNetworkPolicy, "", name), tier, subject, [ingress.into(), egress.into()])
}

fn deleted(kind: PolicyKind, namespace: &str, name: &str) -> Change {
    Change::Delete(PolicyName { cluster: home(), kind, namespace: namespace.into(), name: name.into() })
}

fn on(protocol: Protocol, port: u16, expected: &[(&'static str, &'static str, bool)]) -> Probe {
    Probe { protocol, port, expected: expected.to_vec() }
}

fn on80(expected: &[(&'static str, &'static str, bool)]) -> Probe {
    on(Protocol::Tcp, 80, expected)
}

fn on81(expected: &[(&'static str, &'static str, bool)]) -> Probe {
    on(Protocol::Tcp, 81, expected)
}

fn step(changes: Vec<Change>, probes: Vec<Probe>) -> Step {
    Step { changes, probes }
}

fn once(name: &'static str, changes: Vec<Change>, probes: Vec<Probe>) -> Situation {
    Situation { name, steps: vec![step(changes, probes)] }
}
