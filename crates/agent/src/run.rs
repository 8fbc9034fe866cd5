//! The agent's life: one loop that takes in what happens and lets the node follow.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use engine::exchange::{Held, Interest, Position, Topics};
use engine::health::Event as Verdict;
use engine::policy;
use kernel::features::Feature;
use kernel::host::Host;
use kernel::icmp::{Echo, Heard, Kind};
use kernel::netns::Netns;
use link::NodeReport;
use link::agent::{AgentEvent, AgentOptions};
use model::KubeProxy;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::aborts::Aborts;
use crate::api::{self, Ask};
use crate::cni::{Cni, Place, PodNetwork};
use crate::config::Config;
use crate::datapath::{PodMaps, pin_dir};
use crate::generations::Generations;
use crate::install;
use crate::keys::Keys;
use crate::neighbour::Neighbour;
use crate::node::{Node, OBSERVE_EVERY, Told};

/// Something happened.
enum Event {
    Stream(AgentEvent),
    Heard(Heard),
    Asked(Ask),
    Due,
    Stop,
}

/// Runs until `stop` resolves. The data path stays as it is then: restarting an agent disturbs no traffic.
///
/// # Errors
/// A kernel feature, folder, file or port that it cannot do without. What happens later is tried again and shown in
/// the status.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    let host = config.host();
    info!(version = env!("CARGO_PKG_VERSION"), "starting: trying what the kernel can do");
    host.open_settings()?;
    host.ensure_bpffs()?;
    let features = require_features(&host)?;
    for folder in [&config.state_dir, &config.run_dir] {
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    install::put_program(&config)?;
    let keys = Keys::open(&config.state_dir)?;
    let generations = Generations::open(&config);
    let found = link::saved::load(&config.state_dir.join("world.state"))?;
    if let Some(problem) = &found.problem {
        warn!("{problem}");
    }
    let place = found.saved.places.get(&config.cluster);
    let position = place.map(|p| Position { epoch: p.epoch, revision: p.revision });
    let interest = place.map_or_else(Interest::nothing, known);
    let held = Held::of_agent(&found.saved.world, position, config.name()).with_interest(interest.clone());
    let pods = config
        .policy
        .enabled
        .then(|| policy::interest_in(&found.saved.world, &config.policing(config.name())));
    let (wished, pods) = watch::channel(pods);

    let (report, reported) = watch::channel(NodeReport {
        public_key: keys.0.public(),
        next_key: keys.1.as_ref().map(|next| next.public()),
        // That is known once there is a tunnel.
        knows_two_keys: false,
        knows_groups: false,
        port: config.wireguard_port,
        addresses: Vec::new(),
        version: env!("CARGO_PKG_VERSION").into(),
        kube_proxy: KubeProxy::Unknown,
        reach: Default::default(),
        takes: Default::default(),
        generations: generations.held().ids(),
    });
    let mut stream = link::agent::spawn(AgentOptions {
        node: config.name(),
        controllers: config.controllers.clone(),
        proof: config.proof(),
        state_dir: config.state_dir.clone(),
        held,
        pods,
        report: reported,
    });

    let neighbour = Neighbour::watch(report.clone());
    let keys = Keys::new(&config, keys, report.clone());
    let told = Told { position, interest, wished, report };
    let mut node =
        Node::open(config, keys, generations, features, found.saved.world, told, neighbour).await?;
    let mut echo = Echo::open(Some(&node.config.interface))?;
    let (asks, mut asked) = mpsc::channel(16);
    let state = node.config.state_dir.join("pods.journal");
    let place = Place {
        ledger: state,
        netlink: node.datapath.netlink.clone(),
        netns: Netns::current().context("opening the node's own network namespace")?,
        host,
    };
    let cni = Cni::open(place, node.datapath.pod_hook(node.police.clone())).await?;
    let mut network = None;
    for refused in cni.reattach().await {
        warn!("a pod of before may send nothing: {refused}");
    }
    node.begin_policing()?;
    let cni = Arc::new(cni);
    tokio::spawn(keep_host_ports(cni.clone()));
    let aborts = Aborts::start(cni.clone(), node.vital.clone(), &node.features, pin_dir(&node.config))?;
    api::start(asks, node.vital.clone(), cni.clone(), &node.config).await?;
    info!(node = %node.outlook.me, "started; what the kernel holds was taken over");

    tokio::pin!(stop);
    loop {
        follow_network(&node, &cni, &mut network);
        let event = tokio::select! {
            event = stream.recv() => match event {
                Some(event) => Event::Stream(event),
                None => bail!("the exchange ended by itself: this is a bug"),
            },
            heard = echo.recv() => match heard {
                Ok(heard) => Event::Heard(heard),
                Err(e) => { warn!("hearing probes: {e}"); Event::Due }
            },
            ask = asked.recv() => ask.map_or(Event::Stop, Event::Asked),
            () = tokio::time::sleep_until(node.deadline()) => Event::Due,
            () = &mut stop => Event::Stop,
        };
        match event {
            Event::Stream(event) => {
                node.handle_stream(event);
                // Whatever waits behind it is part of the same news: one plan for all.
                while let Ok(event) = stream.try_recv() {
                    node.handle_stream(event);
                }
            }
            Event::Heard(heard) => handle_heard(&mut node, &heard),
            Event::Asked(ask) => node.handle_ask(ask).await,
            Event::Due => {}
            Event::Stop => break,
        }
        if node.poll_check().await {
            // The device is another one now: what listened on the old one hears nothing.
            echo = Echo::open(Some(&node.config.interface))?;
        }
        node.poll_outliers();
        probe(&mut node, &echo, &aborts).await;
        node.poll_gateways();
        node.poll_relief();
        node.poll_handover();
        node.settle().await;
        node.poll_paths();
        // After the plan: whoever dials anew is led elsewhere.
        aborts.reset(node.poll_gone());
    }
    node.save().await;
    info!("stopped; the data path stays");
    Ok(())
}

