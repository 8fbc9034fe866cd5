use install::settings::{Encapsulate, Encryption, Location};
use model::PublicKey;
use serde_json::{Value, json};

use super::super::finding::Level;
use super::*;

fn secret(data: Value, managed: Value) -> Shared {
    let object = json!({
        "metadata": { "name": "shared", "managedFields": managed },
        "data": data,
    });
    Shared::Found(Box::new(serde_json::from_value(object).unwrap()))
}

/// A generation as a Secret has it: base64 of base64.
fn base64(number: u8) -> Value {
    serde_json::to_value(ByteString(text(number).into_bytes())).unwrap()
}

fn text(number: u8) -> String {
    let mut bytes = [number; 32];
    bytes[0] = 255;
    PublicKey(bytes).to_string()
}

fn id(number: u8) -> String {
    Generation::parse(number.into(), text(number).as_bytes()).unwrap().id().to_string()
}

fn holding(nodes: &[&[u8]]) -> Vec<MeshNode> {
    let node = |(n, held): (usize, &&[u8])| {
        let ids: Vec<String> = held.iter().map(|number| id(*number)).collect();
        mesh_node(&format!("n{}", n + 1), &json!({ "publicKey": "k", "generations": ids }))
    };
    let silent = mesh_node("silent", &json!({}));
    nodes.iter().enumerate().map(node).chain([silent]).collect()
}

fn mesh_node(name: &str, status: &Value) -> MeshNode {
    serde_json::from_value(json!({
        "apiVersion": "causeway.io/v1alpha1", "kind": "MeshNode", "metadata": { "name": name }, "spec": {}, "status": status,
    }))
    .unwrap()
}

#[test]
fn pre_shared_keys() {
    use Level::{Fail, Ok, Warn};
    let one = || secret(json!({ "1": base64(1) }), json!([]));
    let two = || secret(json!({ "1": base64(1), "2": base64(2) }), json!([]));
    let written = |time: &str| {
        let fields = json!({ "f:data": { ".": {}, "f:1": {} } });
        secret(json!({ "1": base64(1) }), json!([{ "manager": "m", "time": time, "fieldsV1": fields }]))
    };
    let spoilt = || secret(json!({ "1": base64(1), "2": "c2hvcnQ=", "new": base64(3) }), json!([]));
    let refused = || Shared::Unread("secrets is forbidden".into());
    type Case<'a> = (Shared, bool, &'a [&'a [u8]], &'a [(Level, &'a str)]);
    let cases: Vec<Case<'_>> = vec![
        (one(), true, &[&[1], &[1]], &[(Ok, "generation 1"), (Ok, "all 2 nodes")]),
        (two(), true, &[&[2, 1], &[2, 1]], &[(Ok, "generation 2"), (Ok, "all 2 nodes")]),
        (two(), true, &[&[2, 1], &[1]], &[(Ok, "1 older beside it"), (Warn, "not held by n2 yet")]),
        (one(), false, &[&[1], &[]], &[(Ok, ""), (Warn, "none of n2")]),
        (one(), true, &[&[1], &[]], &[(Ok, ""), (Fail, "n2, which have no tunnels")]),
        // It holds another cluster's.
        (one(), true, &[&[1], &[7]], &[(Ok, ""), (Fail, "none of n2")]),
        (Shared::Missing, true, &[&[1]], &[(Fail, "there is no Secret shared")]),
        (Shared::Missing, false, &[&[1]], &[(Warn, "there is no Secret shared")]),
        (secret(json!({}), json!([])), true, &[&[]], &[(Fail, "holds no generation")]),
        (spoilt(), true, &[&[1]], &[(Warn, "\"new\" is no number"), (Ok, "generation 1"), (Ok, "all 1")]),
        (refused(), true, &[&[1], &[1]], &[(Warn, "secrets is forbidden"), (Ok, "all 2 nodes")]),
        (refused(), true, &[&[2, 1], &[1]], &[(Warn, "forbidden"), (Warn, "not held by n2 yet")]),
        (refused(), true, &[&[1], &[]], &[(Warn, "forbidden"), (Fail, "none of n2")]),
        (written("2026-11-01T00:00:00Z"), true, &[], &[(Ok, "given 29 days ago")]),
        (written("2025-11-01T00:00:00Z"), true, &[], &[(Warn, "given 394 days ago")]),
    ];
    let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
    for (shared, required, nodes, expected) in cases {
        let mut settings = Settings::default();
        settings.mesh.preshared_keys.secret = "shared".into();
        settings.mesh.preshared_keys.required = required;
        let found = of_keys(shared, &settings, &holding(nodes), now);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, (level, said)) in found.iter().zip(expected) {
            assert!(finding.level == *level && finding.seen.contains(said), "{level:?} {said}: {found:?}");
            assert!(!finding.seen.contains(&text(1)) && !finding.seen.contains("c2hvcnQ"), "{finding:?}");
        }
    }
}

#[test]
fn vxlan() {
    let node = |name: &str, region: &str| -> Node {
        let labels = json!({ "topology.kubernetes.io/region": region });
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap()
    };
    let nodes = [node("n1", "here"), node("n2", "there")];
    let seen = |settings: &Settings, takes: [&[&str]; 2]| {
        let status = |takes: &[&str]| json!({ "publicKey": "k", "takes": takes });
        let mesh = [mesh_node("n1", &status(takes[0])), mesh_node("n2", &status(takes[1]))];
        of_vxlan(&nodes, &mesh, settings).map(|finding| (finding.level, finding.seen))
    };
    let mut settings = Settings::default();
    assert_eq!(seen(&settings, [&[], &[]]), None, "nobody asked for it");
    settings.mesh.encryption = Encryption::Mesh;
    let (level, said) = seen(&settings, [&["vxlan"], &["vxlan", "plain"]]).unwrap();
    assert!(level == Level::Ok && said.contains("2 nodes at UDP port 4789"), "{said}");
    let (level, said) = seen(&settings, [&["vxlan"], &["plain"]]).unwrap();
    assert!(level == Level::Warn && said.contains("not taken by n2:"), "{said}");
    // In one of the locations alone.
    settings.mesh.encryption = Encryption::All;
    let there = Location { encryption: Some(Encryption::Mesh), ..Location::default() };
    settings.mesh.locations.insert("there".into(), there);
    let (level, said) = seen(&settings, [&[], &["vxlan"]]).unwrap();
    assert!(level == Level::Ok && said.contains("1 nodes"), "{said}");
    settings.mesh.encapsulate = Encapsulate::Never;
    assert_eq!(seen(&settings, [&[], &[]]), None);
}
