//! How long a pod waits for its network: `ADD` and `DEL` through real plugin processes, ours and Debian's
//! bridge + host-local + portmap, in turns, from the first pod of a node to the two hundredth: `./x bench cni`.
//!
//! Two nodes are two network namespaces; pods have one IPv4 address, because the bridge plugin waits a second and more
//! for IPv6's duplicate address detection. Ours asks an agent's CNI server in a process of its own, with nothing to
//! tell the data path to (what the agent does there is two map writes). The floor is a process that does nothing: what the
//! machine itself takes, and how much that varies. Needs root and `containernetworking-plugins`.

mod plugins;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use plugins::{Node, Ours, Pod, Theirs, ask, ask_together, nothing};

/// Pods of a node.
const PODS: usize = 200;

/// How often everything is done, and counted; once before that a few pods warm everything up.
const ROUNDS: usize = 3;
const WARM_UP: usize = 10;

/// How many pods come at once, and how often.
const TOGETHER: usize = 10;
const TIMES_TOGETHER: usize = 10;

/// What was measured of one kind of node.
#[derive(Default)]
struct Times {
    /// For each pod in order, in each round.
    adds: Vec<Vec<Duration>>,
    deletes: Vec<Duration>,
    together: Vec<Duration>,
    /// Time on processors, of everything that was started.
    add_cpu: Duration,
    delete_cpu: Duration,
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
    let mut pods = Vec::new();
    for (what, ports) in [("no host ports", false), ("one host port each", true)] {
        println!("\n{what}:");
        println!("{:46} {:>8} {:>8} {:>8} {:>8}", "ms", "p50", "p99", "least", "most");
        let (ours, theirs) = (Ours::start(), Theirs::start());
        let (mut us, mut them) = (Times::default(), Times::default());
        let mut floor = Vec::new();
        for round in 0..=ROUNDS {
            let count = if round == 0 { WARM_UP } else { PODS };
            pods.push((0..count).map(|number| Pod::new(round, number, ports)).collect::<Vec<_>>());
            let pods = pods.last().expect("just pushed");
            if round == 0 {
                measure(&ours, &theirs, pods, &mut Times::default(), &mut Times::default());
            } else {
                floor.extend(measure(&ours, &theirs, pods, &mut us, &mut them));
            }
        }
        for _ in 0..TIMES_TOGETHER {
            let pods = &pods.last().expect("some")[..TOGETHER];
            us.together.extend(ask_together(&ours, "ADD", pods));
            ask_together(&ours, "DEL", pods);
            them.together.extend(ask_together(&theirs, "ADD", pods));
            ask_together(&theirs, "DEL", pods);
        }
        line("a process that does nothing", floor);
        us.print("causeway");
        them.print("bridge + host-local + portmap");
    }
    ExitCode::SUCCESS
}

/// One round: pods come to both nodes in turns, and go in turns. Returns the floor, once for each pod.
fn measure(ours: &Ours, theirs: &Theirs, pods: &[Pod], us: &mut Times, them: &mut Times) -> Vec<Duration> {
    us.adds.push(Vec::new());
    them.adds.push(Vec::new());
    let mut floor = Vec::new();
    for pod in pods {
        floor.push(nothing());
        us.add(ours, pod);
        them.add(theirs, pod);
    }
    for pod in pods {
        us.delete(ours, pod);
        them.delete(theirs, pod);
    }
    floor
}

impl Times {
    fn add(&mut self, node: &impl Node, pod: &Pod) {
        let (time, cpu) = ask(node, "ADD", pod);
        self.adds.last_mut().expect("a round has begun").push(time);
        self.add_cpu += cpu;
    }

    fn delete(&mut self, node: &impl Node, pod: &Pod) {
        let (time, cpu) = ask(node, "DEL", pod);
        self.deletes.push(time);
        self.delete_cpu += cpu;
    }

    fn print(&self, who: &str) {
        for (from, to) in [(0, 50), (50, 100), (100, 150), (150, 200)] {
            let part = self.adds.iter().flat_map(|round| round[from..to].iter().copied()).collect();
            line(&format!("{who}: ADD, pods {} to {to}", from + 1), part);
        }
        for (number, round) in (1..).zip(&self.adds) {
            line(&format!("{who}: ADD, round {number}"), round.clone());
        }
        let all: Vec<Duration> = self.adds.iter().flatten().copied().collect();
        let pods = all.len() as u32;
        line(&format!("{who}: ADD"), all);
        line(&format!("{who}: ADD, {TOGETHER} at once"), self.together.clone());
        line(&format!("{who}: DEL"), self.deletes.clone());
        let (add, delete) = (ms(self.add_cpu / pods), ms(self.delete_cpu / pods));
        println!("{who}: {add:.2} ms of processor time for an ADD, {delete:.2} for a DEL");
    }
}

fn line(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| ms(times[(times.len() - 1) * percent / 100]);
    println!("{what:46} {:8.2} {:8.2} {:8.2} {:8.2}", at(50), at(99), at(0), at(100));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
