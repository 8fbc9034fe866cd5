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
