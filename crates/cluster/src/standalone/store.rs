//! The folder as a store of objects: what an API server would be asked to do.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::PodStatus;

use super::folder::Folder;
use super::text;
use crate::manifest::{self, Id, Kind, Manifest};
use crate::yaml;

/// A folder of manifests that is written to. Any number of stores, in any number of processes, may share a folder:
/// changes are made under a lock on it, and what others wrote is seen at the next call.
///
/// A new object gets a file of its own, `service.demo.echo.yaml`. An object that stands in a file that somebody wrote
/// by hand is changed there, and the rest of that file is left as it is.
#[derive(Debug)]
pub struct Store {
    folder: Mutex<Folder>,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{doing} {}: {source}; check that the folder exists and may be written to", path.display())]
    Files {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The object is one that would be refused when it is read.
    #[error("{id} cannot be stored: {reason}")]
    Invalid {
        /// The object.
        id: Id,
        /// What is wrong with it.
        reason: Box<yaml::Error>,
    },
    /// The object is written in a way that cannot be changed without changing others.
    #[error("{id} cannot be changed where it stands, in {place}; move it to a file of its own")]
    Stuck {
        /// The object.
        id: Id,
        /// `FILE:LINE`.
        place: String,
    },
}

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Opens a folder, made if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(failed("making the folder", &dir))?;
        let mut folder = Folder::new(dir);
        scan(&mut folder)?;
        Ok(Self { folder: Mutex::new(folder) })
    }

    /// The folder.
    pub fn dir(&self) -> PathBuf {
        self.folder().dir().to_path_buf()
    }

    /// An object, if there is one of this name.
    pub fn get(&self, id: &Id) -> Result<Option<Manifest>> {
        let mut folder = self.folder();
        find(&mut folder, id)?;
        Ok(folder.get(id).cloned())
    }

    /// Every object of a kind, by name.
    pub fn list(&self, kind: Kind) -> Result<Vec<Manifest>> {
        let mut folder = self.folder();
        scan(&mut folder)?;
        Ok(folder.list(kind).cloned().collect())
    }

    /// Every object, by kind and name.
    pub fn all(&self) -> Result<Vec<Manifest>> {
        let mut folder = self.folder();
        scan(&mut folder)?;
        Ok(Kind::ALL.into_iter().flat_map(|kind| folder.list(kind).cloned().collect::<Vec<_>>()).collect())
    }

    /// What is wrong with files of the folder, if anything.
    pub fn problems(&self) -> Result<Vec<String>> {
        let mut folder = self.folder();
        scan(&mut folder)?;
        Ok(folder.complaints())
    }

    /// Makes objects so, each as `kubectl apply` would: what the manifest does not speak of and others have written (a
    /// pod's node, a status, the mark of deletion) stays. Returns the objects that are different now.
    pub fn apply(&self, manifests: &[Manifest]) -> Result<Vec<Id>> {
        let mut folder = self.folder();
        let _lock = lock(folder.dir())?;
        scan(&mut folder)?;
        let mut changed = Vec::new();
        for manifest in manifests {
            let id = manifest.id();
            let old = folder.get(&id);
            let mut new = manifest.clone();
            keep(old, &mut new);
            if old != Some(&new) {
                put(&mut folder, &id, Some(&new))?;
                changed.push(id);
            }
        }
        Ok(changed)
    }

    /// Takes an object out; a namespace with everything in it. Returns whether it was there.
    pub fn delete(&self, id: &Id) -> Result<bool> {
        let mut folder = self.folder();
        let _lock = lock(folder.dir())?;
        find(&mut folder, id)?;
        let present = folder.get(id).is_some();
        if id.kind == Kind::Namespace {
            let inside = |manifest: &Manifest| manifest.metadata().namespace.as_deref() == Some(&id.name);
            let all = Kind::ALL.into_iter().flat_map(|kind| folder.list(kind));
            let ids: Vec<Id> = all.filter(|manifest| inside(manifest)).map(Manifest::id).collect();
            ids.iter().try_for_each(|id| put(&mut folder, id, None))?;
        }
        if present {
            put(&mut folder, id, None)?;
        }
        Ok(present)
    }

    /// Changes an object that is there. Returns it as it is now, or nothing when there is none.
    pub fn update(&self, id: &Id, change: impl FnOnce(&mut Manifest)) -> Result<Option<Manifest>> {
        let mut folder = self.folder();
        let _lock = lock(folder.dir())?;
        find(&mut folder, id)?;
        let Some(old) = folder.get(id) else { return Ok(None) };
        let mut new = old.clone();
        change(&mut new);
        if *old != new {
            put(&mut folder, id, Some(&new))?;
        }
        Ok(Some(new))
    }

    /// Writes what a kubelet writes of a pod. Returns whether the pod is there.
    pub fn set_pod_status(&self, namespace: &str, name: &str, status: PodStatus) -> Result<bool> {
        self.update_pod(namespace, name, |pod| pod.status = Some(status))
    }

    /// Places a pod on a node. Returns whether the pod is there.
    pub fn bind_pod(&self, namespace: &str, name: &str, node: &str) -> Result<bool> {
        self.update_pod(namespace, name, |pod| {
            pod.spec.get_or_insert_default().node_name = Some(node.to_string());
        })
    }

    /// Changes a pod. Returns whether it is there.
    pub fn update_pod(
        &self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut k8s_openapi::api::core::v1::Pod),
    ) -> Result<bool> {
        let updated = self.update(&Id::new(Kind::Pod, namespace, name), |manifest| {
            if let Manifest::Pod(pod) = manifest {
                change(pod);
            }
        })?;
        Ok(updated.is_some())
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        // What is kept is read again from the files where they differ, so a half-done change does no harm.
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Files { doing, path: path.to_path_buf(), source }
}

