//! The few calls of bpf(2) that need no library: links, pins, batches.
//!
//! aya reads objects, makes maps and loads programs; what it does not do (replace the program behind a control group's
//! link, change many entries in one call, tell where a link is attached) is here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Pod;

pub(crate) mod tiny;

const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const MAP_UPDATE_BATCH: libc::c_long = 26;
const MAP_DELETE_BATCH: libc::c_long = 27;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

/// Where in the kernel a program may sit (`enum bpf_attach_type`).
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
    Recvmsg4 = 19,
    Recvmsg6 = 20,
    Getpeername4 = 29,
    Getpeername6 = 30,
    InetSockRelease = 34,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// What a link is attached to, as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A control group, by its number.
    Cgroup(u64),
    /// A device, by its index; 0 when it is gone.
    Device(u32),
}

/// # Safety
///
/// Every address inside `attr` must be valid for what the command does with it.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attr`, which we borrow, and what the addresses in
    // it lead to, which the caller vouches for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// # Safety
///
/// As for [`bpf`]; and the command must be one that returns a new file descriptor.
unsafe fn bpf_fd<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's claim is ours.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("a borrowed descriptor is not negative")
}

fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>().addr() as u64
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    hook: u32,
    flags: u32,
    rest: [u64; 6],
}

/// Attaches a program to the control group `target`, or to the device of that index.
pub(crate) fn link_create(program: BorrowedFd<'_>, target: u32, hook: Hook) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate { program: raw(program), target, hook: hook as u32, ..Default::default() };
    // SAFETY: no addresses in it; LINK_CREATE returns a new descriptor.
    unsafe { bpf_fd(LINK_CREATE, &mut attr) }
}

/// The same, before all others at the same place (`BPF_F_BEFORE`, without saying before whom).
pub(crate) fn link_create_first(program: BorrowedFd<'_>, target: u32, hook: Hook) -> io::Result<OwnedFd> {
    const BEFORE: u32 = 1 << 3;
    let (program, hook) = (raw(program), hook as u32);
    let mut attr = LinkCreate { program, target, hook, flags: BEFORE, ..Default::default() };
    // SAFETY: no addresses in it; LINK_CREATE returns a new descriptor.
    unsafe { bpf_fd(LINK_CREATE, &mut attr) }
}

/// The number under which [`link_create`] knows an open control group.
pub(crate) fn target_of(cgroup: BorrowedFd<'_>) -> u32 {
    raw(cgroup)
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Puts another program behind a link; not a packet sees neither or both.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate { link: raw(link), program: raw(program), ..Default::default() };
    // SAFETY: no addresses in it.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

/// Detaches a link here and now. Letting go of its last descriptor or pin would do so too, but some time later.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = raw(link);
    // SAFETY: no addresses in it.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    zero: u32,
    specific: [u64; 8],
}

/// Whether it is a link, not a map or a program, which the kernel describes in structs of their own.
fn is_link(fd: BorrowedFd<'_>) -> bool {
    let name = std::fs::read_link(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()));
    name.is_ok_and(|name| {
        name.as_os_str() == "anon_inode:bpf_link" || name.as_os_str() == "anon_inode:bpf-link"
    })
}

