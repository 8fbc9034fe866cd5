//! What the kernel's eBPF side can do.

use std::os::fd::{AsFd, AsRawFd};

use crate::bpf::sys::Hook;
use crate::bpf::sys::tiny::{TinyMap, create_map, load, load_int_type};

/// `BPF_PROG_TYPE_SCHED_CLS`.
const SCHED_CLS: u32 = 3;
/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
const SOCK_ADDR: u32 = 18;
/// `BPF_MAP_TYPE_LPM_TRIE`.
const LPM_TRIE: u32 = 11;
/// `BPF_MAP_TYPE_SK_STORAGE`.
const SK_STORAGE: u32 = 24;
/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;

/// One instruction (`struct bpf_insn`).
const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    let offset = offset.to_ne_bytes();
    let value = immediate.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    u64::from_ne_bytes([code, registers, offset[0], offset[1], value[0], value[1], value[2], value[3]])
}

/// `to = number`.
const fn set(to: u8, number: i32) -> u64 {
    instruction(0xb7, to, 0, 0, number)
}

/// `to = *(u64 *)(from + offset)`.
const fn read(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x79, to, from, offset, 0)
}

/// `to = the map behind this descriptor`: two instructions in one.
const fn map(to: u8, fd: i32) -> [u64; 2] {
    const PSEUDO_MAP_FD: u8 = 1;
    [instruction(0x18, to, PSEUDO_MAP_FD, 0, fd), 0]
}

/// Calls a helper function of the kernel.
const fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

/// Whether a program at a socket hook may name the error (5.18); else a refused client sees EPERM.
pub fn has_set_retval() -> bool {
    const SET_RETVAL: i32 = 187;
    let program = [set(1, -libc::ECONNREFUSED), call(SET_RETVAL), set(0, 0), EXIT];
    load(SOCK_ADDR, Some(Hook::Connect4), &program).is_ok()
}

/// Whether a program at a device may put packets on another one, by the kernel's neighbours (5.10).
pub fn has_redirect_to_neighbours() -> bool {
    const REDIRECT_NEIGH: i32 = 152;
    let program = [set(1, 1), set(2, 0), set(3, 0), set(4, 0), call(REDIRECT_NEIGH), EXIT];
    load(SCHED_CLS, None, &program).is_ok()
}

/// Whether the kernel takes types along with programs.
pub(super) fn has_types() -> bool {
    load_int_type().is_ok()
}

/// Whether programs can sit where sockets are dialled and asked for their peers.
pub(super) fn has_socket_hooks() -> bool {
    let hooks = [Hook::Connect4, Hook::Sendmsg6, Hook::Recvmsg4, Hook::Getpeername6];
    hooks.into_iter().all(|hook| load(SOCK_ADDR, Some(hook), &[set(0, 1), EXIT]).is_ok())
}

/// Whether such programs can keep values on sockets.
pub(super) fn has_socket_storage() -> bool {
    const SK_STORAGE_DELETE: i32 = 108;
    /// Where `struct bpf_sock_addr` has the socket.
    const SOCKET: i16 = 64;
    let storage =
        TinyMap { kind: SK_STORAGE, key_size: 4, value_size: 4, max_entries: 0, flags: NO_PREALLOC };
    let Ok(types) = load_int_type() else { return false };
    let Ok(storage) = create_map(&storage, Some(types.as_fd())) else { return false };
    let [load_map, second_half] = map(1, storage.as_raw_fd());
    let program = [read(2, 1, SOCKET), load_map, second_half, call(SK_STORAGE_DELETE), set(0, 1), EXIT];
    load(SOCK_ADDR, Some(Hook::Getpeername4), &program).is_ok()
}

/// Whether there are maps by longest prefix.
pub(super) fn has_prefix_tries() -> bool {
    let trie = TinyMap { kind: LPM_TRIE, key_size: 20, value_size: 1, max_entries: 1, flags: NO_PREALLOC };
    create_map(&trie, None).is_ok()
}
