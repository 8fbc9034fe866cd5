//! How a device begins, moves and ends.

use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Instant;

use causeway_kernel::process::Process;
use causeway_kernel::wireguard::{Device, Launch, Options};
use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::net_common::TestNetns;
use crate::pair::{self, Kind, Setup, pair, until};
use crate::traffic::{echo, everything};

const OURS: [Kind; 2] = [Kind::Ours, Kind::Ours];

/// One end changes its underlay address; the other learns it from the next packet, and answers from where it was asked.
pub(crate) fn a_peer_that_moves() {
    let ends = pair(Setup { name: "wgm", kinds: OURS, mtu: 1500 });
    let [a, b] = &ends;
    assert!(echo(a, b.inside[0]));
    let before = a.stats(b).last_handshake;
    b.netns.run("ip addr del 192.0.2.2/24 dev eth0");
    b.netns.run("ip addr add 192.0.2.22/24 dev eth0");
    assert!(echo(b, a.inside[0]), "the old address of its own must not be held on to");
    let moved = "192.0.2.22:51820".parse().ok();
    assert_eq!(a.stats(b).endpoint, moved);
    assert!(echo(a, b.inside[1]));
    // The plan still says the old place. That is no difference, and saying it again moves nobody.
    assert_eq!(
        a.device.observe().expect("observe").tunnel.peers[&b.key.public()].endpoint,
        Some((b.underlay[0], crate::pair::PORT).into())
    );
    a.know(b, b.underlay[0]);
    assert_eq!(a.stats(b).endpoint, moved);
    // Nor does another life of the agent, which knows only the plan.
    let again = a.netns.netns().run(|| Device::open(a.device.interface())).expect("netns").expect("device");
    let peer = a.device.observe().expect("observe").tunnel.peers[&b.key.public()].clone();
    again.apply(&engine::plan::Op::SetPeer(b.key.public(), peer)).expect("peer");
    assert_eq!(a.stats(b).endpoint, moved);
    // A new place in the plan does.
    a.know(b, b.underlay[1]);
    assert_eq!(a.stats(b).endpoint, Some((b.underlay[1], crate::pair::PORT).into()));
    assert!(echo(a, b.inside[0]), "over IPv6");
    // An end with several addresses answers from the one it was asked at, or the asker would think that it moved.
    for (address, len) in [("192.0.2.33", 24), ("2001:db8::33", 64)] {
        let nodad = if len == 64 { " nodad" } else { "" };
        b.netns.run(&format!("ip addr add {address}/{len} dev eth0{nodad}"));
        let address = address.parse().expect("an address");
        a.know(b, address);
        assert!(echo(a, b.inside[0]));
        assert_eq!(a.stats(b).endpoint, Some((address, crate::pair::PORT).into()));
    }
    assert_eq!(a.stats(b).last_handshake, before, "one session all the while");
}

/// Two ends that do not reach each other do over a third, as they are: each session is between the two.
pub(crate) fn over_a_relay() {
    for kinds in [OURS, [Kind::Go, Kind::Ours]] {
        let (ends, relay) = pair::over_a_relay("wgr", kinds);
        let [a, b] = &ends;
        assert!(echo(a, relay.inside[0]) && echo(b, relay.inside[0]));
        let begun = Instant::now();
        assert!(echo(a, b.inside[0]));
        println!("  {kinds:?}: an answer over the relay after {:?}", begun.elapsed());
        assert_eq!(b.stats(a).endpoint, Some((relay.underlay[0], pair::PORT).into()), "where it was heard");
        everything(&ends);
        let drops = relay.device.drops().expect("counters");
        for reason in ["bad_mac", "forged", "relay_limited", "relay_nowhere"] {
            assert_eq!(drops[reason], 0, "{reason}");
        }
        // Another relay does not know the session; new keys make it known.
        relay.device.pass_on(&[a.key.public()].into()).expect("passing on");
        assert!(!echo(a, b.inside[0]), "the other may not be sent to");
        relay.device.pass_on(&[a.key.public(), b.key.public()].into()).expect("passing on");
        if kinds == OURS {
            let before = a.stats(b).last_handshake;
            a.device.point(b.key.public(), (relay.underlay[0], pair::PORT).into()).expect("new keys");
            until("new keys", || a.stats(b).last_handshake != before);
        }
        assert!(echo(a, b.inside[0]));
    }
}

