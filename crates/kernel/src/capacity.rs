//! How many entries the packet path's maps can hold, as the kernel has them.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;

/// A map that cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the size of the map {path}: {source}; is the packet path loaded?")]
pub struct CapacityError {
    path: PathBuf,
    source: io::Error,
}

/// The most entries of the map of this name whose pin is in the folder; nothing if there is no such map.
pub fn of(pin_dir: &Path, map: &str) -> Result<Option<usize>, CapacityError> {
    let path = pin_dir.join(map);
    if !path.exists() {
        return Ok(None);
    }
    match MapInfo::from_pin(&path) {
        Ok(info) => Ok(Some(info.max_entries() as usize)),
        Err(e) => Err(CapacityError { path, source: io::Error::other(e) }),
    }
}
