//! What is dialled in packets: kube-proxy's tables for `externalTrafficPolicy`, and what they leave out.

use std::fmt::Write as _;

use model::{Hints, NodePort, Service};

use super::*;
use crate::plan::{Otherwise, Outside};

const LB: &str = "198.51.100.1";
const EXTERNAL: &str = "203.0.113.1";
const NODE_PORT: u16 = 30080;

/// `echo` with a node port, a load balancer's address and an external one. `a/1`, which is me, has three addresses.
fn everywhere(change: impl FnOnce(&mut Service)) -> World {
    let mut world = echo_everywhere();
    for (name, last) in [("a/1", 1), ("a/2", 2)] {
        let node = world.nodes.get_mut(&node_name(name)).unwrap();
        node.private_ips = vec![[172, 16, 0, last].into()];
        node.public_ips = vec![[198, 18, 0, last].into()];
        node.pod_cidrs = vec![format!("10.1.{last}.0/24").parse().unwrap()];
    }
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.access.node_ports =
        vec![NodePort { port: port(80), protocol: Protocol::Tcp, node_port: port(NODE_PORT) }];
    service.access.load_balancer_ips = vec![LB.parse().unwrap()];
    service.access.external_ips = vec![EXTERNAL.parse().unwrap()];
    change(service);
    world
}

/// The same, of cluster `a` alone, with a backend here (1) and one elsewhere (2), each as the letters say: `-` not there,
/// `r` ready, `u` not ready, `s` shutting down and serving, `t` shutting down and not.
fn two(change: impl FnOnce(&mut Service), here: char, elsewhere: char) -> World {
    let mut world = everywhere(change);
    world.services.retain(|key, _| key.cluster.as_str() == "a");
    world.endpoints.retain(|key, _| key.cluster.as_str() == "a");
    let of_service = world.endpoints.values_mut().next().unwrap();
    of_service.retain(|name, _| (name == "echo-1" && here != '-') || (name == "echo-2" && elsewhere != '-'));
    for endpoint in of_service.values_mut() {
        let how = if endpoint.key.name == "echo-1" { here } else { elsewhere };
        endpoint.ready = how == 'r';
        endpoint.serving = matches!(how, 'r' | 's');
        endpoint.terminating = matches!(how, 's' | 't');
    }
    world
}

/// The last bytes of the backends behind a ladder, a rung a word.
fn backends(plan: &Services, ladder: &Ladder) -> String {
    let rungs = ladder.tiers.iter().map(|span| {
        let set = &plan.sets[&ladder.set];
        let rung = &set[span.begin as usize..(span.begin + span.count) as usize];
        rung.iter().map(|b| b.ip.to_string().rsplit(['.', ':']).next().unwrap().to_string()).collect()
    });
    rungs.collect::<Vec<String>>().join(" ")
}

/// What a packet meets at an address: `outside`, else `frontends` with masquerade, else nothing.
fn packet(plan: &Services, ip: &str, number: u16) -> String {
    packet_of(plan, ip, number, Protocol::Tcp)
}

fn packet_of(plan: &Services, ip: &str, number: u16, protocol: Protocol) -> String {
    let frontend = Frontend { ip: ip.parse().unwrap(), protocol, port: port(number) };
    let usual = plan.frontends.get(&frontend).map(|ladder| Outside {
        ladder: ladder.clone(),
        masquerade: true,
        otherwise: Otherwise::Refuse,
        sources: None,
    });
    let Some(Outside { ladder, masquerade, otherwise, sources }) =
        plan.outside.get(&frontend).cloned().or(usual)
    else {
        return "nothing".into();
    };
    let mut text = backends(plan, &ladder);
    if text.is_empty() {
        text = if otherwise == Otherwise::Drop { "drop" } else { "refuse" }.into();
    } else if masquerade {
        text += " M";
    }
    if let Some(sources) = sources {
        let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
        let _ = write!(text, " from {}", sources.join(","));
    }
    text
}

