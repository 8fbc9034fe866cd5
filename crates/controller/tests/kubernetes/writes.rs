//! What a controller writes, with a server that loses answers, refuses and delays; and what it does not write.

use std::collections::BTreeSet;

use crate::common::{Agent, NAMESPACE, Replica, eventually, identity, lines, node, server, writes};
use apiserver::{Fault, Identity, Server};
use causeway_controller::config::MulticlusterConfig;
use cluster::kubernetes::access::controller_rules;
use cluster::kubernetes::client::{ClientOptions, client};
use cluster::kubernetes::report::{Note, Reporter};
use cluster::manifest::{Id, Kind};
use serde_json::{Value, json};

/// What a MeshNode gives and says.
fn mesh_node(server: &Server, name: &str) -> Option<(Vec<String>, Value)> {
    let object = server.get("meshnodes.causeway.io", name)?;
    let ranges = object["spec"]["podCIDRs"].as_array().cloned().unwrap_or_default();
    let ranges = ranges.iter().map(|range| range.as_str().unwrap().to_string()).collect();
    Some((ranges, object["status"].clone()))
}

#[tokio::test]
async fn writes_that_fail_are_tried_again_until_all_is_as_it_should_be() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    for n in 0..12 {
        server.apply_json(node(&format!("n{n}"), &[]));
    }
    let faults = server.faults();
    for fault in [
        Fault::lost_response().times(3),
        Fault::server_error(500).times(2),
        Fault::server_error(503),
        Fault::too_many_requests(1),
        Fault::conflict().times(3),
        Fault::cut().times(2),
    ] {
        faults.add(fault.clone().verb("patch").resource("meshnodes"));
    }
    faults.add(Fault::lost_response().verb("create").resource("secrets"));
    faults.add(Fault::server_error(500).verb("get").resource("secrets"));
    faults.add(Fault::lost_response().verb("create").resource("leases"));
    faults.add(Fault::lost_response().verb("patch").resource("configmaps"));
    faults.add(Fault::conflict().verb("patch").resource("leases"));
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    let has_ranges = |name: &String| mesh_node(&server, name).is_some_and(|(ranges, _)| ranges.len() == 2);
    eventually("ranges for all", || names.iter().all(has_ranges)).await;
    eventually("every fault", || faults.left() == 0).await;
    let ranges: BTreeSet<String> =
        names.iter().flat_map(|name| mesh_node(&server, name).unwrap().0).collect();
    assert_eq!(ranges.len(), 24, "nothing is handed out twice: {ranges:?}");
    let told = |status: &wire::local::ControllerStatus| status.objects.get("nodes") == Some(&12);
    let status = controller.until("all nodes", told).await;
    assert_eq!(status.problems, Vec::<String>::new());
    assert!(server.violations().is_empty(), "{:?}", lines(&server.violations()));
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changed() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.apply_json(node("a", &[]));
    server.apply_json(node("own", &["10.1.9.0/24"]));
    let first = Replica::start(&dir.path().join("c"), &server.url());
    first.until_it_leads().await;
    eventually("a range", || mesh_node(&server, "a").is_some_and(|(ranges, _)| ranges.len() == 2)).await;
    assert_eq!(mesh_node(&server, "own"), None, "it has its own, and nothing to report");
    let object = server.get("meshnodes.causeway.io", "a").unwrap();
    let owner = &object["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("Node"), &json!("a")));
    assert_eq!(owner["uid"], server.get("nodes", "a").unwrap()["metadata"]["uid"]);
    tokio::task::spawn_blocking(|| first.stop()).await.unwrap();

    // Another, on another machine, finds everything as it should be.
    server.clear_requests();
    let second = Replica::start(&dir.path().join("d"), &server.url());
    second.until_it_leads().await;
    let node = "b";
    server.apply_json(crate::common::node(node, &[]));
    eventually("another range", || mesh_node(&server, node).is_some()).await;
    let said = lines(&writes(&server));
    assert!(matches!(&said[..], [one] if one.starts_with("patch meshnodes.causeway.io b")), "{said:?}");
    let ca = |dir: &str| std::fs::read(second.dir.parent().unwrap().join(dir).join("state/ca.crt")).unwrap();
    assert_eq!(ca("c"), ca("d"), "one CA for all");

    // A node that goes takes its MeshNode along; others do not notice.
    server.clear_requests();
    server.delete("nodes", "b");
    eventually("its end", || mesh_node(&server, "b").is_none()).await;
    let said = lines(&writes(&server));
    assert!(matches!(&said[..], [one] if one.starts_with("delete meshnodes.causeway.io b")), "{said:?}");
}

