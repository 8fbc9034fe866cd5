//! The peer: etcd as a cluster mesh uses it. A client that speaks its gRPC, and servers as processes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper_util::rt::TokioIo;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoStreamingRequest as _, Request};

use crate::process::Running;

/// `mvccpb.KeyValue`, as far as it is read.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    limit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    more: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(int64, tag = "3")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct DeleteRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

/// An answer of which nothing is read.
#[derive(Clone, PartialEq, Message)]
struct Done {}

#[derive(Clone, PartialEq, Message)]
struct LeaseRequest {
    #[prost(int64, tag = "1")]
    ttl: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseResponse {
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct WatchCreate {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    start_revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreate>,
}

/// Something that changed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    /// 0 for a put, 1 for a deletion.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchResponse {
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

/// A key that is written or, without a value, deleted.
pub(crate) type Write = (Vec<u8>, Option<Vec<u8>>);

impl From<Event> for Write {
    fn from(event: Event) -> Self {
        let KeyValue { key, value } = event.kv.unwrap_or_default();
        (key, (event.kind == 0).then_some(value))
    }
}

/// Certificates of both sides.
pub(crate) struct Tls {
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes them, as files for the server.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let leaf = |name: &str| -> Result<_> {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(vec![name.to_string()])?.signed_by(&key, &issuer)?;
            Ok((certificate, key))
        };
        let (server, server_key) = leaf("127.0.0.1")?;
        std::fs::write(folder.join("ca.pem"), root.pem())?;
        std::fs::write(folder.join("server.pem"), server.pem())?;
        std::fs::write(folder.join("server.key"), server_key.serialize_pem())?;
        let (client, client_key) = leaf("bench")?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.der().clone())?;
        let key = PrivateKeyDer::try_from(client_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![client.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { client: Arc::new(config) })
    }
}

/// Starts a server whose files are in memory. Returns it and where it listens.
pub(crate) async fn start(name: &str, folder: &Path) -> Result<(Running, SocketAddr)> {
    let (listen, held) = crate::proxy::place().await?;
    let (peers, held_peers) = crate::proxy::place().await?;
    drop((held, held_peers));
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    let tls = folder.parent().context("a folder has a parent")?.join("tls");
    let tls = |file: &str| tls.join(file).display().to_string();
    let args = [
        format!("--name={name}"),
        format!("--data-dir={}", folder.join("data").display()),
        format!("--listen-client-urls=https://{listen}"),
        format!("--advertise-client-urls=https://{listen}"),
        format!("--listen-peer-urls=http://{peers}"),
        format!("--initial-advertise-peer-urls=http://{peers}"),
        format!("--initial-cluster={name}=http://{peers}"),
        format!("--cert-file={}", tls("server.pem")),
        format!("--key-file={}", tls("server.key")),
        format!("--trusted-ca-file={}", tls("ca.pem")),
        "--client-cert-auth".into(),
        format!("--quota-backend-bytes={}", 4u64 << 30),
        "--log-level=error".into(),
    ];
    let process = Running::start(name, Path::new("etcd"), &args, &folder.join("log"))?;
    Ok((process, listen))
}

/// A client on a connection of its own.
#[derive(Clone)]
pub(crate) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    /// Connects, and waits until the server answers.
    pub(crate) async fn connect(address: SocketAddr, tls: &Tls) -> Result<Self> {
        let mut last = None;
        for _ in 0..600 {
            match Self::dial(address, tls).await {
                Ok(mut client) => match client.get(b"health".to_vec(), Vec::new(), 1).await {
                    Ok(_) => return Ok(client),
                    Err(error) => last = Some(error),
                },
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("etcd does not answer")))
    }

