//! The peer's side: two servers, a reflector between them, a client as an agent has it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use model::Key;
use sim::shape::Pods;
use sim::{Random, Shape};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};

use crate::ages::Ages;
use crate::etcd::{self, Client, Tls, Write};
use crate::process::Running;
use crate::proxy::{Count, forward, place};
use crate::values::{Form, Writer};
use crate::{Round, load, settle};

/// Everything that a cluster mesh writes is below it.
const PREFIX: &str = "cilium/cache/";
/// Writes on the way at once; Cilium's default is a hundred.
const IN_FLIGHT: usize = 100;
/// Keys of one lease, as Cilium has it: to etcd 3.4 a write costs more the more keys its lease has.
const KEYS_OF_A_LEASE: usize = 1000;

/// The leases that a writer's keys are under.
struct Leases {
    client: Client,
    of: HashMap<Vec<u8>, i64>,
    current: i64,
    room: usize,
}

impl Leases {
    fn new(client: Client) -> Self {
        Self { client, of: HashMap::new(), current: 0, room: 0 }
    }

    /// The lease of a key: the one it has, or the one that has room.
    async fn of(&mut self, key: &[u8]) -> Result<i64> {
        if let Some(lease) = self.of.get(key) {
            return Ok(*lease);
        }
        if self.room == 0 {
            (self.current, self.room) = (self.client.lease().await?, KEYS_OF_A_LEASE);
        }
        self.room -= 1;
        self.of.insert(key.to_vec(), self.current);
        Ok(self.current)
    }

    /// Writes many keys that were not there.
    async fn fill(&mut self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        let mut leased = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let lease = self.of(&key).await?;
            leased.push((key, value, lease));
        }
        self.client.fill(leased).await
    }
}

/// A mesh on etcd.
pub(crate) struct Mesh {
    name: &'static str,
    servers: [Running; 2],
    between: Count,
    agents: Count,
    ages: Ages<Vec<u8>>,
    clusters: Vec<Pods>,
    writer: Writer,
    writes: mpsc::Sender<Write>,
    random: Random,
}

impl Mesh {
    /// Starts it, and fills both servers with everything.
    pub(crate) async fn start(form: Form, clusters: usize, world: Shape, folder: &Path) -> Result<Self> {
        let name = match form {
            Form::Json => "json",
            Form::Tuned => "tuned",
        };
        let folder = folder.join(name);
        std::fs::create_dir_all(folder.join("tls"))?;
        let tls = Tls::make(&folder.join("tls"))?;
        let (far, far_address) = etcd::start("far", &folder).await?;
        let (near, near_address) = etcd::start("near", &folder).await?;
        let (between, agents) = (Count::default(), Count::default());
        let (between_address, listener) = place().await?;
        forward(listener, far_address, between.clone());
        let (agents_address, listener) = place().await?;
        forward(listener, near_address, agents.clone());
        // Who writes and who reflects stand beside their server; what is between clusters and to agents is counted.
        let mut far_leases = Leases::new(Client::connect(far_address, &tls).await?);
        let mut near_leases = Leases::new(Client::connect(near_address, &tls).await?);
        let mut reflector = Client::connect(between_address, &tls).await?;
        let mut agent = Client::connect(agents_address, &tls).await?;

        let mut random = Random::new(1);
        let mut writer = Writer::new(form);
        let (began, mut pods) = (Instant::now(), Vec::new());
        for c in 0..clusters {
            let (cluster, objects) = Pods::new(c, world, &mut random);
            pods.push(cluster);
            let mut alone = Writer::new(form);
            far_leases.fill(alone.take(objects.clone())).await?;
            writer.know(objects);
        }
        let written = began.elapsed();
        let mut entries = Vec::new();
        let before = between.total();
        let from = reflector.list(PREFIX, |kv| entries.push((kv.key, kv.value))).await?;
        let listed = between.total() - before;
        near_leases.fill(entries).await?;
        println!(
            "{name}: {} s to write, {:.1} s to reflect; {:.2} MiB between clusters",
            written.as_secs(),
            (began.elapsed() - written).as_secs_f64(),
            listed as f64 / 1_048_576.0
        );

        let ages = Ages::new();
        let (began, before, cpu) = (Instant::now(), agents.total(), near.cpu());
        let mut known: HashMap<Vec<u8>, Parsed> = HashMap::new();
        let on = agent.list(PREFIX, |kv| {
            let parsed = parse(form, &kv.value);
            known.insert(kv.key, parsed);
        });
        let on = on.await?;
        println!(
            "{name}: an agent that knew nothing knows {} keys after {:.2} s ({:.2} MiB, {:.2} s of etcd's CPU), parsed; \
             servers {:.0} and {:.0} MiB; load {}",
            known.len(),
            began.elapsed().as_secs_f64(),
            (agents.total() - before) as f64 / 1_048_576.0,
            near.cpu() - cpu,
            far.memory() / 1_048_576.0,
            near.memory() / 1_048_576.0,
            load()
        );
        drop(known);

        let mut changed = reflector.watch(PREFIX, from).await?;
        let mut heard = agent.watch(PREFIX, on).await?;
        let (writes, receiver) = mpsc::channel(4096);
        tokio::spawn(write(far_leases, receiver));
        let (reflected, receiver) = mpsc::channel(4096);
        tokio::spawn(write(near_leases, receiver));
        tokio::spawn(async move {
            while let Some(events) = changed.recv().await {
                for event in events {
                    if reflected.send(event.into()).await.is_err() {
                        return;
                    }
                }
            }
        });
        let arrived = ages.clone();
        tokio::spawn(async move {
            while let Some(events) = heard.recv().await {
                for event in events {
                    let (key, value) = event.into();
                    // As an agent would: nothing counts before it is understood.
                    std::hint::black_box(value.map(|value| parse(form, &value)));
                    arrived.arrived(&key);
                }
            }
        });
        let servers = [far, near];
        Ok(Self { name, servers, between, agents, ages, clusters: pods, writer, writes, random })
    }

