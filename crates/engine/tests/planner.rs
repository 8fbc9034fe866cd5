//! What is planned change by change is what is planned from nothing, and the operations that lead there are the same.

#[allow(dead_code, reason = "each test uses its own part of this")]
mod support;

use causeway_engine as engine;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use engine::plan::{State, diff, diff_touched};
use engine::services::{
    self, Connects, Ejected, Ejection, LoadBalancerMode, LoadBalancing, NodePortAddresses, Planner, Problem,
    Services, View,
};
use model::{Change, ClusterName, EndpointPort, Import, Key, NodeName, NodePort, Object, ServiceKey, World};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use proptest::strategy::ValueTree;
use support::{Situation, cluster, cluster_name, endpoint, me, node, node_name, service, situation};

/// Something that happens to a node.
#[derive(Debug, Clone)]
enum Event {
    Changes(Vec<Change>),
    /// Other clusters came nearer.
    Ranked(Vec<ClusterName>),
    /// These of the backends are ejected now, and no others.
    Ejected(Vec<Index>),
    /// These nodes are dead now, and no others.
    Died(BTreeSet<NodeName>),
}

fn event() -> impl Strategy<Value = Event> {
    let ranking = subsequence((0..4).map(cluster_name).collect::<Vec<_>>(), 0..=4).prop_shuffle();
    let endpoints = prop_oneof![
        3 => endpoint().prop_map(|e| Change::Upsert(Object::Endpoint(e))),
        2 => endpoint().prop_map(|e| Change::Delete(Key::Endpoint(e.key))),
    ];
    prop_oneof![
        8 => vec(endpoints, 1..5).prop_map(Event::Changes),
        3 => vec(change(), 1..3).prop_map(Event::Changes),
        1 => ranking.prop_map(Event::Ranked),
        3 => vec(any::<Index>(), 0..6).prop_map(Event::Ejected),
        1 => btree_set(node_name(), 0..6).prop_map(Event::Died),
    ]
}

/// The chosen ones of all backends.
fn ejected(world: &World, chosen: &[Index]) -> Ejected {
    let endpoints = world.endpoints.values().flat_map(|of| of.values());
    let addresses = endpoints.flat_map(|endpoint| {
        let at = |ip, port: &EndpointPort| SocketAddr::new(ip, port.port.get());
        endpoint.ips.iter().flat_map(move |ip| endpoint.ports.iter().map(move |port| at(*ip, port)))
    });
    let addresses: Vec<SocketAddr> = addresses.collect();
    let chosen = chosen.iter().filter(|_| !addresses.is_empty()).map(|index| *index.get(&addresses));
    // Not in the order of their addresses.
    let since = |at: &SocketAddr| Duration::from_secs(u64::from(at.port() % 7));
    let ejection =
        |at: &SocketAddr| Ejection { since: since(at), left: Duration::ZERO, connects: Connects::default() };
    chosen.map(|at| (at, ejection(&at))).collect()
}

fn change() -> impl Strategy<Value = Change> {
    let object = prop_oneof![
        1 => cluster().prop_map(Object::Cluster),
        2 => node(node_name().boxed()).prop_map(Object::Node),
        3 => service_of_every_kind().prop_map(Object::Service),
        3 => import().prop_map(Object::Import),
        1 => endpoint().prop_map(Object::Endpoint),
    ];
    (object, prop::bool::weighted(0.7)).prop_map(|(object, stays)| match stays {
        true => Change::Upsert(object),
        false => Change::Delete(object.key()),
    })
}

/// Some with node ports, with external addresses of which one is written twice, exported, or kept to its node.
fn service_of_every_kind() -> impl Strategy<Value = model::Service> {
    (service(), any::<[bool; 5]>(), 0..4_u32).prop_map(|(mut service, is, affinity)| {
        service.access.internal_local = is[0];
        service.access.session_affinity = (affinity > 0).then_some(affinity);
        if is[1] {
            let outside = [198, 18, 0, 1].into();
            service.access.external_ips = vec![outside, outside];
        }
        if is[2] {
            let first = &service.ports[0];
            let node_port = 30_080.try_into().expect("not 0");
            service.access.node_ports =
                [NodePort { port: first.port, protocol: first.protocol, node_port }].into();
        }
        service.export = is[3].then(Default::default);
        service.shared |= is[4];
        service.access.external_local = is[3] == is[4];
        service
    })
}

fn import() -> impl Strategy<Value = Import> {
    let clusters = subsequence((0..4).map(cluster_name).collect::<Vec<_>>(), 0..=4);
    (service(), clusters).prop_map(|(service, clusters)| Import {
        key: ServiceKey { cluster: me().cluster, ..service.key },
        vips: service.vips,
        ports: service.ports,
        terms: Default::default(),
        traffic: Default::default(),
        clusters,
    })
}

/// What a state says of services, and what was not granted.
fn planned(services: Services) -> (State, Vec<Problem>) {
    let Services { frontends, outside, sets, node_addresses, tables, direct, problems } = services;
    (State { frontends, outside, sets, node_addresses, tables, direct, ..State::default() }, problems)
}

/// A node that follows what happens, as the agent does.
struct Follower {
    situation: Situation,
    balancing: LoadBalancing,
    planner: Planner,
    ejected: Ejected,
    state: State,
    problems: Vec<Problem>,
    followed: usize,
}

