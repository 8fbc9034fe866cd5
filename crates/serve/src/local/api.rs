//! Which question goes to which method.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use engine::plan::State;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wire::local::{
    AgentStatus, AuthorityStatus, CniRequest, CniResponse, ControllerStatus, DeniedFlows, Examination,
    Examine, KeysRequested, LinkJoin, LinkJoined, LinkTerms, MOST_POLICY_QUESTIONS, MeshReport, MtuAsk,
    MtuStatus, MulticlusterStatus, PeerWrite, PolicyAnswer, PolicyLint, PolicyQuestion, PolicyQuestions,
    PolicyShow, PolicyShowAsk, Rotate, RotateKeys, ServicesReport, Token,
};

use crate::http::{self, Vitals};

/// For how long whoever watches denied flows waits for the next, if he does not say.
const WATCHED: u64 = 10;

/// And at most, in seconds: less than [`crate::client`] waits for an answer.
const LONGEST_WATCHED: u64 = 20;

/// No question is longer, in bytes.
const LONGEST_QUESTION: usize = 1 << 20;

/// Why a question is not answered. The text says what was attempted, on what, and what to check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The question is wrong; asking again will not help.
    #[error("{0}")]
    Wrong(String),
    /// Not now; ask again.
    #[error("{0}")]
    NotNow(String),
    /// We failed.
    #[error("{0}")]
    Failed(String),
}

/// What a node ought to hold, what it holds, and what is between the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// What the kernel ought to hold.
    pub desired: State,
    /// What it holds.
    pub observed: State,
    /// The operations that lead from one to the other, in words.
    pub operations: Vec<String>,
}

/// Whose eyes to look with.
#[derive(Debug, Deserialize)]
struct From {
    from: Option<String>,
}

/// From where on to read, and how long to wait.
#[derive(Debug, Deserialize)]
struct After {
    after: Option<u64>,
    wait: Option<u64>,
}

