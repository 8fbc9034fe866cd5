use serde_json::json;

use super::*;

fn node(annotations: &[(&str, &str)]) -> Node {
    let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
    serde_json::from_value(json!({
        "metadata": {
            "name": "n1",
            "annotations": annotations,
            "labels": {"topology.kubernetes.io/region": "west", "example.net/hall": "h1"},
        },
        "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.7"},
            {"type": "InternalIP", "address": "fd10::7"},
            {"type": "ExternalIP", "address": "198.18.0.7"},
        ]},
    }))
    .unwrap()
}

fn translated(object: &Node, settings: &Meshing) -> (model::Node, Vec<&'static str>) {
    let mut found = Vec::new();
    let name = model::NodeName::try_from("a/n1".to_string()).unwrap();
    let node = super::super::node::node(name, object, settings, &mut found);
    (node, found.iter().map(|complaint| complaint.reason).collect())
}

/// The node in short: location, private addresses, endpoint, keepalive, gateway, ranges.
fn line(node: &model::Node) -> String {
    let list = |items: Vec<String>| if items.is_empty() { "-".into() } else { items.join(",") };
    let mesh = &node.mesh;
    format!(
        "{} {} {} {} {:?} {}",
        node.location,
        list(node.private_ips.iter().map(ToString::to_string).collect()),
        mesh.endpoint.as_ref().map_or("-".into(), ToString::to_string),
        mesh.keepalive.map_or("-".into(), |k| k.to_string()),
        mesh.gateway,
        list(mesh.allowed_location_ips.iter().map(ToString::to_string).collect()),
    )
}

