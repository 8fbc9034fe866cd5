//! The lab that comes with the binary.

use std::io;
use std::path::{Path, PathBuf};

use super::{Error, Lab, parse};

/// Its files, by the names they call each other.
const FILES: [(&str, &str); 5] = [
    ("lab.yaml", include_str!("../../default/lab.yaml")),
    ("echo.yaml", include_str!("../../default/echo.yaml")),
    ("aws.yaml", include_str!("../../default/aws.yaml")),
    ("gcp.yaml", include_str!("../../default/gcp.yaml")),
    ("azure.yaml", include_str!("../../default/azure.yaml")),
];

/// Three clouds of two nodes each, with a service that is global and a client on every node.
pub fn default_lab() -> Result<Lab, Error> {
    let read = |name: &str| {
        let found = FILES.iter().find(|(known, _)| *known == name);
        found
            .map(|(name, text)| (PathBuf::from(format!("default/{name}")), (*text).to_string()))
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let (path, text) = ("default/lab.yaml", FILES[0].1);
    parse(Path::new(path), text, read)
}

/// The files of the default lab, to be written down and changed.
pub fn default_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.into_iter()
}
