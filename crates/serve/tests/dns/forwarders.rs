//! Servers that others wrote, in front: what they pass on from the clusterset's zone arrives as it is.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use causeway_serve::dns::Upstreams;

use crate::sockets::{dig, server};

/// A server in front of ours; it ends with this value.
struct Front(Child);

impl Front {
    fn start(name: &str, words: &[&str]) -> Self {
        let mut command = Command::new(name);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|e| panic!("{name} is not there ({e}): ./x test installs it")))
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It may have ended by itself; then the test has failed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks through the one in front until it is there, then everything of the schema.
fn check(front: SocketAddr) {
    let name = |prefix: &str| format!("{prefix}clusterset.local");
    let mut tries = 0;
    while dig(front, &["+short", &name("dns-version."), "TXT"]) != "\"1.0.0\"\n" {
        tries += 1;
        assert!(tries < 50, "{front} does not answer");
        #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for (prefix, kind, status, answers) in [
        ("echo.demo.svc.", "A", "NOERROR", 1),
        ("echo.demo.svc.", "AAAA", "NOERROR", 1),
        ("eChO.demo.svc.", "A", "NOERROR", 1),
        ("_http._tcp.echo.demo.svc.", "SRV", "NOERROR", 1),
        ("db.demo.svc.", "A", "NOERROR", 2),
        ("db.demo.svc.", "SRV", "NOERROR", 2),
        // Before the names below it, which exist although it does not.
        ("gcp.db.demo.svc.", "A", "NXDOMAIN", 0),
        ("db-0.gcp.db.demo.svc.", "A", "NOERROR", 1),
        ("db-1.gcp.db.demo.svc.", "AAAA", "NOERROR", 1),
        ("many.demo.svc.", "A", "NOERROR", 60),
        ("echo.demo.svc.", "TXT", "NOERROR", 0),
        ("demo.svc.", "A", "NOERROR", 0),
        ("none.demo.svc.", "A", "NXDOMAIN", 0),
    ] {
        for protocol in ["+notcp", "+tcp"] {
            let told = dig(front, &[&name(prefix), kind, protocol]);
            let right =
                told.contains(&format!("status: {status}")) && told.contains(&format!("ANSWER: {answers},"));
            assert!(right, "{prefix} {kind} {protocol}: {told}");
        }
    }
}

#[test]
fn dnsmasq() {
    let (_server, _, ours) = server(Upstreams::None, &["127.0.0.1:0"]);
    let front = ports::free();
    let port = front.port().to_string();
    let forward = format!("--server=/clusterset.local/127.0.0.1#{}", ours[0].port());
    let fixed =
        ["-k", "-p", &port, "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts"];
    let _front = Front::start("dnsmasq", &[&fixed[..], &["--conf-file=/dev/null", &forward]].concat());
    check(front);
}

#[test]
fn unbound() {
    let (_server, _, ours) = server(Upstreams::None, &["127.0.0.1:0"]);
    let (front, folder) = (ports::free(), tempfile::tempdir().unwrap());
    let file = write(
        folder.path(),
        &format!(
            "server:\n  interface: 127.0.0.1\n  port: {}\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  \
             cache-max-ttl: 5\nforward-zone:\n  name: \"clusterset.local.\"\n  forward-addr: 127.0.0.1@{}\n",
            front.port(),
            ours[0].port()
        ),
    );
    let _front = Front::start("unbound", &["-d", "-c", &file]);
    check(front);
}

/// The server block of the book, with other ports.
#[test]
#[ignore = "no registry packages CoreDNS: run it with COREDNS=/path/to/coredns and --ignored"]
fn coredns() {
    let program = std::env::var("COREDNS").expect("COREDNS names the program");
    let (_server, _, ours) = server(Upstreams::None, &["127.0.0.1:0"]);
    let (front, folder) = (ports::free(), tempfile::tempdir().unwrap());
    let book = include_str!("../../../../docs/dns.md");
    let (_, chapter) = book.split_once("## CoreDNS").unwrap();
    let block = chapter.split("```").nth(1).and_then(|block| block.strip_prefix("text\n")).unwrap();
    let text = block
        .replace("clusterset.local:53", &format!("clusterset.local:{}", front.port()))
        .replace("169.254.20.53", &format!("127.0.0.1:{}", ours[0].port()));
    // It keeps every word but the ports.
    assert_ne!(text.matches("127.0.0.1").count(), 0, "{text}");
    let _front = Front::start(&program, &["-conf", &write(folder.path(), &text)]);
    check(front);
}

fn write(folder: &Path, text: &str) -> String {
    let file = folder.join("config");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}
