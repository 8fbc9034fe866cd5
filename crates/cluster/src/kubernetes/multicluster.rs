//! How imports, what has become of exports, derived slices and the cluster's properties are written.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use model::ObjectName;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::Error;
use super::write::{self, Fields, PATIENCE, Remedy, answered, now};
use crate::manifest::Kind;
use crate::manifest::multicluster::{ServiceImport, ServiceImportPort, ServiceImportSpec};
use crate::multicluster::{Condition, DerivedSlice, Imported, print_of, version};

/// What a cluster is called in its clusterset (about.k8s.io).
pub const CLUSTER_PROPERTY: &str = "cluster.clusterset.k8s.io";
/// Which clusterset a cluster is in (about.k8s.io).
pub const CLUSTERSET_PROPERTY: &str = "clusterset.k8s.io";
const GROUP: &str = "multicluster.x-k8s.io";

/// Writes what the Multi-Cluster Services API asks of a controller.
pub struct Multicluster {
    client: Client,
    /// The version of the API that the server has.
    served: OnceCell<&'static str>,
}

/// The fields of an import that are ours.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportFields {
    /// Its name.
    pub name: ObjectName,
    /// Its spec.
    pub spec: Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl ImportFields {
    /// Of an import as it is worked out.
    pub fn new(import: &model::Import) -> Self {
        let model::Import { key, vips, ports, terms, traffic: _, clusters: _ } = import;
        let port = |port: &model::ServicePort| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_string());
            ServiceImportPort {
                name: text(&port.name),
                protocol: Some(port.protocol.to_string()),
                app_protocol: text(&port.app_protocol),
                port: port.port.get().into(),
            }
        };
        let families = terms.ipv6.iter().map(|v6| if *v6 { "IPv6" } else { "IPv4" }.to_string());
        let families: Vec<String> = families.collect();
        let seconds = terms.session_affinity;
        let config = seconds.map(|seconds| json!({ "clientIP": { "timeoutSeconds": seconds } }));
        let spec = ServiceImportSpec {
            ports: ports.iter().map(port).collect(),
            ips: (!vips.is_empty()).then(|| vips.iter().map(ToString::to_string).collect()),
            ip_families: (!families.is_empty()).then_some(families),
            type_: if terms.headless { "Headless" } else { "ClusterSetIP" }.into(),
            session_affinity: Some(if seconds.is_some() { "ClientIP" } else { "None" }.into()),
            session_affinity_config: config.and_then(|config| serde_json::from_value(config).ok()),
            internal_traffic_policy: Some(if terms.internal_local { "Local" } else { "Cluster" }.into()),
            traffic_distribution: (!terms.traffic_distribution.is_empty())
                .then(|| terms.traffic_distribution.clone()),
        };
        Self {
            name: key.name.clone(),
            spec: serde_json::to_value(spec).expect("a spec is JSON"),
            labels: terms.labels.clone(),
            annotations: terms.annotations.clone(),
        }
    }

    /// Whether what is held says the same.
    pub fn are(&self, held: &Imported) -> bool {
        (&self.spec, &self.labels, &self.annotations) == (&held.spec, &held.labels, &held.annotations)
    }

    /// Stands for the fields.
    pub fn print(&self) -> u64 {
        print_of(&json!([self.spec, self.labels, self.annotations]))
    }
}

/// A derived slice as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceFields {
    /// Its own name.
    pub name: ObjectName,
    /// The import that it belongs to.
    pub import: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addressType, ports and endpoints.
    pub content: Value,
}

impl SliceFields {
    /// Stands for the content.
    pub fn print(&self) -> u64 {
        print_of(&self.content)
    }
}

struct Body(&'static str, Value);

impl Fields for Body {
    fn resource(&self) -> &'static str {
        self.0
    }

    fn value(&self) -> Value {
        self.1.clone()
    }
}

