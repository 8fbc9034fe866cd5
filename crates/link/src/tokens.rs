//! The tokens a controller has made: on disk, hashed, each with its uses left.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{constant_time, digest, rand};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::seconds;
use crate::token::{ID_BYTES, SECRET_BYTES, TokenError, TokenKind};
use crate::{Error, files};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    id: [u8; ID_BYTES],
    kind: TokenKind,
    /// SHA-256 of the secret, which has 256 random bits: nothing slower is needed.
    hash: [u8; 32],
    uses: u32,
    /// Seconds since 1970.
    expires: u64,
    /// The only node that may use it.
    node: Option<String>,
}

/// The id and secret of a token that was just made.
pub(crate) struct Minted {
    pub(crate) id: [u8; ID_BYTES],
    pub(crate) secret: [u8; SECRET_BYTES],
    pub(crate) expires: SystemTime,
}

/// The tokens that still have uses.
pub(crate) struct Tokens {
    path: PathBuf,
    /// Ticks when the file was written.
    saved: watch::Sender<()>,
    records: Mutex<Vec<Record>>,
}

impl Tokens {
    /// Loads them. A damaged file is an error that says what it costs to remove it.
    pub(crate) fn open(dir: &Path, saved: watch::Sender<()>) -> Result<Self, Error> {
        let path = dir.join("tokens.json");
        let records = load(&path)?;
        Ok(Self { path, saved, records: Mutex::new(records) })
    }

    /// Loads them again: somebody else has written the file.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let mut records = self.lock();
        *records = load(&self.path)?;
        Ok(())
    }

    /// Makes one.
    pub(crate) fn mint(
        &self,
        kind: TokenKind,
        uses: u32,
        valid: Duration,
        node: Option<String>,
    ) -> Result<Minted, Error> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        for bytes in [&mut id[..], &mut secret[..]] {
            rand::fill(bytes).map_err(|_| Error::Crypto("no random bytes".into()))?;
        }
        let expires = SystemTime::now() + valid;
        let record = Record { id, kind, hash: hash(&secret), uses, expires: seconds(expires), node };
        self.change(|records| {
            records.push(record);
            Ok(())
        })?;
        Ok(Minted { id, secret, expires })
    }

    /// Checks a token without spending a use.
    pub(crate) fn check(
        &self,
        kind: TokenKind,
        id: &[u8],
        secret: &[u8],
        node: Option<&str>,
    ) -> Result<(), TokenError> {
        find(&mut self.lock(), kind, id, secret, node).map(|_| ())
    }

    /// Spends one use. On disk when it returns, so a restart does not give it back.
    pub(crate) fn redeem(
        &self,
        kind: TokenKind,
        id: &[u8],
        secret: &[u8],
        node: Option<&str>,
    ) -> Result<(), Error> {
        self.change(|records| {
            find(records, kind, id, secret, node)?.uses -= 1;
            Ok(())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().expect("no panic while tokens are locked")
    }

    /// Changes the records and saves them, or leaves everything as it was.
    fn change(&self, change: impl FnOnce(&mut Vec<Record>) -> Result<(), Error>) -> Result<(), Error> {
        let mut records = self.lock();
        let mut next = records.clone();
        change(&mut next)?;
        // Expired ones are kept for a day, so that their owners are told why.
        let day_ago = seconds(SystemTime::now()).saturating_sub(24 * 3600);
        next.retain(|r| r.uses > 0 && r.expires > day_ago);
        let bytes = serde_json::to_vec(&next).map_err(|e| Error::Crypto(e.to_string()))?;
        files::write(&self.path, &bytes)?;
        *records = next;
        self.saved.send_replace(());
        Ok(())
    }
}

fn load(path: &Path) -> Result<Vec<Record>, Error> {
    match files::read(path)? {
        None => Ok(Vec::new()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Damaged {
            path: path.into(),
            detail: e.to_string(),
            advice: "remove it and make new tokens; nodes and links that have joined are not affected",
        }),
    }
}

/// The record of a token that can be used now.
fn find<'a>(
    records: &'a mut [Record],
    kind: TokenKind,
    id: &[u8],
    secret: &[u8],
    node: Option<&str>,
) -> Result<&'a mut Record, TokenError> {
    let record = records.iter_mut().find(|r| r.id == id && r.kind == kind).ok_or(TokenError::Unknown)?;
    constant_time::verify_slices_are_equal(&record.hash, &hash(secret)).map_err(|_| TokenError::Unknown)?;
    if record.expires <= seconds(SystemTime::now()) {
        return Err(TokenError::Expired);
    }
    if record.node.is_some() && record.node.as_deref() != node {
        return Err(TokenError::OtherNode);
    }
    if record.uses == 0 { Err(TokenError::Unknown) } else { Ok(record) }
}

