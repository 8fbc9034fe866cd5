//! A plan is deterministic, and its operations lead to it without a gap.

mod support;

use causeway_engine as engine;

use std::collections::BTreeSet;

use engine::mesh::{self, Settings};
use engine::plan::{Neighbour, Op, Peer, RouteVia, State, diff};
use engine::services::{self, View};
use ipnet::IpNet;
use model::PublicKey;
use model::mesh::Transport;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use support::{Situation, me, situation};

fn state(situation: &Situation) -> State {
    let Situation { world, dead, ranking } = situation;
    let me = me();
    let settings = Settings {
        mtu: 1420,
        fail_closed: vec![],
        keepalive: 25,
        masquerade: Some(vec![]),
        unserved: mesh::Unserved::Refuse,
        knows_two_keys: true,
        knows_groups: true,
        preshared: Default::default(),
    };
    let mesh = mesh::plan(world, &me, &settings, &mesh::Seen::default());
    let services = services::plan(&View { dead, ranking, ..View::new(world, &me) });
    State::assemble(mesh, services, dead)
}

/// The kernel, as far as a plan can tell: one operation at a time, refusing what the kernel would refuse.
struct Kernel(State);

impl Kernel {
    fn apply(&mut self, op: &Op) {
        let State {
            tunnel,
            routes,
            guarded,
            neighbours,
            mtus,
            masquerade,
            frontends,
            outside,
            sets,
            node_addresses,
            tables,
            direct,
            dead,
        } = &mut self.0;
        match op.clone() {
            Op::Guard(net) => assert!(guarded.insert(net), "guarded twice"),
            Op::Unguard(net) => assert!(guarded.remove(&net), "was not guarded"),
            Op::SetNeighbour(net, to) => drop(neighbours.insert(net, to)),
            Op::DeleteNeighbour(net) => assert!(neighbours.remove(&net).is_some(), "no such neighbour"),
            Op::SetMtu(net, mtu) => drop(mtus.insert(net, mtu)),
            Op::DeleteMtu(net) => assert!(mtus.remove(&net).is_some(), "no such range"),
            Op::Masquerade(next) => *masquerade = next,
            Op::TunnelPort(port) => tunnel.port = port,
            Op::TunnelMtu(mtu) => tunnel.mtu = mtu,
            Op::AddAddress(net) => assert!(tunnel.addresses.insert(net), "EEXIST"),
            Op::DeleteAddress(net) => {
                assert!(tunnel.addresses.remove(&net), "EADDRNOTAVAIL");
                let lost = |source| IpNet::from(source) == net;
                assert!(
                    !routes.values().any(|r| r.source.is_some_and(lost)),
                    "a route would go with its source"
                );
            }
            Op::SetPeer(key, peer) => {
                // WireGuard gives an address to whoever was told last.
                for (other, was) in &mut tunnel.peers {
                    if *other != key {
                        was.allowed_ips.retain(|net| !peer.allowed_ips.contains(net));
                    }
                }
                tunnel.peers.insert(key, peer);
            }
            Op::DeletePeer(key) => assert!(tunnel.peers.remove(&key).is_some(), "no such peer"),
            Op::SetRoute(to, metric, route) => {
                let here = |source| tunnel.addresses.contains(&IpNet::from(source));
                assert!(route.source.is_none_or(here), "EINVAL: the source is not this machine's");
                routes.insert((to, metric), route);
            }
            Op::DeleteRoute(to, metric) => assert!(routes.remove(&(to, metric)).is_some(), "ESRCH"),
            Op::AddSet(id, set) => drop(sets.insert(id, set)),
            Op::DeleteSet(id, size) => {
                let set = sets.remove(&id).expect("no such set");
                assert_eq!(set.len(), size as usize, "a set is deleted whole");
            }
            Op::SetFrontend(frontend, ladder) => drop(frontends.insert(frontend, ladder)),
            Op::DeleteFrontend(frontend) => {
                assert!(frontends.remove(&frontend).is_some(), "no such frontend")
            }
            Op::SetOutside(frontend, to) => drop(outside.insert(frontend, to)),
            Op::DeleteOutside(frontend) => {
                assert!(outside.remove(&frontend).is_some(), "nothing from outside")
            }
            Op::MarkDead(node) => assert!(dead.insert(node)),
            Op::MarkAlive(node) => assert!(dead.remove(&node)),
            Op::AddTable(key, table) => drop(tables.insert(key, table)),
            Op::DeleteTable(key, places) => {
                assert_eq!(tables.remove(&key).expect("no such table").len(), places);
            }
            Op::AddDirect(known) => assert!(direct.insert(known)),
            Op::DeleteDirect(known) => assert!(direct.remove(&known)),
            Op::AddNodeAddress(ip) => assert!(node_addresses.insert(ip)),
            Op::DeleteNodeAddress(ip) => assert!(node_addresses.remove(&ip)),
        }
    }

