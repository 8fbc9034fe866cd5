//! The loop of the underlay: read what leaves, wait, write what arrives. It sleeps when there is nothing to do.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kernel::process::set_nice;
use kernel::tun::{Offload, Tun};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::packet::Packet;
use super::switch::{Counters, Switch};
use super::{Config, Error, control, device};
use crate::plan::Wire;

/// The most packets taken from one device before the others have their turn.
const BATCH: usize = 64;

/// What the loop and the control socket share.
pub(super) struct Underlay {
    switch: Mutex<Switch>,
    tuns: Vec<Tun>,
}

/// Runs the underlay until the process is killed; with it the devices vanish. Blocks.
pub fn run(config: &Path) -> Result<(), Error> {
    let config = Config::load(config)?;
    let switch = Mutex::new(Switch::new(&config)?);
    let tuns = device::open_all(&config.segments)?;
    let underlay = Arc::new(Underlay { switch, tuns });
    underlay.set_offloads()?;
    control::serve(&config.control, underlay.clone())?;
    tracing::info!(locations = underlay.tuns.len(), wires = config.wires.len(), "the underlay is up");
    underlay.forward()
}

impl Underlay {
    /// Changes wires, and how the devices at their ends hand over packets.
    pub(super) fn set_wires(&self, wires: &[Wire]) -> Result<(), Error> {
        self.lock().set_wires(wires)?;
        self.set_offloads()
    }

    /// Switches all NATs off and on.
    pub(super) fn forget_mappings(&self) {
        self.lock().forget_mappings();
    }

    /// What has happened so far.
    pub(super) fn counters(&self) -> Counters {
        self.lock().counters()
    }

    fn set_offloads(&self) -> Result<(), Error> {
        for (i, tun) in self.tuns.iter().enumerate() {
            let single = self.lock().wants_single_packets(i);
            let offload = if single { Offload { checksum: true, ..Offload::NONE } } else { Offload::ALL };
            tun.set_offload(offload).map_err(|source| Error::System {
                attempt: "set the offloads of a location's device",
                source,
            })?;
        }
        Ok(())
    }

    fn forward(&self) -> Result<(), Error> {
        let failed = |attempt| move |errno: Errno| Error::System { attempt, source: errno.into() };
        if let Err(error) = take_precedence() {
            tracing::warn!(%error, "no priority for the underlay: a busy machine will add delay and loss");
        }
        // By default the kernel may wake a sleeper 50 µs late, to save power.
        nix::sys::prctl::set_timerslack(1).map_err(failed("ask for exact timers"))?;
        let start = Instant::now();
        let mut scratch = vec![0; Tun::MAX_PACKET];
        let mut waiting: Vec<PollFd<'_>> =
            self.tuns.iter().map(|tun| PollFd::new(tun.as_fd(), PollFlags::POLLIN)).collect();
        loop {
            let next = self.deliver(start);
            let timeout = next.map(|due| TimeSpec::from_duration(due.saturating_sub(start.elapsed())));
            match ppoll(&mut waiting, timeout, None) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(failed("wait for packets")(errno)),
            }
            for (i, waiting) in waiting.iter().enumerate() {
                if waiting.any() == Some(true) {
                    self.take_in(i, &mut scratch, start)?;
                    self.deliver(start);
                }
            }
        }
    }

    /// Takes what has left a location, as much as fits a turn.
    fn take_in(&self, from: usize, scratch: &mut [u8], start: Instant) -> Result<(), Error> {
        let mut switch = self.lock();
        for _ in 0..BATCH {
            match self.tuns[from].read_vnet(scratch) {
                Ok((header, len)) => {
                    switch.handle(from, Packet { header, bytes: scratch[..len].into() }, start.elapsed());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(source) => {
                    return Err(Error::System { attempt: "read from a location's device", source });
                }
            }
        }
        Ok(())
    }

    /// Writes what has arrived by now. Returns when the next does.
    fn deliver(&self, start: Instant) -> Option<Duration> {
        let mut switch = self.lock();
        while let Some((to, packet)) = switch.poll(start.elapsed()) {
            if self.tuns[to].write_vnet(&packet.header, &packet.bytes).is_err() {
                switch.count_undelivered();
            }
        }
        switch.deadline()
    }

    /// A panic elsewhere leaves a switch that is still right: it changes in whole steps.
    fn lock(&self) -> std::sync::MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes before everybody else. All packets of all clouds pass here: made to wait by a busy machine, this process would
/// make every wire slow and lossy.
fn take_precedence() -> io::Result<()> {
    set_nice(-20)?;
    // The kernel may share the processors between sessions first, and only then within each (sched(7), "The autogroup
    // feature"): so a session of its own, that goes first too. One who leads a group already has one.
    let _ = nix::unistd::setsid();
    match std::fs::write("/proc/self/autogroup", "-20") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