fn hash(secret: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, secret).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn uses_are_counted_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path(), watch::Sender::default()).unwrap();
        let Minted { id, secret, .. } = tokens.mint(TokenKind::Node, 2, HOUR, None).unwrap();
        let redeem = |tokens: &Tokens| tokens.redeem(TokenKind::Node, &id, &secret, Some("aws-1"));
        assert!(tokens.check(TokenKind::Node, &id, &secret, None).is_ok());
        redeem(&tokens).unwrap();
        let tokens = Tokens::open(dir.path(), watch::Sender::default()).unwrap();
        redeem(&tokens).unwrap();
        assert!(matches!(redeem(&tokens), Err(Error::Token(TokenError::Unknown))));
        assert!(matches!(
            redeem(&Tokens::open(dir.path(), watch::Sender::default()).unwrap()),
            Err(Error::Token(TokenError::Unknown))
        ));
    }

    #[test]
    fn only_the_right_one_for_the_right_thing() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path(), watch::Sender::default()).unwrap();
        let node = Some("aws-1".to_string());
        let Minted { id, secret, .. } = tokens.mint(TokenKind::Node, 1, HOUR, node).unwrap();
        let mut wrong = secret;
        wrong[31] ^= 1;
        let check = |kind, id: &[u8], secret: &[u8], node| tokens.check(kind, id, secret, node);
        assert_eq!(check(TokenKind::Link, &id, &secret, Some("aws-1")), Err(TokenError::Unknown));
        assert_eq!(check(TokenKind::Node, &id, &wrong, Some("aws-1")), Err(TokenError::Unknown));
        assert_eq!(check(TokenKind::Node, &id, &secret[..31], Some("aws-1")), Err(TokenError::Unknown));
        assert_eq!(check(TokenKind::Node, &[], &[], Some("aws-1")), Err(TokenError::Unknown));
        assert_eq!(check(TokenKind::Node, &id, &secret, Some("aws-2")), Err(TokenError::OtherNode));
        assert_eq!(check(TokenKind::Node, &id, &secret, None), Err(TokenError::OtherNode));
        assert_eq!(check(TokenKind::Node, &id, &secret, Some("aws-1")), Ok(()));
        let old = tokens.mint(TokenKind::Node, 1, Duration::ZERO, None).unwrap();
        assert_eq!(check(TokenKind::Node, &old.id, &old.secret, None), Err(TokenError::Expired));
    }

    #[test]
    fn secrets_are_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path(), watch::Sender::default()).unwrap();
        let Minted { secret, .. } = tokens.mint(TokenKind::Link, 1, HOUR, None).unwrap();
        let text = std::fs::read_to_string(dir.path().join("tokens.json")).unwrap();
        let list = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        assert!(!text.contains(&list));
        std::fs::write(dir.path().join("tokens.json"), &text[..text.len() / 2]).unwrap();
        assert!(matches!(Tokens::open(dir.path(), watch::Sender::default()), Err(Error::Damaged { .. })));
    }
}
