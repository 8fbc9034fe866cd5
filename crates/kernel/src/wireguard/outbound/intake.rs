//! What the TUN has given and is not yet sealed: read first, then shared out, so that a busy peer fills its own queue and
//! not the TUN's, where everybody's packets would wait behind its own, or be lost.

use std::io;

use wireguard::{DropReason, FairQueue, PeerId, destination};

use super::super::core::Core;
use super::super::offload::Segments;
use crate::tun::{Tun, VnetHeader};

/// Slots at most: this bounds what waits.
const SLOTS: usize = 128;
/// A slot with so many bytes takes no more packets; there is always room for one of the largest besides.
const FULL: usize = 64 << 10;
/// Nor one with so many packets.
const PACKETS: usize = 256;
/// Reads before something is sealed again.
const READS: usize = 256;

/// Packets for one peer, as the TUN gave them.
#[derive(Debug)]
pub(super) struct Slot {
    bytes: Vec<u8>,
    used: usize,
    packets: Vec<Taken>,
    /// Packets, and bytes of them, once they are cut.
    pub(super) count: u64,
    pub(super) size: u64,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    header: VnetHeader,
    len: usize,
}

impl Slot {
    fn new() -> Self {
        // Memory is touched only as far as packets fill it.
        let bytes = vec![0; FULL + Tun::MAX_PACKET];
        Self { bytes, used: 0, packets: Vec::with_capacity(PACKETS), count: 0, size: 0 }
    }

    /// What is in it, each cut as it must be.
    pub(super) fn each(&mut self, mut with: impl FnMut(&Segments<'_>)) {
        let mut rest = self.bytes.as_mut_slice();
        for Taken { header, len } in &self.packets {
            let (packet, after) = rest.split_at_mut(*len);
            rest = after;
            // It was understood when it came.
            if let Ok(segments) = Segments::new(header, packet) {
                with(&segments);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.used >= FULL || self.packets.len() >= PACKETS
    }

    /// The packet that was read behind the others is one of them. Its checksum is whole now, unless it is to be cut.
    fn keep(&mut self, mut header: VnetHeader, len: usize, cut: (usize, usize)) {
        header.needs_checksum &= header.gso != crate::tun::Gso::None;
        self.packets.push(Taken { header, len });
        self.used += len;
        self.count += cut.0 as u64;
        self.size += cut.1 as u64;
    }

    fn clear(&mut self) {
        self.packets.clear();
        (self.used, self.count, self.size) = (0, 0, 0);
    }
}

/// Whether there may be more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// Nothing for now.
    Dry,
    /// Perhaps.
    More,
}

/// Everything that waits to be sealed.
#[derive(Debug, Default)]
pub(super) struct Intake {
    waiting: FairQueue<PeerId, Slot>,
    /// Where the next packet is read to, and whose the ones before it are.
    open: Option<(Slot, Option<PeerId>)>,
    pool: Vec<Slot>,
    made: usize,
}

impl Intake {
    /// Reads what is there. More than can wait is dropped, and counted, of whoever has most waiting.
    pub(super) fn drain(&mut self, core: &Core) -> io::Result<Drained> {
        for _ in 0..READS {
            let Some((mut slot, owner)) = self.opened(core) else { return Ok(Drained::More) };
            let used = slot.used;
            match core.tun.read_vnet(&mut slot.bytes[used..used + Tun::MAX_PACKET]) {
                Ok((header, len)) => self.take(core, slot, owner, header, len),
                Err(error) => {
                    self.open = Some((slot, owner));
                    match error.kind() {
                        io::ErrorKind::WouldBlock => {
                            self.close();
                            return Ok(Drained::Dry);
                        }
                        io::ErrorKind::Interrupted => {}
                        _ => return Err(error),
                    }
                }
            }
        }
        self.close();
        Ok(Drained::More)
    }

    /// The packets whose turn it is.
    pub(super) fn next(&mut self) -> Option<(PeerId, Slot)> {
        self.waiting.pop()
    }

    /// Whether more waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The slot may be used again.
    pub(super) fn give_back(&mut self, mut slot: Slot) {
        slot.clear();
        self.pool.push(slot);
    }

    /// Somewhere to read to; none if every slot is in use and nobody has more than its share.
    fn opened(&mut self, core: &Core) -> Option<(Slot, Option<PeerId>)> {
        if self.open.as_ref().is_some_and(|(slot, _)| slot.is_full()) {
            self.close();
        }
        match self.open.take() {
            Some(open) => Some(open),
            None => self.fresh(core).map(|slot| (slot, None)),
        }
    }

    fn fresh(&mut self, core: &Core) -> Option<Slot> {
        if let Some(slot) = self.pool.pop() {
            return Some(slot);
        }
        if self.made < SLOTS {
            self.made += 1;
            return Some(Slot::new());
        }
        let (_, mut slot) = self.waiting.give_way()?;
        core.device().count(DropReason::Overloaded, slot.count);
        slot.clear();
        Some(slot)
    }

    /// What was read to the end of the open slot goes where it belongs.
    fn take(&mut self, core: &Core, mut slot: Slot, owner: Option<PeerId>, header: VnetHeader, len: usize) {
        let used = slot.used;
        let packet = &mut slot.bytes[used..used + len];
        let found = match Segments::new(&header, packet) {
            Ok(segments) => whose(core, &segments).map(|peer| (peer, (segments.count(), segments.bytes()))),
            Err(_) => {
                core.device().count(DropReason::NotIp, 1);
                None
            }
        };
        let Some((peer, cut)) = found else {
            self.open = Some((slot, owner));
            return;
        };
        if owner.is_none_or(|owner| owner == peer) {
            slot.keep(header, len, cut);
            self.open = Some((slot, Some(peer)));
            return;
        }
        // Another's: behind what it has waiting already, if there is room.
        let packet = &slot.bytes[used..used + len];
        if let Some(last) = self.waiting.last_mut(peer).filter(|last| !last.is_full()) {
            last.bytes[last.used..last.used + len].copy_from_slice(packet);
            last.keep(header, len, cut);
            self.waiting.grow(peer, cut.1);
        } else if let Some(mut other) = self.fresh(core) {
            other.bytes[..len].copy_from_slice(packet);
            other.keep(header, len, cut);
            self.waiting.push(peer, other, cut.1);
        } else {
            core.device().count(DropReason::Overloaded, cut.0 as u64);
        }
        self.open = Some((slot, owner));
    }

    /// What was read waits with the others.
    fn close(&mut self) {
        match self.open.take() {
            Some((slot, Some(peer))) if slot.count > 0 => {
                let size = slot.size as usize;
                self.waiting.push(peer, slot, size);
            }
            Some((slot, _)) => self.give_back(slot),
            None => {}
        }
    }
}

/// The peer that it is for; none if it is for nobody, which is counted.
fn whose(core: &Core, segments: &Segments<'_>) -> Option<PeerId> {
    let head = segments.head();
    let mut device = core.device();
    let reason = match destination(head) {
        None => DropReason::NotIp,
        Some(_) if device.is_looped(head, core.port()) => DropReason::Looped,
        Some(to) => match device.peer_of(to) {
            Some(peer) => return Some(peer),
            None => DropReason::NoPeer,
        },
    };
    device.count(reason, segments.count() as u64);
    None
}