impl Multicluster {
    /// Writes through this client.
    pub fn new(client: Client) -> Self {
        Self { client, served: OnceCell::new() }
    }

    /// The version of the MCS API that is served; none where there is none.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn served(&self) -> Result<Option<&'static str>, Error> {
        if let Some(served) = self.served.get() {
            return Ok(Some(served));
        }
        let one = ListParams::default().limit(1);
        for full in Kind::ServiceImport.api_versions() {
            let served = full.rsplit('/').next().unwrap_or(full);
            let api =
                Api::<DynamicObject>::all_with(self.client.clone(), &resource(Kind::ServiceImport, served));
            let asked =
                answered(|| format!("list serviceimports in {full}"), PATIENCE, api.list_metadata(&one));
            match asked.await {
                Ok(_) => return Ok(Some(self.served.get_or_init(|| async { served }).await)),
                Err(error) if error.remedy() == Remedy::Gone => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn api(&self, kind: Kind, namespace: &str) -> Result<(Api<DynamicObject>, String), Error> {
        let served = self.served().await?.unwrap_or("v1beta1");
        let api = Api::namespaced_with(self.client.clone(), namespace, &resource(kind, served));
        Ok((api, format!("{GROUP}/{served}")))
    }

    /// Writes an import. Returns it as it is then.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn apply_import(&self, fields: &ImportFields) -> Result<Imported, Error> {
        let ObjectName { namespace, name } = &fields.name;
        let (api, version) = self.api(Kind::ServiceImport, namespace).await?;
        let body = json!({
            "apiVersion": version,
            "kind": "ServiceImport",
            "metadata": { "name": name, "labels": fields.labels, "annotations": fields.annotations },
            "spec": fields.spec,
        });
        imported(write::apply(&api, name, &Body("serviceimports", body)).await?)
    }

    /// Writes where an import comes from. Returns it as it is then.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn apply_import_status(
        &self,
        name: &ObjectName,
        clusters: &[String],
        conditions: &[Condition],
    ) -> Result<Imported, Error> {
        let (api, version) = self.api(Kind::ServiceImport, &name.namespace).await?;
        let clusters: Vec<Value> = clusters.iter().map(|cluster| json!({ "cluster": cluster })).collect();
        let status = json!({ "clusters": clusters, "conditions": written(conditions) });
        let body = with_status(version, "ServiceImport", &name.name, status);
        imported(write::apply_status(&api, &name.name, &Body("serviceimports", body)).await?)
    }

    /// Removes an import, if it is still this one.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn delete_import(&self, name: &ObjectName, uid: &str) -> Result<(), Error> {
        let (api, _) = self.api(Kind::ServiceImport, &name.namespace).await?;
        let uid = (!uid.is_empty()).then(|| uid.to_string());
        let preconditions = Some(Preconditions { uid, resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        gone(
            answered(|| format!("delete serviceimports/{name}"), PATIENCE, api.delete(&name.name, &params))
                .await,
        )
    }

    /// Writes what has become of an export. Returns its resourceVersion.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn apply_export_status(
        &self,
        name: &ObjectName,
        conditions: &[Condition],
    ) -> Result<u64, Error> {
        let (api, version) = self.api(Kind::ServiceExport, &name.namespace).await?;
        let status = json!({ "conditions": written(conditions) });
        let body = with_status(version, "ServiceExport", &name.name, status);
        let applied = write::apply_status(&api, &name.name, &Body("serviceexports", body)).await?;
        Ok(self::version(&applied.metadata))
    }

