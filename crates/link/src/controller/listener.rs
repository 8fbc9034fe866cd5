//! The port: takes connections in, and keeps the own certificate fresh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding::Zstd;
use wire::limits::FRAME_BYTES;
use wire::pb::exchange_server::ExchangeServer;

use super::service::Service;
use super::shared::Shared;
use crate::pki::{Lapsed, server_config};
use crate::tally::Refused;
use crate::transport::{Incoming, NoConnection, PING, PONG, WINDOW, accept};

/// Handshakes at the same time; beyond it callers wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// Streams on one connection. One is used.
const STREAMS: u32 = 8;
/// After a failure to accept or to renew: long enough not to spin.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves until everything ends.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let (connections, incoming) = mpsc::channel(HANDSHAKES);
    let exchange = ExchangeServer::new(Service(shared.clone()))
        .send_compressed(Zstd)
        .accept_compressed(Zstd)
        .max_decoding_message_size(FRAME_BYTES)
        .max_encoding_message_size(FRAME_BYTES);
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(2 * PING))
        .http2_keepalive_timeout(Some(PONG))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_concurrent_streams(STREAMS)
        .add_service(exchange)
        .serve_with_incoming_shutdown(
            ReceiverStream::new(incoming).map(Ok::<Incoming, std::io::Error>),
            shared.stopped(),
        );
    let accepting = accept_all(shared.clone(), listener, connections);
    tokio::select! {
        result = async { tokio::join!(server, async { tokio::select! {
            () = accepting => {}
            () = shared.stopped() => {}
        }}).0 } => {
            if let Err(error) = result {
                tracing::error!(%error, "the exchange's listener has failed");
            }
        }
    }
}

async fn accept_all(shared: Arc<Shared>, listener: TcpListener, connections: mpsc::Sender<Incoming>) {
    let lapsed = Lapsed { cluster: shared.name().clone(), grace: shared.options.lifetimes.grace };
    let config = server_config(shared.trust.clone(), shared.credentials.clone(), lapsed);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let turn = handshakes.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (tcp, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; check the limit of open files");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (shared, config, connections) = (shared.clone(), config.clone(), connections.clone());
        tokio::spawn(async move {
            if let Some(connection) = handshake(&shared, tcp, remote, config).await {
                let _ = connections.send(connection).await;
            }
            drop(turn);
        });
    }
}

async fn handshake(
    shared: &Shared,
    tcp: TcpStream,
    remote: SocketAddr,
    config: Arc<rustls::ServerConfig>,
) -> Option<Incoming> {
    let origin = remote.ip().to_string();
    match accept(tcp, config).await {
        Ok(connection) => return Some(connection),
        Err(NoConnection::Handshake(error)) => {
            shared.refuse(Refused::Handshake, &origin, &format!("no TLS handshake: {error}"));
        }
        Err(NoConnection::Certificate(untrusted)) => {
            shared.refuse(Refused::Certificate, &origin, &untrusted.to_string());
        }
    }
    None
}

/// Renews the own certificate at half of its life.
pub(crate) async fn renew(shared: Arc<Shared>) {
    let half = shared.options.lifetimes.certificate / 2;
    let mut wait = half;
    loop {
        tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = match shared.authority().own_leaf(SystemTime::now()) {
            Ok(leaf) => {
                shared.credentials.set(&leaf);
                shared.renewed.send_replace(());
                half
            }
            Err(error) => {
                tracing::error!(%error, "the controller's certificate could not be renewed yet");
                PAUSE
            }
        };
    }
}
