//! How long the node keeps a key, and where it has the secrets of which pairs of nodes make pre-shared keys.

use std::path::PathBuf;
use std::time::Duration;

use model::parse_time;
use serde::{Deserialize, Serialize};

/// `never`, or a time: a number with `m`, `h` or `d`, of ten minutes at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyRotation(pub Option<Duration>);

/// More often helps nobody, and handshakes with everybody cost something.
const OFTENEST: Duration = Duration::from_secs(600);

/// Where the generations of pre-shared keys are, and what is done without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PresharedKeys {
    /// The folder that holds them: a file each, named by its number, with 32 bytes in base64.
    pub folder: PathBuf,
    /// Whether there is no tunnel to nodes that hold none of them.
    #[serde(default)]
    pub required: bool,
}

impl TryFrom<String> for KeyRotation {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let wrong = || {
            format!(
                "keyRotation: {text:?} is neither `never` nor a time of ten minutes or more, such as 12h or 7d"
            )
        };
        // No key is so new that seconds would count.
        let time = parse_time(&text).filter(|_| !text.ends_with('s')).ok_or_else(wrong)?;
        if time >= OFTENEST { Ok(Self(Some(time))) } else { Err(wrong()) }
    }
}

impl From<KeyRotation> for String {
    fn from(rotation: KeyRotation) -> Self {
        rotation.0.map_or_else(|| "never".into(), |time| format!("{}m", time.as_secs() / 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let read = |text: &str| KeyRotation::try_from(text.to_string()).ok().map(|read| read.0);
        let minutes = |minutes: u64| Some(Some(Duration::from_secs(minutes * 60)));
        for (text, expected) in [
            ("never", Some(None)),
            ("10m", minutes(10)),
            ("24h", minutes(24 * 60)),
            ("7d", minutes(7 * 24 * 60)),
            ("9m", None),
            ("86400s", None),
            ("0h", None),
            ("24", None),
            ("h", None),
            ("", None),
            ("-1h", None),
            ("99999999999d", None),
            ("1\u{fc}", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
            if let Some(read) = expected {
                assert_eq!(KeyRotation::try_from(String::from(KeyRotation(read))), Ok(KeyRotation(read)));
            }
        }
    }
}
