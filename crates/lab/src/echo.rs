//! The echo server: says who answered, to whom. What the lab's services lead to.
//!
//! HTTP and UDP on the same port give the same JSON; HTTP by TCP and, where the kernel has that, SCTP. `/healthz` is for probes; `POST /fail` has it answer 503 until
//! `POST /recover`, while everything else goes on being answered, as with a backend that is asked to leave.

mod listen;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::matrix::sctp;

pub use listen::{Listen, ListenError};

/// Who answered, and whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `CAUSEWAY_CLUSTER` of the server; empty outside a lab, as all that follow.
    pub cluster: String,
    /// `CAUSEWAY_PROVIDER`; empty when nobody said.
    #[serde(default)]
    pub provider: String,
    /// `CAUSEWAY_REGION`.
    pub region: String,
    /// `CAUSEWAY_ZONE`.
    pub zone: String,
    /// `CAUSEWAY_NODE`.
    pub node: String,
    /// `CAUSEWAY_NAMESPACE`.
    pub namespace: String,
    /// `CAUSEWAY_POD`.
    pub pod: String,
    /// The address of the client as the server sees it.
    pub client: String,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be listened on.
    #[error(
        "cannot listen on {address} ({protocol}): {source}; is the port taken, the address this machine's?"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// `TCP`, `UDP` or `SCTP`.
        protocol: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A socket stopped working.
    #[error("cannot go on answering: {0}")]
    Serve(std::io::Error),
}

/// What all sockets share.
struct Server {
    identity: Answer,
    healthy: AtomicBool,
}

impl Answer {
    /// Who this process is, by its environment.
    pub fn of_this_process() -> Self {
        let of = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            cluster: of("CAUSEWAY_CLUSTER"),
            provider: of("CAUSEWAY_PROVIDER"),
            region: of("CAUSEWAY_REGION"),
            zone: of("CAUSEWAY_ZONE"),
            node: of("CAUSEWAY_NODE"),
            namespace: of("CAUSEWAY_NAMESPACE"),
            pod: of("CAUSEWAY_POD"),
            client: String::new(),
        }
    }
}

/// Serves until `stop` resolves or a socket fails. What has been asked by then is still answered.
pub async fn run(identity: Answer, listens: &[Listen], stop: impl Future<Output = ()>) -> Result<(), Error> {
    let server = Arc::new(Server { identity, healthy: AtomicBool::new(true) });
    let (ending, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for listen in listens {
        let (tcp, udp) = bind(listen).await?;
        if let Some(sctp) = same_by_sctp(&tcp)? {
            tasks.spawn(http(sctp, server.clone(), told(stopped.clone())));
        }
        tasks.spawn(http(tcp, server.clone(), told(stopped.clone())));
        let (server, stopped) = (server.clone(), told(stopped.clone()));
        tasks.spawn(async move {
            tokio::select! {
                result = datagrams(udp, server) => result,
                () = stopped => Ok(()),
            }
        });
    }
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(ended) => ended.expect("a task of the server does not panic").map_err(Error::Serve)?,
                None => return Ok(()),
            },
            () = &mut stop, if !*ending.borrow() => drop(ending.send_replace(true)),
        }
    }
}

/// Whoever could tell is gone: that is the same.
async fn told(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Both sockets on the first of the addresses that this machine can listen on.
async fn bind(listen: &Listen) -> Result<(TcpListener, UdpSocket), Error> {
    let mut result = bind_to(listen.address()).await;
    if let (Err(_), Some(fallback)) = (&result, listen.fallback()) {
        result = bind_to(fallback).await;
    }
    result
}

async fn bind_to(address: SocketAddr) -> Result<(TcpListener, UdpSocket), Error> {
    let failed = |protocol| move |source| Error::Bind { address, protocol, source };
    let tcp = TcpListener::bind(address).await.map_err(failed("TCP"))?;
    // Port 0 asks for any: the same one for both.
    let same = tcp.local_addr().map_err(failed("TCP"))?;
    let udp = UdpSocket::bind(same).await.map_err(failed("UDP"))?;
    tracing::info!(address = %same, "listening");
    Ok((tcp, udp))
}

/// The same address and port by SCTP, where the kernel has it.
fn same_by_sctp(tcp: &TcpListener) -> Result<Option<TcpListener>, Error> {
    let address = tcp.local_addr().map_err(Error::Serve)?;
    sctp::listener(address).map_err(|source| Error::Bind { address, protocol: "SCTP", source })
}

async fn http(
    listener: TcpListener,
    server: Arc<Server>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/fail", post(|server: State<Arc<Server>>| switch(server, false)))
        .route("/recover", post(|server: State<Arc<Server>>| switch(server, true)))
        .fallback(answer)
        .with_state(server)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| {
        // Small answers must not wait for more to come. A connection that is gone already will say so itself.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).with_graceful_shutdown(stop).await
}

async fn healthz(State(server): State<Arc<Server>>) -> (StatusCode, &'static str) {
    match server.healthy.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "told to fail; POST /recover ends it\n"),
    }
}

async fn switch(State(server): State<Arc<Server>>, healthy: bool) -> &'static str {
    server.healthy.store(healthy, Ordering::Relaxed);
    if healthy { "ready again\n" } else { "failing its probe\n" }
}

async fn answer(State(server): State<Arc<Server>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], server.answer_to(peer)).into_response()
}

async fn datagrams(socket: UdpSocket, server: Arc<Server>) -> std::io::Result<()> {
    // What is asked does not matter, so it need not fit.
    let mut question = [0; 1];
    loop {
        let asked = socket.recv_from(&mut question).await;
        let Ok((_, peer)) = asked else { continue }; // an ICMP error about an earlier answer
        let _ = socket.send_to(server.answer_to(peer).as_bytes(), peer).await; // nobody there any more
    }
}

impl Server {
    fn answer_to(&self, peer: SocketAddr) -> String {
        let answer = Answer { client: peer.ip().to_canonical().to_string(), ..self.identity.clone() };
        let mut text = serde_json::to_string(&answer).expect("strings are always JSON");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests;
