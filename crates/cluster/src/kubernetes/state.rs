//! What must survive every controller's machine: the cluster's CA, its links and its join tokens, in one Secret; and the CA's
//! public roots, in a ConfigMap that agents mount.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Error;
use super::write::{self, Fields, PATIENCE, Remedy, answered};

/// The Secret.
pub const STATE: &str = "causeway-state";
/// The ConfigMap, and its key.
pub const ROOTS: &str = "causeway-roots";
/// The key in the ConfigMap.
pub const ROOTS_KEY: &str = "ca.crt";

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Where a controller's state is kept in its cluster.
#[derive(Clone)]
pub struct Store {
    client: Client,
    namespace: String,
}

impl Store {
    /// In this namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.into() }
    }

    /// Reads the state; none when nobody has saved any.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn load(&self) -> Result<Option<Files>, Error> {
        let secret =
            answered(|| format!("get secrets/{STATE}"), PATIENCE, self.secrets().get_opt(STATE)).await?;
        Ok(secret.map(|secret| {
            let data = secret.data.unwrap_or_default().into_iter();
            data.map(|(name, ByteString(bytes))| (name, bytes)).collect()
        }))
    }

    /// Saves the state of the first controller there is. Returns the state that counts: somebody else's, when they were
    /// quicker.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn found(&self, files: Files) -> Result<Files, Error> {
        let metadata = ObjectMeta { name: Some(STATE.into()), ..ObjectMeta::default() };
        let data = files.iter().map(|(name, bytes)| (name.clone(), ByteString(bytes.clone()))).collect();
        let secret = Secret { metadata, data: Some(data), ..Secret::default() };
        match write::create(&self.secrets(), "secrets", STATE, &secret).await {
            Ok(_) => Ok(files),
            Err(error) if error.remedy() == Remedy::Look => Ok(self.load().await?.unwrap_or(files)),
            Err(error) => Err(error),
        }
    }

    /// Saves the state in place of what was saved before.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn save(&self, files: &Files) -> Result<(), Error> {
        write::apply(&self.secrets(), STATE, &State(files)).await.map(drop)
    }

    /// The roots as agents see them; none when nobody has written any.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn roots(&self) -> Result<Option<String>, Error> {
        let map =
            answered(|| format!("get configmaps/{ROOTS}"), PATIENCE, self.maps().get_opt(ROOTS)).await?;
        Ok(map.and_then(|map| map.data?.remove(ROOTS_KEY)))
    }

    /// Writes the roots (PEM) for agents to see.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn save_roots(&self, roots: &str) -> Result<(), Error> {
        write::apply(&self.maps(), ROOTS, &Roots(roots)).await.map(drop)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

struct State<'a>(&'a Files);

impl Fields for State<'_> {
    fn resource(&self) -> &'static str {
        "secrets"
    }

    fn value(&self) -> Value {
        let data = self.0.iter().map(|(name, bytes)| (name, ByteString(bytes.clone())));
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": STATE },
            "data": data.collect::<BTreeMap<_, _>>(),
        })
    }
}

struct Roots<'a>(&'a str);

impl Fields for Roots<'_> {
    fn resource(&self) -> &'static str {
        "configmaps"
    }

    fn value(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": ROOTS },
            "data": { ROOTS_KEY: self.0 },
        })
    }
}
