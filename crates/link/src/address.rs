//! Where another cluster's controller is reached: by an address, or by a name that is looked up each time.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::Error;

/// How long a name may take to look up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of a DNS name (RFC 1035 §2.3.4), and of each of its labels.
const NAME_CHARS: usize = 253;
const LABEL_CHARS: usize = 63;

/// `ADDRESS:PORT` or `NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// An address.
    Ip(SocketAddr),
    /// A DNS name and a port.
    Name(String, u16),
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address: write ADDRESS:PORT or NAME:PORT, such as 192.0.2.1:9640 or gcp.example.net:9640"
)]
pub struct NoAddress(String);

impl Address {
    /// The addresses behind it now, at least one.
    ///
    /// # Errors
    /// It is a name that cannot be looked up, or that stands for nothing.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        let (name, port) = match self {
            Self::Ip(address) => return Ok(vec![*address]),
            Self::Name(name, port) => (name, *port),
        };
        let unknown = |detail: String| Error::Unknown { name: name.clone(), detail };
        match timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), port))).await {
            Ok(Ok(found)) => match found.collect::<Vec<_>>() {
                found if found.is_empty() => Err(unknown("it has no address".into())),
                found => Ok(found),
            },
            Ok(Err(error)) => Err(unknown(error.to_string())),
            Err(_) => Err(unknown("no answer in time".into())),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let wrong = || NoAddress(text.chars().take(NAME_CHARS + 6).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(wrong()) } else { Ok(Self::Ip(address)) };
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let is_label = |label: &str| {
            (1..=LABEL_CHARS).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        // What ends in a number is an address that is none (RFC 3986 leaves no other reading to a person).
        let is_name = name.len() <= NAME_CHARS
            && name.split('.').all(is_label)
            && !name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if is_name { Ok(Self::Name(name.into(), port)) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Address {
    type Error = NoAddress;

    fn try_from(text: String) -> Result<Self, NoAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for good in
            ["192.0.2.1:9640", "[2001:db8::1]:9640", "gcp.example.net:9640", "lb-1.x:1", "localhost:65535"]
        {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
            let text = format!("{good:?}");
            assert_eq!(
                serde_json::from_str::<Address>(&text).unwrap().to_string(),
                good,
                "as links.json has it"
            );
        }
        let long = format!("{}:1", ["abcdefg."; 32].concat());
        for bad in [
            "",
            ":9640",
            "gcp",
            "gcp:",
            "gcp:0",
            "gcp:65536",
            "192.0.2.1:0",
            "192.0.2.256:9640",
            "a..b:1",
            "a b:1",
            "https://gcp:443",
            "2001:db8::1:9640",
            "é.example:1",
            &long,
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let found = Address::Name("localhost".into(), 9640).resolve().await.unwrap();
        assert!(
            found.iter().all(|address| address.ip().is_loopback() && address.port() == 9640),
            "{found:?}"
        );
        let error = Address::Name("no-such-name.invalid".into(), 1).resolve().await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("no-such-name.invalid"), "{error}");
    }
}
