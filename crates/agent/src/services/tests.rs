use engine::health::Ranking;
use engine::mesh::{self, Unserved};
use engine::services::{Connects, Ejection, Limits, LoadBalancerMode, LoadBalancing, Planner, TableSize};
use model::{
    Change, Endpoint, EndpointKey, EndpointPort, Node, Object, ObjectName, Port, Protocol, Service,
    ServiceKey, ServicePort, Topology, World,
};

use super::*;

fn name(node: &str) -> NodeName {
    NodeName::new("aws".parse().unwrap(), node).unwrap()
}

/// Two nodes in two zones, `echo` with a pod on each and a `twin` pod on both.
fn outlook() -> Outlook {
    let mut world = World::default();
    let port = |n| Port::new(n).unwrap();
    let key =
        |name| ServiceKey { cluster: "aws".parse().unwrap(), name: ObjectName::new("demo", name).unwrap() };
    let mut objects: Vec<Object> = Vec::new();
    for (node, zone) in [("aws-1", "a"), ("aws-2", "b")] {
        objects.push(Object::Node(Node {
            name: name(node),
            topology: Topology { region: "eu".into(), zone: zone.into(), ..Topology::default() },
            location: "eu".into(),
            private_ips: vec![],
            public_ips: vec![],
            pod_cidrs: vec![],
            public_key: None,
            port: 51820,
            labels: Default::default(),
            mesh: Default::default(),
        }));
    }
    for (service, vip) in [("echo", "10.101.0.1"), ("other", "10.101.0.1")] {
        objects.push(Object::Service(Service::new(
            key(service),
            vec![vip.parse().unwrap()],
            vec![ServicePort::new("", Protocol::Tcp, port(80))],
        )));
    }
    let pods = [
        ("echo", "echo-0", "aws-1"),
        ("echo", "echo-1", "aws-2"),
        ("echo", "twin", "aws-1"),
        ("other", "twin", "aws-2"),
    ];
    for (n, (service, pod, node)) in (1..).zip(pods) {
        objects.push(Object::Endpoint(Endpoint {
            node: Some(name(node)),
            ..Endpoint::new(
                EndpointKey { service: key(service), name: pod.into() },
                vec![std::net::IpAddr::from([10, 1, 0, n])],
                vec![EndpointPort::new("", Protocol::Tcp, port(8080))],
            )
        }));
    }
    for object in objects {
        world.apply(Change::Upsert(object));
    }
    Outlook {
        me: name("aws-1"),
        world,
        settings: mesh::Settings {
            mtu: 1420,
            fail_closed: vec![],
            keepalive: 0,
            masquerade: None,
            unserved: Unserved::Leave,
            knows_two_keys: true,
            knows_groups: true,
            preshared: Default::default(),
        },
        seen: Default::default(),
        port: 51820,
        dead: Default::default(),
        reached: Default::default(),
        ranking: Ranking::default(),
        times: Default::default(),
        ways: Default::default(),
        reserved: Vec::new(),
        node_ports: Default::default(),
        ejected: Default::default(),
        balancing: Default::default(),
        limits: Limits { frontends: 8, outside: 8, backends: 4 },
        fixed: Default::default(),
    }
}

fn ask(from: Option<&str>) -> Result<ServicesReport, Refusal> {
    let outlook = outlook();
    ask_of(&outlook, from)
}

fn ask_of(outlook: &Outlook, from: Option<&str>) -> Result<ServicesReport, Refusal> {
    let plan = outlook.plan(&mut mesh::Planner::default(), &mut Planner::default(), &State::default());
    report(outlook, &Held { desired: &plan.state, observed: &State::default(), full: &plan.full }, from)
}

#[test]
fn what_there_is_no_room_for() {
    let mut outlook = outlook();
    outlook.limits.backends = 0;
    let report = ask_of(&outlook, None).unwrap();
    let [echo, _] = &report.services[..] else { panic!("{report:?}") };
    assert!(echo.problems[0].contains("the data path's map of backends is full"), "{:?}", echo.problems);
    assert!(echo.differences.is_empty(), "nothing is planned: {:?}", echo.differences);
    let plan = outlook.plan(&mut mesh::Planner::default(), &mut Planner::default(), &State::default());
    assert!(plan.state.frontends.is_empty() && plan.problems.iter().any(|said| said.contains("is full")));
    assert!(plan.fills.iter().any(|fill| fill.is_near()));
}

