//! The servers: how each is started, and how its endpoints are changed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::zone::{APEX, changed, extra, headless_name, member};

/// Changes of endpoints a second.
pub(crate) const CHANGES: u32 = 50;

/// The processor of servers; questions come from the other one.
const PROCESSOR: &str = "0";

/// A server that runs. It ends with this value.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    child: Child,
    stop: Arc<AtomicBool>,
    churn: Option<JoinHandle<()>>,
}

impl Peer {
    /// This program again, as a server.
    pub(crate) fn ours(folder: &Path) -> Result<Self> {
        let own = std::env::current_exe()?;
        let port = 5391;
        // It changes its own endpoints, in the process that is measured.
        Self::start("causeway", port, &[&own.display().to_string(), "serve", &port.to_string()], folder, None)
    }

    /// knot, with one thread for datagrams; its endpoints change by dynamic update (RFC 2136).
    pub(crate) fn knot(folder: &Path) -> Result<Self> {
        let port = 5392;
        let config = folder.join("knot.conf");
        let dir = folder.display();
        std::fs::write(
            &config,
            format!(
                "server:\n  listen: 127.0.0.1@{port}\n  rundir: {dir}/knot\n  udp-workers: 1\n  tcp-workers: 1\n  \
                 background-workers: 1\ndatabase:\n  storage: {dir}/knot\nacl:\n  - id: here\n    address: 127.0.0.1\n    \
                 action: update\nzone:\n  - domain: {APEX}\n    file: {dir}/zone\n    zonefile-sync: -1\n    acl: here\n    \
                 journal-content: none\n    semantic-checks: off\n"
            ),
        )?;
        std::fs::create_dir_all(folder.join("knot"))?;
        let mut update = Command::new("knsupdate")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting knsupdate: apt-get install knot-dnsutils")?;
        let mut stdin = update.stdin.take().context("its input is a pipe")?;
        writeln!(stdin, "server 127.0.0.1 {port}\nzone {APEX}.")?;
        let churn = Churn::Knot(stdin);
        Self::start("knot 3.2", port, &["knotd", "-c", &config.display().to_string()], folder, Some(churn))
    }

    /// unbound, with one thread; its endpoints change through its control socket.
    pub(crate) fn unbound(folder: &Path) -> Result<Self> {
        let port = 5393;
        let config = folder.join("unbound.conf");
        let dir = folder.display();
        std::fs::write(
            &config,
            format!(
                "server:\n  interface: 127.0.0.1\n  port: {port}\n  num-threads: 1\n  directory: \"{dir}\"\n  chroot: \"\"\n  \
                 username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  module-config: \"iterator\"\n  \
                 local-zone: \"{APEX}.\" static\n  include: \"{dir}/unbound.data\"\nremote-control:\n  \
                 control-enable: yes\n  control-interface: {dir}/unbound.sock\n  control-use-cert: no\n"
            ),
        )?;
        let churn = Churn::Unbound(config.clone());
        Self::start(
            "unbound 1.17",
            port,
            &["unbound", "-d", "-c", &config.display().to_string()],
            folder,
            Some(churn),
        )
    }

    fn start(
        name: &'static str,
        port: u16,
        words: &[&str],
        folder: &Path,
        churn: Option<Churn>,
    ) -> Result<Self> {
        let log = std::fs::File::create(folder.join(format!("{port}.log")))?;
        let child = Command::new("taskset")
            .args(["-c", PROCESSOR])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}: is its Debian package there?"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut peer = Self { name, port, child, stop: Arc::clone(&stop), churn: None };
        peer.wait(folder)?;
        peer.churn = churn.map(|churn| std::thread::spawn(move || churn.run(&stop)));
        Ok(peer)
    }

    /// Until it answers.
    fn wait(&mut self, folder: &Path) -> Result<()> {
        for _ in 0..100 {
            let port = self.port.to_string();
            let name = format!("app1.demo.svc.{APEX}");
            let words = ["@127.0.0.1", "-p", &port, "+short", "+tries=1", "+time=1", &name];
            let said =
                Command::new("dig").args(words).output().context("dig: apt-get install bind9-dnsutils")?;
            if said.stdout == b"10.200.0.1\n" {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(folder.join(format!("{}.log", self.port)))?;
                bail!("{} ended ({status}):\n{log}", self.name);
            }
            #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("{} does not answer", self.name)
    }

    /// Its process: `taskset` becomes it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It is on its way out either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(churn) = self.churn.take() {
            let _ = churn.join();
        }
    }
}

/// Who changes the endpoints of the others' servers.
enum Churn {
    Knot(ChildStdin),
    Unbound(PathBuf),
}

impl Churn {
    fn run(mut self, stop: &AtomicBool) {
        let begun = Instant::now();
        for n in 0u64.. {
            #[expect(clippy::disallowed_methods, reason = "changes come at a rate")]
            std::thread::sleep((Duration::from_secs(n) / CHANGES).saturating_sub(begun.elapsed()));
            if stop.load(Ordering::Relaxed) {
                return;
            }
            // A change that fails is seen in the answers, if it matters; the server may just be ending.
            let _ = self.change(n);
        }
    }

    fn change(&mut self, n: u64) -> Result<()> {
        let service = changed(n);
        let (name, ip) = (headless_name(service), member(service, extra()));
        let host = format!("db-{}.gcp.{name}", extra());
        let srv = format!("SRV 0 100 5432 {host}.");
        let records = [(&name, format!("A {ip}")), (&host, format!("A {ip}")), (&name, srv.clone())];
        let port = (format!("_sql._tcp.{name}"), srv);
        let records = records.iter().map(|(owner, data)| (owner.as_str(), data.as_str()));
        let records: Vec<(&str, &str)> = records.chain([(port.0.as_str(), port.1.as_str())]).collect();
        match self {
            Self::Knot(stdin) => {
                for (owner, data) in records {
                    let verb = if n.is_multiple_of(2) { "add" } else { "del" };
                    let ttl = if n.is_multiple_of(2) { "5 " } else { "" };
                    writeln!(stdin, "{verb} {owner}. {ttl}{data}")?;
                }
                writeln!(stdin, "send")?;
                Ok(stdin.flush()?)
            }
            Self::Unbound(config) => {
                // There is no verb to take one record of a name away: with all of them, and the others back, it takes
                // as many as to add. Adding alone counts for it, then, with one removal of the member's own name.
                let mut control = Command::new("unbound-control")
                    .arg("-c")
                    .arg(config)
                    .arg(if n.is_multiple_of(2) { "local_datas" } else { "local_datas_remove" })
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?;
                let mut stdin = control.stdin.take().context("its input is a pipe")?;
                if n.is_multiple_of(2) {
                    for (owner, data) in records {
                        writeln!(stdin, "{owner}. 5 {data}")?;
                    }
                } else {
                    writeln!(stdin, "{host}.")?;
                }
                drop(stdin);
                control.wait()?;
                Ok(())
            }
        }
    }
}
