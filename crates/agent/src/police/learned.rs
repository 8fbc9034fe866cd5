//! Where names led, on disk: a restart takes nothing away from whoever talks there.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::warn;

/// As many as are ever learned.
const MOST: usize = 65_536;

/// The file of names.
pub(super) struct Learned {
    path: PathBuf,
    written: Vec<(String, IpAddr)>,
}

impl Learned {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, written: Vec::new() }
    }

    /// What was learned before. A file that cannot be read is as none: the names are asked for again.
    pub(super) fn read(&self) -> Vec<(String, IpAddr)> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(e) => {
                warn!("reading {}: {e}", self.path.display());
                return Vec::new();
            }
        };
        let mut names: Vec<(String, IpAddr)> = serde_json::from_slice(&text).unwrap_or_else(|e| {
            warn!("{} is damaged, and is written anew: {e}", self.path.display());
            Vec::new()
        });
        names.truncate(MOST);
        names
    }

    /// Writes what is known now, if it is something else.
    pub(super) fn write(&mut self, names: Vec<(String, IpAddr)>) {
        if names == self.written {
            return;
        }
        match replace(&self.path, &serde_json::to_vec(&names).unwrap_or_default()) {
            Ok(()) => self.written = names,
            Err(e) => warn!("writing {}: {e}", self.path.display()),
        }
    }
}

/// The old file, or the new one, whatever happens in between.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.json");
        let names = vec![("example.com".to_string(), "192.0.2.1".parse().unwrap())];
        let mut learned = Learned::at(path.clone());
        assert!(learned.read().is_empty());
        learned.write(names.clone());
        assert_eq!(Learned::at(path.clone()).read(), names);
        fs::write(&path, "[[\"exa").unwrap();
        assert!(Learned::at(path).read().is_empty());
    }
}
