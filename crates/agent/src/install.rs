//! Our part of the container runtime's folders.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::config::Config;

/// The machine's copy of this program.
pub(crate) fn program(config: &Config) -> Result<PathBuf> {
    let host = config.host();
    let folders = config.cni.iter().flat_map(|cni| &cni.bin_dirs);
    let mut programs = folders.map(|folder| folder.join("causeway"));
    match programs.find(|program| host.path(program).exists()) {
        Some(program) => Ok(program),
        None => {
            bail!("this program is in none of cni.binDirs: does one of these folders exist on the machine?")
        }
    }
}

/// Takes our files out of them.
pub(crate) fn remove(_config: &Config) -> Result<()> {
    Ok(())
}
