//! Join tokens: one line of text that says where to go, whom to believe there, and proves that one may come.
//!
//! `causeway-node-v1.BASE64` or `causeway-link-v1.BASE64` (URL-safe, no padding) of a protobuf `JoinToken` with
//! the first four bytes of its SHA-256 behind it, so that a line cut short is told from one that was refused.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::ClusterName;
use prost::Message;
use serde::{Deserialize, Serialize};
use wire::pb;

use crate::Address;
use crate::clock::seconds;

/// Bytes of a token's id.
pub(crate) const ID_BYTES: usize = 8;
/// Bytes of a token's secret.
pub(crate) const SECRET_BYTES: usize = 32;
const CHECK_BYTES: usize = 4;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenKind {
    /// To become a node.
    Node,
    /// To link a cluster.
    Link,
}

impl TokenKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Node => "causeway-node-v1.",
            Self::Link => "causeway-link-v1.",
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Link => "link",
        })
    }
}

/// Why a token cannot be used. Says nothing of the token itself: it is a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing there.
    #[error("the token is empty: paste the whole line that the controller printed")]
    Empty,
    /// Something else.
    #[error(
        "this is no token: one begins with \"causeway-node-v1.\" or \"causeway-link-v1.\"; copy the whole line"
    )]
    NotAToken,
    /// For the other purpose.
    #[error("this is a {found} token, but a {wanted} token is needed here: {}", advice(wanted))]
    WrongKind {
        /// What it is for.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// Characters are missing or changed.
    #[error("the token is cut short or altered: copy the whole line again, without line breaks")]
    Damaged,
    /// Of another cluster.
    #[error(
        "the token is for cluster {token}, but this is meant for cluster {here}: make one at the controller of {here}"
    )]
    OtherCluster {
        /// The token's.
        token: ClusterName,
        /// The one expected.
        here: ClusterName,
    },
    /// One's own.
    #[error("the token was made by this cluster itself: run `causeway link join` at the other one")]
    OwnCluster,
    /// Of another one with the same name.
    #[error(
        "the token is of another cluster that is called {0}, too: names must be unique in the clusterset, and never change"
    )]
    SameName(ClusterName),
    /// Not known where it was made, or all its uses are spent.
    #[error("the token is not known here, or is used up: make a new one")]
    Unknown,
    /// Too old.
    #[error("the token has expired: make a new one")]
    Expired,
    /// Made for another node.
    #[error("the token is for another node: make one for this node")]
    OtherNode,
}

fn advice(kind: &str) -> &'static str {
    if kind == "link" {
        "`causeway link token` at the other cluster prints one"
    } else {
        "ask the controller for one (`POST /v1/tokens/node` on its local socket)"
    }
}

/// The cluster that a link token links with.
///
/// # Errors
/// It is no link token.
pub fn token_cluster(text: &str) -> Result<ClusterName, TokenError> {
    JoinToken::parse(text, TokenKind::Link).map(|token| token.cluster)
}

/// A token. Its `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    pub(crate) kind: TokenKind,
    pub(crate) cluster: ClusterName,
    pub(crate) addresses: Vec<Address>,
    /// The SHA-256 of the cluster's root certificate.
    pub(crate) fingerprint: [u8; 32],
    pub(crate) id: [u8; ID_BYTES],
    pub(crate) secret: [u8; SECRET_BYTES],
    pub(crate) expires: SystemTime,
}