/// Kube-proxy's TestInternalExternalMasquerade, for what comes in packets; what sockets dial beside it. 1 is local, 2 is not.
#[test]
fn the_flow_table() {
    type Change = fn(&mut Service);
    let policies: [(&str, Change, [&str; 3]); 4] = [
        // Whose traffic policy; sockets to the virtual address; packets to it; packets to outside addresses.
        ("default", |_| (), ["1 2", "1 2 M", "1 2 M"]),
        ("external Local", |s| s.access.external_local = true, ["1 2", "1 2 M", "1"]),
        ("internal Local", |s| s.access.internal_local = true, ["1", "1 M", "1 2 M"]),
        (
            "both Local",
            |s| (s.access.internal_local, s.access.external_local) = (true, true),
            ["1", "1 M", "1"],
        ),
    ];
    for (policy, change, [to_vip, packet_to_vip, packet_to_outside]) in policies {
        let plan = see(&two(change, 'r', 'r'), "a/1", &[]).plan;
        let socket = |ip: &str| {
            let (_, ladder) = plan.frontends.iter().find(|(f, _)| f.ip.to_string() == ip).unwrap();
            backends(&plan, ladder)
        };
        assert_eq!(socket("10.101.0.1"), to_vip, "{policy}: pod or node to ClusterIP");
        for ip in ["0.0.0.0", LB, EXTERNAL] {
            assert_eq!(socket(ip), "1 2", "{policy}: pod or node to {ip}: the short circuit");
        }
        assert_eq!(packet(&plan, "10.101.0.1", 80), packet_to_vip, "{policy}: ext to ClusterIP");
        for own in ["172.16.0.1", "198.18.0.1", "10.1.1.1"] {
            assert_eq!(
                packet(&plan, own, NODE_PORT),
                packet_to_outside,
                "{policy}: ext to NodePort at {own}"
            );
        }
        assert_eq!(packet(&plan, "172.16.0.2", NODE_PORT), "nothing", "{policy}: another node's");
        for ip in [LB, EXTERNAL] {
            assert_eq!(packet(&plan, ip, 80), packet_to_outside, "{policy}: ext to {ip}");
        }
    }
}

/// Who answers from outside, by what there is here and elsewhere: the rows of topology_test.go that tell Cluster from Local
/// (11 to 20), and those that they leave out.
#[test]
fn who_answers() {
    for (here, elsewhere, cluster, local) in [
        ('-', '-', "refuse", "refuse"),
        ('-', 'r', "2 M", "drop"),
        ('r', '-', "1 M", "1"),
        ('r', 'r', "1 2 M", "1"),
        ('u', 'u', "refuse", "refuse"),
        ('u', 'r', "2 M", "drop"),
        ('r', 'u', "1 M", "1"),
        ('s', 's', "1 2 M", "1"),
        ('s', 'r', "2 M", "1"),
        ('r', 's', "1 M", "1"),
        ('u', 's', "2 M", "drop"),
        ('t', 'r', "2 M", "drop"),
        ('t', 't', "refuse", "refuse"),
        ('t', 's', "2 M", "drop"),
    ] {
        for (external_local, want) in [(false, cluster), (true, local)] {
            let world = two(|service| service.access.external_local = external_local, here, elsewhere);
            let plan = see(&world, "a/1", &[]).plan;
            for (ip, number) in [("172.16.0.1", NODE_PORT), (LB, 80), (EXTERNAL, 80)] {
                let what = format!("{here} here, {elsewhere} elsewhere, Local {external_local}, {ip}");
                assert_eq!(packet(&plan, ip, number), want, "{what}");
            }
        }
    }
}

/// Topology never applies to Local, and a hint for elsewhere takes no backend away from it (rows 2 and 11).
#[test]
fn no_hint_counts_under_local() {
    let hinted = |external_local| {
        let mut world = two(|service| service.access.external_local = external_local, 'r', 'r');
        for endpoint in world.endpoints.values_mut().flat_map(BTreeMap::values_mut) {
            let zone = if endpoint.key.name == "echo-1" { "west-2" } else { "west-1" };
            endpoint.hints = Hints::Given { zones: vec![zone.into()], nodes: Vec::new() };
        }
        world
    };
    assert_eq!(packet(&see(&hinted(true), "a/1", &[]).plan, LB, 80), "1");
    assert_eq!(
        packet(&see(&hinted(false), "a/1", &[]).plan, LB, 80),
        "2 1 M",
        "who is passed over comes last"
    );
}

#[test]
fn other_clusters_are_not_here() {
    let mut world = everywhere(|service| service.access.external_local = true);
    assert_eq!(packet(&see(&world, "a/1", &[]).plan, LB, 80), "1");
    world.endpoints.retain(|key, _| key.cluster.as_str() != "a");
    assert_eq!(packet(&see(&world, "a/1", &[]).plan, LB, 80), "drop", "but they are somewhere");
    world.endpoints.clear();
    assert_eq!(packet(&see(&world, "a/1", &[]).plan, LB, 80), "refuse");
}

