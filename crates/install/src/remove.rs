//! Taking everything away again: first from the nodes, by the agents themselves, then from the API server.

use std::collections::BTreeSet;

use cluster::kubernetes::FIELD_MANAGER;
use cluster::multicluster::{MANAGED_BY, MANAGER};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::api::{DeleteParams, DynamicObject, ListParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::api::{self, Error};
use crate::definitions::{self, definitions};
use crate::objects::objects;
use crate::settings::Settings;
use crate::standing::Daemon;

/// The settings under which agents clean their nodes, all at a time.
pub fn cleaning(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.agent.cleanup = true;
    settings.agent.max_unavailable = "100%".into();
    settings
}

/// The nodes that agents run on. To be asked before the agents are replaced by what cleans: in between, a node has no
/// pod of ours and needs cleaning all the same.
///
/// # Errors
/// Pods cannot be listed.
pub async fn inhabited(client: &Client, settings: &Settings) -> Result<BTreeSet<String>, Error> {
    Ok(agents(client, settings).await?.iter().filter_map(node_of).collect())
}

/// Which of these nodes are still there and not clean yet.
///
/// # Errors
/// Nodes or pods cannot be listed.
pub async fn unclean(
    client: &Client,
    settings: &Settings,
    inhabited: &BTreeSet<String>,
) -> Result<BTreeSet<String>, Error> {
    let pods = agents(client, settings).await?;
    let cleaned: BTreeSet<String> = pods.iter().filter(|pod| has_cleaned(pod)).filter_map(node_of).collect();
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    let nodes = nodes.map_err(Error::new("listing", "nodes"))?;
    let names = nodes.iter().map(ResourceExt::name_any);
    Ok(names.filter(|name| inhabited.contains(name) && !cleaned.contains(name)).collect())
}

async fn agents(client: &Client, settings: &Settings) -> Result<Vec<Pod>, Error> {
    let pods =
        Api::<Pod>::namespaced(client.clone(), &settings.namespace).list(&Daemon::Agent.selector()).await;
    Ok(pods.map_err(Error::new("listing", "the agents' pods"))?.items)
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

/// Whether this pod cleans rather than runs the agent, and has done it: it is ready from then on.
fn has_cleaned(pod: &Pod) -> bool {
    let mut words =
        pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|c| c.command.iter().flatten());
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    words.any(|word| word == "--cleanup") && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether any pod of ours is still there: what they would write after being deleted is waited for.
///
/// # Errors
/// Pods cannot be listed.
pub async fn pods(client: &Client, namespace: &str) -> Result<usize, Error> {
    let ours = ListParams::default().labels("app.kubernetes.io/name=causeway");
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ours).await;
    Ok(pods.map_err(Error::new("listing", "our pods"))?.items.len())
}

/// The daemons, first of all to be deleted.
pub fn daemons(settings: &Settings) -> Vec<Value> {
    let is_daemon = |object: &Value| object["kind"] == "DaemonSet" || object["kind"] == "Deployment";
    objects(settings).into_iter().rev().filter(is_daemon).collect()
}

/// Everything else, in the order it is deleted in: what we were given, and what the controllers wrote.
pub fn rest(settings: &Settings) -> Vec<Value> {
    let written = |api: &str, kind: &str, name: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": settings.namespace}});
    let mut all = vec![
        written("v1", "Secret", "causeway-state"),
        written("v1", "ConfigMap", "causeway-roots"),
        written("coordination.k8s.io/v1", "Lease", "causeway-controller"),
    ];
    let is_daemon = |object: &Value| object["kind"] == "DaemonSet" || object["kind"] == "Deployment";
    all.extend(objects(settings).into_iter().rev().filter(|object| !is_daemon(object)));
    all
}

/// Deletes one object, with what hangs on it. Whether it was there.
///
/// # Errors
/// The API server refuses, or does not answer.
pub async fn delete(client: &Client, object: &Value) -> Result<bool, Error> {
    if object["kind"] == "Namespace" && !is_ours(client, api::name(object)).await? {
        return Ok(false);
    }
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    match api::of(client, object).delete(api::name(object), &params).await {
        Ok(_) => Ok(true),
        Err(error) if api::is_missing(&error) => Ok(false),
        Err(error) => Err(Error::new("deleting", api::named(object))(error)),
    }
}

/// Whether an object is still there.
///
/// # Errors
/// The API server does not say.
pub async fn is_there(client: &Client, object: &Value) -> Result<bool, Error> {
    let found = api::of(client, object).get_opt(api::name(object)).await;
    Ok(found.map_err(Error::new("reading", api::named(object)))?.is_some())
}

/// A namespace that somebody else made, or shares with us, stays.
async fn is_ours(client: &Client, name: &str) -> Result<bool, Error> {
    let found = Api::<Namespace>::all(client.clone()).get_opt(name).await;
    let found = found.map_err(Error::new("reading", format!("Namespace {name}")))?;
    Ok(found.is_some_and(|n| n.labels().get("app.kubernetes.io/name").is_some_and(|name| name == "causeway")))
}

/// Deletes what the controllers said about objects, in every namespace. How many Events there were.
///
/// # Errors
/// Events cannot be listed or deleted.
pub async fn events(client: &Client) -> Result<usize, Error> {
    let ours = ListParams::default().fields("reportingComponent=causeway.io/controller");
    let events =
        Api::<Event>::all(client.clone()).list(&ours).await.map_err(Error::new("listing", "Events"))?;
    for event in &events.items {
        let (namespace, name) = (event.namespace().unwrap_or_default(), event.name_any());
        let api = Api::<Event>::namespaced(client.clone(), &namespace);
        match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if !api::is_missing(&error) => {
                return Err(Error::new("deleting", format!("Event {namespace}/{name}"))(error));
            }
            _ => {}
        }
    }
    Ok(events.items.len())
}

