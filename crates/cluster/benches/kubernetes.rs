//! What a controller pays for a large cluster: everything listed, indexed, logged and planned from, then endpoints that
//! change a thousand times a second, then nothing at all. The API server is the double of `dev/apiserver`, in a process
//! of its own (`$CAUSEWAY_APISERVER`); `./x bench kubernetes` builds both.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiserver::{Options, Server};
use causeway_cluster::Event;
use causeway_cluster::kubernetes::client::{ClientOptions, client};
use causeway_cluster::kubernetes::watch::{WatchOptions, watch};
use engine::exchange::{Limits, Log};
use engine::mesh;
use engine::services::{self, View};
use model::{Change, Cluster, ClusterId, ClusterName, NodeName, Object, World};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

const NODES: usize = 5_000;
const SERVICES: usize = 10_000;
const PODS: usize = 100_000;
const CHURN: usize = 1_000;
const CHURNED: Duration = Duration::from_secs(20);
const REST: Duration = Duration::from_secs(150);

/// A process that goes with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says how much memory we have");
    let line = status.lines().find(|line| line.starts_with(field)).expect("it is there");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
    kib / 1024.0
}

/// The time this process has had on a CPU, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux counts our time");
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn cluster() -> Cluster {
    Cluster {
        name: ClusterName::new("large").expect("a name"),
        id: ClusterId::new(1).expect("an id"),
        pod_cidrs: ["10.64.0.0/11", "10.128.0.0/9"].map(|range| range.parse().expect("a range")).into(),
        service_cidrs: vec!["10.96.0.0/16".parse().expect("a range")],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    }
}

async fn open(server: &str) -> mpsc::Receiver<Event> {
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: b\nclusters: [{{name: b, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: b, user: {{}}}}]\ncontexts: [{{name: b, context: {{cluster: b, user: b}}}}]\n"
    );
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), config).expect("a temporary file is writable");
    let options = ClientOptions { kubeconfig: Some(file.path().into()), ..ClientOptions::default() };
    watch(client(&options).await.expect("a client"), &cluster(), WatchOptions::default())
}

/// Takes changes in as a controller does: into what it tells others.
fn log_all(log: &mut Log, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Upsert(object) => log.upsert(Arc::new(object)),
            Change::Delete(key) => log.delete(&key),
        };
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let path = std::env::var("CAUSEWAY_APISERVER")
        .expect("$CAUSEWAY_APISERVER names the API server's program; `./x bench kubernetes` sets it");
    for streams in [false, true] {
        run(&path, streams).await;
    }
    rest().await;
}

async fn run(path: &str, streams: bool) {
    let mut command = Command::new(path);
    command.args(["--nodes", &NODES.to_string(), "--services", &SERVICES.to_string()]);
    command.args(["--pods", &PODS.to_string(), "--churn", &CHURN.to_string(), "--stamp"]);
    if streams {
        command.arg("--streaming-lists");
    }
    let mut child = Running(command.stdout(Stdio::piped()).spawn().expect("starting the API server"));
    let mut server = String::new();
    BufReader::new(child.0.stdout.take().expect("piped"))
        .read_line(&mut server)
        .expect("it says where it is");

    let (began, before, idle) = (Instant::now(), cpu(), memory("VmRSS:"));
    let mut source = open(server.trim()).await;
    let mut log = Log::new("aws".parse().unwrap(), 1, Limits::default());
    let mut wrong = 0;
    loop {
        match source.recv().await.expect("a watch does not end") {
            Event::Changes(changes) => log_all(&mut log, changes),
            Event::Facts(_) => {}
            Event::Object { .. } => wrong += 1,
            Event::Notes(notes) => notes.iter().for_each(|note| println!("{note}")),
            Event::Problem(problem) => println!("{problem}"),
            Event::Synced => break,
        }
    }
    let (listed, listed_memory) = (began.elapsed(), memory("VmRSS:"));
    let (planned, frontends) = plan(&log);
    println!(
        "{}: {} objects ({wrong} wrong) in {listed:.2?} ({:.2} s of CPU), {idle:.0} -> {listed_memory:.0} MiB \
         (greatest {:.0}); planned for one node ({frontends} frontends) in {planned:.2?}",
        if streams { "streams" } else { "pages" },
        log.len(),
        cpu() - before,
        memory("VmHWM:"),
    );
    churn(&mut source, &mut log).await;
}

