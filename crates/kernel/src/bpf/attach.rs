//! Programs at their hooks, in a way that outlives us: links that are pinned, whose program is replaced in place.
//!
//! On a kernel without TCX links (before 6.6) a tc program is a filter of the device's clsact qdisc, which lives as
//! long as the device; a pin of the program stands for it in the folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use nix::net::if_::if_nametoindex;

use super::near;
use super::object::{HOST, POLICY};
use super::sys::{self, Hook, Target};
use super::{BpfError, pins};

/// Before other people's filters, if the kernel has only filters; policies behind what translates.
const PRIORITY: u16 = 1;
const POLICY_PRIORITY: u16 = 2;
const LAST_PRIORITY: u16 = 3;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// How tc programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcHook {
    /// By TCX links where the kernel has them, else as filters of a clsact qdisc.
    #[default]
    Best,
    /// As filters of a clsact qdisc.
    Clsact,
}

/// Which packets of a device a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn hook(self) -> Hook {
        match self {
            Self::Ingress => Hook::TcxIngress,
            Self::Egress => Hook::TcxEgress,
        }
    }

    fn filter(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }
}

/// A program on a device, as its pin is named: `guard-eth0-2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnDevice {
    pub(super) program: String,
    pub(super) device: String,
    pub(super) index: u32,
}

impl OnDevice {
    /// The device of this name in this network namespace.
    pub(super) fn find(program: &str, device: &str) -> Result<Self, BpfError> {
        let index = if_nametoindex(device)
            .map_err(|e| BpfError::Device { name: device.to_owned(), source: e.into() })?;
        Ok(Self { program: program.to_owned(), device: device.to_owned(), index })
    }

    /// From the name of a pin; none if it is a control group's.
    pub(super) fn parse(pin: &str) -> Option<Self> {
        let (program, rest) = pin.split_once('-')?;
        let (device, index) = rest.rsplit_once('-')?;
        let index = index.parse().ok()?;
        Some(Self { program: program.to_owned(), device: device.replace(':', "."), index })
    }

    /// The name of its pin. A BPF file system allows no dots, a device's name no colons.
    pub(super) fn pin(&self) -> String {
        format!("{}-{}-{}", self.program, self.device.replace('.', ":"), self.index)
    }

    /// Whether the device is still that of this name.
    pub(super) fn is_there(&self) -> bool {
        if_nametoindex(self.device.as_str()) == Ok(self.index)
    }
}

/// Attaches a program to a control group, or replaces the one that is there.
pub(super) fn to_cgroup(
    folder: &Path,
    name: &str,
    program: BorrowedFd<'_>,
    cgroup: &Path,
    hook: Hook,
) -> Result<(), BpfError> {
    let open = || File::open(cgroup).and_then(|file| Ok((file.metadata()?.ino(), file)));
    let (number, file) = open().map_err(BpfError::file("open the control group", cgroup))?;
    let pin = pins::links(folder).join(name);
    let attach = || sys::link_create(program, sys::target_of(file.as_fd()), hook);
    replace_or_attach(&pin, program, Target::Cgroup(number), attach).map_err(|source| BpfError::Attach {
        program: name.to_owned(),
        target: format!("control group {}", cgroup.display()),
        source,
    })
}

/// Attaches a tc program to a device, or replaces the one that is there.
pub(super) fn to_device(
    folder: &Path,
    on: &OnDevice,
    program: &mut SchedClassifier,
    direction: Direction,
    tc: TcHook,
) -> Result<(), BpfError> {
    let pin = pins::links(folder).join(on.pin());
    let result = match tc {
        TcHook::Clsact => as_filter(&pin, on, program, direction),
        TcHook::Best => match as_link(&pin, on, program, direction) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => as_filter(&pin, on, program, direction),
            result => result,
        },
    };
    result.map_err(|source| BpfError::Attach {
        program: on.program.clone(),
        target: format!("device {}", on.device),
        source,
    })
}

fn as_link(pin: &Path, on: &OnDevice, program: &SchedClassifier, direction: Direction) -> io::Result<()> {
    let program = program.fd().map_err(io::Error::other)?.as_fd();
    let hook = direction.hook();
    let attach = || match on.program == near::PLAIN {
        true => sys::link_create_first(program, on.index, hook),
        false => sys::link_create(program, on.index, hook),
    };
    replace_or_attach(pin, program, Target::Device(on.index), attach)
}

/// Puts the program behind the pinned link if that is where it ought to be; else makes a new link and pins it.
fn replace_or_attach(
    pin: &Path,
    program: BorrowedFd<'_>,
    target: Target,
    attach: impl FnOnce() -> io::Result<std::os::fd::OwnedFd>,
) -> io::Result<()> {
    if let Ok(link) = sys::open_pin(pin) {
        let in_place = sys::link_target(link.as_fd()).is_ok_and(|at| at == target);
        if in_place && sys::link_update(link.as_fd(), program).is_ok() {
            return Ok(());
        }
    }
    let link = attach()?;
    pins::remove(pin).map_err(io::Error::other)?;
    sys::pin(link.as_fd(), pin)
}

fn as_filter(
    pin: &Path,
    on: &OnDevice,
    program: &mut SchedClassifier,
    direction: Direction,
) -> io::Result<()> {
    // It may be there already; if it cannot be made, attaching says why.
    let _ = qdisc_add_clsact(&on.device);
    let judges = on.program == POLICY.name || on.program.starts_with(HOST.name);
    let priority = match on.program.as_str() {
        // None comes before others' there.
        near::PLAIN => LAST_PRIORITY,
        near::OUT => POLICY_PRIORITY,
        _ if judges => POLICY_PRIORITY,
        _ => PRIORITY,
    };
    let old = SchedClassifierLink::attached(&on.device, direction.filter(), priority, HANDLE, None)?;
    let id = program.attach_to_link(old).or_else(|_: ProgramError| {
        let new = NlOptions { priority, handle: HANDLE, classid: None };
        program.attach_with_options(&on.device, direction.filter(), TcAttachOptions::Netlink(new))
    });
    let id = id.map_err(io::Error::other)?;
    // Dropping the link would take the filter away.
    std::mem::forget(program.take_link(id).map_err(io::Error::other)?);
    pins::remove(pin).map_err(io::Error::other)?;
    sys::pin(program.fd().map_err(io::Error::other)?.as_fd(), pin)
}

/// Takes a program off its device, whichever way it was attached, and lets go of its pin.
pub(super) fn detach(folder: &Path, on: &OnDevice, direction: Direction) -> Result<(), BpfError> {
    let pin: PathBuf = pins::links(folder).join(on.pin());
    let is_link = sys::open_pin(&pin).is_ok_and(|link| sys::link_target(link.as_fd()).is_ok());
    if !is_link && on.is_there() {
        // Nothing to detach is as good as detached.
        let _ = qdisc_detach_program(&on.device, direction.filter(), &on.program);
    }
    pins::remove(&pin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_named_after_what_they_hold() {
        for (device, name) in
            [("eth0", "pod-eth0-7"), ("cw-a-b", "pod-cw-a-b-7"), ("eth0.100", "pod-eth0:100-7")]
        {
            let on = OnDevice { program: "pod".into(), device: device.into(), index: 7 };
            assert_eq!(on.pin(), name);
            assert_eq!(OnDevice::parse(name), Some(on));
        }
        for name in ["connect4", "getpeername6", "pod-eth0", "pod-eth0-x"] {
            assert_eq!(OnDevice::parse(name), None, "{name}");
        }
    }
}
