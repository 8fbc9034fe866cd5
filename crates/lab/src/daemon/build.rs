//! Builds a lab: segments, underlay, machines, daemons, links. As much at a time as does not get in its own way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use kernel::netns;
use kernel::sandbox::Sandbox;
use model::ClusterName;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use wire::local::{LinkJoin, Token};

use super::cluster::ClusterHost;
use super::cuts::Cuts;
use super::{Daemon, Lab};
use crate::api::Phase;
use crate::node::machine::{MOUNT_POINTS, Machine, Segment};
use crate::state::{self, FOLDER, Record};
use crate::status::unsettled;
use crate::supervise::{DAEMON, Program, Supervisor, log};
use crate::underlay;

/// How many machines are built at a time.
const HANDS: usize = 8;

/// How often we look whether something is there yet.
const LOOK: Duration = Duration::from_millis(20);

/// How long a controller or the underlay may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Daemon {
    /// Builds everything and waits until it has settled. What happens is told in the journal.
    pub(super) async fn build(self: &Arc<Self>) -> Result<()> {
        prepare_machine()?;
        let plan = &self.plan;
        let segments: Vec<Arc<Segment>> = stream::iter(&plan.locations)
            .map(|location| async move {
                let built = Segment::build(location).await;
                built.map(Arc::new).with_context(|| format!("building location {}", location.netns))
            })
            .buffered(HANDS)
            .try_collect()
            .await?;
        let underlay = self.start_underlay().await?;
        self.journal.line(&format!("{} locations and the wires between them", segments.len()));

        let clusters: Vec<ClusterHost> = plan
            .clusters
            .iter()
            .map(|cluster| ClusterHost::new(plan, cluster, &segments, &self.causeway))
            .collect::<Result<_>>()?;
        let cuts = Cuts::new(segments);
        let (cuts, cut_pairs) = (tokio::sync::Mutex::new(cuts), Mutex::default());
        let lab = Lab { clusters, cuts, cut_pairs, underlay };
        let lab = self.lab.get_or_init(|| lab);

        for index in 0..lab.clusters.len() {
            let daemon = Arc::clone(self);
            tokio::spawn(async move { daemon.clusters()[index].keep_pods().await });
        }

        let hands = Semaphore::new(HANDS);
        let up = lab.clusters.iter().map(|cluster| self.bring_up(cluster, &hands));
        try_join_all(up).await?;
        self.link_all(lab).await?;
        self.settle(lab).await
    }

    async fn start_underlay(&self) -> Result<Supervisor> {
        let folder = Path::new(FOLDER);
        let (file, control) = (folder.join("underlay.json"), underlay_control());
        let config = underlay::Config::new(&self.plan, 1, control.clone());
        std::fs::write(&file, serde_json::to_vec(&config)?)
            .context("writing the underlay's configuration")?;
        let program = Program {
            name: "underlay".into(),
            command: vec![
                self.causeway.clone().into(),
                "lab".into(),
                "underlay".into(),
                "--config".into(),
                file.into(),
            ],
            env: Vec::new(),
            folder: Some("/".into()),
            sandbox: Sandbox { cgroup: Some(super::own_cgroup()?.path().into()), ..Sandbox::default() },
            log: state::underlay_log(),
        };
        let underlay = Supervisor::start(program, DAEMON);
        let told = || {
            format!("the underlay does not come up; its log ends:\n{}", log::tail(&state::underlay_log(), 15))
        };
        until(|| control.exists()).await.with_context(told)?;
        Ok(underlay)
    }

    /// One cluster: its controller first, because agents join with its tokens.
    async fn bring_up(&self, cluster: &ClusterHost, hands: &Semaphore) -> Result<()> {
        let name = cluster.name();
        cluster.fill().with_context(|| format!("putting {name}'s objects in place"))?;
        let build = async |site| {
            let _hand = hands.acquire().await?;
            Machine::build(site).await
        };
        let controller = async {
            cluster.controller.boot(build(&cluster.controller.site).await?)?;
            self.answering(cluster).await
        };
        let machines = try_join_all(cluster.nodes.iter().map(|node| build(&node.site)));
        let hosts = try_join_all(cluster.hosts.iter().map(async |host| {
            let _hand = hands.acquire().await?;
            host.build().await
        }));
        let ((), machines, _) = tokio::try_join!(controller, machines, hosts)?;
        self.journal.line(&format!("{name}: controller answers, {} machines stand", machines.len()));
        for (node, machine) in cluster.nodes.iter().zip(machines) {
            let token = cluster.node_token().await?;
            node.boot(machine, Some(&token.token), cluster.objects.clone())?;
        }
        cluster.objects.bell.notify_one();
        Ok(())
    }

    /// Waits until a cluster's controller answers.
    pub(super) async fn answering(&self, cluster: &ClusterHost) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let socket = cluster.controller.socket();
        loop {
            let asked = serve::client::get::<wire::local::ControllerStatus>(&socket, "/v1/status").await;
            let why = match asked {
                Ok(status) if status.ready => return Ok(()),
                Ok(_) => "it has not read its objects yet".to_string(),
                Err(e) => e.to_string(),
            };
            if Instant::now() > deadline {
                let log = log::tail(&state::controller_log(cluster.name()), 15);
                bail!("the controller of {} does not come up: {why}; its log ends:\n{log}", cluster.name());
            }
            sleep(LOOK).await;
        }
    }

    /// Each two clusters with each other, through tokens as operators would use them.
    async fn link_all(&self, lab: &Lab) -> Result<()> {
        let pairs = lab
            .clusters
            .iter()
            .enumerate()
            .flat_map(|(i, a)| lab.clusters[i + 1..].iter().map(move |b| (a, b)));
        let links: Vec<_> = pairs.map(|(a, b)| link(a, b)).collect();
        let count = links.len();
        try_join_all(links).await?;
        if count > 0 {
            self.journal.line(&format!("{} clusters linked", lab.clusters.len()));
        }
        Ok(())
    }

    /// Waits until everybody is ready and knows of everybody.
    async fn settle(&self, lab: &Lab) -> Result<()> {
        let mut told: BTreeSet<String> = BTreeSet::new();
        loop {
            let reports = self.reports().await;
            let expected: Vec<_> = lab.clusters.iter().flat_map(ClusterHost::expected).collect();
            let missing =
                unsettled(&self.plan, &reports.controllers, &reports.nodes, &self.pods(), &expected);
            for report in &reports.nodes {
                let ready = report.agent.as_ref().is_ok_and(|status| status.ready);
                if ready && told.insert(report.name.to_string()) {
                    self.journal.line(&format!(
                        "agent of {} is ready ({} of {})",
                        report.name,
                        told.len(),
                        reports.nodes.len()
                    ));
                }
            }
            if missing.is_empty() {
                self.journal
                    .line(&format!("{} pods ready, every node knows every backend", self.pods().len()));
                self.journal.set(Phase::Up);
                return Ok(());
            }
            self.journal.set(Phase::Starting { missing });
            sleep(LOOK * 5).await;
        }
    }
}

