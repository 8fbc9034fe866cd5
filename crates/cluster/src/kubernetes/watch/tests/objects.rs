//! Objects that others write wrongly, as they come from a server: each is complained of, its neighbours work.

use serde_json::{Value, json};

use super::bench::Bench;
use super::faults::{definition, service};

fn node(name: &str, ranges: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"podCIDRs": ranges}, "status": {"addresses": [{"type": "InternalIP", "address": "172.16.0.1"}]},
    })
}

fn ranges_of(bench: &Bench, node: &str) -> Vec<String> {
    let node = bench.world.nodes.values().find(|known| known.name.node == node);
    node.map(|node| node.pod_cidrs.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_hurts_nobody() {
    let mut bench = Bench::start().await;
    let mut broken = service("broken");
    broken["spec"]["ports"] = json!([{"port": "eighty"}]);
    bench.apply_json(broken);
    bench.apply_json(service("good"));
    bench.synced().await;
    let both = |bench: &Bench| !bench.complaints.is_empty() && bench.world.services.len() == 1;
    bench.until("a complaint, and the other service", both).await;
    assert_eq!(format!("{:?}", bench.reasons()), r#"{"service demo/broken": ["Unreadable"]}"#);
    bench.apply_json(service("broken"));
    bench.until("none", |bench| bench.complaints.is_empty() && bench.world.services.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaints_come_and_go() {
    let mut bench = Bench::start().await;
    let pod = |name: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo"},
            "spec": {"containers": []}, "status": {"podIPs": [{"ip": ip}]},
        })
    };
    bench.synced().await;
    bench.apply_json(pod("a", "10.1.0.5"));
    bench.apply_json(pod("b", "10.1.0.5"));
    bench.apply_json(pod("c", "192.0.2.1"));
    let mut zero = service("zero");
    zero["spec"]["ports"][0]["port"] = json!(0);
    bench.apply_json(zero);
    bench.until("complaints", |bench| bench.complaints.len() == 4).await;
    assert_eq!(
        format!("{:?}", bench.reasons()),
        r#"{"pod demo/a": ["PodIPShared"], "pod demo/b": ["PodIPShared"], "pod demo/c": ["PodIPOutsideRanges"], "service demo/zero": ["PortOutOfRange"]}"#
    );
    bench.server.delete("pods", "demo/b");
    bench.server.delete("pods", "demo/c");
    bench.apply_json(service("zero"));
    bench.until("none", |bench| bench.complaints.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_ranges_have_those_they_are_given() {
    let mut bench = Bench::start().await;
    bench.apply_json(node("own", &["10.1.1.0/24"]));
    bench.apply_json(node("bare", &[]));
    bench.apply_json(definition("causeway.io", "v1alpha1", "MeshNode", "Cluster"));
    let given = |name: &str, ranges: &[&str]| {
        json!({
            "apiVersion": "causeway.io/v1alpha1", "kind": "MeshNode", "metadata": {"name": name},
            "spec": {"podCIDRs": ranges},
        })
    };
    bench.apply_json(given("own", &["10.1.2.0/24"]));
    bench.apply_json(given("bare", &["10.1.3.0/24"]));
    bench.until("ranges", |bench| ranges_of(bench, "bare") == ["10.1.3.0/24"]).await;
    assert_eq!(ranges_of(&bench, "own"), ["10.1.1.0/24"]);
    bench.server.delete("meshnodes.causeway.io", "bare");
    bench.until("none", |bench| ranges_of(bench, "bare").is_empty()).await;
}
