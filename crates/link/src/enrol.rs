//! How a machine becomes a node, and stays one: key, certificate and roots on disk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::NodeName;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::time::timeout;
use tonic::transport::Channel;
use wire::pb::exchange_client::ExchangeClient;
use wire::{VERSION, check_version, pb};

use crate::error::ProtocolError;
use crate::pki::{
    Credentials, Expect, Identity, Key, Leaf, Roots, Trust, Untrusted, check_leaf, client_config,
    fingerprint, parse_roots, pem,
};
use crate::token::{JoinToken, TokenError, TokenKind};
use crate::{Error, files, transport};

/// How long a controller may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(10);

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

    /// Shows the token and comes back with a certificate. `controllers` are tried before the token's own addresses.
    pub(crate) async fn enrol(&mut self, token_file: &Path, controllers: &[SocketAddr]) -> Result<(), Error> {
        let text = files::read(token_file)?.ok_or_else(|| Error::NotEnrolled(token_file.into()))?;
        let token = JoinToken::parse(&String::from_utf8_lossy(&text), TokenKind::Node)?;
        if token.cluster != self.node.cluster {
            let here = self.node.cluster.clone();
            return Err(TokenError::OtherCluster { token: token.cluster, here }.into());
        }
        let expect = Expect::Pinned(token.cluster.clone(), token.fingerprint);
        let config = client_config(self.trust.clone(), expect, None);
        let mut addresses = controllers.to_vec();
        addresses.extend(token.addresses.iter().filter(|a| !controllers.contains(a)));
        let mut last = Error::NoAddress(format!("the controller of {}", token.cluster));
        for address in addresses {
            match transport::dial(address, config.clone()).await {
                Ok(client) => return self.show(client, address, &token).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn show(
        &mut self,
        mut client: ExchangeClient<Channel>,
        address: SocketAddr,
        token: &JoinToken,
    ) -> Result<(), Error> {
        let key = Key::generate()?;
        let request = pb::EnrollRequest {
            version: Some(VERSION),
            token_id: token.id.to_vec(),
            token_secret: token.secret.to_vec(),
            node: self.node.node.clone(),
            csr: key.request()?,
            service_account_token: String::new(),
        };
        let answer = answered(address, client.enroll(request)).await?;
        check_version(answer.version)?;
        let roots = parse_roots(answer.roots).map_err(ProtocolError::Parse)?;
        if !roots.iter().any(|root| fingerprint(root) == token.fingerprint) {
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
        self.accept(address, &key, answer.certificate, roots)
    }

    /// Takes new roots from the controller, if they follow from the ones that are known.
    pub(crate) fn follow(&mut self, roots: Vec<Vec<u8>>) -> Result<(), Error> {
        let roots = parse_roots(roots).map_err(ProtocolError::Parse)?;
        if self.trust.may_follow(&self.node.cluster, &roots) {
            files::write(&self.path("roots.crt"), all_pem(&roots).as_bytes())?;
            self.trust.set(&self.node.cluster, roots);
        }
        Ok(())
    }

    fn accept(&mut self, address: SocketAddr, key: &Key, leaf: Vec<u8>, roots: Roots) -> Result<(), Error> {
        let leaf = CertificateDer::from(leaf);
        self.check(&leaf, &roots)
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

    fn check(&self, leaf: &CertificateDer<'_>, roots: &Roots) -> Result<(), Untrusted> {
        let (got, want) = (check_leaf(leaf, roots, UnixTime::now())?, Identity::Node(self.node.clone()));
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
            self.check(&leaf, &roots).map_err(|e| e.to_string())?;
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

fn all_pem(roots: &Roots) -> String {
    roots.iter().map(pem).collect()
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
