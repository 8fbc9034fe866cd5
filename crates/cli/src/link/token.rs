//! A link token on its way in, and how long one is to last.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Longest token file that is read, in bytes.
const LONGEST: u64 = 64 * 1024;
/// What a token begins with.
const PREFIX: &str = "causeway-";
/// No token lasts longer, in seconds: a year.
const LATEST: u64 = 365 * 24 * 3600;

/// Reads a token from a file, or from standard input. One that stands in the argument itself is taken with a warning.
pub(super) fn read(argument: &str) -> Result<String> {
    if argument.starts_with(PREFIX) && !Path::new(argument).exists() {
        eprintln!(
            "causeway: the token was seen by everybody who can list this machine's processes, and may be in your \
             shell's history: give a file or - instead, and let tokens have one use"
        );
        return Ok(argument.trim().to_string());
    }
    let mut text = String::new();
    let reader: Box<dyn Read> = match argument {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path).with_context(|| format!("opening the token file {path}"))?),
    };
    reader.take(LONGEST).read_to_string(&mut text).context("reading the token")?;
    let text = text.trim();
    if text.is_empty() {
        bail!("{argument} holds no token: make one with `causeway link token` on the other side");
    }
    Ok(text.to_string())
}

/// Reads a duration such as `90s`, `15m`, `2h` or `7d`, in seconds.
pub(crate) fn expiry(text: &str) -> Result<u64, String> {
    match model::parse_time(text).map(|time| time.as_secs()) {
        None => Err("write something like 90s, 15m, 2h or 7d".into()),
        Some(0) => Err("it would have expired at once".into()),
        Some(all) if all <= LATEST => Ok(all),
        Some(_) => Err("a year is the most".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800), ("365d", LATEST)] {
            assert_eq!(expiry(text), Ok(seconds), "{text}");
        }
        for bad in ["", "s", "15", "1.5h", "-1m", "15 m", "0s", "366d", "99999999999999999999d", "1µ"] {
            assert!(expiry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn where_a_token_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = path.to_str().unwrap();
        assert!(read(file).unwrap_err().to_string().contains("opening the token file"));
        std::fs::write(&path, "\n").unwrap();
        assert!(read(file).unwrap_err().to_string().contains("causeway link token"));
        std::fs::write(&path, "causeway-link-v1.abc\n").unwrap();
        assert_eq!(read(file).unwrap(), "causeway-link-v1.abc");
        assert_eq!(read("causeway-link-v1.abc").unwrap(), "causeway-link-v1.abc");
    }
}
