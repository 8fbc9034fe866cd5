//! The settings with their docstrings: as `values.yaml`, and as a table.
//!
//! The order is that of the definition, the words are those of the schema, which are the docstrings.

use serde_json::Value;

use crate::settings::{Settings, schema};

const WIDTH: usize = 100;

/// A setting and what there is to say about it.
struct Entry {
    path: Vec<String>,
    about: String,
    default: Value,
    /// Whether it stands for others below it.
    group: bool,
}

/// The text of `values.yaml`: every setting with its default.
pub(super) fn yaml() -> String {
    let mut out = format!("# {}\n", super::MARK);
    for entry in entries() {
        let indent = "  ".repeat(entry.path.len() - 1);
        if entry.path.len() == 1 {
            out.push('\n');
        }
        for line in wrap(&entry.about, WIDTH - indent.len()) {
            out.push_str(&format!("{indent}# {line}\n"));
        }
        let key = entry.path.last().expect("a path has a last part");
        let value = if entry.group { String::new() } else { format!(" {}", entry.default) };
        out.push_str(&format!("{indent}{key}:{value}\n"));
    }
    out
}

/// The rows of the book's page.
pub(super) fn table() -> String {
    let mut out = String::new();
    for entry in entries() {
        let path = entry.path.join(".");
        if entry.group && entry.path.len() == 1 {
            out.push_str(&format!(
                "\n## `{path}`\n\n{}\n\n| setting | default | |\n|---|---|---|\n",
                entry.about
            ));
        } else if !entry.group && entry.path.len() == 1 {
            out.push_str(&format!("## `{path}`\n\n{} Default: `{}`.\n", entry.about, entry.default));
        } else if !entry.group {
            let default = entry.default.to_string().replace('|', "\\|");
            out.push_str(&format!("| `{path}` | `{default}` | {} |\n", entry.about.replace('|', "\\|")));
        }
    }
    out
}

fn entries() -> Vec<Entry> {
    let order = serde_saphyr::to_string(&Settings::default()).expect("settings are YAML");
    let defaults = Settings::default().to_json();
    let schema = schema();
    let mut path: Vec<String> = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    for line in order.lines() {
        let key = line.trim_start();
        let Some((key, _)) = key.split_once(':') else { continue };
        path.truncate((line.len() - line.trim_start().len()) / 2);
        path.push(key.to_owned());
        // Keys of what a setting holds, such as labels, are no settings.
        let Some(about) = property(&schema, &path) else { continue };
        let default = path.iter().fold(&defaults, |value, key| &value[key]).clone();
        let group = about.get("properties").is_some();
        let about = about["description"].as_str().unwrap_or_default().replace('\n', " ");
        entries.push(Entry { path: path.clone(), about, default, group });
    }
    entries
}

fn property<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |schema, key| schema.get("properties")?.get(key))
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
