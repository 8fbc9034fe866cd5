//! Imports: clusterset IPs are dialled as virtual addresses are, and lead to whoever exports.

use model::{Export, Import, Prefer, Service};

use super::*;

const VIP: &str = "10.200.0.1";

fn named(name: &str, protocol: Protocol, n: u16) -> ServicePort {
    ServicePort::new(name, protocol, port(n))
}

/// `echo` everywhere, global nowhere, exported by `b` and `c`, imported by `a`.
fn imported() -> World {
    let mut world = echo_everywhere();
    for service in world.services.values_mut() {
        (service.global, service.shared) = (false, false);
        service.export = (service.key.cluster.as_str() != "a").then(Export::default);
    }
    let import = Import {
        key: service_key("a", "echo"),
        vips: vec![VIP.parse().unwrap()],
        ports: vec![named("", Protocol::Tcp, 80)],
        terms: Default::default(),
        traffic: Default::default(),
        clusters: ["b", "c"].map(cluster_name).into(),
    };
    world.imports.insert(import.key.clone(), import);
    world
}

fn import(world: &mut World) -> &mut Import {
    world.imports.get_mut(&service_key("a", "echo")).unwrap()
}

fn exporter<'a>(world: &'a mut World, cluster: &str) -> &'a mut Service {
    world.services.get_mut(&service_key(cluster, "echo")).unwrap()
}

#[test]
fn who_answers_for_an_import() {
    type Edit = fn(&mut World);
    let cases: Vec<(&str, Edit, &str)> = vec![
        ("exporters, nearest first", |_| (), "elsewhere[6] elsewhere[5]"),
        (
            "the own cluster, if it exports",
            |w| {
                exporter(w, "a").export = Some(Export::default());
                import(w).clusters.insert(0, cluster_name("a"));
            },
            "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        ("who does not export any more is out", |w| exporter(w, "c").export = None, "elsewhere[5]"),
        (
            "one that is imported because it is global there",
            |w| {
                let service = exporter(w, "c");
                (service.export, service.global, service.shared) = (None, true, true);
            },
            "elsewhere[6] elsewhere[5]",
        ),
        (
            "who is not named is out, export or not",
            |w| import(w).clusters = vec![cluster_name("b")],
            "elsewhere[5]",
        ),
        (
            "an exporter that is not known yet",
            |w| import(w).clusters.push(cluster_name("x")),
            "elsewhere[6] elsewhere[5]",
        ),
        ("being global has no say in it", |w| exporter(w, "a").global = true, "elsewhere[6] elsewhere[5]"),
        (
            "a cluster that does not have the port is out",
            |w| exporter(w, "c").ports[0].port = port(81),
            "elsewhere[5]",
        ),
        (
            "the same number under another name is another port",
            |w| exporter(w, "c").ports[0].name = "web".into(),
            "elsewhere[5]",
        ),
        (
            "and under another protocol",
            |w| exporter(w, "c").ports[0].protocol = Protocol::Udp,
            "elsewhere[5]",
        ),
        ("preferences", |w| import(w).traffic.prefer = Prefer::Even, "elsewhere[5,6]"),
        ("weights", |w| import(w).traffic.cluster_weights = [(cluster_name("c"), 0)].into(), "elsewhere[5]"),
        ("internalTrafficPolicy Local", |w| import(w).terms.internal_local = true, ""),
        ("an unready one is out", |w| edit(w, "c", "echo-6", |e| e.ready = false), "elsewhere[5]"),
        ("nobody exports", |w| import(w).clusters.clear(), ""),
    ];
    for (what, change, want) in cases {
        let mut world = imported();
        change(&mut world);
        let seen = see(&world, "a/1", &[]);
        assert_eq!(seen.ladder(VIP), want, "{what}");
        // The own service of that name is none of its business.
        assert_eq!(seen.ladder("10.101.0.1"), "node[1] zone[2] region[3] cluster[4]", "{what}");
    }
}

#[test]
fn each_port_only_from_who_has_it() {
    let mut world = imported();
    let ports = [named("web", Protocol::Tcp, 80), named("dns", Protocol::Udp, 53)];
    import(&mut world).ports = ports.to_vec();
    exporter(&mut world, "b").ports = ports.to_vec();
    exporter(&mut world, "c").ports = vec![ports[1].clone()];
    for (cluster, pod) in [("b", "echo-5"), ("c", "echo-6")] {
        edit(&mut world, cluster, pod, |e| {
            e.ports = vec![
                EndpointPort::new("web", Protocol::Tcp, port(8080)),
                EndpointPort::new("dns", Protocol::Udp, port(5353)),
            ];
        });
    }
    let seen = see(&world, "a/1", &[]);
    let of_import = seen.plan.frontends.iter().filter(|(f, _)| f.ip.to_string() == VIP);
    let answers: Vec<_> = of_import
        .map(|(f, ladder)| {
            let backends: Vec<_> =
                seen.plan.sets[&ladder.set].iter().map(|b| format!("{}:{}", b.ip, b.port)).collect();
            format!("{}/{} {}", f.port, f.protocol, backends.join(" "))
        })
        .collect();
    assert_eq!(answers, ["80/TCP 10.0.0.5:8080", "53/UDP 10.0.0.6:5353 10.0.0.5:5353"]);
}

#[test]
fn an_import_is_explained_beside_the_service() {
    let mut world = imported();
    edit(&mut world, "b", "echo-5", |e| e.ports[0].name = "web".into());
    exporter(&mut world, "c").ports[0].port = port(81);
    let seen = see(&world, "a/1", &[]);
    let titles: Vec<_> =
        seen.explained.iter().map(|e| (e.service.to_string(), e.import, e.exported)).collect();
    assert_eq!(titles, [("a/demo/echo".into(), false, false), ("a/demo/echo".into(), true, false)]);
    let standings: Vec<_> =
        seen.explained[1].backends.iter().map(|b| (b.endpoint.name.as_str(), b.why)).collect();
    assert_eq!(standings, [("echo-6", Why::NoMatch), ("echo-5", Why::InRotation)]);
}

#[test]
fn other_clusters_imports_and_stolen_addresses() {
    let mut world = imported();
    let theirs = Import { key: service_key("b", "echo"), ..import(&mut world).clone() };
    world.imports.insert(theirs.key.clone(), theirs);
    assert_eq!(see(&world, "a/1", &[]).explained.len(), 2, "an import is its own cluster's alone");
    import(&mut world).vips = vec!["10.101.0.1".parse().unwrap()];
    let seen = see(&world, "a/1", &[]);
    assert_eq!(
        seen.plan.problems[0].to_string(),
        "import a/demo/echo asks for 10.101.0.1 port 80/TCP, which service a/demo/echo has, and is not served there: \
         change one of them"
    );
}