/// Deletes what the controllers wrote of other clusters' services: derived slices, imports, the cluster's properties. How
/// many objects that were.
///
/// # Errors
/// They cannot be listed or deleted.
pub async fn imports(client: &Client) -> Result<usize, Error> {
    let mut removed = 0;
    let slices = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let slices = Api::<EndpointSlice>::all(client.clone()).list_metadata(&slices).await;
    for slice in slices.map_err(Error::new("listing", "EndpointSlices"))?.items {
        let (namespace, name) = (slice.namespace().unwrap_or_default(), slice.name_any());
        let api = Api::<EndpointSlice>::namespaced(client.clone(), &namespace);
        removed += gone(api.delete(&name, &DeleteParams::default()).await, &format!("EndpointSlice {name}"))?;
    }
    for definition in definitions() {
        let resource = definitions::resource(&definition);
        let all = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let found = match all.list(&ListParams::default()).await {
            Ok(found) => found,
            // There are none such.
            Err(error) if api::is_missing(&error) => continue,
            Err(error) => return Err(Error::new("listing", resource.plural)(error)),
        };
        for object in found.items.iter().filter(|object| is_written_by_us(&object.metadata)) {
            let name = object.name_any();
            let api = match object.namespace() {
                Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
                None => all.clone(),
            };
            let named = format!("{} {name}", resource.kind);
            removed += gone(api.delete(&name, &DeleteParams::default()).await, &named)?;
        }
    }
    Ok(removed)
}

/// Whether we have written more of it than its status: what users made themselves is theirs.
fn is_written_by_us(metadata: &ObjectMeta) -> bool {
    let ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    };
    metadata.managed_fields.iter().flatten().any(ours)
}

#[expect(clippy::result_large_err, reason = "what kube answers is taken as it is")]
fn gone<T>(deleted: Result<T, kube::Error>, named: &str) -> Result<usize, Error> {
    match deleted {
        Ok(_) => Ok(1),
        Err(error) if api::is_missing(&error) => Ok(0),
        Err(error) => Err(Error::new("deleting", named)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_pods_have_cleaned() {
        for (command, ready, expected) in
            [("--cleanup", "True", true), ("--cleanup", "False", false), ("--config=x", "True", false)]
        {
            let spec = json!({"containers": [{"name": "agent", "command": ["/causeway", "agent", command]}]});
            let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
            let pod: Pod = serde_json::from_value(json!({"spec": spec, "status": status})).unwrap();
            assert_eq!(has_cleaned(&pod), expected, "{command} {ready}");
        }
    }

    #[test]
    fn everything_is_deleted_once() {
        let settings = Settings { namespace: "causeway-system".into(), ..Settings::default() };
        let names = |objects: Vec<Value>| objects.iter().map(api::named).collect::<Vec<_>>();
        let (daemons, rest) = (names(daemons(&settings)), names(rest(&settings)));
        assert_eq!(
            daemons,
            ["DaemonSet causeway-system/causeway-agent", "Deployment causeway-system/causeway-controller"]
        );
        assert_eq!(
            daemons.len() + rest.len(),
            objects(&settings).len() + 3,
            "and three that controllers write"
        );
        assert_eq!(rest.last().map(String::as_str), Some("Namespace causeway-system"));
    }

    #[test]
    fn the_namespace_of_others_stays() {
        let rest = super::rest(&Settings::default());
        assert!(rest.iter().all(|object| object["kind"] != "Namespace" && object["kind"] != "ResourceQuota"));
    }
}
