//! Namespaces for tests: named after the test, cleared of what a crashed run left, gone at the end.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use causeway_kernel::netns::Netns;

/// A namespace that a test owns.
pub struct TestNetns {
    name: String,
    netns: Netns,
}

impl TestNetns {
    /// A fresh namespace `cwt_NAME`.
    pub fn new(name: &str) -> Self {
        let name = format!("cwt_{name}");
        Netns::delete(&name).unwrap_or_else(|e| panic!("this test needs root: {e}"));
        let netns = Netns::create(&name).unwrap_or_else(|e| panic!("this test needs root: {e}"));
        Self { name, netns }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs a program inside and gives its standard output; panics with everything it said when it fails.
    pub fn run(&self, line: &str) -> String {
        let (ok, text) = self.try_run(line);
        assert!(ok, "`{line}` failed in {}: {text}", self.name);
        text
    }

    /// Runs a program inside: whether it succeeded, and what it said.
    pub fn try_run(&self, line: &str) -> (bool, String) {
        let mut words = line.split_whitespace();
        let mut command = std::process::Command::new(words.next().expect("a program"));
        command.args(words);
        let output = self
            .netns
            .run(|| command.output())
            .expect("enter the namespace")
            .unwrap_or_else(|e| panic!("`{line}`: {e}; is the program installed?"));
        let text =
            if output.status.success() { output.stdout } else { [output.stdout, output.stderr].concat() };
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        if let Err(e) = Netns::delete(&self.name) {
            eprintln!("{e}");
        }
    }
}
