//! The chart, rendered by a real Helm: `./x` installs one below `target/`.

mod samples;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use causeway_install::Settings;
use serde_json::Value;

/// The Helm of `PATH`, else the one that `./x` installed.
fn helm(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    for helm in [PathBuf::from("helm"), target.join("helm/bin/helm")] {
        match Command::new(&helm).args(arguments).output() {
            Ok(output) => return output,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => panic!("running {}: {e}", helm.display()),
        }
    }
    panic!("no helm, neither in PATH nor below target/helm: run ./x test once, which installs it");
}

/// A chart as the generator writes it, in a folder of its own.
fn chart() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in causeway_install::chart::files() {
        let path = folder.path().join("causeway").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn template(settings: &Value, namespace: &str) -> Result<Vec<Value>, String> {
    let folder = chart();
    let values = folder.path().join("values.json");
    std::fs::write(&values, settings.to_string()).unwrap();
    let chart = folder.path().join("causeway");
    let output = helm(&[
        "template",
        "causeway",
        chart.to_str().unwrap(),
        "--namespace",
        namespace,
        "--values",
        values.to_str().unwrap(),
    ]);
    match output.status.success() {
        true => Ok(samples::documents(&String::from_utf8(output.stdout).unwrap())),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[track_caller]
fn check_same(rendered: Vec<Value>, applied: Vec<Value>, name: &str) {
    let (rendered, applied) = (by_name(rendered), by_name(applied));
    for (left, right) in rendered.iter().zip(&applied) {
        assert!(left == right, "{name}: Helm renders\n{left:#}\nbut we apply\n{right:#}");
    }
    assert_eq!(rendered.len(), applied.len(), "{name}: one has more objects than the other");
}

fn by_name(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

/// To the byte, checksums over configurations included.
#[test]
fn helm_renders_what_install_applies() {
    for (name, settings) in samples::all() {
        let rendered = template(&serde_json::to_value(&settings).unwrap(), "elsewhere").unwrap();
        check_same(rendered, causeway_install::objects(&settings), name);
    }
}

#[test]
fn helm_makes_its_releases_namespace_itself() {
    let mut settings = samples::least();
    settings.namespace = "net".into();
    let rendered = template(&serde_json::to_value(&settings).unwrap(), &settings.namespace).unwrap();
    let mut expected = causeway_install::objects(&settings);
    expected.retain(|object| object["kind"] != "Namespace");
    check_same(rendered, expected, "in its namespace");
}

#[test]
fn lint() {
    let folder = chart();
    let values = folder.path().join("values.json");
    std::fs::write(&values, serde_json::to_string(&samples::least()).unwrap()).unwrap();
    let chart = folder.path().join("causeway");
    let output = helm(&["lint", "--strict", chart.to_str().unwrap(), "--values", values.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{said}");
}

#[test]
fn bad_values_are_refused() {
    for (path, bad, said) in [
        ("/cluster/name", Value::from("Home"), "name"),
        ("/cluster/name", Value::from(""), "name"),
        ("/cluster/id", Value::from(512), "id"),
        ("/cluster/id", Value::from("1"), "id"),
        ("/cluster/podCIDRs", serde_json::json!(["10.1.0.0"]), "podCIDRs"),
        ("/cluster/serviceCIDRs", serde_json::json!([]), "serviceCIDRs"),
        ("/controllers/nodes", serde_json::json!([]), "nodes"),
        ("/controllers/addresses", serde_json::json!(["192.0.2.1"]), "addresses"),
        ("/controllers/port", Value::from(0), "port"),
        ("/controllers/httpPort", Value::from(65536), "httpPort"),
        ("/image/pullPolicy", Value::from("Sometimes"), "pullPolicy"),
        ("/agent/interface", Value::from("much-too-long-name"), "interface"),
        ("/agent/maxUnavailable", Value::from("none"), "maxUnavailable"),
        ("/agent/unknown", Value::from(1), "unknown"),
        ("/agent/tolerations", serde_json::json!([{"operator": "Like"}]), "operator"),
        ("/mesh/presharedKeys/secret", Value::from("causeway-state"), "secret"),
        ("/log/format", Value::from("xml"), "format"),
    ] {
        let mut settings = serde_json::to_value(samples::least()).unwrap();
        let (group, field) = path.rsplit_once('/').unwrap();
        settings.pointer_mut(group).unwrap()[field] = bad.clone();
        let error = template(&settings, "elsewhere").expect_err(&format!("{path}: {bad} was taken"));
        assert!(error.contains("schema") && error.contains(said), "{path}: {error}");
    }
}

/// What the chart takes, the rest of us takes.
#[test]
fn values_are_settings() {
    let defaults = template(&serde_json::json!({}), "elsewhere").expect_err("the cluster has no name yet");
    assert!(defaults.contains("name"), "{defaults}");
    let few = serde_json::json!({
        "cluster": {"name": "home"},
        "controllers": {"nodes": ["n1"], "addresses": ["192.0.2.1:9640"]},
    });
    let settings = Settings::default().with(&few).unwrap();
    check_same(template(&few, "elsewhere").unwrap(), causeway_install::objects(&settings), "few");
}
