//! The log and the mirror together: whatever happens on the way, the receiver ends with the teller's world.

mod clients;
mod interests;
mod partition;
mod policing;
mod restraint;

use std::collections::{BTreeSet, VecDeque};

use model::policy::{
    Labels, Namespace, NamespaceChoice, NamespaceName, Pod, PodName, PodSelector, Policy, PolicyKind,
    PolicyName, PolicyTier, Selector,
};
use model::{
    Change, Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, Key, Kind, Node, NodeName, Object,
    ObjectName, Service, ServiceKey, Topology, World,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn name(cluster: &str) -> ClusterName {
    ClusterName::new(cluster).unwrap()
}

fn cluster(cluster: &str, id: u64, nets: &[&str]) -> Cluster {
    Cluster {
        name: name(cluster),
        id: ClusterId::new(id).unwrap(),
        pod_cidrs: nets.iter().map(|net| net.parse().unwrap()).collect(),
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        clusterset_cidrs: Vec::new(),
        peer_cidrs: Vec::new(),
    }
}

fn aws() -> Cluster {
    cluster("aws", 1, &["10.1.0.0/16"])
}

fn gcp() -> Cluster {
    cluster("gcp", 2, &["10.2.0.0/16"])
}

fn node(of: &str, i: u8, net: &str) -> Object {
    Object::Node(Node {
        name: NodeName::new(name(of), format!("n{i}")).unwrap(),
        topology: Topology::default(),
        location: String::new(),
        private_ips: Vec::new(),
        public_ips: Vec::new(),
        pod_cidrs: vec![net.parse().unwrap()],
        public_key: None,
        port: 51820,
        labels: Default::default(),
        mesh: Default::default(),
    })
}

fn service_key(of: &str, i: u8) -> ServiceKey {
    ServiceKey { cluster: name(of), name: ObjectName::new("demo", format!("s{i}")).unwrap() }
}

fn service(of: &str, i: u8, global: bool) -> Object {
    Object::Service(Service {
        global,
        shared: global,
        ..Service::new(service_key(of, i), Vec::new(), Vec::new())
    })
}

fn endpoint(of: &str, i: u8, j: u8, ip: &str, weight: u16) -> Object {
    Object::Endpoint(Endpoint {
        node: Some(NodeName::new(name(of), "n0").unwrap()),
        weight,
        ..Endpoint::new(
            EndpointKey { service: service_key(of, i), name: format!("e{j}") },
            vec![ip.parse().unwrap()],
            Vec::new(),
        )
    })
}

fn namespace_name(of: &str, i: u8) -> NamespaceName {
    NamespaceName { cluster: name(of), name: format!("ns{i}") }
}

fn namespace(of: &str, i: u8, shared: bool) -> Object {
    Object::Namespace(Namespace { name: namespace_name(of, i), labels: Labels::new(), shared })
}

/// A pod on a node, or on none.
fn pod(of: &str, i: u8, j: u8, ip: &str, on: Option<u8>) -> Object {
    Object::Pod(Pod {
        name: PodName { namespace: namespace_name(of, i), name: format!("p{j}") },
        ips: vec![ip.parse().unwrap()],
        node: on.map(|n| NodeName::new(name(of), format!("n{n}")).unwrap()),
        labels: Labels::new(),
        ports: Vec::new(),
    })
}

fn policy(of: &str, i: u8, distribute: bool) -> Object {
    let name = PolicyName {
        cluster: name(of),
        kind: PolicyKind::NetworkPolicy,
        namespace: "ns0".into(),
        name: format!("policy{i}"),
    };
    let subject =
        PodSelector { namespaces: NamespaceChoice::Named("ns0".into()), pods: Selector::default() }.into();
    let tier = PolicyTier::Namespace;
    Object::Policy(Policy { name, tier, distribute, subject, ingress: Some(Vec::new()), egress: None })
}

/// The node whose agent receives.
fn n0() -> NodeName {
    NodeName::new(name("aws"), "n0").unwrap()
}

/// What an agent wants that policies lead to the pods of these clusters.
fn with_pods(clusters: &[&str]) -> Interest {
    let topics = Topics { pods: clusters.iter().map(|of| name(of)).collect(), ..Topics::default() };
    Interest { topics, ..Interest::everything() }
}

fn object_name(i: u8) -> ObjectName {
    ObjectName::new("demo", format!("s{i}")).unwrap()
}

fn only(names: impl IntoIterator<Item = u8>) -> Interest {
    Interest::only(Topics::services(names.into_iter().map(object_name)))
}

/// A receiver with its place at the teller and the objects it holds.
struct Receiver {
    audience: Audience,
    mirror: Mirror,
    world: World,
    wanted: Interest,
    /// Whether the teller knows of interests.
    heeds: bool,
    stream: Option<Cursor>,
    /// What is on its way to the teller.
    sent: VecDeque<Want>,
    /// Changes heard on this stream, and what was said to be as before.
    heard: usize,
    kept: usize,
    snapshots: usize,
    synced: bool,
}

impl Receiver {
    fn new(audience: Audience) -> Self {
        let mirror = match audience {
            Audience::Agents => Mirror::trusting(Held { agent: Some(n0()), ..Held::default() }),
            Audience::Peers => Mirror::of_peer(aws(), Held::default()),
        };
        Self {
            audience,
            mirror,
            world: World::default(),
            wanted: Interest::everything(),
            heeds: true,
            stream: None,
            sent: VecDeque::new(),
            heard: 0,
            kept: 0,
            snapshots: 0,
            synced: false,
        }
    }

    /// A peer that has nothing yet.
    fn wanting(wanted: Interest) -> Self {
        let held = Held::default().with_interest(Interest::nothing());
        Self { mirror: Mirror::of_peer(aws(), held), wanted, ..Self::new(Audience::Peers) }
    }

    fn connect(&mut self) {
        self.mirror.handle_break();
        self.open();
        (self.heard, self.kept, self.snapshots, self.synced) = (0, 0, 0, false);
    }

    fn open(&mut self) {
        let Opening { ask, wants, dropped } = self.mirror.open(self.wanted.clone(), self.heeds);
        self.apply(dropped);
        self.sent = wants.into();
        self.stream = Some(match (self.heeds, self.audience) {
            (true, Audience::Agents) => Cursor::new(ask).of_agent(n0()),
            (true, Audience::Peers) => Cursor::new(ask),
            (false, _) => Cursor::everything(ask.position),
        });
    }

    fn want(&mut self, wanted: Interest) {
        self.wanted = wanted;
        if self.stream.is_some() {
            let (wants, dropped) = self.mirror.want(self.wanted.clone());
            self.apply(dropped);
            self.sent.extend(wants);
        }
    }

    /// The teller takes in one thing that is on its way. Returns whether there was one.
    fn deliver(&mut self) -> bool {
        let (Some(cursor), Some(want)) = (&mut self.stream, self.sent.pop_front()) else { return false };
        cursor.want(want);
        true
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            assert!(
                self.world.apply(change.clone()) || matches!(change, Change::Upsert(_)),
                "{change:?} twice"
            );
        }
    }

    /// Takes one thing in; or loses it on the way, and the stream with it. Returns whether there was one.
    fn step(&mut self, teller: &Teller, lose: bool) -> bool {
        if self.stream.is_none() {
            self.connect();
        }
        let told = self.stream.as_mut().and_then(|cursor| teller.poll(self.audience, cursor));
        let Some(told) = told else { return false };
        if lose {
            self.mirror.handle_break();
            self.stream = None;
            return true;
        }
        match &told {
            Told::Batch { changes, .. } => {
                let kept = changes.iter().filter(|tell| matches!(tell, Tell::Keep(_))).count();
                self.heard += changes.len() - kept;
                self.kept += kept;
            }
            Told::Begin { snapshot, .. } => self.snapshots += usize::from(*snapshot),
            Told::Synced { .. } | Told::Taken { .. } => {}
        }
        let heard = self.mirror.handle(told, &[gcp()]).expect("the log keeps to the protocol");
        assert_eq!(heard.refused, [], "nothing that is exported may be refused");
        assert_eq!(heard.overrun, None);
        self.synced = heard.synced;
        if heard.resync {
            self.open();
        }
        self.apply(heard.changes);
        true
    }

    fn drain(&mut self, teller: &Teller) {
        while self.step(teller, false) || self.deliver() {}
    }

    /// A process that starts anew from what it saved.
    fn restart(&mut self) {
        let held = match self.audience {
            Audience::Agents => Held::of_agent(&self.world, self.mirror.position(), n0()),
            Audience::Peers => Held::of(&self.world, self.mirror.position(), |_| true),
        };
        let held = held.with_interest(self.mirror.interest().clone());
        self.mirror = match self.audience {
            Audience::Agents => Mirror::trusting(held),
            Audience::Peers => Mirror::of_peer(aws(), held),
        };
        self.stream = None;
    }

    /// What it should end with.
    fn expected(&self, world: &World) -> World {
        let interest = if self.heeds { &self.wanted } else { &Interest::default() };
        let mut expected = expected(world, self.audience);
        let agent = (self.audience == Audience::Agents).then(n0);
        for object in expected.clone().objects() {
            let node = match &object {
                Object::Pod(pod) => pod.node.as_ref(),
                _ => None,
            };
            if !interest.covers(&object.key(), node, agent.as_ref()) {
                expected.apply(Change::Delete(object.key()));
            }
        }
        expected
    }
}

