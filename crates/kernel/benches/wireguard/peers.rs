//! Who is compared.

use std::path::{Path, PathBuf};

use crate::pair::Kind;

/// What this repository's device is called in the tables.
pub(crate) const OURS: &str = "causeway";

/// A device in the tables.
#[derive(Debug, Clone)]
pub(crate) struct Compared {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

impl Compared {
    /// From NAME=PATH.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or_else(|| format!("--peer {text}: not NAME=PATH"))?;
        let path = Path::new(path).canonicalize().map_err(|error| format!("--peer {text}: {error}"))?;
        Ok(Self::at(name, path))
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.kind == Kind::Ours
    }

    fn at(name: &str, path: PathBuf) -> Self {
        // There are few of them, and they live as long as the run.
        Self { name: name.to_owned(), kind: Kind::Program(Box::leak(path.into_boxed_path())) }
    }
}

/// Ours, those that were named, and what is on the PATH besides.
pub(crate) fn all(named: Vec<Compared>) -> Vec<Compared> {
    let mut all = vec![Compared { name: OURS.to_owned(), kind: Kind::Ours }];
    all.extend(named);
    for name in ["wireguard-go", "boringtun-cli"] {
        let known = all.iter().any(|compared| compared.name == name);
        if let Some(path) = on_path(name).filter(|_| !known) {
            all.push(Compared::at(name, path));
        }
    }
    all
}

fn on_path(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}
