//! WireGuard's keys: those that everybody may see, and those that nobody may.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A WireGuard public key (Curve25519, RFC 7748), written in base64 as `wg` writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub [u8; 32]);

/// Text that is not 32 bytes of base64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a WireGuard key: expected 44 characters of base64, as `wg` prints")]
pub struct KeyError;

impl PublicKey {
    /// The key as lower-case hexadecimal, as the cross-platform UAPI writes it.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| KeyError)?;
        Ok(Self(bytes.try_into().map_err(|_| KeyError)?))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A secret key: a private one, as `wg genkey` makes it. It is wiped when it goes, and is not shown to who does not ask for it
/// by name.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub [u8; 32]);

impl SecretKey {
    /// The key in base64, as WireGuard's programs write it: for a file or program that is to have the secret.
    pub fn to_base64(&self) -> Zeroizing<String> {
        secret_to_base64(&self.0)
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        secret_from_base64(text).map(Self)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// Writes a secret; what is written is wiped when it goes.
pub(crate) fn secret_to_base64(bytes: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

/// Reads a secret, and leaves nothing of it elsewhere.
pub(crate) fn secret_from_base64(text: &str) -> Result<[u8; 32], KeyError> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError)?);
    bytes.as_slice().try_into().map_err(|_| KeyError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_as_any_key_and_never_shown() {
        let key = SecretKey([7; 32]);
        assert_eq!(*key.to_base64(), PublicKey([7; 32]).to_string());
        assert_eq!(key.to_base64().parse(), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), "SecretKey(…)");
        for bad in ["", "AQEB", &"A".repeat(44), &"A".repeat(48)] {
            assert_eq!(bad.parse::<SecretKey>(), Err(KeyError), "{bad}");
        }
    }
}
