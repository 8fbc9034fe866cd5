//! Whether a cluster can have Causeway.

use anyhow::Result;
use install::Settings;
use install::decide::{self, Decision};
use install::facts::Facts;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;

use super::finding::Finding;
use crate::install::{Access, name_of_cluster};

/// The first version whose API has every field that we write.
const LEAST: (u64, u64) = (1, 30);

/// What there is to say, and the settings that it would get.
///
/// # Errors
/// The API server cannot be asked.
pub(super) async fn look(access: &Access, given: &Value) -> Result<(Vec<Finding>, Settings)> {
    let client = access.client().await?;
    let facts = install::read::read(&client, &name_of_cluster(access)).await;
    let facts = facts.map_err(|e| anyhow::anyhow!("{}", install::api::reason(&e)))?;
    let Decision { settings, choices } = decide::decide(&facts, given)?;
    let mut found = vec![version(&facts)];
    found.push(rights(&client, &settings).await?);
    found.push(ranges(&facts, &settings));
    for choice in choices.iter().filter(|choice| choice.guessed) {
        let seen = format!("{} = {}: {}", choice.setting, choice.value, choice.reason);
        found.push(Finding::warn("guess", seen, "say it yourself when you install"));
    }
    for problem in install::settings::check(&settings) {
        found.push(Finding::warn(
            "settings",
            problem.problem,
            format!("give {}", problem.flag.unwrap_or(problem.setting)),
        ));
    }
    found.push(networks(&facts));
    found.push(if facts.kube_proxy {
        Finding::ok("kube-proxy", "in the cluster; Causeway works beside it")
    } else {
        Finding::ok("kube-proxy", "not in the cluster; controllers are told the API server's own address")
    });
    Ok((found, settings))
}

fn version(facts: &Facts) -> Finding {
    let seen = format!("{} ({})", facts.server, facts.flavour.name());
    let mut numbers = facts.server.trim_start_matches('v').split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= LEAST => Finding::ok("API server", seen),
        _ => Finding::fail("API server", seen, "upgrade it to 1.30 or newer"),
    }
}

/// Whoever may do this may do everything else that is needed.
async fn rights(client: &Client, settings: &Settings) -> Result<Finding> {
    let mut refused = Vec::new();
    for (group, resource, namespace) in [
        ("", "namespaces", ""),
        ("apiextensions.k8s.io", "customresourcedefinitions", ""),
        ("rbac.authorization.k8s.io", "clusterroles", ""),
        ("rbac.authorization.k8s.io", "clusterrolebindings", ""),
        ("apps", "daemonsets", settings.namespace.as_str()),
        ("apps", "deployments", settings.namespace.as_str()),
        ("", "secrets", settings.namespace.as_str()),
    ] {
        for verb in ["create", "patch", "delete"] {
            let attributes = ResourceAttributes {
                group: Some(group.into()),
                resource: Some(resource.into()),
                verb: Some(verb.into()),
                namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
                ..ResourceAttributes::default()
            };
            let spec =
                SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
            let answer = answer.map_err(|e| anyhow::anyhow!("{}", install::api::reason(&e)))?;
            if !answer.status.is_some_and(|status| status.allowed) {
                refused.push(format!("{verb} {resource}"));
            }
        }
    }
    Ok(if refused.is_empty() {
        Finding::ok("your rights", "may install and uninstall")
    } else {
        let seen = format!("may not {}", refused.join(", "));
        Finding::fail("your rights", seen, "install as an administrator (cluster-admin)")
    })
}

fn ranges(facts: &Facts, settings: &Settings) -> Finding {
    let collisions = decide::collisions(facts, settings);
    if collisions.is_empty() {
        let all = settings.cluster.pod_cidrs.iter().chain(&settings.cluster.service_cidrs);
        Finding::ok("ranges", all.map(ToString::to_string).collect::<Vec<_>>().join(", "))
    } else {
        Finding::fail(
            "ranges",
            collisions.join("; "),
            "give the cluster's own with --pod-cidr and --service-cidr",
        )
    }
}

fn networks(facts: &Facts) -> Finding {
    if facts.other_networks.is_empty() {
        return Finding::ok("other networks", "no DaemonSet of one");
    }
    let seen = facts.other_networks.join(", ");
    let advice = "install beside it if you mean to move over: pods that it made keep it until they restart";
    Finding::warn("other networks", seen, advice)
}
