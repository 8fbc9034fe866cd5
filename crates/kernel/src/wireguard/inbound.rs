//! From the underlay to the TUN: receive, open, judge, write.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use wireguard::{Data, DropReason, Endpoint, HEADER_LEN, Inbound, TAG_LEN, TransportKeys};

use super::process::Core;
use super::socket::{Family, Receiver, SendQueue, Sockets};
use crate::tun::VnetHeader;

/// A data message that was opened.
struct Opened {
    data: Data,
    /// Where the packet is in the buffer, padding included.
    packet: Range<usize>,
}

/// Moves packets until the sockets are closed.
pub(super) fn run(core: &Arc<Core>, sockets: &Arc<Sockets>, family: Family) {
    let mut receiver = Receiver::new();
    let mut queue = SendQueue::new();
    let mut state = State { keys: None, opened: Vec::with_capacity(128) };
    loop {
        let count = match receiver.receive(sockets, family) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // The socket reports what the network said of datagrams we sent; there is nothing to do about it here.
                tracing::debug!(%error, "receiving");
                continue;
            }
        };
        for received in receiver.datagrams(count) {
            state.open(core, received.from, received.segment, received.bytes);
            state.deliver(core, received.from, received.bytes);
        }
        core.send_pending(&mut queue);
    }
}

struct State {
    /// The session that sent last, to spare the lookup.
    keys: Option<(u32, Arc<TransportKeys>)>,
    opened: Vec<Opened>,
}

impl State {
    /// Opens the data messages in place; handles the others.
    fn open(&mut self, core: &Core, from: Endpoint, segment: usize, bytes: &mut [u8]) {
        self.opened.clear();
        for (at, datagram) in bytes.chunks_mut(segment).enumerate() {
            let Some(data) = Data::parse(datagram) else {
                core.device().handle_handshake(datagram, from, core.now());
                continue;
            };
            let Some(keys) = self.keys_for(core, data.receiver) else {
                core.device().count(DropReason::NoSession, 1);
                continue;
            };
            let len = datagram.len() - HEADER_LEN - TAG_LEN;
            if keys.open(data.counter, datagram).is_some() {
                let start = at * segment + HEADER_LEN;
                self.opened.push(Opened { data, packet: start..start + len });
            } else {
                core.device().count(DropReason::Forged, 1);
            }
        }
    }

    fn keys_for(&mut self, core: &Core, receiver: u32) -> Option<&TransportKeys> {
        if self.keys.as_ref().is_none_or(|(known, _)| *known != receiver) {
            self.keys = core.device().keys_for(receiver).map(|keys| (receiver, keys));
        }
        self.keys.as_ref().map(|(_, keys)| &**keys)
    }

    /// Hands what may pass to the host.
    fn deliver(&mut self, core: &Core, from: Endpoint, bytes: &[u8]) {
        let now = core.now();
        let mut device = core.device();
        self.opened.retain_mut(|opened| {
            match device.handle_opened(opened.data, &bytes[opened.packet.clone()], from, now) {
                Inbound::Packet(len) => {
                    opened.packet.end = opened.packet.start + len;
                    true
                }
                Inbound::Keepalive | Inbound::Drop(_) => false,
            }
        });
        drop(device);
        for opened in &self.opened {
            if core.tun.write_vnet(&VnetHeader::default(), &bytes[opened.packet.clone()]).is_err() {
                core.device().count(DropReason::DeviceFull, 1);
            }
        }
    }
}
