//! What is said of policies: by which rule something passes or not, and what may be meant otherwise than it is written.

use causeway_engine as engine;

use std::net::IpAddr;

use engine::plan::policing::{Always, Judged, Op};
use engine::policy::explain::{End, Tier, Unexplained, Why};
use engine::policy::{
    Distributed, Flaw, Host, Limits, Planner, Problem, Scope, Selectors, Settings, interest,
};
use model::policy::{
    CLUSTER_LABEL, Labels, Namespace, NamespaceChoice, NamespaceName, Operator, Pod, PodName, PodSelector,
    Policy, PolicyAction, PolicyEntity, PolicyKind, PolicyName, PolicyPeer, PolicyPort, PolicyRule,
    PolicySubject, PolicyTier, Requirement, Selector,
};
use model::{ClusterName, NodeName, Protocol};

fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

fn me() -> NodeName {
    NodeName::new(cluster("aws"), "n1").unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn with(key: &str, values: &[&str]) -> Selector {
    let operator = Operator::In(values.iter().map(|value| value.to_string()).collect());
    Selector { requirements: vec![Requirement { key: key.into(), operator }] }
}

fn namespace(of: &str) -> NamespaceName {
    NamespaceName { cluster: cluster(of), name: "shop".into() }
}

fn pod(of: &str, name: &str, at: &str) -> Pod {
    Pod {
        name: PodName { namespace: namespace(of), name: name.into() },
        ips: vec![ip(at)],
        node: Some(NodeName::new(cluster(of), "n1").unwrap()),
        labels: [("app".to_string(), name.to_string())].into(),
        ports: Vec::new(),
    }
}

fn peer(pods: Selector) -> PolicyPeer {
    PolicyPeer::Pods(PodSelector { namespaces: NamespaceChoice::Named("shop".into()), pods })
}

fn rule(action: PolicyAction, peers: Option<Vec<PolicyPeer>>, ports: Option<Vec<PolicyPort>>) -> PolicyRule {
    PolicyRule { path: String::new(), name: String::new(), action, peers, ports }
}

fn tcp(first: u16, last: u16) -> PolicyPort {
    PolicyPort::Ports { protocol: Protocol::Tcp, first, last }
}

fn policy(name: &str, tier: PolicyTier, app: &str, mut ingress: Vec<PolicyRule>) -> Policy {
    for (at, rule) in ingress.iter_mut().enumerate() {
        rule.path = format!("spec.ingress[{at}]");
    }
    let kind = match tier {
        PolicyTier::Namespace => PolicyKind::NetworkPolicy,
        _ => PolicyKind::ClusterNetworkPolicy,
    };
    let of = if kind == PolicyKind::NetworkPolicy { "shop" } else { "" };
    Policy {
        name: PolicyName { cluster: cluster("aws"), kind, namespace: of.into(), name: name.into() },
        tier,
        distribute: false,
        subject: PodSelector { namespaces: NamespaceChoice::Named("shop".into()), pods: with("app", &[app]) }
            .into(),
        ingress: Some(ingress),
        egress: None,
    }
}

fn planner(scope: Scope, policies: &[Policy]) -> Planner {
    let mut planner = Planner::new(Settings { scope, ..Settings::of_node(me()) });
    for (of, range) in [("aws", "10.1.0.0/16"), ("gce", "10.2.0.0/16")] {
        planner.handle_cluster(&cluster(of), Some(&[range.parse().unwrap()]));
        planner.handle_namespace(&namespace(of), Some(&Labels::new()));
    }
    let pods = [
        pod("aws", "web", "10.1.0.2"),
        pod("aws", "db", "10.1.0.3"),
        pod("aws", "job", "10.1.0.4"),
        pod("gce", "web", "10.2.0.2"),
    ];
    pods.iter().for_each(|pod| planner.handle_pod(&pod.name, Some(pod)));
    planner.handle_node(&me(), Some((&Labels::new(), &[ip("192.168.0.1")])));
    policies.iter().for_each(|policy| planner.handle_policy(&policy.name, Some(policy)));
    planner.handle_subscribed([cluster("aws"), cluster("gce")].into());
    planner.poll();
    planner
}

fn end(of: &str, name: &str) -> End {
    End::Pod(PodName { namespace: namespace(of), name: name.into() })
}

#[test]
fn the_rule_that_decides() {
    use PolicyAction::{Accept, Deny, Pass};
    let mut named = rule(Deny, Some(vec![peer(with("app", &["job"]))]), Some(vec![tcp(5432, 5432)]));
    named.name = "no-jobs".into();
    let admin = policy(
        "guard",
        PolicyTier::Admin { priority: 7 },
        "db",
        vec![rule(Pass, Some(vec![peer(with("app", &["web"]))]), None), named],
    );
    let accepts = policy(
        "db",
        PolicyTier::Namespace,
        "db",
        vec![rule(Accept, Some(vec![peer(with("app", &["web", "job"]))]), Some(vec![tcp(5432, 5433)]))],
    );
    let planner = planner(Scope::Node(me()), &[admin, accepts]);
    let ask = |from: &End, to: &End, port| planner.check(from, to, 6, port).unwrap();
    let (web, db, job) = (end("aws", "web"), end("aws", "db"), end("aws", "job"));

    let passed = ask(&web, &db, 5432);
    assert!(passed.allowed);
    assert_eq!((passed.egress.why, passed.ingress.why), (Why::NoPolicy, Why::Rule));
    let found = passed.ingress.rule.unwrap();
    assert_eq!(
        (found.policy.name.as_str(), found.tier, found.path.as_str()),
        ("db", Tier::Namespace, "spec.ingress[0]")
    );

    let denied = ask(&job, &db, 5432);
    let found = denied.ingress.rule.clone().unwrap();
    assert!(!denied.allowed);
    assert_eq!((found.tier, found.priority, found.name.as_str()), (Tier::Admin, Some(7), "no-jobs"));
    let json = serde_json::to_value(&denied).unwrap();
    assert_eq!(json["ingress"]["why"], "rule");
    assert_eq!(json["ingress"]["rule"]["tier"], "admin");
    assert_eq!(json["egress"]["why"], "noPolicy");

    assert!(ask(&job, &db, 5433).allowed);
    assert_eq!(ask(&web, &db, 80).ingress.why, Why::Isolated);
    // A pod of another cluster is not meant by a selector that does not name clusters.
    let other = ask(&end("gce", "web"), &db, 5432);
    assert_eq!((other.egress.why, other.ingress.why), (Why::Elsewhere, Why::Isolated));
    assert_eq!(ask(&End::Node(me()), &db, 80).ingress.why, Why::OwnNode);
    assert_eq!(ask(&End::Address(ip("10.1.9.9")), &db, 5432).ingress.why, Why::PeerUnknown);
    assert!(ask(&End::Address(ip("8.8.8.8")), &web, 80).allowed);

    let nobody = end("aws", "nobody");
    assert!(matches!(planner.check(&nobody, &db, 6, 80), Err(Unexplained::Pod(_))));
    let v6 = End::Address(ip("2001:db8::1"));
    assert_eq!(planner.check(&v6, &db, 6, 80), Err(Unexplained::Family));
}

#[test]
fn what_holds_for_a_pod() {
    let base = policy(
        "base",
        PolicyTier::Baseline { priority: 1 },
        "db",
        vec![rule(PolicyAction::Deny, None, None)],
    );
    let accepts = policy("db", PolicyTier::Namespace, "db", vec![rule(PolicyAction::Accept, None, None)]);
    let mut planner = planner(Scope::Node(me()), &[base, accepts.clone()]);
    let End::Pod(name) = end("aws", "db") else { unreachable!() };
    let shown = planner.show(&name).unwrap();
    assert!(shown.ingress.isolated && !shown.egress.isolated);
    let order: Vec<&str> = shown.ingress.rules.iter().map(|rule| rule.policy.name.as_str()).collect();
    assert_eq!(order, ["db", "base"]);
    assert_eq!(shown.ingress.policies.len(), 2);
    assert!(shown.egress.policies.is_empty() && shown.egress.rules.is_empty());

    let fresh = PodName { name: "fresh".into(), ..name };
    planner.attach(&fresh, &[ip("10.1.0.9")]);
    planner.poll();
    assert_eq!(planner.show(&fresh).unwrap().ingress.closed, Some(Why::LabelsUnknown));
    let asked = planner.check(&end("aws", "web"), &End::Pod(fresh), 6, 80).unwrap();
    assert_eq!(asked.ingress.why, Why::LabelsUnknown);
    let End::Pod(other) = end("gce", "web") else { unreachable!() };
    assert!(matches!(planner.show(&other), Err(Unexplained::Pod(_))));
}

fn flaws(policies: &[Policy]) -> Vec<(String, Flaw)> {
    let found = planner(Scope::Cluster(cluster("aws")), policies).lint();
    assert!(found.iter().all(|its| !its.advice.is_empty()));
    found.into_iter().map(|its| (its.path, its.flaw)).collect()
}

#[test]
fn what_may_be_meant_otherwise() {
    use PolicyAction::{Accept, Deny};
    let ns = |rules| policy("p", PolicyTier::Namespace, "db", rules);
    let web = || peer(with("app", &["web"]));
    let net = |range: &str, except: &[&str]| PolicyPeer::Networks {
        ranges: vec![range.parse().unwrap()],
        except: except.iter().map(|range| range.parse().unwrap()).collect(),
    };
    let first = |flaw| vec![("spec.ingress[0]".to_string(), flaw)];
    let second = |flaw| vec![("spec.ingress[1]".to_string(), flaw)];

    assert!(flaws(&[ns(vec![rule(Accept, Some(vec![web()]), Some(vec![tcp(80, 80)]))])]).is_empty());
    let lost = policy("p", PolicyTier::Namespace, "nobody", vec![]);
    assert_eq!(flaws(&[lost]), [("spec".to_string(), Flaw::SelectsNoPod)]);
    assert_eq!(
        flaws(&[ns(vec![rule(Accept, Some(vec![peer(with("app", &["wbe"]))]), None)])]),
        first(Flaw::PeerIsNobody)
    );
    assert_eq!(flaws(&[ns(vec![rule(Accept, None, None)])]), first(Flaw::AcceptsEverybody));
    assert_eq!(
        flaws(&[ns(vec![rule(Accept, Some(vec![net("0.0.0.0/0", &[])]), None)])]),
        first(Flaw::RangeHasPods)
    );
    assert!(flaws(&[ns(vec![rule(Accept, Some(vec![net("0.0.0.0/0", &["10.0.0.0/8"])]), None)])]).is_empty());
    let every = PolicyPeer::Pods(PodSelector {
        namespaces: NamespaceChoice::Selected(Selector::default()),
        pods: Selector::default(),
    });
    assert_eq!(flaws(&[ns(vec![rule(Accept, Some(vec![every]), None)])]), first(Flaw::EveryPod));
    let excludes = Requirement { key: "app".into(), operator: Operator::NotIn(["job".to_string()].into()) };
    let excludes = peer(Selector { requirements: vec![excludes] });
    assert_eq!(flaws(&[ns(vec![rule(Accept, Some(vec![excludes]), None)])]), first(Flaw::OnlyExcludes));

    // A rule that another one leaves nothing to.
    let admin = |rules| policy("p", PolicyTier::Admin { priority: 1 }, "db", rules);
    let narrow = || rule(Accept, Some(vec![web()]), Some(vec![tcp(81, 90)]));
    let wide = |action| rule(action, Some(vec![web()]), Some(vec![tcp(80, 100)]));
    assert_eq!(flaws(&[admin(vec![wide(Deny), narrow()])]), second(Flaw::Shadowed));
    assert!(flaws(&[admin(vec![narrow(), wide(Deny)])]).is_empty());
    assert_eq!(flaws(&[ns(vec![narrow(), wide(Accept)])]), first(Flaw::Shadowed));
    assert_eq!(flaws(&[ns(vec![narrow(), wide(Deny)])]), first(Flaw::Shadowed));
    assert_eq!(flaws(&[ns(vec![narrow(), narrow()])]), second(Flaw::Shadowed), "one of two stays");
}

#[test]
fn whose_pods_are_to_be_known() {
    use PolicyAction::Accept;
    let (aws, gce) = (cluster("aws"), cluster("gce"));
    let clusters = [aws.clone(), gce.clone()];
    let namespaces = [Namespace { name: namespace("aws"), labels: Labels::new(), shared: true }];
    let pods = [pod("aws", "db", "10.1.0.3"), Pod { node: None, ..pod("aws", "web", "10.1.0.2") }];
    let ask = |settings: &Settings, policy: Policy| {
        interest(settings, &clusters, &namespaces, &pods, [&policy]).into_iter().collect::<Vec<_>>()
    };
    let settings = Settings::of_node(me());
    let wide = Settings { selectors: Selectors::Clusterset, ..settings.clone() };
    let web = || vec![rule(Accept, Some(vec![peer(with("app", &["web"]))]), None)];
    let ns = |rules| policy("p", PolicyTier::Namespace, "db", rules);
    assert_eq!(ask(&settings, ns(web())), std::slice::from_ref(&aws));
    assert_eq!(ask(&wide, ns(web())), [aws.clone(), gce.clone()]);
    let named = peer(with(CLUSTER_LABEL, &["gce"]));
    assert_eq!(ask(&settings, ns(vec![rule(Accept, Some(vec![named]), None)])), std::slice::from_ref(&gce));
    assert!(ask(&settings, ns(vec![])).is_empty());
    assert!(ask(&settings, ns(vec![rule(Accept, None, None)])).is_empty());
    let entity = PolicyPeer::Entity(PolicyEntity::ClusterMesh);
    assert!(ask(&settings, ns(vec![rule(Accept, Some(vec![entity]), None)])).is_empty(), "by ranges");
    let others = policy("p", PolicyTier::Namespace, "web", web());
    assert!(ask(&settings, others).is_empty(), "no own pod is selected");
    let mut foreign = ns(web());
    foreign.name.cluster = gce;
    foreign.distribute = true;
    assert!(ask(&settings, foreign.clone()).is_empty());
    let accepting = Settings { distributed: Distributed::Accept, ..settings };
    assert_eq!(ask(&accepting, foreign), [aws], "the cluster that applies it is the local one");
}

#[test]
fn a_peer_that_is_no_node_is_meant_where_its_label_is_asked_for() {
    use model::{Gateways, PEER_LABEL, Peer, PeerName, PublicKey};

    let named = |label: &str, value: &str| peer(with(label, &[value]));
    let accept = |whom| vec![rule(PolicyAction::Accept, Some(vec![whom]), None)];
    let everybody = PolicyPeer::Pods(PodSelector {
        namespaces: NamespaceChoice::Selected(Selector { requirements: vec![] }),
        pods: Selector { requirements: vec![] },
    });
    let any_peer = peer(Selector {
        requirements: vec![Requirement { key: PEER_LABEL.into(), operator: Operator::Exists }],
    });
    let nobody = peer(Selector {
        requirements: vec![Requirement { key: PEER_LABEL.into(), operator: Operator::DoesNotExist }],
    });
    let abroad = peer(Selector {
        requirements: [with(PEER_LABEL, &["alice"]), with(CLUSTER_LABEL, &["gce"])]
            .into_iter()
            .flat_map(|selector| selector.requirements)
            .collect(),
    });
    for (what, whom, meant) in [
        ("its name", named(PEER_LABEL, "alice"), true),
        ("another's name", named(PEER_LABEL, "bob"), false),
        ("any peer", any_peer, true),
        ("none", nobody, false),
        ("its other labels alone", named("team", "web"), false),
        ("all pods of all namespaces", everybody, false),
        ("another cluster's", abroad, false),
        ("its cluster", PolicyPeer::Entity(PolicyEntity::Cluster), false),
        ("the world", PolicyPeer::Entity(PolicyEntity::World), true),
    ] {
        let mut planner =
            planner(Scope::Node(me()), &[policy("db", PolicyTier::Namespace, "db", accept(whom))]);
        let alice = Peer {
            name: PeerName::new(cluster("aws"), "alice").unwrap(),
            public_key: PublicKey([1; 32]),
            allowed_ips: vec!["10.254.1.1/32".parse().unwrap(), "192.168.77.0/24".parse().unwrap()],
            endpoint: None,
            keepalive: 0,
            preshared_key: None,
            gateways: Gateways::All,
            allow: Default::default(),
            expires: None,
            labels: [("team".to_string(), "web".to_string())].into(),
        };
        planner.handle_peer(&alice.name, Some(&alice));
        planner.poll();
        let name = PodName {
            namespace: NamespaceName { cluster: cluster("aws"), name: String::new() },
            name: "alice".into(),
        };
        assert_eq!(name.to_string(), "peer:aws/alice");
        for from in [End::Pod(name), End::Address(ip("10.254.1.1"))] {
            assert_eq!(planner.check(&from, &end("aws", "db"), 6, 80).unwrap().allowed, meant, "{what}");
        }
        planner.handle_peer(&alice.name, None);
        planner.poll();
        let from = End::Address(ip("10.254.1.1"));
        let world = what == "the world";
        assert_eq!(planner.check(&from, &end("aws", "db"), 6, 80).unwrap().allowed, world, "gone: {what}");
    }
}

/// A policy about nodes with such a label.
fn of_nodes(role: &str, ingress: Vec<PolicyRule>) -> Policy {
    let mut policy = policy("nodes", PolicyTier::Namespace, "", ingress);
    policy.name.kind = PolicyKind::CiliumClusterwideNetworkPolicy;
    policy.name.namespace = String::new();
    Policy { subject: PolicySubject::Nodes(with("role", &[role])), egress: Some(Vec::new()), ..policy }
}

fn role(role: &str) -> Labels {
    [("role".to_string(), role.to_string())].into()
}

/// A node of the role `db` that is judged itself, with another one beside it.
fn host_planner(scope: Scope, limits: Limits) -> Planner {
    let allowed = engine::policy::allowed(&["tcp/22".to_string()]).unwrap();
    let host = Some(Host::new(allowed, [51820, 4789], &["192.168.0.9:9640".parse().unwrap()]));
    let mut planner = Planner::new(Settings { scope, limits, host, ..Settings::of_node(me()) });
    planner.handle_cluster(&cluster("aws"), Some(&["10.1.0.0/16".parse().unwrap()]));
    planner.handle_node(&me(), Some((&role("db"), &[ip("192.168.0.1")])));
    let other = NodeName::new(cluster("aws"), "n2").unwrap();
    planner.handle_node(&other, Some((&role("web"), &[ip("192.168.0.2")])));
    planner
}

#[test]
fn nodes_are_judged_by_their_own_policies() {
    use PolicyAction::Accept;
    let world = PolicyPeer::Entity(PolicyEntity::RemoteNode);
    let accepts = of_nodes("db", vec![rule(Accept, Some(vec![world]), Some(vec![tcp(5432, 5432)]))]);
    for scope in [Scope::Node(me()), Scope::Cluster(cluster("aws"))] {
        let mut planner = host_planner(scope.clone(), Limits::default());
        planner.handle_policy(&accepts.name, Some(&accepts));
        planner.handle_api_servers([(ip("192.168.0.1"), 6443), (ip("192.168.0.8"), 6443)].into());
        planner.poll();
        let nodes = ["n1", "n2"].map(|name| End::Node(NodeName::new(cluster("aws"), name).unwrap()));
        let why = |from: &End, to: &End, protocol, port| {
            let found = planner.check(from, to, protocol, port).unwrap();
            (found.egress.why, found.ingress.why)
        };
        let someone = End::Address(ip("203.0.113.7"));
        assert_eq!(why(&nodes[1], &nodes[0], 6, 5432).1, Why::Rule, "{scope:?}");
        assert_eq!(why(&someone, &nodes[0], 6, 5432).1, Why::Isolated);
        assert_eq!(why(&nodes[0], &someone, 6, 443).0, Why::Isolated);
        // The way to it stays open.
        assert_eq!(why(&someone, &nodes[0], 6, 22).1, Why::Always);
        assert_eq!(why(&nodes[0], &someone, 6, 22).0, Why::Isolated, "SSH to it, not from it");
        assert_eq!(why(&someone, &nodes[0], 17, 51820).1, Why::Always);
        assert_eq!(why(&someone, &nodes[0], 6, 6443).1, Why::Always, "the API server is here");
        for (at, port) in [("192.168.0.8", 6443), ("192.168.0.9", 9640), ("203.0.113.7", 9640)] {
            assert_eq!(why(&nodes[0], &End::Address(ip(at)), 6, port).0, Why::Always, "{at}");
        }
        // Another one's labels.
        let other = if matches!(scope, Scope::Cluster(_)) { Why::NoPolicy } else { Why::Elsewhere };
        assert_eq!(why(&someone, &nodes[1], 6, 5432).1, other);
        let shown = planner.show_node(&me()).unwrap().unwrap();
        assert!(shown.ingress.isolated && shown.egress.isolated && shown.ingress.rules.len() == 1);
        assert!(planner.problems().is_empty());
        // Its pods are not meant.
        let web = pod("aws", "web", "10.1.0.2");
        planner.handle_namespace(&namespace("aws"), Some(&Labels::new()));
        planner.handle_pod(&web.name, Some(&web));
        planner.poll();
        let open = planner.check(&someone, &end("aws", "web"), 6, 80).unwrap();
        assert_eq!(open.ingress.why, Why::NoPolicy);
        // Other labels, other policies.
        planner.handle_node(&me(), Some((&role("web"), &[ip("192.168.0.1")])));
        planner.poll();
        assert_eq!(planner.check(&someone, &nodes[0], 6, 80).unwrap().ingress.why, Why::NoPolicy);
    }
}

#[test]
fn a_node_that_cannot_be_judged_is_closed_but_for_the_way_to_it() {
    let many = (0..9).map(|n| tcp(n * 2 + 1, n * 2 + 1)).collect();
    let accepts = of_nodes("db", vec![rule(PolicyAction::Accept, None, Some(many))]);
    let mut planner = host_planner(Scope::Node(me()), Limits { verdicts: 5, ..Limits::default() });
    planner.handle_host_addresses([ip("192.168.0.1"), ip("fe80::1")].into());
    planner.handle_policy(&accepts.name, Some(&accepts));
    planner.poll();
    let policing = planner.policing();
    for at in ["192.168.0.1", "fe80::1"] {
        assert_eq!(policing.subjects[&ip(at)].ingress, Judged::Closed, "{at}");
    }
    assert!(policing.always.contains(&Always::Port(6, 22)));
    let problems = planner.problems();
    assert!(matches!(&problems[..], [Problem::Node { .. }]) && problems[0].closes(), "{problems:?}");
    let said = problems[0].to_string();
    assert!(said.starts_with("ingress of node aws/n1 is closed but for what always passes"), "{said}");
    // No policy, no subject; and what always passes follows the API server.
    planner.handle_policy(&accepts.name, None);
    planner.handle_api_servers([(ip("192.168.0.1"), 6443)].into());
    let ops = planner.poll().ops;
    assert!(ops.contains(&Op::AddAlways(Always::Port(6, 6443))), "{ops:?}");
    assert!(planner.policing().subjects.is_empty() && planner.problems().is_empty());
}

#[test]
fn policies_about_nodes_are_nothing_where_nodes_are_not_judged() {
    let mut everything = of_nodes("db", Vec::new());
    everything.subject = PolicySubject::Nodes(Selector::default());
    let planner = planner(Scope::Cluster(cluster("aws")), std::slice::from_ref(&everything));
    assert!(planner.policing().subjects.is_empty());
    assert_eq!(planner.show_node(&me()), Ok(None));
    let found: Vec<_> = planner.lint().into_iter().map(|finding| (finding.path, finding.flaw)).collect();
    assert_eq!(found, [("spec.nodeSelector".to_string(), Flaw::SelectsNoPod)]);
    // Nor do another cluster's nodes count for this one's.
    everything.name.cluster = cluster("gce");
    everything.distribute = true;
    let mut planner = host_planner(Scope::Node(me()), Limits::default());
    planner.handle_policy(&everything.name, Some(&everything));
    planner.poll();
    assert!(planner.policing().subjects.is_empty());
}
