//! TLS as both sides speak it: version 1.3, HTTP/2, no resumption (a resumed session would skip our checks).

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};

use super::verify::{Lapsed, Verifier};
use super::{Credentials, Expect, Trust};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn verifier(trust: Arc<Trust>, expect: Expect) -> Arc<Verifier> {
    Arc::new(Verifier::new(trust, expect, provider().signature_verification_algorithms))
}

/// For a listener.
pub(crate) fn server_config(
    trust: Arc<Trust>,
    credentials: Arc<Credentials>,
    lapsed: Lapsed,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc-rs speaks TLS 1.3")
        .with_client_cert_verifier(verifier(trust, Expect::Anyone(lapsed)))
        .with_cert_resolver(credentials);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// For a dialler. Without credentials it shows no certificate: it is about to ask for one.
pub(crate) fn client_config(
    trust: Arc<Trust>,
    expect: Expect,
    credentials: Option<Arc<Credentials>>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc-rs speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust, expect));
    let mut config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(credentials),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}
