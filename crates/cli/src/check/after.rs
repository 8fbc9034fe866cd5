//! Whether what is installed is at work.

use std::collections::BTreeMap;

use anyhow::Result;
use cluster::kubernetes::meshnode::MeshNode;
use install::{Daemon, Settings, Standing, standing};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::finding::Finding;
use super::mesh;
use crate::install::Access;

/// As many problems of single objects as a person reads.
const SHOWN: usize = 10;
/// A leader that has not renewed for so long is none.
const STALE_SECONDS: i64 = 15;

/// What there is to say.
///
/// # Errors
/// The API server cannot be asked.
pub(super) async fn look(access: &Access) -> Result<Vec<Finding>> {
    let client = access.client().await?;
    let namespace = access.namespace();
    let Some(installed) = install::installed(&client, namespace).await? else {
        let seen = format!("nothing in the namespace {namespace}");
        return Ok(vec![Finding::fail(
            "installation",
            seen,
            "causeway install, or --namespace for another one",
        )]);
    };
    let settings = installed.settings;
    let whose = installed.release.map_or_else(String::new, |release| format!(", by Helm as {release}"));
    let seen = format!("{} version {}{whose}", settings.cluster.name, settings.image.tag);
    let mut found = vec![Finding::ok("installation", seen)];
    for daemon in [Daemon::Controller, Daemon::Agent] {
        match standing(&client, namespace, daemon).await {
            Ok(standing) => found.extend(daemons(&standing)),
            Err(error) if error.is_missing() => {
                found.push(Finding::fail(
                    daemon.name(),
                    "is not there",
                    "causeway install, with the same settings",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    found.push(leader(&client, namespace).await?);
    let nodes = ask(Api::<Node>::all(client.clone()).list(&ListParams::default()).await)?.items;
    match Api::<MeshNode>::all(client.clone()).list(&ListParams::default()).await {
        Ok(meshed) => {
            found.extend(of_nodes(&nodes, &meshed.items, &settings));
            if !settings.mesh.preshared_keys.secret.is_empty() {
                let shared = mesh::shared(&client, namespace, &settings).await;
                found.extend(mesh::of_keys(shared, &settings, &meshed.items, Timestamp::now()));
            }
            found.extend(mesh::of_vxlan(&nodes, &meshed.items, &settings));
        }
        Err(error) => {
            let advice = "causeway install, with the same settings, brings the kind back";
            found.push(Finding::fail("nodes", install::api::reason(&error), advice));
        }
    }
    found.extend(problems(&client).await.unwrap_or_else(|error| {
        let seen = format!("what controllers said of single ones is not known: {error}");
        vec![Finding::warn("objects", seen, "ask as somebody who may list Events in all namespaces")]
    }));
    Ok(found)
}

fn ask<T>(answer: Result<T, kube::Error>) -> Result<T> {
    answer.map_err(|error| anyhow::anyhow!("{}", install::api::reason(&error)))
}

fn daemons(standing: &Standing) -> Vec<Finding> {
    let name = standing.daemon.name();
    let seen = format!("{} of {} ready", standing.ready, standing.wanted);
    if standing.done() {
        return vec![Finding::ok(name, seen)];
    }
    if standing.troubles.is_empty() {
        return vec![Finding::fail(
            name,
            seen,
            "no node that it may run on, or it is only starting: ask again",
        )];
    }
    let mut found = vec![Finding::fail(name, seen, "see the nodes below")];
    for trouble in standing.troubles.iter().take(SHOWN) {
        let node = if trouble.node.is_empty() { "no node yet" } else { &trouble.node };
        let advice = format!("kubectl describe pod --all-namespaces {}", trouble.pod);
        found.push(Finding::fail(node, trouble.reason.clone(), advice));
    }
    found
}

async fn leader(client: &Client, namespace: &str) -> Result<Finding> {
    let lease =
        ask(Api::<Lease>::namespaced(client.clone(), namespace).get_opt("causeway-controller").await)?;
    let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
    let advice = "see the controllers' logs; agents go on with what they last knew";
    Ok(match spec.holder_identity.filter(|holder| !holder.is_empty()) {
        None => Finding::fail("leader", "no controller leads", advice),
        Some(holder) => {
            let age = spec.renew_time.map(|at| Timestamp::now().as_second() - at.0.as_second());
            match age {
                Some(age) if age > STALE_SECONDS => {
                    Finding::fail("leader", format!("{holder}, but it has not said so for {age} s"), advice)
                }
                _ => Finding::ok("leader", holder),
            }
        }
    })
}

/// What the agents reported, against what there ought to be.
fn of_nodes(nodes: &[Node], mesh: &[MeshNode], settings: &Settings) -> Vec<Finding> {
    let known: BTreeMap<String, &MeshNode> = mesh.iter().map(|node| (node.name_any(), node)).collect();
    let mut silent = Vec::new();
    let mut homeless = Vec::new();
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut proxies: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in nodes {
        let name = node.name_any();
        let mesh = known.get(&name);
        let own = node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some() || spec.pod_cidrs.is_some());
        if !own && mesh.is_none_or(|mesh| mesh.spec.pod_cidrs.is_empty()) {
            homeless.push(name.clone());
        }
        match mesh.and_then(|mesh| mesh.status.as_ref()).filter(|status| !status.public_key.is_empty()) {
            None => silent.push(name),
            Some(status) => {
                versions.entry(&status.version).or_default().push(name.clone());
                proxies.entry(&status.kube_proxy).or_default().push(name);
            }
        }
    }
    let mut found = vec![if silent.is_empty() {
        Finding::ok("nodes", format!("all {} have a tunnel's key", nodes.len()))
    } else {
        Finding::fail("nodes", format!("not heard of: {}", some(&silent)), "see their agents' logs")
    }];
    if !homeless.is_empty() {
        let advice = "widen cluster.podCIDRs, or narrow cluster.nodeMaskSizeIPv4";
        found.push(Finding::fail("pod ranges", format!("none for {}", some(&homeless)), advice));
    }
    found.push(of_versions(&versions, &settings.image.tag));
    found.extend(proxies.iter().map(|(state, nodes)| proxy(state, nodes)));
    found
}

/// Whether all agents are of one version: the image's, if its tag is one.
fn of_versions(versions: &BTreeMap<&str, Vec<String>>, tag: &str) -> Finding {
    let wanted = tag.strip_prefix('v').unwrap_or(tag);
    let is_version =
        |text: &str| text.split(['.', '-', '+']).take(3).filter(|n| n.parse::<u32>().is_ok()).count() == 3;
    let strangers = versions.keys().any(|version| is_version(wanted) && *version != wanted);
    match versions.keys().next() {
        Some(version) if versions.len() == 1 && !strangers => Finding::ok("versions", (*version).to_string()),
        None => Finding::ok("versions", format!("none heard of; the image is {tag}")),
        _ => {
            let seen = versions.iter().map(|(version, nodes)| format!("{version} on {}", some(nodes)));
            Finding::warn(
                "versions",
                seen.collect::<Vec<_>>().join("; "),
                "causeway upgrade brings all to one",
            )
        }
    }
}

fn proxy(state: &str, nodes: &[String]) -> Finding {
    let on = some(nodes);
    match state {
        "Running" => Finding::ok(
            "kube-proxy",
            format!(
                "runs on {on}: ClusterIPs dialled on the node are Causeway's, everything else is kube-proxy's"
            ),
        ),
        "Absent" => Finding::ok(
            "kube-proxy",
            format!("not on {on}: ClusterIPs are Causeway's; NodePorts and load balancers have nobody there"),
        ),
        _ => Finding::warn(
            "kube-proxy",
            format!("there are traces of it on {on}"),
            "where it was removed: kube-proxy --cleanup, or restart the node",
        ),
    }
}

/// The first of them, and how many more.
pub(super) fn some(names: &[String]) -> String {
    match names {
        [a, b, c, _, rest @ ..] => format!("{a}, {b}, {c} and {} more", rest.len() + 1),
        few => few.join(", "),
    }
}

/// What controllers said about single objects.
async fn problems(client: &Client) -> Result<Vec<Finding>> {
    let ours = ListParams::default().fields("reportingComponent=causeway.io/controller,type=Warning");
    let mut events = ask(Api::<Event>::all(client.clone()).list(&ours).await)?.items;
    events.sort_by_key(|event| std::cmp::Reverse(event.metadata.creation_timestamp.clone()));
    let finding = |event: &Event| {
        let about = &event.involved_object;
        let name = about.name.clone().unwrap_or_default();
        let name =
            about.namespace.as_ref().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
        let what = format!("{} {name}", about.kind.clone().unwrap_or_default());
        Finding::warn(what, event.message.clone().unwrap_or_default(), "mend the object; its neighbours work")
    };
    let mut found: Vec<Finding> = events.iter().take(SHOWN).map(finding).collect();
    if events.len() > SHOWN {
        let advice =
            "kubectl get events --all-namespaces --field-selector reportingComponent=causeway.io/controller";
        found.push(Finding::warn("objects", format!("{} more problems", events.len() - SHOWN), advice));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Level;
    use super::*;

    fn seen(mesh: serde_json::Value) -> Vec<(Level, String, String)> {
        let node = json!({"metadata": {"name": "n1"}, "spec": {}});
        let nodes: Vec<Node> = vec![serde_json::from_value(node).unwrap()];
        let mesh: Vec<MeshNode> = serde_json::from_value(mesh).unwrap();
        let findings = of_nodes(&nodes, &mesh, &Settings::default());
        findings.into_iter().map(|f| (f.level, f.what, f.seen)).collect()
    }

    #[test]
    fn what_nodes_reported() {
        let silent = seen(json!([]));
        assert!(
            silent
                .iter()
                .any(|(level, what, seen)| *level == Level::Fail && what == "nodes" && seen.contains("n1"))
        );
        assert!(silent.iter().any(|(level, what, _)| *level == Level::Fail && what == "pod ranges"));
        let well = |version: &str, proxy: &str| {
            seen(json!([{
                "apiVersion": "causeway.io/v1alpha1", "kind": "MeshNode", "metadata": {"name": "n1"},
                "spec": {"podCIDRs": ["10.42.0.0/24"]},
                "status": {"publicKey": "k", "port": 1, "kubeProxy": proxy, "version": version},
            }]))
        };
        let own = env!("CARGO_PKG_VERSION");
        assert!(well(own, "Running").iter().all(|(level, ..)| *level == Level::Ok));
        assert!(
            well(own, "Absent")
                .iter()
                .any(|(level, _, seen)| *level == Level::Ok && seen.contains("NodePorts"))
        );
        assert!(
            well("0.0.9", "Running")
                .iter()
                .any(|(level, what, _)| *level == Level::Warn && what == "versions")
        );
        assert!(
            well(own, "Unknown").iter().any(|(level, what, _)| *level == Level::Warn && what == "kube-proxy")
        );
    }

    #[test]
    fn versions() {
        let own = "0.1.0";
        for (tag, seen, expected) in [
            ("0.1.0", &[own][..], Level::Ok),
            ("v0.1.0", &[own], Level::Ok),
            ("0.2.0", &[own], Level::Warn),
            ("0.2.0-rc.1", &[own], Level::Warn),
            // Tags that say nothing of a version.
            ("latest", &[own], Level::Ok),
            ("sha-1a2b3c4", &[own], Level::Ok),
            ("20261129", &[own], Level::Ok),
            ("latest", &[own, "0.2.0"], Level::Warn),
            ("0.1.0", &[], Level::Ok),
        ] {
            let versions = seen.iter().map(|version| (*version, vec!["n1".to_string()])).collect();
            assert_eq!(of_versions(&versions, tag).level, expected, "{tag} {seen:?}");
        }
    }
}
