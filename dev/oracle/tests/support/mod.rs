//! Small worlds, of few names and addresses, so that what is generated meets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use engine::plan::policing::Policing;
use engine::policy::judge::{Packet, judge};
use engine::policy::{Direction, Distributed, Limits, Planner, Scope, Selectors, Settings};
use ipnet::IpNet;
use model::policy::{
    CILIUM_CLUSTER_LABEL, CLUSTER_LABEL, Labels, NamedPort, Namespace, NamespaceChoice, NamespaceName,
    Operator, Pod, PodName, PodSelector, Policy, PolicyAction, PolicyEntity, PolicyKind, PolicyName,
    PolicyPeer, PolicyPort, PolicyRule, PolicySubject, PolicyTier, Requirement, Selector,
};
use model::{ClusterName, NodeName, Protocol};
use oracle::{Node, Question, Scene, Way};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub fn cluster(n: usize) -> ClusterName {
    ClusterName::new(format!("c{n}")).unwrap()
}

pub fn me() -> NodeName {
    NodeName::new(cluster(1), "n1").unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub fn ranges(n: usize) -> Vec<IpNet> {
    vec![net(&format!("10.{n}.0.0/16")), net(&format!("fd0{n}::/64"))]
}

/// Whoever may be at the other end.
pub const ADDRESSES: [&str; 22] = [
    "10.1.0.1",
    "10.1.0.2",
    "10.1.0.3",
    "10.1.0.4",
    "10.1.1.1",
    "10.1.1.2",
    "10.1.1.3",
    "10.2.0.1",
    "10.2.0.2",
    "10.2.0.3",
    "10.3.0.2",
    "fd01::2",
    "fd01::3",
    "fd02::2",
    "fd03::9",
    "192.168.0.1",
    "192.168.0.2",
    "192.168.1.1",
    "8.8.8.8",
    "8.8.8.9",
    "2001:db8::1",
    "10.9.0.1",
];

fn word() -> impl Strategy<Value = String> {
    select(vec!["x", "y"]).prop_map(String::from)
}

pub fn labels() -> impl Strategy<Value = Labels> {
    btree_map(select(vec!["a", "b"]).prop_map(String::from), word(), 0..=2)
}

fn selector() -> impl Strategy<Value = Selector> {
    let operator = |values: BTreeSet<String>| {
        prop_oneof![
            4 => Just(Operator::In(values.clone())),
            1 => Just(Operator::NotIn(values)),
            1 => Just(Operator::Exists),
            1 => Just(Operator::DoesNotExist),
        ]
    };
    let plain = (select(vec!["a", "b"]), btree_set(word(), 1..=2).prop_flat_map(operator));
    let clusters = btree_set(select(vec!["c1", "c2", "c3"]).prop_map(String::from), 1..=2);
    let about_cluster = (select(vec![CLUSTER_LABEL, CILIUM_CLUSTER_LABEL]), clusters.prop_flat_map(operator));
    let requirement = prop_oneof![6 => plain, 1 => about_cluster];
    vec(requirement, 0..=2).prop_map(|found| {
        let found = found.into_iter().map(|(key, operator)| Requirement { key: key.into(), operator });
        let found: BTreeSet<Requirement> = found.collect();
        Selector { requirements: found.into_iter().collect() }
    })
}

fn namespace_name() -> impl Strategy<Value = String> {
    select(vec!["s", "t"]).prop_map(String::from)
}

fn pod_selector() -> impl Strategy<Value = PodSelector> {
    let namespaces = prop_oneof![
        namespace_name().prop_map(NamespaceChoice::Named),
        selector().prop_map(NamespaceChoice::Selected),
    ];
    (namespaces, selector()).prop_map(|(namespaces, pods)| PodSelector { namespaces, pods })
}

fn subject() -> impl Strategy<Value = PolicySubject> {
    let everybody = namespace_name()
        .prop_map(|name| PodSelector { namespaces: NamespaceChoice::Named(name), pods: Selector::default() });
    prop_oneof![1 => pod_selector(), 1 => everybody].prop_map(PolicySubject::Pods)
}

fn some_ranges() -> impl Strategy<Value = (Vec<IpNet>, Vec<IpNet>)> {
    let all = [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.0.0/30",
        "10.1.0.4/32",
        "192.168.0.0/16",
        "8.8.8.0/24",
        "fd01::/64",
        "fd01::2/128",
        "10.2.0.0/30",
        "2001:db8::/32",
    ];
    let all: Vec<IpNet> = all.map(net).to_vec();
    (subsequence(all.clone(), 1..=3), subsequence(all, 0..=2))
}

fn entity() -> impl Strategy<Value = PolicyEntity> {
    use PolicyEntity::{All, Cluster, ClusterMesh, Host, RemoteNode, World};
    select(vec![Cluster, ClusterMesh, Host, RemoteNode, World, All])
}

fn peer() -> impl Strategy<Value = PolicyPeer> {
    let names = ["example.com", "*.example.com", "a.example.com", "*.com"].map(String::from).to_vec();
    prop_oneof![
        6 => pod_selector().prop_map(PolicyPeer::Pods),
        3 => some_ranges().prop_map(|(ranges, except)| PolicyPeer::Networks { ranges, except }),
        1 => selector().prop_map(PolicyPeer::Nodes),
        1 => subsequence(names, 1..=2).prop_map(PolicyPeer::DomainNames),
        2 => entity().prop_map(PolicyPeer::Entity),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn port_name() -> impl Strategy<Value = String> {
    select(vec!["http", "dns"]).prop_map(String::from)
}

fn port() -> impl Strategy<Value = PolicyPort> {
    let spans = vec![(80, 80), (80, 81), (0, 65535), (79, 8080), (81, 81)];
    prop_oneof![
        4 => (protocol(), select(spans))
            .prop_map(|(protocol, (first, last))| PolicyPort::Ports { protocol, first, last }),
        2 => (prop::option::of(protocol()), port_name())
            .prop_map(|(protocol, name)| PolicyPort::Named { protocol, name }),
        1 => (any::<bool>(), prop::option::of(select(vec![8_u8, 128])))
            .prop_map(|(v6, kind)| PolicyPort::Icmp { v6, kind }),
    ]
}

fn rule(actions: &'static [PolicyAction]) -> impl Strategy<Value = PolicyRule> {
    let peers = prop::option::weighted(0.85, vec(peer(), 0..=3));
    let ports = prop::option::weighted(0.6, vec(port(), 0..=2));
    (select(actions), peers, ports).prop_map(|(action, peers, ports)| PolicyRule {
        path: String::new(),
        name: String::new(),
        action,
        peers,
        ports,
    })
}

/// A policy of this tier.
fn policy_of(tier: PolicyTier) -> impl Strategy<Value = Policy> {
    use PolicyAction::{Accept, Deny, Pass};
    let actions: &'static [PolicyAction] = match tier {
        PolicyTier::Namespace => &[Accept, Accept, Accept, Deny],
        _ => &[Accept, Deny, Pass],
    };
    let rules = move || prop::option::weighted(0.7, vec(rule(actions), 0..=3));
    let kind = match tier {
        PolicyTier::Namespace => PolicyKind::NetworkPolicy,
        _ => PolicyKind::ClusterNetworkPolicy,
    };
    let name = (prop_oneof![5 => Just(1_usize), 1 => Just(2)], select(vec!["p", "q", "r"]));
    (name, any::<bool>(), subject(), rules(), rules()).prop_map(
        move |((of, name), distribute, subject, mut ingress, mut egress)| {
            for (path, rules) in [("ingress", &mut ingress), ("egress", &mut egress)] {
                for (at, rule) in rules.iter_mut().flatten().enumerate() {
                    rule.path = format!("spec.{path}[{at}]");
                }
            }
            let namespace = match &subject {
                PolicySubject::Pods(PodSelector { namespaces: NamespaceChoice::Named(name), .. }) => {
                    name.clone()
                }
                _ => String::new(),
            };
            let name = PolicyName { cluster: cluster(of), kind, namespace, name: name.into() };
            Policy { name, tier, distribute, subject, ingress, egress }
        },
    )
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let priority = || 0..3_u16;
    prop_oneof![
        2 => priority().prop_flat_map(|priority| policy_of(PolicyTier::Admin { priority })),
        3 => policy_of(PolicyTier::Namespace),
        2 => priority().prop_flat_map(|priority| policy_of(PolicyTier::Baseline { priority })),
    ]
}

pub fn in_namespace() -> impl Strategy<Value = NamespaceName> {
    (prop_oneof![4 => Just(1_usize), 2 => Just(2), 1 => Just(3)], namespace_name())
        .prop_map(|(of, name)| NamespaceName { cluster: cluster(of), name })
}

pub fn pod_name() -> impl Strategy<Value = PodName> {
    (in_namespace(), select(vec!["j", "k", "l"]))
        .prop_map(|(namespace, name)| PodName { namespace, name: name.into() })
}

fn named_ports() -> impl Strategy<Value = Vec<NamedPort>> {
    let port = (port_name(), protocol(), select(vec![80_u16, 81]));
    vec(
        port.prop_map(|(name, protocol, port)| NamedPort { name, protocol, port: port.try_into().unwrap() }),
        0..=2,
    )
}

/// A pod with addresses of its cluster.
pub fn pod() -> impl Strategy<Value = Pod> {
    (pod_name(), 2..=4_u8, any::<[bool; 3]>(), labels(), named_ports()).prop_map(
        |(name, host, [mine, v4, v6], labels, ports)| {
            let of = name.namespace.cluster.as_str()[1..].parse::<u8>().unwrap();
            let part = u8::from(of == 1 && !mine);
            let mut ips = Vec::new();
            ips.extend(v4.then(|| ip(&format!("10.{of}.{part}.{host}"))));
            ips.extend((v6 && part == 0).then(|| ip(&format!("fd0{of}::{host}"))));
            let on = if part == 0 { "n1" } else { "n2" };
            let node = NodeName::new(name.namespace.cluster.clone(), on).ok();
            Pod { name, ips, node, labels, ports }
        },
    )
}

pub fn namespace() -> impl Strategy<Value = Namespace> {
    (in_namespace(), labels()).prop_map(|(name, labels)| Namespace { name, labels, shared: true })
}

pub fn node() -> impl Strategy<Value = Node> {
    let all = [
        ("c1", "n1", vec!["10.1.0.1", "192.168.0.1"]),
        ("c1", "n2", vec!["10.1.1.1", "192.168.0.2"]),
        ("c2", "n1", vec!["10.2.0.1", "192.168.1.1", "192.168.0.2"]),
    ];
    (select(all.to_vec()), labels()).prop_map(|((of, name, ips), labels)| Node {
        name: NodeName::new(ClusterName::new(of).unwrap(), name).unwrap(),
        labels,
        ips: ips.into_iter().map(ip).collect(),
    })
}

/// What is told of names.
pub fn lead() -> impl Strategy<Value = (String, IpAddr)> {
    let names = vec!["example.com", "a.example.com", "b.a.example.com", "example.org"];
    (select(names), select(vec!["8.8.8.8", "8.8.8.9", "2001:db8::1", "10.1.0.2"]))
        .prop_map(|(name, to)| (name.into(), ip(to)))
}

/// Something that is so from now on, or not any more.
#[derive(Debug, Clone)]
pub enum Event {
    Cluster(usize, bool),
    Told(Vec<ClusterName>),
    Node(Node, bool),
    Namespace(Namespace, bool),
    Pod(Pod, bool),
    Attach(PodName, IpAddr, bool),
    Policy(Policy, bool),
    Lead((String, IpAddr)),
}

pub fn event() -> impl Strategy<Value = Event> {
    let stays = || prop::bool::weighted(0.75);
    prop_oneof![
        1 => (1..=3_usize, stays()).prop_map(|(n, is)| Event::Cluster(n, is)),
        1 => subsequence((1..=3).map(cluster).collect::<Vec<_>>(), 0..=3).prop_map(Event::Told),
        1 => (node(), stays()).prop_map(|(node, is)| Event::Node(node, is)),
        3 => (namespace(), stays()).prop_map(|(namespace, is)| Event::Namespace(namespace, is)),
        8 => (pod(), stays()).prop_map(|(pod, is)| Event::Pod(pod, is)),
        1 => (pod_name(), 2..=4_u8, stays()).prop_map(|(mut name, host, is)| {
            name.namespace.cluster = cluster(1);
            Event::Attach(name, ip(&format!("10.1.0.{host}")), is)
        }),
        8 => (policy(), stays()).prop_map(|(policy, is)| Event::Policy(policy, is)),
        1 => lead().prop_map(Event::Lead),
    ]
}

/// A world to begin with, in which most is known.
pub fn scene() -> impl Strategy<Value = Scene> {
    let namespaces = vec(labels(), 6).prop_map(|labels| {
        let names = (1..=3).flat_map(|of| ["s", "t"].map(|name| (of, name)));
        let names = names.map(|(of, name)| NamespaceName { cluster: cluster(of), name: name.into() });
        names.zip(labels).map(|(name, labels)| Namespace { name, labels, shared: true }).collect::<Vec<_>>()
    });
    let told = subsequence((1..=3).map(cluster).collect::<Vec<_>>(), 0..=3);
    (any::<[bool; 2]>(), told, vec(node(), 0..4), namespaces, vec(pod(), 2..10), vec(policy(), 0..8))
        .prop_map(|([selectors_clusterset, accepts_distributed], told, nodes, namespaces, pods, policies)| {
            let mut scene = Scene {
                me: me(),
                selectors_clusterset,
                accepts_distributed,
                clusters: (1..=3).map(|n| (cluster(n), ranges(n))).collect(),
                told,
                nodes: Vec::new(),
                namespaces,
                pods: Vec::new(),
                attached: Vec::new(),
                policies: Vec::new(),
                names: Vec::new(),
            };
            nodes.into_iter().for_each(|node| happen(&mut scene, &Event::Node(node, true)));
            pods.into_iter().for_each(|pod| happen(&mut scene, &Event::Pod(pod, true)));
            policies.into_iter().for_each(|policy| happen(&mut scene, &Event::Policy(policy, true)));
            scene
        })
}

/// Takes an event into a scene.
pub fn happen(scene: &mut Scene, event: &Event) {
    fn put<T: Clone>(all: &mut Vec<T>, value: &T, is: bool, same: impl Fn(&T) -> bool) {
        all.retain(|its| !same(its));
        if is {
            all.push(value.clone());
        }
    }
    match event {
        Event::Cluster(n, is) => {
            let value = (cluster(*n), ranges(*n));
            put(&mut scene.clusters, &value, *is, |its| its.0 == value.0);
        }
        Event::Told(told) => scene.told = told.clone(),
        Event::Node(node, is) => put(&mut scene.nodes, node, *is, |its| its.name == node.name),
        Event::Namespace(value, is) => put(&mut scene.namespaces, value, *is, |its| its.name == value.name),
        Event::Pod(pod, is) => put(&mut scene.pods, pod, *is, |its| its.name == pod.name),
        Event::Attach(name, ip, is) => {
            put(&mut scene.attached, &(name.clone(), vec![*ip]), *is, |its| its.0 == *name)
        }
        Event::Policy(policy, is) => put(&mut scene.policies, policy, *is, |its| its.name == policy.name),
        Event::Lead(lead) => put(&mut scene.names, lead, true, |its| its == lead),
    }
}

/// Tells a planner of an event.
pub fn tell(planner: &mut Planner, event: &Event) {
    match event {
        Event::Cluster(n, is) => planner.handle_cluster(&cluster(*n), is.then(|| ranges(*n)).as_deref()),
        Event::Told(told) => planner.handle_subscribed(told.iter().cloned().collect()),
        Event::Node(node, is) => planner.handle_node(&node.name, is.then_some((&node.labels, &node.ips))),
        Event::Namespace(its, is) => planner.handle_namespace(&its.name, is.then_some(&its.labels)),
        Event::Pod(pod, is) => planner.handle_pod(&pod.name, is.then_some(pod)),
        Event::Attach(name, ip, true) => planner.attach(name, &[*ip]),
        Event::Attach(name, _, false) => planner.detach(name),
        Event::Policy(policy, is) => planner.handle_policy(&policy.name, is.then_some(policy)),
        Event::Lead((name, ip)) => planner.learn(name, &[*ip], std::time::Duration::from_secs(60)),
    }
}

pub fn settings(scene: &Scene) -> Settings {
    Settings {
        scope: Scope::Node(scene.me.clone()),
        selectors: match scene.selectors_clusterset {
            true => Selectors::Clusterset,
            false => Selectors::Local,
        },
        distributed: match scene.accepts_distributed {
            true => Distributed::Accept,
            false => Distributed::Ignore,
        },
        limits: Limits::default(),
        host: None,
    }
}

/// A planner that knows a scene.
pub fn planner(scene: &Scene) -> Planner {
    let mut planner = Planner::new(settings(scene));
    scene.policies.iter().for_each(|policy| planner.handle_policy(&policy.name, Some(policy)));
    scene.pods.iter().for_each(|pod| planner.handle_pod(&pod.name, Some(pod)));
    scene.attached.iter().for_each(|(name, ips)| planner.attach(name, ips));
    scene.namespaces.iter().for_each(|its| planner.handle_namespace(&its.name, Some(&its.labels)));
    scene.nodes.iter().for_each(|its| planner.handle_node(&its.name, Some((&its.labels, &its.ips))));
    scene.names.iter().for_each(|lead| tell(&mut planner, &Event::Lead(lead.clone())));
    planner.handle_subscribed(scene.told.iter().cloned().collect());
    scene.clusters.iter().for_each(|(name, ranges)| planner.handle_cluster(name, Some(ranges)));
    planner
}

/// What is asked of every pair.
pub const TALK: [(u8, u16); 9] =
    [(6, 80), (6, 81), (6, 443), (6, 9000), (17, 80), (132, 80), (1, 8), (58, 128), (47, 0)];

/// The pods of a scene's node, with their addresses.
pub fn subjects(scene: &Scene) -> Vec<(Pod, Vec<IpAddr>)> {
    let given = |name: &PodName| scene.attached.iter().find(|its| its.0 == *name).map(|its| its.1.clone());
    let told =
        scene.pods.iter().filter(|pod| pod.node.as_ref() == Some(&scene.me) || given(&pod.name).is_some());
    let told = told.map(|pod| (pod.clone(), given(&pod.name).unwrap_or(pod.ips.clone())));
    let untold = scene.attached.iter().filter(|(name, _)| !scene.pods.iter().any(|pod| pod.name == *name));
    let untold = untold.map(|(name, ips)| {
        let (labels, ports) = Default::default();
        (Pod { name: name.clone(), ips: ips.clone(), node: None, labels, ports }, ips.clone())
    });
    told.chain(untold).collect()
}

/// Every question that can be asked of a scene, as the kernel would see it: whether others share the pod's address is said.
pub fn probes(scene: &Scene) -> Vec<(Packet, Pod, bool)> {
    let subjects = subjects(scene);
    let given = |pod: &Pod| scene.attached.iter().any(|its| its.0 == pod.name);
    let mut probes = Vec::new();
    for (pod, ips) in &subjects {
        for at in ips {
            let others: Vec<&Pod> = subjects
                .iter()
                .filter(|(other, ips)| other.name != pod.name && ips.contains(at))
                .map(|(other, _)| other)
                .collect();
            if !given(pod) && others.iter().any(|other| given(other)) {
                continue;
            }
            let shared = others.iter().any(|other| given(other) == given(pod));
            for other in ADDRESSES.map(ip).into_iter().filter(|other| other.is_ipv4() == at.is_ipv4()) {
                for direction in Direction::ALL {
                    for (protocol, port) in TALK {
                        let packet = Packet { pod: *at, direction, peer: other, protocol, port };
                        probes.push((packet, pod.clone(), shared));
                    }
                }
            }
        }
    }
    probes
}

pub fn expected(scene: &Scene, packet: &Packet, pod: &Pod) -> bool {
    let way = match packet.direction {
        Direction::Ingress => Way::In,
        Direction::Egress => Way::Out,
    };
    let Packet { peer: other, protocol, port, .. } = *packet;
    oracle::allows(scene, &Question { pod, way, other, protocol, port })
}

/// The engine answers every question as the oracle does. How many were denied is said.
pub fn compare(scene: &Scene, policing: &Policing) -> usize {
    let mut denied = 0;
    for (packet, pod, shared) in probes(scene) {
        let judged = judge(policing, &packet);
        let expected = expected(scene, &packet, &pod);
        let right = if shared { expected || !judged.passes() } else { expected == judged.passes() };
        assert!(right, "{packet:?} of {:?}: {judged:?}, not {expected}\n{scene:#?}", pod.name);
        denied += usize::from(!expected);
    }
    denied
}
