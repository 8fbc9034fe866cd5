//! Steps until nothing is left to do, against a server that does what it is told.

use cluster::multicluster::{Behind, print_of};
use engine::mcs::Rules;
use model::{Endpoint, EndpointKey, EndpointPort, Export, Port, Protocol, Service, ServicePort, Terms};
use serde_json::json;

use super::*;

fn name() -> ObjectName {
    ObjectName::new("demo", "echo").unwrap()
}

fn key(cluster: &str) -> ServiceKey {
    ServiceKey { cluster: cluster.parse().unwrap(), name: name() }
}

fn service(cluster: &str) -> Service {
    let port = ServicePort::new("http", Protocol::Tcp, Port::new(80).unwrap());
    let terms = Terms { ipv6: vec![false], ..Terms::default() };
    Service { export: Some(Export { created: 1, terms }), ..Service::new(key(cluster), vec![], vec![port]) }
}

fn endpoint(cluster: &str, n: u8) -> Endpoint {
    Endpoint::new(
        EndpointKey { service: key(cluster), name: format!("p{n}") },
        vec![[10, 1, 0, n].into()],
        vec![EndpointPort::new("http", Protocol::Tcp, Port::new(8080).unwrap())],
    )
}

/// A server and what we write to it.
struct Bench {
    mcs: Mcs,
    writes: Writes,
    version: u64,
    told: Vec<Object>,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        let ranges = vec!["243.0.0.0/24".parse().unwrap()];
        let mut mcs = Mcs::new("aws".parse().unwrap(), ranges, Rules::default(), |_| Default::default());
        mcs.handle_namespace("demo", true);
        let (told, now) = (Vec::new(), Duration::from_secs(1));
        Self { mcs, writes: Writes::new(true, BTreeMap::new()), version: 0, told, now }
    }

    fn service(&mut self, service: Service) {
        self.mcs.handle_service(&service);
        self.derive();
    }

    fn gone(&mut self, cluster: &str) {
        self.mcs.handle_service_gone(&key(cluster));
        self.derive();
    }

    fn derive(&mut self) {
        for outcome in self.mcs.poll() {
            self.writes.handle_outcome(&outcome);
        }
    }

    fn endpoint(&mut self, change: Change) {
        self.writes.handle_change(&change, self.now);
    }

    fn import(&self) -> Imported {
        self.writes.imports[&name()].clone()
    }

    /// Does everything there is to do. Returns what was done, in a word each.
    fn settle(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        if self.writes.asks_for_endpoints() {
            let told = self.told.clone();
            self.writes.handle_told(told.iter());
        }
        while let Some(step) = self.writes.poll(&self.mcs, self.now) {
            self.version += 1;
            let version = self.version;
            assert!(done.len() < 50, "it never ends: {done:?}");
            let held = self.writes.imports.get(&name()).cloned();
            let held = held.unwrap_or_else(|| Imported {
                uid: "u1".into(),
                version,
                ours: true,
                spec: json!({}),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                clusters: vec![],
                conditions: vec![],
            });
            let written = match &step {
                Step::Export { conditions, .. } => {
                    let words: Vec<_> =
                        conditions.iter().map(|c| format!("{}={}", c.kind, c.status)).collect();
                    done.push(format!("export {}", words.join(" ")));
                    Written::Export(version)
                }
                Step::Import(fields) => {
                    done.push("import".into());
                    let ImportFields { spec, labels, annotations, .. } = fields.clone();
                    Written::Import(Imported { version, spec, labels, annotations, ..held })
                }
                Step::ImportStatus { clusters, conditions, .. } => {
                    done.push(format!("status {}", clusters.join(" ")));
                    let (clusters, conditions) = (clusters.clone(), conditions.clone());
                    Written::Import(Imported { version, clusters, conditions, ..held })
                }
                Step::RemoveImport { uid, .. } => {
                    assert_eq!(uid, "u1");
                    done.push("- import".into());
                    Written::Removed
                }
                Step::Slice { fields, uid } => {
                    assert_eq!(uid, "u1");
                    let source = &fields.labels["multicluster.kubernetes.io/source-cluster"];
                    let count = fields.content["endpoints"].as_array().unwrap().len();
                    done.push(format!("slice {source} {count}"));
                    Written::Slice(DerivedSlice { version, import: "echo".into(), print: fields.print() })
                }
                Step::RemoveSlice { .. } => {
                    done.push("- slice".into());
                    Written::Removed
                }
                Step::Property { name, value } => {
                    done.push(format!("property {name} {value:?}"));
                    Written::Property(Property::Settled)
                }
            };
            self.writes.handle_done(&step, written, self.now);
        }
        done
    }

    fn fact(&mut self, fact: Fact) {
        self.writes.handle_fact(&fact);
    }
}

