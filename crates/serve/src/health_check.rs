//! What a load balancer outside asks a node about one service (`healthCheckNodePort`): whether it has endpoints there. As
//! kube-proxy answers, at every path.

use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::ObjectName;
use serde_json::json;
use tokio::sync::watch;

use crate::http::{self, ListenError};

/// How many endpoints there are, for balancers that spread by weight.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// What is answered at one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The service.
    pub service: ObjectName,
    /// How many of its endpoints are ready on the node.
    pub local_endpoints: usize,
    /// Whether the node would lead anybody to them.
    pub healthy: bool,
}

/// Listens, and then answers with what is so at the time for as long as the returned future is polled.
///
/// # Errors
/// When the address cannot be had.
pub async fn serve(
    address: SocketAddr,
    answer: watch::Receiver<Answer>,
) -> Result<impl Future<Output = ()> + Send + 'static, ListenError> {
    let router = Router::new().fallback(move || std::future::ready(response(&answer.borrow())));
    http::serve(address, router).await
}

fn response(Answer { service, local_endpoints, healthy }: &Answer) -> Response {
    let status = match *local_endpoints > 0 && *healthy {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({
        "service": { "namespace": service.namespace, "name": service.name },
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": healthy,
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (WEIGHT, HeaderValue::from(*local_endpoints)),
    ];
    (status, headers, body.to_string()).into_response()
}
