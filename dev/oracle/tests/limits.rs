//! What does not fit closes whom it is about, and nobody else; what is large is bounded.

#[allow(dead_code, unreachable_pub, reason = "each test uses its own part of this")]
mod support;

use std::time::Duration;

use engine::plan::policing::{Judged, Op};
use engine::policy::judge::{Packet, judge};
use engine::policy::{Direction, Limits, Planner, Problem, Settings};
use ipnet::IpNet;
use model::policy::{
    Labels, NamespaceChoice, NamespaceName, Pod, PodName, PodSelector, Policy, PolicyAction, PolicyKind,
    PolicyName, PolicyPeer, PolicyPort, PolicyRule, PolicyTier, Requirement, Selector,
};
use support::{cluster, ip, me, ranges};

fn one(key: &str, value: &str) -> Labels {
    [(key.to_string(), value.to_string())].into()
}

fn wants(key: &str, value: &str) -> Selector {
    let operator = model::policy::Operator::In([value.to_string()].into());
    Selector { requirements: vec![Requirement { key: key.into(), operator }] }
}

fn namespace() -> NamespaceName {
    NamespaceName { cluster: cluster(1), name: "s".into() }
}

fn pod(name: &str, address: &str, labels: Labels) -> Pod {
    let name = PodName { namespace: namespace(), name: name.into() };
    Pod { name, ips: vec![ip(address)], node: Some(me()), labels, ports: Vec::new() }
}

/// Pods with this value of `app` may be dialled by these.
fn accepts(name: &str, app: &str, peers: Option<Vec<PolicyPeer>>, ports: Option<Vec<PolicyPort>>) -> Policy {
    Policy {
        name: PolicyName {
            cluster: cluster(1),
            kind: PolicyKind::NetworkPolicy,
            namespace: "s".into(),
            name: name.into(),
        },
        tier: PolicyTier::Namespace,
        distribute: false,
        subject: PodSelector { namespaces: NamespaceChoice::Named("s".into()), pods: wants("app", app) }
            .into(),
        ingress: Some(vec![PolicyRule {
            path: "spec.ingress[0]".into(),
            name: String::new(),
            action: PolicyAction::Accept,
            peers,
            ports,
        }]),
        egress: None,
    }
}

fn planner(limits: Limits) -> Planner {
    let mut planner = Planner::new(Settings { limits, ..Settings::of_node(me()) });
    planner.handle_cluster(&cluster(1), Some(&ranges(1)));
    planner.handle_subscribed([cluster(1)].into());
    planner.handle_namespace(&namespace(), Some(&Labels::new()));
    planner
}

fn tell(planner: &mut Planner, pods: &[Pod], policies: &[Policy]) {
    pods.iter().for_each(|pod| planner.handle_pod(&pod.name, Some(pod)));
    policies.iter().for_each(|policy| planner.handle_policy(&policy.name, Some(policy)));
}

fn ingress(planner: &Planner, at: &str) -> Judged {
    planner.policing().subjects.get(&ip(at)).map_or(Judged::Open, |subject| subject.ingress)
}

fn passes(planner: &Planner, pod: &str, peer: &str, port: u16) -> bool {
    let (pod, peer) = (ip(pod), ip(peer));
    let packet = Packet { pod, direction: Direction::Ingress, peer, protocol: 6, port };
    judge(&planner.policing(), &packet).passes()
}

fn tcp(first: u16, last: u16) -> PolicyPort {
    PolicyPort::Ports { protocol: model::Protocol::Tcp, first, last }
}

