//! Where to listen, as people write it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address and port to listen on; `:PORT` is every address of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// All addresses of the machine.
    Everywhere(u16),
    /// One address.
    At(SocketAddr),
}

/// Text that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address to listen on; write :8080, 10.0.0.1:8080 or [fd00::1]:8080")]
pub struct ListenError(String);

impl FromStr for Listen {
    type Err = ListenError;
    fn from_str(text: &str) -> Result<Self, ListenError> {
        let parsed = match text.strip_prefix(':') {
            Some(port) => port.parse().ok().map(Self::Everywhere),
            None => text.parse().ok().map(Self::At),
        };
        parsed.ok_or_else(|| ListenError(text.to_string()))
    }
}

impl Listen {
    /// What to bind to. An IPv6 socket takes IPv4 too, unless the machine is told otherwise.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Everywhere(port) => (Ipv6Addr::UNSPECIFIED, *port).into(),
            Self::At(address) => *address,
        }
    }

    /// What to bind to on a machine without IPv6.
    pub(super) fn fallback(&self) -> Option<SocketAddr> {
        match self {
            Self::Everywhere(port) => Some((Ipv4Addr::UNSPECIFIED, *port).into()),
            Self::At(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let at = |text: &str| Ok(Listen::At(text.parse().unwrap()));
        assert_eq!(":8080".parse(), Ok(Listen::Everywhere(8080)));
        for good in ["10.0.0.1:8080", "[fd00::1]:80", "0.0.0.0:0"] {
            assert_eq!(good.parse(), at(good));
        }
        for bad in ["", "8080", ":", ":70000", "echo:8080", "10.0.0.1", "::1:8080", ":-1"] {
            assert_eq!(bad.parse::<Listen>(), Err(ListenError(bad.into())), "{bad}");
        }
    }
}
