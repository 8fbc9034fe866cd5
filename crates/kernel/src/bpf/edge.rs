//! The per-packet path of services: for clients whose sockets this node does not see.
//!
//! One program looks at all that comes in, from the underlay, the tunnel and pods; a small one at what leaves. On devices
//! where another program of ours has the place they follow that one, from a slot of the map `stages`.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use aya::EbpfLoader;
use nix::ifaddrs::getifaddrs;

use super::attach::{self, Direction, OnDevice, TcHook};
use super::object::{EDGE, Object};
use super::table::Table;
use super::{BpfError, abi, bytes};
use crate::tun::Interface;

const PROGRAMS: [&str; 6] = ["edge_ingress", "edge", "edge_l3", "edge_pod", "edge_out", "edge_out_l3"];

/// The programs, loaded.
pub(super) struct Edge {
    object: Object,
    exits: Table<abi::ExitKey, abi::Exit>,
}

impl Edge {
    /// Whether a program of this name is one of these.
    pub(super) fn owns(program: &str) -> bool {
        program.starts_with(EDGE.name)
    }

    /// Which packets of a device a program of this name sees.
    pub(super) fn direction(program: &str) -> Direction {
        if program.starts_with("edge_out") { Direction::Egress } else { Direction::Ingress }
    }

    /// The object, with its maps made.
    pub(super) fn maps(loader: &mut EbpfLoader<'_>) -> Result<Object, BpfError> {
        Object::open(EDGE, loader)
    }

    /// Loads the programs, for a node whose underlay is this device, and lets them follow others'.
    pub(super) fn load(mut object: Object, underlay: &str) -> Result<Self, BpfError> {
        // All of them now: they name their maps by descriptors, some of which are closed below.
        for name in PROGRAMS {
            object.program(name)?;
        }
        let exits = Table::new("exits", object.map("exits")?)?;
        let mut stages: Table<u32, u32> = Table::new("stages", object.map("stages")?)?;
        let slots = [
            (abi::STAGE_INGRESS, "edge_ingress"),
            (abi::STAGE_POD, "edge_pod"),
            (abi::STAGE_UNDERLAY_EGRESS, on(underlay, "edge_out", "edge_out_l3")?),
        ];
        for (place, name) in slots {
            let program = object.program(name)?;
            stages.insert(&[slot(place, program)])?;
        }
        Ok(Self { object, exits })
    }

    /// Lets another program see what pods send, and nobody be followed besides: on a node without these programs.
    pub(super) fn replace(object: &mut Object, pod: BorrowedFd<'_>) -> Result<(), BpfError> {
        let mut stages: Table<u32, u32> = Table::new("stages", object.map("stages")?)?;
        stages.insert(&[slot(abi::STAGE_POD, pod)])?;
        stages.remove(&[abi::STAGE_INGRESS as u32, abi::STAGE_UNDERLAY_EGRESS as u32])
    }

    /// Looks at what comes in by a device.
    pub(super) fn watch_ingress(&mut self, folder: &Path, device: &str, tc: TcHook) -> Result<(), BpfError> {
        self.attach(folder, on(device, "edge", "edge_l3")?, device, tc)
    }

    /// Looks at what leaves by a device.
    pub(super) fn watch_egress(&mut self, folder: &Path, device: &str, tc: TcHook) -> Result<(), BpfError> {
        self.attach(folder, on(device, "edge_out", "edge_out_l3")?, device, tc)
    }

    fn attach(&mut self, folder: &Path, program: &str, device: &str, tc: TcHook) -> Result<(), BpfError> {
        let on = OnDevice::find(program, device)?;
        attach::to_device(folder, &on, self.object.classifier_of(program)?, Self::direction(program), tc)
    }

    /// From now on backends see these addresses of the node: behind the underlay the device's own, else those of the mesh.
    pub(super) fn appear(&mut self, underlay: &str, mesh: &[IpAddr]) -> Result<(), BpfError> {
        let index = OnDevice::find("edge", underlay)?.index;
        let own = addresses_of(underlay)?;
        // The first of a family counts, as it does for the kernel.
        let entry = |ifindex, ip: &IpAddr, outside| {
            let family = if ip.is_ipv4() { 4 } else { 6 };
            (abi::ExitKey { ifindex, family }, abi::Exit { ip: bytes::address(*ip), outside })
        };
        let mut wanted: Vec<_> = own.iter().rev().map(|ip| entry(index, ip, 1)).collect();
        wanted.extend(mesh.iter().rev().map(|ip| entry(0, ip, 0)));
        self.exits.insert(&wanted)?;
        let keys = self.exits.entries()?.into_iter().map(|(key, _)| key);
        let extra: Vec<_> = keys.filter(|key| wanted.iter().all(|(other, _)| other != key)).collect();
        self.exits.remove(&extra)
    }
}

/// An entry of `stages`.
pub(super) fn slot(slot: usize, program: BorrowedFd<'_>) -> (u32, u32) {
    let program = u32::try_from(program.as_raw_fd()).expect("a descriptor is not negative");
    (slot as u32, program)
}

/// The program for a device, by whether its packets have Ethernet headers.
pub(super) fn on(
    device: &str,
    ethernet: &'static str,
    without: &'static str,
) -> Result<&'static str, BpfError> {
    let has = Interface::new(device).and_then(|interface| interface.has_ethernet_header());
    let has = has.map_err(|source| BpfError::Device { name: device.to_owned(), source })?;
    Ok(if has { ethernet } else { without })
}

/// The addresses of a device that others may answer to.
fn addresses_of(device: &str) -> Result<Vec<IpAddr>, BpfError> {
    let failed = |source: nix::Error| BpfError::Device { name: device.to_owned(), source: source.into() };
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let is_seen = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    let entries = getifaddrs().map_err(failed)?.filter(|entry| entry.interface_name == device);
    Ok(entries.filter_map(address).filter(is_seen).collect())
}