/// Where a link is attached; an error if it is a link to something else, or no link.
pub(crate) fn link_target(link: BorrowedFd<'_>) -> io::Result<Target> {
    const CGROUP: u32 = 3;
    const TCX: u32 = 11;
    if !is_link(link) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut info = LinkInfo::default();
    let mut attr = InfoByFd {
        fd: raw(link),
        length: u32::try_from(size_of::<LinkInfo>()).expect("a small struct"),
        info: std::ptr::from_mut(&mut info).addr() as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`, which outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    match info.kind {
        CGROUP => Ok(Target::Cgroup(info.specific[0])),
        TCX => {
            let [index, _] = halves(info.specific[0]);
            Ok(Target::Device(index))
        }
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// Two 32-bit fields that lie where one of 64 bits was read.
fn halves(word: u64) -> [u32; 2] {
    let bytes = word.to_ne_bytes();
    let half = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    [half(0), half(4)]
}

#[repr(C)]
#[derive(Default)]
struct Obj {
    path: u64,
    fd: u32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Gives a link, map or program a name in a BPF file system, which keeps it alive.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Obj { path: address(path.as_bytes_with_nul()), fd: raw(fd), flags: 0 };
    // SAFETY: `path` ends with a zero and outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what is pinned.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Obj { path: address(path.as_bytes_with_nul()), ..Default::default() };
    // SAFETY: `path` ends with a zero and outlives the call; OBJ_GET returns a new descriptor.
    unsafe { bpf_fd(OBJ_GET, &mut attr) }
}

#[repr(C)]
#[derive(Default)]
struct Elem {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Writes one entry. Key and value must be as large as the map's: the caller has compared them.
pub(crate) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attr = Elem { map: raw(map), key: address(key), value: address(value), ..Default::default() };
    // SAFETY: the kernel reads a key and a value of the map's sizes, which are those of K and V.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Removes one entry. The key must be as large as the map's.
pub(crate) fn delete<K: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr = Elem { map: raw(map), key: address(key), ..Default::default() };
    // SAFETY: the kernel reads a key of the map's size, which is that of K.
    unsafe { bpf(MAP_DELETE_ELEM, &mut attr) }.map(drop)
}

/// Reads one entry. Key and value must be as large as the map's.
pub(crate) fn lookup<K: Pod, V: Pod + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<V> {
    let mut value = V::default();
    let mut attr = Elem {
        map: raw(map),
        key: address(key),
        value: std::ptr::from_mut(&mut value).addr() as u64,
        ..Default::default()
    };
    // SAFETY: the kernel reads a key and writes a value of the map's sizes, which are those of K and V.
    unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) }?;
    Ok(value)
}

/// The key after this one, or the first; none after the last. Keys must be as large as the map's.
pub(crate) fn next_key<K: Pod + Default>(map: BorrowedFd<'_>, key: Option<&K>) -> io::Result<Option<K>> {
    let mut next = K::default();
    let mut attr = Elem {
        map: raw(map),
        key: key.map_or(0, address),
        value: std::ptr::from_mut(&mut next).addr() as u64,
        ..Default::default()
    };
    // SAFETY: the kernel reads a key, if there is one, and writes one, both of the map's size, which is that of K.
    match unsafe { bpf(MAP_GET_NEXT_KEY, &mut attr) } {
        Ok(_) => Ok(Some(next)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    elem_flags: u64,
    flags: u64,
}

/// How far a reading of a map in batches has come. The kernel writes a bucket's number here, or a key.
pub(crate) type Cursor = [u64; 8];

/// Reads the entries after the cursor (from the start, without one), at most as many as there is room for, and moves
/// the cursor. Returns how many, and whether these were the last.
pub(crate) fn lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut Option<Cursor>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    assert_eq!(keys.len(), values.len(), "room for a key is room for a value");
    assert!(size_of::<K>() <= size_of::<Cursor>(), "the cursor may be a key");
    let mut next = Cursor::default();
    let mut attr = Batch {
        in_batch: cursor.as_ref().map_or(0, address),
        out_batch: std::ptr::from_mut(&mut next).addr() as u64,
        keys: keys.as_mut_ptr().addr() as u64,
        values: values.as_mut_ptr().addr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map: raw(map),
        ..Default::default()
    };
    // SAFETY: the kernel writes at most `count` keys and values of the map's sizes, which are those of K and V, and
    // reads and writes a cursor of at most a key, which has room in `Cursor`.
    let last = match unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => false,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
        Err(e) => return Err(e),
    };
    *cursor = Some(next);
    Ok(((attr.count as usize).min(keys.len()), last))
}

/// Writes many entries in one call; all before the first that fails are written.
pub(crate) fn update_batch<K: Pod, V: Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "every key has a value");
    let mut attr = Batch {
        keys: address(keys),
        values: address(values),
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map: raw(map),
        ..Default::default()
    };
    // SAFETY: the kernel reads `count` keys and values of the map's sizes, which are those of K and V.
    unsafe { bpf(MAP_UPDATE_BATCH, &mut attr) }.map(drop)
}

/// Removes many entries in one call; says how many, and why not the next.
pub(crate) fn delete_batch<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> (usize, io::Result<()>) {
    let count = u32::try_from(keys.len()).expect("a batch is counted by u32");
    let mut attr = Batch { keys: address(keys), count, map: raw(map), ..Default::default() };
    // SAFETY: the kernel reads `count` keys of the map's size, which is that of K.
    let result = unsafe { bpf(MAP_DELETE_BATCH, &mut attr) }.map(drop);
    let done = if result.is_ok() { keys.len() } else { (attr.count as usize).min(keys.len()) };
    (done, result)
}

/// A map that was opened or made elsewhere, borrowed.
pub(crate) fn fd_of(map: &aya::maps::MapData) -> BorrowedFd<'_> {
    map.fd().as_fd()
}
