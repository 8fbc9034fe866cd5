//! The rules of the house that no compiler checks: who may use whom, that the map is true, that files stay short.
//! Runs as an ordinary test and as `./x tidy`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Lines a source file may have. Past half of it, look for the second idea.
const LONGEST_FILE: usize = 800;

/// Crates that ask the world nothing, and what they must therefore never use.
const PURE: [&str; 4] = ["causeway-model", "causeway-wire", "causeway-engine", "causeway-wireguard"];
const WORLDLY: [&str; 8] = ["tokio", "kube", "rtnetlink", "nix", "libc", "aya", "axum", "hyper"];

/// Everything that breaks a rule, as `where: what`.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    let mut broken = Vec::new();
    dependencies(root, &map, &mut broken)?;
    named_paths(root, &map, &mut broken);
    files(root, &mut broken)?;
    crate::run::stale_generated(root, &mut broken);
    Ok(broken)
}

/// Prints what is broken and fails if anything is.
pub(crate) fn report(broken: &[String]) -> Result<()> {
    for line in broken {
        println!("{line}");
    }
    if broken.is_empty() { Ok(()) } else { bail!("{} rules of the house are broken", broken.len()) }
}

/// The rows of the table in ARCHITECTURE.md: crate, charter, what it may use.
fn table(map: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut rows = BTreeMap::new();
    for line in map.lines().filter(|l| l.starts_with("| `crates/") || l.starts_with("| `dev/")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [path, charter, uses] = cells[..] {
            let uses = uses.split(',').map(|u| u.trim().trim_matches('`').to_string());
            let uses = uses.filter(|u| !u.is_empty() && u != "–").collect();
            rows.insert(path.trim_matches('`').to_string(), (charter.to_string(), uses));
        }
    }
    rows
}

fn dependencies(root: &Path, map: &str, broken: &mut Vec<String>) -> Result<()> {
    let rows = table(map);
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_string();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = text(&package["name"]);
        let manifest = text(&package["manifest_path"]);
        let folder = Path::new(&manifest).parent().and_then(|p| p.strip_prefix(root).ok());
        let folder = folder.map(|p| p.display().to_string()).unwrap_or_default();
        let Some((charter, may_use)) = rows.get(&folder) else {
            broken.push(format!("ARCHITECTURE.md: the table has no row for {folder}"));
            continue;
        };
        if *charter != text(&package["description"]) {
            broken.push(format!(
                "{folder}/Cargo.toml: description differs from the charter in ARCHITECTURE.md"
            ));
        }
        if charter.contains(" and ") {
            broken.push(format!("ARCHITECTURE.md: the charter of {folder} has an \"and\": it is two crates"));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = text(&dependency["name"]);
            let shipped = dependency["kind"].is_null();
            if let Some(path) = dependency["path"].as_str() {
                let room = Path::new(path).file_name().unwrap_or_default().to_string_lossy().to_string();
                if shipped && !may_use.contains(&room) {
                    broken.push(format!("{folder}/Cargo.toml: uses {room}, which the table does not allow"));
                }
            } else if shipped && PURE.contains(&name.as_str()) && WORLDLY.contains(&used.as_str()) {
                broken.push(format!("{folder}/Cargo.toml: uses {used}, but it is in the pure ring"));
            }
        }
    }
    Ok(())
}

/// Every path that ARCHITECTURE.md names in backticks exists.
fn named_paths(root: &Path, map: &str, broken: &mut Vec<String>) {
    let tops = ["bpf/", "crates/", "dev/", "docs/", "fuzz/", "examples/", ".ci/"];
    for word in map.split('`').skip(1).step_by(2) {
        let looks_like_path = tops.iter().any(|t| word.starts_with(t)) && !word.contains([' ', '*', '{']);
        if looks_like_path && !root.join(word).exists() {
            broken.push(format!("ARCHITECTURE.md: names {word}, which does not exist"));
        }
    }
}

fn files(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "*.rs", "*.c", "*.h"])
        .current_dir(root)
        .output()
        .context("running git ls-files")?;
    for path in String::from_utf8_lossy(&listed.stdout).lines() {
        let Ok(text) = std::fs::read_to_string(root.join(path)) else { continue };
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            broken
                .push(format!("{path}: {lines} lines; past {LONGEST_FILE} there is a second idea: split it"));
        }
        let pure =
            PURE.iter().any(|name| path == format!("crates/{}/src/lib.rs", &name["causeway-".len()..]));
        if pure && !text.contains("#![forbid(unsafe_code)]") {
            broken.push(format!("{path}: a pure crate says #![forbid(unsafe_code)]"));
        }
        let island = path.starts_with("crates/kernel/");
        if path.ends_with(".rs") && !island && text.lines().any(|l| l.trim_start().starts_with("unsafe ")) {
            broken.push(format!("{path}: unsafe belongs in crates/kernel alone"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        let broken = super::check(&crate::run::root()).unwrap();
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }
}
