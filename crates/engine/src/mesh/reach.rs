//! What nodes tell each other so that those find a way to each other that nobody can dial: where each is seen, and who
//! may pass on for it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use model::reach::is_endpoint;
use model::{Node, NodeName, Reach, World};
use siphasher::sip::SipHasher13;

/// Up to as many nodes that can be dialled all say where they see others; of more about as many, for each other's.
const OBSERVERS: u64 = 8;

/// A time that was told is kept while what is measured differs less: by a fifth of it, or this.
const STEADY: Duration = Duration::from_millis(2);

/// What this node knows of another one, to which it has a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Where messages to it go, as they came from there.
    pub at: SocketAddr,
    /// The round-trip time, if it answers.
    pub rtt: Option<Duration>,
}

/// Whether others can be told an address at which the node is dialled: it has a public one, or somebody chose one.
pub fn is_dialled(node: &Node) -> bool {
    !node.public_ips.is_empty() || node.mesh.endpoint.is_some()
}

/// What the node `me` has to tell: with a device that `passes_on` it is a relay. `met` are the nodes whose tunnels have
/// keys, each where it is; `before` is what it told last.
pub fn found(
    world: &World,
    me: &Node,
    passes_on: bool,
    met: &BTreeMap<NodeName, Met>,
    before: &Reach,
) -> Reach {
    let mut reach = Reach { relays: passes_on && is_dialled(me), ..Reach::default() };
    let mut places: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for met in met.values() {
        *places.entry(met.at).or_default() += 1;
    }
    if is_dialled(me) {
        let observers = world.nodes.values().filter(|node| is_dialled(node)).count() as u64;
        let seen = met.iter().filter(|(name, met)| {
            let strange = |node: &Node| is_strange(node, &met.at);
            // Whoever stands where another does is reached over it.
            places[&met.at] == 1
                && world.nodes.get(*name).is_some_and(strange)
                && observes(&me.name, name, observers)
        });
        reach.sees = seen.map(|(name, met)| (name.clone(), met.at)).take(Reach::MOST_SEEN).collect();
    } else {
        let mut near: Vec<(Duration, &NodeName)> = met
            .iter()
            .filter(|(name, _)| world.nodes.get(*name).is_some_and(|node| node.mesh.reach.relays))
            .filter_map(|(name, met)| Some((met.rtt?, name)))
            .collect();
        near.sort();
        near.truncate(Reach::MOST_RELAYS);
        reach.relayed_by = near
            .into_iter()
            .map(|(rtt, name)| (name.clone(), steady(rtt, before.relayed_by.get(name))))
            .collect();
    }
    reach
}

/// Whether the node is seen where it says that it is not.
fn is_strange(node: &Node, at: &SocketAddr) -> bool {
    let own = node.private_ips.contains(&at.ip()) || node.public_ips.contains(&at.ip());
    !own && node.mesh.endpoint.is_none() && is_endpoint(at)
}

/// Whether it is for this one, among so many, to say where that one is.
fn observes(me: &NodeName, other: &NodeName, observers: u64) -> bool {
    if observers <= OBSERVERS {
        return true;
    }
    let mut hasher = SipHasher13::new();
    (me, other).hash(&mut hasher);
    hasher.finish() % observers < OBSERVERS
}

/// Microseconds; as before while little has changed, lest everybody is told all the time.
fn steady(rtt: Duration, before: Option<&u32>) -> u32 {
    let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
    let allowed = |before: u32| (before / 5).max(STEADY.as_micros() as u32);
    before.copied().filter(|before| before.abs_diff(micros) <= allowed(*before)).unwrap_or(micros)
}

/// Where nodes are seen by others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings(BTreeMap<NodeName, BTreeMap<SocketAddr, usize>>);

impl Sightings {
    /// What all nodes say.
    pub fn of(world: &World) -> Self {
        let mut all: BTreeMap<NodeName, BTreeMap<SocketAddr, usize>> = BTreeMap::new();
        let sees = world.nodes.values().flat_map(|node| &node.mesh.reach.sees);
        for (name, at) in sees.filter(|(name, _)| world.nodes.contains_key(*name)) {
            *all.entry(name.clone()).or_default().entry(*at).or_default() += 1;
        }
        Self(all)
    }

