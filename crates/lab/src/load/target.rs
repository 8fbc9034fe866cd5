//! Where a load goes, as a URL.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// An address and what to ask it for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// What follows the address, from the slash on.
    pub path: String,
}

/// Text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a URL that can be used here; write http://ADDRESS/, http://ADDRESS:PORT/ or http://[ADDRESS]:PORT/"
)]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = || TargetError(text.to_string());
        let rest = text.strip_prefix("http://").ok_or_else(error)?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(error());
        }
        let bare = authority.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(authority);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 80),
            Err(_) => authority.parse().map_err(|_| error())?,
        };
        Ok(Self { address, path: if path.is_empty() { "/".into() } else { path.into() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let cases = [
            ("http://10.0.0.1", "10.0.0.1:80", "/"),
            ("http://10.0.0.1:8080/x?y=1", "10.0.0.1:8080", "/x?y=1"),
            ("http://[fd00::1]/", "[fd00::1]:80", "/"),
            ("http://[fd00::1]:81", "[fd00::1]:81", "/"),
        ];
        for (text, address, path) in cases {
            let want = Target { address: address.parse().unwrap(), path: path.into() };
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        for bad in ["", "10.0.0.1", "https://10.0.0.1", "http://", "http://echo/", "http://10.0.0.1/a b"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
