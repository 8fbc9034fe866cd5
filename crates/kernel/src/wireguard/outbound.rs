//! From the TUN to the underlay: read, seal, send.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wireguard::{DropReason, HEADER_LEN, Outbound, TAG_LEN, destination, padded};

use super::process::Core;
use super::socket::SendQueue;
use crate::tun::Tun;

/// Moves packets until the device ends.
pub(super) fn run(core: &Arc<Core>) {
    let mut packet = vec![0; Tun::MAX_PACKET];
    let mut queue = SendQueue::new();
    loop {
        match core.tun.read_vnet(&mut packet) {
            Ok((_, len)) => handle(core, &packet[..len], &mut queue),
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

fn handle(core: &Arc<Core>, packet: &[u8], queue: &mut SendQueue) {
    let now = core.now();
    let mut device = core.device();
    let Some(to) = destination(packet) else { return device.count(DropReason::NotIp, 1) };
    match device.handle_outbound(to, 1, packet.len() as u64, now) {
        Outbound::Send(sealing) => {
            drop(device);
            let len = HEADER_LEN + padded(packet.len(), sealing.mtu) + TAG_LEN;
            if queue.is_full(len) {
                core.flush(queue);
            }
            let datagram = queue.room(len);
            datagram[HEADER_LEN..][..packet.len()].copy_from_slice(packet);
            datagram[HEADER_LEN + packet.len()..].fill(0);
            sealing.keys.seal(sealing.counter, datagram);
            queue.push(sealing.endpoint, len);
        }
        Outbound::Wait(peer) => {
            device.handle_waiting(peer, packet.to_vec(), now);
            drop(device);
            core.flush(queue);
            core.send_pending(queue);
        }
        Outbound::Drop(_) => {}
    }
}

/// Waits for a packet; false if the device ends.
fn wait(core: &Core) -> bool {
    let mut fds =
        [PollFd::new(core.tun.as_fd(), PollFlags::POLLIN), PollFd::new(core.stop.as_fd(), PollFlags::POLLIN)];
    // An interrupted wait is a wait that ended early.
    let _ = poll(&mut fds, PollTimeout::NONE);
    !fds[1].any().unwrap_or_default()
}
