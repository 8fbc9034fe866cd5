//! Where names led, on disk: a restart takes nothing away from whoever talks there. It is written beside everything else: a disk
//! that takes its time holds up no verdict.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tracing::warn;

/// As many as are ever learned.
const MOST: usize = 65_536;

/// Names, and where each led.
type Names = Vec<(String, IpAddr)>;

/// The file of names.
pub(super) struct Learned {
    path: PathBuf,
    written: Names,
    /// What is written now, one at a time; it is told if that went well.
    under_way: Option<oneshot::Receiver<Names>>,
}

impl Learned {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, written: Vec::new(), under_way: None }
    }

    /// What was learned before. A file that cannot be read is as none: the names are asked for again.
    pub(super) fn read(&self) -> Names {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(e) => {
                warn!("reading {}: {e}", self.path.display());
                return Vec::new();
            }
        };
        let mut names: Names = serde_json::from_slice(&text).unwrap_or_else(|e| {
            warn!("{} is damaged, and is written anew: {e}", self.path.display());
            Vec::new()
        });
        names.truncate(MOST);
        names
    }

    /// Begins to write what is known now, if it is something else and the last time is over. Has to be called in a runtime.
    pub(super) fn write(&mut self, names: Names) {
        match self.under_way.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(written)) => self.written = written,
            // It did not go well, which is said already, or there was nothing.
            Some(Err(TryRecvError::Closed)) | None => {}
        }
        self.under_way = None;
        if names == self.written {
            return;
        }
        let (done, under_way) = oneshot::channel();
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            match replace(&path, &serde_json::to_vec(&names).unwrap_or_default()) {
                // Nobody waits for it when the agent ends.
                Ok(()) => drop(done.send(names)),
                Err(e) => warn!("writing {}: {e}", path.display()),
            }
        });
        self.under_way = Some(under_way);
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

    #[tokio::test]
    async fn names_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.json");
        let names = vec![("example.com".to_string(), "192.0.2.1".parse().unwrap())];
        let mut learned = Learned::at(path.clone());
        assert!(learned.read().is_empty());
        learned.write(names.clone());
        assert_eq!(learned.under_way.take().unwrap().await, Ok(names.clone()));
        assert_eq!(Learned::at(path.clone()).read(), names);
        fs::write(&path, "[[\"exa").unwrap();
        assert!(Learned::at(path).read().is_empty());
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_written_to_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut learned = Learned::at(folder.path().join("names.json"));
        let names = |n: u8| vec![("example.com".to_string(), IpAddr::from([192, 0, 2, n]))];
        let (done, disk) = oneshot::channel();
        learned.under_way = Some(disk);
        learned.write(names(2));
        assert!(learned.read().is_empty(), "the last time is not over");
        done.send(names(1)).unwrap();
        learned.write(names(2));
        assert_eq!(learned.written, names(1));
        assert_eq!(learned.under_way.take().unwrap().await, Ok(names(2)));
        assert_eq!(learned.read(), names(2));
        // One that failed is tried again.
        learned.under_way = Some(oneshot::channel().1);
        learned.write(names(3));
        assert_eq!(learned.under_way.take().unwrap().await, Ok(names(3)));
    }
}