#[test]
fn an_import_comes_changes_and_goes() {
    let mut bench = Bench::new();
    bench.told.push(Object::Endpoint(endpoint("gcp", 1)));
    bench.service(service("gcp"));
    assert_eq!(bench.settle(), ["import", "status gcp", "slice gcp 1"]);
    let held = bench.import();
    assert_eq!(held.spec["type"], "ClusterSetIP");
    assert_eq!(held.spec["ips"].as_array().unwrap().len(), 1);
    assert_eq!(held.conditions[0].reason, "Ready");
    assert!(bench.settle().is_empty());

    // Endpoints in a crowd are one write.
    for n in 2..20 {
        bench.endpoint(Change::Upsert(Object::Endpoint(endpoint("gcp", n))));
    }
    assert!(bench.settle().is_empty(), "not yet");
    assert_eq!(bench.writes.deadline(), Some(bench.now + CROWD));
    bench.now += CROWD;
    assert_eq!(bench.settle(), ["slice gcp 19"]);
    bench.service(service("home"));
    assert_eq!(bench.settle(), ["status gcp home"], "it has no endpoint there");
    bench.gone("home");
    assert_eq!(bench.settle(), ["status gcp"]);
    bench.gone("gcp");
    assert_eq!(bench.settle(), ["- slice", "- import"]);
    assert!(bench.writes.endpoints.is_empty() && bench.writes.sources.is_empty());
}

#[test]
fn what_others_did_to_it() {
    let mut bench = Bench::new();
    bench.service(service("gcp"));
    bench.settle();
    // Somebody changed it: put right. Somebody added to it: theirs, after one look.
    bench.version += 1;
    let (ours, version) = (bench.import(), bench.version);
    bench.fact(Fact::Import {
        name: name(),
        import: Some(Imported { version, spec: json!({"type": "Headless"}), ..ours.clone() }),
    });
    assert_eq!(bench.settle(), ["import"]);
    bench.version += 1;
    let (mut theirs, version) = (bench.import(), bench.version);
    theirs.labels.insert("theirs".into(), "1".into());
    bench.fact(Fact::Import { name: name(), import: Some(Imported { version, ..theirs.clone() }) });
    let Some(step @ Step::Import(_)) = bench.writes.poll(&bench.mcs, bench.now) else { panic!("no look") };
    bench.writes.handle_done(&step, Written::Import(Imported { version, ..theirs }), bench.now);
    assert!(bench.settle().is_empty());
    // An old word is no news.
    bench.fact(Fact::Import { name: name(), import: Some(Imported { spec: json!({}), ..ours }) });
    assert!(bench.settle().is_empty());
    // Removed: made anew, with the same address.
    let ips = bench.import().spec["ips"].clone();
    bench.fact(Fact::Import { name: name(), import: None });
    assert_eq!(bench.settle()[0], "import");
    assert_eq!(bench.import().spec["ips"], ips);
}

#[test]
fn an_import_of_somebody_else_is_left_alone() {
    let mut bench = Bench::new();
    bench.service(service("gcp"));
    bench.settle();
    let mut theirs = bench.import();
    bench.gone("gcp");
    bench.settle();
    (theirs.ours, theirs.uid, theirs.spec) = (false, "other".into(), json!({}));
    bench.fact(Fact::Import { name: name(), import: Some(theirs.clone()) });
    assert!(bench.settle().is_empty());
    bench.service(service("gcp"));
    assert!(bench.settle().is_empty());
    bench.fact(Fact::Import { name: name(), import: None });
    assert_eq!(bench.settle()[0], "import", "when it is gone ours is written");
}

