//! Keeps a process running: started, watched, started again when it dies, until it is told to stop.

mod backoff;
pub mod log;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kernel::sandbox::{Sandbox, enter_before_exec};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub use backoff::{Backoff, CONTAINER, DAEMON, Policy};

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it is called in the log.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub folder: Option<PathBuf>,
    /// Where it runs.
    pub sandbox: Sandbox,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Program {
    /// Starts it once.
    pub fn spawn(&self) -> std::io::Result<Child> {
        let (program, args) = self.command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let log = log::open(&self.log)?;
        let mut command = Command::new(program);
        command.args(args).envs(self.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        enter_before_exec(command.as_std_mut(), &self.sandbox)?;
        command.spawn()
    }
}

/// A process that is kept running while this value lives.
#[derive(Debug)]
pub struct Supervisor {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    pid: AtomicU32,
    restarts: AtomicU32,
}

impl Supervisor {
    /// Starts the program and keeps it running.
    pub fn start(program: Program, policy: Policy) -> Self {
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(keep(program, policy, Arc::clone(&seen), stopped));
        Self { task, stop, seen }
    }

    /// The process, while one runs.
    pub fn pid(&self) -> Option<u32> {
        Some(self.seen.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Times it was started again.
    pub fn restarts(&self) -> u32 {
        self.seen.restarts.load(Ordering::Relaxed)
    }

    /// From now on the process is not started again, whatever kills it. It is killed soon.
    pub fn halt(&self) {
        self.stop.send_replace(true);
    }

    /// Kills the process, does not start it again, and waits for its end.
    pub async fn stop(mut self) {
        self.halt();
        // The task ends by itself; that it was cancelled or panicked changes nothing about the process being gone.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.halt();
    }
}

/// How often a process that cannot even be started is tried again at first.
const IMPOSSIBLE: Duration = Duration::from_millis(1);

async fn keep(program: Program, policy: Policy, seen: Arc<Seen>, mut stopped: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(policy);
    loop {
        let born = Instant::now();
        let end = match program.spawn() {
            Ok(mut child) => {
                seen.pid.store(child.id().unwrap_or(0), Ordering::Relaxed);
                let end = tokio::select! {
                    status = child.wait() => Some(status.map_or_else(|e| e.to_string(), |s| s.to_string())),
                    _ = stopped.wait_for(|stop| *stop) => None,
                };
                if end.is_none() {
                    // A process that is gone already needs no killing.
                    let _ = child.kill().await;
                }
                seen.pid.store(0, Ordering::Relaxed);
                end
            }
            Err(e) => Some(format!("cannot be started: {e}")),
        };
        let Some(end) = end else { return };
        let wait = backoff.handle_death(born.elapsed().max(IMPOSSIBLE));
        warn!(name = program.name, end, ?wait, "process ended; starting it again");
        if tokio::time::timeout(wait, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
        seen.restarts.fetch_add(1, Ordering::Relaxed);
        info!(name = program.name, "starting again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str, log: &std::path::Path) -> Program {
        Program {
            name: "test".into(),
            command: ["sh", "-c", script].iter().map(OsString::from).collect(),
            env: vec![("GREETING".into(), "hello".into())],
            folder: None,
            sandbox: Sandbox::default(),
            log: log.into(),
        }
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "waited ten seconds");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn restarts_and_stops() {
        let path = std::env::temp_dir().join(format!("causeway-supervise-{}.log", std::process::id()));
        let policy = Policy { base: Duration::from_millis(1), cap: Duration::from_millis(2), ..DAEMON };
        let supervisor = Supervisor::start(program("echo $GREETING; exit 3", &path), policy);
        until(|| supervisor.restarts() >= 3).await;
        supervisor.stop().await;
        assert!(log::tail(&path, 3).starts_with("hello\n"));

        let supervisor = Supervisor::start(program("exec sleep 60", &path), policy);
        until(|| supervisor.pid().is_some()).await;
        let pid = supervisor.pid().unwrap();
        supervisor.stop().await;
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "stop() waits for the end");
        std::fs::remove_file(&path).unwrap();
    }
}
