//! Namespaces for tests: named after the test, cleared of what a crashed run left, gone at the end.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::net::IpAddr;
use std::time::Duration;

use causeway_kernel::icmp::{Echo, Kind};
use causeway_kernel::netns::Netns;

/// A namespace that a test owns.
pub(crate) struct TestNetns {
    name: String,
    netns: Netns,
}

impl TestNetns {
    /// A fresh namespace `cwt_NAME`.
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("cwt_{name}");
        Netns::delete(&name).unwrap_or_else(|e| panic!("this test needs root: {e}"));
        let netns = Netns::create(&name).unwrap_or_else(|e| panic!("this test needs root: {e}"));
        Self { name, netns }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs a program inside: see [`run_in`].
    pub(crate) fn run(&self, line: &str) -> String {
        run_in(&self.netns, line)
    }
}

/// Runs a program in a namespace and gives its standard output; panics with everything it said when it fails.
pub(crate) fn run_in(netns: &Netns, line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut command = std::process::Command::new(words.next().expect("a program"));
    command.args(words);
    let output = netns
        .run(|| command.output())
        .expect("enter the namespace")
        .unwrap_or_else(|e| panic!("`{line}`: {e}; is the program installed?"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{line}` failed: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether an address answers echo requests within three seconds.
pub(crate) async fn answers(from: &Netns, to: IpAddr) -> bool {
    let echo = Echo::open_in(from, None).unwrap();
    let (id, payload) = (0xca5e, b"are you there?");
    let answer = async {
        while {
            let heard = echo.recv().await.unwrap();
            (heard.from, heard.kind, heard.id) != (to, Kind::Reply, id) || heard.payload != payload
        } {}
    };
    tokio::pin!(answer);
    // A device that has just come up may swallow a packet while the kernel's link watch catches up.
    for seq in 0..10 {
        if echo.send(to, id, seq, payload).await.is_err() {
            return false;
        }
        if tokio::time::timeout(Duration::from_millis(300), &mut answer).await.is_ok() {
            return true;
        }
    }
    false
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        if let Err(e) = Netns::delete(&self.name) {
            eprintln!("{e}");
        }
    }
}