    async fn dial(address: SocketAddr, tls: &Tls) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let io = TlsConnector::from(tls.client.clone()).connect(name, tcp).await?;
        let once = Arc::new(Mutex::new(Some(TokioIo::new(io))));
        let connector = tower::service_fn(move |_| {
            let io = once.lock().expect("no panic while it is locked").take();
            std::future::ready(io.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)))
        });
        let channel = Endpoint::from_static("http://etcd.internal").connect_with_connector(connector).await?;
        Ok(Self { grpc: Grpc::new(channel).max_decoding_message_size(256 << 20) })
    }

    async fn unary<Q, A>(&mut self, path: &'static str, question: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.context("the connection to etcd is gone")?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.grpc.unary(Request::new(question), PathAndQuery::from_static(path), codec).await;
        Ok(answer.with_context(|| format!("asking etcd for {path}"))?.into_inner())
    }

    /// A lease of fifteen minutes, as Cilium takes.
    pub(crate) async fn lease(&mut self) -> Result<i64> {
        let lease = LeaseRequest { ttl: 15 * 60 };
        let LeaseResponse { id } = self.unary("/etcdserverpb.Lease/LeaseGrant", lease).await?;
        Ok(id)
    }

    /// Writes one key, or deletes it.
    pub(crate) async fn write(&mut self, (key, value): Write, lease: i64) -> Result<()> {
        let Done {} = match value {
            Some(value) => self.unary("/etcdserverpb.KV/Put", PutRequest { key, value, lease }).await?,
            None => self.unary("/etcdserverpb.KV/DeleteRange", DeleteRequest { key }).await?,
        };
        Ok(())
    }

    /// Writes many keys at once, each under its lease.
    pub(crate) async fn fill(&mut self, entries: Vec<(Vec<u8>, Vec<u8>, i64)>) -> Result<()> {
        let put = |(key, value, lease)| RequestOp { put: Some(PutRequest { key, value, lease }) };
        let mut entries = entries.into_iter().map(put).peekable();
        while entries.peek().is_some() {
            let success: Vec<RequestOp> = entries.by_ref().take(100).collect();
            let Done {} = self.unary("/etcdserverpb.KV/Txn", TxnRequest { success }).await?;
        }
        Ok(())
    }

    async fn get(&mut self, key: Vec<u8>, range_end: Vec<u8>, limit: i64) -> Result<RangeResponse> {
        self.unary("/etcdserverpb.KV/Range", RangeRequest { key, range_end, limit }).await
    }

    /// Everything below a prefix, in pages, and the revision from which to watch on.
    pub(crate) async fn list(&mut self, prefix: &str, mut each: impl FnMut(KeyValue)) -> Result<i64> {
        let end = end_of(prefix);
        let (mut from, mut first) = (prefix.as_bytes().to_vec(), None);
        loop {
            let RangeResponse { header, kvs, more } = self.get(from, end.clone(), 1000).await?;
            first = first.or(header.map(|header| header.revision));
            from = kvs.last().map(|last| [&last.key[..], &[0]].concat()).unwrap_or_default();
            kvs.into_iter().for_each(&mut each);
            if !more {
                break;
            }
        }
        Ok(first.unwrap_or_default() + 1)
    }

    /// What changes below a prefix from a revision on.
    pub(crate) async fn watch(&mut self, prefix: &str, from: i64) -> Result<mpsc::Receiver<Vec<Event>>> {
        let create =
            WatchCreate { key: prefix.as_bytes().to_vec(), range_end: end_of(prefix), start_revision: from };
        let (requests, receiver) = mpsc::channel(1);
        requests.send(WatchRequest { create: Some(create) }).await?;
        self.grpc.ready().await?;
        let codec = tonic_prost::ProstCodec::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let request = ReceiverStream::new(receiver).into_streaming_request();
        let answer = self.grpc.streaming(request, path, codec).await.context("watching etcd")?;
        let mut answers: tonic::Streaming<WatchResponse> = answer.into_inner();
        let (sender, events) = mpsc::channel(1024);
        // The first answer says that the watch is there.
        if answers.message().await?.is_none() {
            bail!("etcd ended a watch at once");
        }
        tokio::spawn(async move {
            // The request's stream must stay open for the watch to live.
            let _requests = requests;
            while let Ok(Some(answer)) = answers.message().await {
                if !answer.events.is_empty() && sender.send(answer.events).await.is_err() {
                    return;
                }
            }
        });
        Ok(events)
    }
}

/// The first key after all that begin with the prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
