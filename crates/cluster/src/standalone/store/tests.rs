//! Objects in, files out, and back.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use k8s_openapi::api::core::v1::PodIP;

use super::*;
use crate::index::tests::manifests;

const OBJECTS: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n---\napiVersion: v1\nkind: \
                       Service\nmetadata: {name: echo, namespace: demo}\nspec: {ports: [{port: 80}]}\n---\napiVersion: \
                       v1\nkind: Pod\nmetadata: {name: a, namespace: demo}\nspec: {containers: [{name: c, command: \
                       [sleep, \"1e3\"]}]}\n";

fn files(dir: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn pod_a() -> Id {
    Id::new(Kind::Pod, "demo", "a")
}

#[test]
fn one_file_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("made/on/the/way");
    let store = Store::open(&dir).unwrap();
    let objects = manifests(OBJECTS);
    let ids: Vec<Id> = objects.iter().map(Manifest::id).collect();
    assert_eq!(store.apply(&objects).unwrap(), ids);
    let expected = ["namespace.demo.yaml", "pod.demo.a.yaml", "service.demo.echo.yaml"];
    assert_eq!(files(&dir), expected.map(String::from).into());
    assert_eq!(store.all().unwrap(), objects);
    assert_eq!(store.list(Kind::Service).unwrap(), objects[1..2]);

    let inode = fs::metadata(dir.join("pod.demo.a.yaml")).unwrap().ino();
    assert!(store.apply(&objects).unwrap().is_empty(), "nothing new");
    assert_eq!(fs::metadata(dir.join("pod.demo.a.yaml")).unwrap().ino(), inode, "nothing written");

    assert!(store.delete(&ids[1]).unwrap() && !store.delete(&ids[1]).unwrap());
    assert!(store.delete(&ids[0]).unwrap(), "a namespace goes with everything in it");
    assert_eq!(files(&dir), BTreeSet::new());
}

#[test]
fn a_pods_life() {
    let folder = tempfile::tempdir().unwrap();
    let (store, other) = (Store::open(folder.path()).unwrap(), Store::open(folder.path()).unwrap());
    store.apply(&manifests(OBJECTS)).unwrap();
    assert!(other.bind_pod("demo", "a", "aws-1").unwrap(), "another store sees it");
    let status = PodStatus { pod_ips: Some(vec![PodIP { ip: "10.1.0.5".into() }]), ..PodStatus::default() };
    assert!(store.set_pod_status("demo", "a", status.clone()).unwrap());
    assert!(!store.set_pod_status("demo", "b", status.clone()).unwrap());
    let at = k8s_openapi::jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at);
    assert!(store.update_pod("demo", "a", |pod| pod.metadata.deletion_timestamp = Some(at.clone())).unwrap());

    // Applying the plain manifest again forgets none of it.
    assert!(other.apply(&manifests(OBJECTS)).unwrap().is_empty());
    let Some(Manifest::Pod(pod)) = other.get(&pod_a()).unwrap() else { panic!("the pod is there") };
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("aws-1"));
    assert_eq!((pod.status, pod.metadata.deletion_timestamp), (Some(status), Some(at)));
}

#[test]
fn files_written_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let text = format!("# mine\n{}", OBJECTS.replace("kind: Service\n", "kind: Service # theirs\n"));
    fs::write(dir.join("all.yaml"), &text).unwrap();
    fs::write(dir.join("README.md"), "not a manifest").unwrap();
    let store = Store::open(dir).unwrap();
    assert!(store.bind_pod("demo", "a", "aws-1").unwrap());
    assert_eq!(files(dir), ["README.md", "all.yaml"].map(String::from).into(), "changed where it stands");
    let now = fs::read_to_string(dir.join("all.yaml")).unwrap();
    assert!(
        now.starts_with("# mine\n") && now.contains("# theirs") && now.contains("nodeName: aws-1"),
        "{now}"
    );
    assert!(store.delete(&Id::new(Kind::Service, "demo", "echo")).unwrap());
    assert!(store.delete(&pod_a()).unwrap());
    assert_eq!(fs::read_to_string(dir.join("all.yaml")).unwrap(), text[..text.find("---").unwrap()]);
    assert!(store.delete(&Id::new(Kind::Namespace, "", "demo")).unwrap());
    assert_eq!(files(dir), ["README.md"].map(String::from).into());
}

#[test]
fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut bad = manifests(OBJECTS);
    bad[2].metadata_mut().name = Some("No".into());
    let error = store.apply(&bad).unwrap_err().to_string();
    assert!(error.starts_with("pod demo/No cannot be stored: pod.demo.No.yaml:"), "{error}");
    fs::write(folder.path().join("bad.yaml"), "kind: Pod").unwrap();
    let problems = store.problems().unwrap();
    assert!(
        problems.len() == 1
            && problems[0].ends_with("bad.yaml:1:1: `apiVersion` is missing; write `apiVersion: …` here"),
        "{problems:?}"
    );
    let file = folder.path().join("bad.yaml");
    let error = Store::open(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("making the folder {}: ", file.display())), "{error}");
}

#[test]
fn long_names_have_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut pods = manifests(OBJECTS).split_off(2);
    pods.push(pods[0].clone());
    for (n, pod) in pods.iter_mut().enumerate() {
        let label = "x".repeat(60);
        pod.metadata_mut().name = Some(format!("{label}.{label}.{label}.{label}.{n}"));
    }
    store.apply(&pods).unwrap();
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!(Store::open(folder.path()).unwrap().all().unwrap(), pods);
}
