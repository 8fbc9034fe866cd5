//! The Helm chart and the book's page of settings, both from the installer's definition.

use std::path::Path;

use anyhow::{Context as _, Result};
use install::chart::{FOLDER, book, files};

/// Where the page belongs, below the root of the repository.
const BOOK: &str = "docs/settings.md";

/// What ought to be there: the path below the root, and the text.
pub(crate) fn generate() -> Vec<(String, String)> {
    let chart = files().into_iter().map(|(path, text)| (format!("{FOLDER}/{path}"), text));
    chart.chain([(BOOK.to_owned(), book())]).collect()
}

/// Files of the chart that no definition speaks of any more, as paths below the root.
pub(crate) fn orphans(root: &Path) -> Result<Vec<String>> {
    let wanted: Vec<String> = generate().into_iter().map(|(path, _)| path).collect();
    let mut folders = vec![root.join(FOLDER)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        if !folder.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            if !wanted.contains(&name) {
                found.push(name);
            }
        }
    }
    Ok(found)
}
