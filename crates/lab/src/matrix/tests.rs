use super::*;

fn member(cluster: &str, namespace: &str, name: &str, ips: &[&str]) -> Member {
    Member {
        cluster: cluster.parse().unwrap(),
        pod: ObjectName::new(namespace, name).unwrap(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        netns: String::new(),
    }
}

fn four() -> Vec<Member> {
    vec![
        member("aws", "x", "a", &["10.1.0.1", "fd00:1::1"]),
        member("aws", "y", "a", &["10.1.0.2", "fd00:1::2"]),
        member("gcp", "x", "a", &["10.2.0.1", "fd00:2::1"]),
        member("gcp", "y", "b", &["10.2.0.2"]),
    ]
}

fn spec() -> Spec {
    let port = |n| Port::new(n).unwrap();
    Spec {
        ports: vec![port(80), port(81)],
        protocols: vec![PolicyProtocol::Tcp, PolicyProtocol::Udp, PolicyProtocol::Icmp],
        families: vec![Family::IPv4, Family::IPv6],
        timeout: Duration::from_millis(100),
        settle: Duration::ZERO,
    }
}

#[test]
fn every_ordered_pair_by_every_way() {
    let probes = probes(&four(), &spec());
    // Two protocols with two ports and one without: 12 pairs by IPv4, 6 by IPv6, where one pod has no address.
    assert_eq!(probes.len(), 5 * (12 + 6));
    assert!(probes.iter().all(|probe| probe.from != probe.to));
    assert!(probes.iter().all(|probe| probe.port.is_some() == (probe.protocol != PolicyProtocol::Icmp)));
    let unique: std::collections::BTreeSet<_> = probes.iter().collect();
    assert_eq!(unique.len(), probes.len());
}

/// The pairs that arrive, as `FROM>TO` by place, of TCP and port 80 by IPv4.
fn open(text: &str) -> String {
    let (expect, members) = (text.parse::<Expect>().unwrap(), four());
    let spec = Spec {
        ports: vec![Port::new(80).unwrap()],
        protocols: vec![PolicyProtocol::Tcp],
        families: vec![Family::IPv4],
        ..spec()
    };
    let open = probes(&members, &spec).into_iter().filter(|probe| expect.allows(&members, probe));
    open.map(|Probe { from, to, .. }| format!("{from}>{to}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn few_lines_say_who_should_reach_whom() {
    let all = "0>1 0>2 0>3 1>0 1>2 1>3 2>0 2>1 2>3 3>0 3>1 3>2";
    for (text, pairs) in [
        ("", all),
        ("# nothing\n\n", all),
        ("- * -> *", ""),
        ("- * -> *\n+ x/a -> *", "0>1 0>2 0>3 2>0 2>1 2>3"),
        ("- * -> *\n+ aws/x/* -> */y/*", "0>1 0>3"),
        ("- * -> *\n+ * -> gcp/*/b tcp/80", "0>3 1>3 2>3"),
        ("- * -> *\n+ * -> gcp/*/b tcp/81", ""),
        ("- * -> *\n+ * -> gcp/*/b udp", ""),
        ("- * -> * tcp  # the last one counts\n+ * -> x/* tcp", "0>2 1>0 1>2 2>0 3>0 3>2"),
    ] {
        assert_eq!(open(text), pairs, "{text}");
    }
    for (text, line, said) in [
        ("* -> *", 1, "not understood"),
        ("\n= * -> *", 2, "neither + nor -"),
        ("+ a -> *", 1, "names no pods"),
        ("+ x/ -> *", 1, "names no pods"),
        ("+ x/a* -> *", 1, "names no pods"),
        ("+ * -> * gre", 1, "no protocol"),
        ("+ * -> * tcp/0", 1, "no port"),
        ("+ * -> * tcp/http", 1, "a port is a number"),
        ("+ * -> * icmp/8", 1, "icmp has none"),
        ("+ * -> * tcp udp", 1, "not understood"),
    ] {
        let error = text.parse::<Expect>().unwrap_err();
        assert_eq!(error.line, line, "{text}");
        assert!(error.to_string().contains(said), "{text}: {error}");
    }
}

#[test]
fn what_differs() {
    use Outcome::{Failed, Open, Refused, Silent, Unreachable};
    for (outcome, check, expected, differs) in [
        (Open, None, None, false),
        (Failed, None, None, false),
        (Failed, Some(true), None, true),
        (Failed, Some(false), None, true),
        (Open, Some(true), Some(true), false),
        (Refused, Some(true), None, false),
        (Refused, Some(false), None, true),
        (Silent, Some(true), None, true),
        (Silent, None, Some(false), false),
        (Unreachable, Some(false), None, false),
        (Open, Some(true), Some(false), true),
        (Silent, Some(true), Some(false), true),
    ] {
        assert_eq!(compare::differs(outcome, check, expected), differs, "{outcome:?} {check:?} {expected:?}");
    }
}

#[test]
fn situations() {
    let text = "
apiVersion: lab.causeway.io/v1alpha1
kind: Situation
name: nobody reaches pods of x in aws
policies:
  aws: |
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: x}
    spec: {podSelector: {}}
expect: |
  - * -> aws/x/*
---
apiVersion: lab.causeway.io/v1alpha1
kind: Situation
name: without policies
";
    let read = parse_situations("s.yaml", text).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].expect, Some("- * -> aws/x/*".parse().unwrap()));
    assert_eq!((read[1].policies.len(), &read[1].expect), (0, &None));
    let head = "apiVersion: lab.causeway.io/v1alpha1\nkind: Situation\nname: a\n";
    for (text, said) in [
        ("kind: Situation", "apiVersion"),
        ("apiVersion: v1\nkind: Pod\nname: a", "kind Situation"),
        (&format!("{head}expects: x"), "expect"),
        (&format!("{head}expect: '* -> *'"), "line 1"),
        (&format!("{head}policies: {{AWS: ''}}"), "cluster name"),
        (&format!("{head}policies: {{aws: 'kind: NetworkPolicy'}}"), "apiVersion"),
    ] {
        let error = format!("{:#}", parse_situations("s.yaml", text).unwrap_err());
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn the_example_is_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policy");
    let lab = crate::file::load(&folder.join("lab.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let nodes: Vec<&str> = lab.clusters[0].nodes.iter().map(|node| node.name.node.as_str()).collect();
    let check = |text: &str| {
        let objects = cluster::manifest::parse("example", text).unwrap_or_else(|error| panic!("{error}"));
        crate::file::check_objects(&lab.clusters[0].cluster, &nodes, &objects).unwrap();
    };
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    check(&read("within.yaml"));
    check(&read("across.yaml"));
    let situations = parse_situations("situations.yaml", &read("situations.yaml")).unwrap();
    assert!(situations.len() > 15 && situations.iter().all(|situation| situation.expect.is_some()));
    for (cluster, text) in situations.iter().flat_map(|situation| &situation.policies) {
        assert!(lab.clusters.iter().any(|there| there.cluster.name.as_str() == cluster), "{cluster}");
        check(text);
    }
}
