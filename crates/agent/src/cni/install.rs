//! Our two files among the container runtime's: the plugin's program and the network configuration.
//!
//! The program comes first, the configuration last: a runtime that sees the configuration can use it. Both are made
//! beside their place and put there in one step, so a runtime that reads sees the one before or the one after, and a
//! plugin that runs is not disturbed. Files of others are never touched. When the agent stops both stay: without the
//! configuration the runtime would call the node's network broken, or take another plugin's; with it, `ADD` is
//! answered with "try again", and is tried again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use kernel::host::Host;
use serde_json::json;

/// The plugin's program, and the `type` in the configuration.
pub const PROGRAM: &str = "causeway";

/// What runtimes before containerd 2.0 call for every pod besides: a link to our program, where nobody else's is.
pub const LOOPBACK: &str = "loopback";

/// The configuration: runtimes take the first in alphabetical order.
pub const CONFLIST: &str = "05-causeway.conflist";

/// What runtimes take for a configuration.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// Where our files belong.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The machine with the folders.
    pub host: Host,
    /// Its folders of plugins. Ours goes into each that exists; if none does, the first is made.
    pub bin_dirs: Vec<PathBuf>,
    /// Its folder of network configurations; made if it is not there.
    pub conf_dir: PathBuf,
    /// The agent's socket, as the machine sees it.
    pub socket: PathBuf,
    /// The program to copy: `/proc/self/exe`.
    pub program: PathBuf,
}

/// Why a file could not be put in its place, or taken away.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {path}: {source}; is the folder on the machine, and writable for the agent?")]
pub struct InstallError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_path_buf();
    move |source| InstallError { attempt, path, source }
}

/// Puts the program in its place, then the configuration. Only for an agent that can serve `ADD`. What is right
/// already is not touched.
///
/// # Errors
/// A folder cannot be made or written. No configuration is left that has no program.
pub fn install(options: &InstallOptions) -> Result<(), InstallError> {
    install_program(options)?;
    install_conflist(options)
}

/// Puts the program into the runtime's folders of plugins. Returns where it is, as the machine sees it.
///
/// # Errors
/// A folder cannot be made or written.
pub fn install_program(options: &InstallOptions) -> Result<Vec<PathBuf>, InstallError> {
    let there = options.bin_dirs.iter().filter(|folder| options.host.path(folder).is_dir());
    let mut folders: Vec<&PathBuf> = there.collect();
    if folders.is_empty() {
        folders.extend(options.bin_dirs.first());
    }
    let mut programs = Vec::new();
    for folder in folders {
        let inside = options.host.path(folder);
        fs::create_dir_all(&inside).map_err(failed("make the folder", &inside))?;
        let path = inside.join(PROGRAM);
        let source = || File::open(&options.program).map_err(failed("read", &options.program));
        if !is_same(source()?, &path).map_err(failed("read", &path))? {
            put(&path, 0o755, &mut source()?).map_err(failed("write", &path))?;
        }
        let loopback = inside.join(LOOPBACK);
        match symlink(PROGRAM, &loopback) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make", &loopback)(e)),
            _ => {}
        }
        programs.push(folder.join(PROGRAM));
    }
    Ok(programs)
}

/// Puts the configuration into the runtime's folder.
///
/// # Errors
/// The folder cannot be made or written.
pub fn install_conflist(options: &InstallOptions) -> Result<(), InstallError> {
    let folder = options.host.path(&options.conf_dir);
    fs::create_dir_all(&folder).map_err(failed("make the folder", &folder))?;
    let path = folder.join(CONFLIST);
    let text = conflist(&options.socket);
    if !is_same(text.as_bytes(), &path).map_err(failed("read", &path))? {
        put(&path, 0o644, &mut text.as_bytes()).map_err(failed("write", &path))?;
    }
    Ok(())
}