    /// What must be true between any two operations.
    fn check(&self) {
        let State { routes, guarded, frontends, outside, sets, .. } = &self.0;
        let from_outside = outside.iter().map(|(frontend, to)| (frontend, &to.ladder));
        for (frontend, ladder) in frontends.iter().chain(from_outside) {
            let end = ladder.tiers.iter().map(|span| span.begin + span.count).max().unwrap_or(0);
            let len =
                if end == 0 { 0 } else { sets.get(&ladder.set).expect("the ladder's set exists").len() };
            assert!(end as usize <= len, "{frontend:?} reaches past its set");
        }
        for ((to, _), _) in routes.iter().filter(|(_, route)| route.via == RouteVia::Tunnel) {
            assert!(guarded.iter().any(|range| range.contains(to)), "{to} is routed before it is guarded");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_world_gives_the_same_plan(situation in situation()) {
        let copy = situation.clone();
        prop_assert_eq!(state(&situation), state(&copy));
    }

    #[test]
    fn operations_lead_from_any_plan_to_any_other(from in situation(), to in situation()) {
        let (observed, desired) = (state(&from), state(&to));
        let mut kernel = Kernel(observed.clone());
        kernel.check();
        for op in diff(&observed, &desired) {
            kernel.apply(&op);
            kernel.check();
        }
        prop_assert_eq!(&kernel.0, &desired);
        prop_assert_eq!(diff(&kernel.0, &desired), vec![]);
    }

    #[test]
    fn an_interrupted_change_is_taken_up_where_it_stopped(
        from in situation(), to in situation(), at in any::<prop::sample::Index>(),
    ) {
        let (observed, desired) = (state(&from), state(&to));
        let mut kernel = Kernel(observed.clone());
        let ops = diff(&observed, &desired);
        for op in &ops[..at.index(ops.len() + 1)] {
            kernel.apply(op);
        }
        for op in diff(&kernel.0.clone(), &desired) {
            kernel.apply(&op);
            kernel.check();
        }
        prop_assert_eq!(&kernel.0, &desired);
    }

    #[test]
    fn no_address_belongs_to_two(situation in situation()) {
        let state = state(&situation);
        let ranges: Vec<_> = state.tunnel.peers.values().flat_map(|peer| &peer.allowed_ips).collect();
        for (n, a) in ranges.iter().enumerate() {
            prop_assert!(ranges[n + 1..].iter().all(|b| !model::overlaps(a, b)), "{a} overlaps another");
            prop_assert!(state.guarded.iter().any(|range| range.contains(*a)), "{a} is not guarded");
            for mine in &state.tunnel.addresses {
                prop_assert!(!a.contains(mine), "{mine} is mine, and {a} leads away");
            }
        }
    }

    #[test]
    fn health_is_only_the_dead_map(situation in situation(), dead in proptest::collection::btree_set(0..4_u8, 0..4)) {
        let mut other = situation.clone();
        other.dead = dead.into_iter().filter_map(|n| situation.world.nodes.keys().nth(n.into()).cloned()).collect();
        let is_health = |op: &Op| matches!(op, Op::MarkDead(_) | Op::MarkAlive(_));
        prop_assert!(diff(&state(&situation), &state(&other)).iter().all(is_health));
    }
}

#[test]
fn health_comes_first() {
    let before = State::default();
    let mut after = State { dead: BTreeSet::from([7]), ..State::default() };
    after.guarded.insert("10.0.0.0/8".parse().unwrap());
    assert_eq!(diff(&before, &after)[0], Op::MarkDead(7));
}

/// A gateway of a location that is not encrypted becomes one, and is none any more: where it sends others' ranges by itself
/// it has them in the tunnel first, and where its neighbour has them again nothing goes to him by the tunnel.
#[test]
fn the_tunnel_has_what_is_sent_by_it() {
    let range: IpNet = "10.1.0.0/24".parse().unwrap();
    let state = |key: u8, sends| {
        let mut state = State::default();
        let peer = Peer { allowed_ips: [range].into(), ..Peer::default() };
        state.tunnel.peers.insert(PublicKey([key; 32]), peer);
        let ip = "172.16.1.2".parse().unwrap();
        let takes = [Transport::Vxlan].into();
        state.neighbours.insert(range, Neighbour { ip, sends, takes, group: 0 });
        state
    };
    let (member, gateway) = (state(1, Transport::Vxlan), state(2, Transport::Wireguard));
    let order = |from, to| {
        let kinds = diff(from, to).iter().map(Op::kind).collect::<Vec<_>>();
        kinds.into_iter().filter(|kind| kind.starts_with("set_")).collect::<Vec<_>>()
    };
    assert_eq!(order(&member, &gateway), ["set_peer", "set_neighbour"]);
    assert_eq!(order(&gateway, &member), ["set_neighbour", "set_peer"]);
}

/// Properties of empty plans prove nothing: what is generated must have something of everything, often.
#[test]
fn the_generator_is_not_barren() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = [0; 6];
    for _ in 0..200 {
        let state = state(&situation().new_tree(&mut runner).unwrap().current());
        let longest = state.frontends.values().map(|ladder| ladder.tiers.len()).max().unwrap_or(0);
        let has = [
            state.tunnel.peers.len() >= 2,
            state.routes.values().any(|route| route.via == RouteVia::Tunnel),
            state.tunnel.addresses.len() == 2,
            state.sets.len() >= 2,
            longest >= 2,
            longest >= 3,
        ];
        for (count, has) in seen.iter_mut().zip(has) {
            *count += usize::from(has);
        }
    }
    assert!(seen.iter().all(|count| *count >= 10), "{seen:?} of 200");
}
