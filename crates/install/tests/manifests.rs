//! Every manifest is what the API server's own types say, and what was agreed on.

mod samples;

use k8s_openapi::api::{apps, core, policy, rbac};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is left of an object after a journey through its type.
fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{e}: {object:#}"));
    serde_json::to_value(typed).unwrap()
}

fn journey(object: &Value) -> Value {
    match object["kind"].as_str().unwrap() {
        "Namespace" => through::<core::v1::Namespace>(object),
        "ResourceQuota" => through::<core::v1::ResourceQuota>(object),
        "ServiceAccount" => through::<core::v1::ServiceAccount>(object),
        "ConfigMap" => through::<core::v1::ConfigMap>(object),
        "ClusterRole" => through::<rbac::v1::ClusterRole>(object),
        "ClusterRoleBinding" => through::<rbac::v1::ClusterRoleBinding>(object),
        "Role" => through::<rbac::v1::Role>(object),
        "RoleBinding" => through::<rbac::v1::RoleBinding>(object),
        "PodDisruptionBudget" => through::<policy::v1::PodDisruptionBudget>(object),
        "Deployment" => through::<apps::v1::Deployment>(object),
        "DaemonSet" => through::<apps::v1::DaemonSet>(object),
        "CustomResourceDefinition" => through::<CustomResourceDefinition>(object),
        other => panic!("no test knows the kind {other}"),
    }
}

#[test]
fn no_field_is_unknown_to_its_type() {
    for (name, settings) in samples::all() {
        for object in causeway_install::objects(&settings) {
            assert_eq!(
                journey(&object),
                object,
                "{name}: a field is lost, so the API server does not know it"
            );
        }
    }
}

#[test]
fn yaml_says_the_same() {
    for (name, settings) in samples::all() {
        let text = causeway_install::to_yaml(&settings);
        assert_eq!(samples::documents(&text), causeway_install::objects(&settings), "{name}");
    }
}

/// What changes here changes on every cluster at its next upgrade.
#[test]
fn as_agreed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/default.yaml");
    let text = causeway_install::to_yaml(&samples::least());
    if std::env::var_os("CAUSEWAY_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let agreed = std::fs::read_to_string(path).unwrap_or_default();
    let differs = text.lines().zip(agreed.lines()).find(|(a, b)| a != b);
    assert!(
        text == agreed,
        "differs from tests/default.yaml, first in {differs:?}; if that is meant, run with CAUSEWAY_BLESS=1"
    );
}

#[test]
fn a_changed_configuration_rolls_the_pods() {
    let before = causeway_install::objects(&samples::least());
    let mut settings = samples::least();
    settings.agent.http_port = 9700;
    let after = causeway_install::objects(&settings);
    let changed = |kind: &str, path: &str| {
        let of =
            |all: &[Value]| all.iter().find(|o| o["kind"] == kind).unwrap().pointer(path).unwrap().clone();
        of(&before) != of(&after)
    };
    assert!(changed("DaemonSet", "/spec/template/metadata/annotations/causeway.io~1config"));
    assert!(!changed("Deployment", "/spec/template"), "the controllers have nothing to do with it");
}

/// Every place among the objects where a text stands by itself, as `Kind/name/path`.
fn places(objects: &[Value], text: &str) -> Vec<String> {
    fn search(value: &Value, text: &str, at: &str, found: &mut Vec<String>) {
        match value {
            Value::String(its) if its == text => found.push(at.to_owned()),
            Value::Array(items) => {
                items.iter().for_each(|item| search(item, text, &format!("{at}/*"), found))
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| search(value, text, &format!("{at}/{key}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for object in objects {
        let name = format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', "");
        search(object, text, &name, &mut found);
    }
    found
}

fn may_read(rule: &Value, secret: &str) -> bool {
    let has = |key: &str, words: &[&str]| {
        rule[key].as_array().into_iter().flatten().any(|its| words.iter().any(|word| its == word))
    };
    let names = rule["resourceNames"].as_array();
    has("resources", &["secrets", "*"])
        && has("verbs", &["get", "list", "watch", "*"])
        && names.is_none_or(|names| names.iter().any(|name| name == secret))
}

#[test]
fn agents_alone_are_given_the_secret_of_pre_shared_keys() {
    let mut settings = samples::least();
    settings.mesh.preshared_keys.secret = "pre-shared".into();
    let objects = causeway_install::objects(&settings);
    let mounted = "DaemonSet/causeway-agent/spec/template/spec/volumes/*/secret/secretName";
    assert_eq!(places(&objects, "pre-shared"), [mounted], "nobody else names it, no right among them");
    let agents = objects.iter().find(|object| object["kind"] == "DaemonSet").unwrap();
    let pod = &agents["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["secret"]["secretName"] == "pre-shared").unwrap();
    assert_eq!(volume["secret"]["defaultMode"], 0o400, "root alone reads it there");
    assert_eq!(volume["secret"]["optional"], true, "agents start without it");
    for container in pod["containers"].as_array().unwrap() {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
        assert_eq!((&mount["readOnly"], &mount["mountPropagation"]), (&Value::from(true), &Value::Null));
        let environment = container["env"].to_string();
        assert!(!environment.contains("secretKeyRef") && container.get("envFrom").is_none(), "{environment}");
    }
    // By the API server nobody of ours reads it either.
    for object in &objects {
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert!(!may_read(rule, "pre-shared"), "{} {rule}", object["metadata"]["name"]);
        }
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["name"], "causeway-controller", "agents have no rights at all");
        }
    }

    // Without it there is nothing of it, but for the setting itself.
    for object in causeway_install::objects(&samples::least()) {
        // Peers have such keys of their own, and their kind a field for them.
        let other = ["causeway-settings", "peers.kilo.squat.ai"];
        let is_other = other.iter().any(|name| object["metadata"]["name"] == *name);
        let text = object.to_string().to_lowercase();
        assert!(is_other || !text.contains("preshared"), "{object}");
    }
    // In the chart it stands where it stands here, behind the same condition.
    for (path, text) in causeway_install::chart::files() {
        let named = text.contains(".Values.mesh.presharedKeys.secret | toRawJson");
        assert_eq!(named, path == "templates/agent-daemonset.yaml", "{path}");
    }
}
