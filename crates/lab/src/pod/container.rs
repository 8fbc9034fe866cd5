//! Runs a container: a program in the pod's namespaces, started again as the pod's restart policy says.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::life::{Event, RestartPolicy};
use super::told;
use crate::probe::{Gate, Prober, Spec};
use crate::supervise::{Backoff, CONTAINER, Program};

/// How often a container that has never been ready is asked, where its period is longer.
const EAGER: Duration = Duration::from_millis(100);

/// A container of a pod that has its addresses.
pub(super) struct Container {
    /// Its place in the pod.
    pub(super) index: usize,
    /// What it runs.
    pub(super) program: Program,
    /// What happens when it ends.
    pub(super) policy: RestartPolicy,
    /// Its readiness probe.
    pub(super) probe: Option<Spec>,
    /// Who asks.
    pub(super) prober: Prober,
    /// Whom to ask.
    pub(super) ip: Option<IpAddr>,
}

impl Container {
    /// Keeps it running until it is over or told to stop; then it gets SIGTERM and its end is awaited. Killing what
    /// does not listen is the caller's.
    pub(super) async fn keep(self, events: mpsc::UnboundedSender<Event>, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(CONTAINER);
        // Nobody listens any more: the pod is gone, and this task with it.
        let tell = |event| drop(events.send(event));
        loop {
            let born = Instant::now();
            match self.program.spawn() {
                Err(e) => {
                    let program = self.program.command.first().map(|p| p.to_string_lossy().into_owned());
                    let why = format!("cannot run {}: {e}", program.unwrap_or_default());
                    tell(Event::Impossible(self.index, why));
                }
                Ok(mut child) => {
                    tell(Event::Started(self.index, self.probe.is_none()));
                    let code = tokio::select! {
                        code = end(&mut child) => code,
                        () = self.watch_readiness(&events) => unreachable!("probing never ends by itself"),
                        () = told(&mut stop) => {
                            terminate(&child);
                            end(&mut child).await
                        }
                    };
                    tell(Event::Ended(self.index, code));
                    if *stop.borrow() || !self.policy.restarts(code) {
                        return;
                    }
                }
            }
            let wait = backoff.handle_death(born.elapsed());
            if tokio::time::timeout(wait, told(&mut stop)).await.is_ok() {
                return;
            }
        }
    }

    /// Probes for as long as the container runs, and tells changes.
    async fn watch_readiness(&self, events: &mpsc::UnboundedSender<Event>) {
        let (Some(spec), Some(ip)) = (&self.probe, self.ip) else { return std::future::pending().await };
        let mut gate = Gate::new(spec);
        let mut fresh = true;
        sleep(spec.initial_delay).await;
        loop {
            let asked = Instant::now();
            let answer = self.prober.ask(spec, ip, &self.program.sandbox).await;
            fresh &= answer.is_err();
            if gate.handle_answer(answer.is_ok()).is_some() {
                let why = answer.map_err(|why| format!("readiness probe: {why}"));
                // As in `keep`: nobody listens any more.
                let _ = events.send(Event::Ready(self.index, why));
            }
            let period = if fresh { spec.period.min(EAGER) } else { spec.period };
            sleep(period.saturating_sub(asked.elapsed())).await;
        }
    }
}

/// The exit status as a shell counts it: 128 and the signal's number for a killed one.
async fn end(child: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    match child.wait().await {
        Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255),
        Err(_) => 255,
    }
}

fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // Not reaped yet, so the number is still its own; that it has ended meanwhile is what we want.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}