#[test]
fn weights_and_affinity_count_under_local() {
    let mut world = two(
        |service| {
            service.access.external_local = true;
            service.access.session_affinity = Some(60);
        },
        'r',
        'r',
    );
    let lb = |plan: &Services| {
        let frontend = Frontend { ip: LB.parse().unwrap(), protocol: Protocol::Tcp, port: port(80) };
        plan.outside[&frontend].ladder.affinity
    };
    assert_eq!(lb(&see(&world, "a/1", &[]).plan), 60);
    edit(&mut world, "a", "echo-1", |e| e.weight = 0);
    let plan = see(&world, "a/1", &[]).plan;
    assert_eq!((packet(&plan, LB, 80), lb(&plan)), ("drop".into(), 0), "in maintenance");
}

#[test]
fn what_leads_where_sockets_are_led_is_not_said_twice() {
    let plan = see(&everywhere(|_| ()), "a/1", &[]).plan;
    let said: Vec<_> = plan.outside.keys().map(ToString::to_string).collect();
    assert_eq!(said, ["10.1.1.1:30080/TCP", "172.16.0.1:30080/TCP", "198.18.0.1:30080/TCP"]);
    let ladders: BTreeSet<_> = plan.outside.values().map(|outside| outside.ladder.set).collect();
    assert_eq!(ladders.len(), 1, "and the set is the one that sockets have");
    assert_eq!(plan.sets.len(), 1);
    assert!(see(&everywhere(|s| s.access.other_proxy = true), "a/1", &[]).plan.outside.is_empty());
    assert!(see(&everywhere(|_| ()), "a/unknown", &[]).plan.outside.is_empty(), "no address is known of it");
}

#[test]
fn source_ranges_are_the_load_balancers_alone() {
    let ranges = |written: &[&str]| -> Option<Vec<ipnet::IpNet>> {
        Some(written.iter().map(|range| range.parse().unwrap()).collect())
    };
    let both = &["192.0.2.0/24", "2001:db8::/32"][..];
    for (external_local, written, lb) in [
        (false, both, "1 2 M from 192.0.2.0/24"),
        (true, both, "1 from 192.0.2.0/24"),
        (false, &["2001:db8::/32"][..], "1 2 M from "),
        (true, &[][..], "1 from "),
    ] {
        let change = |service: &mut Service| {
            service.access.external_local = external_local;
            service.access.source_ranges = ranges(written);
        };
        let seen = see(&two(change, 'r', 'r'), "a/1", &[]);
        let unrestricted = if external_local { "1" } else { "1 2 M" };
        assert_eq!(packet(&seen.plan, LB, 80), lb, "{written:?}");
        assert_eq!(packet(&seen.plan, EXTERNAL, 80), unrestricted, "{written:?}");
        assert_eq!(packet(&seen.plan, "172.16.0.1", NODE_PORT), unrestricted, "{written:?}");
        assert_eq!(packet(&seen.plan, "10.101.0.1", 80), "1 2 M", "{written:?}");
        let doubts: Vec<_> = seen.explained[0].doubts.iter().map(ToString::to_string).collect();
        assert_eq!(doubts.is_empty(), lb.ends_with("/24"), "{doubts:?}");
    }
    // An address that is both is guarded, as it is by kube-proxy.
    let change = |service: &mut Service| {
        service.access.source_ranges = ranges(both);
        service.access.external_ips = service.access.load_balancer_ips.clone();
    };
    let seen = see(&two(change, 'r', 'r'), "a/1", &[]);
    assert_eq!(packet(&seen.plan, LB, 80), "1 2 M from 192.0.2.0/24");
    assert_eq!(seen.plan.problems, [], "nor does a service compete with itself");
}

