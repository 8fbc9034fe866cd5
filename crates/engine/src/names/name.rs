//! Domain names as messages carry them.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes of a message (RFC 1035 §3.1).
const MAX: usize = 255;

/// The longest label.
const MAX_LABEL: usize = 63;

/// A domain name in lower case, as a message carries it: labels with their lengths, and the root's 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Text that is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a domain name: write labels of 1 to 63 letters, digits, '-' and '_' with dots between them, 253 \
     characters at most"
)]
pub struct NameError(String);

impl Name {
    /// The name of `label` below this one; none if that is no label, or the name would be too long.
    pub fn below(&self, label: &str) -> Option<Self> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let fits = (1..=MAX_LABEL).contains(&label.len()) && label.len() + 1 + self.0.len() <= MAX;
        if !fits || !label.bytes().all(good) {
            return None;
        }
        let mut bytes = Vec::with_capacity(label.len() + 1 + self.0.len());
        bytes.push(u8::try_from(label.len()).expect("checked above"));
        bytes.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        bytes.extend_from_slice(&self.0);
        Some(Self(bytes.into()))
    }

    /// The root.
    pub fn root() -> Self {
        Self([0].into())
    }

    /// As a message carries it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its labels, the first one first.
    fn labels(&self) -> impl Iterator<Item = &str> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            if *length == 0 {
                return None;
            }
            let (label, after) = after.split_at(usize::from(*length));
            rest = after;
            Some(std::str::from_utf8(label).expect("labels were checked to be ASCII"))
        })
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Parses a name with at least one label; a dot at the end changes nothing.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError(text.chars().take(80).collect());
        let labels = text.strip_suffix('.').unwrap_or(text).rsplit('.');
        let mut name = Self::root();
        for label in labels {
            name = name.below(label).ok_or_else(wrong)?;
        }
        Ok(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return f.write_str(".");
        }
        self.labels().try_for_each(|label| write!(f, "{label}."))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        for (text, want) in [
            ("clusterset.local", "clusterset.local."),
            ("Cluster.LOCAL.", "cluster.local."),
            ("_http._tcp.a", "_http._tcp.a."),
        ] {
            assert_eq!(text.parse::<Name>().unwrap().to_string(), want);
        }
        let long = ["a".repeat(63).as_str(); 4].join(".");
        for bad in ["", ".", "a..b", "a b", "ä", &"a".repeat(64), &long] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn below() {
        let zone: Name = "a.b".parse().unwrap();
        assert_eq!(zone.below("X").unwrap().as_bytes(), b"\x01x\x01a\x01b\x00");
        assert_eq!(zone.below("x.y"), None);
        assert_eq!(zone.below(""), None);
    }
}