/// Events of Kubernetes, as reason and note.
fn events(server: &Server) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    server
        .list("events.events.k8s.io")
        .iter()
        .map(|event| (text(&event["reason"]), text(&event["note"])))
        .collect()
}

async fn export_and_unexport(server: &Server) {
    let object = |kind: &str, version: &str, spec: Value| {
        server.apply_json(json!({
            "apiVersion": version, "kind": kind, "spec": spec,
            "metadata": {"name": "hello", "namespace": NAMESPACE, "labels": {"app": "hello"}},
            "status": {"podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}], "phase": "Running"},
        }))
    };
    object("Pod", "v1", json!({"containers": [{"name": "c", "image": "i"}], "nodeName": "a"}));
    let ports = json!([{"port": 80}]);
    object("Service", "v1", json!({"clusterIP": "10.101.0.9", "selector": {"app": "hello"}, "ports": ports}));
    object("ServiceExport", "multicluster.x-k8s.io/v1beta1", json!({}));
    let name = format!("{NAMESPACE}/hello");
    let import = || server.get("serviceimports.multicluster.x-k8s.io", &name);
    let derived = || {
        let slices = server.list("endpointslices.discovery.k8s.io");
        let label = "multicluster.kubernetes.io/source-cluster";
        slices.into_iter().any(|slice| slice["metadata"]["labels"][label] == "aws")
    };
    eventually("an import", || import().is_some_and(|import| !import["status"].is_null())).await;
    eventually("a slice", derived).await;
    assert!(server.delete("serviceexports.multicluster.x-k8s.io", &name));
    eventually("its end", || import().is_none() && !derived()).await;
}

#[tokio::test]
async fn every_right_is_used_and_no_other() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    crate::common::with_definitions(&server);
    server.apply_json(node("a", &["10.1.0.0/24"]));
    // An older server, which does not say in the token where the pod runs.
    let pod = server.apply_json(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "agent-x", "namespace": NAMESPACE},
        "spec": {"nodeName": "a", "hostNetwork": true, "containers": [{"name": "c", "image": "i"}]},
    }));
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_string();
    server.accept_token(
        "of-a",
        Identity {
            extra: [
                ("authentication.kubernetes.io/pod-name".to_string(), vec!["agent-x".to_string()]),
                ("authentication.kubernetes.io/pod-uid".to_string(), vec![uid]),
            ]
            .into(),
            ..identity("a")
        },
    );
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    controller.until_it_leads().await;
    eventually("the roots", || server.get("configmaps", "causeway-system/causeway-roots").is_some()).await;
    let mut agent = Agent::start(&dir.path().join("a"), &server, "a", &[controller.address], "of-a");
    agent.until_synced().await;
    let reported = || mesh_node(&server, "a").is_some_and(|(_, status)| status["publicKey"].is_string());
    eventually("its report", reported).await;

    // A token of ours is state, and is saved.
    let socket = controller.dir.join("run/controller.sock");
    let before = server.get("secrets", "causeway-system/causeway-state").unwrap();
    serve::client::post::<_, wire::local::Token>(&socket, "/v1/tokens/node", &()).await.unwrap();
    let saved = || server.get("secrets", "causeway-system/causeway-state").unwrap() != before;
    eventually("the state", saved).await;

    // Somebody takes the Lease away for a moment: it is looked at.
    server.faults().add(Fault::conflict().verb("patch").resource("leases"));

    // What others wrote wrongly is said in Events, each kind beside its object; once.
    server.apply_json(node("b", &["10.1.0.0/24"]));
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "bad", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["not-an-address"]}], "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "not-an-address", "ports": [{"port": 80}]},
    });
    let lost = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lost", "namespace": "default"},
        "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": "203.0.113.9", "podIPs": [{"ip": "203.0.113.9"}]},
    });
    for object in [slice, service, lost] {
        server.apply_json(object);
    }
    let regarding = |kind: &str| {
        server.list("events.events.k8s.io").iter().any(|event| {
            event["regarding"]["kind"] == kind
                && event["regarding"]["uid"].is_string()
                && event["type"] == "Warning"
        })
    };
    for kind in ["Node", "EndpointSlice", "Service", "Pod"] {
        let waited = tokio::time::timeout(crate::common::LONG, async {
            while !regarding(kind) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        let status = controller.status().await;
        assert!(waited.is_ok(), "no Event of a {kind}: {:?}; {status:?}", events(&server));
    }
    let status = controller.status().await.unwrap();
    assert!(
        status.complaints.iter().any(|c| c.object == "node b" && c.reason == "PodCIDROverlaps"),
        "{status:?}"
    );
    // Later it would be counted on.
    let wrong = status.complaints.iter().find(|c| c.object == "node b").unwrap();
    let options =
        ClientOptions { kubeconfig: Some(controller.dir.join("kubeconfig")), ..ClientOptions::default() };
    let id = Id::new(Kind::Node, "", "b");
    let note = Note { id, reason: "PodCIDROverlaps", message: wrong.message.clone(), times: 2 };
    Reporter::new(client(&options).await.unwrap(), "test").say(&note).await.unwrap();
    let counted = server.list("events.events.k8s.io").iter().any(|event| event["series"]["count"] == 2);
    assert!(counted, "{:?}", server.list("events.events.k8s.io"));
    let looked = || server.requests().iter().any(|r| r.verb == "get" && r.resource == "leases");
    eventually("a look at the lease", looked).await;
    // It comes again, and is counted on or kept quiet, never written anew.
    let count = events(&server).len();
    server.delete("nodes", "b");
    eventually("its end", || mesh_node(&server, "b").is_none()).await;
    server.apply_json(node("b", &["10.1.0.0/24"]));
    controller.until("the complaint", |status| status.complaints.iter().any(|c| c.object == "node b")).await;
    assert_eq!(events(&server).len(), count, "{:?}", events(&server));
    // A link is asked for.
    server.apply_json(serde_json::json!({
        "apiVersion": "causeway.io/v1alpha1", "kind": "ClusterLink",
        "metadata": {"name": "gcp"}, "spec": {"tokenSecretRef": {"key": "gcp"}},
    }));
    let waits =
        || server.get("clusterlinks.causeway.io", "gcp").is_some_and(|o| o["status"]["state"] == "Waiting");
    eventually("its status", waits).await;
    // An export of its own: its import, a slice, both statuses, and the end of them.
    export_and_unexport(&server).await;
    // A MeshNode whose Node is gone is removed.
    drop(agent);
    server.delete("nodes", "a");
    eventually("its end", || mesh_node(&server, "a").is_none()).await;

    // One that is in no clusterset any more.
    tokio::task::spawn_blocking(|| controller.stop()).await.unwrap();
    let alone = MulticlusterConfig { clusterset_name: String::new(), ..MulticlusterConfig::default() };
    let dir = dir.path().join("alone");
    let _controller = Replica::start_with(&dir, &server.url(), crate::common::cluster(), alone);
    let property = || server.get("clusterproperties.about.k8s.io", "clusterset.k8s.io");
    eventually("no clusterset", || property().is_none()).await;

    let said = BTreeSet::from_iter(
        server
            .requests()
            .iter()
            .filter(|r| r.code < 300 || r.code == 409 || (r.code == 404 && r.verb == "get"))
            .flat_map(|r| {
                let part =
                    if r.subresource.is_empty() { String::new() } else { format!("/{}", r.subresource) };
                let verbs = match (r.verb.as_str(), r.code) {
                    // To apply what is not there takes the right to create it.
                    ("patch", 201) => vec!["patch", "create"],
                    (verb, _) => vec![verb],
                };
                verbs
                    .into_iter()
                    .map(|verb| format!("{verb} {}/{}{part}", r.group, r.resource))
                    .collect::<Vec<_>>()
            }),
    );
    let (cluster, namespace) = controller_rules();
    let allowed: BTreeSet<String> = cluster
        .iter()
        .chain(&namespace)
        .flat_map(|rule| {
            let (group, verbs) = (rule.api_groups.as_ref().unwrap()[0].clone(), rule.verbs.clone());
            let resources = rule.resources.clone().unwrap();
            resources.into_iter().flat_map(move |resource| {
                let (group, verbs) = (group.clone(), verbs.clone());
                verbs.into_iter().map(move |verb| format!("{verb} {group}/{resource}"))
            })
        })
        .collect();
    // Kinds that this server has no definition of are asked for; that they are not there is the answer.
    let requests = server.requests();
    let absent = |right: &str| {
        let (_, kind) = right.rsplit_once('/').unwrap();
        requests.iter().any(|r| r.code == 404 && r.resource == kind && ["list", "watch"].contains(&&*r.verb))
    };
    // Peers are written when somebody asks for it (`causeway peer add`).
    let asked_for = |right: &str| right.ends_with(" kilo.squat.ai/peers");
    let unused: Vec<&String> = allowed
        .iter()
        .filter(|right| !said.contains(*right) && !absent(right) && !asked_for(right))
        .collect();
    assert!(unused.is_empty(), "nobody uses {unused:?}; used: {said:?}");
    assert!(server.violations().is_empty(), "{:?}", lines(&server.violations()));
}

/// What only shows beside other services is said of the Service, once, and again when it is something else.
#[tokio::test]
async fn what_services_ask_for_wrongly_is_said_beside_them() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.apply_json(node("a", &["10.1.0.0/24"]));
    let service = |name: &str, vip: &str, external: &[&str], labels: Value| {
        server.apply_json(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "demo", "labels": labels},
            "spec": {"clusterIP": vip, "clusterIPs": [vip], "externalIPs": external, "ports": [{"port": 80}]},
        }))
    };
    service("first", "10.101.0.1", &["192.0.2.7"], json!({}));
    service("second", "10.101.0.2", &["192.0.2.7"], json!({}));
    service("third", "10.1.200.1", &[], json!({}));
    service("well", "10.101.0.4", &["192.0.2.8"], json!({}));
    server.apply_json(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "well-1", "namespace": "demo", "labels": {"kubernetes.io/service-name": "well"}},
        "endpoints": [{"addresses": ["10.1.0.9"], "hints": {"forZones": [{"name": "mars"}]}}],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    }));
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    let said = || -> BTreeSet<(String, String)> {
        let events = server.list("events.events.k8s.io");
        let of = |event: &Value| {
            assert_eq!(
                (&event["regarding"]["kind"], &event["type"]),
                (&json!("Service"), &json!("Warning")),
                "{event}"
            );
            let service = event["regarding"]["name"].as_str().unwrap();
            (service.to_string(), event["reason"].as_str().unwrap().to_string())
        };
        let said: BTreeSet<_> = events.iter().map(of).collect();
        assert_eq!(said.len(), events.len(), "each once: {events:?}");
        said
    };
    let all = |expected: &[(&str, &str)]| {
        let expected: BTreeSet<_> =
            expected.iter().map(|(name, reason)| (name.to_string(), reason.to_string())).collect();
        said() == expected
    };
    let first = [("second", "AddressTaken"), ("third", "AddressOfPods"), ("well", "HintsForNoZone")];
    eventually("what is wrong", || all(&first)).await;
    let taken = "service aws/demo/second asks for 192.0.2.7 port 80/TCP, which service aws/demo/first has, and is not \
                 served there: change one of them";
    assert!(events(&server).contains(&("AddressTaken".into(), taken.into())), "{:?}", events(&server));
    let wrong = |name: &'static str| {
        move |status: &wire::local::ControllerStatus| {
            status.complaints.iter().any(|c| c.object == format!("service demo/{name}"))
        }
    };

    // Others change, and it is as wrong as before; and what is put right is no complaint any more.
    service("third", "10.1.200.1", &[], json!({"changed": "true"}));
    service("second", "10.101.0.2", &["192.0.2.9"], json!({}));
    controller.until("an end of it", |status| !wrong("second")(status)).await;
    assert!(wrong("third")(&controller.status().await.unwrap()));
    // One that is new is said, and nothing twice.
    service("well", "10.101.0.4", &["192.0.2.9"], json!({}));
    let more = [&first[..], &[("well", "AddressTaken")]].concat();
    eventually("what is wrong now", || all(&more)).await;
    assert!(server.violations().is_empty(), "{:?}", lines(&server.violations()));
}