/// Takes our files away, the configuration first. What is not there is as good as taken away.
///
/// # Errors
/// A file cannot be deleted.
pub fn uninstall(options: &InstallOptions) -> Result<(), InstallError> {
    let conflist = options.host.path(&options.conf_dir).join(CONFLIST);
    let folders = || options.bin_dirs.iter().map(|folder| options.host.path(folder));
    let links = folders().map(|folder| folder.join(LOOPBACK));
    let links = links.filter(|link| fs::read_link(link).is_ok_and(|target| target == Path::new(PROGRAM)));
    let programs = folders().map(|folder| folder.join(PROGRAM));
    for path in std::iter::once(conflist).chain(links).chain(programs) {
        for path in [beside(&path), path] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("delete", &path)(e)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The configurations of others that a runtime takes in place of ours, because they come first in the alphabet.
///
/// # Errors
/// The folder cannot be read.
pub fn preferred(options: &InstallOptions) -> Result<Vec<String>, InstallError> {
    let folder = options.host.path(&options.conf_dir);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read the folder", &folder))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_configuration = |name: &String| {
        let extension = Path::new(name).extension();
        extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
    };
    let mut names: Vec<String> =
        names.filter(|name| is_configuration(name) && name.as_str() < CONFLIST).collect();
    names.sort();
    Ok(names)
}

/// The configuration. Runtimes that know `cniVersions` (libcni 1.2, containerd 2) take the newest of them, which has
/// `GC` and `STATUS`; others (containerd 1.6 and 1.7) do not know 1.1.0 and take what `cniVersion` says.
fn conflist(socket: &Path) -> String {
    let conflist = json!({
        "cniVersion": "1.0.0",
        "cniVersions": super::VERSIONS,
        "name": "causeway",
        "plugins": [{
            "type": PROGRAM,
            "socket": socket,
            "capabilities": {"portMappings": true, "bandwidth": true},
        }],
    });
    format!("{conflist:#}\n")
}

/// Whether a file has this content; one that is not there has not.
fn is_same(mut content: impl Read, path: &Path) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let (mut one, mut two) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let lengths = (fill(&mut content, &mut one)?, fill(&mut file, &mut two)?);
        if one[..lengths.0] != two[..lengths.1] {
            return Ok(false);
        }
        if lengths.0 < one.len() {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the content at its end.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match content.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Makes a file beside its place, safe on disk, and puts it there.
fn put(path: &Path, mode: u32, content: &mut impl Read) -> io::Result<()> {
    let new = beside(path);
    // One that an interrupted attempt left may be half of something else.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    // Whatever the process's mask says: the runtime need not be of our user.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Where a file is made: hidden, and nothing that a runtime takes for a configuration.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// A machine with these folders.
    fn machine(name: &str, folders: &[&str]) -> (PathBuf, InstallOptions) {
        let root = std::env::temp_dir().join(format!("causeway-install-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        for folder in folders {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("program"), vec![7; 200_000]).unwrap();
        let options = InstallOptions {
            host: Host::default(),
            bin_dirs: vec![root.join("bin"), root.join("k3s")],
            conf_dir: root.join("net.d"),
            socket: "/run/causeway/agent.sock".into(),
            program: root.join("program"),
        };
        (root, options)
    }

    fn listed(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn in_and_out() {
        let (root, options) = machine("in", &["bin", "net.d"]);
        for (path, text) in [
            ("bin/bridge", "x"),
            ("net.d/10-flannel.conflist", "y"),
            ("net.d/.05-causeway.conflist.new", "half"),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        fs::write(root.join("bin/causeway"), "an older one").unwrap();
        let running = File::open(root.join("bin/causeway")).unwrap();
        assert_eq!(install_program(&options).unwrap(), [root.join("bin/causeway")], "the folder that exists");
        assert_eq!(listed(&root.join("net.d")), [".05-causeway.conflist.new", "10-flannel.conflist"]);
        install(&options).unwrap();
        assert_eq!(fs::read_link(root.join("bin").join(LOOPBACK)).unwrap(), Path::new(PROGRAM));
        let program = fs::metadata(root.join("bin/causeway")).unwrap();
        assert_eq!((program.len(), program.mode() & 0o777), (200_000, 0o755));
        assert_eq!(io::read_to_string(running).unwrap(), "an older one", "what runs is not overwritten");
        let text = fs::read(root.join("net.d").join(CONFLIST)).unwrap();
        let conflist: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(conflist["plugins"][0]["type"], PROGRAM);
        assert_eq!(conflist["plugins"][0]["capabilities"], json!({"portMappings": true, "bandwidth": true}));
        assert_eq!(
            (&conflist["cniVersion"], &conflist["cniVersions"][2]),
            (&json!("1.0.0"), &json!("1.1.0"))
        );
        assert_eq!(listed(&root.join("net.d")), [CONFLIST, "10-flannel.conflist"]);

        // Again: nothing is written; one byte differs: it is.
        let inodes = || {
            ["bin/causeway", "net.d/05-causeway.conflist"].map(|p| fs::metadata(root.join(p)).unwrap().ino())
        };
        let before = inodes();
        install(&options).unwrap();
        assert_eq!(inodes(), before);
        let mut newer = vec![7; 200_000];
        newer[199_999] = 8;
        fs::write(&options.program, newer).unwrap();
        install(&options).unwrap();
        assert!(inodes()[0] != before[0] && inodes()[1] == before[1]);

        uninstall(&options).unwrap();
        uninstall(&options).unwrap();
        assert_eq!(listed(&root.join("bin")), ["bridge"]);
        assert_eq!(listed(&root.join("net.d")), ["10-flannel.conflist"]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_loopback_of_others_stays() {
        let (root, options) = machine("loopback", &["bin"]);
        fs::write(root.join("bin").join(LOOPBACK), "the reference plugin").unwrap();
        install(&options).unwrap();
        uninstall(&options).unwrap();
        assert_eq!(fs::read_to_string(root.join("bin").join(LOOPBACK)).unwrap(), "the reference plugin");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn folders_that_are_not_there() {
        let (root, options) = machine("none", &[]);
        assert_eq!(preferred(&options).unwrap(), Vec::<String>::new());
        uninstall(&options).unwrap();
        install(&options).unwrap();
        assert!(root.join("bin/causeway").exists() && !root.join("k3s").exists());
        assert!(root.join("net.d").join(CONFLIST).exists());
        // A program that cannot be had: no configuration is written.
        let lost = InstallOptions { conf_dir: root.join("other.d"), program: root.join("lost"), ..options };
        let error = install(&lost).unwrap_err().to_string();
        assert!(error.contains("lost") && !root.join("other.d").exists(), "{error}");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn who_comes_first() {
        let (root, options) = machine("first", &["net.d"]);
        for name in ["00-a.conf", "05-a.conflist", "04-b.json", "01-readme", "06-c.conf", "10-d.conflist"] {
            fs::write(root.join("net.d").join(name), "{}").unwrap();
        }
        install(&options).unwrap();
        assert_eq!(preferred(&options).unwrap(), ["00-a.conf", "04-b.json", "05-a.conflist"]);
        fs::remove_dir_all(root).unwrap();
    }
}
