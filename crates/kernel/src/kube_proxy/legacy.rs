//! The tables of iptables before nf_tables, which only their own socket options show.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The only table with services in it.
const TABLE: &[u8; 3] = b"nat";

/// linux/netfilter_ipv4/ip_tables.h, and the same of IPv6: IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;

/// Bytes of a table's name; of `struct ipt_getinfo`, which ends with the entries' size; of `struct ipt_get_entries`
/// before the entries.
const NAME: usize = 32;
const INFO: usize = 84;
const ENTRIES: usize = 40;

/// Whether there is a chain of this name. A table that is not there is not asked for: the question would make it.
pub(super) fn has_chain(name: &str) -> io::Result<bool> {
    let families = [
        ("/proc/thread-self/net/ip_tables_names", AddressFamily::Inet, libc::IPPROTO_IP),
        ("/proc/thread-self/net/ip6_tables_names", AddressFamily::Inet6, libc::IPPROTO_IPV6),
    ];
    // A chain begins with an entry that holds its name, ended by a zero.
    let needle = [name.as_bytes(), b"\0"].concat();
    for (names, family, level) in families {
        // No file: no such module.
        let names = fs::read(names).unwrap_or_default();
        if !names.split(|byte| *byte == b'\n').any(|name| name == TABLE) {
            continue;
        }
        if table(family, level)?.windows(needle.len()).any(|window| window == needle) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn table(family: AddressFamily, level: libc::c_int) -> io::Result<Vec<u8>> {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, nix::sys::socket::SockProtocol::Raw)?;
    // Rules may come between the two questions: the second is then refused, and both are asked again.
    for _ in 0..4 {
        let mut info = named(INFO);
        get(&socket, level, GET_INFO, &mut info)?;
        let size = &info[INFO - 4..];
        let mut entries = named(ENTRIES + u32::from_ne_bytes(size.try_into().expect("four bytes")) as usize);
        entries[NAME..NAME + 4].copy_from_slice(size);
        match get(&socket, level, GET_ENTRIES, &mut entries) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINVAL)) => {}
            other => return other.map(|()| entries),
        }
    }
    Err(io::Error::other("iptables' rules change all the time"))
}

fn named(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..TABLE.len()].copy_from_slice(TABLE);
    bytes
}

fn get(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, bytes: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes at most `length` bytes of the buffer, which lives through the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, bytes.as_mut_ptr().cast(), &mut length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
