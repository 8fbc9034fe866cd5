//! TCP, TLS and HTTP/2 on both sides: how a connection is made, and how its silence is noticed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::codec::CompressionEncoding::Zstd;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use wire::limits::FRAME_BYTES;
use wire::pb::exchange_client::ExchangeClient;

use crate::Error;
use crate::pki::{Identity, Untrusted, identity_of, validity};

/// How long a connection may take to stand.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often whoever dialled pings, which is who has to dial again; who was dialled has time, and pings half as often. On
/// hundreds of links at rest pings are most of what flows.
pub(crate) const PING: Duration = Duration::from_secs(3);
/// How long the answer to a ping may take.
pub(crate) const PONG: Duration = Duration::from_secs(2);
/// How long a caller without a valid certificate may stay: long enough to get one.
const STRANGER: Duration = Duration::from_secs(30);
/// Bytes in flight on a stream, compressed: a snapshot between two clouds still takes well under a second, and what
/// a slow receiver has waiting is small beside an agent's memory.
pub(crate) const WINDOW: u32 = 256 * 1024;

/// Bytes in a segment of a connection, either way: what fits where the least is carried that IPv6 needs (RFC 8200, section 5). A
/// network in between that carries less than both ends' own and tells nobody (RFC 2923, section 2.1) swallows the rest.
const SEGMENT: u32 = 1280 - 40 - 20;

/// Connects to a controller.
pub(crate) async fn dial(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<ExchangeClient<Channel>, Error> {
    let tcp = reach(address).await;
    let tcp = tcp.map_err(|e| Error::Unreachable { address: address.to_string(), detail: e.to_string() })?;
    secure(tcp, address, config).await
}

/// The first half of it: TCP.
pub(crate) async fn reach(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    setsockopt(&socket, sockopt::TcpMaxSeg, &SEGMENT)?;
    let tcp = timeout(PATIENCE, socket.connect(address)).await;
    let tcp = tcp.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// The second half: TLS and HTTP/2.
pub(crate) async fn secure(
    tcp: TcpStream,
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<ExchangeClient<Channel>, Error> {
    let unreachable =
        |e: io::Error| Error::Unreachable { address: address.to_string(), detail: e.to_string() };
    let connect = async {
        let name = ServerName::IpAddress(address.ip().into());
        TlsConnector::from(config).connect(name, tcp).await.map_err(|e| match Untrusted::of(&e) {
            Some(source) => Error::Untrusted { address: address.to_string(), source },
            None => unreachable(e),
        })
    };
    let late = |_| unreachable(io::ErrorKind::TimedOut.into());
    let tls = timeout(PATIENCE, connect).await.map_err(late)??;
    // The channel would dial again by itself; here a connection that is gone is gone, and said to be.
    let once = Arc::new(Mutex::new(Some(TokioIo::new(tls))));
    let connector = tower::service_fn(move |_| {
        let io = once.lock().expect("no panic while it is locked").take();
        std::future::ready(io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    let channel = Endpoint::from_static("http://causeway.internal")
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .connect_with_connector(connector)
        .await
        .map_err(|e| Error::Unreachable { address: address.to_string(), detail: e.to_string() })?;
    Ok(ExchangeClient::new(channel)
        .send_compressed(Zstd)
        .accept_compressed(Zstd)
        .max_decoding_message_size(FRAME_BYTES)
        .max_encoding_message_size(FRAME_BYTES))
}

/// Why a stranger did not become a connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// The handshake failed or took too long.
    Handshake(io::Error),
    /// The certificate is not what it says.
    Certificate(Untrusted),
}

/// Takes a connection in.
pub(crate) async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Incoming, NoConnection> {
    let remote = tcp.peer_addr().map_err(NoConnection::Handshake)?;
    tcp.set_nodelay(true).map_err(NoConnection::Handshake)?;
    let tls = match timeout(PATIENCE, TlsAcceptor::from(config).accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(e)) => {
            return Err(Untrusted::of(&e).map_or(NoConnection::Handshake(e), NoConnection::Certificate));
        }
        Err(_) => return Err(NoConnection::Handshake(io::ErrorKind::TimedOut.into())),
    };
    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let (identity, life) = match certificate {
        None => (None, None),
        Some(certificate) => {
            let identity = identity_of(certificate).map_err(NoConnection::Certificate)?;
            let end = validity(certificate).map_or(SystemTime::UNIX_EPOCH, |(_, end)| end);
            (Some(identity), end.duration_since(SystemTime::now()).ok())
        }
    };
    let lapsed = identity.is_some() && life.is_none();
    let until = Box::pin(tokio::time::sleep(life.unwrap_or(STRANGER)));
    Ok(Incoming { tls: Box::new(tls), caller: Caller { identity, lapsed, remote }, until })
}

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Proved by its certificate; none if it showed none.
    pub(crate) identity: Option<Identity>,
    /// Whether that certificate has ended: it may be renewed, and nothing else.
    pub(crate) lapsed: bool,
    /// Where from.
    pub(crate) remote: SocketAddr,
}

/// A connection that was taken in. It ends with the caller's certificate.
pub(crate) struct Incoming {
    tls: Box<tokio_rustls::server::TlsStream<TcpStream>>,
    caller: Caller,
    until: Pin<Box<Sleep>>,
}

impl Connected for Incoming {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}
