//! What services ask for wrongly: who is served all the same, who is not, and what is said.

use model::NodePort;

use super::*;

/// `echo` of cluster `a` as it is changed.
fn with(change: impl FnOnce(&mut model::Service)) -> World {
    let mut world = echo_everywhere();
    world.clusters.insert(cluster_name("a"), crate::testing::cluster("a", 1, &["10.1.0.0/16"]));
    world.clusters.insert(cluster_name("b"), crate::testing::cluster("b", 2, &["10.2.0.0/16"]));
    world.nodes.get_mut(&node_name("a/2")).unwrap().private_ips = vec!["172.16.0.2".parse().unwrap()];
    change(world.services.get_mut(&service_key("a", "echo")).unwrap());
    world
}

/// What is said of `echo`, and what of it can be dialled.
fn said(world: &World) -> (Vec<String>, Vec<String>) {
    let seen = see(world, "a/1", &[]);
    let explained = &seen.explained[0];
    let problems = explained.problems.iter().map(ToString::to_string);
    let said: Vec<String> = problems.chain(explained.doubts.iter().map(ToString::to_string)).collect();
    let planned: Vec<String> = seen.plan.problems.iter().map(ToString::to_string).collect();
    assert!(
        planned.iter().all(|problem| said.contains(problem)),
        "the agent's status says the same: {planned:?}"
    );
    // Whoever knows no node of the cluster says so too, but for what is a node's own.
    let (stranger, nobody) = (node_name("a/nobody"), BTreeSet::new());
    let view = View { dead: &nobody, reserved: RESERVED, ..View::new(world, &stranger) };
    let claimant = Claimant { key: explained.service.clone(), import: explained.import };
    let known = wrong(&view).remove(&claimant).unwrap_or_default();
    assert_eq!((&known.problems, &known.doubts), (&explained.problems, &explained.doubts));
    (said, seen.plan.frontends.keys().map(ToString::to_string).collect())
}

fn check(what: &str, world: &World, want: &[&str], dialled: &[&str]) {
    let (said, at) = said(world);
    assert_eq!(said, want, "{what}");
    assert_eq!(at, dialled, "{what}");
}

#[test]
fn an_external_address() {
    let external = |ip: &str, port: u16| {
        with(|service| {
            service.access.external_ips = vec![ip.parse().unwrap()];
            service.ports[0].port = crate::testing::port(port);
        })
    };
    check("nobody's", &external("192.0.2.1", 80), &[], &["10.101.0.1:80/TCP", "192.0.2.1:80/TCP"]);
    let own = "service a/demo/echo asks for 10.1.7.7 port 80/TCP, which is inside 10.1.0.0/16, a pod range of cluster a, \
               and is not served there: it would take what is meant for a pod; write an external address that is nobody's";
    check("a pod's of the own cluster", &external("10.1.7.7", 80), &[own], &["10.101.0.1:80/TCP"]);
    let others = own.replace("10.1.", "10.2.").replace("cluster a", "cluster b");
    check("a pod's of another cluster", &external("10.2.7.7", 80), &[&others], &["10.101.0.1:80/TCP"]);
    check(
        "a node's, as with kube-proxy",
        &external("172.16.0.2", 80),
        &[],
        &["10.101.0.1:80/TCP", "172.16.0.2:80/TCP"],
    );
    check(
        "a node's, at a port of ours",
        &external("172.16.0.2", 9641),
        &[
            "service a/demo/echo asks for 172.16.0.2 port 9641/TCP, where the agent's metrics and health itself answers on \
           every node, and is not served there: give the service another port",
        ],
        &["10.101.0.1:9641/TCP"],
    );
    check(
        "elsewhere our ports are free",
        &external("192.0.2.1", 9641),
        &[],
        &["10.101.0.1:9641/TCP", "192.0.2.1:9641/TCP"],
    );
}

#[test]
fn a_load_balancers_address_that_is_a_pods() {
    let world = with(|service| service.access.load_balancer_ips = vec!["10.1.7.7".parse().unwrap()]);
    assert!(said(&world).0[0].contains("10.1.7.7 port 80/TCP, which is inside 10.1.0.0/16"));
}

#[test]
fn a_node_port_of_ours() {
    let node_port = |protocol, number| {
        with(|service| {
            service.ports[0].protocol = protocol;
            service.access.node_ports = vec![NodePort { port: port(80), protocol, node_port: port(number) }];
        })
    };
    check(
        "taken",
        &node_port(Protocol::Tcp, 9641),
        &[
            "service a/demo/echo asks for node port 9641/TCP, where the agent's metrics and health itself answers on every \
           node, and is not served there: give the service another port",
        ],
        &["10.101.0.1:80/TCP"],
    );
    check(
        "of the other protocol",
        &node_port(Protocol::Udp, 9641),
        &[],
        &["0.0.0.0:9641/UDP", "10.101.0.1:80/UDP"],
    );
}