/// So are peers that claim what others have.
#[tokio::test]
async fn what_peers_claim_twice_is_said_beside_them() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    crate::common::with_definitions(&server);
    server.apply_json(node("a", &["10.1.0.0/24"]));
    let peer = |name: &str, key: u8, ip: &str, gateway: &str| {
        server.apply_json(json!({
            "apiVersion": "kilo.squat.ai/v1alpha1", "kind": "Peer",
            "metadata": {"name": name, "annotations": {"causeway.io/gateway": gateway}},
            "spec": {"publicKey": model::PublicKey([key; 32]).to_string(), "allowedIPs": [ip]},
        }))
    };
    let uid = peer("bob", 2, "10.254.1.1/32", "a")["metadata"]["uid"].clone();
    peer("alice", 1, "10.254.1.1/32", "a");
    peer("carol", 1, "10.254.1.3/32", "a");
    peer("dave", 4, "10.254.1.4/32", "nowhere");
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    let said = || -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let events = server.list("events.events.k8s.io");
        let of_peers = events.iter().filter(|event| event["regarding"]["kind"] == "Peer");
        let mut all: Vec<_> =
            of_peers.map(|event| (text(&event["regarding"]["name"]), text(&event["reason"]))).collect();
        all.sort();
        all
    };
    let is = |expected: &[(&str, &str)]| {
        said() == expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>()
    };
    let first = [("bob", "AddressTaken"), ("carol", "KeyTaken"), ("dave", "GatewayMissing")];
    eventually("what is wrong", || is(&first)).await;
    let taken = "peer aws/bob's range 10.254.1.1/32 overlaps peer aws/alice's and is left out: the first by name has it";
    assert!(events(&server).contains(&("AddressTaken".into(), taken.into())), "{:?}", events(&server));
    let of_bob =
        server.list("events.events.k8s.io").into_iter().find(|event| event["regarding"]["name"] == "bob");
    let of_bob = of_bob.unwrap();
    assert_eq!(
        (&of_bob["regarding"]["uid"], &of_bob["type"]),
        (&uid, &json!("Warning")),
        "kubectl describe finds it"
    );

    // Others change, and it is as wrong as before; what is put right is no complaint any more; what is new is said.
    peer("bob", 2, "10.254.1.2/32", "a");
    peer("eve", 5, "10.1.0.7/32", "a");
    peer("frank", 6, "10.254.1.3/32", "a");
    peer("grace", 7, "10.254.1.2/32", "a");
    let wrong = |status: &wire::local::ControllerStatus, name: &str| {
        status.complaints.iter().any(|complaint| complaint.object == format!("peer {name}"))
    };
    controller.until("it is put right", |status| !wrong(status, "bob") && wrong(status, "grace")).await;
    let status = controller.status().await.unwrap();
    assert!(wrong(&status, "carol") && wrong(&status, "dave") && !wrong(&status, "frank"), "{status:?}");
    let grace = |list: &[(String, String)]| list.iter().any(|(name, _)| name == "grace");
    eventually("it is said", || grace(&said())).await;
    let told = said();
    let once: BTreeSet<_> = told.iter().collect();
    assert_eq!(once.len(), told.len(), "each once: {told:?}");
    assert!(server.violations().is_empty(), "{:?}", lines(&server.violations()));
}
