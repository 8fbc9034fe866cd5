//! The last known world, on disk: read when a process starts, written when something changed.
//!
//! The format is `wire::state`'s. A file that is no state is never fatal and never deleted: it is set aside as
//! `NAME.corrupt-N`, and the tellers are asked for everything.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use model::{ClusterName, World};
use wire::state::{Encoder, Place, Saved};

use crate::Error;

/// What was found, and what the operator should know about it.
#[derive(Debug, Default)]
pub struct Found {
    /// The world and the places it stands at; empty when there was none to read.
    pub saved: Saved,
    /// What was wrong with the file, and where it is now.
    pub problem: Option<String>,
}

/// Reads a state file. Blocks.
///
/// # Errors
/// The file is there and cannot be read, or is damaged and cannot be set aside.
pub fn load(path: &Path) -> Result<Found, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(source) => return Err(Error::File { attempt: "read", path: path.into(), source }),
    };
    match wire::state::decode(&bytes) {
        Ok(saved) => {
            let skipped = saved.skipped;
            let problem = (skipped > 0).then(|| {
                format!(
                    "{}: {skipped} objects of another version were skipped; everything is asked for anew",
                    path.display()
                )
            });
            Ok(Found { saved, problem })
        }
        Err(e) => {
            let aside = set_aside(path)?;
            let problem = format!(
                "{}: {e}; set aside as {}, asking for everything anew",
                path.display(),
                aside.display()
            );
            Ok(Found { saved: Saved::default(), problem: Some(problem) })
        }
    }
}

/// Writes a state file, wholly or not at all. Blocks.
///
/// # Errors
/// The file cannot be written.
pub fn save(path: &Path, world: &World, places: &BTreeMap<ClusterName, Place>) -> Result<(), Error> {
    write(path, &wire::state::encode(world, places))
}

/// Writes a state file that was put together piece by piece, wholly or not at all. Blocks.
///
/// # Errors
/// The file cannot be written.
pub fn save_encoded(path: &Path, state: Encoder) -> Result<(), Error> {
    write(path, &state.finish())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    // Preshared keys of peers are in it.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.and_then(|()| std::fs::rename(&temporary, path)).map_err(|source| Error::File {
        attempt: "write",
        path: path.into(),
        source,
    })
}

fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let aside = (1..)
        .map(|n| PathBuf::from(format!("{}.corrupt-{n}", path.display())))
        .find(|candidate| !candidate.exists())
        .expect("numbers do not run out");
    std::fs::rename(path, &aside).map_err(|source| Error::File {
        attempt: "set aside",
        path: path.into(),
        source,
    })?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("world.state");
        assert_eq!(load(&path).unwrap().saved, Saved::default(), "no file is no problem");

        let places = BTreeMap::from([(
            "aws".parse().unwrap(),
            Place { epoch: 7, revision: 9, interest: None, policing: None },
        )]);
        save(&path, &World::default(), &places).unwrap();
        assert_eq!(load(&path).unwrap().saved.places, places);

        for (n, damage) in
            [&b""[..], b"garbage", &std::fs::read(&path).unwrap()[..20]].into_iter().enumerate()
        {
            std::fs::write(&path, damage).unwrap();
            let found = load(&path).unwrap();
            assert_eq!(found.saved, Saved::default());
            let aside = folder.path().join(format!("world.state.corrupt-{}", n + 1));
            assert!(found.problem.unwrap().contains(&aside.display().to_string()));
            assert_eq!(std::fs::read(aside).unwrap(), damage, "nothing is lost");
        }
    }
}
