//! How a machine becomes a node, and stays one: key, certificate and roots on disk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use model::NodeName;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::time::timeout;
use tonic::transport::Channel;
use wire::pb::exchange_client::ExchangeClient;
use wire::{VERSION, check_version, pb};

use crate::error::ProtocolError;
use crate::pki::{
    Credentials, Expect, Identity, Key, Leaf, Roots, Trust, Untrusted, all_pem, check_leaf, client_config,
    fingerprint, follows, parse_crosses, parse_roots, pem, validity,
};
use crate::token::{JoinToken, TokenError, TokenKind};
use crate::{Error, files, transport};

/// How long a controller may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(10);

const TOKEN_ADVICE: &str = "mount a projected ServiceAccount token for the audience causeway there";
const ROOTS_ADVICE: &str = "the controller writes them to the ConfigMap causeway-roots: check that it runs, and that the ConfigMap is mounted";

/// What proves to a controller that a machine is a node, while it has no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A file with a join token.
    JoinToken(PathBuf),
    /// A pod's token of Kubernetes, which the controller has reviewed there.
    ServiceAccount {
        /// The file with the token.
        token: PathBuf,
        /// The file with the roots of the cluster's CA (PEM): who is believed to be the controller.
        roots: PathBuf,
    },
}

/// A node's identity.
pub(crate) struct Member {
    node: NodeName,
    dir: PathBuf,
    pub(crate) trust: Arc<Trust>,
    pub(crate) credentials: Arc<Credentials>,
    leaf: Option<Leaf>,
}

impl Member {
    /// Loads what is there. What is damaged is set aside: the token can bring a new one.
    pub(crate) fn open(node: NodeName, state_dir: &Path) -> Result<Self, Error> {
        let dir = state_dir.join("tls");
        files::make_dir(&dir)?;
        let mut member = Self { node, dir, trust: Arc::default(), credentials: Arc::default(), leaf: None };
        match member.load()? {
            Ok(()) => {}
            Err(detail) => {
                let path = member.path("node.crt");
                tracing::warn!(path = %path.display(), %detail, "the node's certificate is not usable; joining again");
            }
        }
        Ok(member)
    }

    /// Whether there is a certificate that counts.
    pub(crate) fn is_enrolled(&self) -> bool {
        self.leaf.as_ref().is_some_and(Leaf::is_valid)
    }

    /// How long until the certificate should be renewed.
    pub(crate) fn renew_in(&self) -> Duration {
        self.leaf.as_ref().map(Leaf::renew_in).unwrap_or_default()
    }

    /// Shows the proof and comes back with a certificate. Where the proof is good only once, a certificate that has
    /// ended is tried before it.
    pub(crate) async fn enrol(&mut self, proof: &Proof, controllers: &[SocketAddr]) -> Result<(), Error> {
        match proof {
            Proof::JoinToken(file) if self.leaf.is_some() && !self.is_enrolled() => {
                let Err(renewal) = self.renew_late(controllers).await else { return Ok(()) };
                self.enrol_with_token(file, controllers).await.map_err(|joining| Error::Lapsed {
                    renewal: Box::new(renewal),
                    joining: Box::new(joining),
                })
            }
            Proof::JoinToken(file) => self.enrol_with_token(file, controllers).await,
            Proof::ServiceAccount { token, roots } => {
                self.enrol_with_service_account(token, roots, controllers).await
            }
        }
    }

