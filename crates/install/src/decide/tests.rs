use super::*;

fn node(name: &str, control_plane: bool, ip: &str, slices: &[&str]) -> NodeFact {
    NodeFact {
        name: name.into(),
        control_plane,
        ready: true,
        internal_ips: vec![ip.parse().unwrap()],
        pod_cidrs: slices.iter().map(|slice| slice.parse().unwrap()).collect(),
    }
}

fn k3s() -> Facts {
    Facts {
        server: "v1.33.1+k3s1".into(),
        flavour: Flavour::K3s,
        name: "default".into(),
        nodes: vec![
            node("b", false, "192.0.2.2", &["10.42.1.0/24"]),
            node("a", true, "192.0.2.1", &["10.42.0.0/24"]),
        ],
        service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
        kube_proxy: true,
        api_servers: vec!["192.0.2.1:6443".parse().unwrap()],
        ..Facts::default()
    }
}

#[track_caller]
fn check_choice(facts: &Facts, given: Value, setting: &str, expected: Value, guessed: bool) {
    let decision = decide(facts, &given).unwrap();
    let choice = decision.choices.iter().find(|choice| choice.setting == setting);
    let choice = choice.unwrap_or_else(|| panic!("{setting} is left open: {:?}", decision.choices));
    assert_eq!((&choice.value, choice.guessed), (&expected, guessed), "{choice:?}");
    let settings = decision.settings.to_json();
    let now = setting.split('.').fold(&settings, |value, key| &value[key]);
    assert_eq!(now, &expected, "the choice is in the settings");
}

#[test]
fn k3s_as_it_comes() {
    let facts = k3s();
    let none = || json!({});
    check_choice(&facts, none(), "cluster.podCIDRs", json!(["10.42.0.0/16"]), false);
    check_choice(&facts, none(), "cluster.serviceCIDRs", json!(["10.43.0.0/16"]), false);
    check_choice(&facts, none(), "controllers.nodes", json!(["a"]), false);
    check_choice(&facts, none(), "controllers.addresses", json!(["192.0.2.1:9640"]), false);
    check_choice(&facts, none(), "agent.cni.binDirs", json!(["/var/lib/rancher/k3s/data/cni"]), false);
    let decision = decide(&facts, &none()).unwrap();
    let missing: Vec<_> = crate::settings::check(&decision.settings).iter().map(|p| p.setting).collect();
    assert_eq!(missing, ["cluster.name"], "a kubeconfig's \"default\" is nobody's name");
}

#[test]
fn what_is_asked_for_goes_before() {
    let given = json!({"cluster": {"name": "home", "podCIDRs": ["10.1.0.0/16"]}, "controllers": {"nodes": ["b"], "port": 7000}});
    let decision = decide(&k3s(), &given).unwrap();
    assert!(
        decision.choices.iter().all(|c| c.setting != "cluster.podCIDRs" && c.setting != "controllers.nodes")
    );
    assert_eq!(decision.settings.cluster.pod_cidrs, ["10.1.0.0/16".parse().unwrap()]);
    check_choice(&k3s(), given, "controllers.addresses", json!(["192.0.2.2:7000"]), false);
}

#[test]
fn other_clusters() {
    let none = || json!({});
    let mut facts = k3s();
    facts.name = "prod".into();
    facts.kube_proxy = false;
    check_choice(&facts, none(), "cluster.name", json!("prod"), true);
    check_choice(&facts, none(), "controllers.apiServer", json!({"host": "192.0.2.1", "port": 6443}), false);

    // Ranges that nobody wrote down: around what is there, not smaller than a cluster's.
    facts.flavour = Flavour::Gke;
    facts.nodes = vec![
        node("n1", false, "192.0.2.1", &["10.8.0.0/24", "fd00:8:0:1::/64"]),
        node("n2", false, "192.0.2.2", &["10.9.3.0/24", "fd00:8:0:2::/64"]),
        node("n3", false, "192.0.2.3", &["10.8.1.0/24"]),
    ];
    check_choice(&facts, none(), "cluster.podCIDRs", json!(["10.8.0.0/15", "fd00:8::/56"]), true);
    check_choice(&facts, none(), "controllers.nodes", json!(["n1", "n2"]), false);

    facts.flavour = Flavour::Kubeadm;
    facts.pod_cidrs = vec!["10.8.0.0/13".parse().unwrap()];
    check_choice(&facts, none(), "cluster.podCIDRs", json!(["10.8.0.0/13"]), false);
    facts.service_cidrs.clear();
    check_choice(&facts, none(), "cluster.serviceCIDRs", json!(["10.96.0.0/12"]), true);
}

#[test]
fn ranges_that_collide() {
    for (slice, ip, pods, said) in [
        ("10.42.0.0/24", "192.0.2.1", "10.42.0.0/16", None),
        ("10.44.0.0/24", "192.0.2.1", "10.42.0.0/16", Some("outside")),
        ("10.43.0.0/24", "192.0.2.1", "10.42.0.0/15", Some("overlaps the services")),
        ("10.42.0.0/24", "10.42.9.1", "10.42.0.0/16", Some("the address 10.42.9.1")),
    ] {
        let facts = Facts { nodes: vec![node("n", false, ip, &[slice])], ..Facts::default() };
        let settings = Settings::default().with(&json!({"cluster": {"podCIDRs": [pods]}})).unwrap();
        let found = collisions(&facts, &settings).join("\n");
        match said {
            None => assert_eq!(found, ""),
            Some(said) => assert!(found.contains(said), "{found}"),
        }
    }
}