#[test]
fn too_many_verdicts_close_their_pods_alone() {
    let mut planner = planner(Limits { verdicts: 20, ..Limits::default() });
    let pods = [pod("a", "10.1.0.2", one("app", "a")), pod("b", "10.1.0.3", one("app", "b"))];
    let small = accepts("small", "a", None, Some(vec![tcp(80, 80)]));
    let large = accepts("large", "b", None, Some(vec![tcp(1, 65534)]));
    tell(&mut planner, &pods, &[small, large.clone()]);
    planner.poll();
    assert!(matches!(ingress(&planner, "10.1.0.2"), Judged::By(_)));
    assert_eq!(ingress(&planner, "10.1.0.3"), Judged::Closed);
    assert!(passes(&planner, "10.1.0.2", "10.1.0.9", 80));
    assert!(!passes(&planner, "10.1.0.3", "10.1.0.9", 80));
    let [Problem::Verdicts { pod, direction: Direction::Ingress, limit: 20 }] = &planner.problems()[..]
    else {
        panic!("{:?}", planner.problems());
    };
    assert_eq!(pod.name, "b");

    // Once there is room it is as written.
    let fits = Policy { name: large.name.clone(), ..accepts("large", "b", None, Some(vec![tcp(1, 1024)])) };
    planner.handle_policy(&large.name, Some(&fits));
    planner.poll();
    assert!(passes(&planner, "10.1.0.3", "10.1.0.9", 80) && planner.problems().is_empty());
}

#[test]
fn room_that_others_leave_is_taken() {
    let mut planner = planner(Limits { verdicts: 20, ..Limits::default() });
    let pods = [pod("a", "10.1.0.2", one("app", "a")), pod("b", "10.1.0.3", one("app", "b"))];
    let first = accepts("first", "a", None, Some(vec![tcp(1, 1024), tcp(2000, 2001)]));
    let second = accepts("second", "b", None, Some(vec![tcp(1, 1024), tcp(3000, 3001)]));
    tell(&mut planner, &pods, std::slice::from_ref(&first));
    planner.poll();
    tell(&mut planner, &[], &[second]);
    planner.poll();
    assert!(matches!(ingress(&planner, "10.1.0.2"), Judged::By(_)), "what is there stays");
    assert_eq!(ingress(&planner, "10.1.0.3"), Judged::Closed);
    planner.handle_policy(&first.name, None);
    let outcome = planner.poll();
    assert!(matches!(ingress(&planner, "10.1.0.3"), Judged::By(_)), "{:?}", outcome.ops);
    assert!(planner.problems().is_empty());
}

#[test]
fn a_ruleset_that_outgrows_its_room_closes() {
    let mut planner = planner(Limits { verdicts: 8, ..Limits::default() });
    let all = PolicyPeer::Pods(PodSelector {
        namespaces: NamespaceChoice::Named("s".into()),
        pods: Selector {
            requirements: vec![Requirement { key: "n".into(), operator: model::policy::Operator::Exists }],
        },
    });
    let policy = accepts("p", "a", Some(vec![all]), None);
    tell(&mut planner, &[pod("a", "10.1.0.2", one("app", "a"))], &[policy]);
    for n in 0..8_u8 {
        let client = pod(&format!("c{n}"), &format!("10.1.0.{}", 10 + n), one("n", &n.to_string()));
        planner.handle_pod(&client.name, Some(&client));
        planner.poll();
        assert!(passes(&planner, "10.1.0.2", &format!("10.1.0.{}", 10 + n), 80), "{n}");
    }
    let ninth = pod("c9", "10.1.0.30", one("n", "9"));
    planner.handle_pod(&ninth.name, Some(&ninth));
    assert!(planner.poll().raises_epoch);
    assert_eq!(ingress(&planner, "10.1.0.2"), Judged::Closed);
    assert!(planner.policing().verdicts.is_empty());
    planner.handle_pod(&ninth.name, None);
    planner.poll();
    assert!(planner.problems().is_empty() && passes(&planner, "10.1.0.2", "10.1.0.17", 80));
}

