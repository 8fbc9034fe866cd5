//! Create, update, patch.

use serde_json::{Value, json};

use crate::harness::{Place, version};

pub(crate) async fn a_stale_version_is_a_conflict(place: &Place) {
    let path = place.core("configmaps/x");
    let old = place.create(&place.core("configmaps"), json!({ "metadata": { "name": "x" } })).await.ok();
    let mut changed = old.clone();
    changed["data"] = json!({ "a": "b" });
    let new = place.update(&path, &changed).await.ok();
    assert!(version(&new) > version(&old));
    place.update(&path, &changed).await.refused(409, "Conflict");
    let stale = json!({ "metadata": { "resourceVersion": old["metadata"]["resourceVersion"] }, "data": { "a": "c" } });
    place.merge(&path, stale).await.refused(409, "Conflict");
    let same = place.update(&path, &new).await.ok();
    assert_eq!(version(&same), version(&new), "nothing new is no write");
}

pub(crate) async fn names_are_given_and_checked(place: &Place) {
    let maps = place.core("configmaps");
    let made = place.create(&maps, json!({ "metadata": { "generateName": "x-" } })).await;
    assert_eq!(made.code, 201);
    let made = made.ok();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.len() == 7 && name.starts_with("x-"), "{name}");
    assert_eq!(made["metadata"]["namespace"], place.namespace);
    let again =
        place.create(&maps, json!({ "metadata": { "name": name } })).await.refused(409, "AlreadyExists");
    assert_eq!(again["details"], json!({ "name": name, "kind": "configmaps" }));
    place.create(&maps, json!({ "metadata": {} })).await.refused(422, "Invalid");
    place.create(&maps, json!({ "metadata": { "name": "A_" } })).await.refused(422, "Invalid");
    let elsewhere = json!({ "metadata": { "name": "a", "namespace": "elsewhere" } });
    place.create(&maps, elsewhere).await.refused(400, "BadRequest");
    let nowhere = place
        .create("/api/v1/namespaces/nowhere-at-all/configmaps", json!({ "metadata": { "name": "a" } }))
        .await;
    assert_eq!(nowhere.refused(404, "NotFound")["details"]["kind"], "namespaces");
    let path = place.core("configmaps/b");
    place.update(&path, &json!({ "metadata": { "name": "b" } })).await.refused(404, "NotFound");
    place.merge(&path, json!({ "data": {} })).await.refused(404, "NotFound");
    let mine = place.core(&format!("configmaps/{name}"));
    place.update(&mine, &json!({ "metadata": { "name": "b" } })).await.refused(400, "BadRequest");
    place
        .call("PATCH", &mine, "application/json", Some(&json!({})))
        .await
        .refused(415, "UnsupportedMediaType");
    let long = json!({ "metadata": { "name": "long", "labels": { "a": "x".repeat(64) } } });
    place.create(&maps, long).await.refused(422, "Invalid");
    let version = json!({ "metadata": { "name": "c", "resourceVersion": "1" } });
    assert_eq!(place.create(&maps, version).await.code, 500);
}

pub(crate) async fn a_lease_changes_hands_once(place: &Place) {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", place.namespace);
    let path = format!("{leases}/l");
    let lease = |holder: &str| {
        json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" },
                "spec": { "holderIdentity": holder, "leaseDurationSeconds": 4, "leaseTransitions": 0,
                          "renewTime": "2026-01-02T03:04:05.000006Z" } })
    };
    let made = place.create(&leases, lease("a")).await.ok();
    assert_eq!(made["spec"]["renewTime"], "2026-01-02T03:04:05.000006Z");
    place.update(&path, &lease("b")).await.refused(422, "Invalid");
    let claim = |holder: &str| {
        let mut claim = made.clone();
        claim["spec"]["holderIdentity"] = holder.into();
        claim
    };
    place.update(&path, &claim("b")).await.ok();
    place.update(&path, &claim("c")).await.refused(409, "Conflict");
    assert_eq!(place.get(&path).await.ok()["spec"]["holderIdentity"], "b");
}

