//! Real files, real notices: every wait here is for an event.

use std::fs;
use std::time::Duration;

use model::{Change, World};

use super::*;
use crate::index::tests::{Step, cluster, lines, manifests, table};
use crate::index::{Endpoints, Index};
use crate::manifest::{Id, Kind, Manifest};
use crate::standalone::Store;

struct Bench {
    folder: tempfile::TempDir,
    watch: Watch,
}

/// Longer than anything takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Bench {
    async fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap()).await
    }

    async fn over(folder: tempfile::TempDir) -> Self {
        let watch = watch(folder.path(), &cluster(), Unsaid::default()).unwrap();
        Self { folder, watch }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.watch.recv()).await;
        event.expect("an event in time").expect("the watch goes on")
    }

    async fn changes(&mut self) -> Vec<String> {
        self.changes_of(false).await
    }

    /// Changes that have some of policies, namespaces and pods, or of the others.
    async fn changes_of(&mut self, policing: bool) -> Vec<String> {
        loop {
            match self.next().await {
                Event::Changes(changes) => {
                    let lines = lines(&changes, policing);
                    if !lines.is_empty() {
                        return lines;
                    }
                }
                // Namespaces that came or went, for whoever imports; complaints of single objects have tests of their own.
                Event::Facts(_) | Event::Object { .. } => {}
                other => panic!("{other:?} instead of changes"),
            }
        }
    }

    async fn problem(&mut self) -> String {
        match self.next().await {
            Event::Problem(problem) => problem,
            other => panic!("{other:?} instead of a problem"),
        }
    }

    async fn synced(&mut self) {
        assert_eq!(self.next().await, Event::Synced);
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: None, ports: [{{port: {port}}}]}}\n"
    )
}

fn said(name: &str, port: u16) -> String {
    format!("service default/{name}  :{port}/TCP")
}

#[tokio::test]
async fn the_table_through_notices() {
    for case in table() {
        let mut bench = Bench::new().await;
        bench.synced().await;
        let store = Store::open(bench.folder.path()).unwrap();
        for (n, (step, expected)) in case.steps.iter().enumerate() {
            match step {
                Step::Apply(text) => {
                    for manifest in manifests(text) {
                        if store
                            .update(&manifest.id(), |stored| *stored = manifest.clone())
                            .unwrap()
                            .is_none()
                        {
                            store.apply(std::slice::from_ref(&manifest)).unwrap();
                        }
                    }
                }
                Step::Delete(id) => assert!(store.delete(id).unwrap()),
            }
            if !expected.is_empty() {
                assert_eq!(&bench.changes_of(case.policing).await, expected, "{}, step {n}", case.name);
            }
        }
    }
}

#[tokio::test]
async fn what_is_there_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), service("a", 80)).unwrap();
    fs::write(folder.path().join("b.yaml"), "kind: Pod").unwrap();
    fs::write(folder.path().join("notes.txt"), "x").unwrap();
    fs::write(folder.path().join(".hidden.yaml"), "x").unwrap();
    fs::create_dir(folder.path().join("sub.yaml")).unwrap();
    let mut bench = Bench::over(folder).await;
    assert!(
        bench.problem().await.ends_with("b.yaml:1:1: `apiVersion` is missing; write `apiVersion: …` here")
    );
    assert_eq!(bench.changes().await, [said("a", 80)]);
    bench.synced().await;
}

#[tokio::test]
async fn a_bad_file_and_its_neighbours() {
    let mut bench = Bench::new().await;
    bench.synced().await;
    bench.write("a.yaml", &service("a", 80));
    assert_eq!(bench.changes().await, [said("a", 80)]);
    bench.write("a.yaml", &service("a", 0));
    assert!(bench.problem().await.contains("a.yaml:4:40: spec.ports[0].port: 0 is out of range"));
    bench.write("b.yaml", &service("b", 81));
    assert_eq!(bench.changes().await, [said("b", 81)]);
    bench.write("a.yaml", &service("a", 82));
    assert_eq!(bench.changes().await, [said("a", 82)]);
    fs::remove_file(bench.folder.path().join("a.yaml")).unwrap();
    assert_eq!(bench.changes().await, ["- service aws/default/a"]);
    fs::rename(bench.folder.path().join("b.yaml"), bench.folder.path().join("b.off")).unwrap();
    assert_eq!(bench.changes().await, ["- service aws/default/b"]);
}

