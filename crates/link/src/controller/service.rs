//! The calls that the listener answers, and who may make them.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{ClusterName, NodeName};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::pb::exchange_server::Exchange;
use wire::{VERSION, check_version, limits, pb};

use super::links::Record;
use super::review::NotReviewed;
use super::shared::Shared;
use super::{agents, peers};
use crate::Error;
use crate::frames::{SOFTWARE, raw_roots};
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
        let from = self.caller(&request)?.remote.ip().to_canonical();
        let origin = from.to_string();
        let request = request.into_inner();
        self.version(request.version, &origin)?;
        let node = NodeName::new(self.0.name().clone(), request.node)
            .map_err(|e| self.refuse(Refused::Message, &origin, Status::invalid_argument(e.to_string())))?;
        let certificate = if request.service_account_token.is_empty() {
            self.0.must_lead().map_err(|e| Status::unavailable(e.to_string()))?;
            // Signed before the token is spent: a bad request costs no use.
            let certificate = self.sign(&Identity::Node(node.clone()), &request.csr, &origin)?;
            let (id, secret) = (&request.token_id, &request.token_secret);
            self.redeem(TokenKind::Node, id, secret, Some(&node.node), &origin)?;
            certificate
        } else {
            self.review(&request.service_account_token, &node, from).await?;
            self.sign(&Identity::Node(node.clone()), &request.csr, &origin)?
        };
        tracing::info!(%node, origin, "a node has joined");
        let (roots, crosses) = self.roots();
        Ok(Response::new(pb::EnrollResponse { version: Some(VERSION), certificate, roots, crosses }))
    }

    async fn link(&self, request: Request<pb::LinkRequest>) -> Result<Response<pb::LinkResponse>, Status> {
        let origin = self.caller(&request)?.remote.ip().to_string();
        let request = request.into_inner();
        self.version(request.version, &origin)?;
        self.0.must_lead().map_err(|e| Status::unavailable(e.to_string()))?;
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
        self.0.links().add(Record::new(cluster, Vec::new(), roots.clone())).map_err(ours)?;
        self.0.trust.set(&name, roots);
        tracing::info!(cluster = %name, origin, "a cluster has been linked");
        Ok(Response::new(pb::LinkResponse {
            version: Some(VERSION),
            cluster: Some(wire::encode_cluster(&self.0.options.cluster)),
            roots: raw_roots(self.0.authority().roots()),
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
        if self.0.options.reviewer.as_ref().is_some_and(|reviewer| !reviewer.is_node(&node.node)) {
            let gone = Status::permission_denied(format!("there is no Node {} any more", node.node));
            return Err(self.refuse(Refused::Caller, &origin, gone));
        }
        let certificate = self.sign(&Identity::Node(node), &request.csr, &origin)?;
        let (roots, crosses) = self.roots();
        Ok(Response::new(pb::RenewResponse { version: Some(VERSION), certificate, roots, crosses }))
    }

    async fn probe(&self, request: Request<pb::ProbeRequest>) -> Result<Response<pb::ProbeResponse>, Status> {
        let caller = self.caller(&request)?;
        // Whatever its version: it asks to find out.
        match &caller.identity {
            Some(Identity::Controller(cluster)) if !caller.lapsed && self.is_linked(cluster) => {}
            _ => return Err(self.stranger(&caller, &caller.remote.ip().to_string())),
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Ok(Response::new(pb::ProbeResponse {
            version: Some(VERSION),
            software: SOFTWARE.into(),
            cluster: Some(wire::encode_cluster(&self.0.options.cluster)),
            time: u64::try_from(time).unwrap_or_default(),
            leads: self.0.leads(),
        }))
    }

    type StreamStream = Frames;

    async fn stream(&self, request: Request<Streaming<pb::Frame>>) -> Result<Response<Frames>, Status> {
        let caller = self.caller(&request)?;
        let remote = caller.remote;
        if caller.lapsed {
            let late = "the certificate has ended: all that can be done with it is to renew it";
            let origin = remote.ip().to_string();
            return Err(self.refuse(Refused::Caller, &origin, Status::unauthenticated(late)));
        }
        let (replies, frames) = mpsc::channel(OUTBOX);
        let shared = self.0.clone();
        match &caller.identity {
            Some(Identity::Node(node)) if node.cluster == *shared.name() => {
                // Only the leader hears linked clusters; an agent would take what is missing for gone.
                if shared.links().iter().next().is_some() {
                    shared.must_lead().map_err(|e| Status::unavailable(e.to_string()))?;
                }
                let node = node.clone();
                tokio::spawn(agents::serve(shared, node, remote, request.into_inner(), replies));
            }
            Some(Identity::Controller(cluster)) if self.is_linked(cluster) => {
                self.0.must_lead().map_err(|e| Status::unavailable(e.to_string()))?;
                let cluster = cluster.clone();
                tokio::spawn(peers::serve(shared, cluster, remote, request.into_inner(), replies));
            }
            Some(Identity::Controller(cluster)) if shared.links().was_removed(cluster) => {
                peers::take_leave(&shared, cluster, &replies);
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

    /// The roots of the cluster, and what leads from one to the next, as they travel.
    fn roots(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let authority = self.0.authority();
        (raw_roots(authority.roots()), raw_roots(authority.crosses()))
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
        // Who can prove itself anew at any time needs no certificate that outlives its Node for long.
        let options = &self.0.options;
        let lifetime = match options.reviewer {
            Some(_) => options.reviewed_lifetime,
            None => options.lifetimes.certificate,
        };
        match self.0.authority().sign(identity, request, lifetime, SystemTime::now()) {
            Ok(certificate) => Ok(certificate.to_vec()),
            Err(SignError::Ours(error)) => Err(ours(error)),
            Err(error @ SignError::Request(_)) => Err(malformed(error.to_string())),
        }
    }

    /// Has a token of somebody else's checked: it must prove this node.
    async fn review(&self, token: &str, node: &NodeName, from: IpAddr) -> Result<(), Status> {
        let (shared, origin) = (&self.0, from.to_string());
        let Some(reviewer) = shared.options.reviewer.as_ref() else {
            let none =
                format!("the controller of {} takes join tokens, not ServiceAccount tokens", shared.name());
            return Err(self.refuse(Refused::Token, &origin, Status::unauthenticated(none)));
        };
        if let Err(wait) = shared.patience.take(from) {
            let seconds = wait.as_secs_f64().ceil();
            let late = format!("too many tokens from {origin} proved nothing; try again in {seconds} s");
            return Err(self.refuse(Refused::Impatience, &origin, Status::resource_exhausted(late)));
        }
        let reviewed = reviewer.review(token).await;
        let good = reviewed.as_ref().is_ok_and(|proved| *proved == node.node);
        if good || matches!(reviewed, Err(NotReviewed::NotNow(_))) {
            shared.patience.give_back(from);
        }
        let refused = match reviewed {
            Ok(proved) if proved == node.node => return Ok(()),
            Ok(proved) => format!("the token is one of node {proved}, not of {}", node.node),
            Err(NotReviewed::Refused(why)) => why,
            Err(NotReviewed::NotNow(why)) => {
                return Err(self.refuse(Refused::Unreviewed, &origin, Status::unavailable(why)));
            }
        };
        Err(self.refuse(Refused::Token, &origin, Status::unauthenticated(refused)))
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
