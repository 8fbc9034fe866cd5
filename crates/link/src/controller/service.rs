//! The calls that the listener answers, and who may make them.

use std::pin::Pin;
use std::sync::Arc;

use model::{ClusterName, NodeName};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::pb::exchange_server::Exchange;
use wire::{VERSION, check_version, limits, pb};

use super::links::Record;
use super::shared::Shared;
use super::{agents, peers};
use crate::Error;
use crate::frames::raw_roots;
use crate::pki::{Identity, SignError, parse_roots};
use crate::talk::OUTBOX;
use crate::tally::Refused;
use crate::token::TokenKind;
use crate::transport::Caller;

/// The service.
pub(crate) struct Service(pub(crate) Arc<Shared>);

type Frames = Pin<Box<dyn Stream<Item = Result<pb::Frame, Status>> + Send>>;

#[tonic::async_trait]
impl Exchange for Service {
    async fn enroll(
        &self,
        request: Request<pb::EnrollRequest>,
    ) -> Result<Response<pb::EnrollResponse>, Status> {
        let origin = self.caller(&request)?.remote.ip().to_string();
        let request = request.into_inner();
        self.version(request.version, &origin)?;
        let node = NodeName::new(self.0.name().clone(), request.node)
            .map_err(|e| self.refuse(Refused::Message, &origin, Status::invalid_argument(e.to_string())))?;
        // Signed before the token is spent: a bad request costs no use.
        let certificate = self.sign(&Identity::Node(node.clone()), &request.csr, &origin)?;
        self.redeem(TokenKind::Node, &request.token_id, &request.token_secret, Some(&node.node), &origin)?;
        tracing::info!(%node, origin, "a node has joined");
        let roots = raw_roots(self.0.authority.roots());
        Ok(Response::new(pb::EnrollResponse { version: Some(VERSION), certificate, roots }))
    }

    async fn link(&self, request: Request<pb::LinkRequest>) -> Result<Response<pb::LinkResponse>, Status> {
        let origin = self.caller(&request)?.remote.ip().to_string();
        let request = request.into_inner();
        self.version(request.version, &origin)?;
        let malformed = |e: wire::ParseError| {
            self.refuse(Refused::Message, &origin, Status::invalid_argument(e.to_string()))
        };
        let cluster = request.cluster.ok_or(wire::ParseError::Missing("a cluster")).map_err(malformed)?;
        let cluster = wire::parse_cluster(cluster).map_err(malformed)?;
        let roots = parse_roots(request.roots).map_err(malformed)?;
        // Nothing about the links here is said to who shows no good token; but a token is not spent in vain.
        self.0
            .tokens
            .check(TokenKind::Link, &request.token_id, &request.token_secret, None)
            .map_err(|e| self.refuse(Refused::Token, &origin, Status::unauthenticated(e.to_string())))?;
        self.0
            .links()
            .check(&cluster, &roots)
            .map_err(|e| self.refuse(Refused::Link, &origin, Status::failed_precondition(e.to_string())))?;
        self.redeem(TokenKind::Link, &request.token_id, &request.token_secret, None, &origin)?;
        let name = cluster.name.clone();
        self.0.links().add(Record { cluster, addresses: Vec::new(), roots: roots.clone() }).map_err(ours)?;
        self.0.trust.set(&name, roots);
        tracing::info!(cluster = %name, origin, "a cluster has been linked");
        Ok(Response::new(pb::LinkResponse {
            version: Some(VERSION),
            cluster: Some(wire::encode_cluster(&self.0.options.cluster)),
            roots: raw_roots(self.0.authority.roots()),
        }))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let caller = self.caller(&request)?;
        let origin = caller.remote.ip().to_string();
        let node = match caller.identity {
            Some(Identity::Node(node)) if node.cluster == *self.0.name() => node,
            _ => return Err(self.stranger(&caller, &origin)),
        };
        let request = request.into_inner();
        self.version(request.version, &origin)?;
        let certificate = self.sign(&Identity::Node(node), &request.csr, &origin)?;
        let roots = raw_roots(self.0.authority.roots());
        Ok(Response::new(pb::RenewResponse { version: Some(VERSION), certificate, roots }))
    }

    type StreamStream = Frames;

    async fn stream(&self, request: Request<Streaming<pb::Frame>>) -> Result<Response<Frames>, Status> {
        let caller = self.caller(&request)?;
        let remote = caller.remote;
        let (replies, frames) = mpsc::channel(OUTBOX);
        let shared = self.0.clone();
        match &caller.identity {
            Some(Identity::Node(node)) if node.cluster == *shared.name() => {
                let node = node.clone();
                tokio::spawn(agents::serve(shared, node, remote, request.into_inner(), replies));
            }
            Some(Identity::Controller(cluster)) if self.is_linked(cluster) => {
                let cluster = cluster.clone();
                tokio::spawn(peers::serve(shared, cluster, remote, request.into_inner(), replies));
            }
            _ => return Err(self.stranger(&caller, &remote.ip().to_string())),
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(frames))))
    }
}

impl Service {
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::internal("no connection"))
    }

    fn is_linked(&self, cluster: &ClusterName) -> bool {
        cluster != self.0.name() && self.0.links().get(cluster).is_some()
    }

    /// Counts a refusal and passes it on.
    fn refuse(&self, why: Refused, origin: &str, status: Status) -> Status {
        self.0.refuse(why, origin, status.message());
        status
    }

    fn stranger(&self, caller: &Caller, origin: &str) -> Status {
        let status = match &caller.identity {
            Some(identity) => {
                Status::permission_denied(format!("{identity} may not do this at cluster {}", self.0.name()))
            }
            None => Status::unauthenticated("this needs a certificate: join with a token first"),
        };
        self.refuse(Refused::Caller, origin, status)
    }

    fn version(&self, version: Option<pb::Version>, origin: &str) -> Result<(), Status> {
        check_version(version)
            .map_err(|e| self.refuse(Refused::Version, origin, Status::failed_precondition(e.to_string())))
    }

    fn sign(&self, identity: &Identity, request: &[u8], origin: &str) -> Result<Vec<u8>, Status> {
        let malformed =
            |detail: String| self.refuse(Refused::Message, origin, Status::invalid_argument(detail));
        if request.len() > limits::CERTIFICATE_BYTES {
            return Err(malformed("the signing request is too long".into()));
        }
        match self.0.authority.sign(identity, request) {
            Ok(certificate) => Ok(certificate.to_vec()),
            Err(SignError::Ours(error)) => Err(ours(error)),
            Err(error @ SignError::Request(_)) => Err(malformed(error.to_string())),
        }
    }

    fn redeem(
        &self,
        kind: TokenKind,
        id: &[u8],
        secret: &[u8],
        node: Option<&str>,
        origin: &str,
    ) -> Result<(), Status> {
        self.0.tokens.redeem(kind, id, secret, node).map_err(|error| match error {
            Error::Token(e) => self.refuse(Refused::Token, origin, Status::unauthenticated(e.to_string())),
            error => ours(error),
        })
    }
}

/// A failure of this side: logged here, not explained to callers.
fn ours(error: Error) -> Status {
    tracing::error!(%error, "a call could not be answered");
    Status::internal("the controller cannot do this now; its log says why")
}
