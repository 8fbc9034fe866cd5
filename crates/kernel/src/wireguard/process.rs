//! The user-space device: `causeway wireguard IFNAME`, a process of its own, so that it outlives the agent.
//!
//! A few threads take packets from the TUN and seal them, a few for each address family of the underlay open what arrives,
//! and the caller's thread keeps the timers and the control socket. They share the protocol's state under one lock that
//! is held for decisions, never for cryptography on packets. While there is little to do, one thread of each does it all.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use thiserror::Error;
use wireguard::Device;

use super::control::Control;
use super::core::{Core, hands, join, spawn};
use super::outbound;
use super::socket::SendQueue;
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
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?.into())
}

/// Runs a device until `shutdown` is readable (see [`stop_signals`]) or the interface is deleted.
pub fn run(options: &Options, shutdown: OwnedFd) -> Result<(), RunError> {
    let failed = |source| RunError::Failed { interface: options.interface.clone(), source };
    if !options.foreground {
        // A session leader already has its own session, and nothing to leave.
        let _ = nix::unistd::setsid();
    }
    let (tun, offload) = open_tun(options)?;
    let path = options.socket();
    let control =
        Control::open(path.clone()).map_err(|source| RunError::Control { path: path.clone(), source })?;
    let core = Core::new(Device::new(Box::new(random)), tun, offload)
        .map_err(|source| RunError::Underlay { interface: options.interface.clone(), source })?;
    let outbound = Arc::new(outbound::Shared::default());
    let mut senders = Vec::new();
    for _ in 0..hands() {
        let outbound = outbound.clone();
        senders.push(spawn("outbound", &core, move |core| outbound::run(core, &outbound)).map_err(failed)?);
    }
    tracing::info!(interface = options.interface, socket = %path.display(), ?offload, "device is up");
    let result = keep(&core, &control, &shutdown).map_err(failed);
    core.stop();
    senders.into_iter().for_each(join);
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
    read_mtu(core);
    let mut queue = SendQueue::new();
    loop {
        let wait = {
            let deadline = core.device().deadline().map(|at| at.saturating_sub(core.now().uptime));
            deadline.map_or(TICK, |left| left.min(TICK))
        };
        let mut fds = [
            PollFd::new(shutdown.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
            PollFd::new(core.nudged(), PollFlags::POLLIN),
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
            && let Err(error) = control.accept(core)
        {
            tracing::warn!(%error, "a control client was not served");
        }
        if ready[2] {
            core.hear_nudge()?;
        }
        if ready[3] {
            // What it says does not matter, only that something changed.
            while recv(links.as_raw_fd(), &mut [0; 8192], MsgFlags::MSG_DONTWAIT).is_ok() {}
            read_mtu(core);
        }
        core.device().handle_timeout(core.now());
        core.send_pending(&mut queue);
    }
}

fn read_mtu(core: &Core) {
    if let Ok(mtu) = core.tun.interface().mtu() {
        core.device().set_mtu(mtu as usize);
    }
}

/// A socket on which the kernel tells of every change to an interface of this namespace, MTU included.
fn link_events() -> nix::Result<OwnedFd> {
    let events =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
    Ok(events)
}

fn random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system gives randomness");
}
