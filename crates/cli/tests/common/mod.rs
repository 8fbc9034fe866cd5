//! What tests of a lab have in common: its verbs as an operator types them, and its status.
#![allow(dead_code, reason = "each test uses its own part")]

pub(crate) mod flows;
pub(crate) mod nodes;
pub(crate) mod traffic;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// A lab of two clusters, `left` and `right`, of a node each, with the objects of `left.yaml` and `right.yaml`; `link` is what
/// is between them, as `rtt: 5ms`.
pub(crate) fn left_and_right(link: &str) -> String {
    r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: left
  id: 1
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes: [{name: left-1, region: l, zone: l-a}]
  manifests: [left.yaml]
- name: right
  id: 2
  podCIDRs: ["10.2.0.0/16", "fd00:2::/48"]
  serviceCIDRs: ["10.102.0.0/16", "fd00:102::/112"]
  nodes: [{name: right-1, region: r, zone: r-a}]
  manifests: [right.yaml]
links:
- {between: [left, right], LINK}
"#
    .replace("LINK", link)
}

/// `causeway lab ARGS`.
pub(crate) fn lab(args: &[&str]) -> Output {
    Command::new(CAUSEWAY).arg("lab").args(args).output().expect("run causeway")
}

/// Runs a verb that has to succeed; gives its standard output.
pub(crate) fn good(args: &[&str]) -> String {
    let output = lab(args);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

pub(crate) fn status() -> Value {
    serde_json::from_str(&good(&["status", "-o", "json"])).expect("the status is JSON")
}

/// Waits until the status is so. Long, for a busy machine: nothing waits for it to pass.
pub(crate) fn until(what: &str, condition: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = status();
        if condition(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not within 30 s\n{status:#}");
        #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn items<'a>(status: &'a Value, what: &str) -> &'a [Value] {
    status[what].as_array().unwrap_or_else(|| panic!("{what} is a list"))
}

/// A folder for a lab's files. Dropping it takes the lab down, however the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Before a lab of this test's: nobody may be working in one. What a crash has left is nobody's.
    pub(crate) fn new(test: &str) -> Self {
        assert!(
            !lab(&["status"]).status.success(),
            "a lab is up: `causeway lab down` first, then this test again"
        );
        good(&["down"]);
        let path = std::env::temp_dir().join(format!("causeway-{test}-test-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("make a folder");
        Self(path)
    }

    /// Writes a file; gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("write a file");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        lab(&["down"]);
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {e}", self.0.display());
        }
    }
}
