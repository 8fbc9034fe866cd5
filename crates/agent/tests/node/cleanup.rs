//! A node that was a node of ours.

use std::process::Command;

use kernel::sandbox;

use crate::machine::{Lan, Machine, files, run_in};

fn clean(node: &Machine) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["cleanup", "n1"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let output = sandbox::spawn(command, &node.place()).unwrap().wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What the kernel and the file system hold of us.
fn left(node: &Machine) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut lines = |line: &str, but: &[&str]| {
        let text = run_in(&node.netns, line);
        found.extend(
            text.lines().filter(|line| !but.iter().any(|but| line.contains(but))).map(str::to_string),
        );
    };
    lines("ip -o link", &[": lo:", ": eth0@"]);
    for family in ["-4", "-6"] {
        for protocol in ["67", "68"] {
            lines(&format!("ip {family} route show table all proto {protocol}"), &[]);
        }
    }
    lines("nft list tables", &[]);
    for folder in ["run", "lib", "wireguard", "bin", "net.d"] {
        found.extend(files(&node.folder.join(folder)).iter().map(|path| path.display().to_string()));
    }
    let holder = crate::container::Holder::start(node);
    found.extend(files(&holder.root().join("sys/fs/bpf")).iter().map(|path| path.display().to_string()));
    // The configuration is the operator's; the other two are in every BPF file system.
    let not_ours = ["/run/agent.yaml", "/bpf/maps.debug", "/bpf/progs.debug"];
    found.retain(|line| !not_ours.iter().any(|end| line.ends_with(end)));
    found
}

pub(crate) fn leaves_nothing() {
    let mut lan = Lan::build("cleanup");
    lan.nodes[0].start();
    lan.pod(1, "p1");
    assert!(left(&lan.nodes[0]).len() > 20, "there is something to clean");
    let (done, said) = clean(&lan.nodes[0]);
    assert!(!done && said.contains("stop it first"), "{said}");
    assert!(lan.nodes[0].status().is_some());

    lan.nodes[0].kill_agent();
    for round in ["once", "again"] {
        let (done, said) = clean(&lan.nodes[0]);
        assert!(done, "{said}");
        assert_eq!(left(&lan.nodes[0]), Vec::<String>::new(), "{round}");
    }
}
