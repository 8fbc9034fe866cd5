//! Unencrypted ways to nodes of the same location: programs on the mesh's device, on VXLAN's and on the underlay.

use std::path::Path;

use nix::net::if_::if_nametoindex;

use super::attach::{self, Direction, OnDevice, TcHook};
use super::object::{self, NEAR, Object};
use super::table::Table;
use super::{BpfError, abi, pins};

/// What looks at what leaves by the mesh's device.
pub(super) const OUT: &str = "near";
/// What looks at what VXLAN's device takes in.
pub(super) const VXLAN: &str = "near_vxlan";
/// What looks at what comes in by the underlay.
pub(super) const PLAIN: &str = "near_plain";

/// Whether a program of this name on a device is one of these.
pub(super) fn owns(program: &str) -> bool {
    [OUT, VXLAN, PLAIN].contains(&program)
}

/// Which packets of a device a program of this name sees.
pub(super) fn direction(program: &str) -> Direction {
    if program == OUT { Direction::Egress } else { Direction::Ingress }
}

/// Where the programs are to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    /// The mesh's device.
    pub(super) tunnel: &'a str,
    /// What leads to other nodes.
    pub(super) underlay: &'a str,
    /// VXLAN's device, where that is wanted.
    pub(super) vxlan: Option<&'a str>,
    /// Whether packets are taken as they are.
    pub(super) plain: bool,
}

/// The programs, loaded.
pub(super) struct Near {
    object: Object,
    devices: Table<u32, abi::Near>,
}

impl Near {
    /// Loads them, on maps that may be there already.
    pub(super) fn open(folder: &Path) -> Result<Self, BpfError> {
        let mut object = Object::open(NEAR, &mut object::loader(&[NEAR], folder))?;
        for name in [OUT, VXLAN, PLAIN] {
            object.program(name)?;
        }
        let devices = Table::new("near_devices", object.map("near_devices")?)?;
        Ok(Self { object, devices })
    }

    /// Puts them where they are to be, and there alone.
    pub(super) fn attach(&mut self, folder: &Path, at: Places<'_>, tc: TcHook) -> Result<(), BpfError> {
        let index = |name: &str| {
            let found = if_nametoindex(name);
            found.map_err(|e| BpfError::Device { name: name.to_owned(), source: e.into() })
        };
        let devices = abi::Near {
            tunnel: index(at.tunnel)?,
            vxlan: at.vxlan.map(index).transpose()?.unwrap_or_default(),
            underlay: index(at.underlay)?,
        };
        self.devices.insert(&[(0, devices)])?;
        // What takes in before what sends.
        let plain = at.plain.then_some((PLAIN, at.underlay));
        let wanted = [at.vxlan.map(|device| (VXLAN, device)), plain, Some((OUT, at.tunnel))];
        let mut held = Vec::new();
        for (program, device) in wanted.into_iter().flatten() {
            let on = OnDevice::find(program, device)?;
            attach::to_device(folder, &on, self.object.classifier_of(program)?, direction(program), tc)?;
            held.push(on);
        }
        detach_others(folder, &held)
    }
}

/// Takes them off all devices.
pub(super) fn detach(folder: &Path) -> Result<(), BpfError> {
    detach_others(folder, &[])
}

fn detach_others(folder: &Path, held: &[OnDevice]) -> Result<(), BpfError> {
    let names = pins::names(&pins::links(folder))?;
    let ours = names.iter().filter_map(|name| OnDevice::parse(name)).filter(|on| owns(&on.program));
    ours.filter(|on| !held.contains(on))
        .try_for_each(|on| attach::detach(folder, &on, direction(&on.program)))
}
