//! The tables of iptables before nf_tables, which only their own socket options show.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// linux/netfilter_ipv4/ip_tables.h, and the same of IPv6: IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;

/// Bytes of a table's name; of `struct ipt_getinfo`, which ends with the entries' size; of `struct ipt_get_entries`
/// before the entries.
const NAME: usize = 32;
const INFO: usize = 84;
const ENTRIES: usize = 40;

/// Offsets in `struct ipt_getinfo`: where the forward chain's policy lies among the entries (`underflow[NF_INET_FORWARD]`).
const FORWARD_POLICY: usize = NAME + 4 + 5 * 4 + 2 * 4;

/// `ipt_entry` and `ip6t_entry`: where they say how far behind them their target is.
const TARGET_OFFSETS: [usize; 2] = [88, 140];

/// `struct xt_standard_target`: where its verdict is, and the one that drops (`-NF_DROP - 1`).
const VERDICT: usize = 32;
const DROP: i32 = -1;

/// The families: their names, where their tables' names stand, and whom to ask.
const FAMILIES: [(&str, &str, AddressFamily, libc::c_int); 2] = [
    ("iptables", "/proc/thread-self/net/ip_tables_names", AddressFamily::Inet, libc::IPPROTO_IP),
    ("ip6tables", "/proc/thread-self/net/ip6_tables_names", AddressFamily::Inet6, libc::IPPROTO_IPV6),
];

/// Whether there is a chain of this name in the table `nat`.
pub(crate) fn has_chain(name: &str) -> io::Result<bool> {
    // A chain begins with an entry that holds its name, ended by a zero.
    let needle = [name.as_bytes(), b"\0"].concat();
    for (_, names, family, level) in FAMILIES {
        if has_table(names, "nat")
            && table(family, level, "nat")?.1.windows(needle.len()).any(|w| w == needle)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which of `iptables` and `ip6tables` drop what is forwarded, unless a rule of theirs says otherwise.
pub(crate) fn dropping_forward() -> io::Result<Vec<&'static str>> {
    let mut dropping = Vec::new();
    for ((name, names, family, level), target) in FAMILIES.into_iter().zip(TARGET_OFFSETS) {
        if has_table(names, "filter") {
            let (info, entries) = table(family, level, "filter")?;
            dropping.extend((verdict(&info, &entries, target) == Some(DROP)).then_some(name));
        }
    }
    Ok(dropping)
}

/// The verdict of the forward chain's policy.
fn verdict(info: &[u8], entries: &[u8], target: usize) -> Option<i32> {
    let at = info.get(FORWARD_POLICY..FORWARD_POLICY + 4)?;
    let entry = entries.get(u32::from_ne_bytes(at.try_into().ok()?) as usize..)?;
    let target = entry.get(target..target + 2)?;
    let target = usize::from(u16::from_ne_bytes(target.try_into().ok()?));
    let verdict = entry.get(target + VERDICT..target + VERDICT + 4)?;
    Some(i32::from_ne_bytes(verdict.try_into().ok()?))
}

/// A table that is not there is not asked for: the question would make it.
fn has_table(names: &str, table: &str) -> bool {
    // No file: no such module.
    fs::read_to_string(names).unwrap_or_default().lines().any(|name| name == table)
}

/// What the kernel says of a table, and its entries.
fn table(family: AddressFamily, level: libc::c_int, name: &str) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, nix::sys::socket::SockProtocol::Raw)?;
    // Rules may come between the two questions: the second is then refused, and both are asked again.
    for _ in 0..4 {
        let mut info = named(name, INFO);
        get(&socket, level, GET_INFO, &mut info)?;
        let size = &info[INFO - 4..];
        let size_in_bytes = u32::from_ne_bytes(size.try_into().expect("four bytes"));
        let mut entries = named(name, ENTRIES + size_in_bytes as usize);
        entries[NAME..NAME + 4].copy_from_slice(size);
        match get(&socket, level, GET_ENTRIES, &mut entries) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINVAL)) => {}
            other => return other.map(|()| (info, entries.split_off(ENTRIES))),
        }
    }
    Err(io::Error::other("iptables' rules change all the time"))
}

fn named(table: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..table.len()].copy_from_slice(table.as_bytes());
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
