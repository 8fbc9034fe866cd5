//! Compiles `bpf/` with clang; the objects are embedded in the binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to install, in one line, when something is missing.
const INSTALL: &str = "on Debian and Ubuntu: apt-get install clang libbpf-dev linux-libc-dev";

fn main() {
    let source = Path::new(&of("CARGO_MANIFEST_DIR")).join("../../bpf");
    let out = PathBuf::from(of("OUT_DIR"));
    println!("cargo:rerun-if-env-changed=CLANG");
    watch(&source);
    for folder in ["", "tests"] {
        for path in programs(&source.join(folder)) {
            let stem =
                path.file_name().expect("a file has a name").to_string_lossy().replace(".bpf.c", ".bpf.o");
            compile(&path, &out.join(folder).join(stem));
        }
    }
}

/// What cargo tells us. At run time: the folder may have moved since this script was compiled.
fn of(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// Tells cargo about every file, and about files to come.
fn watch(folder: &Path) {
    println!("cargo:rerun-if-changed={}", folder.display());
    for path in entries(folder) {
        if path.is_dir() {
            watch(&path);
        } else {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = |e| panic!("cannot read {}: {e}", folder.display());
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap_or_else(read).map(|e| e.expect("a folder can be read").path()).collect();
    paths.sort();
    paths
}

fn programs(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|p| p.to_string_lossy().ends_with(".bpf.c")).collect()
}

fn compile(source: &Path, object: &Path) {
    let target = if of("CARGO_CFG_TARGET_ENDIAN") == "big" { "bpfeb" } else { "bpfel" };
    // Debian keeps <asm/types.h> in a folder per architecture, where clang does not look when it builds for BPF.
    let multiarch = format!("-I/usr/include/{}-linux-gnu", of("CARGO_CFG_TARGET_ARCH"));
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    fs::create_dir_all(object.parent().expect("an object has a folder")).expect("OUT_DIR can be written");
    let output = Command::new(&clang)
        .args(["-O2", "-g", "-std=gnu11", "-mcpu=v3", "-target", target, "-Wall", "-Wextra", "-Werror"])
        .arg(&multiarch)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .output()
        .unwrap_or_else(|e| panic!("cannot run {clang} to compile {}: {e}\n{INSTALL}", source.display()));
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let missing = text.contains("file not found");
        panic!(
            "{clang} cannot compile {}:\n{text}\n{}",
            source.display(),
            if missing { INSTALL } else { "" }
        );
    }
}
