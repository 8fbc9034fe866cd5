//! What the EndpointSlice controller makes of a Service and its pods.

use serde_json::{Value, json};

use crate::harness::Place;

pub(crate) async fn pods_become_endpoints(place: &Place) {
    let node = format!("node-{}", place.namespace);
    let labels = json!({ "topology.kubernetes.io/zone": "zone-a" });
    place.create("/api/v1/nodes", json!({ "metadata": { "name": node, "labels": labels } })).await.ok();
    place.account().await;
    let service = json!({ "metadata": { "name": "web" }, "spec": { "selector": { "app": "web" },
                          "ports": [{ "name": "http", "port": 80, "targetPort": "main" }] } });
    place.create(&place.core("services"), service).await.ok();
    for (name, address, ready) in [("a", "10.1.0.1", "True"), ("b", "10.1.0.2", "False")] {
        let pod = json!({ "metadata": { "name": name, "labels": { "app": "web" } },
            "spec": { "nodeName": node, "automountServiceAccountToken": false,
                "containers": [{ "name": "c", "image": "i", "ports": [{ "name": "main", "containerPort": 8080 }] }] } });
        place.create(&place.core("pods"), pod).await.ok();
        let status = json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
                             "conditions": [{ "type": "Ready", "status": ready }] } });
        place.merge(&place.core(&format!("pods/{name}/status")), status).await.ok();
    }
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb",
        place.namespace
    );
    let endpoints = |list: &Value| list["items"][0]["endpoints"].as_array().map_or(0, Vec::len);
    let list = place.until(&slices, "two endpoints", |a| endpoints(&a.body) == 2).await;
    let slice = &list["items"][0];
    assert!(slice["metadata"]["name"].as_str().unwrap().starts_with("web-"));
    assert_eq!(
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    assert_eq!(
        (&slice["addressType"], &slice["ports"]),
        (&json!("IPv4"), &json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]))
    );
    for endpoint in slice["endpoints"].as_array().unwrap() {
        let ready = endpoint["addresses"] == json!(["10.1.0.1"]);
        assert_eq!(endpoint["conditions"], json!({ "ready": ready, "serving": ready, "terminating": false }));
        assert_eq!((&endpoint["nodeName"], &endpoint["zone"]), (&json!(node), &json!("zone-a")));
        assert_eq!(endpoint["targetRef"]["kind"], "Pod");
    }
    place.delete(&place.core("pods/a")).await.ok();
    let leaving = |list: &Value| {
        let endpoints = list["items"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints
            .iter()
            .any(|e| e["conditions"] == json!({ "ready": false, "serving": true, "terminating": true }))
    };
    place.until(&slices, "a leaving endpoint", |a| leaving(&a.body)).await;
    place.delete(&place.core("pods/a?gracePeriodSeconds=0")).await.ok();
    place.until(&slices, "one endpoint", |a| endpoints(&a.body) == 1).await;
    place.delete(&place.core("pods/b?gracePeriodSeconds=0")).await.ok();
    place.delete(&format!("/api/v1/nodes/{node}")).await.ok();
}