#[tokio::test]
async fn a_file_counts_when_it_is_closed() {
    use std::io::Write;
    let mut bench = Bench::new().await;
    bench.synced().await;
    let mut file = fs::File::create(bench.folder.path().join("a.yaml")).unwrap();
    file.write_all(b"apiVersion: v1\nkind: Serv").unwrap();
    bench.write("b.yaml", &service("b", 80));
    assert_eq!(bench.changes().await, [said("b", 80)], "half a file is nobody's problem");
    file.write_all(b"ice\nmetadata: {name: a}\nspec: {clusterIP: None}\n").unwrap();
    drop(file);
    assert_eq!(bench.changes().await, ["service default/a  "]);
}

#[tokio::test]
async fn files_swapped_behind_a_link() {
    use std::os::unix::fs::symlink;
    let mut bench = Bench::new().await;
    bench.synced().await;
    let dir = bench.folder.path().to_path_buf();
    for (n, port) in [(1, 80), (2, 81)] {
        let version = dir.join(format!("..v{n}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("a.yaml"), service("a", port)).unwrap();
        symlink(format!("..v{n}"), dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        if n == 1 {
            symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
        }
        assert_eq!(bench.changes().await, [said("a", port)]);
    }
}

#[tokio::test]
async fn a_folder_that_goes_and_comes_back() {
    let mut bench = Bench::new().await;
    bench.synced().await;
    bench.write("a.yaml", &service("a", 80));
    assert_eq!(bench.changes().await, [said("a", 80)]);
    let dir = bench.folder.path().to_path_buf();
    let away = dir.with_extension("away");
    fs::rename(&dir, &away).unwrap();
    assert!(bench.problem().await.ends_with("is gone; what it said stays in force until it is back"));
    fs::write(away.join("a.yaml"), service("a", 81)).unwrap();
    fs::rename(&away, &dir).unwrap();
    assert_eq!(bench.changes().await, [said("a", 81)]);
    bench.write("a.yaml", &service("a", 82));
    assert_eq!(bench.changes().await, [said("a", 82)], "and is watched again");
}

#[tokio::test]
async fn nothing_to_watch() {
    let error =
        watch(Path::new("/nonexistent/folder"), &cluster(), Unsaid::default()).unwrap_err().to_string();
    assert!(error.starts_with("watching the folder /nonexistent/folder: asking for notices: "), "{error}");
}

/// A consumer that does not take events makes the kernel lose some; nothing is lost in the end.
#[tokio::test]
async fn notices_that_overflow() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let mut bench = Bench::new().await;
    bench.synced().await;
    let names = ["a", "b", "c"];
    // A file moved into place is four notices, so this is some more than the queue holds.
    for n in 0..limit / 3 {
        let name = names[n % 3];
        bench.write(".new", &service(name, 1 + (n % 60_000) as u16));
        fs::rename(bench.folder.path().join(".new"), bench.folder.path().join(format!("{name}.yaml")))
            .unwrap();
    }
    bench.write("last.yaml", &service("last", 9));
    fs::remove_file(bench.folder.path().join("b.yaml")).unwrap();

    let mut index = Index::new(cluster(), Endpoints::FromSelectors);
    let mut expected = World::default();
    let store = Store::open(bench.folder.path()).unwrap();
    for change in store.all().unwrap().iter().flat_map(|manifest| index.apply(manifest)) {
        expected.apply(change);
    }
    let mut world = World::default();
    while world != expected {
        match bench.next().await {
            Event::Changes(changes) => {
                for change in changes {
                    world.apply(change);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Not a bound, but the shape of one: with 5,000 files there, a change is one small event.
#[tokio::test]
async fn many_files() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..5000 {
        let name = format!("s{n}");
        fs::write(folder.path().join(format!("{name}.yaml")), service(&name, 80)).unwrap();
    }
    let mut bench = Bench::over(folder).await;
    assert_eq!(bench.changes().await.len(), 5000);
    bench.synced().await;
    let store = Store::open(bench.folder.path()).unwrap();
    let before = std::time::Instant::now();
    for port in 1..=100 {
        let changed = store.update(&Id::new(Kind::Service, "default", "s77"), |manifest| {
            let Manifest::Service(service) = manifest else { panic!("a service") };
            service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = port;
        });
        assert!(changed.unwrap().is_some());
        match bench.next().await {
            Event::Changes(changes) => assert!(matches!(changes[..], [Change::Upsert(_)]), "{changes:?}"),
            other => panic!("{other:?}"),
        }
    }
    println!("from write to event, 5,000 files: {:?} each", before.elapsed() / 100);
}
