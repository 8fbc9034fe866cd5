//! The compiled programs, embedded, and their way into the kernel.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use aya::maps::{Map, MapData};
use aya::programs::{Program, SchedClassifier};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use super::BpfError;

/// An object file, as it is embedded.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The name of its source in `bpf/`, without the ending.
    pub name: &'static str,
    /// The ELF file.
    pub elf: &'static [u8],
    /// Its maps that are pinned: all that hold something from one packet to the next.
    maps: &'static [&'static str],
}

/// The balancer at the socket hooks.
pub const SOCK: Source = Source {
    name: "sock",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sock.bpf.o")),
    maps: &[
        "frontends",
        "backends",
        "node_addresses",
        "dead",
        "flows",
        "replies",
        "clients",
        "translations",
        "counters",
    ],
};

/// What counts connects that fail. Its own map is not pinned: it is to begin with nothing.
pub const OUTLIERS: Source = Source {
    name: "outliers",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/outliers.bpf.o")),
    maps: &["translations", "counters"],
};

/// The guard on the underlay device.
pub const GUARD: Source = Source {
    name: "guard",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guard.bpf.o")),
    maps: &["guarded", "neighbours", "host_stage", "stages", "counters"],
};

/// Unencrypted ways to nodes of the same location.
pub const NEAR: Source = Source {
    name: "near",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/near.bpf.o")),
    maps: &["guarded", "neighbours", "near_devices", "counters"],
};

/// The anti-spoof on pods' links.
pub const POD: Source = Source {
    name: "pod",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pod.bpf.o")),
    maps: &["pods", "subjects", "stages", "counters"],
};

/// Services, packet by packet.
pub const EDGE: Source = Source {
    name: "edge",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/edge.bpf.o")),
    maps: &[
        "frontends",
        "backends",
        "node_addresses",
        "dead",
        "clients",
        "outside",
        "outside_sources",
        "direct",
        "tables",
        "exits",
        "nat",
        "fragments",
        "stages",
        "counters",
        "subjects",
        "rulesets",
        "verdicts",
        "identities",
        "networks",
        "named",
        "own_addresses",
        "policing",
        "connections",
        "events",
        "listeners",
    ],
};

/// Policies, for what is sent to pods; and for what they send, on kernels that have no use for [`EDGE`].
pub const POLICY: Source = Source {
    name: "policy",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/policy.bpf.o")),
    maps: &[
        "nat",
        "fragments",
        "counters",
        "subjects",
        "rulesets",
        "verdicts",
        "identities",
        "networks",
        "named",
        "own_addresses",
        "always_allowed",
        "policing",
        "connections",
        "events",
        "listeners",
    ],
};

/// Policies about the node itself, on the underlay device.
pub const HOST: Source = Source {
    name: "host",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/host.bpf.o")),
    maps: &[
        "nat",
        "fragments",
        "stages",
        "counters",
        "subjects",
        "rulesets",
        "verdicts",
        "identities",
        "networks",
        "named",
        "own_addresses",
        "always_allowed",
        "policing",
        "connections",
        "events",
        "listeners",
    ],
};

/// The lab's broken switch.
pub const SEGMENT: Source = Source {
    name: "segment",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/segment.bpf.o")),
    maps: &["cuts", "counters"],
};

/// A loader that makes and pins the maps of these objects in the folder, or takes those that are pinned there.
///
/// Making one reads the kernel's own types, which our programs have no use for and which cost milliseconds and, for a
/// moment, megabytes: one loader for all objects.
pub(super) fn loader<'a>(sources: &[Source], pins: &Path) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    for map in sources.iter().flat_map(|source| source.maps) {
        loader.map_pin_path(map, pins.join(map));
    }
    loader
}

/// An object whose maps are made (or reopened) and whose programs can be loaded.
pub(super) struct Object {
    source: Source,
    ebpf: Ebpf,
}

impl Object {
    /// Makes the maps.
    pub(super) fn open(source: Source, loader: &mut EbpfLoader<'_>) -> Result<Self, BpfError> {
        let ebpf =
            loader.load(source.elf).map_err(|e| BpfError::Object { object: source.name, source: e })?;
        Ok(Self { source, ebpf })
    }

    /// Hands a map over.
    pub(super) fn map(&mut self, name: &str) -> Result<MapData, BpfError> {
        match self.ebpf.take_map(name) {
            Some(
                Map::HashMap(map)
                | Map::LruHashMap(map)
                | Map::LpmTrie(map)
                | Map::Array(map)
                | Map::PerCpuArray(map)
                | Map::ProgramArray(map),
            ) => Ok(map),
            _ => Err(self.missing(name)),
        }
    }

    /// Has the kernel check and take a program.
    pub(super) fn program(&mut self, name: &str) -> Result<BorrowedFd<'_>, BpfError> {
        let missing = self.missing(name);
        let failed = |source| BpfError::Program { program: name.to_owned(), source };
        let program = self.ebpf.program_mut(name).ok_or(missing)?;
        match program {
            Program::CgroupSockAddr(p) if p.fd().is_err() => p.load(),
            Program::SchedClassifier(p) if p.fd().is_err() => p.load(),
            Program::SockOps(p) if p.fd().is_err() => p.load(),
            Program::CgroupSock(p) if p.fd().is_err() => p.load(),
            _ => Ok(()),
        }
        .map_err(failed)?;
        Ok(program.fd().map_err(failed)?.as_fd())
    }

    /// The one tc program of the object, loaded.
    pub(super) fn classifier(&mut self) -> Result<&mut SchedClassifier, BpfError> {
        self.classifier_of(self.source.name)
    }

    /// A tc program of the object, loaded.
    pub(super) fn classifier_of(&mut self, name: &str) -> Result<&mut SchedClassifier, BpfError> {
        let missing = self.missing(name);
        self.program(name)?;
        match self.ebpf.program_mut(name) {
            Some(Program::SchedClassifier(p)) => Ok(p),
            _ => Err(missing),
        }
    }

    fn missing(&self, what: &str) -> BpfError {
        BpfError::Missing { object: self.source.name, what: what.to_owned() }
    }
}
