//! The rules of KEP-1645, each as a row.

use model::{Export, Prefer, Protocol, ServicePort};
use proptest::prelude::*;

use super::*;
use crate::testing::{cluster_name, port, service, service_key};

/// An export of `demo/NAME`: `CLUSTER@SECONDS`, and what is special about it.
fn export(at: &str, name: &str, change: impl FnOnce(&mut Service)) -> Service {
    let (cluster, created) = at.split_once('@').unwrap();
    let terms = Terms { ipv6: vec![false], ..Terms::default() };
    let created = created.parse().unwrap();
    let mut service = service(cluster, name, &["10.0.0.1"], false);
    service.export = Some(Export { created, terms });
    change(&mut service);
    service
}

fn terms(service: &mut Service) -> &mut Terms {
    &mut service.export.as_mut().unwrap().terms
}

fn ports(service: &mut Service, texts: &[&str]) {
    let parse = |text: &&str| {
        let mut words = text.split(' ');
        let name = words.next().unwrap().trim_matches('-').to_string();
        let number = words.next().unwrap().parse().unwrap();
        let protocol = if words.next() == Some("UDP") { Protocol::Udp } else { Protocol::Tcp };
        ServicePort::new(name, protocol, port(number))
    };
    service.ports = texts.iter().map(parse).collect();
}

fn spread(annotations: &BTreeMap<String, String>) -> Traffic {
    let prefer = if annotations.contains_key("local") { Prefer::Local } else { Prefer::Ladder };
    Traffic { prefer, ..Traffic::default() }
}

fn mcs(rules: Rules) -> Mcs {
    let ranges = ["243.0.0.0/24", "fd43::/120"].map(|range| range.parse().unwrap());
    let mut mcs = Mcs::new(cluster_name("aws"), ranges.into(), rules, spread);
    mcs.handle_namespace("demo", true);
    mcs
}

/// What becomes of `demo/echo` in aws, of these exports.
fn outcome(services: Vec<Service>) -> Outcome {
    let mut mcs = mcs(Rules::default());
    services.iter().for_each(|service| mcs.handle_service(service));
    mcs.poll().into_iter().find(|outcome| outcome.name.name == "echo").expect("something is said of it")
}

fn port_texts(import: &Import) -> Vec<String> {
    import.ports.iter().map(|p| format!("{} {} {}", p.name, p.port, p.protocol)).collect()
}

#[test]
fn every_conflict_has_its_reason_and_the_oldest_decides() {
    type Differs = fn(&mut Service);
    type Holds = fn(&Import) -> bool;
    let rows: [(&str, Differs, &str, &str, Holds); 11] = [
        ("nothing", |_| {}, "NoConflicts", "", |_| true),
        (
            "ports",
            |s| ports(s, &["web 8080"]),
            "PortConflict",
            "80/TCP in aws; web 8080/TCP in gcp",
            |i| port_texts(i) == [" 80 TCP", "web 8080 TCP"],
        ),
        (
            "an appProtocol",
            |s| s.ports[0].app_protocol = "h2c".into(),
            "PortConflict",
            "80/TCP (h2c) in gcp",
            |i| i.ports[0].app_protocol.is_empty(),
        ),
        (
            "type",
            |s| terms(s).headless = true,
            "TypeConflict",
            "ClusterSetIP in aws; Headless in gcp",
            |i| !i.terms.headless && i.vips.len() == 1,
        ),
        (
            "affinity",
            |s| terms(s).session_affinity = Some(10),
            "SessionAffinityConflict",
            "None in aws; ClientIP in gcp",
            |i| i.terms.session_affinity.is_none(),
        ),
        (
            "annotations",
            |s| drop(terms(s).annotations.insert("a".into(), "1".into())),
            "AnnotationsConflict",
            "none in aws; a=1 in gcp",
            |i| i.terms.annotations.is_empty(),
        ),
        (
            "labels",
            |s| drop(terms(s).labels.insert("l".into(), "1".into())),
            "LabelsConflict",
            "none in aws; l=1 in gcp",
            |i| i.terms.labels.is_empty(),
        ),
        (
            "internalTrafficPolicy",
            |s| terms(s).internal_local = true,
            "InternalTrafficPolicyConflict",
            "Cluster in aws; Local in gcp",
            |i| !i.terms.internal_local,
        ),
        (
            "trafficDistribution",
            |s| terms(s).traffic_distribution = "PreferClose".into(),
            "TrafficDistributionConflict",
            "none in aws; PreferClose in gcp",
            |i| i.terms.traffic_distribution.is_empty(),
        ),
        (
            "families",
            |s| terms(s).ipv6 = vec![true, false],
            "IPFamilyConflict",
            "IPv4 in aws; IPv4 and IPv6 in gcp",
            |i| i.vips.len() == 2 && i.terms.ipv6 == [false, true],
        ),
        (
            "several things",
            |s| {
                terms(s).internal_local = true;
                terms(s).headless = true;
                ports(s, &["web 81"]);
            },
            "PortConflict,TypeConflict,InternalTrafficPolicyConflict",
            "",
            |i| !i.terms.headless,
        ),
    ];
    for (what, differs, expected, said, holds) in rows {
        // aws is the older, and the one that is looked at from; then the younger looks.
        let outcome = outcome(vec![export("aws@1", "echo", |_| {}), export("gcp@2", "echo", differs)]);
        let conflicts = outcome.conflicts.expect("aws exports it");
        assert_eq!(reasons(&conflicts), expected, "{what}");
        let messages: Vec<&str> = conflicts.iter().map(|conflict| conflict.message.as_str()).collect();
        assert!(messages.join("\n").contains(said), "{what}: {messages:?}");
        let import = outcome.import.unwrap();
        assert!(holds(&import), "{what}: {import:?}");
        assert_eq!(import.clusters, [cluster_name("aws"), cluster_name("gcp")], "{what}");

        let younger =
            super::tests::outcome(vec![export("aws@3", "echo", |_| {}), export("gcp@2", "echo", differs)]);
        assert_eq!(reasons(&younger.conflicts.unwrap()), expected, "{what}: on all that differ");
    }
}

