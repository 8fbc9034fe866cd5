//! Carries HTTP/1.1 connections to a router, as many at a time as we can afford and none of them for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

/// So many connections are served at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 64;

/// A client has so long to send a request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A request's header is at most so long, in bytes.
const HEADER: usize = 64 * 1024;

/// Serves until it is dropped; the connections it has accepted end with it.
pub(crate) async fn serve<L: Listener>(mut listener: L, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, _) = listener.accept().await;
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // A client that leaves in the middle is its own business.
            let _ = connection.await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}
