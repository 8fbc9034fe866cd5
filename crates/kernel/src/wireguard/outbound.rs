//! From the TUN to the underlay: read, seal, send.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wireguard::{DropReason, HEADER_LEN, Outbound, Sealing, TAG_LEN, destination, padded};

use super::core::Core;
use super::offload::Segments;
use super::socket::SendQueue;
use crate::tun::Tun;

/// Moves packets until the device ends.
pub(super) fn run(core: &Arc<Core>) {
    let mut packet = vec![0; Tun::MAX_PACKET];
    let mut queue = SendQueue::new();
    loop {
        match core.tun.read_vnet(&mut packet) {
            Ok((header, len)) => match Segments::new(&header, &mut packet[..len]) {
                Ok(segments) => handle(core, &segments, &mut queue),
                Err(_) => core.device().count(DropReason::NotIp, 1),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                core.flush(&mut queue);
                if !wait(core) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return core.fail(error),
        }
    }
}

fn handle(core: &Arc<Core>, segments: &Segments<'_>, queue: &mut SendQueue) {
    let now = core.now();
    let count = segments.count();
    let mut device = core.device();
    let Some(to) = destination(segments.head()) else { return device.count(DropReason::NotIp, 1) };
    match device.handle_outbound(to, count as u64, segments.bytes() as u64, now) {
        Outbound::Send(sealing) => {
            drop(device);
            for at in 0..count {
                seal(core, segments, at, &sealing, queue);
            }
        }
        Outbound::Wait(peer) => {
            for at in 0..count {
                let mut packet = vec![0; segments.len_of(at)];
                segments.write(at, &mut packet);
                device.handle_waiting(peer, packet, now);
            }
            drop(device);
            core.flush(queue);
            core.send_pending(queue);
        }
        Outbound::Drop(_) => {}
    }
}

fn seal(core: &Core, segments: &Segments<'_>, at: usize, sealing: &Sealing, queue: &mut SendQueue) {
    let len = segments.len_of(at);
    let whole = HEADER_LEN + padded(len, sealing.mtu) + TAG_LEN;
    if queue.is_full(whole) {
        core.flush(queue);
    }
    let datagram = queue.room(whole);
    segments.write(at, &mut datagram[HEADER_LEN..HEADER_LEN + len]);
    datagram[HEADER_LEN + len..whole - TAG_LEN].fill(0);
    sealing.keys.seal(sealing.counter + at as u64, datagram);
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