#[test]
fn affinity_of_another_length() {
    let outcome = outcome(vec![
        export("aws@1", "echo", |s| terms(s).session_affinity = Some(10)),
        export("gcp@2", "echo", |s| terms(s).session_affinity = Some(20)),
        export("home@3", "echo", |s| terms(s).session_affinity = Some(20)),
    ]);
    let conflicts = outcome.conflicts.unwrap();
    assert_eq!(reasons(&conflicts), "SessionAffinityConfigConflict");
    assert!(conflicts[0].message.contains("10 in aws; 20 in gcp, home"), "{}", conflicts[0].message);
    assert_eq!(outcome.import.unwrap().terms.session_affinity, Some(10));
}

#[test]
fn of_two_made_in_one_second_the_cluster_decides() {
    let local = |s: &mut Service| terms(s).internal_local = true;
    let outcome = outcome(vec![export("gcp@5", "echo", local), export("aws@5", "echo", |_| {})]);
    assert!(!outcome.import.unwrap().terms.internal_local);
}

#[test]
fn ports_are_united_by_name_then_by_number() {
    let rows: [(&[&str], &[&str], &[&str]); 7] = [
        (&["a 1"], &["a 1"], &["a 1 TCP"]),
        (&["a 1"], &["b 2"], &["a 1 TCP", "b 2 TCP"]),
        // One name, two numbers: the older's.
        (&["a 1"], &["a 2"], &["a 1 TCP"]),
        // One number, two names: the older's.
        (&["a 1"], &["b 1"], &["a 1 TCP"]),
        (&["a 1"], &["b 1 UDP"], &["a 1 TCP", "b 1 UDP"]),
        (&["- 1"], &["- 2"], &[" 1 TCP"]),
        (&["a 42", "b 42 UDP"], &["b 53 UDP", "c 80"], &["a 42 TCP", "b 42 UDP", "c 80 TCP"]),
    ];
    for (older, younger, expected) in rows {
        let outcome = outcome(vec![
            export("gcp@2", "echo", |s| ports(s, younger)),
            export("aws@1", "echo", |s| ports(s, older)),
        ]);
        let import = outcome.import.unwrap();
        assert_eq!(port_texts(&import), expected, "{older:?} and {younger:?}");
    }
}

#[test]
fn an_import_lives_as_long_as_an_export_and_its_namespace() {
    let mut mcs = mcs(Rules::default());
    let name = service_key("aws", "echo").name;
    let imported =
        |outcomes: &[Outcome]| -> Vec<bool> { outcomes.iter().map(|o| o.import.is_some()).collect() };
    mcs.handle_service(&export("gcp@1", "echo", |_| {}));
    let first = mcs.poll();
    let ip = first[0].import.as_ref().unwrap().vips.clone();
    assert_eq!((ip.len(), first[0].conflicts.is_none()), (1, true), "another cluster's is imported");
    mcs.handle_service(&export("home@2", "echo", |_| {}));
    assert_eq!(mcs.poll()[0].import.as_ref().unwrap().clusters.len(), 2);
    mcs.handle_service_gone(&service_key("gcp", "echo"));
    let import = mcs.poll()[0].import.clone().unwrap();
    assert_eq!(
        (&import.vips, import.clusters),
        (&ip, vec![cluster_name("home")]),
        "one is left, the address stays"
    );
    // Unexported, not deleted.
    mcs.handle_service(&export("home@2", "echo", |s| s.export = None));
    assert_eq!(imported(&mcs.poll()), [false]);
    assert!(mcs.addresses().is_empty());

    mcs.handle_service(&export("gcp@1", "echo", |_| {}));
    assert_eq!(imported(&mcs.poll()), [true]);
    mcs.handle_namespace("demo", false);
    assert_eq!(imported(&mcs.poll()), [false]);
    mcs.handle_namespace("other", true);
    assert_eq!(mcs.poll(), []);
    mcs.handle_namespace("demo", true);
    assert_eq!(imported(&mcs.poll()), [true]);
    mcs.handle_service(&export("gcp@1", "echo", |_| {}));
    assert_eq!(mcs.poll(), [], "nothing new is no news");
    assert!(mcs.outcome(&name).is_some() && mcs.sources(&name).count() == 1);
}

