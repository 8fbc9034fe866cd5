//! What it costs to work out policies: a thousand of them over ten thousand identities from nothing, and one change among
//! them. Prints milliseconds: median, 99th percentile, most.

use causeway_engine as engine;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use engine::policy::{Planner, Settings};
use ipnet::IpNet;
use model::policy::{
    Labels, NamespaceChoice, NamespaceName, Operator, Pod, PodName, PodSelector, Policy, PolicyAction,
    PolicyKind, PolicyName, PolicyPeer, PolicyPort, PolicyRule, PolicyTier, Requirement, Selector,
};
use model::{ClusterName, NodeName, Protocol};

const IDENTITIES: u32 = 10_000;
const POLICIES: u32 = 1_000;
/// Pods on the node.
const OWN: u32 = 200;
/// Changes that are measured one by one.
const ROUNDS: u32 = 500;

fn cluster() -> ClusterName {
    ClusterName::new("aws").expect("a label")
}

fn me() -> NodeName {
    NodeName::new(cluster(), "n1").expect("a label")
}

fn namespace(n: u32) -> NamespaceName {
    NamespaceName { cluster: cluster(), name: format!("team-{n}") }
}

/// One in a namespace of a hundred, each an identity of its own; the first ones on the node.
fn pod(n: u32) -> Pod {
    let label = |key: &str, value: String| (key.to_string(), value);
    Pod {
        name: PodName { namespace: namespace(n % 100), name: format!("pod-{n}") },
        ips: vec![Ipv4Addr::from_bits(0x0a01_0000 + n).into()],
        node: (n < OWN).then(me),
        labels: Labels::from([
            label("app", format!("app-{}", n / 10)),
            label("role", format!("role-{}", n % 7)),
            label("pod", format!("{n}")),
        ]),
        ports: Vec::new(),
    }
}

fn wants(key: &str, value: String) -> Selector {
    Selector { requirements: vec![Requirement { key: key.into(), operator: Operator::In([value].into()) }] }
}

/// One about pods of a namespace: what may dial them, by label, on two ports, and what they may dial.
fn policy(n: u32) -> Policy {
    let ports = |first| Some(vec![PolicyPort::Ports { protocol: Protocol::Tcp, first, last: first + 1 }]);
    let apps = |n: u32| {
        PolicyPeer::Pods(PodSelector {
            namespaces: NamespaceChoice::Selected(Selector::default()),
            pods: wants("app", format!("app-{}", n % (IDENTITIES / 10))),
        })
    };
    let rule = |path: &str, peers, ports| PolicyRule {
        path: path.into(),
        name: String::new(),
        action: PolicyAction::Accept,
        peers,
        ports,
    };
    let net: IpNet = format!("10.{}.0.0/16", 100 + n % 100).parse().expect("a range");
    let blocks = PolicyPeer::Networks { ranges: vec![net], except: Vec::new() };
    Policy {
        name: PolicyName {
            cluster: cluster(),
            kind: PolicyKind::NetworkPolicy,
            namespace: namespace(n % 100).name,
            name: format!("policy-{n}"),
        },
        tier: PolicyTier::Namespace,
        distribute: false,
        subject: PodSelector {
            namespaces: NamespaceChoice::Named(namespace(n % 100).name),
            pods: Selector::default(),
        }
        .into(),
        ingress: Some(vec![
            rule("spec.ingress[0]", Some(vec![apps(n), apps(n + 1)]), ports(8080)),
            rule("spec.ingress[1]", Some(vec![blocks]), ports(9090)),
        ]),
        egress: Some(vec![rule("spec.egress[0]", Some(vec![apps(n + 2)]), ports(5432))]),
    }
}

fn told(pods: &[Pod], policies: &[Policy]) -> Planner {
    let mut planner = Planner::new(Settings::of_node(me()));
    planner.handle_cluster(&cluster(), Some(&["10.1.0.0/16".parse().expect("a range")]));
    planner.handle_subscribed([cluster()].into());
    (0..100).for_each(|n| planner.handle_namespace(&namespace(n), Some(&Labels::new())));
    pods.iter().for_each(|pod| planner.handle_pod(&pod.name, Some(pod)));
    policies.iter().for_each(|policy| planner.handle_policy(&policy.name, Some(policy)));
    planner
}

fn report(what: &str, mut times: Vec<Duration>, ops: usize) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    let ops = ops / times.len();
    println!("{what:48} {:9.3} {:9.3} {:9.3} ms  {ops} operations", at(50), at(99), at(100));
}

