//! What is written in a folder of manifests, kept up to date a file at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::manifest::{self, Id, Kind, Manifest};
use crate::yaml::{Located, MAX_BYTES};

/// A folder's objects. Where two files hold one object, the one whose name comes first counts, so that what is in
/// force depends on nothing but the files.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    files: BTreeMap<String, File>,
    holders: BTreeMap<Id, BTreeSet<String>>,
}

/// One file, as it was last read without a mistake in it.
#[derive(Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    /// In the order of the file.
    entries: Vec<Entry>,
    places: BTreeMap<Id, usize>,
    /// What is wrong with the file as it is now.
    complaint: Option<String>,
}

/// One object of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) manifest: Manifest,
}

/// What tells one content of a file from the next, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// What a reading brought.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The objects that are new, different or gone.
    pub(super) ids: BTreeSet<Id>,
    /// What is wrong with files, said once for each change of a file.
    pub(super) problems: Vec<String>,
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, files: BTreeMap::new(), holders: BTreeMap::new() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a file of this name counts.
    pub(super) fn counts(name: &str) -> bool {
        let ending = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        ending && !name.starts_with('.')
    }

    /// Reads every file that is not as it was.
    pub(super) fn scan(&mut self) -> io::Result<Report> {
        let mut report = Report::default();
        let mut gone: BTreeSet<String> = self.files.keys().cloned().collect();
        for entry in std::fs::read_dir(&self.dir)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if !Self::counts(&name) {
                continue;
            }
            gone.remove(&name);
            let stamp = std::fs::metadata(self.dir.join(&name)).ok().as_ref().map(Stamp::of);
            if self.files.get(&name).is_none_or(|file| file.stamp != stamp || stamp.is_none()) {
                self.read(&name, &mut report);
            }
        }
        for name in gone {
            self.replace(&name, None, &mut report);
        }
        Ok(report)
    }

    /// Reads one file, whether it looks different or not.
    pub(super) fn read(&mut self, name: &str, report: &mut Report) {
        let path = self.dir.join(name);
        let (stamp, text) = match open(&path) {
            Ok(Found::File(stamp, text)) => (stamp, text),
            Ok(Found::Nothing) => return self.replace(name, None, report),
            // Whoever is writing will close it, and that is when it counts.
            Ok(Found::Torn) => return self.files.entry(name.to_string()).or_default().stamp = None,
            Err(error) => return self.complain(name, None, format!("{}: {error}", path.display()), report),
        };
        let read = text.and_then(|text| {
            manifest::parse(&path.to_string_lossy(), &text).map_err(|error| error.to_string())
        });
        match read {
            Err(complaint) => self.complain(name, Some(stamp), complaint, report),
            Ok(manifests) => {
                self.replace(name, Some(File::new(stamp, manifests)), report);
            }
        }
    }

    /// Reads one file if it looks different.
    pub(super) fn refresh(&mut self, name: &str) {
        let stamp = std::fs::metadata(self.dir.join(name)).ok().as_ref().map(Stamp::of);
        let known = self.files.get(name).and_then(|file| file.stamp);
        if stamp != known {
            self.read(name, &mut Report::default());
        }
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Manifest> {
        Some(&self.files.get(self.holder(id)?)?.get(id)?.manifest)
    }

    /// The file that an object is in.
    pub(super) fn holder(&self, id: &Id) -> Option<&str> {
        self.holders.get(id)?.first().map(String::as_str)
    }

    /// `FILE:LINE` of an object.
    pub(super) fn place(&self, id: &Id) -> String {
        let Some(name) = self.holder(id) else { return self.dir.display().to_string() };
        self.place_in(name, id)
    }

    fn place_in(&self, name: &str, id: &Id) -> String {
        let line = self.files.get(name).and_then(|file| file.get(id)).map_or(1, |entry| entry.line);
        format!("{}:{line}", self.dir.join(name).display())
    }

    /// The objects of one file.
    pub(super) fn entries(&self, name: &str) -> &[Entry] {
        self.files.get(name).map(|file| file.entries.as_slice()).unwrap_or_default()
    }

    /// Every object of a kind.
    pub(super) fn list(&self, kind: Kind) -> impl Iterator<Item = &Manifest> {
        let ids = self.holders.keys().filter(move |id| id.kind == kind);
        ids.filter_map(|id| self.get(id))
    }

    /// What is wrong with the files as they are now.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.files.values().filter_map(|file| file.complaint.clone()).collect()
    }

    fn complain(&mut self, name: &str, stamp: Option<Stamp>, complaint: String, report: &mut Report) {
        let file = self.files.entry(name.to_string()).or_default();
        if file.stamp == stamp && file.complaint.as_ref() == Some(&complaint) {
            return;
        }
        let kept = if file.entries.is_empty() { "" } else { " (what the file said before stays in force)" };
        report.problems.push(format!("{complaint}{kept}"));
        (file.stamp, file.complaint) = (stamp, Some(complaint));
    }

    /// Puts the new content of a file in place of the old.
    fn replace(&mut self, name: &str, new: Option<File>, report: &mut Report) {
        let old = self.files.remove(name).unwrap_or_default();
        if let Some(file) = new {
            self.files.insert(name.to_string(), file);
        }
        let new = self.files.get(name);
        let ids: BTreeSet<Id> =
            old.places.keys().chain(new.into_iter().flat_map(|file| file.places.keys())).cloned().collect();
        let mut shared = Vec::new();
        for id in ids {
            let (before, after) = (old.get(&id), new.and_then(|file| file.get(&id)));
            let different = before.map(|entry| &entry.manifest) != after.map(|entry| &entry.manifest);
            let holders = self.holders.entry(id.clone()).or_default();
            let first = holders.first().cloned();
            if after.is_some() {
                holders.insert(name.into())
            } else {
                holders.remove(name)
            };
            if first.as_ref() != holders.first() || (first.as_deref() == Some(name) && different) {
                report.ids.insert(id.clone());
            }
            let other = holders.iter().find(|other| *other != name).cloned();
            if holders.is_empty() {
                self.holders.remove(&id);
            }
            shared.extend(other.filter(|_| after.is_some() && different).map(|other| (id, other)));
        }
        for (id, other) in shared {
            let (here, there, counts) =
                (self.place_in(name, &id), self.place_in(&other, &id), self.place(&id));
            report.problems.push(format!(
                "{here}: {id} is already in {there}; keep it in one file (until then {counts} counts)"
            ));
        }
    }
}

impl File {
    fn new(stamp: Stamp, manifests: Vec<Located<Manifest>>) -> Self {
        let places = manifests.iter().enumerate().map(|(n, manifest)| (manifest.value.id(), n)).collect();
        let entry = |manifest: Located<Manifest>| Entry { line: manifest.line(), manifest: manifest.value };
        Self {
            stamp: Some(stamp),
            entries: manifests.into_iter().map(entry).collect(),
            places,
            complaint: None,
        }
    }

    fn get(&self, id: &Id) -> Option<&Entry> {
        self.entries.get(*self.places.get(id)?)
    }
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            inode: meta.ino(),
            length: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What a look at a file finds.
enum Found {
    /// No file, or no regular one.
    Nothing,
    /// One that was written to while it was being read.
    Torn,
    /// Its text, or what is wrong with it as text.
    File(Stamp, Result<String, String>),
}

fn open(path: &Path) -> io::Result<Found> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Found::Nothing);
    }
    let stamp = Stamp::of(&meta);
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the parser says that it is too much.
    (&mut file).take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if Stamp::of(&file.metadata()?) != stamp {
        return Ok(Found::Torn);
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}:1: not UTF-8; save the file in that encoding", path.display())
    });
    Ok(Found::File(stamp, text))
}
