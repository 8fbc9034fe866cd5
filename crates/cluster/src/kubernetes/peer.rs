//! Peers at the API server, as `causeway peer` writes them.

use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

use super::Error;
use super::write::{PATIENCE, answered, create as create_object};
use crate::manifest::Kind;
use crate::manifest::peer::Peer;

fn api(client: &Client) -> Api<DynamicObject> {
    let (group, version) = Kind::Peer.api_version().split_once('/').expect("it has a group");
    let kind = GroupVersionKind::gvk(group, version, Kind::Peer.as_str());
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, &Kind::Peer.plural()))
}

/// Creates a peer that must not be there yet.
///
/// # Errors
/// What the API server says: [`super::write::Remedy::Look`] when it is there, [`super::write::Remedy::Gone`] when the
/// cluster does not know of peers.
pub async fn create(client: &Client, peer: &Peer) -> Result<(), Error> {
    let value = serde_json::to_value(peer).expect("objects are JSON");
    let object: DynamicObject = serde_json::from_value(value).expect("it has metadata");
    let name = peer.metadata.name.as_deref().unwrap_or_default();
    create_object(&api(client), "peers", name, &object).await.map(drop)
}

/// Deletes a peer.
///
/// # Errors
/// What the API server says: [`super::write::Remedy::Gone`] when it is not there.
pub async fn delete(client: &Client, name: &str) -> Result<(), Error> {
    let api = api(client);
    answered(|| format!("delete peers/{name}"), PATIENCE, api.delete(name, &DeleteParams::default()))
        .await
        .map(drop)
}
