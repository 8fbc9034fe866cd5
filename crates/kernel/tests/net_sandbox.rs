//! Namespaces, control groups and programs in them, on the real kernel. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use causeway_kernel::cgroup::Cgroup;
use causeway_kernel::mount::{self, Mount};
use causeway_kernel::netns::{Netns, NetnsError};
use causeway_kernel::process::Process;
use causeway_kernel::sandbox::{Sandbox, exec, spawn};

mod net_common;
use net_common::{TestNetns, answers};

#[tokio::test]
async fn a_named_namespace_is_iproute2s() {
    let test = TestNetns::new("named");
    assert!(Netns::list().unwrap().contains(&test.name().to_string()));
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains(test.name()));
    assert!(matches!(Netns::create(test.name()), Err(NetnsError::Exists(_))));

    let opened = Netns::open(test.name()).unwrap();
    assert_eq!(opened.inode().unwrap(), test.netns().inode().unwrap());
    let outside = Netns::current().unwrap().inode().unwrap();
    assert_ne!(opened.inode().unwrap(), outside);
    assert_eq!(
        test.netns().run(|| Netns::current().unwrap().inode().unwrap()).unwrap(),
        opened.inode().unwrap()
    );
    assert_eq!(Netns::current().unwrap().inode().unwrap(), outside, "the caller stays where it was");
    assert!(answers(test.netns(), [127, 0, 0, 1].into()).await, "its loopback is up");

    Netns::delete(test.name()).unwrap();
    Netns::delete(test.name()).unwrap();
    assert!(matches!(Netns::open(test.name()), Err(NetnsError::Missing(_))));
}

#[test]
fn ip_netns_add_is_ours_too() {
    let name = "cwt_theirs";
    Netns::delete(name).unwrap();
    assert!(Command::new("ip").args(["netns", "add", name]).status().unwrap().success());
    Netns::open(name).unwrap();
    Netns::delete(name).unwrap();
    assert!(!Path::new("/run/netns").join(name).exists());
}

#[test]
fn a_name_without_a_namespace_is_told_and_deleted() {
    let name = "cwt_interrupted";
    // Makes the directory, too.
    drop(TestNetns::new("interrupted_first"));
    fs::write(Path::new("/run/netns").join(name), "").unwrap();
    assert!(matches!(Netns::open(name), Err(NetnsError::NotANamespace(_))));
    Netns::delete(name).unwrap();
    assert!(matches!(Netns::open(name), Err(NetnsError::Missing(_))));
}

#[test]
fn a_private_view_sees_new_names_and_keeps_its_own_files() {
    let directory = std::env::temp_dir().join("cwt_mount");
    let _ = fs::remove_dir_all(&directory);
    let (source, target) = (directory.join("source"), directory.join("target"));
    let (ram, bpf) = (directory.join("ram"), directory.join("bpf"));
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "inside").unwrap();
    let mounts = [
        Mount::bind(&source, &target),
        Mount::Tmpfs(ram.clone()),
        Mount::Bpffs(bpf.clone()),
        // The source of a later bind is the machine's, whatever was mounted before.
        Mount::bind(&source, &source),
    ];
    let first = TestNetns::new("before_view");
    let view = Arc::new(mount::namespace(&mounts).unwrap());
    let second = TestNetns::new("after_view");

    let inside = Sandbox { mount: Some(view), ..Sandbox::default() };
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).stdout(Stdio::piped());
        let output = spawn(command, &inside).unwrap().wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(shell(&format!("cat {}/file", target.display())), (true, "inside".into()));
    assert!(
        shell(&format!("echo x > {}/y && grep -q '{} bpf' /proc/mounts", ram.display(), bpf.display())).0
    );
    assert!(!target.join("file").exists() && !ram.join("y").exists(), "nothing shows outside");
    for netns in [&first, &second] {
        let (ok, _) = shell(&format!("nsenter --net=/run/netns/{} true", netns.name()));
        assert!(ok, "{} is seen inside", netns.name());
    }
    let here = std::env::current_dir().unwrap();
    assert_eq!(shell("pwd").1.trim(), here.display().to_string(), "the working directory stays");
    drop(inside);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_program_in_a_sandbox_is_where_it_should_be() {
    let test = TestNetns::new("sandbox");
    let group = Cgroup::create("cwt-sandbox/inner").unwrap();
    let whole = Cgroup::at("cwt-sandbox").unwrap();
    assert_ne!(group.id().unwrap(), whole.id().unwrap());
    let sandbox = Sandbox {
        netns: Some(Arc::new(test.netns().try_clone().unwrap())),
        cgroup: Some(group.path().into()),
        new_session: true,
        die_with_parent: true,
        ..Sandbox::default()
    };
    // A descriptor that programs inherit, as a shell's lock is one.
    let inherited = fs::File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&inherited, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut command = Command::new("sleep");
    command.arg("60");
    let mut child = spawn(command, &sandbox).unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: BTreeSet<String> =
        open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(open, ["0", "1", "2"].map(String::from).into());
    assert_eq!(group.pids().unwrap(), [pid]);
    assert_eq!(whole.pids().unwrap(), [pid]);
    let its = Netns::open_path(Path::new(&format!("/proc/{pid}/ns/net"))).unwrap();
    assert_eq!(its.inode().unwrap(), test.netns().inode().unwrap());
    // proc(5): the sixth field of stat is the session.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(stat.split(' ').nth(5), Some(pid.to_string().as_str()));

    let process = Process::open(pid, None).unwrap().unwrap();
    whole.kill().unwrap();
    assert!(process.wait(Duration::from_secs(5)).unwrap());
    child.wait().unwrap();
    whole.remove_tree().unwrap();
    assert!(!whole.exists());
    whole.remove_tree().unwrap();
    whole.kill().unwrap();
}

/// Set in the process that [`exec_becomes_the_program`] starts; names its namespace.
const EXEC_INTO: &str = "CWT_EXEC_INTO";

#[test]
fn exec_becomes_the_program() {
    if let Ok(name) = std::env::var(EXEC_INTO) {
        // On a thread that is not the first, of a process with several.
        let sandbox = Sandbox {
            netns: Some(Arc::new(Netns::open(&name).unwrap())),
            mount: Some(Arc::new(mount::namespace(&[Mount::Tmpfs("/mnt".into())]).unwrap())),
            ..Sandbox::default()
        };
        let mut command = Command::new("sh");
        command.args(["-c", "readlink /proc/self/ns/net >&2; grep -q '/mnt tmpfs' /proc/mounts && exit 7"]);
        panic!("{}", exec(command, &sandbox));
    }
    let test = TestNetns::new("exec");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exec_becomes_the_program"])
        .env(EXEC_INTO, test.name())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(said.trim(), format!("net:[{}]", test.netns().inode().unwrap()));
}

#[test]
fn a_sandbox_that_is_gone_fails_the_spawn() {
    let sandbox = Sandbox { cgroup: Some("/nowhere".into()), ..Sandbox::default() };
    let error = spawn(Command::new("true"), &sandbox).unwrap_err();
    assert!(error.to_string().contains("/nowhere/cgroup.procs"), "{error}");
}

#[test]
fn a_program_dies_with_its_parent() {
    let sandbox = Sandbox { die_with_parent: true, ..Sandbox::default() };
    let mut child = std::thread::spawn(move || {
        let mut command = Command::new("sleep");
        command.arg("60");
        spawn(command, &sandbox).unwrap()
    })
    .join()
    .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let process = Process::open(pid, None).unwrap().unwrap();
    assert!(process.wait(Duration::from_secs(5)).unwrap(), "the spawning thread ended");
    child.wait().unwrap();
}