#[test]
fn what_clients_outside_get() {
    let mut outlook = outlook();
    let echo = outlook.world.services.values_mut().next().unwrap();
    echo.access.load_balancer_ips = vec!["198.51.100.1".parse().unwrap()];
    echo.access.external_local = true;
    let of = |node| {
        let report = ask_of(&outlook, Some(node)).unwrap();
        serde_json::to_value(&report.services[0].outside).unwrap()
    };
    let entry = |backends: &[&str]| {
        serde_json::json!([{
            "address": "198.51.100.1", "port": 80, "protocol": "TCP", "backends": backends, "masquerade": false,
            "sees": "client", "agreed": false, "otherwise": "drop", "sources": null,
        }])
    };
    assert_eq!(of("aws-1"), entry(&["demo/echo-0", "demo/twin"]));
    assert_eq!(of("aws-2"), entry(&["demo/echo-1"]));
    // Nothing worth a line, but for direct server return.
    outlook.world.services.values_mut().next().unwrap().access.external_local = false;
    let of = |outlook: &Outlook| ask_of(outlook, None).unwrap().services.remove(0).outside;
    assert_eq!(of(&outlook).len(), 0);
    outlook.balancing.mode = LoadBalancerMode::Dsr;
    let said = of(&outlook);
    assert_eq!((said.len(), said[0].masquerade, said[0].sees), (1, true, wire::local::Sees::Client));
    assert!(!said[0].agreed);
    outlook.balancing = LoadBalancing { maglev: Some(TableSize::DEFAULT), ..LoadBalancing::default() };
    let said = of(&outlook);
    assert_eq!((said.len(), said[0].agreed, said[0].sees), (1, true, wire::local::Sees::Node));
}

#[test]
fn what_stands_behind_every_port() {
    let mut outlook = outlook();
    let port = |name: &str, number| ServicePort::new(name, Protocol::Tcp, Port::new(number).unwrap());
    let echo = outlook.world.services.values_mut().next().unwrap();
    echo.ports = vec![port("web", 80), port("admin", 81), port("nobody", 82)];
    let key = echo.key.clone();
    let at = |name: &str, number| EndpointPort::new(name, Protocol::Tcp, Port::new(number).unwrap());
    for endpoint in outlook.world.endpoints.get_mut(&key).unwrap().values_mut() {
        endpoint.ports = vec![at("web", 8080)];
        if endpoint.node == Some(name("aws-2")) {
            endpoint.ports.push(at("admin", 8081));
        }
    }
    let report = ask_of(&outlook, None).unwrap();
    let echo = &report.services[0];
    let behind: Vec<_> = echo
        .frontends
        .iter()
        .map(|f| (f.port, f.tiers.iter().map(|tier| (tier.tier, tier.ready)).collect::<Vec<_>>()))
        .collect();
    let (node, region) = (model::Tier::Node, model::Tier::Region);
    assert_eq!(behind, [(80, vec![(node, 2), (region, 1)]), (81, vec![(region, 1)]), (82, vec![])]);
    assert_eq!(echo.tiers, echo.frontends[0].tiers);
}

#[test]
fn who_is_ejected_is_so_here() {
    let mut outlook = outlook();
    let connects = Connects { established: 0, refused: 3, unanswered: 0 };
    let ejection = Ejection { since: Duration::ZERO, left: Duration::from_secs(10), connects };
    outlook.ejected = [("10.1.0.1:8080".parse().unwrap(), ejection)].into_iter().collect();
    let of = |from| {
        let report = ask_of(&outlook, from).unwrap();
        let echo = report.services[0].backends.iter().find(|backend| backend.pod == "demo/echo-0").unwrap();
        (echo.takes, echo.healthy, echo.why.clone())
    };
    let why = "ejected for 10 s more: 3 of 3 connects failed (3 refused, 0 unanswered)";
    assert_eq!(of(None), (false, false, why.into()));
    assert!(of(Some("aws-2")).1, "another node's clients may have met something else");
}

#[test]
fn whose_eyes() {
    for (from, node) in [
        (None, "aws-1"),
        (Some("aws-2"), "aws-2"),
        (Some("aws/aws-2"), "aws-2"),
        (Some("echo-1"), "aws-2"),
        (Some("demo/echo-1"), "aws-2"),
    ] {
        let report = ask(from).unwrap();
        assert_eq!(report.from, name(node), "{from:?}");
        let nearest = &report.services[0].backends[0];
        assert_eq!(
            (nearest.node.as_deref(), nearest.tier, nearest.takes),
            (Some(node), model::Tier::Node, true)
        );
    }
    for (from, said) in [("gone", "no node gone"), ("twin", "on several nodes"), ("", "has no node")] {
        let refused = ask(Some(from)).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn what_is_said_of_a_service() {
    let report = ask(None).unwrap();
    let [echo, other] = &report.services[..] else { panic!("{report:?}") };
    assert_eq!(
        (echo.kind.as_str(), echo.healthy, echo.total, echo.prefer.as_str()),
        ("ClusterIP", 3, 3, "ladder")
    );
    assert_eq!(echo.differences, ["10.101.0.1:80/TCP: planned, but the data path has no entry for it"]);
    assert!(echo.problems.is_empty());
    assert_eq!(other.problems.len(), 1);
    assert!(
        ask(Some("aws-2")).unwrap().services[0].differences.is_empty(),
        "another node's is not known here"
    );
    let json = serde_json::to_value(&echo.backends[0]).unwrap();
    assert_eq!(json["in"], true);
}
