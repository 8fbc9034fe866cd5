//! Peers: what is taken of them, and each field that one is refused for.

use model::{Allow, Change, Gateways, Key, Object, Peer};
use serde_json::{Value, json};

use super::{Endpoints, Index, cluster};
use crate::manifest::{self, Manifest, peer};

const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn object(annotations: Value, spec: Value) -> Manifest {
    let object = json!({ "metadata": { "name": "alice", "annotations": annotations }, "spec": spec });
    serde_json::from_value::<peer::Peer>(object).unwrap().into()
}

fn taken(annotations: Value, spec: Value) -> Peer {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    let manifest = object(annotations, spec);
    let changes = index.apply(&manifest);
    assert_eq!(index.take_complaints(), []);
    assert_eq!(index.apply(&manifest), [], "once is enough");
    let [Change::Upsert(Object::Peer(peer))] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(index.delete(&manifest.id()), [Change::Delete(Key::Peer(peer.name.clone()))]);
    peer.clone()
}

#[test]
fn what_is_taken() {
    let spec = json!({ "publicKey": KEY, "allowedIPs": ["192.168.77.7/24", "fd99::7", "192.168.77.0/24"] });
    let bare = taken(json!({}), spec.clone());
    assert_eq!(
        bare.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.168.77.0/24", "fd99::7/128"]
    );
    assert_eq!((bare.endpoint, bare.keepalive, bare.expires), (None, 0, None));
    assert_eq!((&bare.gateways, bare.allow.len(), bare.preshared_key), (&Gateways::All, 0, None));

    let mut spec = spec;
    spec["persistentKeepalive"] = 25.into();
    spec["presharedKey"] = KEY.into();
    spec["endpoint"] = json!({ "dnsOrIP": { "dns": "VPN.example.com" }, "port": 51820 });
    let annotations = json!({
        "causeway.io/gateway": "n1, n2",
        "causeway.io/allow": "pods,10.9.0.1/8",
        "causeway.io/expires": "2027-01-31T12:00:00Z",
    });
    let full = taken(annotations, spec.clone());
    assert_eq!(full.endpoint.as_ref().unwrap().to_string(), "vpn.example.com:51820");
    assert_eq!((full.keepalive, full.preshared_key.is_some()), (25, true));
    assert_eq!(full.gateways, Gateways::Named(vec!["n1".into(), "n2".into()]));
    assert_eq!(full.allow, [Allow::Pods, "10.0.0.0/8".parse().unwrap()].into());
    assert_eq!(full.expires, Some(1_801_396_800));
    spec["endpoint"] = json!({ "dnsOrIP": { "ip": "2001:db8::1", "dns": "unused" }, "port": 1 });
    let by_address = taken(json!({ "causeway.io/gateway": "all" }), spec);
    assert_eq!(by_address.endpoint.unwrap().to_string(), "[2001:db8::1]:1");
    assert_eq!(by_address.gateways, Gateways::All);
}

#[test]
fn what_is_refused() {
    let good = json!({ "publicKey": KEY, "allowedIPs": ["10.254.1.1/32"] });
    let with = |field: &str, value: Value| {
        let mut spec = good.clone();
        spec[field] = value;
        spec
    };
    let at = |host: Value, port: Value| with("endpoint", json!({ "dnsOrIP": host, "port": port }));
    let many: Vec<String> = (0..65).map(|n| format!("10.254.1.{n}/32")).collect();
    let none = || json!({});
    for (annotations, spec, path) in [
        (none(), json!({ "allowedIPs": ["10.254.1.1/32"] }), "spec.publicKey: it is empty"),
        (none(), with("publicKey", "x".into()), "spec.publicKey: it is no WireGuard key"),
        (none(), json!({ "publicKey": KEY }), "spec.allowedIPs: it is empty"),
        (
            none(),
            with("allowedIPs", json!(["10.254.1.1/32", "x"])),
            "spec.allowedIPs[1]: \"x\" is no address range",
        ),
        (
            none(),
            with("allowedIPs", json!(["10.1.9.9/32"])),
            "spec.allowedIPs[0]: 10.1.9.9/32 overlaps 10.1.0.0/16",
        ),
        (none(), with("allowedIPs", json!(["0.0.0.0/0"])), "spec.allowedIPs[0]: 0.0.0.0/0 overlaps"),
        (
            none(),
            with("allowedIPs", json!(["::ffff:10.254.1.1"])),
            "spec.allowedIPs[0]: ::ffff:10.254.1.1/128 is nobody's",
        ),
        (none(), with("allowedIPs", json!(["224.0.0.1"])), "spec.allowedIPs[0]: 224.0.0.1/32 is nobody's"),
        (none(), with("allowedIPs", json!(many)), "spec.allowedIPs: 65 ranges"),
        (none(), with("presharedKey", "hunter2".into()), "spec.presharedKey: it is no key"),
        (none(), with("persistentKeepalive", (-1).into()), "spec.persistentKeepalive: it is out of range"),
        (none(), at(none(), 1.into()), "spec.endpoint.dnsOrIP: there is neither"),
        (none(), at(json!({ "ip": "0.0.0.0" }), 1.into()), "spec.endpoint.dnsOrIP.ip"),
        (none(), at(json!({ "dns": "a_b" }), 1.into()), "spec.endpoint.dnsOrIP.dns"),
        (none(), at(json!({ "ip": "192.0.2.1" }), 0.into()), "spec.endpoint.port: it is out of range"),
        (
            json!({ "causeway.io/gateway": "a b" }),
            good.clone(),
            "metadata.annotations[\"causeway.io/gateway\"]",
        ),
        (json!({ "causeway.io/allow": "pod" }), good.clone(), "metadata.annotations[\"causeway.io/allow\"]"),
        (
            json!({ "causeway.io/expires": "soon" }),
            good.clone(),
            "metadata.annotations[\"causeway.io/expires\"]",
        ),
    ] {
        let mut index = Index::new(cluster(), Endpoints::FromSlices);
        let known = index.apply(&object(none(), good.clone()));
        assert_eq!(known.len(), 1);
        let changes = index.apply(&object(annotations, spec));
        assert_eq!(changes, [], "what was known stays: {path}");
        let complaints = index.take_complaints();
        let [(_, complaints)] = &complaints[..] else { panic!("{complaints:?} of {path}") };
        assert_eq!(complaints[0].reason, "PeerRefused");
        assert!(complaints[0].message.starts_with(path), "{path}: {}", complaints[0].message);
        assert!(!complaints[0].message.contains("hunter2"), "no secrets in messages");
    }
}

#[test]
fn in_a_file_with_the_line() {
    let text = |spec: &str| {
        format!("apiVersion: kilo.squat.ai/v1alpha1\nkind: Peer\nmetadata: {{name: alice}}\nspec:\n{spec}")
    };
    for (spec, said) in [
        ("  allowedIPs: [10.254.1.1/32]\n", "publicKey"),
        (&*format!("  publicKey: {KEY}\n  allowedIPs: []\n"), "f:6:15: spec.allowedIPs"),
        (
            &*format!("  publicKey: {KEY}\n  allowedIPs: [10.254.1.1/32]\n  colour: red\n"),
            "unknown field `colour`",
        ),
    ] {
        let error = manifest::parse("f", &text(spec)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let good = format!("  publicKey: {KEY}\n  allowedIPs: [10.254.1.1/32]\n");
    assert_eq!(manifest::parse("f", &text(&good)).unwrap()[0].value.id().to_string(), "peer alice");
}