#[test]
fn what_an_importer_allows() {
    let elsewhere = |service: Service| Service {
        key: ServiceKey { name: ObjectName::new("far", "echo").unwrap(), ..service.key.clone() },
        ..service
    };
    let global = || elsewhere(service("gcp", "echo", &["10.0.0.1"], true));
    let rows: [(&str, Rules, Service, bool); 5] = [
        ("no such namespace", Rules::default(), elsewhere(export("gcp@1", "echo", |_| {})), false),
        (
            "no such namespace, allowed",
            Rules { without_namespace: true, ..Rules::default() },
            elsewhere(export("gcp@1", "echo", |_| {})),
            true,
        ),
        ("global", Rules { without_namespace: true, ..Rules::default() }, global(), false),
        ("global, allowed", Rules { without_namespace: true, global_services: true }, global(), true),
        (
            "global, not shared",
            Rules { without_namespace: true, global_services: true },
            Service { shared: false, ..global() },
            false,
        ),
    ];
    for (what, rules, service, expected) in rows {
        let mut mcs = mcs(rules);
        mcs.handle_service(&service);
        let imported = mcs.poll().iter().any(|outcome| outcome.import.is_some());
        assert_eq!(imported, expected, "{what}");
    }
    // A Service of one's own, or an export, takes precedence over sharing.
    let mut mcs = mcs(Rules { without_namespace: true, global_services: true });
    mcs.handle_service(&global());
    assert!(mcs.poll()[0].import.is_some());
    mcs.handle_service(&elsewhere(service("aws", "echo", &[], true)));
    assert!(mcs.poll()[0].import.is_none());
    mcs.handle_service_gone(&global_key("aws"));
    assert!(mcs.poll()[0].import.is_some());
    mcs.handle_service(&elsewhere(export("home@1", "echo", |_| {})));
    assert_eq!(mcs.poll()[0].import.as_ref().unwrap().clusters, [cluster_name("home")]);
}

fn global_key(cluster: &str) -> ServiceKey {
    ServiceKey { cluster: cluster_name(cluster), name: ObjectName::new("far", "echo").unwrap() }
}

#[test]
fn addresses() {
    let headless = outcome(vec![export("gcp@1", "echo", |s| terms(s).headless = true)]).import.unwrap();
    assert!(headless.vips.is_empty() && headless.terms.headless);
    let dual = outcome(vec![export("gcp@1", "echo", |s| terms(s).ipv6 = vec![true, false])]).import.unwrap();
    let families: Vec<bool> = dual.vips.iter().map(IpAddr::is_ipv6).collect();
    assert_eq!((families, &dual.terms.ipv6), (vec![true, false], &vec![true, false]), "in their order");

    // A family that the cluster has no range of.
    let mut mcs = Mcs::new(
        cluster_name("aws"),
        vec!["243.0.0.0/30".parse().unwrap()],
        Rules { without_namespace: true, ..Rules::default() },
        spread,
    );
    mcs.handle_service(&export("gcp@1", "echo", |s| terms(s).ipv6 = vec![true]));
    let outcome = mcs.poll().remove(0);
    let problem = outcome.problem.unwrap().to_string();
    assert!(problem.contains("IPv6 is exported") && problem.contains("243.0.0.0/30"), "{problem}");
    assert!(outcome.import.unwrap().vips.is_empty());

    // Two are all there are; who waits for one has it as soon as one is free.
    for name in ["a", "b", "c"] {
        mcs.handle_service(&export("gcp@1", name, |_| {}));
    }
    let outcomes = mcs.poll();
    let given: BTreeSet<IpAddr> =
        outcomes.iter().flat_map(|o| o.import.as_ref().unwrap().vips.clone()).collect();
    assert_eq!(given, ["243.0.0.1", "243.0.0.2"].map(|ip| ip.parse().unwrap()).into());
    let problem = outcomes[2].problem.as_ref().unwrap().to_string();
    assert!(problem.contains("every IPv4 address") && problem.contains("243.0.0.0/30"), "{problem}");
    mcs.handle_service_gone(&service_key("gcp", "a"));
    let outcomes = mcs.poll();
    assert!(outcomes[0].import.is_none());
    assert_eq!((outcomes[1].name.name.as_str(), &outcomes[1].problem), ("c", &None));
    assert_eq!(outcomes[1].import.as_ref().unwrap().vips.len(), 1);
}