#[test]
fn ranges_without_room_close_their_pods() {
    let mut planner = planner(Limits { networks: 100, ..Limits::default() });
    let nets = |n: u32| -> Vec<IpNet> {
        (0..n)
            .map(|n| IpNet::new(std::net::Ipv4Addr::from_bits(0x0b00_0000 + (n << 8)).into(), 24).unwrap())
            .collect()
    };
    let networks = |n| PolicyPeer::Networks { ranges: nets(n), except: Vec::new() };
    let pods = [pod("a", "10.1.0.2", one("app", "a")), pod("b", "10.1.0.3", one("app", "b"))];
    let policies = [
        accepts("p", "a", Some(vec![networks(50)]), None),
        accepts("q", "b", Some(vec![networks(200)]), None),
    ];
    tell(&mut planner, &pods, &policies);
    planner.poll();
    assert!(passes(&planner, "10.1.0.2", "11.0.7.9", 80));
    assert_eq!(ingress(&planner, "10.1.0.3"), Judged::Closed);
    assert!(matches!(planner.problems()[..], [Problem::Networks { .. }]));
}

#[test]
fn addresses_without_room_are_unknown() {
    let mut planner = planner(Limits { identities: 2, ..Limits::default() });
    let client = PolicyPeer::Pods(PodSelector {
        namespaces: NamespaceChoice::Named("s".into()),
        pods: wants("app", "c"),
    });
    let pods = [
        pod("a", "10.1.0.2", one("app", "a")),
        pod("b", "10.1.0.3", one("app", "c")),
        pod("c", "10.1.0.4", one("app", "c")),
    ];
    tell(&mut planner, &pods, &[accepts("p", "a", Some(vec![client]), None)]);
    planner.poll();
    assert!(passes(&planner, "10.1.0.2", "10.1.0.3", 80) && !passes(&planner, "10.1.0.2", "10.1.0.4", 80));
    assert_eq!(planner.problems(), [Problem::Identities { left_out: 1, limit: 2 }]);
    planner.handle_pod(&pods[1].name, None);
    planner.poll();
    assert!(passes(&planner, "10.1.0.2", "10.1.0.4", 80));
    assert!(planner.problems().is_empty());
}

/// A hundred thousand ranges are as many entries and one verdict, and another rule's range inside them costs little.
#[test]
fn a_hundred_thousand_ranges() {
    let mut planner = planner(Limits::default());
    let all: Vec<IpNet> = (0..100_000_u32)
        .map(|n| IpNet::new(std::net::Ipv4Addr::from_bits(0x0b00_0000 + (n << 8)).into(), 24).unwrap())
        .collect();
    let except = all[70].to_string();
    let many = PolicyPeer::Networks { ranges: all, except: Vec::new() };
    tell(
        &mut planner,
        &[pod("a", "10.1.0.2", one("app", "a"))],
        &[accepts("p", "a", Some(vec![many]), None)],
    );
    planner.poll();
    let policing = planner.policing();
    assert_eq!(policing.verdicts.len(), 1);
    assert!((100_000..100_010).contains(&policing.networks.len()));
    assert!(
        passes(&planner, "10.1.0.2", "11.1.134.9", 80) && !passes(&planner, "10.1.0.2", "10.255.0.1", 80)
    );

    let except: IpNet = except.parse().unwrap();
    let one = PolicyPeer::Networks { ranges: vec![except], except: vec!["11.0.70.128/25".parse().unwrap()] };
    let mut denies = accepts("q", "a", Some(vec![one]), None);
    denies.ingress.as_mut().unwrap()[0].action = PolicyAction::Deny;
    planner.handle_policy(&denies.name, Some(&denies));
    let outcome = planner.poll();
    let networks = outcome.ops.iter().filter(|op| matches!(op, Op::SetNetwork(..)));
    assert_eq!(networks.count(), 2, "only what is inside is written anew");
    assert!(
        !passes(&planner, "10.1.0.2", "11.0.70.9", 80) && passes(&planner, "10.1.0.2", "11.0.70.200", 80)
    );
}