#[test]
fn two_families_two_ports_two_protocols() {
    let change = |service: &mut Service| {
        service.vips.push("fd00:101::1".parse().unwrap());
        service.access.external_local = true;
        service.access.load_balancer_ips.push("2001:db8:1::1".parse().unwrap());
        service.access.source_ranges =
            Some(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let udp = ServicePort {
            name: "dns".into(),
            protocol: Protocol::Udp,
            port: port(53),
            ..service.ports[0].clone()
        };
        service.ports.push(udp);
        let node_port = NodePort { port: port(53), protocol: Protocol::Udp, node_port: port(30053) };
        service.access.node_ports.push(node_port);
    };
    let mut world = two(change, 'r', 'r');
    world.nodes.get_mut(&node_name("a/1")).unwrap().private_ips.push("fd10::1".parse().unwrap());
    for endpoint in world.endpoints.values_mut().flat_map(BTreeMap::values_mut) {
        endpoint.ports.push(EndpointPort { name: "dns".into(), protocol: Protocol::Udp, port: port(5353) });
        let last = endpoint.key.name.trim_start_matches("echo-").to_string();
        // Only the one that is elsewhere speaks IPv6.
        if last == "2" {
            endpoint.ips.push(format!("fd00:1::{last}").parse().unwrap());
        }
    }
    let plan = see(&world, "a/1", &[]).plan;
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    for (ip, number, protocol, want) in [
        ("172.16.0.1", 30080, tcp, "1"),
        ("172.16.0.1", 30053, udp, "1"),
        ("172.16.0.1", 30053, tcp, "nothing"),
        ("fd10::1", 30080, tcp, "drop"),
        ("fd10::1", 30053, udp, "drop"),
        (LB, 80, tcp, "1 from 192.0.2.0/24"),
        (LB, 53, udp, "1 from 192.0.2.0/24"),
        ("2001:db8:1::1", 53, udp, "drop from 2001:db8::/32"),
    ] {
        assert_eq!(packet_of(&plan, ip, number, protocol), want, "{ip} {number} {protocol}");
    }
}

#[test]
fn node_ports_at_some_of_a_nodes_addresses() {
    let every =
        ["10.1.1.1", "10.1.2.1", "127.0.0.1", "172.16.0.1", "172.16.0.2", "198.18.0.1", "198.18.0.2", "::1"];
    let ranges = |written: &[&str]| {
        NodePortAddresses::Ranges(written.iter().map(|range| range.parse().unwrap()).collect())
    };
    for (which, want) in [
        (NodePortAddresses::All, &every[..]),
        (NodePortAddresses::Primary, &every[3..5]),
        (ranges(&["198.18.0.0/16", "10.1.1.0/24"]), &["10.1.1.1", "198.18.0.1", "198.18.0.2"]),
        (ranges(&["192.0.2.0/24"]), &[]),
        (ranges(&["::/0"]), &["::1"]),
        (ranges(&["127.0.0.0/8"]), &["127.0.0.1"]),
    ] {
        let plan = see_with(&everywhere(|_| ()), "a/1", &[], &which).plan;
        let dialled: Vec<_> = plan.node_addresses.iter().map(ToString::to_string).collect();
        assert_eq!(dialled, want, "{which:?}: by sockets");
        let mine: Vec<_> = plan.outside.keys().map(|frontend| frontend.ip.to_string()).collect();
        let own = want.iter().filter(|ip| ["10.1.1.1", "172.16.0.1", "198.18.0.1"].contains(*ip));
        assert_eq!(mine, own.copied().collect::<Vec<_>>(), "{which:?}: from outside");
    }
    let mut world = everywhere(|_| ());
    world.nodes.get_mut(&node_name("a/1")).unwrap().private_ips.clear();
    let plan = see_with(&world, "a/1", &[], &NodePortAddresses::Primary).plan;
    let mine: Vec<_> = plan.outside.keys().map(|frontend| frontend.ip.to_string()).collect();
    assert_eq!(mine, ["198.18.0.1"], "known by its ExternalIP alone");
}

#[test]
fn what_is_not_granted_is_not_dialled_from_outside_either() {
    let reserved = |service: &mut Service| {
        service.access.node_ports[0].node_port = port(9641);
        service.access.external_ips = vec!["10.1.9.9".parse().unwrap()];
        service.access.external_local = true;
    };
    let mut world = two(reserved, 'r', 'r');
    world.clusters.get_mut(&cluster_name("a")).unwrap().pod_cidrs = vec!["10.1.0.0/16".parse().unwrap()];
    let plan = see(&world, "a/1", &[]).plan;
    assert_eq!(packet(&plan, "172.16.0.1", 9641), "nothing");
    assert_eq!(packet(&plan, "10.1.9.9", 80), "nothing");
    assert_eq!((packet(&plan, LB, 80), plan.problems.len()), ("1".into(), 2));
}

/// What somebody has at one address of a node comes before what somebody else has at all of them, as for sockets.
#[test]
fn an_external_ip_that_is_a_nodes_address() {
    let mut world = two(|service| service.access.external_local = true, 'r', 'r');
    let mut other = service("a", "other", &["10.101.0.2"], false);
    other.access.external_ips = vec!["172.16.0.1".parse().unwrap()];
    other.ports[0].port = port(NODE_PORT);
    world.services.insert(other.key.clone(), other);
    let plan = see(&world, "a/1", &[]).plan;
    assert_eq!(packet(&plan, "172.16.0.1", NODE_PORT), "refuse", "the other one, which has nobody");
    assert_eq!(packet(&plan, "198.18.0.1", NODE_PORT), "1");
}

#[test]
fn said_of_each() {
    let said = |world: &World| -> Vec<String> {
        let outside = &see(world, "a/1", &[]).explained[0].outside;
        let one = |entry: &FromOutside| {
            let names: Vec<_> = entry.backends.iter().map(|key| key.name.as_str()).collect();
            let sources = entry.sources.as_ref().map_or(0, BTreeSet::len);
            let FromOutside { frontend, masquerade, otherwise, .. } = entry;
            format!("{frontend} {} {masquerade} {otherwise:?} {sources}", names.join(","))
        };
        outside.iter().map(one).collect()
    };
    let local = |service: &mut Service| {
        service.access.external_local = true;
        service.access.source_ranges = Some(vec!["192.0.2.0/24".parse().unwrap()]);
    };
    for (here, lb) in [('r', "echo-1 false Drop 1"), ('-', " false Drop 1")] {
        assert_eq!(said(&two(local, here, 'r'))[0], format!("{LB}:80/TCP {lb}"));
        assert_eq!(said(&two(local, here, 'r')).len(), 5, "external, and three of the node's");
    }
    assert_eq!(said(&two(local, '-', '-'))[0], format!("{LB}:80/TCP  false Refuse 1"));
    let usual = said(&two(|_| (), 'r', 'r'));
    assert_eq!(usual[0], "10.1.1.1:30080/TCP echo-1,echo-2 true Refuse 0");
    // The plan and what is said of it are one.
    for change in [|_: &mut Service| (), local] {
        let seen = see(&everywhere(change), "a/1", &[]);
        let planned: Vec<_> = seen.plan.outside.iter().collect();
        let mut said: Vec<_> = seen.explained.iter().flat_map(|explained| &explained.outside).collect();
        said.sort_by_key(|entry| entry.frontend);
        assert_eq!(said.len(), planned.len());
        for ((frontend, outside), entry) in planned.into_iter().zip(said) {
            assert_eq!(
                (*frontend, outside.masquerade, outside.otherwise, &outside.sources),
                (entry.frontend, entry.masquerade, entry.otherwise, &entry.sources)
            );
            let set = seen.plan.sets.get(&outside.ladder.set).map_or(0, Vec::len);
            assert_eq!(set, entry.backends.len(), "{frontend}");
        }
    }
}

#[test]
fn what_load_balancers_ask_a_node() {
    let check = |number: u16| {
        move |service: &mut Service| {
            service.access.external_local = true;
            service.access.health_check_node_port = Some(port(number));
        }
    };
    let checks = |world: &World| {
        let (me, dead) = (node_name("a/1"), BTreeSet::new());
        let node_ports = NodePortAddresses::All;
        let view = View { dead: &dead, reserved: RESERVED, node_ports: &node_ports, ..View::new(world, &me) };
        let (checks, problems) = health_checks(&view);
        let checks: Vec<_> =
            checks.iter().map(|c| format!("{} {} {}", c.service.name, c.port, c.local_endpoints)).collect();
        (checks, problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    for (here, want) in [('r', 1), ('u', 0), ('s', 0), ('-', 0)] {
        assert_eq!(checks(&two(check(30100), here, 'r')).0, [format!("demo/echo 30100 {want}")], "{here}");
    }
    let mut world = two(check(30100), 'r', 'r');
    edit(&mut world, "a", "echo-1", |e| e.weight = 0);
    assert_eq!(checks(&world).0, ["demo/echo 30100 0"], "in maintenance");
    assert_eq!(checks(&two(|service| check(30100)(service), 'r', 'r')).1, [""; 0]);
    // The agent's own, its own node port, and one that another service has.
    assert!(checks(&two(check(9641), 'r', 'r')).1[0].contains("the agent's metrics"));
    assert!(checks(&two(check(NODE_PORT), 'r', 'r')).1[0].contains("which service a/demo/echo has"));
    let mut later = world.services[&service_key("a", "echo")].clone();
    later.key = service_key("a", "later");
    world.services.insert(later.key.clone(), later);
    let (served, problems) = checks(&world);
    assert_eq!(served, ["demo/echo 30100 0"]);
    assert_eq!(
        problems,
        [
            "service a/demo/later asks for node port 30100/TCP, which service a/demo/echo has, and is not served there: \
              change one of them"
        ]
    );
    world.services.get_mut(&service_key("a", "echo")).unwrap().access.other_proxy = true;
    assert_eq!(checks(&world).0, ["demo/later 30100 0"]);
}