/// What an agent answers.
pub trait AgentApi: Vitals {
    /// `GET /v1/status`.
    fn status(&self) -> impl Future<Output = Result<AgentStatus, Refusal>> + Send;
    /// `GET /v1/plan`.
    fn plan(&self) -> impl Future<Output = Result<PlanReport, Refusal>> + Send;
    /// `GET /v1/services?from=NODE`: as this node sees them, or as another node or pod of its cluster does.
    fn services(&self, from: Option<String>) -> impl Future<Output = Result<ServicesReport, Refusal>> + Send;
    /// `POST /v1/mtu`: how large packets may be on the way to another cluster's nodes.
    fn mtu(&self, ask: MtuAsk) -> impl Future<Output = Result<MtuStatus, Refusal>> + Send;
    /// `GET /v1/policy/denied?after=N&wait=SECONDS`: flows that were denied after number `after`; where there are none, the
    /// first that is within `wait`. [`crate::Denied::since`] answers that.
    fn denied(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> impl Future<Output = Result<DeniedFlows, Refusal>> + Send;
    /// `POST /v1/cni`. What goes wrong goes wrong in CNI's own words.
    fn cni(&self, request: CniRequest) -> impl Future<Output = CniResponse> + Send;
}

/// What a controller answers.
pub trait ControllerApi: Vitals {
    /// `GET /v1/status`.
    fn status(&self) -> impl Future<Output = Result<ControllerStatus, Refusal>> + Send;
    /// `GET /v1/services`: what the cluster exports and imports.
    fn services(&self) -> impl Future<Output = Result<MulticlusterStatus, Refusal>> + Send;
    /// `POST /v1/tokens/node`: lets nodes join this cluster.
    fn node_token(&self) -> impl Future<Output = Result<Token, Refusal>> + Send;
    /// `POST /v1/tokens/link`: lets other clusters link with this one.
    fn link_token(&self, terms: LinkTerms) -> impl Future<Output = Result<Token, Refusal>> + Send;
    /// `POST /v1/links`: links with the cluster that made the token.
    fn join(&self, join: LinkJoin) -> impl Future<Output = Result<LinkJoined, Refusal>> + Send;
    /// `DELETE /v1/links/CLUSTER`: ends a link.
    fn remove_link(&self, cluster: &str) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// `POST /v1/links/doctor`: looks for what is wrong with links.
    fn examine(&self, examine: Examine) -> impl Future<Output = Result<Vec<Examination>, Refusal>> + Send;
    /// `POST /v1/authority/rotate`: goes over to the next root.
    fn rotate(&self, rotate: Rotate) -> impl Future<Output = Result<AuthorityStatus, Refusal>> + Send;
    /// `POST /v1/policy/check`: who may talk to whom; an answer for each question, in their order.
    fn policy_check(
        &self,
        questions: Vec<PolicyQuestion>,
    ) -> impl Future<Output = Result<Vec<PolicyAnswer>, Refusal>> + Send;
    /// `POST /v1/policy/show`: what holds for a pod of the cluster.
    fn policy_show(&self, ask: PolicyShowAsk) -> impl Future<Output = Result<PolicyShow, Refusal>> + Send;
    /// `GET /v1/policy/lint`: what is hardly meant as it is written.
    fn policy_lint(&self) -> impl Future<Output = Result<PolicyLint, Refusal>> + Send;
    /// `GET /v1/mesh`: what a mesh is planned from.
    fn mesh(&self) -> impl Future<Output = Result<MeshReport, Refusal>> + Send;
    /// `POST /v1/keys/rotate`: has nodes make new WireGuard keys.
    fn rotate_keys(&self, ask: RotateKeys) -> impl Future<Output = Result<KeysRequested, Refusal>> + Send;
    /// `POST /v1/peers`: writes a peer that is not there yet.
    fn add_peer(&self, write: PeerWrite) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// `DELETE /v1/peers/NAME`: removes a peer.
    fn remove_peer(&self, name: &str) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// The agent's local API.
pub fn agent_router<A: AgentApi>(api: Arc<A>) -> Router {
    let (status, plan, services, cni) = (api.clone(), api.clone(), api.clone(), api.clone());
    let (mtu, denied) = (api.clone(), api.clone());
    let router = Router::new()
        .route("/v1/status", get(async move || answer(status.status().await)))
        .route("/v1/plan", get(async move || answer(plan.plan().await)))
        .route("/v1/mtu", understood(async move |ask| mtu.mtu(ask).await))
        .route(
            "/v1/services",
            get(async move |question: Result<Query<From>, QueryRejection>| match question {
                Ok(Query(From { from })) => answer(services.services(from).await),
                Err(rejection) => not_understood(rejection.status(), &rejection.body_text()),
            }),
        )
        .route(
            "/v1/policy/denied",
            get(async move |question: Result<Query<After>, QueryRejection>| match question {
                Ok(Query(After { after, wait })) => {
                    let wait = Duration::from_secs(wait.unwrap_or(WATCHED).min(LONGEST_WATCHED));
                    answer(denied.denied(after, wait).await)
                }
                Err(rejection) => not_understood(rejection.status(), &rejection.body_text()),
            }),
        )
        .route(
            "/v1/cni",
            post(async move |question: Result<Json<CniRequest>, JsonRejection>| match question {
                Ok(Json(request)) => Json(cni.cni(request).await).into_response(),
                Err(rejection) => not_understood(rejection.status(), &rejection.body_text()),
            }),
        );
    finish(router, api)
}

/// The controller's local API.
pub fn controller_router<C: ControllerApi>(api: Arc<C>) -> Router {
    let (status, node, link, join) = (api.clone(), api.clone(), api.clone(), api.clone());
    let (remove, examine, rotate) = (api.clone(), api.clone(), api.clone());
    let (services, check, show, lint) = (api.clone(), api.clone(), api.clone(), api.clone());
    let (mesh, keys, add_peer, remove_peer) = (api.clone(), api.clone(), api.clone(), api.clone());
    let router = Router::new()
        .route("/v1/status", get(async move || answer(status.status().await)))
        .route("/v1/services", get(async move || answer(services.services().await)))
        .route("/v1/tokens/node", post(async move || answer(node.node_token().await)))
        .route(
            "/v1/tokens/link",
            understood(async move |terms: Option<_>| link.link_token(terms.unwrap_or_default()).await),
        )
        .route("/v1/links", understood(async move |request| join.join(request).await))
        .route("/v1/links/doctor", understood(async move |request| examine.examine(request).await))
        .route("/v1/links/{cluster}", named(async move |cluster: String| remove.remove_link(&cluster).await))
        .route("/v1/authority/rotate", understood(async move |request| rotate.rotate(request).await))
        .route(
            "/v1/policy/check",
            understood(async move |PolicyQuestions { questions }| {
                if questions.len() > MOST_POLICY_QUESTIONS {
                    let many = questions.len();
                    let text = format!("{many} questions at once: at most {MOST_POLICY_QUESTIONS} are taken");
                    return Err(Refusal::Wrong(text));
                }
                check.policy_check(questions).await
            }),
        )
        .route("/v1/policy/show", understood(async move |ask| show.policy_show(ask).await))
        .route("/v1/policy/lint", get(async move || answer(lint.policy_lint().await)))
        .route("/v1/mesh", get(async move || answer(mesh.mesh().await)))
        .route("/v1/keys/rotate", understood(async move |ask| keys.rotate_keys(ask).await))
        .route("/v1/peers", understood(async move |write| add_peer.add_peer(write).await))
        .route("/v1/peers/{name}", named(async move |name: String| remove_peer.remove_peer(&name).await));
    finish(router, api)
}

/// Answers a question that was put with `POST`, if it is understood.
fn understood<Q, A, F>(ask: impl FnOnce(Q) -> F + Clone + Send + Sync + 'static) -> MethodRouter
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize,
    F: Future<Output = Result<A, Refusal>> + Send,
{
    post(async move |question: Result<Json<Q>, JsonRejection>| match question {
        Ok(Json(question)) => answer(ask(question).await),
        Err(rejection) => not_understood(rejection.status(), &rejection.body_text()),
    })
}

/// Removes what the path names, if that is text.
fn named<F>(remove: impl FnOnce(String) -> F + Clone + Send + Sync + 'static) -> MethodRouter
where
    F: Future<Output = Result<(), Refusal>> + Send,
{
    delete(async move |name: Result<Path<String>, PathRejection>| match name {
        Ok(Path(name)) => answer(remove(name).await),
        Err(rejection) => not_understood(rejection.status(), &rejection.body_text()),
    })
}

/// What every local API has: metrics, health, limits, and an error for what it does not have.
fn finish<V: Vitals>(router: Router, vitals: Arc<V>) -> Router {
    let not_ours = |status| {
        move |request: Request| {
            let text = format!("{} {} is not part of this API", request.method(), request.uri().path());
            std::future::ready(error(status, text))
        }
    };
    router
        .merge(http::router(vitals))
        .fallback(not_ours(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(not_ours(StatusCode::METHOD_NOT_ALLOWED))
        .layer(DefaultBodyLimit::max(LONGEST_QUESTION))
}

fn answer<T: Serialize>(result: Result<T, Refusal>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => {
            let status = match refusal {
                Refusal::Wrong(_) => StatusCode::BAD_REQUEST,
                Refusal::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            error(status, refusal.to_string())
        }
    }
}

fn not_understood(status: StatusCode, why: &str) -> Response {
    error(status, format!("the question was not understood: {why}"))
}

/// What goes over the wire in place of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: String,
}

fn error(status: StatusCode, error: String) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}
