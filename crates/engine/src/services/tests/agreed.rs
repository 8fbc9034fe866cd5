//! Tables: what all nodes of a cluster choose alike for clients outside.

use model::{Hints, NodePort, Prefer};

use super::*;
use crate::plan::TableKey;

const LB: &str = "198.51.100.1";

/// `echo` in several clusters, at a load balancer's address and a node port.
fn echo() -> World {
    let mut world = echo_everywhere();
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.access.load_balancer_ips = vec![LB.parse().unwrap()];
    service.access.node_ports =
        vec![NodePort { port: port(80), protocol: Protocol::Tcp, node_port: port(30080) }];
    for (node, last) in world.nodes.values_mut().zip(1..) {
        node.private_ips = vec![[172, 16, 0, last].into()];
    }
    world
}

fn planned(world: &World, me: &str, maglev: Option<u32>) -> Services {
    let (me, dead) = (node_name(me), BTreeSet::new());
    let balancing =
        &LoadBalancing { maglev: maglev.map(|size| size.try_into().unwrap()), ..Default::default() };
    let node_ports = &NodePortAddresses::All;
    let ejected = Ejected::NONE;
    plan(&View { dead: &dead, reserved: RESERVED, node_ports, ejected, balancing, ..View::new(world, &me) })
}

/// The ladder behind the load balancer's address: its first backends, as last bytes of addresses, and its table.
fn first(plan: &Services) -> (Vec<String>, Option<&[u16]>) {
    let to = plan.outside.iter().find(|(frontend, _)| frontend.ip.to_string() == LB).expect("an entry").1;
    let first = to.ladder.tiers[0];
    assert_eq!(first.begin, 0);
    let set = &plan.sets[&to.ladder.set][..first.count as usize];
    let byte = |ip: IpAddr| ip.to_string().rsplit('.').next().unwrap().to_owned();
    let table = to.ladder.table_key().map(|key| &plan.tables[&key][..]);
    (set.iter().map(|backend| byte(backend.ip)).collect(), table)
}

#[test]
fn nodes_of_a_cluster_have_one_table() {
    let mut world = echo();
    // Hints are for one node or another, so they have no say.
    for endpoint in world.endpoints.values_mut().flat_map(BTreeMap::values_mut) {
        endpoint.hints = Hints::OwnZone;
    }
    let (one, two) = (planned(&world, "a/1", Some(251)), planned(&world, "a/2", Some(251)));
    let (backends, table) = first(&one);
    assert!(backends.len() > 1 && table.is_some_and(|table| table.len() == 251), "{backends:?}");
    assert_eq!(first(&two), (backends, table));
    assert_eq!(one.tables, two.tables, "one for all addresses");
    assert_eq!(one.tables.len(), 1);
    // Sockets are led as ever, and without tables so is everybody.
    let without = planned(&world, "a/1", None);
    assert_eq!(without.frontends, one.frontends);
    assert_eq!(without.tables.len(), 0);
    assert!(without.outside.values().all(|to| to.ladder.table.is_none()));
}

#[test]
fn what_has_no_table_of_its_own() {
    let mut world = echo();
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.access.external_local = true;
    let local = planned(&world, "a/1", Some(251));
    assert_eq!((first(&local).1, local.tables.len()), (None, 0), "a node's own backends are nobody else's");
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.access.external_local = false;
    service.traffic.prefer = Prefer::Even;
    let even = planned(&world, "a/1", Some(1021));
    let (backends, table) = first(&even);
    assert!(backends.len() > first(&local).0.len() && table.is_some_and(|table| table.len() == 1021));
    assert_eq!(first(&planned(&world, "a/2", Some(1021))).1, table, "other clusters' backends, too");
    // Nobody behind it.
    world.endpoints.clear();
    let nobody = planned(&world, "a/1", Some(1021));
    assert_eq!(nobody.tables, BTreeMap::<TableKey, _>::new());
}
