//! What has to be undone on the machine itself, written down before it is done.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FOLDER;

/// The record of what a lab changed outside its own folder, control group and namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Folders that were made as places to mount on, outermost first.
    pub folders: Vec<PathBuf>,
    /// Whether `/run/netns` was no mount point before.
    pub netns_mount: bool,
}

impl Record {
    fn path() -> PathBuf {
        Path::new(FOLDER).join("record.json")
    }

    /// Reads the record; an empty one when there is none, or when it was cut short by a crash.
    pub fn load() -> io::Result<Self> {
        match std::fs::read(Self::path()) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e),
        }
    }

    /// Writes the record.
    pub fn save(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        std::fs::write(Self::path(), bytes)
    }

    /// Makes a folder, and those it lies in, and notes which of them are new.
    pub fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        missing.reverse();
        self.folders.extend(missing.iter().map(PathBuf::from));
        self.save()?;
        std::fs::create_dir_all(path)
    }

    /// Removes the folders that were made and are empty; what somebody put something into stays.
    pub fn remove_folders(&self) {
        for folder in self.folders.iter().rev() {
            // Not empty, or gone: both are as they should be.
            let _ = std::fs::remove_dir(folder);
        }
    }
}
