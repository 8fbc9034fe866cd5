//! Metrics and health over TCP, for whoever watches the daemons: `/metrics`, `/healthz`, `/readyz`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::connections;

/// What the OpenMetrics text format calls itself.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a daemon is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// What it waits for before it is ready, in words; ready if empty.
    pub waiting_for: Vec<String>,
}

/// What a daemon says to those who watch it.
pub trait Vitals: Send + Sync + 'static {
    /// Whether it is ready. Answering at all means that it lives.
    fn health(&self) -> Health;
    /// Its metrics, in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// A TCP port that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for HTTP on {address}: {source}; check that the address is this machine's and the port is free"
)]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

impl ListenError {
    /// Whether the address is not this machine's.
    pub fn is_elsewhere(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrNotAvailable
    }
}

/// Listens, and then serves for as long as the returned future is polled.
///
/// # Errors
/// When the address cannot be had.
pub async fn serve(
    address: SocketAddr,
    router: Router,
) -> Result<impl Future<Output = ()> + Send + 'static, ListenError> {
    let listener = bind(address).await.map_err(|source| ListenError { address, source })?;
    Ok(connections::serve(listener, router))
}

/// On a machine that speaks no IPv6, every address is every IPv4 address.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(e) if address.ip() == Ipv6Addr::UNSPECIFIED && e.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| e)
        }
        other => other,
    }
}

/// Answers `/metrics`, `/healthz` and `/readyz`.
pub fn router<V: Vitals + ?Sized>(vitals: Arc<V>) -> Router {
    let for_metrics = vitals.clone();
    let metrics = move || std::future::ready(([(header::CONTENT_TYPE, OPEN_METRICS)], for_metrics.metrics()));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(move || std::future::ready(readiness(&vitals.health()))))
}

fn readiness(health: &Health) -> Response {
    if health.waiting_for.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = health.waiting_for.iter().map(|line| format!("waiting for {line}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}