#[test]
fn names_end_and_are_learned_again() {
    let mut planner = planner(Limits { names: 4, ..Limits::default() });
    let mut policy = accepts("p", "a", None, None);
    (policy.ingress, policy.egress) = (None, policy.ingress);
    policy.egress.as_mut().unwrap()[0].peers =
        Some(vec![PolicyPeer::DomainNames(vec!["*.example.com".into()])]);
    tell(&mut planner, &[pod("a", "10.1.0.2", one("app", "a"))], &[policy]);
    planner.poll();
    let passes = |planner: &Planner, to: &str| {
        let (pod, peer) = (ip("10.1.0.2"), ip(to));
        let packet = Packet { pod, direction: Direction::Egress, peer, protocol: 6, port: 443 };
        judge(&planner.policing(), &packet).passes()
    };
    assert!(!passes(&planner, "8.8.8.8"));
    let at = Duration::from_secs;
    planner.learn("WWW.example.com.", &[ip("8.8.8.8")], at(10));
    let outcome = planner.poll();
    assert!(!outcome.raises_epoch);
    assert!(
        matches!(outcome.ops[..], [Op::SetVerdict(..), Op::SetRuleset(..), Op::SetNamed(..)]),
        "{:?}",
        outcome.ops
    );
    assert!(passes(&planner, "8.8.8.8"));
    assert_eq!(
        (planner.deadline(), planner.due(at(9)).count(), planner.due(at(10)).count()),
        (Some(at(10)), 0, 1)
    );

    // Asked again before it ends.
    planner.learn("www.example.com", &[ip("8.8.8.8")], at(20));
    planner.handle_time(at(10));
    assert!(planner.poll().ops.is_empty() && passes(&planner, "8.8.8.8"));
    planner.handle_time(at(20));
    assert!(planner.poll().raises_epoch && !passes(&planner, "8.8.8.8"));

    // Names that no rule is about leave room for those that one is.
    for n in 0..9 {
        planner.learn(&format!("n{n}.example.org"), &[ip("8.8.8.9")], at(90));
    }
    for n in 1..=2 {
        planner.learn(&format!("n{n}.example.com"), &[ip(&format!("8.8.4.{n}"))], at(90));
    }
    planner.poll();
    assert!(passes(&planner, "8.8.4.1") && passes(&planner, "8.8.4.2") && planner.problems().is_empty());
    planner.learn("n3.example.com", &[ip("8.8.4.3")], at(90));
    planner.poll();
    assert!(!passes(&planner, "8.8.4.3"));
    assert_eq!(planner.problems(), [Problem::Names { limit: 4 }]);
}

/// What is known before the controller tells it.
#[test]
fn a_pod_is_closed_until_its_labels_are_known() {
    let mut planner = planner(Limits::default());
    let its = pod("a", "10.1.0.2", one("app", "b"));
    let policy = accepts("p", "a", None, Some(vec![tcp(80, 80)]));
    planner.handle_policy(&policy.name, Some(&policy));
    planner.poll();
    planner.attach(&its.name, &its.ips);
    let before = planner.poll();
    assert!(matches!(before.ops[..], [Op::SetSubject(..)]), "{:?}", before.ops);
    assert_eq!(ingress(&planner, "10.1.0.2"), Judged::Closed);
    assert!(matches!(planner.problems()[..], [Problem::Labels { direction: Direction::Ingress, .. }]));
    // It is told without addresses first.
    planner.handle_pod(&its.name, Some(&Pod { ips: Vec::new(), ..its.clone() }));
    planner.poll();
    assert_eq!(ingress(&planner, "10.1.0.2"), Judged::Open, "no policy is about it");
    let selected = Pod { labels: one("app", "a"), ..its.clone() };
    planner.handle_pod(&its.name, Some(&selected));
    assert!(planner.poll().raises_epoch);
    assert!(matches!(ingress(&planner, "10.1.0.2"), Judged::By(_)));
    planner.detach(&its.name);
    planner.handle_pod(&its.name, None);
    planner.poll();
    assert!(planner.policing().subjects.is_empty() && planner.policing().identities.is_empty());
}
