//! Server-side apply, one object after the other.

use cluster::kubernetes::FIELD_MANAGER;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use crate::api::{self, Error};

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was not there.
    Created,
    /// It was something else.
    Changed,
    /// It was what it ought to be.
    Same,
}

/// Applies one object; whoever else wrote its fields loses them.
///
/// # Errors
/// The API server refuses it, or does not answer.
pub async fn apply(client: &Client, object: &Value) -> Result<Applied, Error> {
    let api = api::of(client, object);
    let name = api::name(object);
    let before = api.get_opt(name).await.map_err(Error::new("reading", api::named(object)))?;
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let after = api.patch(name, &params, &Patch::Apply(object)).await;
    let after = after.map_err(Error::new("applying", api::named(object)))?;
    Ok(match before {
        None => Applied::Created,
        Some(before) if before.metadata.resource_version == after.metadata.resource_version => Applied::Same,
        Some(_) => Applied::Changed,
    })
}

/// How an object is named in messages.
pub fn name(object: &Value) -> String {
    api::named(object)
}
