//! From the TUN to the underlay: read, seal, send.

mod intake;

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wireguard::{HEADER_LEN, Outbound, Sealing, TAG_LEN, padded};

use self::intake::{Drained, Intake, Slot};
use super::baton::{Baton, Ticket};
use super::core::Core;
use super::offload::Segments;
use super::socket::SendQueue;

/// A thread takes so many bytes at once, before others may go on.
const JOB: u64 = 96 << 10;

/// What the threads of this direction share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    baton: Baton,
    /// Only the leader uses it for long.
    intake: Mutex<Intake>,
}

/// A thread of this direction.
struct Worker<'a> {
    core: &'a Arc<Core>,
    shared: &'a Shared,
    leading: bool,
    /// The TUN had nothing more when it was last read.
    dry: bool,
    /// What to seal, with what. The vector keeps its memory.
    job: Vec<(Slot, Sealing)>,
    queue: SendQueue,
}

/// Moves packets until the device ends.
pub(super) fn run(core: &Arc<Core>, shared: &Shared) {
    let mut worker = Worker {
        core,
        shared,
        leading: false,
        dry: true,
        job: Vec::with_capacity(64),
        queue: SendQueue::new(),
    };
    while let Some(ticket) = worker.take() {
        worker.work(ticket);
    }
}

impl Worker<'_> {
    /// Waits for packets and takes some; none once the device ends.
    fn take(&mut self) -> Option<Ticket> {
        loop {
            if !self.leading {
                self.leading = self.shared.baton.lead();
                // Whoever led before knows better, and passed the lead on because there was more.
                self.dry = false;
                if !self.leading {
                    return None;
                }
            }
            let mut intake = self.shared.intake.lock().unwrap_or_else(PoisonError::into_inner);
            if !(self.dry && intake.is_empty()) {
                match intake.drain(self.core) {
                    Ok(drained) => self.dry = drained == Drained::Dry,
                    Err(error) => {
                        self.core.fail(error);
                        return self.end();
                    }
                }
            }
            let mut size = 0;
            while size < JOB
                && let Some((peer, slot)) = intake.next()
            {
                size += slot.size;
                self.decide(&mut intake, peer, slot);
            }
            let more = !intake.is_empty();
            drop(intake);
            if size > 0 {
                // What the protocol itself has to say, if anything: the packets may have made it speak.
                self.core.send_pending(&mut self.queue);
                let ticket = self.shared.baton.ticket();
                self.leading = !(more && self.shared.baton.pass());
                return Some(ticket);
            }
            if self.dry && !wait(self.core) {
                return self.end();
            }
            self.dry = false;
        }
    }

    /// Finds out with which keys to seal. Counters are taken here, so that they are in the packets' order.
    fn decide(&mut self, intake: &mut Intake, peer: wireguard::PeerId, mut slot: Slot) {
        let now = self.core.now();
        let mut device = self.core.device();
        match device.handle_outbound_to(peer, slot.count, slot.size, now) {
            Outbound::Send(sealing) => return self.job.push((slot, sealing)),
            Outbound::Wait(peer) => slot.each(|segments| {
                for at in 0..segments.count() {
                    let mut packet = vec![0; segments.len_of(at)];
                    segments.write(at, &mut packet);
                    device.handle_waiting(peer, packet, now);
                }
            }),
            Outbound::Drop(_) => {}
        }
        drop(device);
        intake.give_back(slot);
    }

    /// Seals what was taken, and sends it when its turn comes.
    fn work(&mut self, ticket: Ticket) {
        let Self { core, shared, job, queue, .. } = self;
        for (slot, sealing) in job.iter_mut() {
            let mut counter = sealing.counter;
            slot.each(|segments| {
                for at in 0..segments.count() {
                    seal(core, segments, at, counter, sealing, queue, || shared.baton.await_turn(&ticket));
                    counter += 1;
                }
            });
        }
        shared.baton.await_turn(&ticket);
        core.flush(queue);
        shared.baton.done(ticket);
        let mut intake = shared.intake.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, _) in job.drain(..) {
            intake.give_back(slot);
        }
    }

    fn end(&self) -> Option<Ticket> {
        self.shared.baton.end();
        None
    }
}

/// Seals one packet into the queue, which is sent first, in its turn, if it is full.
fn seal(
    core: &Core,
    segments: &Segments<'_>,
    at: usize,
    counter: u64,
    sealing: &Sealing,
    queue: &mut SendQueue,
    await_turn: impl FnOnce(),
) {
    let len = segments.len_of(at);
    let whole = HEADER_LEN + padded(len, sealing.mtu) + TAG_LEN;
    if queue.is_full(whole) {
        await_turn();
        core.flush(queue);
    }
    let datagram = queue.room(whole);
    segments.write(at, &mut datagram[HEADER_LEN..HEADER_LEN + len]);
    datagram[HEADER_LEN + len..whole - TAG_LEN].fill(0);
    sealing.keys.seal(counter, datagram);
    queue.push(sealing.endpoint, whole);
}

/// Waits for a packet; false if the device ends.
fn wait(core: &Core) -> bool {
    let mut fds =
        [PollFd::new(core.tun.as_fd(), PollFlags::POLLIN), PollFd::new(core.stopped(), PollFlags::POLLIN)];
    // An interrupted wait is a wait that ended early.
    let _ = poll(&mut fds, PollTimeout::NONE);
    !fds[1].any().unwrap_or_default()
}
