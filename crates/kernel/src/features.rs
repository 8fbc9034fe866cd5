//! What this kernel can do, found out by trying.

use crate::bpf::sys::{self, Hook};

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
const SOCK_ADDR: u32 = 18;

/// One BPF instruction (`struct bpf_insn`).
const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    let offset = offset.to_ne_bytes();
    let imm = immediate.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    u64::from_ne_bytes([code, registers, offset[0], offset[1], imm[0], imm[1], imm[2], imm[3]])
}

/// `to = number`.
const fn set(to: u8, number: i32) -> u64 {
    instruction(0xb7, to, 0, 0, number)
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
    sys::load(SOCK_ADDR, Some(Hook::Connect4), &program).is_ok()
}
