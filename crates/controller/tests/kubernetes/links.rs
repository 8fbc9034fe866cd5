//! Links that objects ask for: a whole controller against an API server, and another cluster's real listener.

use crate::common::{NAMESPACE, Replica, eventually, server};
use link::controller::{ControllerOptions, Handle, Server as Listener, TokenTerms};
use model::{Cluster, ClusterId};
use serde_json::{Value, json};

/// Another cluster.
async fn gcp(dir: &std::path::Path) -> (Handle, tokio::task::JoinHandle<()>) {
    let cluster = Cluster {
        name: "gcp".parse().unwrap(),
        id: ClusterId::new(2).unwrap(),
        pod_cidrs: vec!["10.2.0.0/16".parse().unwrap()],
        service_cidrs: vec![],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    };
    let listen = ports::free();
    let options = ControllerOptions::new(cluster, listen, vec![listen], dir);
    let (handle, mut events) = Listener::start(options).await.unwrap();
    handle.publish(Vec::new());
    (handle, tokio::spawn(async move { while events.recv().await.is_some() {} }))
}

fn secret(tokens: &[(&str, &str)]) -> Value {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let data: serde_json::Map<_, _> =
        tokens.iter().map(|(key, token)| (key.to_string(), Value::from(encode(token)))).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "causeway-links", "namespace": NAMESPACE}, "data": data,
    })
}

fn link(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "causeway.io/v1alpha1", "kind": "ClusterLink",
        "metadata": {"name": name}, "spec": {"tokenSecretRef": {"name": "causeway-links", "key": key}},
    })
}

#[tokio::test]
async fn a_link_lives_as_long_as_its_object() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let (gcp, _events) = gcp(&dir.path().join("gcp")).await;
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    controller.until_it_leads().await;
    let status =
        |name: &str| server.get("clusterlinks.causeway.io", name).map(|object| object["status"].clone());
    let says = |name: &str, text: &str| {
        status(name)
            .is_some_and(|status| status["lastError"].as_str().is_some_and(|error| error.contains(text)))
    };

    // First the object, then its Secret.
    server.apply_json(link("to-gcp", "gcp"));
    eventually("asking for the Secret", || says("to-gcp", "causeway link token")).await;
    let token = gcp.link_token(&TokenTerms::default()).unwrap().token;
    server.apply_json(secret(&[("gcp", &token), ("bad", &token[..60]), ("node", "causeway-node-v1.AAAA")]));
    eventually("the link", || status("to-gcp").is_some_and(|status| status["state"] == "Connected")).await;
    let linked = status("to-gcp").unwrap();
    assert_eq!((&linked["cluster"], &linked["clusterId"]), (&json!("gcp"), &json!(2)));
    assert_eq!(
        (&linked["conditions"][0]["type"], &linked["conditions"][0]["status"]),
        (&json!("Ready"), &json!("True"))
    );
    assert_eq!(linked["lastError"], Value::Null);
    let seen = controller.status().await.unwrap();
    assert_eq!(seen.links[0].declared_by.as_deref(), Some("to-gcp"));

    // What cannot be a link says why; nobody says the token.
    server.apply_json(link("cut-short", "bad"));
    server.apply_json(link("of-a-node", "node"));
    eventually("what is cut short", || says("cut-short", "cut short or altered")).await;
    eventually("the wrong kind", || says("of-a-node", "a link token is needed")).await;
    let all = format!("{:?}", server.list("clusterlinks.causeway.io"));
    assert!(!all.contains(&token[30..60]), "a token in a status");

    // A restart keeps it, and knows when its object went meanwhile.
    controller.stop();
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    controller.until("the link again", |status| status.links.iter().any(|link| link.stream.connected)).await;
    controller.stop();
    server.delete("clusterlinks.causeway.io", "to-gcp");
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    controller.until_it_leads().await;
    controller.until("the end of the link", |status| status.links.is_empty()).await;
    assert!(server.violations().is_empty(), "{:?}", server.violations());
}

#[tokio::test]
async fn a_link_that_was_made_by_hand_stays() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let (gcp, _events) = gcp(&dir.path().join("gcp")).await;
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    controller.until_it_leads().await;
    let token = gcp.link_token(&TokenTerms::default()).unwrap().token;
    let join = wire::local::LinkJoin { token: token.clone() };
    let socket = controller.dir.join("run/controller.sock");
    let joined: wire::local::LinkJoined = serve::client::post(&socket, "/v1/links", &join).await.unwrap();
    assert_eq!(joined.cluster.as_str(), "gcp");
    server.apply_json(secret(&[("gcp", &token)]));
    server.apply_json(link("to-gcp", "gcp"));
    let state =
        || server.get("clusterlinks.causeway.io", "to-gcp").map(|object| object["status"]["state"].clone());
    eventually("seeing the link", || state() == Some(json!("Connected"))).await;
    server.delete("clusterlinks.causeway.io", "to-gcp");
    server.apply_json(link("another", "missing"));
    eventually("taking the next object in", || {
        server
            .get("clusterlinks.causeway.io", "another")
            .is_some_and(|object| object["status"]["state"] == "Waiting")
    })
    .await;
    assert_eq!(controller.status().await.unwrap().links.len(), 1);
}