/// Host ports are a table that others may take away by accident (`nft flush ruleset`): it comes back.
async fn keep_host_ports(cni: Arc<Cni<PodMaps>>) {
    loop {
        tokio::time::sleep(OBSERVE_EVERY).await;
        match cni.repair().await {
            Ok(false) => {}
            Ok(true) => warn!("somebody changed the pods' host ports; they are as before"),
            Err(failure) => warn!(%failure, "pods' host ports cannot be looked after"),
        }
    }
}

/// Pods are made from what the node has now. Ranges that are gone for a while take nothing from pods that are there.
fn follow_network(node: &Node, cni: &Cni<PodMaps>, known: &mut Option<PodNetwork>) {
    let Some(network) = node.pod_network().filter(|network| known.as_ref() != Some(network)) else { return };
    info!(ranges = ?network.pod_cidrs, mtu = network.mtu, "what pods are made from");
    cni.configure(network.clone());
    *known = Some(network);
}

/// Sends what is due and follows the verdicts.
async fn probe(node: &mut Node, echo: &Echo, aborts: &Aborts) {
    while let Some(probe) = node.prober.poll_probe(node.now()) {
        // An error here is silence like any other: the prober counts it by the missing answer.
        let _ = echo.send(probe.ip, node.echo_id, probe.seq, &[]).await;
    }
    let mut lost = Vec::new();
    while let Some(verdict) = node.prober.poll_event() {
        match &verdict {
            Verdict::Died(peer) => {
                warn!(%peer, "does not answer through the mesh; its backends leave rotation")
            }
            Verdict::Revived(peer) => info!(%peer, "answers again"),
        }
        node.handle_verdict(&verdict).await;
        if let Verdict::Died(peer) = &verdict {
            lost.extend(node.ranges_of(peer));
        }
    }
    node.follow_names();
    // After the verdicts: whoever dials anew is sent elsewhere already.
    aborts.abort_connecting(lost);
}

fn handle_heard(node: &mut Node, heard: &Heard) {
    let Some(peer) = node.probed.get(&heard.from).cloned() else { return };
    let now = node.now();
    match heard.kind {
        Kind::Request => node.prober.handle_heard(&peer, now),
        Kind::Reply if heard.id == node.echo_id => node.prober.handle_reply(&peer, heard.seq, now),
        Kind::Reply => {}
    }
}

fn require_features(host: &Host) -> Result<Vec<Feature>> {
    let features = kernel::features::probe_on(host);
    let missing = kernel::features::missing(&features);
    if !missing.is_empty() {
        let lines = missing.iter().map(|f| format!("\n  {} ({}): {}", f.name, f.purpose, f.advice));
        bail!("this machine lacks what the agent needs:{}", lines.collect::<String>());
    }
    Ok(features)
}

/// What a place on disk says is known in full, beyond what every agent is told.
fn known(place: &wire::state::Place) -> Interest {
    let Some(policing) = &place.policing else { return Interest::default() };
    let topics = Topics { pods: policing.clusters.clone(), ..Topics::default() };
    Interest { topics, ..Interest::everything() }
}
