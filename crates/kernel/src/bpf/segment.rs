//! The lab's broken switch: keeps pairs of addresses apart on chosen devices.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::attach::{self, Direction, OnDevice, TcHook};
use super::object::{self, Object, SEGMENT};
use super::table::Table;
use super::{BpfError, abi, bytes, pins};

/// Cuts between addresses, kept by the kernel under a folder of pins.
pub struct Segment {
    pin_dir: PathBuf,
    cuts: Table<abi::Cut, u8>,
    program: Object,
}

impl Segment {
    /// Loads the program, or takes over the cuts that are pinned in the folder.
    pub fn open(pin_dir: &Path) -> Result<Self, BpfError> {
        pins::prepare(pin_dir)?;
        let mut program = Object::open(SEGMENT, &mut object::loader(&[SEGMENT], pin_dir))?;
        let cuts = Table::new("cuts", program.map("cuts")?)?;
        Ok(Self { pin_dir: pin_dir.to_owned(), cuts, program })
    }

    /// Watches what comes in on a device of the caller's network namespace. The place tells apart devices of the same
    /// name and index in different namespaces; letters, digits, `_`.
    pub fn attach(&mut self, place: &str, device: &str) -> Result<(), BpfError> {
        let links = pins::links(&self.pin_dir).join(place);
        std::fs::create_dir_all(pins::links(&links)).map_err(BpfError::file("create the folder", &links))?;
        let on = OnDevice::find(SEGMENT.name, device)?;
        attach::to_device(&links, &on, self.program.classifier()?, Direction::Ingress, TcHook::Best)
    }

    /// From now on exactly these pairs, source and destination, are kept apart.
    pub fn set_cuts(&mut self, cuts: &BTreeSet<(IpAddr, IpAddr)>) -> Result<(), BpfError> {
        let is = self.cuts()?;
        let key = |(source, destination): &(IpAddr, IpAddr)| abi::Cut {
            source: bytes::address(*source),
            destination: bytes::address(*destination),
        };
        self.cuts.insert(&cuts.difference(&is).map(|cut| (key(cut), 1)).collect::<Vec<_>>())?;
        self.cuts.remove(&is.difference(cuts).map(key).collect::<Vec<_>>())
    }

    /// The pairs that are kept apart.
    pub fn cuts(&self) -> Result<BTreeSet<(IpAddr, IpAddr)>, BpfError> {
        let pair = |(key, _): (abi::Cut, u8)| (bytes::ip(key.source), bytes::ip(key.destination));
        Ok(self.cuts.entries()?.into_iter().map(pair).collect())
    }

    /// Ends it: everything passes again, the pins are gone. Filters of a kernel without TCX go with their devices.
    pub fn unload(pin_dir: &Path) -> Result<(), BpfError> {
        let links = pins::links(pin_dir);
        for place in pins::names(&links)? {
            pins::remove_all(&links.join(place))?;
        }
        pins::remove_all(pin_dir)
    }
}
