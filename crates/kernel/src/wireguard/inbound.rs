//! From the underlay to the TUN: receive, open, judge, join, write.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use wireguard::{Data, DropReason, Endpoint, HEADER_LEN, Inbound, TAG_LEN, TransportKeys};

use super::baton::Baton;
use super::core::Core;
use super::offload::Coalescer;
use super::socket::{Family, Received, Receiver, SendQueue, Sockets};

/// So many bytes at once are worth waking another thread for.
const MUCH: usize = 48 << 10;

/// So many messages between other peers are passed on before others have their turn with the device.
const PASSED_AT_ONCE: usize = 64;

/// Moves packets until the sockets are closed. `baton` is shared by those who receive from the same socket.
pub(super) fn run(core: &Arc<Core>, sockets: &Arc<Sockets>, family: Family, baton: &Baton) {
    let mut receiver = Receiver::new();
    let mut queue = SendQueue::new();
    let mut batch = Batch::new(core);
    let mut leading = false;
    while leading || baton.lead() {
        leading = true;
        let count = match receiver.receive(sockets, family) {
            Ok(0) => return baton.end(),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Not of this socket's making, so it goes on: the kernel is short of memory, for instance.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS)) => continue,
            Err(error) => {
                core.fail(error);
                return baton.end();
            }
        };
        let ticket = baton.ticket();
        leading = !(receiver.filled(count) >= MUCH && baton.pass());
        batch.received.clear();
        batch.received.extend(receiver.datagrams(count));
        batch.open(core, receiver.bytes());
        // Packets reach the host in the order in which they came.
        baton.await_turn(&ticket);
        batch.judge(core, receiver.bytes());
        batch.pass_on(core, receiver.bytes(), &mut queue);
        batch.deliver(core, receiver.bytes());
        baton.done(ticket);
        core.send_pending(&mut queue);
    }
}

/// What one receive brought, on its way. The vectors keep their memory from batch to batch.
struct Batch {
    received: Vec<Received>,
    /// The session that sent last, to spare the lookup.
    keys: Option<(u32, Arc<TransportKeys>)>,
    opened: Vec<Opened>,
    /// Data messages that are for nobody here.
    strange: Vec<Opened>,
    /// What may pass to the host.
    packets: Vec<Range<usize>>,
    coalescer: Coalescer,
}

/// A data message that was opened, or is none of ours.
struct Opened {
    data: Data,
    from: Endpoint,
    /// Where the packet is, padding included; of one that is none of ours, the message.
    packet: Range<usize>,
}

impl Batch {
    fn new(core: &Core) -> Self {
        Self {
            received: Vec::new(),
            keys: None,
            opened: Vec::with_capacity(256),
            strange: Vec::new(),
            packets: Vec::with_capacity(256),
            coalescer: Coalescer::new(core.offload.udp),
        }
    }

    /// Opens the data messages in place; handles the others.
    fn open(&mut self, core: &Core, bytes: &mut [u8]) {
        self.opened.clear();
        self.strange.clear();
        let received = std::mem::take(&mut self.received);
        for Received { from, segment, range } in &received {
            for start in range.clone().step_by(*segment) {
                let datagram = &mut bytes[start..(start + segment).min(range.end)];
                let Some(data) = Data::parse(datagram) else {
                    core.device().handle_handshake(datagram, *from, core.now());
                    continue;
                };
                let len = datagram.len() - HEADER_LEN - TAG_LEN;
                match self.keys_for(core, data.receiver) {
                    Some(keys) if keys.open(data.counter, datagram).is_some() => {
                        let start = start + HEADER_LEN;
                        self.opened.push(Opened { data, from: *from, packet: start..start + len });
                    }
                    Some(_) => core.device().count(DropReason::Forged, 1),
                    None => {
                        let packet = start..start + datagram.len();
                        self.strange.push(Opened { data, from: *from, packet });
                    }
                }
            }
        }
        self.received = received;
    }

    fn keys_for(&mut self, core: &Core, receiver: u32) -> Option<&TransportKeys> {
        if self.keys.as_ref().is_none_or(|(known, _)| *known != receiver) {
            self.keys = core.device().keys_for(receiver).map(|keys| (receiver, keys));
        }
        self.keys.as_ref().map(|(_, keys)| &**keys)
    }

    /// Finds out what may pass, under one lock for all.
    fn judge(&mut self, core: &Core, bytes: &[u8]) {
        self.packets.clear();
        if self.opened.is_empty() {
            return;
        }
        let now = core.now();
        let mut device = core.device();
        for Opened { data, from, packet } in &self.opened {
            match device.handle_opened(*data, &bytes[packet.clone()], *from, now) {
                Inbound::Packet(len) => self.packets.push(packet.start..packet.start + len),
                Inbound::Keepalive => {}
                Inbound::Drop(DropReason::NoSession) => self.keys = None,
                Inbound::Drop(_) => {}
            }
        }
    }

    /// Passes on what is between other peers. `queue` is empty before and after.
    fn pass_on(&mut self, core: &Core, bytes: &[u8], queue: &mut SendQueue) {
        for strange in self.strange.chunks(PASSED_AT_ONCE) {
            let now = core.now();
            let mut device = core.device();
            for Opened { data, from, packet } in strange {
                let Some(to) = device.relay_data(*data, packet.len(), from.remote, now) else { continue };
                if queue.is_full(packet.len()) {
                    drop(device);
                    core.flush(queue);
                    device = core.device();
                }
                queue.room(packet.len()).copy_from_slice(&bytes[packet.clone()]);
                queue.push(to, packet.len());
            }
            drop(device);
            core.flush(queue);
        }
    }

    /// Hands it to the host.
    fn deliver(&mut self, core: &Core, bytes: &mut [u8]) {
        let runs = self.coalescer.join(bytes, &self.packets);
        for run in 0..runs {
            let joined = self.coalescer.get(run, bytes, &self.packets);
            let header = joined.header.encode();
            let mut parts = [IoSlice::new(&header); Coalescer::MAX_PACKETS + 1];
            let mut count = 1;
            for part in joined.parts(bytes) {
                parts[count] = IoSlice::new(part);
                count += 1;
            }
            if core.tun.write_parts(&parts[..count]).is_err() {
                core.device().count(DropReason::DeviceFull, joined.count() as u64);
            }
        }
    }
}