/// Held while a folder is being changed.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let lock = || -> io::Result<File> {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(failed("locking", &path))
}

fn scan(folder: &mut Folder) -> Result<()> {
    let dir = folder.dir().to_path_buf();
    folder.scan().map(drop).map_err(failed("reading the folder", &dir))
}

/// Brings up to date what is known of one object: by its file where that is known, else by the whole folder.
fn find(folder: &mut Folder, id: &Id) -> Result<()> {
    if let Some(file) = folder.holder(id).map(ToString::to_string) {
        folder.refresh(&file);
    }
    if folder.holder(id).is_none() { scan(folder) } else { Ok(()) }
}

/// Puts an object where it stands, or into a file of its own; or takes it out.
fn put(folder: &mut Folder, id: &Id, new: Option<&Manifest>) -> Result<()> {
    let dir = folder.dir().to_path_buf();
    let name = folder.holder(id).map_or_else(|| file_name(id), ToString::to_string);
    let path = dir.join(&name);
    if let Some(new) = new {
        let invalid = |reason| StoreError::Invalid { id: id.clone(), reason: Box::new(reason) };
        manifest::parse(&name, &text::of_object(new, &name)).map_err(invalid)?;
    }
    let entries = folder.entries(&name);
    let others = entries.iter().any(|entry| entry.manifest.id() != *id);
    let content = if others {
        let old = fs::read_to_string(&path).map_err(failed("reading", &path))?;
        let content = text::without(&old, entries, id, new, &name);
        let wanted = entries.len() - usize::from(new.is_none());
        let read = content.as_deref().map(|text| manifest::parse(&name, text));
        // Whoever wrote the file by hand may have done something that text surgery cannot follow.
        if !read.is_some_and(|read| read.is_ok_and(|read| read.len() == wanted)) {
            return Err(StoreError::Stuck { id: id.clone(), place: folder.place(id) });
        }
        content
    } else {
        new.map(|new| text::of_object(new, &name))
    };
    match content {
        Some(content) => text::write(&dir, &name, &content).map_err(failed("writing", &path))?,
        None => fs::remove_file(&path).map_err(failed("removing", &path))?,
    }
    folder.refresh(&name);
    Ok(())
}

/// The file of an object that nobody gave another.
fn file_name(id: &Id) -> String {
    const LONGEST: usize = 200; // leaves room for the ending and for a temporary name
    let mut name = match id.namespace.as_str() {
        "" => format!("{}.{}", id.kind.lower(), id.name),
        namespace => format!("{}.{namespace}.{}", id.kind.lower(), id.name),
    };
    if name.len() > LONGEST {
        use std::hash::{Hash, Hasher};
        let mut hasher = siphasher::sip::SipHasher13::new();
        name.hash(&mut hasher);
        name = format!("{}.{:016x}", &name[..LONGEST - 17], hasher.finish());
    }
    name + ".yaml"
}

/// Keeps in `new` what others have written and it does not speak of.
fn keep(old: Option<&Manifest>, new: &mut Manifest) {
    let Some(old) = old else { return };
    let (before, after) = (old.metadata(), new.metadata_mut());
    keep_field(&before.deletion_timestamp, &mut after.deletion_timestamp);
    keep_field(&before.creation_timestamp, &mut after.creation_timestamp);
    keep_field(&before.uid, &mut after.uid);
    match (old, new) {
        (Manifest::Pod(old), Manifest::Pod(new)) => {
            keep_field(&old.status, &mut new.status);
            if let (Some(old), Some(new)) = (&old.spec, &mut new.spec) {
                keep_field(&old.node_name, &mut new.node_name);
            }
        }
        (Manifest::Node(old), Manifest::Node(new)) => {
            keep_field(&old.status, &mut new.status);
            keep_field(&old.spec, &mut new.spec);
        }
        (Manifest::Service(old), Manifest::Service(new)) => keep_field(&old.status, &mut new.status),
        (Manifest::Deployment(old), Manifest::Deployment(new)) => keep_field(&old.status, &mut new.status),
        (Manifest::Namespace(old), Manifest::Namespace(new)) => keep_field(&old.status, &mut new.status),
        _ => {}
    }
}

fn keep_field<T: Clone>(old: &Option<T>, new: &mut Option<T>) {
    if new.is_none() {
        new.clone_from(old);
    }
}

#[cfg(test)]
mod tests;
