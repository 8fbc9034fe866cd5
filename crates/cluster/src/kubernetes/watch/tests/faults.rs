//! What goes wrong between us and the server: each is noticed, said if it lasts, and made good.

use std::time::Duration;

use apiserver::{Fault, Options, Server};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bench::{Bench, connect, hasty, lively};
use crate::Event;
use crate::index::tests::cluster;
use crate::kubernetes::watch::{WatchOptions, watch};
use crate::manifest::{Id, Kind};
use crate::multicluster::{Behind, Fact};

pub(super) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
    })
}

fn has(bench: &Bench, name: &str) -> bool {
    bench.world.services.keys().any(|key| key.name.name == name)
}

/// Waits until it is so, at the server: nothing tells of it.
async fn eventually(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "{what}: not in time");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A definition of a kind of the cluster's, or its namespaces', own.
pub(super) fn definition(group: &str, version: &str, kind: &str, scope: &str) -> Value {
    let singular = kind.to_lowercase();
    let plural =
        singular.strip_suffix('y').map_or_else(|| format!("{singular}s"), |stem| format!("{stem}ies"));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": scope,
            "names": {"plural": plural, "singular": singular, "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_in_pages_and_as_streams() {
    for streaming_lists in [false, true] {
        let server = Server::start(Options { streaming_lists, ..lively() });
        (0..250).for_each(|n| drop(server.apply_json(service(&format!("s{n}")))));
        let mut bench = Bench::over(server, WatchOptions { page: 100, ..hasty() }).await;
        bench.synced().await;
        assert_eq!(bench.world.services.len(), 250);
        assert_eq!(bench.asked("list", "services"), if streaming_lists { 0 } else { 3 });
        bench.apply_json(service("later"));
        bench.until("a change after the list", |bench| has(bench, "later")).await;
    }
}

/// `RequestWatchProgress is disabled`: what a server says whose etcd is too old to send lists as streams.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_at_streams_is_asked_for_pages() {
    let server = Server::start(Options { streaming_lists: true, ..lively() });
    server.faults().add(Fault::server_error(500).verb("watch").resource("services").times(1));
    server.apply_json(service("there"));
    let mut bench = Bench::over(server, hasty()).await;
    bench.synced().await;
    assert!(has(&bench, "there"));
    assert_eq!(bench.asked("list", "services"), 1);
    bench.apply_json(service("later"));
    bench.until("a change after the list", |bench| has(bench, "later")).await;
    // And from then on.
    bench.server.expire_watches();
    eventually("another list", || bench.asked("list", "services") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_expires_half_way_begins_anew() {
    let server = Server::start(lively());
    (0..30).for_each(|n| drop(server.apply_json(service(&format!("s{n}")))));
    let mut bench = Bench::over(server, WatchOptions { page: 10, ..hasty() }).await;
    // Every page after the first, until it is enough.
    bench.server.faults().add(Fault::gone().verb("list").resource("services").times(3));
    bench.synced().await;
    assert_eq!(bench.world.services.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_while_the_past_was_forgotten_is_gone() {
    let mut bench = Bench::start().await;
    bench.apply_json(service("stays"));
    bench.apply_json(service("goes"));
    bench.synced().await;
    bench.until("both", |bench| has(bench, "stays") && has(bench, "goes")).await;
    let lists = bench.asked("list", "services");
    bench.server.stop();
    bench.server.delete("services", "demo/goes");
    bench.apply_json(service("comes"));
    bench.server.forget_history();
    bench.server.restart().unwrap();
    bench.until("a list anew", |bench| !has(bench, "goes") && has(bench, "comes")).await;
    assert!(has(&bench, "stays"));
    assert!(bench.asked("list", "services") > lists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_told_410_lists_again() {
    let mut bench = Bench::start().await;
    bench.synced().await;
    eventually("watches", || bench.server.watches().len() == 6).await;
    bench.server.expire_watches();
    bench.apply_json(service("later"));
    bench.until("a change", |bench| has(bench, "later")).await;
    // A watch that never works is tried ever more rarely, and no less often than that.
    bench.server.faults().add(Fault::gone().verb("watch").resource("services").always());
    bench.server.cut_watches();
    bench.apply_json(service("last"));
    bench.until("a change seen by lists alone", |bench| has(bench, "last")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_watch_goes_on_where_it_was() {
    let mut bench = Bench::start().await;
    bench.synced().await;
    let lists = bench.asked("list", "services");
    for n in 0..2 {
        bench.server.cut_watches();
        let name = format!("s{n}");
        bench.apply_json(service(&name));
        bench.until(&name, |bench| has(bench, &name)).await;
    }
    assert_eq!(bench.asked("list", "services"), lists);
    assert_eq!(bench.notes, [""; 0], "what passes by itself is not worth a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_watch_is_noticed() {
    let mut bench = Bench::start().await;
    bench.synced().await;
    bench.server.stall_watches(true);
    let before = bench.asked("watch", "services");
    eventually("another watch", || bench.asked("watch", "services") >= before + 2).await;
    bench.apply_json(service("later"));
    bench.server.stall_watches(false);
    bench.until("what was held back", |bench| has(bench, "later")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_patience_gets_it() {
    let server = Server::start(lively());
    server.apply_json(service("a"));
    server.faults().add(Fault::too_many_requests(1).verb("list").resource("services"));
    let mut bench = Bench::over(server, hasty()).await;
    bench.synced().await;
    assert!(has(&bench, "a"));
    let requests = bench.server.requests();
    let mut lists = requests.iter().filter(|r| r.verb == "list" && r.resource == "services");
    let (first, second) = (lists.next().unwrap(), lists.next().unwrap());
    assert_eq!(first.code, 429);
    assert!(second.at - first.at >= Duration::from_secs(1), "{:?}", second.at - first.at);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_server_are_said_while_they_last() {
    let server = Server::start(lively());
    server.apply_json(service("a"));
    server.faults().add(Fault::server_error(503).resource("services").always());
    server.faults().add(Fault::server_error(500).resource("pods").always());
    let mut bench = Bench::over(server, hasty()).await;
    bench.until("notes", |bench| bench.notes.len() == 2).await;
    assert!(!bench.synced);
    let notes = bench.notes.join("\n");
    assert!(
        notes.contains("answers 503 since ") && notes.contains("services: the server is currently"),
        "{notes}"
    );
    assert!(notes.contains("answers 500 since ") && notes.contains("pods"), "{notes}");
    bench.server.faults().clear();
    bench.synced().await;
    bench.until("no notes", |bench| bench.notes.is_empty()).await;
    assert!(has(&bench, "a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_list_holds_up_nobody_else() {
    let server = Server::start(lively());
    server.apply_json(service("a"));
    server.faults().add(Fault::slow(Duration::from_secs(2)).verb("list").resource("networkpolicies"));
    let mut bench = Bench::over(server, hasty()).await;
    bench.until("the others", |bench| has(bench, "a")).await;
    assert!(!bench.synced, "not everything is there yet");
    bench.synced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_asked_again() {
    let server = Server::start(lively());
    server.apply_json(service("a"));
    server.faults().add(Fault::hang().verb("list").resource("services"));
    server.faults().add(Fault::lost_response().verb("list").resource("pods"));
    let mut bench = Bench::over(server, WatchOptions { slow: Duration::from_millis(500), ..hasty() }).await;
    bench.synced().await;
    assert!(has(&bench, "a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_without_a_definition_are_waited_for_by_nobody() {
    let mut bench = Bench::start().await;
    bench.synced().await;
    let group = "multicluster.x-k8s.io";
    bench.apply_json(definition(group, "v1alpha1", "ServiceExport", "Namespaced"));
    bench.apply_json(json!({
        "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport",
        "metadata": {"name": "echo", "namespace": "demo"},
    }));
    let id = Id::new(Kind::ServiceExport, "demo", "echo");
    let export = |bench: &Bench| match bench.facts.get(&id) {
        Some(Fact::Export { export, .. }) => export.as_ref().map(|export| export.behind),
        _ => None,
    };
    bench.until("an export", |bench| export(bench) == Some(Behind::Nothing)).await;
    bench.server.delete("customresourcedefinitions.apiextensions.k8s.io", &format!("serviceexports.{group}"));
    bench.until("none", |bench| export(bench).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_is_said_with_its_verb() {
    let server = Server::start(lively());
    server.apply_json(service("a"));
    let rule = |resources: &[&str]| json!([{"apiGroups": ["*"], "resources": resources, "verbs": ["list", "watch"]}]);
    let most = [
        "nodes",
        "namespaces",
        "services",
        "endpointslices",
        "networkpolicies",
        "meshnodes",
        "serviceexports",
    ];
    server.enforce(None, &rule(&most));
    let mut bench = Bench::over(server, hasty()).await;
    bench.until("a note", |bench| bench.notes.iter().any(|note| note.contains("watch pods"))).await;
    assert!(bench.notes[0].contains("the API server forbids since "), "{:?}", bench.notes);
    assert!(!bench.synced, "without pods nothing is whole");
    // Kinds that only some clusters have need not be allowed.
    bench.server.enforce(None, &rule(&["pods"]));
    bench.synced().await;
    bench.until("another note", |bench| bench.notes.iter().all(|note| !note.contains("watch pods"))).await;
    assert!(bench.notes[0].contains("serviceimports"), "{:?}", bench.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_said_and_made_good() {
    let mut bench = Bench::start().await;
    bench.apply_json(service("before"));
    bench.synced().await;
    bench.until("the first", |bench| has(bench, "before")).await;
    bench.server.stop();
    bench.until("a note", |bench| !bench.notes.is_empty()).await;
    assert!(bench.notes[0].starts_with("the API server is out of reach since "), "{:?}", bench.notes);
    assert!(has(&bench, "before"), "what was read stays in force");
    bench.server.delete("services", "demo/before");
    bench.apply_json(service("after"));
    bench.server.restart().unwrap();
    bench.until("what changed meanwhile", |bench| has(bench, "after") && !has(bench, "before")).await;
    bench.until("no notes", |bench| bench.notes.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_sleeps_misses_nothing_and_is_not_flooded() {
    let mut bench = Bench::start().await;
    bench.synced().await;
    for round in 0..40 {
        for n in 0..100 {
            let mut service = service(&format!("s{n}"));
            service["spec"]["ports"][0]["port"] = json!(1000 + round);
            bench.apply_json(service);
        }
    }
    bench.apply_json(service("last"));
    // Nobody listens, and the watches get to the end all the same: what waits is kept once an object.
    let before = bench.events;
    bench
        .until("the last", |bench| {
            has(bench, "last")
                && bench.world.services.values().filter(|s| s.ports[0].port.get() == 1039).count() == 100
        })
        .await;
    assert!(bench.events - before < 2000, "{} events", bench.events - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_receiver_ends_it() {
    let server = Server::start(lively());
    let mut source = watch(connect(&server).await, &cluster(), hasty());
    while source.recv().await.expect("it does not end by itself") != Event::Synced {}
    drop(source);
    eventually("no watches without a listener", || server.watches().is_empty()).await;
}
