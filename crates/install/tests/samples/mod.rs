//! Settings to try manifests with.

use std::collections::BTreeMap;

use causeway_install::settings::{
    LoadBalancerAlgorithm, LoadBalancerMode, LogFormat, OtherCluster, PullPolicy, Settings, Toleration,
    Traffic,
};
use serde_json::Value;

/// No more than nothing can do without.
pub(crate) fn least() -> Settings {
    let mut settings = Settings::default();
    settings.cluster.name = "home".into();
    settings.controllers.nodes = vec!["n1".into()];
    settings.controllers.addresses = vec!["192.0.2.1:9640".parse().unwrap()];
    settings
}

/// Everything another way.
fn most() -> Settings {
    let mut settings = least();
    settings.namespace = "net".into();
    settings.cluster.id = 511;
    settings.cluster.pod_cidrs = vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/48".parse().unwrap()];
    settings.cluster.service_cidrs =
        vec!["10.101.0.0/16".parse().unwrap(), "fd00:101::/112".parse().unwrap()];
    settings.image.repository = "registry.example:5000/net/causeway".into();
    settings.image.tag = "1.2.3-rc.1".into();
    settings.image.pull_policy = PullPolicy::Always;
    settings.image.pull_secrets = vec!["one".into(), "two".into()];
    settings.controllers.nodes = vec!["n1".into(), "n2.example".into(), "123".into()];
    settings.controllers.addresses =
        vec!["192.0.2.1:9640".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap()];
    settings.controllers.port = 1234;
    settings.controllers.api_server.host = "api.example".into();
    settings.controllers.api_server.port = 443;
    settings.controllers.resources.limits = BTreeMap::from([("memory".into(), "1Gi".into())]);
    settings.agent.underlay = "ens5".into();
    settings.agent.masquerade = false;
    settings.services.traffic = Traffic::Even;
    settings.services.node_port_addresses = vec!["primary".into()];
    settings.services.load_balancer_mode = LoadBalancerMode::Dsr;
    settings.services.load_balancer_algorithm = LoadBalancerAlgorithm::Maglev;
    settings.services.maglev_table_size = 251;
    settings.services.reset_gone_backends = false;
    settings.services.gone_backend_grace_period_seconds = 0;
    settings.services.eject_outliers = true;
    settings.services.clusters =
        BTreeMap::from([("gcp".into(), OtherCluster { egress_cost: 30, weight: 2 })]);
    settings.agent.non_masquerade_cidrs = vec!["192.168.0.0/16".parse().unwrap()];
    settings.agent.fail_closed = vec!["10.2.0.0/16".parse().unwrap()];
    settings.agent.cni.bin_dirs = vec!["/a b".into(), "/c".into()];
    settings.agent.privileged = true;
    settings.agent.max_unavailable = "1%".into();
    settings.agent.tolerations = Vec::<Toleration>::new();
    settings.agent.node_selector.insert("a/b".into(), "\"<&> %d {{ x }}\"".into());
    settings.mesh.key_rotation = "7d".into();
    settings.mesh.preshared_keys.secret = "pre-shared".into();
    settings.mesh.preshared_keys.required = true;
    settings.log.level = "info,link=debug".into();
    settings.log.format = LogFormat::Json;
    settings
}

/// Several, by name.
pub(crate) fn all() -> Vec<(&'static str, Settings)> {
    let mut cleanup = least();
    cleanup.agent.cleanup = true;
    vec![("least", least()), ("most", most()), ("cleanup", cleanup)]
}

/// The documents of a YAML text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}