#[test]
fn a_virtual_address_that_a_pod_may_have() {
    let world = with(|service| service.vips = vec!["10.1.7.7".parse().unwrap()]);
    check(
        "served, and said",
        &world,
        &[
            "its address 10.1.7.7 is inside 10.1.0.0/16, a pod range of cluster a: it is served, and a pod with this address \
           is not reached at its ports; give services a range of their own",
        ],
        &["10.1.7.7:80/TCP"],
    );
}

#[test]
fn endpoints_of_the_wrong_family() {
    let world =
        with(|service| service.vips = vec!["10.101.0.1".parse().unwrap(), "fd00:101::1".parse().unwrap()]);
    check(
        "refused in that family alone",
        &world,
        &[
            "none of its endpoints has an IPv6 address: connections to fd00:101::1 are refused; give its pods one, or take \
           the family out of ipFamilies",
        ],
        &["10.101.0.1:80/TCP", "[fd00:101::1]:80/TCP"],
    );
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.ladder("fd00:101::1"), "");
    assert_eq!(seen.ladder("10.101.0.1"), "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]");
    let only = with(|service| service.vips = vec!["fd00:101::1".parse().unwrap()]);
    let whys: Vec<_> = see(&only, "a/1", &[]).explained[0].backends.iter().map(|b| b.why).collect();
    assert_eq!(whys, [Why::NoMatch; 6]);
}

#[test]
fn hints_for_a_zone_without_a_node() {
    let mut world = with(|_| ());
    let hint = |world: &mut World, pod: &str, zone: &str| {
        let zones = vec![zone.to_string()];
        edit(world, "a", pod, |e| e.hints = model::Hints::Given { zones: zones.clone(), nodes: vec![] });
    };
    for (pod, zone) in [("echo-1", "mars"), ("echo-2", "mars"), ("echo-3", "west-2"), ("echo-4", "west-2")] {
        hint(&mut world, pod, zone);
    }
    let doubt = "2 of its endpoints are hinted to mars alone, where the cluster has no node: nobody is near them; look at \
                 the nodes' topology.kubernetes.io/zone, or at whoever writes the hints";
    check("as kube-proxy reads them", &world, &[doubt], &["10.101.0.1:80/TCP"]);
    // No endpoint names the zone of a/1, so no hint counts there; in west-2 two do.
    assert_eq!(
        see(&world, "a/1", &[]).ladder("10.101.0.1"),
        "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]"
    );
    assert!(see(&world, "a/3", &[]).ladder("10.101.0.1").starts_with("cluster[3,4] "));
}

#[test]
fn sctp_is_planned_and_said_where_ports_differ() {
    let mut world = with(|service| {
        service.ports[0].protocol = Protocol::Sctp;
        service.access.node_ports =
            vec![NodePort { port: port(80), protocol: Protocol::Sctp, node_port: port(30080) }];
    });
    for key in ["a", "b", "c"] {
        for n in world.endpoints.get_mut(&service_key(key, "echo")).unwrap().values_mut() {
            n.ports[0].protocol = Protocol::Sctp;
        }
    }
    let doubt = |port: &str| {
        format!(
            "port {port}/SCTP: endpoints listen at 8080, and the checksum of SCTP covers ports, which are not exchanged: \
             nobody is led to them there; have them listen at the port that is dialled"
        )
    };
    let both = ["0.0.0.0:30080/SCTP", "10.101.0.1:80/SCTP"];
    check("of all protocols alike", &world, &[&doubt("80"), &doubt("30080")], &both);
    let mut alike = world.clone();
    for key in ["a", "b", "c"] {
        let echo = alike.services.get_mut(&service_key(key, "echo")).unwrap();
        echo.ports[0].port = port(8080);
        echo.access.node_ports.clear();
    }
    check("one number", &alike, &[], &["10.101.0.1:8080/SCTP"]);
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.ladder("10.101.0.1"), "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]");
    assert_eq!(seen.ladder("0.0.0.0"), seen.ladder("10.101.0.1"));
    // One number in two protocols is two ports.
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    let tcp = ServicePort { name: "tcp".into(), protocol: Protocol::Tcp, ..service.ports[0].clone() };
    service.ports.push(tcp);
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.plan.problems, []);
    let of = |protocol| seen.plan.frontends.iter().find(|(f, _)| f.protocol == protocol).unwrap().1.set;
    assert_eq!((of(Protocol::Tcp), of(Protocol::Sctp) > 0), (0, true), "nobody answers TCP there");
}
