//! The shared table through a folder, and what happens to files with mistakes.

use std::fs;

use super::*;
use crate::index::tests::{Step, cluster, lines, manifests, table};
use crate::standalone::Store;

struct Bench {
    folder: tempfile::TempDir,
    source: Source,
    /// Whether changes of policies, namespaces and pods are looked at, or the others.
    policing: bool,
}

impl Bench {
    fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    fn over(folder: tempfile::TempDir) -> Self {
        let source = Source::new(Folder::new(folder.path().to_path_buf()), cluster(), Unsaid::default());
        Self { folder, source, policing: false }
    }

    fn write(&mut self, name: &str, text: &str) -> (Vec<String>, Vec<String>) {
        fs::write(self.folder.path().join(name), text).unwrap();
        self.lines(|source| source.reread([name.to_string()]))
    }

    fn remove(&mut self, name: &str) -> (Vec<String>, Vec<String>) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
        self.lines(|source| source.reread([name.to_string()]))
    }

    fn load(&mut self) -> (Vec<String>, Vec<String>) {
        self.lines(|source| source.load().unwrap())
    }

    /// Changes as lines, and problems without the folder's name.
    fn lines(&mut self, read: impl FnOnce(&mut Source) -> Said) -> (Vec<String>, Vec<String>) {
        let Said { changes, problems, .. } = read(&mut self.source);
        let dir = format!("{}/", self.folder.path().display());
        (lines(&changes, self.policing), problems.iter().map(|problem| problem.replace(&dir, "")).collect())
    }
}

fn service(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}], {spec}}}\n"
    )
}

#[test]
fn the_table_through_a_folder() {
    for case in table() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut bench = Bench { policing: case.policing, ..Bench::over(folder) };
        bench.load();
        for (n, (step, expected)) in case.steps.iter().enumerate() {
            match step {
                Step::Apply(text) => {
                    // Not Store::apply: the table's objects are whole, nothing of the old ones is to be kept.
                    for manifest in manifests(text) {
                        store.apply(std::slice::from_ref(&manifest)).unwrap();
                        store.update(&manifest.id(), |stored| *stored = manifest.clone()).unwrap();
                    }
                }
                Step::Delete(id) => assert!(store.delete(id).unwrap()),
            }
            let (changes, problems) = bench.lines(|source| source.rescan().unwrap());
            assert_eq!(&changes, expected, "{}, step {n}", case.name);
            assert!(problems.is_empty(), "{problems:?}");
        }
    }
}

#[test]
fn a_bad_file_stays_as_it_was_and_hurts_nobody() {
    let mut bench = Bench::new();
    let good = service("a", "clusterIP: 10.101.9.1");
    assert_eq!(bench.write("a.yaml", &good).0, ["service default/a 10.101.9.1 :80/TCP"]);
    let bad = good.replace("port: 80", "prot: 80");
    let problem = "a.yaml:4:17: spec.ports[0].prot: unknown field `prot`; did you mean `port`? (what the file said \
                   before stays in force)";
    assert_eq!(bench.write("a.yaml", &bad), (vec![], vec![problem.to_string()]));
    let again = bench.lines(|source| source.reread(["a.yaml".to_string()]));
    assert_eq!(again, (vec![], vec![]), "said once for each change of the file");
    assert_eq!(
        bench.write("b.yaml", &service("b", "clusterIP: 10.101.9.2")).0.len(),
        1,
        "its neighbour works"
    );
    let (_, problems) = bench.write("c.yaml", "kind: [");
    assert!(problems.len() == 1 && problems[0].starts_with("c.yaml:1:"), "{problems:?}");
    let repaired = bench.write("a.yaml", &good.replace("port: 80", "port: 81"));
    assert_eq!(repaired, (vec!["service default/a 10.101.9.1 :81/TCP".to_string()], vec![]));
    assert_eq!(bench.remove("a.yaml").0, ["- service aws/default/a"]);
    fs::write(bench.folder.path().join("d.yaml"), b"kind: \xff").unwrap();
    let (_, problems) = bench.lines(|source| source.reread(["d.yaml".to_string()]));
    assert_eq!(problems, ["d.yaml:1:1: not UTF-8; save the file in that encoding"]);
}

