//! What the threads of a device share: the protocol's state, the TUN, the sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::sys::eventfd::{EfdFlags, EventFd};
use wireguard::{Device, DropReason, Now};

use super::baton::Baton;
use super::inbound;
use super::socket::{SendQueue, Sent, Sockets};
use crate::tun::{Offload, Tun};

/// What the threads of a device share.
pub(super) struct Core {
    device: Mutex<Device>,
    pub(super) tun: Tun,
    /// What the kernel and the device do for each other.
    pub(super) offload: Offload,
    sockets: Mutex<Underlay>,
    /// Where we send from.
    port: AtomicU16,
    started: Instant,
    /// Readable once the device ends.
    stop: EventFd,
    /// Readable when timers may have moved.
    nudge: EventFd,
    failure: Mutex<Option<io::Error>>,
}

/// The sockets in use, and who receives from them.
struct Underlay {
    sockets: Arc<Sockets>,
    mark: u32,
    receivers: Vec<JoinHandle<()>>,
}

impl Core {
    /// The state of a device that listens on any port. Nothing moves yet.
    pub(super) fn new(device: Device, tun: Tun, offload: Offload) -> io::Result<Arc<Self>> {
        let event = || EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let sockets = Arc::new(Sockets::bind(0, 0)?);
        let core = Arc::new(Self {
            device: Mutex::new(device),
            tun,
            offload,
            port: AtomicU16::new(sockets.port()),
            sockets: Mutex::new(Underlay { sockets: sockets.clone(), mark: 0, receivers: Vec::new() }),
            started: Instant::now(),
            stop: event()?,
            nudge: event()?,
            failure: Mutex::new(None),
        });
        let receivers = receive(&core, &sockets)?;
        core.underlay().receivers = receivers;
        Ok(core)
    }

    /// Ends all receiving, and tells whoever else moves packets to end.
    pub(super) fn stop(&self) {
        // It is nonblocking and written once.
        let _ = self.stop.write(1);
        let mut underlay = self.underlay();
        underlay.sockets.close();
        let receivers = std::mem::take(&mut underlay.receivers);
        // They may need the sockets once more to send.
        drop(underlay);
        receivers.into_iter().for_each(join);
    }

    /// Readable once the device ends.
    pub(super) fn stopped(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Readable when somebody called [`Core::nudge`] or [`Core::fail`].
    pub(super) fn nudged(&self) -> BorrowedFd<'_> {
        self.nudge.as_fd()
    }

    /// The nudge was heard; an error if the device cannot go on.
    pub(super) fn hear_nudge(&self) -> io::Result<()> {
        // It is nonblocking; nothing to read is as good.
        let _ = self.nudge.read();
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    /// The protocol's state. Nobody panics while holding it but for a bug, and then the device is best left as it is.
    pub(super) fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the clocks say.
    pub(super) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { uptime: self.started.elapsed(), unix }
    }

    pub(super) fn sockets(&self) -> Arc<Sockets> {
        self.underlay().sockets.clone()
    }

    /// The port we send from.
    pub(super) fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// The port and the mark.
    pub(super) fn underlay_settings(&self) -> (u16, u32) {
        let underlay = self.underlay();
        (underlay.sockets.port(), underlay.mark)
    }

    /// Listens on another port. The one it has stays if the other is taken.
    pub(super) fn set_port(self: &Arc<Self>, port: u16) -> io::Result<()> {
        let mut underlay = self.underlay();
        if port == underlay.sockets.port() {
            return Ok(());
        }
        let sockets = Arc::new(Sockets::bind(port, underlay.mark)?);
        let receivers = receive(self, &sockets)?;
        self.port.store(sockets.port(), Ordering::Relaxed);
        let former = std::mem::replace(&mut underlay.sockets, sockets);
        let done = std::mem::replace(&mut underlay.receivers, receivers);
        drop(underlay);
        former.close();
        done.into_iter().for_each(join);
        Ok(())
    }

    /// Sets the mark that routing policy sees.
    pub(super) fn set_mark(&self, mark: u32) -> io::Result<()> {
        let mut underlay = self.underlay();
        underlay.sockets.set_mark(mark)?;
        underlay.mark = mark;
        Ok(())
    }

    /// Sends what the protocol itself has to say. `queue` must be empty.
    pub(super) fn send_pending(&self, queue: &mut SendQueue) {
        let mut device = self.device();
        while let Some(transmit) = device.poll_transmit() {
            if queue.is_full(transmit.datagram.len()) {
                drop(device);
                self.flush(queue);
                device = self.device();
            }
            queue.room(transmit.datagram.len()).copy_from_slice(&transmit.datagram);
            queue.push(transmit.endpoint, transmit.datagram.len());
        }
        drop(device);
        self.flush(queue);
    }

    /// Sends a queue, and counts what did not go.
    pub(super) fn flush(&self, queue: &mut SendQueue) {
        if queue.is_empty() {
            return;
        }
        let sent = queue.flush(&self.sockets());
        if sent != Sent::default() {
            let mut device = self.device();
            device.count(DropReason::SendFailed, sent.failed);
            if let Some(address) = sent.lost {
                device.handle_lost_address(address);
            }
        }
    }

    /// Timers may have moved: look again.
    pub(super) fn nudge(&self) {
        // It can only fail by being readable already.
        let _ = self.nudge.write(1);
    }

    /// The device cannot go on.
    pub(super) fn fail(&self, error: io::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.nudge();
    }

    fn underlay(&self) -> MutexGuard<'_, Underlay> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(core: &Arc<Core>, sockets: &Arc<Sockets>) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for family in sockets.families() {
        let baton = Arc::new(Baton::default());
        for _ in 0..hands() {
            let (sockets, baton) = (sockets.clone(), baton.clone());
            threads.push(spawn("inbound", core, move |core| inbound::run(core, &sockets, family, &baton))?);
        }
    }
    Ok(threads)
}

/// So many threads work in each direction when there is much to do: half of the processors, as whoever sends and receives
/// through the tunnel needs some too (with two of two, four streams each way lost a sixth), and no more than four, which
/// would wait for each other.
pub(super) fn hands() -> usize {
    thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4))
}

/// Starts a thread of the device.
pub(super) fn spawn(
    name: &str,
    core: &Arc<Core>,
    body: impl FnOnce(&Arc<Core>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let core = core.clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || body(&core))
}

/// Waits for a thread's end.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the device panicked");
    }
}
