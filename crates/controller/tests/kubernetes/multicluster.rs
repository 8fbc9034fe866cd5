//! The rules of the Multi-Cluster Services API between two clusters, each with its own API server: what the conformance suite
//! of KEP-1645 asks for, but for the packets.

use std::path::Path;

use crate::common::{LONG, Replica, cluster, eventually, lines, server, with_definitions};
use apiserver::Server;
use model::{Cluster, ClusterId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::local::{LinkJoin, MulticlusterStatus, Token};

const IMPORTS: &str = "serviceimports.multicluster.x-k8s.io";
const EXPORTS: &str = "serviceexports.multicluster.x-k8s.io";
const SLICES: &str = "endpointslices.discovery.k8s.io";

/// Two linked clusters.
struct Clusters {
    servers: [Server; 2],
    controllers: [Replica; 2],
    _dir: TempDir,
}

fn gcp() -> Cluster {
    Cluster {
        name: "gcp".parse().unwrap(),
        id: ClusterId::new(2).unwrap(),
        pod_cidrs: vec!["10.2.0.0/16".parse().unwrap(), "fd00:2::/48".parse().unwrap()],
        ..aws()
    }
}

fn aws() -> Cluster {
    let ranges = ["243.0.0.0/16", "fd43::/112"].map(|range| range.parse().unwrap());
    Cluster { clusterset_cidrs: ranges.into(), ..cluster() }
}

fn namespace(server: &Server, name: &str) {
    server.apply_json(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
}

impl Clusters {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let servers = [server(), server()];
        for server in &servers {
            with_definitions(server);
            namespace(server, "demo");
        }
        let start = |n: usize, cluster| {
            Replica::start_as(&dir.path().join(n.to_string()), &servers[n].url(), cluster)
        };
        let controllers = [start(0, aws()), start(1, gcp())];
        for controller in &controllers {
            controller.until_it_leads().await;
        }
        let clusters = Self { servers, controllers, _dir: dir };
        clusters.link().await;
        clusters
    }

    async fn link(&self) {
        let socket = |n: usize| self.controllers[n].dir.join("run/controller.sock");
        let token: Token = asked(&socket(0), "/v1/tokens/link", &()).await;
        let join = LinkJoin { token: token.token };
        let _: Value = asked(&socket(1), "/v1/links", &join).await;
        for controller in &self.controllers {
            controller
                .until("the link", |status| status.links.iter().any(|link| link.stream.connected))
                .await;
        }
    }

    fn import(&self, n: usize, name: &str) -> Option<Value> {
        self.servers[n].get(IMPORTS, &format!("demo/{name}"))
    }

    /// Waits until the import of every cluster is so.
    async fn imports(&self, what: &str, name: &str, so: impl Fn(&Value) -> bool) {
        for n in 0..2 {
            eventually(&format!("{what} in {n}"), || self.import(n, name).is_some_and(|import| so(&import)))
                .await;
        }
    }

    async fn no_import(&self, name: &str) {
        eventually("the end of an import", || (0..2).all(|n| self.import(n, name).is_none())).await;
    }

    /// Waits until an export's condition has this status and reason.
    async fn condition(&self, n: usize, name: &str, kind: &str, status: &str, reason: &str) {
        let what = format!("{kind}={status} {reason} of {name} in {n}");
        eventually(&what, || {
            let export = self.servers[n].get(EXPORTS, &format!("demo/{name}"));
            let conditions = export.as_ref().and_then(|export| export["status"]["conditions"].as_array());
            conditions.into_iter().flatten().any(|c| {
                (&c["type"], &c["status"], &c["reason"]) == (&json!(kind), &json!(status), &json!(reason))
            })
        })
        .await;
    }

    /// That nothing was done which the installer does not allow.
    fn done(self) {
        for server in &self.servers {
            assert!(server.violations().is_empty(), "{:?}", lines(&server.violations()));
        }
    }
}

/// What a controller answers once it leads: it says so before it speaks with others.
async fn asked<T: DeserializeOwned>(socket: &Path, path: &str, question: &impl Serialize) -> T {
    let waiting = async {
        loop {
            match serve::client::post(socket, path, question).await {
                Ok(answer) => return answer,
                Err(error) if error.to_string().contains("stands by") => {}
                Err(error) => panic!("{path}: {error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("it leads at last")
}

fn service(server: &Server, name: &str, spec: Value) {
    let mut all = json!({
        "selector": {"app": "hello"}, "clusterIP": "10.101.0.7", "clusterIPs": ["10.101.0.7"], "ipFamilies": ["IPv4"],
        "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [
            {"name": "tcp", "port": 42, "protocol": "TCP", "appProtocol": "h2c"},
            {"name": "udp", "port": 42, "protocol": "UDP"},
        ],
    });
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    server.apply_json(json!({
        "apiVersion": "v1", "kind": "Service", "spec": all,
        "metadata": {
            "name": name, "namespace": "demo", "labels": {"not": "this"}, "annotations": {"nor": "this"},
        },
    }));
}

fn export(server: &Server, name: &str, spec: Value) {
    server.apply_json(json!({
        "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport", "spec": spec,
        "metadata": {"name": name, "namespace": "demo", "labels": {"not": "this"}},
    }));
}

fn unexport(server: &Server, name: &str) {
    assert!(server.delete(EXPORTS, &format!("demo/{name}")), "{name} was exported");
}

fn pod(server: &Server, name: &str, ip: &str) {
    server.apply_json(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "demo", "labels": {"app": "hello"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "a"},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }));
}

fn sources(import: &Value) -> Vec<&str> {
    let clusters = import["status"]["clusters"].as_array();
    clusters.into_iter().flatten().filter_map(|source| source["cluster"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_exported_imported_and_not_any_more() {
    let clusters = Clusters::start().await;
    let [here, there] = &clusters.servers;
    pod(there, "hello-0", "10.2.0.5");
    let spec = json!({
        "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
        "internalTrafficPolicy": "Local", "trafficDistribution": "PreferClose",
    });
    service(there, "hello", spec);
    service(here, "hello", json!({"ports": [{"port": 1}]}));
    let marks = json!({"exportedLabels": {"l": "1"}, "exportedAnnotations": {"a": "2"}});
    export(there, "hello", marks);
    clusters.imports("an import", "hello", |import| sources(import) == ["gcp"]).await;
    clusters.condition(1, "hello", "Valid", "True", "Valid").await;
    clusters.condition(1, "hello", "Ready", "True", "Exported").await;
    clusters.condition(1, "hello", "Conflict", "False", "NoConflicts").await;
    for n in 0..2 {
        let import = clusters.import(n, "hello").unwrap();
        let mut spec = import["spec"].clone();
        let ips = spec.as_object_mut().unwrap().remove("ips").unwrap();
        assert!(
            matches!(&ips.as_array().unwrap()[..], [ip] if ip.as_str().unwrap().starts_with("243.0.")),
            "{ips}"
        );
        let expected = json!({
            "type": "ClusterSetIP", "ipFamilies": ["IPv4"],
            "ports": [
                {"name": "tcp", "port": 42, "protocol": "TCP", "appProtocol": "h2c"},
                {"name": "udp", "port": 42, "protocol": "UDP"},
            ],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
            "internalTrafficPolicy": "Local", "trafficDistribution": "PreferClose",
        });
        assert_eq!(spec, expected);
        let metadata = &import["metadata"];
        assert_eq!((&metadata["labels"], &metadata["annotations"]), (&json!({"l": "1"}), &json!({"a": "2"})));
        assert_eq!(import["status"]["conditions"][0]["reason"], "Ready");
    }
    // Where it is only imported, the endpoints come from there.
    let derived = |server: &Server| {
        let slices = server.list(SLICES).into_iter();
        let of_import = |slice: &Value| {
            slice["metadata"]["labels"]["multicluster.kubernetes.io/service-name"] == json!("hello")
        };
        slices.filter(of_import).collect::<Vec<_>>()
    };
    for server in [here, there] {
        eventually("a derived slice", || !derived(server).is_empty()).await;
        let slice = &derived(server)[0];
        assert_eq!(slice["metadata"]["labels"]["multicluster.kubernetes.io/source-cluster"], "gcp");
        assert_ne!(
            slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
            "endpointslice-controller.k8s.io"
        );
        assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "ServiceImport");
        assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.2.0.5"]));
    }
    pod(there, "hello-1", "10.2.0.6");
    let all = |server: &Server| {
        derived(server).iter().map(|s| s["endpoints"].as_array().unwrap().len()).sum::<usize>()
    };
    eventually("the other endpoint", || all(here) == 2).await;

    // Everything rests.
    clusters.servers.iter().for_each(Server::clear_requests);
    namespace(here, "other");
    clusters.controllers[0].until("the namespace", |_| true).await;
    let said: Vec<_> =
        crate::common::writes(here).into_iter().filter(|r| r.group.contains("multicluster")).collect();
    assert!(said.is_empty(), "{:?}", lines(&said));

    unexport(there, "hello");
    clusters.no_import("hello").await;
    eventually("no derived slice", || derived(here).is_empty() && derived(there).is_empty()).await;
    clusters.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_differ() {
    let clusters = Clusters::start().await;
    let [here, there] = &clusters.servers;
    service(here, "ports", json!({"ports": [{"name": "a", "port": 42}, {"name": "b", "port": 43}]}));
    service(there, "ports", json!({"ports": [{"name": "a", "port": 44}, {"name": "c", "port": 45}]}));
    export(here, "ports", json!({}));
    clusters.imports("the first", "ports", |import| sources(import) == ["aws"]).await;
    let ip = clusters.import(1, "ports").unwrap()["spec"]["ips"].clone();
    export(there, "ports", json!({}));
    clusters.imports("both", "ports", |import| sources(import) == ["aws", "gcp"]).await;
    for n in 0..2 {
        clusters.condition(n, "ports", "Conflict", "True", "PortConflict").await;
        let import = clusters.import(n, "ports").unwrap();
        let ports: Vec<_> = import["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| (p["name"].clone(), p["port"].clone()))
            .collect();
        assert_eq!(ports, [("a", 42), ("b", 43), ("c", 45)].map(|(name, port)| (json!(name), json!(port))));
    }
    assert_eq!(clusters.import(1, "ports").unwrap()["spec"]["ips"], ip, "it stays");
    // One is left, and with it the import.
    unexport(there, "ports");
    clusters.imports("one left", "ports", |import| sources(import) == ["aws"]).await;
    clusters.condition(0, "ports", "Conflict", "False", "NoConflicts").await;
    assert_eq!(clusters.import(1, "ports").unwrap()["spec"]["ips"], ip);

    // Several things at once.
    service(here, "many", json!({}));
    let headless = json!({"clusterIP": "None", "clusterIPs": ["None"], "internalTrafficPolicy": "Local"});
    service(there, "many", headless.clone());
    export(here, "many", json!({"exportedLabels": {"l": "1"}}));
    clusters.imports("the first", "many", |import| sources(import) == ["aws"]).await;
    export(there, "many", json!({"exportedLabels": {"l": "2"}}));
    let reasons = "TypeConflict,LabelsConflict,InternalTrafficPolicyConflict";
    for n in 0..2 {
        clusters.condition(n, "many", "Conflict", "True", reasons).await;
        assert_eq!(clusters.import(n, "many").unwrap()["spec"]["type"], "ClusterSetIP");
    }

    // A headless one by itself.
    service(there, "headless", headless);
    export(there, "headless", json!({}));
    clusters.imports("headless", "headless", |import| sources(import) == ["gcp"]).await;
    let import = clusters.import(0, "headless").unwrap();
    assert_eq!((&import["spec"]["type"], &import["spec"]["ips"]), (&json!("Headless"), &Value::Null));
    unexport(there, "headless");
    clusters.no_import("headless").await;
    clusters.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_or_imported() {
    let clusters = Clusters::start().await;
    let [here, there] = &clusters.servers;
    export(there, "nothing", json!({}));
    clusters.condition(1, "nothing", "Valid", "False", "NoService").await;
    clusters.condition(1, "nothing", "Ready", "False", "Pending").await;
    there.apply_json(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "external", "namespace": "demo"},
        "spec": {"type": "ExternalName", "externalName": "example.org"},
    }));
    export(there, "external", json!({}));
    clusters.condition(1, "external", "Valid", "False", "InvalidServiceType").await;
    clusters.condition(1, "external", "Ready", "False", "Failed").await;
    // Somebody else's import is left alone.
    here.apply_json(json!({
        "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
        "metadata": {"name": "nothing", "namespace": "demo"},
        "spec": {"type": "Headless", "ports": [{"port": 1}]},
    }));
    clusters.controllers[0]
        .until("the complaint", |status| status.complaints.iter().any(|c| c.reason == "ImportNotOurs"))
        .await;
    service(there, "nothing", json!({}));
    clusters.condition(1, "nothing", "Valid", "True", "Valid").await;
    eventually("its own import", || clusters.import(1, "nothing").is_some()).await;
    assert!([0, 1].iter().all(|n| clusters.import(*n, "external").is_none()));
    let socket = clusters.controllers[0].dir.join("run/controller.sock");
    let imported = async || {
        let status: MulticlusterStatus = serve::client::get(&socket, "/v1/services").await.unwrap();
        status
            .imports
            .iter()
            .any(|import| import.service.name == "nothing" && import.clusters[0].as_str() == "gcp")
    };
    let waiting = async {
        while !imported().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("clients reach it all the same");
    assert_eq!(clusters.import(0, "nothing").unwrap()["spec"]["ports"][0]["port"], 1);
    assert!(here.delete(IMPORTS, "demo/nothing"));
    clusters.imports("ours", "nothing", |import| sources(import) == ["gcp"]).await;

    // A namespace comes and goes.
    for server in [here, there] {
        assert!(server.get("namespaces", "far").is_none());
    }
    namespace(there, "far");
    there.apply_json(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hello", "namespace": "far"},
        "spec": {"clusterIP": "10.101.0.8", "ports": [{"port": 80}]},
    }));
    there.apply_json(json!({
        "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport",
        "metadata": {"name": "hello", "namespace": "far"},
    }));
    eventually("the exporter's import", || there.get(IMPORTS, "far/hello").is_some()).await;
    assert!(here.get(IMPORTS, "far/hello").is_none());
    namespace(here, "far");
    eventually("an import", || here.get(IMPORTS, "far/hello").is_some()).await;

    // What each is called.
    for (server, name) in [(here, "aws"), (there, "gcp")] {
        let property = |property: &str| {
            let found = server.get("clusterproperties.about.k8s.io", property);
            found.map(|found| found["spec"]["value"].clone())
        };
        eventually("its name", || property("cluster.clusterset.k8s.io") == Some(json!(name))).await;
        eventually("its clusterset", || property("clusterset.k8s.io") == Some(json!("causeway"))).await;
    }
    clusters.done();
}

/// A controller that takes over finds the addresses that its predecessor gave, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_agrees() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    with_definitions(&server);
    namespace(&server, "demo");
    let start = |name: &str| Replica::start_as(&dir.path().join(name), &server.url(), aws());
    let first = start("a");
    first.until_it_leads().await;
    for n in 0..20 {
        let name = format!("s{n}");
        service(&server, &name, json!({}));
        export(&server, &name, json!({}));
    }
    let ready = || {
        let imports = server.list(IMPORTS);
        imports.len() == 20
            && imports.iter().all(|import| import["status"]["conditions"][0]["status"] == "True")
    };
    eventually("all imports", ready).await;
    let ips = |server: &Server| {
        let mut ips: Vec<_> =
            server.list(IMPORTS).iter().map(|import| import["spec"]["ips"].to_string()).collect();
        ips.sort();
        ips
    };
    let before = ips(&server);
    assert!(before.windows(2).all(|pair| pair[0] != pair[1]), "{before:?}");
    tokio::task::spawn_blocking(|| first.stop()).await.unwrap();
    server.clear_requests();
    let second = start("b");
    second.until_it_leads().await;
    service(&server, "last", json!({}));
    export(&server, "last", json!({}));
    eventually("one more", || {
        server.get(IMPORTS, "demo/last").is_some_and(|import| !import["status"].is_null())
    })
    .await;
    let others: Vec<_> = crate::common::writes(&server)
        .into_iter()
        .filter(|request| request.group.contains("multicluster") && !request.name.contains("last"))
        .collect();
    assert!(others.is_empty(), "{:?}", lines(&others));
    assert!(server.violations().is_empty(), "{:?}", lines(&server.violations()));
    let mut after = ips(&server);
    after.retain(|ip| before.contains(ip));
    assert_eq!(after, before);
}
