//! Files that clients' owners have: configurations, and keys.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use model::{PresharedKey, SecretKey};
use wire::client::{Configuration, LONGEST};
use zeroize::Zeroizing;

/// What an owner has, and nobody else.
#[derive(Default)]
pub(crate) struct Owned {
    /// The private key.
    pub(crate) private_key: Option<SecretKey>,
    /// What the other ends know, too.
    pub(crate) preshared_key: Option<PresharedKey>,
}

impl Owned {
    /// Puts it where it belongs. What was there stays where there is nothing else.
    pub(crate) fn put_into(&self, configuration: &mut Configuration) {
        if let Some(key) = &self.private_key {
            configuration.private_key = Some(key.clone());
        }
        if let Some(key) = &self.preshared_key {
            configuration.peers.iter_mut().for_each(|end| end.preshared_key = Some(key.clone()));
        }
    }
}

/// Reads a configuration of `wg-quick`'s kind.
pub(crate) fn read_configuration(name: &str, file: &Path) -> Result<Configuration> {
    let text = read(file)?;
    let found = wire::client::parse(name, &text).with_context(|| format!("reading {}", file.display()))?;
    if found.private_key.is_some() || found.peers.iter().any(|end| end.preshared_key.is_some()) {
        warn_of_readers(file);
    }
    Ok(found)
}

/// Reads a private key that stands alone in its file, or in a configuration with what else is secret there.
pub(super) fn read_private_key(file: &Path) -> Result<Owned> {
    let text = read(file)?;
    if let Ok(key) = text.trim().parse() {
        warn_of_readers(file);
        return Ok(Owned { private_key: Some(key), preshared_key: None });
    }
    // What is read is not repeated: it may be a secret.
    let found = wire::client::parse("", &text).ok().filter(|found| found.private_key.is_some());
    let Some(found) = found else {
        bail!(
            "{} holds no WireGuard key: expected 44 characters of base64, or a configuration with a PrivateKey",
            file.display()
        );
    };
    warn_of_readers(file);
    let mut shared: Vec<Option<PresharedKey>> =
        found.peers.into_iter().map(|end| end.preshared_key).collect();
    // Of ends that have different ones nobody knows here whose is whose.
    shared.dedup();
    let preshared_key = <[_; 1]>::try_from(shared).ok().and_then(|[key]| key);
    Ok(Owned { private_key: found.private_key, preshared_key })
}

/// Reads a preshared key.
pub(super) fn read_preshared_key(file: &Path) -> Result<PresharedKey> {
    let key = read(file)?.trim().parse().map_err(|_| {
        anyhow::anyhow!("{} holds no WireGuard key: expected 44 characters of base64", file.display())
    })?;
    warn_of_readers(file);
    Ok(key)
}

/// Reads a file, or standard input. It is wiped when it goes.
fn read(file: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let reader: Box<dyn std::io::Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(File::open(file).with_context(|| format!("opening {}", file.display()))?),
    };
    let most = u64::try_from(LONGEST)?.saturating_add(1);
    reader.take(most).read_to_string(&mut text).with_context(|| format!("reading {}", file.display()))?;
    if text.len() > LONGEST {
        bail!("{} is longer than {LONGEST} bytes: it is neither a key nor a configuration", file.display());
    }
    Ok(text)
}

/// Says so if a file with secrets is one that everybody can read.
fn warn_of_readers(file: &Path) {
    let about = std::fs::metadata(file).ok().filter(|about| about.is_file());
    if about.is_some_and(|about| about.permissions().mode() & 0o004 != 0) {
        eprintln!(
            "causeway: everybody on this machine can read {0}, and what is secret in it: chmod 600 {0}",
            file.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_private_key_stands() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alice");
        let (private, shared) = (SecretKey([1; 32]), PresharedKey([2; 32]));
        let end = |n: u8, shared: Option<&PresharedKey>| {
            let shared =
                shared.map(|key| format!("PresharedKey = {}\n", *key.to_base64())).unwrap_or_default();
            format!("[Peer]\nPublicKey = {}\n{shared}", model::PublicKey([n; 32]))
        };
        let interface = format!("[Interface]\nPrivateKey = {}\n", *private.to_base64());
        for (text, expected) in [
            (format!("{}\n", *private.to_base64()), Some(None)),
            (interface.clone(), Some(None)),
            (format!("{interface}{}{}", end(3, Some(&shared)), end(4, Some(&shared))), Some(Some(&shared))),
            (format!("{interface}{}{}", end(3, Some(&shared)), end(4, None)), Some(None)),
            (format!("[Interface]\n{}", end(3, None)), None),
            ("secret".into(), None),
            (String::new(), None),
        ] {
            std::fs::write(&file, &text).unwrap();
            match (read_private_key(&file), expected) {
                (Ok(owned), Some(shared)) => {
                    assert_eq!(
                        (owned.private_key.as_ref(), owned.preshared_key.as_ref()),
                        (Some(&private), shared)
                    );
                }
                (Err(error), None) => assert!(!format!("{error:#}").contains("secret")),
                _ => panic!("{text}"),
            }
        }
        std::fs::write(&file, "#".repeat(LONGEST + 1)).unwrap();
        assert!(
            read_configuration("x", &file).err().is_some_and(|error| error.to_string().contains("longer"))
        );
    }
}
