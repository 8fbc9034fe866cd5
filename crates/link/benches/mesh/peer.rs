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
        let mut far_client = Client::connect(far_address, &tls).await?;
        let mut near_client = Client::connect(near_address, &tls).await?;
        let mut reflector = Client::connect(between_address, &tls).await?;
        let mut agent = Client::connect(agents_address, &tls).await?;

        let mut random = Random::new(1);
        let mut writer = Writer::new(form);
        let (far_lease, near_lease) = (far_client.lease().await?, near_client.lease().await?);
        let (began, mut pods) = (Instant::now(), Vec::new());
        for c in 0..clusters {
            let (cluster, objects) = Pods::new(c, world, &mut random);
            pods.push(cluster);
            let mut alone = Writer::new(form);
            far_client.fill(alone.take(objects.clone()), far_lease).await?;
            writer.know(objects);
        }
        let written = began.elapsed();
        let mut entries = Vec::new();
        let before = between.total();
        let from = reflector.list(PREFIX, |kv| entries.push((kv.key, kv.value))).await?;
        let listed = between.total() - before;
        near_client.fill(entries, near_lease).await?;
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
        tokio::spawn(write(far_client, far_lease, receiver));
        let (reflected, receiver) = mpsc::channel(4096);
        tokio::spawn(write(near_client, near_lease, receiver));
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
async fn write(client: Client, lease: i64, mut writes: mpsc::Receiver<Write>) {
    let lanes: Vec<mpsc::Sender<Write>> = (0..IN_FLIGHT)
        .map(|_| {
            let (lane, mut turn) = mpsc::channel::<Write>(64);
            let mut client = client.clone();
            tokio::spawn(async move {
                while let Some(write) = turn.recv().await {
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
        let sum: usize = write.0.iter().map(|byte| usize::from(*byte)).sum();
        if lanes[sum % IN_FLIGHT].send(write).await.is_err() {
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
