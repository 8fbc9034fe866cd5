//! Direct server return: who answers by himself, and whom backends see.

use super::*;
use crate::plan::Direct;

/// `a/1`, which is me, and `a/2` in one place; `a/3` elsewhere.
fn places() -> World {
    let mut world = echo_everywhere();
    for (name, location, last) in [("a/1", "here", 1), ("a/2", "here", 2), ("a/3", "there", 3)] {
        let node = world.nodes.get_mut(&node_name(name)).unwrap();
        node.location = location.into();
        node.pod_cidrs = vec![format!("10.1.{last}.0/24").parse().unwrap()];
    }
    world.services.get_mut(&service_key("a", "echo")).unwrap().access.load_balancer_ips =
        vec!["198.51.100.1".parse().unwrap()];
    world
}

fn with<T>(world: &World, mode: LoadBalancerMode, f: impl FnOnce(&View<'_>) -> T) -> T {
    let (me, dead, node_ports) = (node_name("a/1"), BTreeSet::new(), NodePortAddresses::All);
    let balancing = &LoadBalancing { mode, maglev: None };
    let (node_ports, ejected) = (&node_ports, Ejected::NONE);
    f(&View { dead: &dead, node_ports, ejected, balancing, ..View::new(world, &me) })
}

#[test]
fn nodes_of_one_place_answer_for_each_other() {
    let id = |name: &str| model::Node::id(&node_name(name));
    let sender = Direct::Sender("10.1.2.1".parse().unwrap());
    let mut world = places();
    let direct = |world: &World, mode| with(world, mode, plan).direct;
    // What others send is taken in any case: the mode changes node by node.
    assert_eq!(direct(&world, LoadBalancerMode::Snat), [sender].into());
    let all = [Direct::Own(id("a/1")), Direct::Peer(id("a/2")), sender].into();
    assert_eq!(direct(&world, LoadBalancerMode::Dsr), all);
    // Of no place nothing is known, so it is nobody's.
    world.nodes.values_mut().for_each(|node| node.location.clear());
    assert_eq!(direct(&world, LoadBalancerMode::Dsr), [Direct::Own(id("a/1"))].into());
}

#[test]
fn what_backends_see_is_said() {
    let said = |world: &World, mode| {
        let outside = with(world, mode, |view| explain(view).remove(0).outside);
        outside.iter().map(|to| (to.masquerade, to.sees)).collect::<Vec<_>>()
    };
    let mut world = places();
    assert_eq!(said(&world, LoadBalancerMode::Snat), []);
    assert_eq!(said(&world, LoadBalancerMode::Dsr), [(true, Sees::Either)]);
    world.endpoints.retain(|key, _| key.cluster.as_str() == "a");
    let echo = world.endpoints.values_mut().next().unwrap();
    echo.retain(|_, endpoint| [Some(node_name("a/1")), Some(node_name("a/2"))].contains(&endpoint.node));
    assert_eq!(said(&world, LoadBalancerMode::Dsr), [(true, Sees::Client)]);
    for endpoint in world.endpoints.values_mut().flat_map(BTreeMap::values_mut) {
        endpoint.node = Some(node_name("a/3"));
    }
    assert_eq!(said(&world, LoadBalancerMode::Dsr), [(true, Sees::Node)]);
}