/// Links two clusters.
async fn link(a: &ClusterHost, b: &ClusterHost) -> Result<()> {
    let failed = |of: &ClusterName| format!("linking clusters {} and {} at {of}", a.name(), b.name());
    let token: Token = serve::client::post(&a.controller.socket(), "/v1/tokens/link", &())
        .await
        .with_context(|| failed(a.name()))?;
    let join = LinkJoin { token: token.token };
    let joined: serde_json::Value = serve::client::post(&b.controller.socket(), "/v1/links", &join)
        .await
        .with_context(|| failed(b.name()))?;
    drop(joined);
    Ok(())
}

/// Makes what has to be there on the machine itself, and notes what is new.
fn prepare_machine() -> Result<()> {
    let mut record = Record::load()?;
    record.netns_mount |= !is_mount_point(Path::new(netns::DIRECTORY))?;
    record.save().context("writing down what is to be undone")?;
    for folder in MOUNT_POINTS {
        record.create_folder(Path::new(folder)).with_context(|| format!("making {folder}"))?;
    }
    Ok(())
}

fn is_mount_point(path: &Path) -> Result<bool> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    let path = path.to_str().ok_or_else(|| anyhow!("{} is not UTF-8", path.display()))?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(path)))
}

/// Where the underlay takes orders.
pub(super) fn underlay_control() -> PathBuf {
    Path::new(FOLDER).join("underlay.sock")
}

/// Waits for something that takes milliseconds.
async fn until(condition: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            bail!("nothing after {PATIENCE:?}");
        }
        sleep(LOOK).await;
    }
    Ok(())
}