fn main() {
    let pods: Vec<Pod> = (0..IDENTITIES).map(pod).collect();
    let policies: Vec<Policy> = (0..POLICIES).map(policy).collect();
    println!("{POLICIES} policies, {IDENTITIES} identities, {OWN} own pods: median, p99, most");

    let mut ops = 0;
    let from_nothing = (0..5).map(|_| {
        let begun = Instant::now();
        let mut planner = told(&pods, &policies);
        ops += black_box(planner.poll()).ops.len();
        begun.elapsed()
    });
    let times = from_nothing.collect();
    report("all of it, from nothing", times, ops);

    let mut planner = told(&pods, &policies);
    planner.poll();
    let verdicts = planner.policing().verdicts.len();
    println!("{verdicts} verdicts");

    measure(&mut planner, "one policy is applied", |planner, n| {
        let mut one = policy(n);
        one.name.name = format!("new-{n}");
        planner.handle_policy(&one.name, Some(&one));
    });
    measure(&mut planner, "one policy is deleted", |planner, n| {
        let name = PolicyName { name: format!("new-{n}"), ..policy(n).name };
        planner.handle_policy(&name, None);
    });
    measure(&mut planner, "a pod that rules are about gets other labels", |planner, n| {
        let mut one = pod(OWN + n);
        one.labels.insert("generation".into(), "2".into());
        planner.handle_pod(&one.name, Some(&one));
    });
    measure(&mut planner, "a pod that none is about comes", |planner, n| {
        let mut one = pod(IDENTITIES + n);
        one.labels = Labels::from([("app".to_string(), format!("other-{n}"))]);
        planner.handle_pod(&one.name, Some(&one));
    });
    measure(&mut planner, "an own pod comes", |planner, n| {
        let mut one = pod(IDENTITIES + ROUNDS + n);
        one.node = Some(me());
        planner.handle_pod(&one.name, Some(&one));
    });

    churn(&mut planner);
    let many: Vec<Policy> = (0..10 * POLICIES).map(policy).collect();
    let begun = Instant::now();
    many.iter().for_each(|policy| planner.handle_policy(&policy.name, Some(policy)));
    let ops = planner.poll().ops.len();
    report("ten thousand policies at once", vec![begun.elapsed()], ops);
    many[POLICIES as usize..].iter().for_each(|policy| planner.handle_policy(&policy.name, None));
    planner.poll();

    let ranges: Vec<IpNet> = (0..100_000_u32)
        .map(|n| IpNet::new(IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + (n << 8))), 24).expect("a length"))
        .collect();
    let mut many = policy(3);
    many.name.name = "many".into();
    many.ingress.as_mut().expect("it has some")[0].peers =
        Some(vec![PolicyPeer::Networks { ranges, except: Vec::new() }]);
    let begun = Instant::now();
    planner.handle_policy(&many.name, Some(&many));
    let ops = planner.poll().ops.len();
    report("a policy of 100,000 ranges is applied", vec![begun.elapsed()], ops);
}

/// Labels of pods everywhere change and change back, a hundred and fifty times over: what a second of a thousand of them costs,
/// and whether something of it stays.
fn churn(planner: &mut Planner) {
    let verdicts = planner.policing().verdicts.len();
    let rulesets = planner.policing().rulesets.len();
    let (mut ops, mut times) = (0, Vec::new());
    for second in 0..30 {
        let begun = Instant::now();
        for n in 0..1_000 {
            let mut one = pod((second / 2 * 1_000 + n) % IDENTITIES);
            if second % 2 == 0 {
                one.labels.insert("app".into(), format!("app-{}", (n + 500) % 1_000));
            }
            planner.handle_pod(&one.name, Some(&one));
            ops += black_box(planner.poll()).ops.len();
        }
        times.push(begun.elapsed());
    }
    report("a second of 1,000 changes of labels", times, ops);
    let now = (planner.policing().verdicts.len(), planner.policing().rulesets.len());
    println!("verdicts and rulesets before and after them: {:?}, {now:?}", (verdicts, rulesets));
}

fn measure(planner: &mut Planner, what: &str, change: impl Fn(&mut Planner, u32)) {
    let mut ops = 0;
    let times = (0..ROUNDS).map(|n| {
        let begun = Instant::now();
        change(planner, n);
        ops += black_box(planner.poll()).ops.len();
        begun.elapsed()
    });
    let times = times.collect();
    report(what, times, ops);
}
