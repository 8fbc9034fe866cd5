//! `causeway-sim`: a run of any size, and what it has shown.

use std::time::Instant;

use clap::{Parser, ValueEnum};
use sim::{Encoding, Misdeed, Partition, Path, Report, Scenario, Shape, Sim};

/// Plays many clusters on one virtual clock, and says what their exchange costs.
#[derive(Debug, Parser)]
#[command(name = "causeway-sim")]
struct Args {
    /// Where all randomness comes from: the same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clusters; each tells.
    #[arg(long, default_value_t = 250)]
    clusters: usize,
    /// How many of them hear all others.
    #[arg(long, default_value_t = 2)]
    hearers: usize,
    /// Agents of each cluster that hears.
    #[arg(long, default_value_t = 1)]
    agents: usize,
    /// Nodes of each cluster.
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// Endpoints of each cluster.
    #[arg(long, default_value_t = 1000)]
    endpoints: usize,
    /// Global services of each cluster, the same names everywhere.
    #[arg(long, default_value_t = 40)]
    services: usize,
    /// Changes a second, over all clusters.
    #[arg(long, default_value_t = 325)]
    changes: u64,
    /// Seconds of changes.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// One way between clusters, in milliseconds.
    #[arg(long, default_value_t = 40)]
    delay: u64,
    /// How much longer it may take, in milliseconds.
    #[arg(long, default_value_t = 4)]
    jitter: u64,
    /// Between clusters, in megabits a second.
    #[arg(long, default_value_t = 100)]
    bandwidth: u64,
    /// Of a million messages, how many lose a packet.
    #[arg(long, default_value_t = 0)]
    loss: u64,
    /// Seconds that a stream between clusters lives on average; none breaks without it.
    #[arg(long)]
    breaks: Option<u64>,
    /// Cut this many clusters, the first ones, off the others.
    #[arg(long, requires_all = ["cut_from", "cut_to"])]
    cut: Option<usize>,
    /// From this second of the changes on.
    #[arg(long)]
    cut_from: Option<u64>,
    /// To this one.
    #[arg(long)]
    cut_to: Option<u64>,
    /// What the last cluster does that it must not.
    #[arg(long, value_enum)]
    misdeed: Option<Wrong>,
    /// How frames become bytes.
    #[arg(long, value_enum, default_value_t = Form::Messages)]
    encoding: Form,
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Wrong {
    /// Two hundred new endpoints, fifty times a second.
    Flood,
    /// Another cluster's objects, and its addresses.
    Foreign,
    /// Revisions that go backwards.
    Backwards,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// Each message compressed by itself.
    Messages,
    /// As they are.
    Plain,
}

impl From<Args> for Scenario {
    fn from(args: Args) -> Self {
        let partition = args.cut.map(|clusters| Partition {
            clusters,
            from: args.cut_from.unwrap_or_default(),
            to: args.cut_to.unwrap_or_default(),
        });
        Self {
            seed: args.seed,
            clusters: args.clusters,
            hearers: args.hearers.min(args.clusters),
            agents: args.agents,
            shape: Shape { nodes: args.nodes, endpoints: args.endpoints, services: args.services },
            changes: args.changes,
            seconds: args.seconds,
            path: Path {
                delay: args.delay * 1000,
                jitter: args.jitter * 1000,
                bandwidth: args.bandwidth * 125_000,
                loss: args.loss,
            },
            partition,
            breaks: args.breaks,
            misdeed: args.misdeed.map(|misdeed| match misdeed {
                Wrong::Flood => Misdeed::Flood,
                Wrong::Foreign => Misdeed::Foreign,
                Wrong::Backwards => Misdeed::Backwards,
            }),
            encoding: match args.encoding {
                Form::Messages => Encoding::Messages,
                Form::Plain => Encoding::Plain,
            },
            ..Self::default()
        }
    }
}

/// What this process has had of the machine: seconds of CPU, bytes of memory.
fn machine() -> (f64, f64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let nanoseconds =
        read("/proc/self/schedstat").split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    let pages = read("/proc/self/statm").split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
    (nanoseconds.unwrap_or_default() / 1e9, pages.unwrap_or_default() * 4096.0)
}

fn main() -> Result<(), String> {
    let args = Args::parse();
    let json = args.json;
    let scenario = Scenario::from(args);
    let (began, start) = (Instant::now(), machine());
    let mut sim = Sim::new(scenario.clone());
    let told = machine();
    sim.bootstrap();
    let known = machine();
    let objects = sim.agents_know();
    sim.churn();
    let churned = machine();
    let report = sim.finish();
    if json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?);
    } else {
        let endpoints = (scenario.clusters * scenario.shape.endpoints) as f64;
        println!(
            "{} clusters x {} nodes x {} endpoints, {} of them hear all others, {} agents; seed {}",
            scenario.clusters,
            scenario.shape.nodes,
            scenario.shape.endpoints,
            scenario.hearers,
            scenario.hearers * scenario.agents,
            scenario.seed
        );
        println!(
            "told: {:.2} s of CPU, {:.0} B for each endpoint at its own controller, with what stands around it",
            told.0 - start.0,
            (told.1 - start.1) / endpoints
        );
        println!(
            "bootstrap: {:.2} s of CPU for all; {:.0} MiB more, with {objects} objects known to agents",
            known.0 - told.0,
            (known.1 - told.1) / 1_048_576.0
        );
        print(&report);
        println!(
            "changes: {:.2} s of CPU for all; the run took {:.1} s",
            churned.0 - known.0,
            began.elapsed().as_secs_f64()
        );
    }
    match report.diverged.as_slice() {
        [] => Ok(()),
        wrong => Err(format!("not everybody knows what is so:\n{}", wrong.join("\n"))),
    }
}

fn print(report: &Report) {
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let each = |what: &str, traffic: &sim::Traffic| {
        println!(
            "{what}: {} changes in {} messages, {:.2} MiB, {:.1} B for each change, {} snapshots",
            traffic.changes,
            traffic.messages,
            mib(traffic.bytes),
            traffic.bytes_per_change(),
            traffic.snapshots
        );
    };
    println!("controllers knew everything after {:.2} s", report.controllers_synced_ms as f64 / 1000.0);
    println!("agents knew everything after {:.2} s", report.agents_synced_ms as f64 / 1000.0);
    each("bootstrap, between controllers", &report.bootstrap);
    each("bootstrap, to agents", &report.agents_bootstrap);
    each("changes, between controllers", &report.churn);
    each("changes, to agents", &report.agents_churn);
    println!("{} changes made; to controllers: {}", report.made, report.to_controllers);
    println!("to agents: {}", report.to_agents);
    println!("{} streams broke; {} arrivals were delayed by it", report.breaks, report.delayed);
    if report.healing.messages > 0 {
        each("healing", &report.healing);
        println!(
            "healed after {:.2} s; as snapshots it would have been {:.2} MiB",
            report.healed_ms as f64 / 1000.0,
            mib(report.healing_as_snapshots)
        );
    }
    if report.refused > 0 || report.held_of_hostile > 0 {
        println!("{} objects refused; {} held of who misbehaves", report.refused, report.held_of_hostile);
    }
}
