//! Linking with another cluster, from this side.

use std::sync::Arc;

use model::ClusterName;
use wire::{VERSION, check_version, pb};

use super::links::Record;
use super::peers;
use super::shared::Shared;
use crate::enrol::answered;
use crate::error::ProtocolError;
use crate::frames::raw_roots;
use crate::pki::{Expect, Untrusted, client_config, fingerprint, parse_roots};
use crate::token::{JoinToken, TokenError, TokenKind};
use crate::{Error, transport};

/// Shows the token to the cluster that made it, and dials that cluster from then on.
/// `declared_by` is the object that asks for it, if one does.
pub(crate) async fn join(
    shared: &Arc<Shared>,
    token: &str,
    declared_by: Option<&str>,
) -> Result<ClusterName, Error> {
    let token = JoinToken::parse(token, TokenKind::Link)?;
    if token.cluster == *shared.name() {
        let ours = shared.authority().roots().iter().any(|root| fingerprint(root) == token.fingerprint);
        return Err(if ours { TokenError::OwnCluster } else { TokenError::SameName(token.cluster) }.into());
    }
    let expect = Expect::Pinned(token.cluster.clone(), token.fingerprint);
    let config = client_config(shared.trust.clone(), expect, None);
    let mut last = Error::NoAddress(format!("the controller of {}", token.cluster));
    let mut addresses = Vec::new();
    for address in &token.addresses {
        match address.resolve().await {
            Ok(found) => addresses.extend(found),
            Err(error) => last = error,
        }
    }
    for address in addresses {
        let mut client = match transport::dial(address, config.clone()).await {
            Ok(client) => client,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let request = pb::LinkRequest {
            version: Some(VERSION),
            token_id: token.id.to_vec(),
            token_secret: token.secret.to_vec(),
            cluster: Some(wire::encode_cluster(&shared.options.cluster)),
            roots: raw_roots(shared.authority().roots()),
        };
        let answer = answered(address, client.link(request)).await?;
        return accept(shared, &token, declared_by, &address.to_string(), answer);
    }
    Err(last)
}

fn accept(
    shared: &Arc<Shared>,
    token: &JoinToken,
    declared_by: Option<&str>,
    address: &str,
    answer: pb::LinkResponse,
) -> Result<ClusterName, Error> {
    check_version(answer.version)?;
    let cluster =
        answer.cluster.ok_or(wire::ParseError::Missing("a cluster")).map_err(ProtocolError::Parse)?;
    let cluster = wire::parse_cluster(cluster).map_err(ProtocolError::Parse)?;
    let roots = parse_roots(answer.roots).map_err(ProtocolError::Parse)?;
    if cluster.name != token.cluster || !roots.iter().any(|root| fingerprint(root) == token.fingerprint) {
        return Err(Error::Untrusted { address: address.into(), source: Untrusted::NotPinned });
    }
    let name = cluster.name.clone();
    let mut links = shared.links();
    links.check(&cluster, &roots)?;
    let record = Record::new(cluster, token.addresses.clone(), roots.clone());
    links.add(Record { declared_by: declared_by.map(Into::into), ..record })?;
    drop(links);
    shared.trust.set(&name, roots);
    start_dialling(shared, &name);
    tracing::info!(cluster = %name, "linked");
    Ok(name)
}

/// Starts the task that dials a linked cluster, if it is us who dial; in place of an older one.
pub(crate) fn start_dialling(shared: &Arc<Shared>, cluster: &ClusterName) {
    let mut links = shared.links();
    let Some(link) = links.get(cluster) else { return };
    if let Some(older) = link.dialler.take() {
        older.abort();
    }
    if !link.record.addresses.is_empty() && !link.record.severed {
        let task = tokio::spawn(peers::dial(shared.clone(), cluster.clone()));
        link.dialler = Some(task.abort_handle());
    }
}