/// What a receiver should end with.
fn expected(world: &World, audience: Audience) -> World {
    let mut out = World::default();
    for object in world.objects() {
        let own = *object.key().cluster() == name("aws");
        let global = |key: &ServiceKey| world.services.get(key).is_some_and(|s| s.global);
        let visible = match (&object, audience) {
            (_, Audience::Agents) => true,
            (Object::Cluster(_) | Object::Node(_) | Object::Peer(_), Audience::Peers) => own,
            (Object::Service(s), Audience::Peers) => own && s.global,
            (Object::Import(_), Audience::Peers) => false,
            (Object::Endpoint(e), Audience::Peers) => own && global(&e.key.service),
            (Object::Policy(p), Audience::Peers) => own && p.distribute,
            (Object::Namespace(n), Audience::Peers) => own && n.shared,
            (Object::Pod(p), Audience::Peers) => {
                own && world.namespaces.get(&p.name.namespace).is_some_and(|n| n.shared)
            }
        };
        if visible {
            out.apply(Change::Upsert(object));
        }
    }
    out
}

/// What may happen.
#[derive(Debug, Clone)]
enum Event {
    Change(Box<Change>),
    /// Receiver `0` hears this many things, and the last is lost.
    Hear {
        who: usize,
        count: usize,
        lose: bool,
    },
    Restart(usize),
    /// The receiver wants these services, pods of these clusters, and policies if it is another cluster; its stream may be
    /// gone, and the teller of another version when it is back.
    Want(usize, BTreeSet<u8>, BTreeSet<&'static str>, bool),
    Deliver(usize),
    Again(usize, bool),
}

fn any_change() -> impl Strategy<Value = Change> {
    let of = prop_oneof![4 => Just("aws"), 1 => Just("gcp")];
    (of, 0u8..8, 0u8..3, 0u8..3, any::<bool>(), 1u16..3).prop_map(|(of, kind, i, j, flag, weight)| {
        let n = if of == "aws" { 1 } else { 2 };
        let object = match kind {
            0 => node(of, i, &format!("10.{n}.{i}.0/24")),
            1 => service(of, i, flag || of == "gcp"),
            4 => namespace(of, i, flag),
            5 | 6 => {
                let on = [None, Some(0), Some(1)][usize::from(weight == 1) * (1 + usize::from(j % 2))];
                pod(of, i, j, &format!("10.{n}.{i}.{}", j + 1), if kind == 5 { on } else { Some(0) })
            }
            7 => policy(of, i, flag),
            _ => endpoint(of, i, j, &format!("10.{n}.{i}.{}", j + 1), weight),
        };
        if flag && ![1, 4, 7].contains(&kind) { Change::Delete(object.key()) } else { Change::Upsert(object) }
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any_change().prop_map(|change| Event::Change(Box::new(change))),
        1 => (0u8..3).prop_map(|i| {
            Event::Change(Box::new(Change::Delete(Key::Service(service_key("aws", i)))))
        }),
        4 => (0usize..3, 1usize..6, prop::bool::weighted(0.2))
            .prop_map(|(who, count, lose)| Event::Hear { who, count, lose }),
        1 => (0usize..3).prop_map(Event::Restart),
        1 => (
            0usize..3,
            prop::collection::btree_set(0u8..4, 0..4),
            prop::collection::btree_set(prop_oneof![Just("aws"), Just("gcp")], 0..3),
            any::<bool>(),
        )
            .prop_map(|(who, names, pods, policies)| Event::Want(who, names, pods, policies)),
        1 => (0u8..3).prop_map(|i| Event::Change(Box::new(Change::Delete(Key::Namespace(namespace_name("aws", i)))))),
        1 => (0u8..3).prop_map(|i| Event::Change(Box::new(Change::Delete(policy("aws", i, true).key())))),
        1 => (1usize..3).prop_map(Event::Deliver),
        1 => (1usize..3, prop::bool::weighted(0.8)).prop_map(|(who, heeds)| Event::Again(who, heeds)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_receiver_converges(
        events in vec(any_event(), 0..120),
        deletions in 0usize..6,
        batch_objects in 1usize..4,
    ) {
        let limits = Limits { deletions, batch_objects, batch_bytes: 4096 };
        let mut teller = Teller::new(name("aws"), 7, limits);
        let mut world = World::default();
        for object in [Object::Cluster(aws()), node("aws", 0, "10.1.0.0/24")] {
            teller.apply(Change::Upsert(object.clone()));
            world.apply(Change::Upsert(object));
        }
        let mut receivers =
            [Receiver::new(Audience::Agents), Receiver::wanting(only([1, 2])), Receiver::wanting(only([]))];
        for event in events {
            match event {
                Event::Change(change) => {
                    prop_assert_eq!(teller.apply((*change).clone()), world.apply(*change));
                }
                Event::Hear { who, count, lose } => {
                    for i in 0..count {
                        receivers[who].step(&teller, lose && i + 1 == count);
                    }
                }
                Event::Restart(who) => receivers[who].restart(),
                Event::Want(0, _, pods, _) => {
                    receivers[0].want(with_pods(&pods.into_iter().collect::<Vec<_>>()));
                }
                Event::Want(who, names, pods, policies) => {
                    let pods = pods.into_iter().map(name).collect();
                    let services = names.into_iter().map(object_name).collect();
                    receivers[who].want(Interest::only(Topics { services, pods, policies }));
                }
                Event::Deliver(who) => {
                    receivers[who].deliver();
                }
                Event::Again(who, heeds) => {
                    receivers[who].heeds = heeds;
                    receivers[who].mirror.handle_break();
                    receivers[who].stream = None;
                }
            }
        }
        for receiver in &mut receivers {
            receiver.drain(&teller);
            // What is none of its concern has moved the log on.
            teller.mark(receiver.audience, receiver.stream.as_mut().expect("it has drained one"));
            receiver.drain(&teller);
            prop_assert_eq!(&receiver.world, &receiver.expected(&world));
            let position = receiver.mirror.position().expect("everything was told");
            prop_assert_eq!(position, teller.position(receiver.audience));
            let weight: usize = receiver.world.objects().map(|object| weight(&object)).sum();
            prop_assert_eq!(receiver.mirror.bytes(), weight as u64);
            prop_assert_eq!(receiver.mirror.len(), receiver.world.len());
            let nodes = receiver.world.nodes.len();
            prop_assert_eq!(receiver.mirror.count(Kind::Node), nodes);
        }
    }

    #[test]
    fn resuming_costs_what_changed(
        before in vec(any_change(), 0..60),
        after in vec(any_change(), 0..60),
    ) {
        let mut teller = Teller::new(name("aws"), 7, Limits::default());
        teller.apply(Change::Upsert(Object::Cluster(aws())));
        for change in before {
            teller.apply(change);
        }
        let mut agent = Receiver::new(Audience::Agents);
        agent.drain(&teller);
        let mut changed = BTreeSet::new();
        for change in after {
            if teller.apply(change.clone()) {
                changed.insert(change.key());
            }
        }
        agent.connect();
        agent.drain(&teller);
        prop_assert_eq!(agent.snapshots, 0);
        // A key that was deleted and made again is told twice, and a pod that moved.
        prop_assert!(agent.heard <= 2 * changed.len(), "{} for {}", agent.heard, changed.len());
    }
}

#[test]
fn nothing_else_leaves_the_cluster() {
    let mut teller = Teller::new(name("aws"), 7, Limits::default());
    let mut peer = Receiver::new(Audience::Peers);
    let publish = |teller: &mut Teller, objects: Vec<Object>| {
        for object in objects {
            teller.apply(Change::Upsert(object));
        }
    };
    publish(
        &mut teller,
        vec![
            Object::Cluster(aws()),
            Object::Cluster(gcp()),
            node("gcp", 0, "10.2.0.0/24"),
            service("gcp", 0, true),
            service("aws", 0, false),
            endpoint("aws", 0, 0, "10.1.0.1", 1),
        ],
    );
    peer.drain(&teller);
    assert_eq!(peer.world.objects().collect::<Vec<_>>(), [Object::Cluster(aws())]);

    // It becomes global: its endpoints appear with it.
    publish(&mut teller, vec![service("aws", 0, true)]);
    peer.drain(&teller);
    assert_eq!(peer.world.len(), 3);
    // It ceases to be: they are deleted.
    publish(&mut teller, vec![service("aws", 0, false), endpoint("aws", 0, 1, "10.1.0.2", 1)]);
    peer.drain(&teller);
    assert_eq!(peer.world.len(), 1);
    // A deletion of what never left does not leave either.
    let before = teller.position(Audience::Peers);
    teller.apply(Change::Delete(service("aws", 0, false).key()));
    teller.apply(Change::Delete(node("gcp", 0, "10.2.0.0/24").key()));
    assert_eq!(teller.position(Audience::Peers), before);
}

#[test]
fn a_slow_receiver_is_told_the_outcome_only() {
    let mut teller = Teller::new(name("aws"), 7, Limits { deletions: 2, ..Limits::default() });
    let mut agent = Receiver::new(Audience::Agents);
    agent.drain(&teller);
    let changes = |teller: &mut Teller, times: u16| {
        for weight in 0..times {
            teller.apply(Change::Upsert(endpoint("aws", 0, 0, "10.1.0.1", weight)));
        }
    };
    agent.heard = 0;
    changes(&mut teller, 1000);
    agent.drain(&teller);
    assert_eq!((agent.heard, agent.snapshots), (1, 1));
    // It misses more deletions than are remembered: a snapshot, without having to ask.
    for j in 0..3 {
        teller.apply(Change::Upsert(endpoint("aws", 1, j, "10.1.1.1", 1)));
    }
    agent.drain(&teller);
    for j in 0..3 {
        teller.apply(Change::Delete(endpoint("aws", 1, j, "10.1.1.1", 1).key()));
    }
    agent.drain(&teller);
    assert_eq!(agent.snapshots, 2);
    assert_eq!(agent.world.len(), 1);
}

#[test]
fn another_epoch_means_a_snapshot() {
    let mut agent = Receiver::new(Audience::Agents);
    for (epoch, snapshots) in [(7, 1), (7, 0), (8, 1)] {
        let mut teller = Teller::new(name("aws"), epoch, Limits::default());
        teller.apply(Change::Upsert(Object::Cluster(aws())));
        agent.connect();
        agent.drain(&teller);
        assert_eq!(agent.snapshots, snapshots, "{epoch}");
    }
    // A place beyond the log's own is nobody's: everything is told.
    let teller = Teller::new(name("aws"), 8, Limits::default());
    agent.connect();
    agent.drain(&teller);
    assert_eq!((agent.snapshots, agent.world.len()), (1, 0));
}

/// A mirror of aws that has heard its cluster and a node.
fn mirror() -> Mirror {
    let mut mirror = Mirror::of_peer(aws(), Held::default());
    let topics = Topics { pods: [name("aws"), name("gcp")].into(), policies: true, ..Topics::default() };
    mirror.open(Interest { topics, ..Interest::everything() }, true);
    mirror.handle(Told::Begin { epoch: 7, snapshot: true }, &[]).unwrap();
    mirror.handle(Told::Taken { wants: 1 }, &[]).unwrap();
    hear(&mut mirror, vec![Object::Cluster(aws()), node("aws", 0, "10.1.0.0/24")]);
    let position = Position { epoch: 7, revision: 2 };
    assert!(mirror.handle(Told::Synced { position }, &[]).unwrap().synced);
    mirror
}

fn hear(mirror: &mut Mirror, objects: Vec<Object>) -> Heard {
    let changes = objects.into_iter().map(|o| Tell::Upsert(std::sync::Arc::new(o))).collect();
    mirror.handle(Told::Batch { changes, revision: 10 }, &[gcp()]).unwrap()
}

#[test]
fn what_a_peer_may_not_say() {
    let mut elsewhere = endpoint("aws", 0, 0, "10.1.0.1", 1);
    if let Object::Endpoint(endpoint) = &mut elsewhere {
        endpoint.node = Some(NodeName::new(name("gcp"), "n0").unwrap());
    }
    for (reason, object) in [
        (Reason::ForeignCluster, Object::Cluster(gcp())),
        (Reason::ForeignCluster, node("gcp", 0, "10.1.0.0/24")),
        (Reason::ForeignCluster, endpoint("azure", 0, 0, "10.1.0.1", 1)),
        (Reason::WrongId, Object::Cluster(cluster("aws", 2, &["10.1.0.0/16"]))),
        (Reason::CidrOverlap, Object::Cluster(cluster("aws", 1, &["10.2.128.0/17"]))),
        (Reason::CidrOverlap, Object::Cluster(cluster("aws", 1, &["10.1.0.0/16", "0.0.0.0/0"]))),
        (Reason::OutsideCidrs, node("aws", 1, "10.2.1.0/24")),
        (Reason::OutsideCidrs, node("aws", 1, "10.0.0.0/8")),
        (Reason::OutsideCidrs, endpoint("aws", 0, 0, "10.2.0.1", 1)),
        (Reason::ForeignNode, elsewhere),
        (Reason::ForeignCluster, namespace("gcp", 0, true)),
        (Reason::NotExported, namespace("aws", 0, false)),
        (Reason::ForeignCluster, pod("gcp", 0, 0, "10.1.0.1", None)),
        (Reason::OutsideCidrs, pod("aws", 0, 0, "10.2.0.1", Some(0))),
        (Reason::ForeignCluster, policy("gcp", 0, true)),
        (Reason::NotExported, policy("aws", 0, false)),
        (Reason::NotExported, service("aws", 0, false)),
    ] {
        let mut mirror = mirror();
        let good = node("aws", 2, "10.1.2.0/24");
        let held = mirror.count(Kind::Cluster) + mirror.count(Kind::Node);
        let heard = hear(&mut mirror, vec![object.clone(), good.clone()]);
        assert_eq!(heard.refused.iter().map(|r| r.reason).collect::<Vec<_>>(), [reason], "{object:?}");
        assert!(heard.changes.contains(&Change::Upsert(good)), "nothing else is hurt");
        assert!(!heard.changes.contains(&Change::Upsert(object.clone())), "{object:?}");
        // Once for each reason and key, but counted each time.
        assert_eq!(hear(&mut mirror, vec![object.clone()]).refused, []);
        assert_eq!(mirror.refusals().total(), 2);
        // If it was held before, it is no longer what the peer says.
        let gone = usize::from(matches!(&object, Object::Cluster(c) if c.name == name("aws")));
        assert_eq!(mirror.count(Kind::Cluster) + mirror.count(Kind::Node), held + 1 - gone, "{object:?}");
    }
}

#[test]
fn service_ranges_may_overlap() {
    assert!(Bounds::check_link(&aws(), &[gcp()]).is_ok());
    for (peer, reason) in [
        (cluster("gcp", 3, &["10.3.0.0/16"]), Reason::ForeignCluster),
        (cluster("azure", 2, &["10.3.0.0/16"]), Reason::ForeignCluster),
        (cluster("azure", 3, &["10.2.7.0/24"]), Reason::CidrOverlap),
    ] {
        let refusal = Bounds::check_link(&peer, &[aws(), gcp()]).unwrap_err();
        assert_eq!(refusal.reason, reason);
        assert!(refusal.to_string().contains("gcp"), "{refusal}");
    }
}

#[test]
fn new_ranges_mean_hearing_everything_again() {
    let mut mirror = mirror();
    let moved = cluster("aws", 1, &["10.9.0.0/16"]);
    let start = Told::Begin { epoch: 7, snapshot: false };
    mirror.handle_break();
    mirror.handle(start, &[]).unwrap();
    let heard = hear(&mut mirror, vec![Object::Cluster(moved.clone())]);
    assert!(heard.resync);
    assert_eq!(mirror.position(), None);
    // What is still on its way does not count.
    assert_eq!(hear(&mut mirror, vec![node("aws", 3, "10.9.3.0/24")]), Heard::default());
    // In the snapshot the old node is outside the new ranges.
    mirror.handle(Told::Begin { epoch: 7, snapshot: true }, &[]).unwrap();
    let heard = hear(&mut mirror, vec![Object::Cluster(moved), node("aws", 0, "10.1.0.0/24")]);
    assert!(!heard.resync);
    assert_eq!(heard.changes.last(), Some(&Change::Delete(node("aws", 0, "10.1.0.0/24").key())));
}

#[test]
fn out_of_turn() {
    let synced = |epoch, revision| Told::Synced { position: Position { epoch, revision } };
    let batch = |revision| Told::Batch { changes: Vec::new(), revision };
    let begin = |epoch, snapshot| Told::Begin { epoch, snapshot };
    for (told, error) in [
        (vec![batch(1)], OutOfTurn::BeforeBegin),
        (vec![synced(7, 1)], OutOfTurn::BeforeBegin),
        (vec![begin(7, false)], OutOfTurn::BeforeBegin),
        (vec![begin(7, true), synced(8, 1)], OutOfTurn::Epoch { from: 7, to: 8 }),
        (vec![begin(7, true), synced(7, 5), batch(4)], OutOfTurn::Backwards { from: 5, to: 4 }),
        (vec![begin(7, true), synced(7, 5), synced(7, 4)], OutOfTurn::Backwards { from: 5, to: 4 }),
        (vec![begin(7, true), synced(7, 5), begin(8, false)], OutOfTurn::BeforeBegin),
    ] {
        let mut mirror = Mirror::trusting(Held::default());
        let mut result = Ok(Heard::default());
        for told in told {
            result = result.and_then(|_| mirror.handle(told, &[]));
        }
        assert_eq!(result, Err(error));
    }
}
