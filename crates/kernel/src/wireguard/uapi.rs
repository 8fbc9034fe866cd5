//! The cross-platform control protocol, as text: <https://www.wireguard.com/xplatform/>.
//!
//! Both sides are here: the device reads [`SetRequest`]s and writes [`Status`]es, the agent the other way round. Nothing
//! here opens a socket; names of interfaces are those of the caller's network namespace.

mod request;
mod status;

use std::net::{SocketAddr, SocketAddrV6};

use ipnet::IpNet;
use thiserror::Error;

pub use self::request::SetRequest;
pub use self::status::Status;

/// A line that is not of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("control line {line:?}: {expected}")]
pub struct LineError {
    /// The key, without the value: that may be secret.
    pub line: String,
    /// What should be there.
    pub expected: &'static str,
}

fn refused(key: &str, expected: &'static str) -> LineError {
    LineError { line: key.chars().take(64).collect(), expected }
}

fn key_bytes(key: &str, value: &str) -> Result<[u8; 32], LineError> {
    let digit = |at: usize| char::from(value.as_bytes()[at]).to_digit(16);
    let mut bytes = [0; 32];
    if value.len() != 64 {
        return Err(refused(key, "a key is 64 hexadecimal digits"));
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        match (digit(2 * at), digit(2 * at + 1)) {
            (Some(high), Some(low)) => *byte = (high * 16 + low) as u8,
            _ => return Err(refused(key, "a key is 64 hexadecimal digits")),
        }
    }
    Ok(bytes)
}

fn hex(bytes: &[u8; 32]) -> String {
    model::PublicKey(*bytes).to_hex()
}

/// So many keys stand in one line: what is tried of them costs two Diffie-Hellman computations each.
const MOST_KEYS: usize = 16;

/// Keys with commas between them.
fn keys(key: &str, value: &str) -> Result<Vec<[u8; 32]>, LineError> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    if value.split(',').count() > MOST_KEYS {
        return Err(refused(key, "at most 16 keys"));
    }
    value.split(',').map(|value| key_bytes(key, value)).collect()
}

fn hexes<'a>(keys: impl IntoIterator<Item = &'a [u8; 32]>) -> String {
    keys.into_iter().map(hex).collect::<Vec<_>>().join(",")
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, LineError> {
    value.parse().map_err(|_| refused(key, "a decimal number in range"))
}

fn endpoint(key: &str, value: &str) -> Result<SocketAddr, LineError> {
    let parsed = value.parse().ok().or_else(|| with_scope(value));
    parsed.ok_or_else(|| {
        refused(
            key,
            "ADDRESS:PORT, [ADDRESS]:PORT or [ADDRESS%INTERFACE]:PORT, of an interface that is there",
        )
    })
}

/// `[fe80::1%eth0]:51820`, as `wg` writes addresses that mean something on one link only. A number for the interface is of
/// the address's own syntax.
fn with_scope(value: &str) -> Option<SocketAddr> {
    let (host, port) = value.strip_prefix('[')?.split_once("]:")?;
    let (ip, interface) = host.split_once('%')?;
    let (ip, port) = (ip.parse().ok()?, port.parse().ok()?);
    let scope = nix::net::if_::if_nametoindex(interface).ok()?;
    Some(SocketAddrV6::new(ip, port, 0, scope).into())
}

fn range(key: &str, value: &str) -> Result<IpNet, LineError> {
    value.parse().map_err(|_| refused(key, "ADDRESS/LENGTH"))
}

fn split(line: &str) -> Result<(&str, &str), LineError> {
    line.split_once('=').ok_or_else(|| refused(line.get(..16).unwrap_or(line), "KEY=VALUE"))
}