#[test]
fn addresses_are_remembered() {
    let name = service_key("aws", "echo").name;
    let other = service_key("aws", "other").name;
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let mut mcs = mcs(Rules::default());
    // Neither what is outside, nor the network's own, nor what another has.
    mcs.remember(&other, &[ip("243.0.0.9")]);
    mcs.remember(&name, &[ip("10.0.0.1"), ip("243.0.0.0"), ip("243.0.0.9"), ip("243.0.0.7")]);
    mcs.handle_service(&export("gcp@1", "echo", |_| {}));
    assert_eq!(mcs.poll()[0].import.as_ref().unwrap().vips, [ip("243.0.0.7")]);
    mcs.remember(&name, &[ip("243.0.0.8")]);
    assert_eq!(mcs.poll()[0].import.as_ref().unwrap().vips, [ip("243.0.0.8")], "whoever leads has given it");
    mcs.remember(&name, &[ip("243.0.0.8")]);
    assert_eq!(mcs.poll(), []);
}

#[test]
fn exported_annotations_spread_traffic() {
    let annotations = [("local".to_string(), String::new())];
    let oldest = export("gcp@1", "echo", |s| terms(s).annotations = annotations.into());
    let import = outcome(vec![export("aws@2", "echo", |_| {}), oldest]).import.unwrap();
    assert_eq!(import.traffic.prefer, Prefer::Local);
}

fn any_export() -> impl Strategy<Value = Service> {
    let clusters = prop_oneof![Just("aws"), Just("gcp"), Just("home")];
    let ports_of = prop_oneof![
        Just(&["a 1"][..]),
        Just(&["a 2"][..]),
        Just(&["b 1", "c 3 UDP"][..]),
        Just(&["- 9"][..]),
    ];
    (clusters, 0..3, prop_oneof![Just("echo"), Just("web")], ports_of, any::<[bool; 4]>()).prop_map(
        |(cluster, created, name, list, [headless, local, v6, exported])| {
            export(&format!("{cluster}@{created}"), name, |service| {
                ports(service, list);
                terms(service).headless = headless;
                terms(service).internal_local = local;
                terms(service).ipv6 = if v6 { vec![true, false] } else { vec![false] };
                if !exported {
                    service.export = None;
                }
            })
        },
    )
}

proptest! {
    /// Whatever came in whatever order: the sum of what was said is what the last state says, but for addresses, of which
    /// each has one of its own.
    #[test]
    fn order_does_not_matter(changes in proptest::collection::vec((any_export(), 0u8..4, any::<bool>()), 1..40)) {
        let mut mcs = mcs(Rules::default());
        let mut last: BTreeMap<ServiceKey, Service> = BTreeMap::new();
        let mut said: BTreeMap<ObjectName, Outcome> = BTreeMap::new();
        let mut take = |mcs: &mut Mcs| for outcome in mcs.poll() {
            said.insert(outcome.name.clone(), outcome);
        };
        for (service, coin, poll) in changes {
            if coin == 0 {
                last.remove(&service.key);
                mcs.handle_service_gone(&service.key);
            } else {
                mcs.handle_service(&service);
                last.insert(service.key.clone(), service);
            }
            if poll {
                take(&mut mcs);
            }
        }
        take(&mut mcs);
        let mut fresh = super::tests::mcs(Rules::default());
        last.values().rev().for_each(|service| fresh.handle_service(service));
        let afresh: Vec<Outcome> = fresh.poll();
        let without = |outcome: &Outcome| {
            let mut outcome = outcome.clone();
            outcome.import.iter_mut().for_each(|import| import.vips.clear());
            outcome
        };
        said.retain(|_, outcome| outcome.import.is_some() || outcome.conflicts.is_some());
        prop_assert_eq!(
            said.values().map(without).collect::<Vec<_>>(),
            afresh.iter().map(without).collect::<Vec<_>>()
        );
        let ips: Vec<IpAddr> =
            said.values().flat_map(|outcome| outcome.import.iter().flat_map(|import| import.vips.clone())).collect();
        prop_assert_eq!(ips.iter().collect::<BTreeSet<_>>().len(), ips.len());
    }
}