/// What one node makes of it. Its own copy of the world is the agent's to pay for, and gone when this returns.
fn plan(log: &Log) -> (Duration, usize) {
    let mut world = World::default();
    world.apply(Change::Upsert(Object::Cluster(cluster())));
    for object in log.objects() {
        world.apply(Change::Upsert((**object).clone()));
    }
    let me = NodeName::new(cluster().name, "node-0").expect("a name");
    let settings = mesh::Settings {
        mtu: 1420,
        fail_closed: Vec::new(),
        keepalive: 0,
        masquerade: None,
        unserved: mesh::Unserved::Refuse,
        knows_two_keys: true,
        knows_groups: true,
        preshared: Default::default(),
    };
    let began = Instant::now();
    let services = services::plan(&View::new(&world, &me));
    let mesh = mesh::plan(&world, &me, &settings, &mesh::Seen::default());
    assert!(mesh.routes.len() + services.frontends.len() > 0);
    (began.elapsed(), services.frontends.len())
}

/// Endpoints change; each carries the time at which it was changed as its node's name.
async fn churn(source: &mut mpsc::Receiver<Event>, log: &mut Log) {
    let (end, before, memory_before) = (Instant::now() + CHURNED, cpu(), memory("VmRSS:"));
    let mut lags: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let began = Instant::now();
    let mut events = 0;
    while let Ok(event) = timeout_at(end, source.recv()).await {
        let Event::Changes(changes) = event.expect("a watch does not end") else { continue };
        events += 1;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_micros();
        for change in &changes {
            let Change::Upsert(Object::Endpoint(endpoint)) = change else { continue };
            let stamp =
                endpoint.node.as_ref().and_then(|node| node.node.strip_prefix("at-")?.parse::<u128>().ok());
            if let Some(stamp) = stamp {
                let lag = u64::try_from(now.saturating_sub(stamp)).unwrap_or(u64::MAX);
                lags.entry(began.elapsed().as_secs() / 5).or_default().push(lag);
            }
        }
        log_all(log, changes);
    }
    let whole = CHURNED.as_secs() / 5;
    for (five, lags) in lags.iter_mut().filter(|(five, _)| **five < whole) {
        lags.sort_unstable();
        let at = |percent: usize| Duration::from_micros(lags[(lags.len() - 1) * percent / 100]);
        println!(
            "  {:>2} to {:>2} s: {} changes/s, lag p50 {:.1?}, p99 {:.1?}",
            five * 5,
            five * 5 + 5,
            lags.len() / 5,
            at(50),
            at(99)
        );
    }
    println!(
        "  {events} events; {:.0} % of one CPU; {memory_before:.0} -> {:.0} MiB",
        (cpu() - before) / CHURNED.as_secs_f64() * 100.0,
        memory("VmRSS:")
    );
}

/// What is asked of a server where nothing happens, its bookmarks a minute apart as a real one's.
async fn rest() {
    let server = Server::start(Options::default());
    let mut source = open(&server.url()).await;
    while source.recv().await.expect("a watch does not end") != Event::Synced {}
    server.clear_requests();
    tokio::time::sleep(REST).await;
    let requests = server.requests();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for request in &requests {
        *kinds
            .entry(if request.code == 404 { "for kinds that are not there" } else { "to renew watches" })
            .or_default() += 1;
    }
    println!("at rest: {:.3} requests/s: {kinds:?} in {REST:?}", requests.len() as f64 / REST.as_secs_f64());
}
