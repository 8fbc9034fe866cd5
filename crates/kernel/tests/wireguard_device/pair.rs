//! Two nodes on a wire, each with a tunnel device.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use causeway_kernel::netns::Netns;
use causeway_kernel::tun::Interface;
use causeway_kernel::wireguard::{Device, Launch, Options, PrivateKey};
use engine::plan::{Op, Peer};
use model::PublicKey;

use crate::net_common::TestNetns;

/// The port every device here listens on.
pub(crate) const PORT: u16 = 51820;

/// What runs a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This repository's.
    Ours,
    /// Debian's wireguard-go.
    Go,
    /// The kernel, if it has WireGuard.
    Kernel,
    /// Another program: `causeway`, or one that is called as wireguard-go or as boringtun are, by its file's name.
    #[allow(dead_code, reason = "only the benchmark compares with them")]
    Program(&'static Path),
}

/// One end.
pub(crate) struct End {
    pub(crate) netns: TestNetns,
    pub(crate) device: Device,
    pub(crate) underlay: [IpAddr; 2],
    pub(crate) inside: [IpAddr; 2],
    pub(crate) key: PrivateKey,
    process: Option<Child>,
    kind: Kind,
}

/// How a pair is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) kinds: [Kind; 2],
    /// Of the wire; the tunnels' is 80 less.
    pub(crate) mtu: u32,
}

/// Two ends that know each other. Who shakes hands first is who sends first.
pub(crate) fn pair(setup: Setup) -> [End; 2] {
    let ends = [0, 1].map(|side: usize| TestNetns::new(&format!("{}{side}", setup.name)));
    ends[0].run(&format!("ip link add eth0 type veth peer name eth0 netns {}", ends[1].name()));
    let mut side = 0;
    let ends = ends.map(|netns| {
        side += 1;
        End::new(netns, setup, side)
    });
    for (one, other) in [(0, 1), (1, 0)] {
        ends[one].know(&ends[other], ends[other].underlay[0]);
    }
    ends
}

/// Two ends of these kinds that have no wire between them, and one of ours to which both have one, and which passes on
/// between them. The first is told that the second is there.
#[allow(dead_code, reason = "the benchmark has no relay")]
pub(crate) fn over_a_relay(name: &'static str, kinds: [Kind; 2]) -> ([End; 2], End) {
    let [a, b, relay] = [0, 1, 2].map(|side: usize| TestNetns::new(&format!("{name}{side}")));
    relay.run(&format!("ip link add eth0 type veth peer name eth0 netns {}", a.name()));
    relay.run(&format!("ip link add eth1 type veth peer name eth0 netns {}", b.name()));
    let relay = End::new(relay, Setup { name, kinds: [Kind::Ours; 2], mtu: 1500 }, 3);
    relay.netns.run("ip link set eth1 up");
    relay.netns.run("ip route add 192.0.2.2 dev eth1 src 192.0.2.3");
    let ends = [(a, 1), (b, 2)].map(|(netns, side)| End::new(netns, Setup { name, kinds, mtu: 1500 }, side));
    for end in &ends {
        end.know(&relay, relay.underlay[0]);
        relay.know(end, end.underlay[0]);
    }
    let [a, b] = &ends;
    a.know(b, relay.underlay[0]);
    b.await_call(a);
    relay.device.pass_on(&ends.iter().map(|end| end.key.public()).collect()).expect("passing on");
    (ends, relay)
}

impl End {
    fn new(netns: TestNetns, setup: Setup, side: usize) -> Self {
        let address = |text: String| -> IpAddr { text.parse().expect("an address") };
        let underlay = [address(format!("192.0.2.{side}")), address(format!("2001:db8::{side}"))];
        let inside = [address(format!("10.99.0.{side}")), address(format!("fd99::{side}"))];
        let kind = setup.kinds[(side - 1) % 2];
        let interface = format!("{}{side}", setup.name);
        netns.run(&format!("ip link set eth0 mtu {} up", setup.mtu));
        netns.run(&format!("ip addr add {}/24 dev eth0", underlay[0]));
        netns.run(&format!("ip addr add {}/64 dev eth0 nodad", underlay[1]));
        let process = start(netns.netns(), kind, &interface);
        let device = netns.netns().run(|| Device::open(&interface)).expect("netns").expect("device");
        let key = PrivateKey::generate();
        device.set_private_key(key.secret()).expect("key");
        device.apply(&Op::TunnelPort(PORT)).expect("port");
        netns.run(&format!("ip link set {interface} mtu {} up", setup.mtu - 80));
        netns.run(&format!("ip addr add {}/24 dev {interface}", inside[0]));
        netns.run(&format!("ip addr add {}/64 dev {interface} nodad", inside[1]));
        Self { netns, device, underlay, inside, key, process, kind }
    }