#[test]
fn one_object_in_two_files() {
    let mut bench = Bench::new();
    let (first, second) = (service("a", "clusterIP: 10.101.9.1"), service("a", "clusterIP: 10.101.9.2"));
    bench.write("b.yaml", &second);
    let (changes, problems) = bench.write("c.yaml", &first);
    assert_eq!(changes, Vec::<String>::new());
    assert_eq!(
        problems,
        [
            "c.yaml:1: service default/a is already in b.yaml:1; keep it in one file (until then b.yaml:1 counts)"
        ]
    );
    let (changes, problems) = bench.write("a.yaml", &first);
    assert_eq!(changes, ["service default/a 10.101.9.1 :80/TCP"], "the first name counts, whenever it comes");
    assert_eq!(problems.len(), 1);
    assert_eq!(bench.remove("a.yaml").0, ["service default/a 10.101.9.2 :80/TCP"]);
    assert_eq!(bench.remove("c.yaml"), (vec![], vec![]));
}

#[test]
fn addresses_are_given_kept_and_refused() {
    let mut bench = Bench::new();
    bench.load();
    let given = bench.write("a.yaml", &service("a", "")).0.remove(0);
    assert!(given.starts_with("service default/a 10.101.") && given.contains(",fd00:101::"), "{given}");
    let ip = given.split([' ', ',']).nth(2).unwrap().to_string();

    let (changes, problems) = bench.write("b.yaml", &service("b", &format!("clusterIP: {ip}")));
    assert_eq!(changes, Vec::<String>::new());
    let refused = format!(
        "b.yaml:1: service default/b: {ip} is already the address of service default/a; write another, or none to be given one"
    );
    assert_eq!(problems, std::slice::from_ref(&refused));

    // After a restart the earlier one still has it.
    let mut bench = Bench::over(bench.folder);
    assert_eq!(bench.load(), (vec![given.clone()], vec![refused]));

    // Without memory as well, since the name decides; with broken memory it is said.
    let memory = bench.folder.path().join(MEMORY);
    fs::remove_file(bench.folder.path().join("b.yaml")).unwrap();
    fs::write(&memory, "{").unwrap();
    let mut bench = Bench::over(bench.folder);
    let (changes, problems) = bench.load();
    assert_eq!(changes, [given]);
    assert!(problems.len() == 1 && problems[0].contains(".vips.json: EOF"), "{problems:?}");
    assert!(bench.folder.path().join(".vips.json.bad").exists() && memory.exists());

    // Who was refused gets it as soon as it is free.
    bench.write("b.yaml", &service("b", &format!("clusterIP: {ip}")));
    let changes = bench.remove("a.yaml").0;
    assert_eq!(changes, ["- service aws/default/a".to_string(), format!("service default/b {ip} :80/TCP")]);
}

#[test]
fn memory_decides_between_two_that_fall_on_one_place() {
    let small = |folder| {
        let mut cluster = cluster();
        cluster.service_cidrs = vec!["10.101.0.0/29".parse().unwrap()];
        let folder_of = tempfile::TempDir::path(&folder).to_path_buf();
        let source = Source::new(Folder::new(folder_of), cluster, Unsaid::default());
        Bench { folder, source, policing: false }
    };
    let mut bench = small(tempfile::tempdir().unwrap());
    bench.load();
    let names = ["f", "e", "d", "c", "b", "a"];
    let mut given: Vec<String> =
        names.map(|n| bench.write(&format!("{n}.yaml"), &service(n, "")).0.remove(0)).into();
    let (changes, problems) = bench.write("g.yaml", &service("g", ""));
    assert_eq!(changes, Vec::<String>::new(), "six fit into a /29");
    assert!(
        problems[0].contains("every IPv4 address of the cluster's serviceCIDRs is taken"),
        "{problems:?}"
    );
    given.sort();
    let mut bench = small(bench.folder);
    assert_eq!(bench.load().0, given);
}