pub(crate) async fn a_status_is_a_part_of_its_own(place: &Place) {
    let node = format!("node-{}", place.namespace);
    let nodes = "/api/v1/nodes";
    let ready = |status: &str| {
        json!({ "conditions": [{ "type": "Ready", "status": status }],
                                        "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] })
    };
    let made =
        place.create(nodes, json!({ "metadata": { "name": node }, "status": ready("True") })).await.ok();
    assert_eq!(made["status"]["addresses"][0]["address"], "10.0.0.1", "a node registers with its status");
    let path = format!("{nodes}/{node}");
    let kept = place
        .merge(&path, json!({ "status": ready("False"), "metadata": { "labels": { "a": "b" } } }))
        .await
        .ok();
    assert_eq!(
        (&kept["status"]["conditions"][0]["status"], &kept["metadata"]["labels"]["a"]),
        (&json!("True"), &json!("b"))
    );
    let told = place
        .merge(
            &format!("{path}/status"),
            json!({ "status": ready("False"), "spec": { "unschedulable": true } }),
        )
        .await
        .ok();
    assert_eq!(
        (&told["status"]["conditions"][0]["status"], &told["spec"]["unschedulable"]),
        (&json!("False"), &Value::Null)
    );
    let same = place.merge(&format!("{path}/status"), json!({ "status": ready("False") })).await.ok();
    assert_eq!(version(&same), version(&told), "nothing new is no write");
    place.delete(&path).await.ok();

    place.account().await;
    let pod = json!({ "metadata": { "name": "p" }, "status": { "phase": "Running" },
                      "spec": { "automountServiceAccountToken": false, "containers": [{ "name": "c", "image": "i" }] } });
    let made = place.create(&place.core("pods"), pod).await.ok();
    assert_eq!(made["status"]["phase"], "Pending", "a pod begins at the beginning");
    let up =
        json!({ "status": { "phase": "Running", "podIP": "10.1.2.3", "podIPs": [{ "ip": "10.1.2.3" }] } });
    let up = place.merge(&place.core("pods/p/status"), up).await.ok();
    assert_eq!((&up["status"]["phase"], &up["status"]["podIP"]), (&json!("Running"), &json!("10.1.2.3")));
    let get = place.get(&place.core("pods/p/status")).await.ok();
    assert_eq!(get["status"]["podIP"], "10.1.2.3");
}

pub(crate) async fn generations_count_what_is_wanted(place: &Place) {
    let policies = format!("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", place.namespace);
    let policy = json!({ "metadata": { "name": "x" }, "spec": { "podSelector": {}, "ingress": [{}] } });
    let made = place.create(&policies, policy).await.ok();
    assert_eq!(
        (&made["metadata"]["generation"], &made["spec"]["policyTypes"]),
        (&json!(1), &json!(["Ingress"]))
    );
    let path = format!("{policies}/x");
    let labelled = place.merge(&path, json!({ "metadata": { "labels": { "a": "b" } } })).await.ok();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let changed = place.merge(&path, json!({ "spec": { "ingress": [] } })).await.ok();
    assert_eq!(changed["metadata"]["generation"], 2);
    let map = place.create(&place.core("configmaps"), json!({ "metadata": { "name": "x" } })).await.ok();
    assert_eq!(map["metadata"]["generation"], Value::Null, "not every kind counts");
}

pub(crate) async fn services_are_filled_in(place: &Place) {
    let service = |ports: Value| json!({ "metadata": { "name": "s" }, "spec": { "selector": { "app": "a" }, "ports": ports } });
    let path = place.core("services");
    place.create(&path, service(json!([{ "port": 0 }]))).await.refused(422, "Invalid");
    let made = place.create(&path, service(json!([{ "port": 80 }]))).await.ok();
    let spec = &made["spec"];
    assert_eq!(spec["ports"], json!([{ "port": 80, "targetPort": 80, "protocol": "TCP" }]));
    assert_eq!((&spec["type"], &spec["sessionAffinity"]), (&json!("ClusterIP"), &json!("None")));
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
    assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
    assert!(spec["clusterIP"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok());
    assert_eq!(made["status"], json!({ "loadBalancer": {} }));
    let deleted = place.delete(&format!("{path}/s")).await.ok();
    assert_eq!(deleted["kind"], "Service", "some kinds answer a deletion with the object");
}

pub(crate) async fn a_dry_run_leaves_nothing(place: &Place) {
    let maps = place.core("configmaps?dryRun=All");
    let made = place.create(&maps, json!({ "metadata": { "name": "x" } })).await;
    assert_eq!(made.code, 201);
    assert!(made.ok()["metadata"]["uid"].is_string());
    place.get(&place.core("configmaps/x")).await.refused(404, "NotFound");
}
