//! Node ports and session affinity.

use model::NodePort;

use super::*;

fn with_node_port(world: &mut World, node_port: u16) {
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.vips.push("fd00:101::1".parse().unwrap());
    service.access.node_ports =
        vec![NodePort { port: port(80), protocol: Protocol::Tcp, node_port: port(node_port) }];
}

#[test]
fn a_node_port_is_one_frontend_a_family() {
    let mut world = echo_everywhere();
    with_node_port(&mut world, 30080);
    let me = world.nodes.get_mut(&node_name("a/2")).unwrap();
    me.private_ips = vec!["172.16.0.2".parse().unwrap()];
    me.public_ips = vec!["198.18.0.2".parse().unwrap()];
    me.pod_cidrs = vec!["10.1.2.0/24".parse().unwrap()];
    world.nodes.get_mut(&node_name("b/1")).unwrap().private_ips = vec!["172.16.9.1".parse().unwrap()];
    // Whatever the policies, what our own clients dial there leads to everybody.
    let access = &mut world.services.get_mut(&service_key("a", "echo")).unwrap().access;
    (access.internal_local, access.external_local) = (true, true);
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.ladder("0.0.0.0"), "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]");
    assert_eq!(seen.ladder("::"), "", "nobody answers in this family");
    let ports: Vec<_> =
        seen.plan.frontends.keys().filter(|f| f.ip.is_unspecified()).map(|f| f.port.get()).collect();
    assert_eq!(ports, [30080, 30080]);
    let ips: Vec<_> = seen.plan.node_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(
        ips,
        ["10.1.2.1", "127.0.0.1", "172.16.0.2", "198.18.0.2", "::1"],
        "those of the own cluster's nodes"
    );
    assert_eq!(seen.explained[0].kind, Kind::NodePort);
}

#[test]
fn without_node_ports_no_address_is_taken() {
    let mut world = echo_everywhere();
    world.nodes.get_mut(&node_name("a/1")).unwrap().private_ips = vec!["172.16.0.1".parse().unwrap()];
    assert!(see(&world, "a/1", &[]).plan.node_addresses.is_empty());
}

#[test]
fn two_services_with_one_node_port() {
    let mut world = echo_everywhere();
    with_node_port(&mut world, 30080);
    let mut later = world.services[&service_key("a", "echo")].clone();
    later.key = service_key("a", "later");
    later.vips = vec!["10.101.0.9".parse().unwrap()];
    world.services.insert(later.key.clone(), later);
    let said: Vec<_> = see(&world, "a/1", &[]).plan.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "service a/demo/later asks for node port 30080/TCP, which service a/demo/echo has, and is not served there: \
          change one of them"
        ]
    );
}

#[test]
fn session_affinity_is_a_ladders() {
    let mut world = echo_everywhere();
    world.services.get_mut(&service_key("a", "echo")).unwrap().access.session_affinity = Some(60);
    let affinity = |world: &World| see(world, "a/1", &[]).plan.frontends.values().next().unwrap().affinity;
    assert_eq!(affinity(&world), 60);
    world.endpoints.clear();
    assert_eq!(affinity(&world), 0, "with nobody to stay with");
}
