//! The user-space device: `causeway wireguard IFNAME`, a process of its own, so that it outlives the agent.
//!
//! One thread takes packets from the TUN and seals them, one per address family of the underlay opens what arrives,
//! and the caller's thread keeps the timers and the control socket. They share the protocol's state under one lock that
//! is held for decisions, never for cryptography on packets.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use thiserror::Error;
use wireguard::{Device, Now};

use super::socket::{SendQueue, Sockets};
use super::{control, inbound, outbound};
use crate::tun::{Offload, Tun, TunOptions};

/// The device's MTU until somebody sets another.
const DEFAULT_MTU: u32 = 1420;
/// Timers are looked at least this often: packets may arm one that is this far away.
const TICK: Duration = Duration::from_secs(1);

/// How to run a device.
#[derive(Debug, Clone)]
pub struct Options {
    /// The interface's name.
    pub interface: String,
    /// Where the control socket `<interface>.sock` goes.
    pub uapi_dir: PathBuf,
    /// Stay in the caller's session rather than detach from it.
    pub foreground: bool,
}

impl Options {
    /// A device of this name, with its control socket where `wg` looks for it.
    pub fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned(), uapi_dir: "/run/wireguard".into(), foreground: false }
    }

    /// The path of the control socket.
    pub fn socket(&self) -> PathBuf {
        self.uapi_dir.join(format!("{}.sock", self.interface))
    }
}

