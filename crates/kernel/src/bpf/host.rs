//! Policies about the node itself: on the underlay, where packets come in behind what translates, and where they leave before
//! that, from a slot behind the guard.

use std::path::Path;

use super::BpfError;
use super::attach::{self, Direction, OnDevice, TcHook};
use super::edge::{on, slot};
use super::object::{HOST, Object};
use super::table::Table;

/// The guard's slot.
const SLOT: usize = 0;

/// Whether a program of this name on a device is one of these.
pub(super) fn owns(program: &str) -> bool {
    program.starts_with(HOST.name)
}

/// Judges what comes in and leaves by the underlay from now on.
pub(super) fn judge(
    object: &mut Object,
    guard: &mut Object,
    folder: &Path,
    underlay: &str,
    tc: TcHook,
) -> Result<(), BpfError> {
    // What comes in first: an answer to what was let out before is known only then.
    let leaving = on(underlay, "host_out", "host_out_l3")?;
    let mut stage: Table<u32, u32> = Table::new("host_stage", guard.map("host_stage")?)?;
    stage.insert(&[slot(SLOT, object.program(leaving)?)])?;
    let coming = on(underlay, "host", "host_l3")?;
    let place = OnDevice::find(coming, underlay)?;
    attach::to_device(folder, &place, object.classifier_of(coming)?, Direction::Ingress, tc)
}

/// Judges nothing of it. What is on the device is taken off where devices are renewed.
pub(super) fn let_be(guard: &mut Object) -> Result<(), BpfError> {
    let mut stage: Table<u32, u32> = Table::new("host_stage", guard.map("host_stage")?)?;
    stage.remove(&[SLOT as u32])
}
