//! An agent in a container on its machine: what it makes is the machine's, and outlives the container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use kernel::cgroup::Cgroup;
use kernel::mount::{self, Mount};
use kernel::sandbox::{self, Sandbox};
use serde_json::{Value, json};

use crate::machine::{Lan, Machine, files, run_in, serve, talk, try_in, until};

/// A process of the machine, through which a container sees the machine's files.
pub(crate) struct Holder(Child);

impl Holder {
    pub(crate) fn start(machine: &Machine) -> Self {
        let mut command = Command::new("sleep");
        command.arg("600");
        Self(sandbox::spawn(command, &machine.place()).unwrap())
    }

    pub(crate) fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.0.id()).into()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// What the container of a DaemonSet's pod sees: of the machine's folders only those that are volumes.
fn container(machine: &Machine, group: &Cgroup) -> Sandbox {
    let folder = |name: &str, target: &str| Mount::bind(machine.folder.join(name), target);
    let mounts = [
        Mount::Tmpfs("/run".into()),
        Mount::Tmpfs("/opt".into()),
        Mount::Tmpfs("/etc/cni".into()),
        Mount::Tmpfs("/sys/fs/bpf".into()),
        folder("run", "/run/causeway"),
        folder("lib", "/var/lib/causeway"),
        Mount::bind("/proc/sys", "/proc/sys"),
    ];
    let view = Arc::new(mount::namespace(&mounts).unwrap());
    let place = Sandbox { mount: Some(view), cgroup: Some(group.path().into()), ..machine.place() };
    // As container runtimes show it.
    let mut command = Command::new("mount");
    command.args(["-o", "remount,bind,ro", "/proc/sys"]);
    assert!(sandbox::spawn(command, &place).unwrap().wait().unwrap().success());
    place
}

fn config(machine: &Machine, root: &Path) -> Value {
    let mut config = machine.config();
    config["hostRoot"] = json!(root);
    config["cni"] = json!({ "binDirs": ["/not/there", "/opt/cni/bin"], "confDir": "/etc/cni/net.d" });
    config
}

/// The tunnel's process.
fn tunnel(machine: &Machine) -> Option<i32> {
    let options = kernel::wireguard::Options {
        uapi_dir: machine.folder.join("wireguard"),
        ..kernel::wireguard::Options::new("cw0")
    };
    kernel::wireguard::process_of(&options).unwrap().map(|process| process.pid())
}

pub(crate) fn tunnel_outlives_it() {
    let mut lan = Lan::build("host");
    run_in(&lan.nodes[0].netns, "sysctl -q -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    let holder = Holder::start(&lan.nodes[0]);
    let group = Cgroup::create("cwt-host/n1/container").unwrap();
    let machine = &mut lan.nodes[0];
    let config = config(machine, &holder.root());
    let place = container(machine, &group);
    machine.start_with(&config, &place);
    lan.nodes[1].start();
    let (pod, ips) = lan.pod(1, "p1");
    let _server = serve(&pod);
    let talkers = talk(&lan.nodes[1].place(), &format!("{}:8080", ips[0]), 4);

    let machine = &lan.nodes[0];
    assert_eq!(
        machine.status().unwrap().wireguard,
        "userspace",
        "this test is about kernels without WireGuard"
    );
    let pid = tunnel(machine).expect("it runs on the machine");
    for (link, expected) in [("exe", "/opt/cni/bin/causeway"), ("cwd", "/")] {
        assert_eq!(fs::read_link(format!("/proc/{pid}/{link}")).unwrap(), Path::new(expected), "{link}");
    }
    let installed = |machine: &Machine| files(&machine.folder.join("net.d"));
    assert!(!installed(machine).is_empty(), "the container runtime finds us");
    let pins = holder.root().join("sys/fs/bpf/causeway/v1");
    assert!(pins.exists(), "what the kernel keeps for us is the machine's");

    group.kill().unwrap();
    let machine = &mut lan.nodes[0];
    machine.bury_agent();
    assert_eq!(tunnel(machine), Some(pid), "the container is gone");
    // The next container of the same pod.
    let place = container(machine, &group);
    machine.start_with(&config, &place);
    assert_eq!(tunnel(machine), Some(pid), "it was taken over");
    let result = talkers.finish();
    assert!(result.starts_with("lost 0 of 4"), "{result}");

    machine.kill_agent();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["cleanup", "n1"]);
    let mut cleaning = sandbox::spawn(command, &place).unwrap();
    until("the machine is clean", || {
        tunnel(machine).is_none() && installed(machine).is_empty() && !pins.exists()
    });
    until("it says so", || {
        // It begins to listen once it is done: until then nobody is there.
        let asked = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:9641/readyz";
        try_in(&machine.netns, asked).stdout == b"200"
    });
    assert!(cleaning.try_wait().unwrap().is_none(), "it stays, so that nobody starts it again");
    cleaning.kill().unwrap();
    cleaning.wait().unwrap();
    let mut left: Vec<PathBuf> =
        ["run", "lib", "bin"].iter().flat_map(|name| files(&machine.folder.join(name))).collect();
    left.retain(|path| !path.ends_with("run/agent.yaml"));
    assert_eq!(left, Vec::<PathBuf>::new());
}