    /// One round of changes.
    pub(crate) async fn round(&mut self, rate: u32, seconds: u64) -> Result<Round> {
        self.ages.take();
        let before = [self.servers[0].cpu(), self.servers[1].cpu()];
        let bytes = (self.between.total(), self.agents.total());
        let (mut changes, began) = (0, Instant::now());
        let end = began + Duration::from_secs(seconds);
        let mut ticks = interval(Duration::from_secs(1) / rate);
        while Instant::now() < end {
            ticks.tick().await;
            if changes > (began.elapsed().as_secs_f64() * f64::from(rate)) as usize {
                continue;
            }
            let at = self.random.index(self.clusters.len());
            for change in self.clusters[at].change(&mut self.random) {
                changes += 1;
                let key = change.key();
                let writes = self.writer.change(change);
                // The change is known when its service is: that is written last.
                if let Key::Endpoint(key) = key {
                    self.ages.made(Writer::service_key(&key.service));
                }
                for write in writes {
                    self.writes.send(write).await?;
                }
            }
        }
        settle(|| self.ages.waiting()).await;
        let cpu = self
            .servers
            .iter()
            .zip(before)
            .map(|(s, before)| (format!("etcd {}", s.name()), s.cpu() - before));
        Ok(Round {
            name: self.name.into(),
            changes,
            cpu: cpu.collect(),
            bytes: (self.between.total() - bytes.0, self.agents.total() - bytes.1),
            ages: self.ages.take(),
        })
    }
}

/// Writes what comes, each key in order, many keys at a time.
async fn write(mut leases: Leases, mut writes: mpsc::Receiver<Write>) {
    let lanes: Vec<mpsc::Sender<(Write, i64)>> = (0..IN_FLIGHT)
        .map(|_| {
            let (lane, mut turn) = mpsc::channel::<(Write, i64)>(64);
            let mut client = leases.client.clone();
            tokio::spawn(async move {
                while let Some((write, lease)) = turn.recv().await {
                    if let Err(error) = client.write(write, lease).await {
                        println!("{error:#}");
                        return;
                    }
                }
            });
            lane
        })
        .collect();
    while let Some(write) = writes.recv().await {
        let lease = match &write.1 {
            Some(_) => leases.of(&write.0).await,
            None => Ok(leases.of.remove(&write.0).unwrap_or_default()),
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => return println!("{error:#}"),
        };
        let sum: usize = write.0.iter().map(|byte| usize::from(*byte)).sum();
        if lanes[sum % IN_FLIGHT].send((write, lease)).await.is_err() {
            return;
        }
    }
}

/// A value, as whoever uses it has it.
enum Parsed {
    Json(#[allow(dead_code, reason = "held, as an agent holds it")] serde_json::Value),
    Bytes(#[allow(dead_code, reason = "held, as an agent holds it")] Vec<u8>),
}

fn parse(form: Form, value: &[u8]) -> Parsed {
    match form {
        Form::Json => Parsed::Json(serde_json::from_slice(value).unwrap_or_default()),
        Form::Tuned => Parsed::Bytes(zstd::bulk::decompress(value, 4 << 20).unwrap_or_default()),
    }
}
