//! Kernel settings of one network namespace (`/proc/sys/net`).
//!
//! Set where a namespace is made, before its devices are: new devices copy `default`, existing ones do not.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path};

use crate::netns::{Netns, NetnsError};

/// A setting: its path below `/proc/sys`, its value, and whether a kernel without it will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The path below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub path: &'a str,
    /// What to write.
    pub value: &'a str,
    /// Whether it may be missing.
    pub need: Need,
}

/// Whether a setting may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A kernel without it is told.
    Required,
    /// Nothing to set if it is not there.
    IfPresent,
}

impl<'a> Setting<'a> {
    /// A setting that must be there.
    pub const fn required(path: &'a str, value: &'a str) -> Self {
        Self { path, value, need: Need::Required }
    }

    /// A setting that only some kernels, or only kernels with a module loaded, have.
    pub const fn if_present(path: &'a str, value: &'a str) -> Self {
        Self { path, value, need: Need::IfPresent }
    }
}

/// A setting could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused, or does not know it.
    #[error(
        "cannot set {path} to {value:?}: {source}; is /proc mounted writable, and has the kernel this setting?"
    )]
    Write {
        /// Which.
        path: String,
        /// To what.
        value: String,
        /// Why not.
        source: io::Error,
    },
}

/// A node: it forwards, takes no advice from routers, and does not insist that replies go the way requests came.
pub const NODE: &[Setting<'static>] = &[
    Setting::required("net/ipv4/ip_forward", "1"),
    Setting::required("net/ipv4/conf/all/rp_filter", "0"),
    Setting::required("net/ipv4/conf/default/rp_filter", "0"),
    Setting::required("net/ipv4/conf/all/send_redirects", "0"),
    Setting::required("net/ipv4/conf/default/send_redirects", "0"),
    Setting::required("net/ipv4/ping_group_range", "0 2147483647"),
    Setting::required("net/ipv6/conf/all/disable_ipv6", "0"),
    Setting::required("net/ipv6/conf/default/disable_ipv6", "0"),
    Setting::required("net/ipv6/conf/all/forwarding", "1"),
    Setting::required("net/ipv6/conf/default/forwarding", "1"),
    Setting::required("net/ipv6/conf/all/accept_ra", "0"),
    Setting::required("net/ipv6/conf/default/accept_ra", "0"),
    Setting::required("net/ipv6/conf/all/accept_dad", "0"),
    Setting::required("net/ipv6/conf/default/accept_dad", "0"),
    // A bridge is a wire, not a firewall. Present when br_netfilter is; 1 in every new namespace then.
    Setting::if_present("net/bridge/bridge-nf-call-iptables", "0"),
    Setting::if_present("net/bridge/bridge-nf-call-ip6tables", "0"),
    Setting::if_present("net/bridge/bridge-nf-call-arptables", "0"),
];

/// A pod: an end, not a router; its addresses are given, not found.
pub const POD: &[Setting<'static>] = &[
    Setting::required("net/ipv4/ping_group_range", "0 2147483647"),
    Setting::if_present("net/ipv6/conf/all/disable_ipv6", "0"),
    Setting::if_present("net/ipv6/conf/default/disable_ipv6", "0"),
    Setting::if_present("net/ipv6/conf/default/accept_ra", "0"),
    Setting::if_present("net/ipv6/conf/all/accept_dad", "0"),
    Setting::if_present("net/ipv6/conf/default/accept_dad", "0"),
];

/// Writes settings in a namespace, in order; stops at the first that fails. Blocks, for microseconds.
pub fn write(netns: &Netns, settings: &[Setting<'_>]) -> Result<(), SysctlError> {
    netns.visit(|| write_here(settings))?
}

/// Writes settings in the calling thread's namespace. What is right already is not written: the kernel takes a lock for
/// some, and runs through all devices.
pub fn write_here(settings: &[Setting<'_>]) -> Result<(), SysctlError> {
    settings.iter().try_for_each(|setting| {
        let failed =
            |source| SysctlError::Write { path: setting.path.into(), value: setting.value.into(), source };
        let below = Path::new(setting.path).components().all(|c| matches!(c, Component::Normal(_)));
        if !below {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a path below /proc/sys")));
        }
        let path = Path::new("/proc/sys").join(setting.path);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && setting.need == Need::IfPresent => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        let mut found = [0; 64];
        let found = file.read_at(&mut found, 0).map_or(&[][..], |length| &found[..length]);
        let words = |bytes| std::str::from_utf8(bytes).unwrap_or_default().split_ascii_whitespace();
        if words(found).eq(words(setting.value.as_bytes())) {
            return Ok(());
        }
        file.write_all_at(setting.value.as_bytes(), 0).map_err(failed)
    })
}
