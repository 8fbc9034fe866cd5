//! Objects as text, and the replacing of one object in a file that others are in too.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::manifest::{Id, Manifest};

use super::folder::Entry;

/// One object as the text of a file of its own.
pub(super) fn of_object(manifest: &Manifest, file: &str) -> String {
    const FITS: &str = "objects of Kubernetes have nothing that JSON and YAML could not hold";
    match file.ends_with(".json") {
        true => serde_json::to_string_pretty(manifest).expect(FITS) + "\n",
        false => serde_saphyr::to_string(manifest).expect(FITS),
    }
}

/// The text of a file with an object replaced, or taken out; nothing when no object is left. Other documents stay as
/// they are, comments included; those in one document with the object (a `List`) are written anew.
pub(super) fn without(
    text: &str,
    entries: &[Entry],
    id: &Id,
    replacement: Option<&Manifest>,
    file: &str,
) -> Option<String> {
    if replacement.is_none() && entries.iter().all(|entry| entry.manifest.id() == *id) {
        return None;
    }
    let documents = documents(text);
    let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
    let starts: Vec<usize> = documents.iter().map(|range| line_of(range.start)).collect();
    let document_of = |line: usize| starts.partition_point(|start| *start <= line).saturating_sub(1);
    let target = entries.iter().find(|entry| entry.manifest.id() == *id).map(|entry| document_of(entry.line));
    let mut parts: Vec<String> = Vec::new();
    for (n, range) in documents.into_iter().enumerate() {
        if Some(n) != target {
            parts.push(text[range].to_string());
            continue;
        }
        for entry in entries.iter().filter(|entry| document_of(entry.line) == n) {
            let kept = if entry.manifest.id() == *id { replacement } else { Some(&entry.manifest) };
            let separator = if parts.is_empty() { "" } else { "---\n" };
            parts.extend(kept.map(|manifest| format!("{separator}{}", of_object(manifest, file))));
        }
    }
    Some(parts.concat())
}

/// Where each document of a text is. `---` at the beginning of a line begins one, wherever it stands: YAML forbids it
/// there inside scalars.
fn documents(text: &str) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && offset > 0 {
            starts.push(offset);
        }
        offset += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Writes a file so that a reader finds the old content or the new one. Not flushed to the disk: after a power cut it
/// is again one or the other on the file systems that order renames behind data (ext4, xfs and btrfs do).
pub(super) fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    fs::write(&temporary, text)?;
    fs::rename(&temporary, dir.join(name)).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse;

    const FILE: &str = "# the first\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n--- # the second\n\
                        apiVersion: v1\nkind: Namespace # b\nmetadata:\n  name: b\n---\n---\napiVersion: v1\nkind: \
                        List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: c}}\n- {apiVersion: v1, \
                        kind: Namespace, metadata: {name: d}}\n";

    fn entries(text: &str) -> Vec<Entry> {
        let entry = |m: crate::yaml::Located<Manifest>| Entry { line: m.line(), manifest: m.value };
        parse("f", text).unwrap().into_iter().map(entry).collect()
    }

    #[test]
    fn one_object_among_others() {
        for (name, label, left) in [
            ("a", None, "bcd"),
            ("b", None, "acd"),
            ("c", None, "abd"),
            ("d", Some("x"), "abcd"),
            ("b", Some("x"), "abcd"),
        ] {
            let all = entries(FILE);
            let target = all.iter().find(|entry| entry.manifest.id().name == name).unwrap();
            let replacement = label.map(|label| {
                let mut changed = target.manifest.clone();
                changed.metadata_mut().labels = Some([("l".to_string(), label.to_string())].into());
                changed
            });
            let text = without(FILE, &all, &target.manifest.id(), replacement.as_ref(), "f.yaml").unwrap();
            let now = entries(&text);
            let names: String = now.iter().map(|entry| entry.manifest.id().name).collect();
            assert_eq!(names, left, "{text}");
            assert_eq!(text.contains("# the first"), name != "a");
            assert_eq!(text.contains("# the second\n"), name != "b");
            let labels = now.iter().filter(|entry| entry.manifest.metadata().labels.is_some()).count();
            assert_eq!(labels, usize::from(label.is_some()));
        }
        let one = entries("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n");
        assert_eq!(without("", &one, &one[0].manifest.id(), None, "f.yaml"), None);
    }

    proptest::proptest! {
        /// Whatever text is in an object, it is read back as it was written.
        #[test]
        fn written_is_read(value in "\\PC{0,40}|[ -~\n\t]{0,60}|true|no|1e3|0x1|~|- a|a: b|# c", json: bool) {
            let mut manifest = entries("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").remove(0).manifest;
            manifest.metadata_mut().annotations = Some([("note".to_string(), value)].into());
            let text = of_object(&manifest, if json { "f.json" } else { "f.yaml" });
            let read = parse("f", &text);
            proptest::prop_assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
            proptest::prop_assert_eq!(&read.unwrap()[0].value, &manifest, "{}", text);
        }
    }
}