    /// Writes a derived slice that belongs to the import of this uid. Returns it as it is then.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn apply_slice(&self, fields: &SliceFields, uid: &str) -> Result<DerivedSlice, Error> {
        let ObjectName { namespace, name } = &fields.name;
        let served = self.served().await?.unwrap_or("v1beta1");
        let mut body = fields.content.clone();
        body["apiVersion"] = "discovery.k8s.io/v1".into();
        body["kind"] = "EndpointSlice".into();
        body["metadata"] = json!({
            "name": name,
            "labels": fields.labels,
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/{served}"),
                "kind": "ServiceImport",
                "name": fields.import,
                "uid": uid,
                "controller": false,
                "blockOwnerDeletion": false,
            }],
        });
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), namespace);
        let applied = write::apply(&api, name, &Body("endpointslices", body)).await?;
        let version = version(&applied.metadata);
        Ok(DerivedSlice { version, import: fields.import.clone(), print: fields.print() })
    }

    /// Removes a derived slice.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn delete_slice(&self, name: &ObjectName) -> Result<(), Error> {
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &name.namespace);
        let action = || format!("delete endpointslices/{name}");
        gone(answered(action, PATIENCE, api.delete(&name.name, &DeleteParams::default())).await)
    }

    /// Sees to it that a ClusterProperty is so, or not there. Returns what stands there instead if somebody else wrote it, or
    /// that there are none such in this cluster.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn settle_property(&self, name: &str, value: Option<&str>) -> Result<Property, Error> {
        let gvk = GroupVersionKind::gvk("about.k8s.io", "v1beta1", "ClusterProperty");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "clusterproperties");
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let all = ListParams::default();
        let listed = answered(|| "list clusterproperties".into(), PATIENCE, api.list(&all)).await;
        let held = match listed {
            Ok(listed) => listed.items.into_iter().find(|object| object.name_any() == name),
            Err(error) if error.remedy() == Remedy::Gone => return Ok(Property::NoneSuch),
            Err(error) => return Err(error),
        };
        let said = held.as_ref().map(|object| object.data["spec"]["value"].as_str().unwrap_or_default());
        let ours = held.as_ref().is_none_or(|object| crate::multicluster::is_ours(&object.metadata));
        match (said, value) {
            (said, value) if said == value => Ok(Property::Settled),
            (Some(said), _) if !ours => Ok(Property::Another(said.into())),
            (_, Some(value)) => {
                let body = json!({
                    "apiVersion": "about.k8s.io/v1beta1",
                    "kind": "ClusterProperty",
                    "metadata": { "name": name },
                    "spec": { "value": value },
                });
                write::apply(&api, name, &Body("clusterproperties", body)).await.map(|_| Property::Settled)
            }
            (_, None) => {
                let action = || format!("delete clusterproperties/{name}");
                gone(answered(action, PATIENCE, api.delete(name, &DeleteParams::default())).await)?;
                Ok(Property::Settled)
            }
        }
    }
}

/// How a ClusterProperty stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// It is as it ought to be.
    Settled,
    /// Somebody else has written this value.
    Another(String),
    /// The cluster has no such kind.
    NoneSuch,
}

fn resource(kind: Kind, served: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk(GROUP, served, kind.as_str());
    ApiResource::from_gvk_with_plural(&gvk, &kind.plural())
}

fn with_status(version: String, kind: &str, name: &str, status: Value) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name }, "status": status })
}

fn written(conditions: &[Condition]) -> Vec<Value> {
    let now = now().to_string();
    let one = |condition: &Condition| {
        let Condition { kind, status, reason, message, generation, since } = condition;
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": if since.is_empty() { &now } else { since },
        })
    };
    conditions.iter().map(one).collect()
}

fn imported(object: DynamicObject) -> Result<Imported, Error> {
    let action = format!("read serviceimports/{}", object.name_any());
    let value = serde_json::to_value(object).and_then(serde_json::from_value::<ServiceImport>);
    let import = value.map_err(|error| Error::api(action, kube::Error::SerdeError(error)))?;
    Ok(Imported::from(&import))
}

/// What is gone already is no error.
fn gone<T>(deleted: Result<T, Error>) -> Result<(), Error> {
    match deleted {
        Err(error) if matches!(error.remedy(), Remedy::Gone | Remedy::Look) => Ok(()),
        other => other.map(drop),
    }
}
