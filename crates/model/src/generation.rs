//! What generations of pre-shared keys are called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names a secret that nodes share, where others hear it: 16 hexadecimal digits. It is made from the secret, and the secret does
/// not follow from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GenerationId(pub [u8; 8]);

/// Text that is not 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a generation: expected 16 hexadecimal digits")]
pub struct GenerationIdError;

impl GenerationId {
    /// How many a node holds at most: two of each secret that it shares with others, while they change.
    pub const MOST: usize = 8;
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GenerationId({self})")
    }
}

impl FromStr for GenerationId {
    type Err = GenerationIdError;
    fn from_str(text: &str) -> Result<Self, GenerationIdError> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_id).ok_or(GenerationIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<String> for GenerationId {
    type Error = GenerationIdError;
    fn try_from(text: String) -> Result<Self, GenerationIdError> {
        text.parse()
    }
}

impl From<GenerationId> for String {
    fn from(id: GenerationId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written() {
        let id = GenerationId([0, 1, 2, 0xff, 4, 5, 6, 7]);
        assert_eq!(id.to_string(), "000102ff04050607");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "0", "+00102ff04050607", "000102ff040506071", "000102ff0405060g"] {
            assert_eq!(bad.parse::<GenerationId>(), Err(GenerationIdError), "{bad}");
        }
    }
}