    /// Tells this end of the other.
    pub(crate) fn know(&self, other: &Self, at: IpAddr) {
        let peer = Peer {
            endpoint: Some(SocketAddr::new(at, PORT)),
            allowed_ips: other.inside.iter().map(|ip| (*ip).into()).collect(),
            keepalive: 0,
            other_key: None,
            preshared_key: None,
            other_preshared_keys: Vec::new(),
        };
        self.device.apply(&Op::SetPeer(other.key.public(), peer)).expect("peer");
    }

    /// Tells this end of the other, but not where it is.
    #[allow(dead_code, reason = "the benchmark has no relay")]
    fn await_call(&self, other: &Self) {
        let peer = Peer {
            other_key: None,
            endpoint: None,
            allowed_ips: other.inside.iter().map(|ip| (*ip).into()).collect(),
            keepalive: 0,
            preshared_key: None,
            other_preshared_keys: Vec::new(),
        };
        self.device.apply(&Op::SetPeer(other.key.public(), peer)).expect("peer");
    }

    /// What is known of the other.
    pub(crate) fn stats(&self, other: &Self) -> causeway_kernel::wireguard::PeerStats {
        let key: PublicKey = other.key.public();
        self.device.observe().expect("observe").peers[&key]
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("a process").id()
    }

    /// Ends the process with this signal and waits for its end.
    pub(crate) fn kill(&mut self, signal: nix::sys::signal::Signal) -> std::process::ExitStatus {
        let process = self.process.as_mut().expect("a process");
        let pid = nix::unistd::Pid::from_raw(process.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("kill");
        process.wait().expect("wait")
    }

    /// Starts the process again, with its key and addresses; peers are told apart.
    pub(crate) fn restart(&mut self) {
        let interface = self.device.interface().to_owned();
        let mtu = self.netns.netns().run(|| Interface::new("eth0").and_then(|eth0| eth0.mtu()));
        let mtu = mtu.expect("netns").expect("mtu") - 80;
        self.process = start(self.netns.netns(), self.kind, &interface);
        self.device.set_private_key(self.key.secret()).expect("key");
        self.device.apply(&Op::TunnelPort(PORT)).expect("port");
        self.netns.run(&format!("ip link set {interface} mtu {mtu} up"));
        self.netns.run(&format!("ip addr add {}/24 dev {interface}", self.inside[0]));
        self.netns.run(&format!("ip addr add {}/64 dev {interface} nodad", self.inside[1]));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        if process.try_wait().is_ok_and(|status| status.is_none()) {
            // It may end by itself meanwhile.
            let pid = nix::unistd::Pid::from_raw(process.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            if !ends(process) {
                // Some do not listen; nobody waits for them.
                let _ = process.kill();
            }
            let _ = process.wait();
        }
    }
}

/// Whether a process that was asked to end does, in a few seconds.
#[expect(clippy::disallowed_methods, reason = "what another program does has no event here")]
fn ends(process: &mut Child) -> bool {
    let begun = Instant::now();
    while process.try_wait().is_ok_and(|status| status.is_none()) {
        if begun.elapsed() > Duration::from_secs(5) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn start(netns: &Netns, kind: Kind, interface: &str) -> Option<Child> {
    let options = Options::new(interface);
    let mut command = match kind {
        Kind::Ours => {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args(["wireguard", "--socket-dir"]).arg(&options.uapi_dir);
            command
        }
        Kind::Go => {
            let mut command = Command::new("wireguard-go");
            // It warns that kernels have WireGuard themselves.
            command.arg("-f").stdout(Stdio::null()).stderr(Stdio::null());
            command
        }
        Kind::Program(path) => program(path, &options),
        Kind::Kernel => {
            let nothing = Launch::here("/nonexistent");
            let device = netns.run(|| Device::ensure(&options, &nothing)).expect("netns");
            let device = device.unwrap_or_else(|error| panic!("this kernel has no WireGuard: {error}"));
            assert!(device.is_kernel());
            return None;
        }
    };
    command.arg(interface);
    if kind == Kind::Ours {
        // As the others are: the scheduler shares out by session.
        command.arg("--foreground");
    }
    let mut process = netns
        .run(|| command.spawn())
        .expect("netns")
        .unwrap_or_else(|error| panic!("{command:?}: {error}; install wireguard-go"));
    until("the control socket", || {
        assert!(process.try_wait().expect("wait").is_none(), "{command:?} ended");
        netns.run(|| Device::open(interface)).expect("netns").is_ok()
    });
    Some(process)
}

/// How a program that is not ours to know is told to stay in the foreground.
fn program(path: &Path, options: &Options) -> Command {
    let mut command = Command::new(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.as_str() {
        name if name.contains("causeway") => {
            command.args(["wireguard", "--foreground", "--socket-dir"]).arg(&options.uapi_dir)
        }
        name if name.contains("wireguard-go") => command.arg("-f"),
        // boringtun, and those that come of it.
        _ => command.args(["-f", "--disable-drop-privileges"]),
    };
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits for a condition, but not for ever.
#[expect(clippy::disallowed_methods, reason = "what another program does has no event here")]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not happen in 20 seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}