#[test]
fn annotations_of_a_node() {
    let plain = "west 10.0.0.7,fd10::7 - - Neutral -";
    type Case =
        (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static [&'static str]);
    let cases: &[Case] = &[
        ("nothing said", &[], plain, &[]),
        (
            "somebody else's",
            &[("example.net/leader", "true"), ("kilo.squat.ai/wireguard-ip", "10.4.0.1/16")],
            plain,
            &[],
        ),
        (
            "what Kilo's agent writes is no wish",
            &[
                ("kilo.squat.ai/endpoint", "192.0.2.1:51820"),
                ("kilo.squat.ai/internal-ip", "10.9.9.9/24"),
                ("kilo.squat.ai/key", "x"),
            ],
            plain,
            &[],
        ),
        ("a location", &[("kilo.squat.ai/location", "office")], "office 10.0.0.7,fd10::7 - - Neutral -", &[]),
        (
            "ours before Kilo's",
            &[("kilo.squat.ai/location", "office"), ("causeway.io/location", "home")],
            "home 10.0.0.7,fd10::7 - - Neutral -",
            &[],
        ),
        ("an empty location is none", &[("kilo.squat.ai/location", "")], plain, &[]),
        ("a leader", &[("kilo.squat.ai/leader", "true")], "west 10.0.0.7,fd10::7 - - Wanted -", &[]),
        ("a leader by presence", &[("kilo.squat.ai/leader", "")], "west 10.0.0.7,fd10::7 - - Wanted -", &[]),
        (
            "not Kilo's defect: false elects nobody",
            &[("kilo.squat.ai/leader", "false")],
            "west 10.0.0.7,fd10::7 - - Unwanted -",
            &[],
        ),
        (
            "an endpoint",
            &[("kilo.squat.ai/force-endpoint", "192.0.2.1:51821")],
            "west 10.0.0.7,fd10::7 192.0.2.1:51821 - Neutral -",
            &[],
        ),
        (
            "an endpoint by IPv6",
            &[("causeway.io/force-endpoint", "[2001:db8::1]:51820")],
            "west 10.0.0.7,fd10::7 [2001:db8::1]:51820 - Neutral -",
            &[],
        ),
        (
            "an endpoint by name",
            &[("causeway.io/force-endpoint", "gw.example.net:51820")],
            "west 10.0.0.7,fd10::7 gw.example.net:51820 - Neutral -",
            &[],
        ),
        (
            "an endpoint without a port",
            &[("kilo.squat.ai/force-endpoint", "192.0.2.1")],
            plain,
            &["ForceEndpointUnparsable"],
        ),
        (
            "a private address",
            &[("kilo.squat.ai/force-internal-ip", "10.1.1.1/24")],
            "west 10.1.1.1 - - Neutral -",
            &[],
        ),
        (
            "not Kilo's defect: two families",
            &[("kilo.squat.ai/force-internal-ip", "10.1.1.1/24, fd11::1/64")],
            "west 10.1.1.1,fd11::1 - - Neutral -",
            &[],
        ),
        ("no private address", &[("kilo.squat.ai/force-internal-ip", "")], "n1 - - - Neutral -", &[]),
        (
            "no private address, by a dash",
            &[("kilo.squat.ai/force-internal-ip", "-"), ("kilo.squat.ai/location", "office")],
            "n1 - - - Neutral -",
            &[],
        ),
        (
            "no address at all",
            &[("kilo.squat.ai/force-internal-ip", "gateway")],
            plain,
            &["ForceInternalIPUnparsable"],
        ),
        (
            "a keepalive",
            &[("kilo.squat.ai/persistent-keepalive", "25")],
            "west 10.0.0.7,fd10::7 - 25 Neutral -",
            &[],
        ),
        (
            "no keepalive",
            &[("kilo.squat.ai/persistent-keepalive", "0")],
            "west 10.0.0.7,fd10::7 - 0 Neutral -",
            &[],
        ),
        (
            "no number",
            &[("kilo.squat.ai/persistent-keepalive", "25s")],
            plain,
            &["PersistentKeepaliveUnparsable"],
        ),
        (
            "ranges",
            &[("kilo.squat.ai/allowed-location-ips", "192.0.2.7/24, 2001:db8:7::/48,192.0.2.0/24")],
            "west 10.0.0.7,fd10::7 - - Neutral 192.0.2.0/24,2001:db8:7::/48",
            &[],
        ),
        (
            "one range is bad",
            &[("kilo.squat.ai/allowed-location-ips", "192.0.2.0/33,198.51.100.9")],
            "west 10.0.0.7,fd10::7 - - Neutral 198.51.100.9/32",
            &["AllowedLocationIPsUnusable"],
        ),
    ];
    for (what, annotations, expected, complaints) in cases {
        let (node, found) = translated(&node(annotations), &Meshing::default());
        assert_eq!((line(&node).as_str(), found.as_slice()), (*expected, *complaints), "{what}");
    }
}

#[test]
fn a_cordoned_node_is_no_gateway_if_another_can() {
    let mut object = node(&[("kilo.squat.ai/leader", "true")]);
    object.spec = Some(serde_json::from_value(json!({"unschedulable": true})).unwrap());
    assert_eq!(translated(&object, &Meshing::default()).0.mesh.gateway, Gateway::Unwanted);
}

#[test]
fn settings_count_where_nobody_said() {
    let h2 = OfLocation { granularity: Some(Granularity::Full), ..OfLocation::default() };
    let h3 = OfLocation { encryption: Some(Encryption::Mesh), ..OfLocation::default() };
    let settings = Meshing {
        granularity: Granularity::Location,
        encryption: Encryption::All,
        encapsulate: Encapsulate::CrossSubnet,
        locations: [("h2".to_string(), h2), ("h3".to_string(), h3)].into(),
        topology_label: "example.net/hall".into(),
    };
    let of = |annotations| {
        let (node, _) = translated(&node(annotations), &settings);
        (node.location, node.topology.region, node.mesh.granularity)
    };
    let place = |location: &str, granularity| (location.to_string(), "west".to_string(), granularity);
    assert_eq!(of(&[]), place("h1", Granularity::Location));
    assert_eq!(of(&[("causeway.io/location", "h2")]), place("h2", Granularity::Full));
    let travels = |location: &str| {
        let mesh = translated(&node(&[("causeway.io/location", location)]), &settings).0.mesh;
        (mesh.granularity, mesh.encryption, mesh.encapsulate)
    };
    let of_all = (Encryption::All, Encapsulate::CrossSubnet);
    assert_eq!(travels("h2"), (Granularity::Full, of_all.0, of_all.1));
    assert_eq!(travels("h3"), (Granularity::Location, Encryption::Mesh, of_all.1));
}