impl Follower {
    /// By tables or without.
    fn new(situation: Situation, tables: bool) -> Self {
        let (state, problems) = Default::default();
        let maglev = tables.then(|| 251.try_into().expect("a size"));
        let balancing = LoadBalancing { mode: LoadBalancerMode::Dsr, maglev };
        let (planner, ejected) = (Planner::default(), Ejected::default());
        Self { situation, balancing, planner, ejected, state, problems, followed: 0 }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Changes(changes) => {
                for change in changes {
                    let key = change.key();
                    if self.situation.world.apply(change) {
                        self.planner.handle_change(&key);
                    }
                }
            }
            Event::Ranked(ranking) => self.situation.ranking = ranking,
            Event::Ejected(chosen) => {
                let before = self.ejected.addresses();
                self.ejected = ejected(&self.situation.world, &chosen);
                let changed = before.symmetric_difference(&self.ejected.addresses()).copied().collect();
                self.planner.handle_ejections(&self.situation.world, &changed);
            }
            Event::Died(dead) => {
                self.situation.dead = dead;
                self.planner.handle_ejections(&self.situation.world, &self.ejected.addresses());
            }
        }
    }

    fn settle(&mut self) {
        let me = me();
        let Situation { world, dead, ranking } = &self.situation;
        let (ejected, balancing) = (&self.ejected, &self.balancing);
        let node_ports = &NodePortAddresses::All;
        let view = View { dead, ranking, node_ports, ejected, balancing, ..View::new(world, &me) };
        let mut observed = self.state.clone();
        match self.planner.follow(&view, &mut self.state) {
            Some(touched) => {
                let ops = diff_touched(&observed, &self.state, &touched);
                assert_eq!(ops, diff(&observed, &self.state), "the same operations, in the same order");
                touched.copy(&self.state, &mut observed);
                assert_eq!(observed, self.state, "what was touched is all that differs");
                self.followed += usize::from(!ops.is_empty());
            }
            None => (self.state, self.problems) = planned(self.planner.plan(&view)),
        }
        let (state, problems) = planned(services::plan(&view));
        assert_eq!(self.state, state);
        assert_eq!(self.problems, problems);
        assert!(!self.planner.is_behind());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn followed_as_planned(situation in situation(), tables in any::<bool>(), events in vec(event(), 1..30)) {
        let mut follower = Follower::new(situation, tables);
        follower.settle();
        for event in events {
            follower.take(event);
            follower.settle();
        }
    }
}

/// Properties of changes that change nothing prove nothing.
#[test]
fn the_generator_is_not_barren() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let followed = (0..50).map(|_| {
        let (situation, events) = (situation(), vec(event(), 30)).new_tree(&mut runner).unwrap().current();
        let mut follower = Follower::new(situation, false);
        for event in events {
            follower.take(event);
            follower.settle();
        }
        follower.followed
    });
    let followed: usize = followed.sum();
    assert!(followed >= 100, "{followed} operations or more of 1,500 events");
}

/// What it costs is the bench's to say; here, that it is three entries of ten thousand services.
#[test]
fn one_endpoint_among_many() {
    let me = me();
    let (mut now, dead, mut planner) = (many(10_000), BTreeSet::new(), Planner::default());
    let (mut state, _) = planned(planner.plan(&view(&now, &me, &dead)));
    let endpoints = now.endpoints.values().flat_map(|of| of.values()).step_by(97);
    for mut endpoint in endpoints.take(20).cloned().collect::<Vec<_>>() {
        endpoint.ready = false;
        let change = Change::Upsert(Object::Endpoint(endpoint));
        let key = change.key();
        let before = state.clone();
        assert!(now.apply(change));
        planner.handle_change(&key);
        let touched = planner.follow(&view(&now, &me, &dead), &mut state).expect("only an endpoint changed");
        let ops = diff_touched(&before, &state, &touched);
        assert_eq!(ops.len(), 3, "a new set, the frontend, the old set: {ops:?}");
    }
}

fn view<'a>(world: &'a World, me: &'a NodeName, dead: &'a BTreeSet<NodeName>) -> View<'a> {
    View { dead, ..View::new(world, me) }
}

/// Services of four endpoints, every one with an address of its own.
fn many(services: u32) -> World {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let service = service().new_tree(&mut runner).unwrap().current();
    let endpoint = endpoint().new_tree(&mut runner).unwrap().current();
    let mut world = World::default();
    for n in 0..services {
        let address = |range: u32| std::net::Ipv4Addr::from_bits((range << 24) | n).into();
        let mut service = service.clone();
        service.key.cluster = me().cluster;
        service.key.name.name = format!("s{n}");
        service.vips = vec![address(11)];
        service.ports.truncate(1);
        for i in 0..4 {
            let mut endpoint = endpoint.clone();
            endpoint.key.service = service.key.clone();
            endpoint.key.name = format!("p{i}");
            endpoint.ips = vec![std::net::Ipv4Addr::from_bits((12 << 24) | (n * 4 + i)).into()];
            endpoint.ports.truncate(1);
            endpoint.ports[0].protocol = service.ports[0].protocol;
            (endpoint.node, endpoint.ready, endpoint.weight) = (None, true, 1);
            world.apply(Change::Upsert(Object::Endpoint(endpoint)));
        }
        world.apply(Change::Upsert(Object::Service(service)));
    }
    world
}
