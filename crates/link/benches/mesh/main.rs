//! What the mesh of clusters costs, against etcd used as a cluster mesh uses it: same world, same changes, in turns.
//!
//! Ours: two real controllers (`$CAUSEWAY`, as processes), many clusters that speak the real protocol from this process,
//! and an agent. The peer's: one etcd that holds what the other clusters write, one that a reflector fills from it as
//! KVStoreMesh does, and a client that watches that one as an agent does. Both over TLS, both through the same counting
//! proxy, both from a change at its cluster to its being known at the agent, two hops away. `./x bench mesh` builds and
//! installs what it takes.

mod ages;
mod etcd;
mod ours;
mod peer;
mod process;
mod proxy;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use model::Key;
use sim::{Random, Shape};
use tokio::time::{Instant, interval};

use crate::ages::{Ages, percentile};
use crate::ours::{Agent, Controller, Peer};
use crate::peer::Mesh;
use crate::proxy::Count;
use crate::values::Form;

/// How long it is watched what flows when nothing changes.
const REST: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
struct Args {
    /// Clusters.
    #[arg(long, default_value_t = 250)]
    clusters: usize,
    /// Nodes of each.
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// Endpoints of each.
    #[arg(long, default_value_t = 1000)]
    endpoints: usize,
    /// Services of each.
    #[arg(long, default_value_t = 40)]
    services: usize,
    /// Changes a second, over all clusters.
    #[arg(long, default_value_t = 325)]
    changes: u32,
    /// Seconds of each round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds of each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only ours.
    #[arg(long)]
    alone: bool,
    /// As cargo calls benches.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one round has shown.
struct Round {
    name: String,
    changes: usize,
    ages: Vec<f64>,
    /// Bytes between the clusters and, after the second, to the agent.
    bytes: (u64, u64),
    /// Seconds of CPU of each process.
    cpu: Vec<(String, f64)>,
}

impl Round {
    fn print(&self) {
        let each = |bytes: u64| bytes as f64 / self.changes.max(1) as f64;
        let changes = self.changes.max(1) as f64;
        let cpu = self.cpu.iter().map(|(name, spent)| format!("{name} {:.2}", spent * 1000.0 / changes));
        println!(
            "{:<6} {} changes, {} ages: p50 {:.2} ms, p99 {:.2} ms, greatest {:.1} ms; {:.0} B/change between \
             clusters, {:.0} B/change to the agent; ms of CPU a change: {}",
            self.name,
            self.changes,
            self.ages.len(),
            percentile(&self.ages, 0.5),
            percentile(&self.ages, 0.99),
            percentile(&self.ages, 1.0),
            each(self.bytes.0),
            each(self.bytes.1),
            cpu.collect::<Vec<_>>().join(", "),
        );
    }
}

/// A folder in memory that goes with us. What an earlier run left when it was killed goes first.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        const NAME: &str = "causeway-bench-mesh-";
        let base = Path::new("/dev/shm");
        for entry in std::fs::read_dir(base).context("listing /dev/shm")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let left = name.strip_prefix(NAME).is_some_and(|pid| !Path::new("/proc").join(pid).exists());
            if left {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = base.join(format!("{NAME}{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it stays, the next run removes it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args = Args::parse();
    let program = std::env::var_os("CAUSEWAY")
        .map(PathBuf::from)
        .context("$CAUSEWAY names the program; `./x bench mesh` sets it")?;
    let folder = Folder::make()?;
    let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = run(&args, &program, &folder.0) => result,
        _ = ended.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or_default().into()
}

async fn run(args: &Args, program: &Path, folder: &Path) -> Result<()> {
    let world = Shape { nodes: args.nodes, endpoints: args.endpoints, services: args.services };
    println!(
        "{} clusters x {} nodes x {} endpoints of {} services; {} changes/s; load {}",
        args.clusters,
        args.nodes,
        args.endpoints,
        args.services,
        args.changes,
        load()
    );
    let mut ours = Ours::start(args, world, program, folder).await?;
    let mut peers = Vec::new();
    if !args.alone {
        for form in [Form::Json, Form::Tuned] {
            peers.push(Mesh::start(form, args.clusters, world, folder).await?);
        }
    }
    let mut rounds = Vec::new();
    for n in 0..args.rounds {
        println!("round {}, load {}", n + 1, load());
        let round = ours.round(args).await?;
        round.print();
        rounds.push(round);
        for peer in &mut peers {
            let round = peer.round(args.changes, args.seconds).await?;
            round.print();
            rounds.push(round);
        }
    }
    println!("over all rounds:");
    for name in ["ours", "json", "tuned"] {
        total(name, &rounds);
    }
    Ok(())
}

fn total(name: &str, rounds: &[Round]) {
    let mine: Vec<&Round> = rounds.iter().filter(|round| round.name == name).collect();
    if mine.is_empty() {
        return;
    }
    let mut ages: Vec<f64> = mine.iter().flat_map(|round| round.ages.iter().copied()).collect();
    ages.sort_by(f64::total_cmp);
    let changes: usize = mine.iter().map(|round| round.changes).sum();
    let bytes =
        |of: fn(&Round) -> u64| mine.iter().map(|round| of(round)).sum::<u64>() as f64 / changes as f64;
    println!(
        "{name:<6} p50 {:.2} ms, p99 {:.2} ms; {:.1} B/change between clusters, {:.1} B/change to the agent",
        percentile(&ages, 0.5),
        percentile(&ages, 0.99),
        bytes(|round| round.bytes.0),
        bytes(|round| round.bytes.1),
    );
}

/// Our side.
struct Ours {
    /// One that has every service itself, and one that has none.
    uses: Controller,
    ignores: Controller,
    peers: Vec<Peer>,
    random: Random,
    ages: Ages<Key>,
}

impl Ours {
    async fn start(args: &Args, world: Shape, program: &Path, folder: &Path) -> Result<Self> {
        let mut random = Random::new(1);
        let mut uses = Controller::start(program, folder, "uses", 301, args.services).await?;
        let mut ignores = Controller::start(program, folder, "ignores", 302, 0).await?;
        uses.join_controller(&ignores).await?;
        let began = Instant::now();
        let mut peers = Vec::new();
        let (to_uses, to_ignores) = (Count::default(), Count::default());
        for c in 0..args.clusters {
            let peer = Peer::start(c, world, folder, &mut random, [&to_uses, &to_ignores]).await?;
            uses.join(&peer.token(0)?).await?;
            ignores.join(&peer.token(1)?).await?;
            peers.push(peer);
        }
        (uses.peers, ignores.peers) = (to_uses, to_ignores);
        println!(
            "ours: {} clusters linked with both controllers in {:.1} s",
            args.clusters,
            began.elapsed().as_secs_f64()
        );

        let everything = args.clusters * args.endpoints;
        let mut agent = Agent::start(&uses, folder, 1).await?;
        agent.until(everything).await?;
        // Everything is where it belongs; now one that has nothing.
        let (began, before, cpu) = (Instant::now(), uses.agents.total(), uses.process.cpu());
        let mut fresh = Agent::start(&uses, folder, 2).await?;
        fresh.until(everything).await?;
        println!(
            "ours: an agent that knew nothing, joining included, knows {} objects after {:.2} s ({:.2} MiB, {:.2} s of \
             the controller's CPU); load {}",
            fresh.world.len(),
            began.elapsed().as_secs_f64(),
            (uses.agents.total() - before) as f64 / 1_048_576.0,
            uses.process.cpu() - cpu,
            load()
        );
        drop(fresh);
        for controller in [&uses, &ignores] {
            println!(
                "ours: controller {}: {:.1} MiB alone, {:.1} MiB with everything linked: {:.0} B for each endpoint there \
                 is; {:.2} MiB between clusters so far",
                controller.process.name(),
                controller.empty / 1_048_576.0,
                controller.process.memory() / 1_048_576.0,
                (controller.process.memory() - controller.empty) / everything as f64,
                controller.peers.total() as f64 / 1_048_576.0,
            );
        }
        let before = (uses.peers.total(), uses.agents.total());
        tokio::time::sleep(REST).await;
        let rest = |now: u64, before: u64| (now - before) as f64 / REST.as_secs_f64();
        println!(
            "ours: at rest {:.1} B/s for each link, {:.1} B/s to the agent",
            rest(uses.peers.total(), before.0) / args.clusters as f64,
            rest(uses.agents.total(), before.1),
        );
        let ages = Ages::new();
        tokio::spawn(agent.hear(ages.clone()));
        Ok(Self { uses, ignores, peers, random, ages })
    }

    async fn round(&mut self, args: &Args) -> Result<Round> {
        self.ages.take();
        let processes = [&self.uses.process, &self.ignores.process];
        let before = processes.map(|process| process.cpu());
        let bytes = (self.uses.peers.total(), self.uses.agents.total());
        let unused = self.ignores.peers.total();
        let mut changes = 0;
        let end = Instant::now() + Duration::from_secs(args.seconds);
        let mut ticks = interval(Duration::from_secs(1) / args.changes);
        while Instant::now() < end {
            ticks.tick().await;
            // One call may make two changes; the pace is that of changes.
            if changes > ticks_so_far(end, args) {
                continue;
            }
            let at = self.random.index(self.peers.len());
            changes += self.peers[at].change(&mut self.random, &self.ages);
        }
        settle(|| self.ages.waiting()).await;
        let processes = [&self.uses.process, &self.ignores.process];
        let cpu = processes.iter().zip(before).map(|(p, before)| (p.name().to_string(), p.cpu() - before));
        let round = Round {
            name: "ours".into(),
            changes,
            cpu: cpu.collect(),
            bytes: (self.uses.peers.total() - bytes.0, self.uses.agents.total() - bytes.1),
            ages: self.ages.take(),
        };
        println!(
            "ours   to the controller that uses none of the services: {:.1} B/change",
            (self.ignores.peers.total() - unused) as f64 / changes.max(1) as f64
        );
        Ok(round)
    }
}

/// How many changes there should have been by now.
fn ticks_so_far(end: Instant, args: &Args) -> usize {
    let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
    ((args.seconds as f64 - left) * f64::from(args.changes)) as usize
}

/// Waits until nothing is on its way any more, or for a minute.
async fn settle(waiting: impl Fn() -> usize) {
    let until = Instant::now() + Duration::from_secs(60);
    while waiting() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