    /// `controllers` are tried before the token's own addresses.
    async fn enrol_with_token(&mut self, file: &Path, controllers: &[SocketAddr]) -> Result<(), Error> {
        let text = files::read(file)?.ok_or_else(|| Error::NotEnrolled(file.into()))?;
        let token = JoinToken::parse(&String::from_utf8_lossy(&text), TokenKind::Node)?;
        if token.cluster != self.node.cluster {
            let here = self.node.cluster.clone();
            return Err(TokenError::OtherCluster { token: token.cluster, here }.into());
        }
        let expect = Expect::Pinned(token.cluster.clone(), token.fingerprint);
        let config = client_config(self.trust.clone(), expect, None);
        let mut addresses = controllers.to_vec();
        for address in &token.addresses {
            let found = address.resolve().await.unwrap_or_default();
            addresses.extend(found.into_iter().filter(|address| !controllers.contains(address)));
        }
        let mut last = Error::NoAddress(format!("the controller of {}", token.cluster));
        for address in addresses {
            match transport::dial(address, config.clone()).await {
                Ok(client) => {
                    let shown = pb::EnrollRequest {
                        token_id: token.id.to_vec(),
                        token_secret: token.secret.to_vec(),
                        ..pb::EnrollRequest::default()
                    };
                    let pinned = |root: &CertificateDer<'_>| fingerprint(root) == token.fingerprint;
                    return self.show(client, address, shown, pinned).await;
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Both files are read anew each time: kubelet replaces the token before it expires, and the roots may follow the
    /// cluster's.
    async fn enrol_with_service_account(
        &mut self,
        token: &Path,
        roots: &Path,
        controllers: &[SocketAddr],
    ) -> Result<(), Error> {
        let there = |path: &Path, advice| match files::read(path)? {
            Some(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Err(Error::Unprovided { path: path.into(), advice }),
        };
        let token = there(token, TOKEN_ADVICE)?;
        let token = String::from_utf8_lossy(&token).trim().to_string();
        let pinned = read_roots(roots, &there(roots, ROOTS_ADVICE)?)?;
        let trust = Arc::new(Trust::default());
        trust.set(&self.node.cluster, pinned.clone());
        let config = client_config(trust, Expect::Controller(self.node.cluster.clone()), None);
        let mut worst = Error::NoAddress(format!("the controller of {}", self.node.cluster));
        for address in controllers.iter().copied() {
            let shown =
                pb::EnrollRequest { service_account_token: token.clone(), ..pb::EnrollRequest::default() };
            let is_pinned = |root: &CertificateDer<'_>| pinned.contains(&root.clone().into_owned());
            let enrolled = match transport::dial(address, config.clone()).await {
                Ok(client) => self.show(client, address, shown, is_pinned).await,
                Err(error) => Err(error),
            };
            match enrolled {
                Ok(()) => return Ok(()),
                // What somebody has to put right is worth more than who was away.
                Err(error) if worst.is_transient() || !error.is_transient() => worst = error,
                Err(error) if matches!(worst, Error::NoAddress(_)) => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }

    async fn show(
        &mut self,
        mut client: ExchangeClient<Channel>,
        address: SocketAddr,
        shown: pb::EnrollRequest,
        is_pinned: impl Fn(&CertificateDer<'_>) -> bool,
    ) -> Result<(), Error> {
        let key = Key::generate()?;
        let request = pb::EnrollRequest {
            version: Some(VERSION),
            node: self.node.node.clone(),
            csr: key.request()?,
            ..shown
        };
        let answer = answered(address, client.enroll(request)).await?;
        check_version(answer.version)?;
        let roots = parse_roots(answer.roots).map_err(ProtocolError::Parse)?;
        if !roots.iter().any(is_pinned) {
            return Err(Error::Untrusted { address: address.to_string(), source: Untrusted::NotPinned });
        }
        self.accept(address, &key, answer.certificate, roots)
    }

    /// Asks for the next certificate, with a new key, over a connection that proves the old one.
    pub(crate) async fn renew(
        &mut self,
        mut client: ExchangeClient<Channel>,
        address: SocketAddr,
    ) -> Result<(), Error> {
        let key = Key::generate()?;
        let request = pb::RenewRequest { version: Some(VERSION), csr: key.request()? };
        let answer = answered(address, client.renew(request)).await?;
        check_version(answer.version)?;
        let roots = parse_roots(answer.roots).map_err(ProtocolError::Parse)?;
        let crosses = parse_crosses(answer.crosses).map_err(ProtocolError::Parse)?;
        let pinned = self.trust.roots(&self.node.cluster).unwrap_or_default();
        if !follows(&pinned, &roots, &crosses) {
            return Err(Error::Untrusted { address: address.to_string(), source: Untrusted::NotPinned });
        }
        self.accept(address, &key, answer.certificate, roots)
    }

    /// Renews a certificate that has ended, at whichever controller still lets it.
    async fn renew_late(&mut self, controllers: &[SocketAddr]) -> Result<(), Error> {
        let expect = Expect::Controller(self.node.cluster.clone());
        let config = client_config(self.trust.clone(), expect, Some(self.credentials.clone()));
        let mut last = Error::NoAddress(format!("the controller of {}", self.node.cluster));
        for &address in controllers {
            let renewed = match transport::dial(address, config.clone()).await {
                Ok(client) => self.renew(client, address).await,
                Err(error) => Err(error),
            };
            match renewed {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Takes new roots from the controller, if they follow from the ones that are known.
    /// Returns whether it did.
    pub(crate) fn follow(&mut self, hello: pb::Hello) -> Result<bool, Error> {
        let roots = parse_roots(hello.roots).map_err(ProtocolError::Parse)?;
        let crosses = parse_crosses(hello.crosses).map_err(ProtocolError::Parse)?;
        let follows = self.trust.may_follow(&self.node.cluster, &roots, &crosses);
        if follows {
            files::write(&self.path("roots.crt"), all_pem(&roots).as_bytes())?;
            self.trust.set(&self.node.cluster, roots);
        }
        Ok(follows)
    }

    fn accept(&mut self, address: SocketAddr, key: &Key, leaf: Vec<u8>, roots: Roots) -> Result<(), Error> {
        let leaf = CertificateDer::from(leaf);
        self.check(&leaf, &roots, UnixTime::now())
            .map_err(|source| Error::Untrusted { address: address.to_string(), source })?;
        let joined = Leaf::new(key, leaf.clone(), &[])?;
        // Key and certificate in one file: a crash leaves the old pair or the new one.
        files::write(&self.path("roots.crt"), all_pem(&roots).as_bytes())?;
        files::write(&self.path("node.crt"), format!("{}{}", pem(&leaf), key.to_pem()).as_bytes())?;
        self.install(joined, roots);
        Ok(())
    }

    fn install(&mut self, leaf: Leaf, roots: Roots) {
        self.trust.set(&self.node.cluster, roots);
        self.credentials.set(&leaf);
        self.leaf = Some(leaf);
    }

    fn check(&self, leaf: &CertificateDer<'_>, roots: &Roots, at: UnixTime) -> Result<(), Untrusted> {
        let (got, want) = (check_leaf(leaf, roots, at)?, Identity::Node(self.node.clone()));
        if got == want { Ok(()) } else { Err(Untrusted::SomebodyElse { got, want }) }
    }

    /// Loads from disk; the inner error says why what is there cannot be used.
    fn load(&mut self) -> Result<Result<(), String>, Error> {
        let (pair, roots) = (files::read(&self.path("node.crt"))?, files::read(&self.path("roots.crt"))?);
        let (Some(pair), Some(roots)) = (pair, roots) else { return Ok(Ok(())) };
        let parse = || {
            let leaf = CertificateDer::from_pem_slice(&pair).map_err(|e| e.to_string())?;
            let pair = String::from_utf8_lossy(&pair);
            let key = pair.find("-----BEGIN PRIVATE KEY").ok_or("no key in it")?;
            let key = Key::from_pem(&pair[key..])?;
            let roots: Roots = CertificateDer::pem_slice_iter(&roots)
                .collect::<Result<_, _>>()
                .map_err(|e| format!("roots.crt: {e}"))?;
            // One that has ended may still be renewed.
            self.check(&leaf, &roots, at_latest(&leaf)).map_err(|e| e.to_string())?;
            Ok((Leaf::new(&key, leaf, &[]).map_err(|e| e.to_string())?, roots))
        };
        Ok(match parse() {
            Ok((leaf, roots)) => {
                self.install(leaf, roots);
                Ok(())
            }
            Err(detail) => Err(detail),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The roots in a file that somebody else wrote.
fn read_roots(path: &Path, pem: &[u8]) -> Result<Roots, Error> {
    let damaged = |detail: String| Error::Damaged { path: path.into(), detail, advice: ROOTS_ADVICE };
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let roots = roots.map_err(|e| damaged(e.to_string()))?;
    let raw = roots.iter().map(|root| root.to_vec()).collect();
    parse_roots(raw).map_err(|e| damaged(e.to_string()))
}

/// Now, or the end of a certificate that has ended.
fn at_latest(leaf: &CertificateDer<'_>) -> UnixTime {
    let end = validity(leaf).and_then(|(_, end)| end.duration_since(UNIX_EPOCH).ok());
    let now = UnixTime::now();
    match end {
        Some(end) if end.as_secs() < now.as_secs() => UnixTime::since_unix_epoch(end),
        _ => now,
    }
}

/// Waits for the answer to a call.
pub(crate) async fn answered<T>(
    address: SocketAddr,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::of_status(address, &status)),
        Err(_) => Err(Error::Broken { address: address.to_string(), detail: "no answer in time".into() }),
    }
}
