//! The node's private key: made here, kept here.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use model::PublicKey;
use wireguard::LocalKey;
use zeroize::Zeroizing;

/// A WireGuard private key.
pub struct PrivateKey(LocalKey);

impl PrivateKey {
    /// A new one, from the operating system's randomness.
    pub fn generate() -> Self {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).expect("the operating system gives randomness");
        // Clamped as `wg genkey` does, so that what `wg show` prints is what is stored.
        secret[0] &= 248;
        secret[31] = (secret[31] & 127) | 64;
        Self(LocalKey::new(secret))
    }

    /// The one with this private half.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self(LocalKey::new(secret))
    }

    /// The key in this file (base64, as `wg genkey` prints it); if there is none, a new one, kept there with mode 0600.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let key = Self::generate();
        key.store(path)?;
        Ok(key)
    }

    /// The key in this file, if there is one.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // The same 44 characters as a public key.
        let bytes: PublicKey = text.trim().parse().map_err(|error| {
            let hint = "remove the file to make a new key; peers then need the new public key";
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}; {hint}", path.display()))
        })?;
        Ok(Some(Self(LocalKey::new(bytes.0))))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.public())
    }

    /// The private half.
    pub fn secret(&self) -> &[u8; 32] {
        self.0.secret()
    }

    /// Keeps it in this file, with mode 0600. Whole or not at all: a half-written key would be a new identity.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("draft");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", PublicKey(*self.0.secret()))?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey(of {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private.key");
        let made = PrivateKey::load_or_create(&path).unwrap();
        let read = PrivateKey::load_or_create(&path).unwrap();
        assert_eq!(made.public(), read.public());
        assert_ne!(made.public(), PrivateKey::generate().public());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{made:?}").contains(fs::read_to_string(&path).unwrap().trim()));
        fs::write(&path, "not a key").unwrap();
        assert!(PrivateKey::load_or_create(&path).unwrap_err().to_string().contains("private.key"));
    }
}