    /// Where most see the node; of several the first.
    pub fn candidate(&self, node: &NodeName) -> Option<SocketAddr> {
        let places = self.0.get(node)?;
        let most = places.values().max()?;
        places.iter().find(|(_, count)| *count == most).map(|(at, _)| *at)
    }

    /// Whether it is seen at several ports of one address: its NAT has another mapping for everybody (RFC 4787 §4.1).
    pub fn is_symmetric(&self, node: &NodeName) -> bool {
        let Some(places) = self.0.get(node) else { return false };
        let ips: BTreeSet<_> = places.keys().map(SocketAddr::ip).collect();
        ips.len() < places.len()
    }
}

/// Who may pass on between two nodes, with the time there and back by way of it: the nearest first.
pub fn relays(world: &World, mine: &Reach, peer: &Node) -> Vec<(NodeName, Duration)> {
    let both = mine.relayed_by.iter().filter_map(|(name, to_me)| {
        let to_peer = peer.mesh.reach.relayed_by.get(name)?;
        let node = world.nodes.get(name).filter(|node| node.mesh.reach.relays)?;
        Some((u64::from(*to_me) + u64::from(*to_peer), &node.name))
    });
    let mut both: Vec<(u64, &NodeName)> = both.collect();
    both.sort();
    both.into_iter().map(|(micros, name)| (name.clone(), Duration::from_micros(micros))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{meshed, node_name, world};

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn hidden(name: &str, n: u8) -> Node {
        Node { public_ips: vec![], private_ips: vec![[172, 16, n, 1].into()], ..meshed(name, n, &[]) }
    }

    fn met(all: &[(&str, &str, Option<u64>)]) -> BTreeMap<NodeName, Met> {
        let one = |(name, place, ms): &(&str, &str, Option<u64>)| {
            (node_name(name), Met { at: at(place), rtt: ms.map(Duration::from_millis) })
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn who_is_seen_elsewhere() {
        let (me, b, c, d) =
            (meshed("a/1", 1, &[]), meshed("b/1", 2, &[]), hidden("c/1", 3), hidden("d/1", 4));
        let world = world(vec![], vec![me.clone(), b, c, d], vec![], vec![]);
        let met = met(&[
            ("b/1", "198.18.0.2:51820", Some(5)),
            ("c/1", "198.18.9.1:4000", Some(5)),
            ("d/1", "198.18.0.2:51820", Some(5)),
        ]);
        let reach = found(&world, &me, true, &met, &Reach::default());
        assert_eq!(reach.sees, BTreeMap::from([(node_name("c/1"), at("198.18.9.1:4000"))]), "d is passed on");
        assert!(reach.relays && reach.relayed_by.is_empty(), "everybody can dial it");
        assert!(!found(&world, &me, false, &met, &Reach::default()).relays);
    }

    #[test]
    fn who_may_pass_on() {
        let relay = |name: &str, n: u8| {
            let mut node = meshed(name, n, &[]);
            node.mesh.reach.relays = true;
            node
        };
        let me = hidden("c/1", 3);
        let world = world(
            vec![],
            vec![relay("a/1", 1), relay("a/2", 2), meshed("b/1", 4, &[]), me.clone(), hidden("d/1", 5)],
            vec![],
            vec![],
        );
        let first = met(&[
            ("a/1", "198.18.0.1:51820", Some(10)),
            ("a/2", "198.18.0.2:51820", None),
            ("b/1", "198.18.0.4:51820", Some(1)),
        ]);
        let reach = found(&world, &me, true, &first, &Reach::default());
        assert!(!reach.relays && reach.sees.is_empty(), "nobody can dial it");
        assert_eq!(reach.relayed_by, BTreeMap::from([(node_name("a/1"), 10_000)]));
        for (ms, told) in [(11, 10_000), (9, 10_000), (13, 13_000)] {
            let now = met(&[("a/1", "198.18.0.1:51820", Some(ms))]);
            assert_eq!(found(&world, &me, true, &now, &reach).relayed_by[&node_name("a/1")], told, "{ms} ms");
        }
        let all: Vec<Node> = (1..=20).map(|n| relay(&format!("a/{n}"), n)).collect();
        let many: BTreeMap<NodeName, Met> = all
            .iter()
            .map(|node| {
                let far = Duration::from_millis(u64::from(node.public_key.unwrap().0[0]));
                (node.name.clone(), Met { at: SocketAddr::new(node.public_ips[0], 1), rtt: Some(far) })
            })
            .collect();
        let world = crate::testing::world(vec![], all, vec![], vec![]);
        let near = found(&world, &me, true, &many, &Reach::default()).relayed_by;
        assert_eq!(near.len(), Reach::MOST_RELAYS);
        assert!(near.values().all(|micros| *micros <= 8_000));
    }

    #[test]
    fn the_relay_is_chosen_by_both_legs() {
        let (mut a, mut b, c) = (meshed("a/1", 1, &[]), meshed("b/1", 2, &[]), meshed("b/2", 3, &[]));
        (a.mesh.reach.relays, b.mesh.reach.relays) = (true, true);
        let mut peer = hidden("d/1", 4);
        let times = |all: &[(&str, u32)]| all.iter().map(|(name, time)| (node_name(name), *time)).collect();
        peer.mesh.reach.relayed_by = times(&[("a/1", 9_000), ("b/1", 1_000), ("b/2", 1), ("gone/1", 1)]);
        let mine = Reach {
            relayed_by: times(&[("a/1", 1_000), ("b/1", 8_000), ("b/2", 1), ("gone/1", 1)]),
            ..Reach::default()
        };
        let world = world(vec![], vec![a, b, c], vec![], vec![]);
        let found: Vec<(String, u128)> = relays(&world, &mine, &peer)
            .into_iter()
            .map(|(name, time)| (name.to_string(), time.as_millis()))
            .collect();
        assert_eq!(found, [("b/1".to_string(), 9), ("a/1".to_string(), 10)]);
    }

    #[test]
    fn sightings_say_where_and_how() {
        let seer = |name: &str, n: u8, place: &str| {
            let mut node = meshed(name, n, &[]);
            node.mesh.reach.sees.insert(node_name("c/1"), at(place));
            node
        };
        let sightings = |places: [&str; 3]| {
            let seers =
                places.iter().enumerate().map(|(n, place)| seer(&format!("a/{n}"), n as u8 + 1, place));
            Sightings::of(&world(vec![], seers.chain([hidden("c/1", 9)]).collect(), vec![], vec![]))
        };
        let c = node_name("c/1");
        let one = sightings(["198.18.9.1:7", "198.18.9.1:7", "198.18.9.1:7"]);
        assert_eq!((one.candidate(&c), one.is_symmetric(&c)), (Some(at("198.18.9.1:7")), false));
        let many = sightings(["198.18.9.1:7", "198.18.9.1:9", "198.18.9.1:9"]);
        assert_eq!((many.candidate(&c), many.is_symmetric(&c)), (Some(at("198.18.9.1:9")), true));
        let homes = sightings(["198.18.9.1:7", "198.18.9.2:7", "198.18.9.1:7"]);
        assert_eq!((homes.candidate(&c), homes.is_symmetric(&c)), (Some(at("198.18.9.1:7")), false));
        assert_eq!(one.candidate(&node_name("a/0")), None);
        assert!(!one.is_symmetric(&node_name("a/0")));
    }

    #[test]
    fn of_many_only_some_say_where_a_node_is() {
        let names: Vec<NodeName> = (0..1_000).map(|n| node_name(&format!("a/{n}"))).collect();
        let other = node_name("c/1");
        let count = names.iter().filter(|name| observes(name, &other, 1_000)).count();
        assert!((2..=20).contains(&count), "{count}");
        assert!(names.iter().take(8).all(|name| observes(name, &other, 8)));
    }
}