#[test]
fn what_is_left_of_before_is_removed() {
    let mut bench = Bench::new();
    bench.service(service("gcp"));
    bench.settle();
    let import = bench.import();
    let mut bench = Bench::new();
    let slice = ObjectName::new("demo", "echo-gcp-1").unwrap();
    let derived = DerivedSlice { version: 1, import: "echo".into(), print: print_of(&json!(1)) };
    bench.fact(Fact::Import { name: name(), import: Some(import) });
    bench.fact(Fact::Slice { name: slice, slice: Some(derived) });
    bench.writes.step_up(&bench.mcs);
    assert_eq!(bench.settle(), ["- slice", "- import"]);
}

#[test]
fn exports_say_how_they_stand() {
    let mut bench = Bench::new();
    let export = |behind| Exported { behind, generation: 1, version: 0, conditions: vec![] };
    bench.fact(Fact::Export { name: name(), export: Some(export(Behind::Nothing)) });
    assert_eq!(bench.settle(), ["export Valid=False Ready=False"]);
    bench.service(service("aws"));
    bench.fact(Fact::Export { name: name(), export: Some(export(Behind::Service)) });
    let said = bench.settle();
    assert!(said.contains(&"export Valid=True Ready=True Conflict=False".into()), "{said:?}");
    assert!(bench.settle().is_empty());
    let headless = Export { created: 0, terms: Terms { headless: true, ..Terms::default() } };
    bench.service(Service { export: Some(headless), ..service("gcp") });
    let said = bench.settle();
    assert!(said.contains(&"export Valid=True Ready=True Conflict=True".into()), "{said:?}");
    assert_eq!(bench.import().spec["type"], "Headless", "the older decides");
    assert!(bench.import().spec.get("ips").is_none());
}

#[test]
fn a_server_without_the_kinds_is_asked_seldom_and_no_namespace_no_import() {
    let mut bench = Bench::new();
    bench.mcs.handle_namespace("demo", false);
    bench.service(service("gcp"));
    assert!(bench.settle().is_empty());
    bench.mcs.handle_namespace("demo", true);
    bench.derive();
    let step = bench.writes.poll(&bench.mcs, bench.now).unwrap();
    bench.writes.handle_done(&step, Written::Absent, bench.now);
    assert!(bench.settle().is_empty());
    assert_eq!(bench.writes.deadline(), Some(bench.now + ABSENT));
    bench.now += ABSENT;
    assert_eq!(bench.settle(), ["import", "status gcp"]);
    // One that failed is tried again at its time.
    bench.gone("gcp");
    let step = bench.writes.poll(&bench.mcs, bench.now).unwrap();
    bench.writes.handle_failed(&step, bench.now + CROWD);
    assert!(bench.settle().is_empty());
    bench.now += CROWD;
    assert_eq!(bench.settle(), ["- import"]);
}

#[test]
fn an_import_that_is_there_before_its_namespace_is_written_with_it() {
    let mut bench = Bench::new();
    bench.mcs.handle_namespace("demo", false);
    bench.service(service("aws"));
    assert!(bench.mcs.outcome(&name()).is_some() && bench.settle().is_empty());
    bench.mcs.handle_namespace("demo", true);
    bench.derive();
    bench.writes.handle_namespace(&bench.mcs, "demo");
    assert_eq!(bench.settle(), ["import", "status aws"]);
}

#[test]
fn properties_are_settled_once() {
    let mut bench = Bench::new();
    bench.writes = Writes::new(true, [("a", Some("1".to_string())), ("b", None)].into());
    bench.writes.step_up(&bench.mcs);
    assert_eq!(bench.settle(), ["property a Some(\"1\")", "property b None"]);
    bench.writes.step_up(&bench.mcs);
    let step = bench.writes.poll(&bench.mcs, bench.now).unwrap();
    bench.writes.handle_done(&step, Written::Property(Property::Another("x".into())), bench.now);
    let problems = bench.writes.take_problems();
    assert!(problems[0].contains("\"x\"") && problems[0].contains('1'), "{problems:?}");
}
