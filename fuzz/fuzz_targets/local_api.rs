//! What an agent and a controller are asked on their sockets: any path and body is understood, and then written as it was read, or
//! refused with an error that is JSON.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Uri, header};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serve::http::{Health, Vitals};
use serve::local::{AgentApi, ControllerApi, PlanReport, Refusal, agent_router, controller_router};
use tower::ServiceExt as _;
use wire::local::*;

/// Where something is asked for with a body.
const ASKED: [&str; 10] = [
    "/v1/mtu",
    "/v1/cni",
    "/v1/tokens/link",
    "/v1/links",
    "/v1/links/doctor",
    "/v1/authority/rotate",
    "/v1/policy/check",
    "/v1/policy/show",
    "/v1/keys/rotate",
    "/v1/peers",
];
/// More is never answered, in bytes, to questions of this size.
const LONGEST: usize = 1 << 20;

/// Somebody who understands, and does nothing.
struct Deaf;

/// Refuses what was asked, which is written as it was read.
fn heard<Q: Serialize + DeserializeOwned, A>(asked: &Q) -> Result<A, Refusal> {
    let written = serde_json::to_value(asked).expect("questions are JSON");
    let again: Q = serde_json::from_value(written.clone()).unwrap_or_else(|e| panic!("{e}: {written}"));
    assert_eq!(serde_json::to_value(&again).expect("questions are JSON"), written);
    Err(Refusal::Wrong("heard".into()))
}

fn nothing<A>() -> Result<A, Refusal> {
    Err(Refusal::NotNow("nothing".into()))
}

impl Vitals for Deaf {
    fn health(&self) -> Health {
        Health::default()
    }
    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
}

impl AgentApi for Deaf {
    async fn status(&self) -> Result<AgentStatus, Refusal> {
        nothing()
    }
    async fn plan(&self) -> Result<PlanReport, Refusal> {
        nothing()
    }
    async fn services(&self, from: Option<String>) -> Result<ServicesReport, Refusal> {
        heard(&from)
    }
    async fn mtu(&self, ask: MtuAsk) -> Result<MtuStatus, Refusal> {
        heard(&ask)
    }
    async fn denied(&self, after: Option<u64>, wait: Duration) -> Result<DeniedFlows, Refusal> {
        assert!(wait <= Duration::from_secs(20));
        heard(&after)
    }
    async fn cni(&self, request: CniRequest) -> CniResponse {
        let _: Result<(), _> = heard(&request);
        CniResponse::Error { code: 7, msg: "heard".into(), details: String::new() }
    }
}

impl ControllerApi for Deaf {
    async fn status(&self) -> Result<ControllerStatus, Refusal> {
        nothing()
    }
    async fn services(&self) -> Result<MulticlusterStatus, Refusal> {
        nothing()
    }
    async fn node_token(&self) -> Result<Token, Refusal> {
        nothing()
    }
    async fn link_token(&self, terms: LinkTerms) -> Result<Token, Refusal> {
        heard(&terms)
    }
    async fn join(&self, join: LinkJoin) -> Result<LinkJoined, Refusal> {
        heard(&join)
    }
    async fn remove_link(&self, cluster: &str) -> Result<(), Refusal> {
        heard(&cluster.to_string())
    }
    async fn examine(&self, examine: Examine) -> Result<Vec<Examination>, Refusal> {
        heard(&examine)
    }
    async fn rotate(&self, rotate: Rotate) -> Result<AuthorityStatus, Refusal> {
        heard(&rotate)
    }
    async fn policy_check(&self, questions: Vec<PolicyQuestion>) -> Result<Vec<PolicyAnswer>, Refusal> {
        assert!(questions.len() <= MOST_POLICY_QUESTIONS);
        heard(&questions)
    }
    async fn policy_show(&self, ask: PolicyShowAsk) -> Result<PolicyShow, Refusal> {
        heard(&ask)
    }
    async fn policy_lint(&self) -> Result<PolicyLint, Refusal> {
        nothing()
    }
    async fn mesh(&self) -> Result<MeshReport, Refusal> {
        nothing()
    }
    async fn rotate_keys(&self, ask: RotateKeys) -> Result<KeysRequested, Refusal> {
        heard(&ask)
    }
    async fn add_peer(&self, write: PeerWrite) -> Result<(), Refusal> {
        heard(&write)
    }
    async fn remove_peer(&self, name: &str) -> Result<(), Refusal> {
        heard(&name.to_string())
    }
}

struct Asked {
    runtime: tokio::runtime::Runtime,
    routers: [Router; 2],
}

thread_local! {
    static ASKED_ONES: RefCell<Asked> = RefCell::new(Asked {
        runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
        routers: [agent_router(Arc::new(Deaf)), controller_router(Arc::new(Deaf))],
    });
}

/// A byte that says where, and the body; or whatever path in a line of its own, and then the body.
fn question(bytes: &[u8]) -> Option<(Method, Uri, Vec<u8>)> {
    let (first, rest) = bytes.split_first()?;
    if let Some(path) = ASKED.get(usize::from(first.wrapping_sub(b'0'))) {
        return Some((Method::POST, Uri::from_static(path), rest.to_vec()));
    }
    let methods = [Method::GET, Method::POST, Method::DELETE];
    let method = methods.get(usize::from(*first) % 4).cloned().unwrap_or(Method::PUT);
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let path = std::str::from_utf8(&rest[..end]).ok()?;
    let uri = Uri::builder().path_and_query(path).build().ok()?;
    Some((method, uri, rest.get(end + 1..).unwrap_or_default().to_vec()))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((method, uri, body)) = question(bytes) else { return };
    ASKED_ONES.with_borrow_mut(|Asked { runtime, routers }| {
        for router in routers {
            let request = Request::builder()
                .method(method.clone())
                .uri(uri.clone())
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.clone()))
                .expect("it is a request");
            let answer = runtime.block_on(router.clone().oneshot(request)).expect("a router answers");
            let (status, is_text) = (answer.status(), !uri.path().starts_with("/v1/"));
            let answer = runtime.block_on(to_bytes(answer.into_body(), LONGEST)).expect("a short answer");
            assert!(status.as_u16() != 500, "{method} {uri}: {status}");
            if !is_text {
                let answer: Value = serde_json::from_slice(&answer).unwrap_or_else(|e| {
                    panic!("{method} {uri}: {status}: {e}: {}", String::from_utf8_lossy(&answer))
                });
                assert!(status.is_success() || answer["error"].is_string(), "{method} {uri}: {answer}");
            }
        }
    });
});