/// Why a device could not be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The TUN device could not be made.
    #[error(
        "cannot make the tunnel device {interface}: {source}; it needs CAP_NET_ADMIN, /dev/net/tun (module tun) and a \
         name no other program uses"
    )]
    Tun {
        /// Its name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The control socket could not be made.
    #[error("cannot listen on the control socket {path}: {source}; is another device of this name running?")]
    Control {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The UDP sockets could not be made.
    #[error("cannot open the UDP sockets of {interface}: {source}")]
    Underlay {
        /// The device's name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The device stopped working.
    #[error("the tunnel device {interface} failed: {source}; was it deleted?")]
    Failed {
        /// Its name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A descriptor that becomes readable when this process is asked to end (SIGTERM, SIGINT). Call it before any thread is
/// started: the signals are blocked in the caller and whatever it starts.
pub fn stop_signals() -> io::Result<OwnedFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    // SAFETY: the descriptor is duplicated, so the copy is ours alone.
    let copy = unsafe { libc::fcntl(signals.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `copy` was just made, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// What the threads of a device share.
pub(super) struct Core {
    device: Mutex<Device>,
    pub(super) tun: Tun,
    /// What the kernel and the device do for each other.
    pub(super) offload: Offload,
    sockets: Mutex<Underlay>,
    started: Instant,
    /// Readable once the device ends.
    pub(super) stop: EventFd,
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
        if sent != super::socket::Sent::default() {
            let mut device = self.device();
            device.count(wireguard::DropReason::SendFailed, sent.failed);
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

/// Runs a device until `shutdown` is readable (see [`stop_signals`]) or the interface is deleted.
pub fn run(options: &Options, shutdown: OwnedFd) -> Result<(), RunError> {
    let failed = |source| RunError::Failed { interface: options.interface.clone(), source };
    if !options.foreground {
        // A session leader already has its own session, and nothing to leave.
        let _ = nix::unistd::setsid();
    }
    let (tun, offload) = open_tun(options)?;
    let control = Control::open(options)?;
    let sockets = Sockets::bind(0, 0)
        .map(Arc::new)
        .map_err(|source| RunError::Underlay { interface: options.interface.clone(), source })?;
    let mut device = Device::new(Box::new(random));
    device.set_mtu(DEFAULT_MTU as usize);
    let event = || EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    let core = Arc::new(Core {
        device: Mutex::new(device),
        tun,
        offload,
        sockets: Mutex::new(Underlay { sockets: sockets.clone(), mark: 0, receivers: Vec::new() }),
        started: Instant::now(),
        stop: event().map_err(|error| failed(error.into()))?,
        nudge: event().map_err(|error| failed(error.into()))?,
        failure: Mutex::new(None),
    });
    let receivers = receive(&core, &sockets).map_err(failed)?;
    core.underlay().receivers = receivers;
    let sender = spawn("outbound", &core, outbound::run).map_err(failed)?;
    tracing::info!(interface = options.interface, socket = %control.path.display(), ?offload, "device is up");

    let result = keep(&core, &control, &shutdown).map_err(failed);
    // It is nonblocking and written once.
    let _ = core.stop.write(1);
    join(sender);
    let mut underlay = core.underlay();
    underlay.sockets.close();
    underlay.receivers.drain(..).for_each(join);
    tracing::info!(interface = options.interface, "device is gone");
    result
}

fn open_tun(options: &Options) -> Result<(Tun, Offload), RunError> {
    let open = || {
        let tun = Tun::open(
            &options.interface,
            TunOptions { vnet_hdr: true, multi_queue: false, nonblocking: true },
        )?;
        let offload = tun.set_offload(Offload::ALL)?;
        tun.interface().set_mtu(DEFAULT_MTU)?;
        Ok((tun, offload))
    };
    open().map_err(|source| RunError::Tun { interface: options.interface.clone(), source })
}

/// Timers and the control socket, until the end.
fn keep(core: &Arc<Core>, control: &Control, shutdown: &OwnedFd) -> io::Result<()> {
    let links = link_events()?;
    let mut queue = SendQueue::new();
    loop {
        let wait = {
            let deadline = core.device().deadline().map(|at| at.saturating_sub(core.now().uptime));
            deadline.map_or(TICK, |left| left.min(TICK))
        };
        let mut fds = [
            PollFd::new(shutdown.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(core.nudge.as_fd(), PollFlags::POLLIN),
            PollFd::new(links.as_fd(), PollFlags::POLLIN),
        ];
        // Rounded up, or the last millisecond is spent spinning.
        let timeout = PollTimeout::try_from(wait.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = fds.map(|fd| fd.any().unwrap_or_default());
        if ready[0] {
            return Ok(());
        }
        if ready[1]
            && let Ok((stream, _)) = control.listener.accept()
        {
            let core = core.clone();
            thread::Builder::new().name("control".into()).spawn(move || control::serve(&core, stream))?;
        }
        if ready[2] {
            let _ = core.nudge.read();
            if let Some(error) = core.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
        }
        if ready[3] {
            // What it says does not matter, only that something changed.
            while recv(links.as_raw_fd(), &mut [0; 8192], MsgFlags::MSG_DONTWAIT).is_ok() {}
            if let Ok(mtu) = core.tun.interface().mtu() {
                core.device().set_mtu(mtu as usize);
            }
        }
        core.device().handle_timeout(core.now());
        core.send_pending(&mut queue);
    }
}

/// A socket on which the kernel tells of every change to an interface of this namespace, MTU included.
fn link_events() -> nix::Result<OwnedFd> {
    let events =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
    Ok(events)
}

/// The control socket's listening end; its file goes with it.
struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    fn open(options: &Options) -> Result<Self, RunError> {
        let path = options.socket();
        let open = || {
            fs::create_dir_all(&options.uapi_dir)?;
            remove_stale(&path)?;
            let listener = UnixListener::bind(&path)?;
            // Whoever can write to it has the keys.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        open()
            .map(|listener| Self { listener, path: path.clone() })
            .map_err(|source| RunError::Control { path: path.clone(), source })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the socket of a process that died; one that answers is somebody's.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(path),
    }
}

fn receive(core: &Arc<Core>, sockets: &Arc<Sockets>) -> io::Result<Vec<JoinHandle<()>>> {
    sockets
        .families()
        .map(|family| {
            let sockets = sockets.clone();
            spawn("inbound", core, move |core| inbound::run(core, &sockets, family))
        })
        .collect()
}

fn spawn(
    name: &str,
    core: &Arc<Core>,
    body: impl FnOnce(&Arc<Core>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let core = core.clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || body(&core))
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the device panicked");
    }
}

fn random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system gives randomness");
}
