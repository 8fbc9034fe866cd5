//! How long a pod waits for its network: `ADD` and `DEL` through real plugin processes, ours and Debian's
//! bridge + host-local + portmap, in turns, from the first pod of a node to the two hundredth: `./x bench cni`.
//!
//! Two nodes are two network namespaces; pods have one IPv4 address, because the bridge plugin waits a second and more
//! for IPv6's duplicate address detection. Ours asks an agent's CNI server in a process of its own, with nothing to
//! tell the data path to (what the agent does there is two map writes). Needs root and `containernetworking-plugins`.

mod plugins;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use plugins::{Node, Ours, Pod, Theirs};

/// Pods of a node.
const PODS: usize = 200;

/// How often everything is done, and counted; once before that a few pods warm everything up.
const ROUNDS: usize = 3;
const WARM_UP: usize = 10;

/// What was measured of one kind of node.
#[derive(Default)]
struct Times {
    /// For each pod in order, in each round.
    adds: Vec<Vec<Duration>>,
    deletes: Vec<Duration>,
    /// Time on processors, of everything together.
    cpu: Duration,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, netns, socket, folder] = &args[..]
        && serve == "serve"
    {
        return server::run(netns, socket, folder);
    }
    plugins::clear();
    plugins::clear_when_told_to_end();
    for (what, ports) in [("no host ports", false), ("one host port each", true)] {
        println!("\n{what}:");
        println!("{:34} {:>8} {:>8} {:>8} {:>8}", "ms", "p50", "p99", "least", "most");
        let (mut ours, mut theirs) = (Ours::start(), Theirs::start());
        measure(&mut ours, &mut theirs, WARM_UP, ports, &mut Times::default(), &mut Times::default());
        let (mut us, mut them) = (Times::default(), Times::default());
        for _ in 0..ROUNDS {
            measure(&mut ours, &mut theirs, PODS, ports, &mut us, &mut them);
        }
        us.print("causeway");
        them.print("bridge + host-local + portmap");
    }
    ExitCode::SUCCESS
}

/// One round: pods come to both nodes in turns, and go in turns.
fn measure(ours: &mut Ours, theirs: &mut Theirs, pods: usize, ports: bool, us: &mut Times, them: &mut Times) {
    let pods: Vec<Pod> = (0..pods).map(|number| Pod::new(number, ports)).collect();
    let (mut our_adds, mut their_adds) = (Vec::new(), Vec::new());
    let before = (ours.cpu(), theirs.cpu());
    for pod in &pods {
        our_adds.push(ours.add(pod));
        their_adds.push(theirs.add(pod));
    }
    for pod in &pods {
        us.deletes.push(ours.delete(pod));
        them.deletes.push(theirs.delete(pod));
    }
    us.cpu += ours.cpu() - before.0;
    them.cpu += theirs.cpu() - before.1;
    us.adds.push(our_adds);
    them.adds.push(their_adds);
}

impl Times {
    fn print(&self, who: &str) {
        for (from, to) in [(0, 50), (50, 100), (100, 150), (150, 200)] {
            let part = self.adds.iter().flat_map(|round| round[from..to].iter().copied()).collect();
            line(&format!("{who}: ADD, pods {} to {to}", from + 1), part);
        }
        let all: Vec<Duration> = self.adds.iter().flatten().copied().collect();
        let pods = all.len() as u32;
        line(&format!("{who}: ADD"), all);
        line(&format!("{who}: DEL"), self.deletes.clone());
        println!("{who}: {:.2} ms of processor time for a pod's ADD and DEL", ms(self.cpu / pods));
    }
}

fn line(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| ms(times[(times.len() - 1) * percent / 100]);
    println!("{what:34} {:8.2} {:8.2} {:8.2} {:8.2}", at(50), at(99), at(0), at(100));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
