//! The smallest things a kernel can be asked to take: programs of a few instructions, types of one type, empty maps.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Hook, address, bpf, bpf_fd, raw};

const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
const PROG_QUERY: libc::c_long = 16;
const BTF_LOAD: libc::c_long = 18;

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    hook: u32,
    rest: [u64; 7],
}

/// Loads a program of a few instructions, as `struct bpf_insn` lays them out.
pub(crate) fn load(kind: u32, hook: Option<Hook>, instructions: &[u64]) -> io::Result<OwnedFd> {
    let license = c"Dual BSD/GPL".to_bytes_with_nul();
    let mut attr = ProgramLoad {
        kind,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: address(instructions),
        license: address(license),
        hook: hook.map_or(0, |hook| hook as u32),
        ..Default::default()
    };
    // SAFETY: the instructions and the licence, which ends with a zero, outlive the call; PROG_LOAD returns a new
    // descriptor.
    unsafe { bpf_fd(PROG_LOAD, &mut attr) }
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    hook: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    zero: u32,
    rest: [u64; 4],
}

/// Whether the kernel knows of the hook on the device of this index.
pub(crate) fn knows_hook(index: u32, hook: Hook) -> io::Result<()> {
    let mut attr = Query { target: index, hook: hook as u32, ..Default::default() };
    // SAFETY: no addresses in it: the kernel writes a count and no programs.
    unsafe { bpf(PROG_QUERY, &mut attr) }.map(drop)
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
    btf: u32,
    btf_key: u32,
    btf_value: u32,
    rest: [u32; 2],
}

/// What map to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TinyMap {
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// Makes a map; with types, key and value are type 1 of them.
pub(crate) fn create_map(map: &TinyMap, types: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        kind: map.kind,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        flags: map.flags,
        btf: types.map_or(0, raw),
        btf_key: types.map_or(0, |_| 1),
        btf_value: types.map_or(0, |_| 1),
        ..Default::default()
    };
    // SAFETY: no addresses in it; MAP_CREATE returns a new descriptor.
    unsafe { bpf_fd(MAP_CREATE, &mut attr) }
}

#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    zero: u32,
}

/// Loads the types of a program that knows one type: `int`.
pub(crate) fn load_int_type() -> io::Result<OwnedFd> {
    // Header: magic and version, length of itself, types at 0, 16 bytes of them, strings at 16, 5 bytes of them.
    const MAGIC: u32 = 0x0001_eb9f;
    const SIGNED_32: u32 = 1 << 24 | 32;
    const KIND_INT: u32 = 1 << 24;
    let words = [MAGIC, 24, 0, 16, 16, 5, 1, KIND_INT, 4, SIGNED_32];
    let mut types: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    types.extend(b"\0int\0");
    let size = u32::try_from(types.len()).map_err(io::Error::other)?;
    let mut attr = BtfLoad { types: address(types.as_slice()), size, ..Default::default() };
    // SAFETY: `types` has `size` bytes and outlives the call; BTF_LOAD returns a new descriptor.
    unsafe { bpf_fd(BTF_LOAD, &mut attr) }
}
