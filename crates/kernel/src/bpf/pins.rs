//! The folder of pins: what keeps the packet path alive when the agent is not.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{BpfError, sys};

/// Where the BPF file system belongs.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Makes the folder, and its `links` folder, on a BPF file system; mounts one at its usual place if there is none.
pub(super) fn prepare(folder: &Path) -> Result<(), BpfError> {
    let mount_point = Path::new(MOUNT_POINT);
    if folder.starts_with(mount_point) && !is_bpffs(mount_point) {
        mount(Some("bpf"), mount_point, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(|e| BpfError::Mount { path: mount_point.into(), source: e.into() })?;
    }
    let links = links(folder);
    fs::create_dir_all(&links).map_err(BpfError::file("create the folder", &links))?;
    if is_bpffs(&links) {
        return Ok(());
    }
    let source = io::Error::other("it is not on a BPF file system");
    Err(BpfError::File { attempt: "pin in", path: links, source })
}

/// Where the links are.
pub(super) fn links(folder: &Path) -> PathBuf {
    folder.join("links")
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// The names in a folder; none if there is no folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, BpfError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(BpfError::file("read the folder", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(BpfError::file("read the folder", folder))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Lets go of one pin; that it is gone already is as good. What a link held is detached when this returns.
pub(super) fn remove(pin: &Path) -> Result<(), BpfError> {
    if let Ok(object) = sys::open_pin(pin) {
        // Maps and programs cannot be detached, and a link whose control group or device is gone need not.
        let _ = sys::link_detach(object.as_fd());
    }
    match fs::remove_file(pin) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(BpfError::file("remove the pin", pin)(e)),
        _ => Ok(()),
    }
}

/// Lets go of a pinned map that has fewer entries than it ought to: one made before there were as many. What it held is
/// forgotten.
pub(super) fn remove_smaller(folder: &Path, map: &str, entries: usize) -> Result<(), BpfError> {
    let pin = folder.join(map);
    let Ok(info) = MapInfo::from_pin(&pin) else { return Ok(()) };
    if (info.max_entries() as usize) < entries { remove(&pin) } else { Ok(()) }
}

/// Lets go of everything in the folder: links first, so that no program ever runs without its maps.
pub(super) fn remove_all(folder: &Path) -> Result<(), BpfError> {
    for folder in [links(folder), folder.to_owned()] {
        for name in names(&folder)? {
            let path = folder.join(name);
            if !path.is_dir() {
                remove(&path)?;
            }
        }
        match fs::remove_dir(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(BpfError::file("remove the folder", folder)(e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The folders of other layouts beside this one (`v1`, `v2`, …).
pub(super) fn other_layouts(folder: &Path) -> Result<Vec<PathBuf>, BpfError> {
    let (Some(parent), Some(own)) = (folder.parent(), folder.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    if !is_layout(own) {
        return Ok(Vec::new());
    }
    let others = names(parent)?.into_iter().filter(|name| name != own && is_layout(name));
    Ok(others.map(|name| parent.join(name)).collect())
}

fn is_layout(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
