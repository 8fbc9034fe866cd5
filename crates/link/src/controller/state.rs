//! What of a controller's state directory must not be lost with its machine: the CA, the links, the join tokens.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use model::ClusterName;

use crate::pki::{Authority, Lifetimes};
use crate::{Error, files};

/// The files, the CA's key and certificate first.
pub const FILES: [&str; 6] =
    ["ca.key", "ca-cross.crt", "ca.crt", "links.json", "removed.json", "tokens.json"];

const KEY: &str = FILES[0];

/// The files' contents, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Reads the files that are there.
///
/// # Errors
/// One cannot be read.
pub fn read(dir: &Path) -> Result<Files, Error> {
    let mut found = Files::new();
    for name in FILES {
        if let Some(bytes) = files::read(&dir.join(name))? {
            found.insert(name.into(), bytes);
        }
    }
    Ok(found)
}

/// Writes what differs. Returns the names of the files that were written. Names that are none of [`FILES`] are left out.
///
/// # Errors
/// One cannot be written.
pub fn write(dir: &Path, wanted: &Files) -> Result<Vec<&'static str>, Error> {
    files::make_dir(dir)?;
    let found = read(dir)?;
    let mut written = Vec::new();
    // Until the roots are there, both keys: whichever root a crash leaves has its own.
    let (old, new) = (found.get(KEY), wanted.get(KEY));
    if let (Some(old), Some(new)) = (old, new)
        && old != new
    {
        files::write(&dir.join(KEY), &[new.as_slice(), old].concat())?;
    }
    for name in FILES.into_iter().filter(|name| *name != KEY).chain([KEY]) {
        if let Some(bytes) = wanted.get(name).filter(|bytes| found.get(name) != Some(bytes)) {
            files::write(&dir.join(name), bytes)?;
            written.push(name);
        }
    }
    Ok(written)
}

/// Whether the CA is there.
pub fn has_authority(files: &Files) -> bool {
    files.contains_key("ca.key") && files.contains_key("ca.crt")
}

/// Makes a CA for the cluster, unless there is one, and reads the files.
///
/// # Errors
/// What is there is damaged, or a file cannot be written.
pub fn found(dir: &Path, cluster: &ClusterName) -> Result<Files, Error> {
    Authority::open(dir, cluster, Lifetimes::default(), SystemTime::now())?;
    read(dir)
}
