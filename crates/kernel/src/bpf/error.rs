//! What can go wrong between us and the kernel's BPF side.

use std::io;
use std::path::PathBuf;

use engine::plan::Ladder;

/// Why the packet path could not be built, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// No BPF file system where pins belong.
    #[error("cannot mount a BPF file system on {path}: {source}; run as root, or `mount -t bpf bpf {path}`")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the pin folder, or a control group's.
    #[error("cannot {attempt} {path}: {source}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An object's maps could not be made.
    #[error(
        "cannot create or reopen the maps of {object}: {source}; needs root (CAP_BPF, CAP_NET_ADMIN), a kernel of 5.15 or newer, and pins of this version"
    )]
    Object {
        /// Which object.
        object: &'static str,
        /// Why not.
        source: aya::EbpfError,
    },
    /// The kernel's verifier or attach code refused a program.
    #[error(
        "cannot load the program {program}: {source}; is the kernel older than 5.15? `causeway status` lists what it lacks"
    )]
    Program {
        /// Which.
        program: String,
        /// Why not.
        source: aya::programs::ProgramError,
    },
    /// An object without a program or map that it ought to have.
    #[error("the embedded object {object} has no {what}: the build is broken")]
    Missing {
        /// Which object.
        object: &'static str,
        /// The program or the map.
        what: String,
    },
    /// A hook could not be taken.
    #[error("cannot attach {program} to {target}: {source}")]
    Attach {
        /// Which program.
        program: String,
        /// The control group or device.
        target: String,
        /// Why not.
        source: io::Error,
    },
    /// There is no such device in this network namespace.
    #[error("no device {name} in this network namespace: {source}")]
    Device {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map of another shape under our name.
    #[error(
        "the pinned map {map} has keys of {key} and values of {value} bytes, not ours: unload the packet path of the other version first"
    )]
    Shape {
        /// Which.
        map: &'static str,
        /// Bytes of its keys.
        key: u32,
        /// Bytes of its values.
        value: u32,
    },
    /// A map could not be read or written.
    #[error("cannot {attempt} the map {map}: {source}{}", if source.raw_os_error() == Some(nix::libc::E2BIG) { " (it is full)" } else { "" })]
    Map {
        /// What was attempted.
        attempt: &'static str,
        /// Which.
        map: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A map holds something we never wrote.
    #[error(
        "the map {map} holds an entry that is none of ours: {entry}; unload the packet path and start again"
    )]
    Foreign {
        /// Which.
        map: &'static str,
        /// What.
        entry: String,
    },
    /// More rungs than the programs walk.
    #[error("a ladder of {0} tiers; the packet path walks {max}", max = Ladder::MAX_TIERS)]
    TooManyTiers(usize),
}

impl BpfError {
    pub(super) fn file(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { attempt, path, source }
    }
}
