//! What services cost: `./x bench services`. Modelled on k8s-netperf: transactions of TCP and UDP between hosts, between
//! pods, and from a pod to a virtual address; then the same with more and more services, against rules shaped as
//! kube-proxy writes them for nftables and iptables, with dialling the pod itself as the floor. All of it in network
//! namespaces, with the kernel's real paths, and in turns: A B C, C B A, …; a machine that is busy is so for everybody.
//!
//! Arguments: `--full` for every size and the largest rulesets, which take minutes to load, `--outliers` for what it costs to
//! count connects that fail (and nothing but the ways), `--outside` for clients outside the cluster at node ports instead,
//! `--out DIR` for CSV and a chart, `--rounds N`, `--window MS`. What a crashed run leaves is removed by the next one.

mod balancer;
mod costs;
#[path = "../../tests/net_common/mod.rs"]
mod net_common;
mod outside;
#[path = "../../tests/wireguard_device/pair.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod pair;
#[path = "../../tests/wireguard_device/program.rs"]
mod program;
mod report;
mod rules;
mod scale;
mod stage;
mod statistics;
mod traffic;
mod turns;
mod ways;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use balancer::{Balancer, Connects};
use report::Report;
use stage::Node;

/// How many services each of our own data paths has.
const OURS: [u32; 4] = [1, 1_000, 10_000, 50_000];

/// What was asked for.
struct Arguments {
    full: bool,
    outliers: bool,
    outside: bool,
    out: PathBuf,
    rounds: usize,
    window: Duration,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some(exit) = program::device(&args) {
        return exit;
    }
    match Arguments::parse(&args) {
        Ok(arguments) => run(&arguments),
        Err(problem) => {
            let known = "--full, --outliers, --outside, --out DIR, --rounds N (10 or more), --window MS";
            eprintln!("{problem}: {known}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) {
    balancer::clear();
    stage::clear();
    let mut report = Report::new(&arguments.out);
    if arguments.outside {
        outside::measure(arguments, &mut report);
    } else {
        inside(arguments, &mut report);
    }
    report.end();
}

/// Clients in pods, whose sockets are served.
fn inside(arguments: &Arguments, report: &mut Report) {
    let near = Node::near("plain");
    let zone = stage::Zone::beside(&near);
    let far = stage::Far::new();
    if arguments.outliers {
        let [ours, counting] = [Connects::Uncounted, Connects::Counted]
            .map(|connects| Balancer::for_pods(OURS[1], connects, near.netns(), report));
        return ways::measure(&ours, Some(&counting), &near, &zone, &far, arguments, report);
    }
    let mut balancers = Vec::new();
    for services in OURS {
        balancers.push(Balancer::for_pods(services, Connects::Uncounted, near.netns(), report));
    }
    costs::one_change(&mut balancers[2], report);
    costs::bytes(&balancers[3], report);
    ways::measure(&balancers[1], None, &near, &zone, &far, arguments, report);
    scale::measure(&balancers, &near, arguments, report);
}

impl Arguments {
    fn parse(args: &[String]) -> Result<Self, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
            PathBuf::from,
        );
        let mut this = Self {
            full: false,
            outliers: false,
            outside: false,
            out: target.join("bench/services"),
            rounds: 10,
            window: Duration::from_millis(120),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--full" => (this.full, this.window) = (true, Duration::from_millis(400)),
                "--outliers" => this.outliers = true,
                // The whole machine's clock has ticks of 10 ms.
                "--outside" => (this.outside, this.window) = (true, Duration::from_millis(300)),
                "--out" => this.out = value()?.into(),
                "--rounds" => this.rounds = value()?.parse().map_err(|e| format!("--rounds: {e}"))?,
                "--window" => {
                    let millis = value()?.parse().map_err(|e| format!("--window: {e}"))?;
                    this.window = Duration::from_millis(millis);
                }
                other => return Err(format!("unknown argument {other}")),
            }
        }
        Ok(this)
    }
}
