//! Whom this machine asks for names while it is connected.
//!
//! systemd-resolved is told of the device's own servers and domains, and forgets them with the device. Where it does not run,
//! the servers are put before the others in `/etc/resolv.conf`, which is put back afterwards.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What resolvers read.
const FILE: &str = "/etc/resolv.conf";
/// What is read of it is kept here, should this process not live to put it back.
const KEPT: &str = "/etc/resolv.conf.before-causeway";
/// Where systemd-resolved is.
const RESOLVED: &str = "/run/systemd/resolve/stub-resolv.conf";

/// What was changed.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Whether anybody was told.
    told: bool,
    /// The file, what was in it, and what is in it now.
    file: Option<(PathBuf, String, String)>,
}

impl Names {
    /// Has these servers asked for names of these domains.
    pub(super) fn begin(&mut self, device: &str, servers: &[IpAddr], domains: &[String]) -> Result<()> {
        self.told = true;
        if Path::new(RESOLVED).exists() {
            return tell_resolved(device, servers, domains);
        }
        let kept = Path::new(KEPT);
        if kept.exists() {
            // An earlier connection did not live to do this.
            std::fs::rename(kept, FILE).with_context(|| format!("putting {FILE} back from {KEPT}"))?;
        }
        let before = std::fs::read_to_string(FILE).unwrap_or_default();
        std::fs::write(kept, &before).with_context(|| format!("keeping {FILE} as {KEPT}"))?;
        let after = content(&before, servers, domains);
        self.file = Some((FILE.into(), before, after.clone()));
        std::fs::write(FILE, after).with_context(|| format!("writing {FILE}"))
    }

    /// Whether somebody asks these servers.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// Puts back what was there before, unless somebody else has written since.
    pub(super) fn end(self) -> Result<()> {
        let Some((file, before, after)) = self.file else { return Ok(()) };
        let now = std::fs::read_to_string(&file).unwrap_or_default();
        if now == after {
            std::fs::write(&file, before).with_context(|| format!("putting {} back", file.display()))?;
        }
        match std::fs::remove_file(KEPT) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context(format!("removing {KEPT}")),
            _ => Ok(()),
        }
    }
}

/// The file with servers before those that it has, and domains before its own.
fn content(before: &str, servers: &[IpAddr], domains: &[String]) -> String {
    let mut text = String::from("# causeway connect: put back when it ends\n");
    for server in servers {
        _ = writeln!(text, "nameserver {server}");
    }
    let words = |line: &str| -> Option<Vec<String>> {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("search" | "domain")).then(|| words.map(String::from).collect())
    };
    let known: Vec<String> = before.lines().filter_map(words).flatten().collect();
    let search: Vec<&String> = known.iter().chain(domains).collect();
    if !search.is_empty() {
        let search: Vec<&str> = search.into_iter().map(String::as_str).collect();
        _ = writeln!(text, "search {}", search.join(" "));
    }
    for line in before.lines().filter(|line| words(line).is_none()) {
        _ = writeln!(text, "{line}");
    }
    text
}

fn tell_resolved(device: &str, servers: &[IpAddr], domains: &[String]) -> Result<()> {
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    // A tilde: only these domains are asked for there.
    let domains: Vec<String> = domains.iter().map(|domain| format!("~{domain}")).collect();
    for (verb, words) in [("dns", servers), ("domain", domains)] {
        let mut command = Command::new("resolvectl");
        let ended = command.arg(verb).arg(device).args(&words).stdin(Stdio::null()).status();
        let ended = ended.context("running resolvectl")?;
        if !ended.success() {
            bail!("resolvectl {verb} {device} ended with {ended}; --no-dns leaves names alone");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_behind() {
        let before = "# mine\nsearch home\nnameserver 192.0.2.53\noptions edns0\n";
        let servers = ["10.1.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()];
        assert_eq!(
            content(before, &servers, &["clusterset.local".into()]),
            "# causeway connect: put back when it ends\nnameserver 10.1.0.1\nnameserver fd00:1::1\n\
             search home clusterset.local\n# mine\nnameserver 192.0.2.53\noptions edns0\n"
        );
    }
}