pub(crate) fn killed_and_started_again() {
    let mut ends = pair(Setup { name: "wgk", kinds: OURS, mtu: 1500 });
    assert!(echo(&ends[0], ends[1].inside[0]));
    let status = ends[1].kill(Signal::SIGKILL);
    assert_eq!(status.signal(), Some(9));
    let [a, b] = &mut ends;
    b.restart();
    let begun = Instant::now();
    b.know(a, a.underlay[0]);
    // It has no session any more, so it makes one, and the other end takes that.
    assert!(echo(b, a.inside[0]) && echo(a, b.inside[1]));
    println!("  traffic again {:?} after the restart", begun.elapsed());
}

pub(crate) fn ends_when_asked() {
    let mut ends = pair(Setup { name: "wge", kinds: OURS, mtu: 1500 });
    let interface = ends[0].device.interface().to_owned();
    let socket = Options::new(&interface).socket();
    assert!(socket.exists());
    let begun = Instant::now();
    let status = ends[0].kill(Signal::SIGTERM);
    println!("  ended {:?} after the signal", begun.elapsed());
    assert!(status.success(), "{status}");
    assert!(!socket.exists());
    assert!(!ends[0].netns.run("ip -o link").contains(&format!(" {interface}:")));

    // Deleting the device ends the process too, but that is not as it should be.
    let interface = ends[1].device.interface().to_owned();
    ends[1].netns.run(&format!("ip link del {interface}"));
    let pid = ends[1].pid() as i32;
    until("the end of a process without a device", || {
        Process::open(pid, None).expect("pidfd").is_none_or(|process| process.ended().expect("poll"))
    });
    assert!(!Options::new(&interface).socket().exists());
}

/// The process is started once, belongs to nobody's session, and is found again.
pub(crate) fn ensured_once() {
    let netns = TestNetns::new("wgs");
    let dir = tempfile::tempdir().expect("tempdir");
    let options = Options { uapi_dir: dir.path().into(), ..Options::new("wgs1") };
    let binary = std::env::current_exe().expect("this program");
    let ensure =
        |binary: &Path| netns.netns().run(|| Device::ensure(&options, &Launch::here(binary))).expect("netns");
    let device = ensure(&binary).unwrap_or_else(|error| panic!("{error}"));
    device.set_private_key(&[7; 32]).expect("key");
    assert!(netns.run("ip -o link show wgs1").contains("UP"));
    let pid = listener(&options);
    let own_session = nix::unistd::getsid(None).expect("session");
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))).expect("session");
    assert_ne!(session, own_session);

    // It runs, so what would start another is not needed.
    let again = ensure(Path::new("/nonexistent")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(listener(&options), pid);
    assert!(again.observe().expect("observe").public_key.is_some());

    let process = Process::open(pid, None).expect("pidfd").expect("running");
    process.signal(Signal::SIGKILL).expect("signal");
    until("its end", || process.ended().expect("poll"));
    let error = ensure(Path::new("/nonexistent")).expect_err("nothing to start").to_string();
    assert!(error.contains("/nonexistent wireguard wgs1"), "{error}");
    assert!(options.socket().exists(), "a killed process leaves its socket behind");
    let error = ensure(Path::new("/bin/false")).expect_err("it ends at once").to_string();
    assert!(error.contains("it ended with"), "{error}");
    let device = ensure(&binary).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(device.observe().expect("observe").public_key, None, "a new process knows nothing");
    let process = Process::open(listener(&options), None).expect("pidfd").expect("running");
    assert!(process.stop(std::time::Duration::from_secs(5)).expect("stop"));
}

/// Who listens on the control socket.
pub(crate) fn listener(options: &Options) -> i32 {
    let stream = UnixStream::connect(options.socket()).expect("connect");
    getsockopt(&stream, PeerCredentials).expect("credentials").pid()
}
