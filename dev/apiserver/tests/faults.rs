//! What a test asks of the double beyond the API: faults, outages, rules of access, a scene set past the API.

use std::time::{Duration, Instant};

use apiserver::{Fault, Options, Server};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::{Request, Response};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn client(kubeconfig: &str) -> kube::Client {
    let config = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(config, &options).await.unwrap();
    config.default_retry = false;
    kube::Client::try_from(config).unwrap()
}

async fn send(client: &kube::Client, method: &str, path: &str, body: Value) -> kube::Result<Response<Body>> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    client.send(request.body(Body::from(body)).unwrap()).await
}

async fn get(client: &kube::Client, path: &str) -> (u16, Value) {
    let response = send(client, "GET", path, Value::Null).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

#[tokio::test]
async fn refusals() {
    let server = Server::start(Options::default());
    let client = client(&server.kubeconfig()).await;
    for (fault, code, reason) in [
        (Fault::too_many_requests(1), 429, "TooManyRequests"),
        (Fault::server_error(500), 500, "InternalError"),
        (Fault::server_error(503), 503, "ServiceUnavailable"),
        (Fault::conflict(), 409, "Conflict"),
        (Fault::gone(), 410, "Expired"),
        (Fault::forbidden(), 403, "Forbidden"),
    ] {
        server.faults().add(fault.verb("list").resource("configmaps"));
        assert_eq!(get(&client, "/api/v1/secrets").await.0, 200, "faults strike what they name");
        let response = send(&client, "GET", MAPS, Value::Null).await.unwrap();
        assert_eq!(response.status().as_u16(), code);
        assert_eq!(response.headers().contains_key("retry-after"), code == 429);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["reason"], reason);
        assert_eq!((get(&client, MAPS).await.0, server.faults().left()), (200, 0), "once");
    }
}

#[tokio::test]
async fn broken_connections() {
    let server = Server::start(Options::default());
    let client = client(&server.kubeconfig()).await;
    server.faults().add(Fault::lost_response().verb("create"));
    send(&client, "POST", MAPS, map("a")).await.unwrap_err();
    assert!(server.get("configmaps", "default/a").is_some(), "it was carried out all the same");
    server.faults().add(Fault::cut().verb("create"));
    send(&client, "POST", MAPS, map("b")).await.unwrap_err();
    assert!(server.get("configmaps", "default/b").is_none());
    server.faults().add(Fault::hang().verb("list"));
    let hanging = tokio::time::timeout(Duration::from_millis(100), get(&client, MAPS)).await;
    assert!(hanging.is_err());
    server.faults().add(Fault::slow(Duration::from_millis(100)).verb("list"));
    let begun = Instant::now();
    assert_eq!(get(&client, MAPS).await.0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn an_outage_loses_nothing() {
    let server = Server::start(Options::default());
    let client = client(&server.kubeconfig()).await;
    server.apply_json(map("a"));
    server.stop();
    send(&client, "GET", MAPS, Value::Null).await.unwrap_err();
    server.apply_json(map("b"));
    server.restart().unwrap();
    let (_, list) = get(&client, MAPS).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

/// The lines of a watch.
async fn watch(client: &kube::Client, path: &str) -> impl futures::Stream<Item = Option<Value>> + use<> {
    let response = send(client, "GET", path, Value::Null).await.unwrap();
    response.into_body().into_data_stream().map(|frame| {
        let bytes = frame.ok()?;
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        serde_json::from_slice(line).ok()
    })
}

#[tokio::test]
async fn watches_break_stall_and_expire() {
    let server = Server::start(Options::default());
    let client = client(&server.kubeconfig()).await;
    let path = format!("{MAPS}?watch=true&resourceVersion={}", server.version());
    let mut first = Box::pin(watch(&client, &path).await);
    server.apply_json(map("a"));
    assert_eq!(first.next().await.flatten().unwrap()["type"], "ADDED");
    assert_eq!(server.watches().len(), 1);
    server.cut_watches();
    assert_eq!(first.next().await, Some(None), "an error, not an end");

    let mut second = Box::pin(watch(&client, &path).await);
    assert_eq!(second.next().await.flatten().unwrap()["object"]["metadata"]["name"], "a");
    server.stall_watches(true);
    server.apply_json(map("b"));
    assert!(tokio::time::timeout(Duration::from_millis(100), second.next()).await.is_err());
    server.stall_watches(false);
    assert_eq!(second.next().await.flatten().unwrap()["object"]["metadata"]["name"], "b");
    server.expire_watches();
    let last = second.next().await.flatten().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(second.next().await, None);

    let mut third = Box::pin(watch(&client, &format!("{MAPS}?watch=true")).await);
    assert!(third.next().await.flatten().is_some(), "watches opened later go on");
}

#[tokio::test]
async fn the_past_can_be_forgotten() {
    let server = Server::start(Options::default());
    let client = client(&server.kubeconfig()).await;
    for name in ["a", "b", "c"] {
        server.apply_json(map(name));
    }
    let (_, page) = get(&client, &format!("{MAPS}?limit=1")).await;
    let token = page["metadata"]["continue"].as_str().unwrap().to_string();
    let version = page["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    server.forget_history();
    for query in
        [format!("limit=1&continue={token}"), format!("resourceVersion={version}&resourceVersionMatch=Exact")]
    {
        let (code, status) = get(&client, &format!("{MAPS}?{query}")).await;
        assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{query}");
    }
    let mut old = Box::pin(watch(&client, &format!("{MAPS}?watch=true&resourceVersion={version}")).await);
    assert_eq!(old.next().await.flatten().unwrap()["object"]["code"], 410);
}

#[tokio::test]
async fn rules_of_access() {
    let server = Server::start(Options::default());
    let (client, admin) = (client(&server.kubeconfig()).await, client(&server.admin_kubeconfig()).await);
    let one = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create"] }]);
    let named =
        json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["x"] }]);
    server.enforce(Some("default"), &one);
    server.enforce(None, &named);
    for (path, code) in [
        (MAPS, 200),
        ("/api/v1/configmaps", 403),
        ("/api/v1/namespaces/kube-system/configmaps", 403),
        ("/api/v1/namespaces/default/secrets/x", 404),
        ("/api/v1/namespaces/default/secrets/y", 403),
        ("/version", 200),
    ] {
        assert_eq!(get(&client, path).await.0, code, "{path}");
    }
    assert_eq!(get(&admin, "/api/v1/configmaps").await.0, 200);
    let refused: Vec<String> =
        server.violations().iter().map(|r| format!("{} {}", r.verb, r.resource)).collect();
    assert_eq!(refused, ["list configmaps", "list configmaps", "get secrets"]);
    assert_eq!(server.requests().iter().filter(|r| r.code == 403).count(), 3);
}
