//! Situations: policies, and who reaches whom under them. And how policies are put into a lab for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::manifest;
use cluster::yaml::{self, Error};
use model::ClusterName;
use serde::Deserialize;
use serve::client as daemon;
use tokio::time::{Instant, sleep};
use wire::local::ControllerStatus;

use super::Expect;
use crate::file::API_VERSION;
use crate::state::Folders;
use crate::{api, client};

/// For how long a controller's notice of new objects is waited for, and how often it is asked.
const NOTICE: Duration = Duration::from_millis(1_500);
const LOOK: Duration = Duration::from_millis(20);

/// Policies, and what they lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// What it shows.
    pub name: String,
    /// Kubernetes objects, in YAML, by cluster; `*` is every cluster.
    pub policies: BTreeMap<String, String>,
    /// Who should reach whom; none where `policy check` alone says.
    pub expect: Option<Expect>,
}

/// A document of a file of situations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    api_version: String,
    kind: String,
    name: String,
    #[serde(default)]
    policies: BTreeMap<String, String>,
    #[serde(default)]
    expect: Option<String>,
}

/// Reads a file of situations. Everything in it is checked, the policies too.
///
/// # Errors
/// With the file, the line and what to write instead.
pub fn parse(file: &str, text: &str) -> Result<Vec<Situation>> {
    let mut situations = Vec::new();
    for document in yaml::parse::<Raw>(file, text)? {
        let wrong =
            |path: &str, what: String, instead: &str| -> Error { document.error(path, what, instead) };
        let raw = &document.value;
        if raw.api_version != API_VERSION || raw.kind != "Situation" {
            let what = format!("{} {} is no situation", raw.api_version, raw.kind);
            return Err(wrong("kind", what, &format!("kind Situation of {API_VERSION}")).into());
        }
        for (cluster, text) in &raw.policies {
            if cluster != "*" {
                let named = cluster.parse::<ClusterName>();
                named.map_err(|e| wrong("policies", e.to_string(), "a cluster's name, or `*` for all"))?;
            }
            let place = format!("{file}: {}: {cluster}", raw.name);
            manifest::parse(&place, text)?;
        }
        let expect = raw.expect.as_deref().map(str::parse::<Expect>).transpose();
        let expect = expect.with_context(|| format!("{file}: {}: expect", raw.name))?;
        situations.push(Situation { name: raw.name.clone(), policies: raw.policies.clone(), expect });
    }
    Ok(situations)
}

/// What was put into a lab, and was not there before.
#[derive(Debug, Default)]
pub struct Applied {
    created: Vec<(ClusterName, manifest::Id)>,
}

/// Puts policies into clusters of the lab, all of a cluster's or none, and waits until their controllers have noticed.
///
/// # Errors
/// When one is refused. What was put in before stays in `applied`.
pub async fn apply(
    policies: &BTreeMap<String, String>,
    clusters: &[ClusterName],
    applied: &mut Applied,
) -> Result<()> {
    for (name, text) in policies {
        let chosen = clusters.iter().filter(|cluster| name == "*" || cluster.as_str() == name);
        let chosen: Vec<&ClusterName> = chosen.collect();
        if chosen.is_empty() {
            let there: Vec<_> = clusters.iter().map(ToString::to_string).collect();
            anyhow::bail!("no cluster of the lab is called {name}: there is {}", there.join(", "));
        }
        let objects = manifest::parse("policies", text)?;
        for cluster in chosen {
            let before = revision(cluster).await;
            let question =
                api::Apply { cluster: cluster.clone(), file: "policies".into(), text: text.clone() };
            let done = client::apply(&question).await.with_context(|| format!("in cluster {cluster}"))?;
            let mut news = false;
            for (object, change) in objects.iter().zip(&done.changes) {
                news |= !change.ends_with(" unchanged");
                if change.ends_with(" created") {
                    applied.created.push((cluster.clone(), object.value.id()));
                }
            }
            if news {
                noticed(cluster, before).await;
            }
        }
    }
    Ok(())
}

/// Takes out what was put in.
///
/// # Errors
/// When something cannot be taken out; the rest is, all the same.
pub async fn take_back(applied: Applied) -> Result<()> {
    let mut failed = Ok(());
    for (cluster, id) in applied.created {
        let name = if id.namespace.is_empty() { id.name } else { format!("{}/{}", id.namespace, id.name) };
        let question = api::Delete { cluster: cluster.clone(), kind: id.kind.lower().into(), name };
        if let Err(error) = client::delete(&question).await {
            failed = Err(error).with_context(|| format!("taking {} out of {cluster}", question.name));
        }
    }
    failed
}

/// The revision of what a controller tells; none while it does not answer.
async fn revision(cluster: &ClusterName) -> Option<u64> {
    let socket = Folders::of_controller(cluster).run.join("controller.sock");
    let status = daemon::get::<ControllerStatus>(&socket, "/v1/status").await;
    status.ok().map(|status| status.revision)
}

/// Waits until a controller tells something else than before. It need not: then what is measured is tried again.
async fn noticed(cluster: &ClusterName, before: Option<u64>) {
    let end = Instant::now() + NOTICE;
    while Instant::now() < end && revision(cluster).await == before {
        sleep(LOOK).await;
    }
}