impl JoinToken {
    /// The line to hand over.
    pub(crate) fn encode(&self) -> String {
        let address = |address: &Address| match address {
            Address::Ip(a) => pb::SocketAddress {
                ip: wire::encode_ip(&a.ip()),
                port: a.port().into(),
                ..Default::default()
            },
            Address::Name(name, port) => {
                pb::SocketAddress { name: name.clone(), port: (*port).into(), ..Default::default() }
            }
        };
        let mut bytes = pb::JoinToken {
            cluster: self.cluster.to_string(),
            addresses: self.addresses.iter().map(address).collect(),
            fingerprint: self.fingerprint.to_vec(),
            id: self.id.to_vec(),
            secret: self.secret.to_vec(),
            expires: seconds(self.expires),
        }
        .encode_to_vec();
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        format!("{}{}", self.kind.prefix(), URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a line; white space around it does not matter.
    pub(crate) fn parse(text: &str, wanted: TokenKind) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        let strip = |kind: TokenKind| Some((kind, text.strip_prefix(kind.prefix())?));
        let (kind, body) =
            strip(TokenKind::Node).or_else(|| strip(TokenKind::Link)).ok_or(TokenError::NotAToken)?;
        if kind != wanted {
            return Err(TokenError::WrongKind { found: kind.to_string(), wanted: wanted.to_string() });
        }
        Self::parse_body(kind, body).ok_or(TokenError::Damaged)
    }

    fn parse_body(kind: TokenKind, body: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(body).ok()?;
        let (bytes, sum) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if check(bytes) != *sum {
            return None;
        }
        let token = pb::JoinToken::decode(bytes).ok()?;
        let address = |a: pb::SocketAddress| {
            if !a.name.is_empty() {
                return format!("{}:{}", a.name, a.port).parse().ok();
            }
            let ip = match <[u8; 4]>::try_from(&*a.ip) {
                Ok(octets) => IpAddr::from(octets),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(&*a.ip).ok()?),
            };
            Some(Address::Ip(SocketAddr::new(ip, u16::try_from(a.port).ok()?)))
        };
        Some(Self {
            kind,
            cluster: ClusterName::new(token.cluster).ok()?,
            addresses: token.addresses.into_iter().map(address).collect::<Option<_>>()?,
            fingerprint: token.fingerprint.try_into().ok()?,
            id: token.id.try_into().ok()?,
            secret: token.secret.try_into().ok()?,
            expires: UNIX_EPOCH.checked_add(Duration::from_secs(token.expires))?,
        })
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = digest::digest(&digest::SHA256, bytes);
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("kind", &self.kind)
            .field("cluster", &self.cluster)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(kind: TokenKind) -> JoinToken {
        JoinToken {
            kind,
            cluster: ClusterName::new("aws").unwrap(),
            addresses: ["198.18.1.250:9640", "[2001:db8::1]:9640", "aws.example.net:9640"]
                .map(|address| address.parse().unwrap())
                .into(),
            fingerprint: [7; 32],
            id: [1; ID_BYTES],
            secret: [0xab; SECRET_BYTES],
            expires: UNIX_EPOCH + Duration::from_secs(2_000_000_000),
        }
    }

    #[test]
    fn one_line_there_and_back() {
        for kind in [TokenKind::Node, TokenKind::Link] {
            let token = sample(kind);
            let line = token.encode();
            assert!(line.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{line}");
            assert_eq!(JoinToken::parse(&line, kind).unwrap(), token);
            assert_eq!(JoinToken::parse(&format!("  {line}\n"), kind).unwrap(), token);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = sample(TokenKind::Node).encode();
        let parse = |text: &str| JoinToken::parse(text, TokenKind::Node).unwrap_err();
        assert_eq!(parse(" \n"), TokenError::Empty);
        assert_eq!(parse("hello"), TokenError::NotAToken);
        assert_eq!(parse(&good[5..]), TokenError::NotAToken);
        assert!(matches!(parse(&sample(TokenKind::Link).encode()), TokenError::WrongKind { .. }));
        let body = TokenKind::Node.prefix().len();
        for length in body..good.len() {
            assert_eq!(parse(&good[..length]), TokenError::Damaged, "{length}");
        }
        for at in body..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(parse(std::str::from_utf8(&bytes).unwrap()), TokenError::Damaged, "{at}");
        }
        assert_eq!(parse(&good.replacen("v1.", "v1. ", 1)), TokenError::Damaged);
    }

    #[test]
    fn secrets_are_not_printed() {
        let token = sample(TokenKind::Node);
        let printed = format!("{token:?}");
        assert!(!printed.contains("171") && !printed.contains("ab"), "{printed}");
    }
}
