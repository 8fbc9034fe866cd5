//! When our files are put among the container runtime's, and taken away again.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cni::install::{self, CONFLIST, InstallOptions, PROGRAM};
use crate::config::Config;

/// Where our files go; nothing if the runtime's folders are left alone.
fn options(config: &Config) -> Option<InstallOptions> {
    config.cni.as_ref().map(|cni| InstallOptions {
        host: config.host(),
        bin_dirs: cni.bin_dirs.clone(),
        conf_dir: cni.conf_dir.clone(),
        socket: config.run_dir.join("agent.sock"),
        program: "/proc/self/exe".into(),
    })
}

/// Puts the program in its place: the plugin, and what runs on the machine itself.
pub(crate) fn put_program(config: &Config) -> Result<()> {
    if let Some(options) = options(config) {
        install::install_program(&options)?;
    }
    Ok(())
}

/// The machine's copy of this program.
pub(crate) fn program(config: &Config) -> Result<PathBuf> {
    let host = config.host();
    let folders = config.cni.iter().flat_map(|cni| &cni.bin_dirs);
    let mut programs = folders.map(|folder| folder.join(PROGRAM));
    match programs.find(|program| host.path(program).exists()) {
        Some(program) => Ok(program),
        None => bail!("this program is in none of cni.binDirs: has somebody removed it?"),
    }
}

/// Puts the configuration in its place: from now on pods are ours. Says what an operator should know.
pub(crate) fn put_configuration(config: &Config) -> Result<Option<String>> {
    let Some(options) = options(config) else { return Ok(None) };
    install::install_conflist(&options)?;
    let others = install::preferred(&options)?;
    let folder = options.conf_dir.display();
    Ok((!others.is_empty()).then(|| {
        let others = others.join(", ");
        format!("the container runtime takes {others} in {folder} rather than {CONFLIST}: remove the other network")
    }))
}

/// Takes our files away.
pub(crate) fn remove(config: &Config) -> Result<()> {
    options(config).map_or(Ok(()), |options| Ok(install::uninstall(&options)?))
}
