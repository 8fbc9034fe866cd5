//! A device that outlives the container of the agent that started it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use causeway_kernel::cgroup::Cgroup;
use causeway_kernel::host::Host;
use causeway_kernel::mount::{self, Mount};
use causeway_kernel::process::Process;
use causeway_kernel::sandbox::{self, Sandbox};
use causeway_kernel::wireguard::{Device, Launch, Options};

use crate::life::listener;
use crate::net_common::TestNetns;
use crate::pair::until;

const VERB: &str = "start-on-the-machine";
const INTERFACE: &str = "wgh1";
const CONTAINER: &str = "cwt-container";

/// What the agent does in its container: `start-on-the-machine ROOT BINARY FOLDER`.
pub(crate) fn starter(args: &[String]) -> Option<ExitCode> {
    let [verb, root, binary, folder] = args else { return None };
    if verb != VERB {
        return None;
    }
    // Container runtimes give each container a view of its own groups.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).expect("a cgroup namespace");
    assert!(!Path::new(folder).exists(), "the container does not see the machine's folder");
    let host = Host::new(Path::new(root)).expect("a root");
    let seen = host.path(Path::new(folder));
    let options = Options { uapi_dir: seen.clone(), ..Options::new(INTERFACE) };
    let launch = Launch::on(host, binary.into(), folder.into(), seen.join("log"));
    Device::ensure(&options, &launch).unwrap_or_else(|error| panic!("{error}"));
    println!("ready");
    #[expect(clippy::disallowed_methods, reason = "it is there to be killed")]
    std::thread::sleep(Duration::from_secs(60));
    Some(ExitCode::FAILURE)
}

pub(crate) fn outlives_its_container() {
    let netns = TestNetns::new("wgh");
    // The machine is where this program is.
    let root = format!("/proc/{}/root", std::process::id());
    // Not below /tmp, which the container has one of its own of.
    let folder = PathBuf::from(format!("/run/cwt-wgh-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder");
    let binary = folder.join("causeway");
    let own = std::env::current_exe().expect("this program");
    fs::copy(&own, &binary).expect("a copy on the machine");
    let seen = PathBuf::from("/tmp/starter");
    let namespace = mount::namespace(&[
        Mount::Tmpfs("/tmp".into()),
        Mount::bind(own.parent().expect("a folder"), &seen),
        Mount::Tmpfs("/run".into()),
    ]);
    let container = Cgroup::create(CONTAINER).unwrap_or_else(|e| panic!("this test needs root: {e}"));
    let place = Sandbox {
        netns: Some(Arc::new(netns.netns().try_clone().expect("a descriptor"))),
        mount: Some(Arc::new(namespace.expect("a mount namespace"))),
        cgroup: Some(container.path().into()),
        ..Sandbox::default()
    };
    let mut command = Command::new(seen.join(own.file_name().expect("a name")));
    command.args([VERB, &root]).args([&binary, &folder]).stdout(Stdio::piped());
    let mut starter = sandbox::spawn(command, &place).expect("a program in the container");
    let mut said = String::new();
    let stdout = starter.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut said).expect("what it says");
    assert_eq!(said, "ready\n");

    let options = Options { uapi_dir: folder.clone(), ..Options::new(INTERFACE) };
    let pid = listener(&options);
    let of = |pid: i32, what: &str| fs::read_link(format!("/proc/{pid}/{what}")).expect(what);
    for namespace in ["ns/mnt", "ns/cgroup"] {
        assert_eq!(of(pid, namespace), of(std::process::id() as i32, namespace), "{namespace}");
    }
    assert_eq!((of(pid, "cwd"), of(pid, "exe")), ("/".into(), binary.clone()));
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
    let outside = |line: &str| line.ends_with(if line.starts_with("0::") { ":/causeway" } else { ":/" });
    assert!(groups.lines().all(outside), "{groups}");
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    let pipes = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let pipes: Vec<_> = pipes.filter(|to| to.to_string_lossy().starts_with("pipe:")).collect();
    assert!(pipes.is_empty(), "a pipe of the container's: {pipes:?}");

    container.kill().expect("the container's end");
    starter.wait().expect("the starter's end");
    container.remove_tree().expect("nobody is in it");
    let device = netns.netns().run(|| Device::open_at(&options)).expect("netns");
    device.unwrap_or_else(|error| panic!("it ended with the container: {error}"));
    assert_eq!(listener(&options), pid);

    let process = Process::open(pid, None).expect("pidfd").expect("running");
    netns.run(&format!("ip link del {INTERFACE}"));
    until("its end with its device", || process.ended().expect("poll"));
    Host::new(Path::new(&root)).expect("a root").remove_group().expect("nobody is in it");
    fs::remove_dir_all(&folder).expect("the folder");
}
