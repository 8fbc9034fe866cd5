//! An API server, a watch of it, and what is known from it.

use std::collections::BTreeMap;
use std::time::Duration;

use apiserver::{Options, Server};
use kube::Client;
use model::{Change, World};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::super::{WatchOptions, watch};
use crate::index::tests::{cluster, whole_line};
use crate::index::{Endpoints, Index};
use crate::kubernetes::client::{ClientOptions, client};
use crate::manifest::{Id, Kind, Manifest};
use crate::multicluster::Fact;
use crate::{Complaint, Event};

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Bench {
    pub(super) server: Server,
    /// What a source that is a folder would say of the same objects.
    expected: Index,
    pub(super) expected_world: World,
    pub(super) source: mpsc::Receiver<Event>,
    pub(super) world: World,
    pub(super) synced: bool,
    pub(super) complaints: BTreeMap<Id, Vec<Complaint>>,
    pub(super) notes: Vec<String>,
    pub(super) facts: BTreeMap<Id, Fact>,
    /// How many events there were.
    pub(super) events: usize,
}

pub(super) async fn connect(server: &Server) -> Client {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    client(&ClientOptions { kubeconfig: Some(path), ..ClientOptions::default() }).await.unwrap()
}

/// Patient enough for a server that is a thread away.
pub(super) fn hasty() -> WatchOptions {
    WatchOptions {
        quiet: Duration::from_millis(800),
        slow: Duration::from_secs(5),
        retry: Duration::from_millis(20),
        retry_at_most: Duration::from_millis(200),
        absent: Duration::from_millis(300),
        ..WatchOptions::default()
    }
}

/// A server that says often that it is there, and makes slices.
pub(super) fn lively() -> Options {
    Options { bookmarks: Duration::from_millis(200), endpoint_slices: true, ..Options::default() }
}

impl Bench {
    /// An empty cluster, watched.
    pub(super) async fn start() -> Self {
        Self::over(Server::start(lively()), hasty()).await
    }

    /// A watch of what is there.
    pub(super) async fn over(server: Server, options: WatchOptions) -> Self {
        let source = watch(connect(&server).await, &cluster(), options);
        Self {
            server,
            expected: Index::new(cluster(), Endpoints::FromSelectors),
            expected_world: World::default(),
            source,
            world: World::default(),
            synced: false,
            complaints: BTreeMap::new(),
            notes: Vec::new(),
            facts: BTreeMap::new(),
            events: 0,
        }
    }

    pub(super) fn apply(&mut self, manifest: Manifest) {
        for change in self.expected.apply(&manifest) {
            self.expected_world.apply(change);
        }
        let mut value = serde_json::to_value(&manifest).unwrap();
        value["apiVersion"] = json!(manifest.kind().api_version());
        value["kind"] = json!(manifest.kind().as_str());
        // A real server says which families a service has by its addresses, where it does not say so itself.
        if manifest.kind() == Kind::Service && value["spec"]["ipFamilies"].is_null() {
            let family =
                |ip: &Value| if ip.as_str().is_some_and(|ip| ip.contains(':')) { "IPv6" } else { "IPv4" };
            let ips = value["spec"]["clusterIPs"].as_array().filter(|ips| ips.len() < 2);
            value["spec"]["ipFamilies"] =
                ips.map_or(json!(["IPv4", "IPv6"]), |ips| ips.iter().map(family).collect());
        }
        self.server.apply_json(value);
    }

    pub(super) fn delete(&mut self, id: &Id) {
        for change in self.expected.delete(id) {
            self.expected_world.apply(change);
        }
        let key = match id.namespace.as_str() {
            "" => id.name.clone(),
            namespace => format!("{namespace}/{}", id.name),
        };
        let group =
            id.kind.api_version().split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
        let deleted = self.server.delete(&format!("{}{group}", id.kind.plural()), &key);
        assert!(deleted, "{id} is there");
    }

    pub(super) fn apply_json(&self, value: Value) {
        self.server.apply_json(value);
    }

    /// Takes an event in.
    pub(super) fn take_in(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::Changes(changes) => changes.into_iter().for_each(|change| {
                self.world.apply(change);
            }),
            Event::Synced => assert!(!std::mem::replace(&mut self.synced, true), "synced twice"),
            Event::Facts(facts) => self.facts.extend(facts.into_iter().map(|fact| (fact.id(), fact))),
            Event::Problem(problem) => panic!("{problem}"),
            Event::Notes(notes) => self.notes = notes,
            Event::Object { id, complaints } if complaints.is_empty() => drop(self.complaints.remove(&id)),
            Event::Object { id, complaints } => drop(self.complaints.insert(id, complaints)),
        }
    }

    /// Takes events in until it is so.
    pub(super) async fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so(self) {
            match timeout_at(end, self.source.recv()).await {
                Ok(event) => self.take_in(event.expect("a watch does not end")),
                Err(_) => panic!(
                    "{what}: not in {PATIENCE:?}; synced {}, notes {:#?}, complaints {:#?}, world {:#?}, requests {:#?}",
                    self.synced,
                    self.notes,
                    self.complaints,
                    self.world,
                    self.server.requests().iter().map(|r| r.to_string()).collect::<Vec<_>>()
                ),
            }
        }
    }

    pub(super) async fn synced(&mut self) {
        self.until("being synced", |bench| bench.synced).await;
    }

    /// Waits until what is known is what a folder of the same objects would say.
    pub(super) async fn settled(&mut self, what: &str) {
        let expected = self.expected_world.clone();
        let end = Instant::now() + PATIENCE;
        while self.policed(&expected) != expected || !self.synced {
            match timeout_at(end, self.source.recv()).await {
                Ok(event) => self.take_in(event.expect("a watch does not end")),
                Err(_) => pretty(what, &self.world, &expected),
            }
        }
    }

    /// What is known, without namespaces that a server has of its own.
    fn policed(&self, expected: &World) -> World {
        let mut world = self.world.clone();
        world.namespaces.retain(|name, _| expected.namespaces.contains_key(name));
        world
    }

    /// How many requests there were with this verb for this resource.
    pub(super) fn asked(&self, verb: &str, resource: &str) -> usize {
        let requests = self.server.requests();
        requests.iter().filter(|request| request.verb == verb && request.resource == resource).count()
    }

    /// The reasons of what is wrong, by object.
    pub(super) fn reasons(&self) -> BTreeMap<String, Vec<&'static str>> {
        let reasons =
            |complaints: &Vec<Complaint>| complaints.iter().map(|complaint| complaint.reason).collect();
        self.complaints.iter().map(|(id, complaints)| (id.to_string(), reasons(complaints))).collect()
    }
}

fn pretty(what: &str, found: &World, expected: &World) -> ! {
    let lines =
        |world: &World| world.objects().map(|object| whole_line(&Change::Upsert(object))).collect::<Vec<_>>();
    panic!("{what}: not in {PATIENCE:?}\nfound {:#?}\nexpected {:#?}", lines(found), lines(expected));
}
