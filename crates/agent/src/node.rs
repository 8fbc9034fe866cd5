//! The node as the agent drives it: what it knows, what the kernel holds, and the way from one to the other.

mod gateways;
mod keys;
mod paths;
mod policing;
mod saving;
mod unencrypted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use engine::exchange::{Interest, Position};
use engine::health::{Event as Verdict, Gateways, Prober, Ranking, Relief};
use engine::mesh::{Handover, Unserved};
use engine::plan::{self, Op, State};
use engine::services::{Departed, Fill, HealthCheck, Planner};
use engine::{mesh, services};
use ipnet::IpNet;
use kernel::features::Feature;
use kernel::host::forwarding;
use kernel::netlink::Netlink;
use link::NodeReport;
use link::agent::AgentEvent;
use model::{Change, ClusterName, Key, NodeName, World};
use serve::local::PlanReport;
use serve::metrics::AgentMetrics;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use wire::local::StreamStatus;

use crate::api::{Ask, Paths, Vital};
use crate::cni::PodNetwork;
use crate::config::Config;
use crate::datapath::{self, Datapath, Masqueraded};
use crate::endpoints::Endpoints;
use crate::generations::Generations;
use crate::health_checks::HealthChecks;
use crate::keys::Keys;
use crate::names::Names;
use crate::neighbour::Neighbour;
use crate::outliers::Watch;
use crate::outlook::{Outlook, Plan};
use crate::path_mtu::PathMtus;
use crate::police::{Police, Unenforced};
use crate::problems::Problems;
use crate::services::Held;
use crate::{install, status, underlay};
use paths::Reaching;
use saving::Saving;

/// How often the device is looked for and the clusters are ranked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How often the kernel is compared with the plan although nothing is known to have changed.
pub(crate) const OBSERVE_EVERY: Duration = Duration::from_secs(15);

/// How long after an operation failed the kernel is looked at again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far the controller has told what it knows.
pub(crate) struct Told {
    pub(crate) position: Option<Position>,
    /// What is known in full up to there, beyond what every agent is told.
    pub(crate) interest: Interest,
    /// The clusters whose pods are wanted; none at all where policies are not enforced.
    pub(crate) wished: watch::Sender<Option<BTreeSet<ClusterName>>>,
    /// What the controller is told of this node.
    pub(crate) report: watch::Sender<NodeReport>,
}

/// One node.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) outlook: Outlook,
    /// Follows the endpoints of services between two plans of everything.
    planner: Planner,
    /// Follows single nodes.
    mesh: mesh::Planner,
    pub(crate) prober: Prober,
    pub(crate) datapath: Datapath,
    /// What the kernel holds, as far as is known.
    pub(crate) observed: State,
    /// What it ought to hold.
    pub(crate) desired: State,
    /// Over which peer each node is reached, as the newest plan has it.
    via: BTreeMap<NodeName, NodeName>,
    /// Which gateways carry nothing, and which forward badly.
    gateways: Gateways,
    relief: Relief,
    /// Which are changing hands.
    handover: Handover,
    /// Whether somebody fell silent, answers again or is reached in another way since they were judged.
    judge: bool,
    /// Ways to nodes that nobody dials.
    pub(crate) reaching: Reaching,
    /// Unencrypted ways inside the location.
    ways: unencrypted::Ways,
    /// Where names of endpoints lead.
    endpoints: Endpoints,
    paths: PathMtus,
    /// Whom an address of the mesh belongs to.
    pub(crate) probed: BTreeMap<IpAddr, NodeName>,
    pub(crate) echo_id: u16,
    pub(crate) stream: StreamStatus,
    /// What was claimed and not granted, and what the controller complained of.
    pub(crate) problems: Problems,
    /// What the kernel can do; tried once, at the start.
    pub(crate) features: Vec<Feature>,
    pub(crate) vital: Arc<Vital>,
    /// The device to other nodes.
    pub(crate) underlay: String,
    /// This node's slices, as the newest plan grants them.
    pub(crate) own: Vec<IpNet>,
    pub(crate) neighbour: Neighbour,
    /// Services for which the data path has no room.
    full: Vec<services::Problem>,
    /// What load balancers may ask, as the newest plan has it, and the ports where they do.
    checks: Vec<HealthCheck>,
    health_checks: HealthChecks,
    /// Endpoints that have left the world, where connections to them are to be ended.
    departed: Option<Departed>,
    /// Backends that fail connects, where services are to do without them.
    outliers: Option<Watch>,
    /// Policies, where they are enforced.
    pub(crate) police: Option<Arc<Police>>,
    /// The DNS server, where one is wanted.
    pub(crate) names: Option<Names>,
    /// Why a container runtime cannot be served yet; nothing when it can.
    pub(crate) cni: Option<String>,
    keys: Keys,
    pub(crate) generations: Generations,
    started: Instant,
    told: Told,
    replan: bool,
    check_at: Instant,
    observe_at: Instant,
    saving: Saving,
}

impl Node {
    /// Takes over the node as it is and brings it to what is known already.
    pub(crate) async fn open(
        config: Config,
        mut keys: Keys,
        generations: Generations,
        features: Vec<Feature>,
        world: World,
        told: Told,
        neighbour: Neighbour,
    ) -> Result<Self> {
        let (me, position) = (config.name(), told.position);
        let underlay = underlay::find(&Netlink::open()?, &config, world.nodes.get(&me)).await?;
        let translates = features.iter().any(|feature| feature.name == "nftables" && feature.present);
        let masqueraded = if translates { Masqueraded::Told(Default::default()) } else { Masqueraded::Never };
        let datapath = Datapath::open(&config, &underlay.name, masqueraded).await?;
        keys.load(&datapath.device, Duration::ZERO)?;
        let settings = mesh::Settings {
            mtu: underlay::tunnel_mtu(underlay.mtu),
            fail_closed: config.fail_closed.clone(),
            keepalive: paths::KEEPALIVE,
            masquerade: (config.masquerade && translates).then(|| config.non_masquerade_cidrs.clone()),
            // Where Kubernetes is, kube-proxy is, was or may come.
            unserved: if config.service_account.is_some() { Unserved::Leave } else { Unserved::Refuse },
            knows_two_keys: datapath.device.knows_two_keys(),
            knows_groups: datapath.device.knows_groups(),
            preshared: generations.held().clone().with_device(datapath.device.knows_other_preshared_keys()),
        };
        let now = Instant::now();
        let saving = Saving::to(&config.state_dir);
        let untold =
            config.cni.is_some().then(|| "the container runtime to be told of this network".to_string());
        let seed = u64::from(std::process::id());
        let mut node = Self {
            prober: Prober::new(&me, seed),
            stream: StreamStatus { stale: position.is_some(), ..StreamStatus::default() },
            outlook: Outlook {
                me,
                world,
                settings,
                seen: mesh::Seen { now: link::clock::now(), ..Default::default() },
                port: config.wireguard_port,
                fixed: config.dns.iter().flat_map(|dns| dns.own_addresses()).collect(),
                dead: Default::default(),
                reached: Default::default(),
                ranking: Ranking::default(),
                times: Default::default(),
                ways: config.ways(),
                reserved: config.reserved(),
                node_ports: config.services.node_ports().expect("load() has checked them"),
                ejected: Default::default(),
                balancing: config.services.balancing(),
                limits: datapath::limits(&config)?,
            },
            planner: Planner::default(),
            mesh: mesh::Planner::default(),
            observed: datapath.observe().await?,
            desired: State::default(),
            config,
            datapath,
            via: BTreeMap::new(),
            gateways: Gateways::default(),
            relief: Relief::default(),
            handover: Handover::default(),
            judge: false,
            reaching: Reaching::new(told.report.clone()),
            ways: unencrypted::Ways::new(told.report.clone()),
            endpoints: Endpoints::new(),
            paths: PathMtus::default(),
            probed: BTreeMap::new(),
            echo_id: (seed & 0xffff) as u16,
            problems: Problems::default(),
            features,
            vital: Arc::new(Vital {
                health: Mutex::default(),
                metrics: AgentMetrics::new(env!("CARGO_PKG_VERSION")),
                denied: serve::Denied::default(),
            }),
            underlay: underlay.name,
            own: Vec::new(),
            neighbour,
            full: Vec::new(),
            checks: Vec::new(),
            health_checks: HealthChecks::default(),
            departed: None,
            outliers: None,
            police: None,
            names: None,
            cni: untold,
            keys,
            generations,
            started: now,
            told,
            replan: true,
            check_at: now,
            observe_at: now + OBSERVE_EVERY,
            saving,
        };
        node.departed = node.config.services.grace().map(Departed::new);
        node.outliers = node.config.services.eject_outliers.then(|| Watch::new(now));
        // The verdicts of the agent before this one stand until the new prober has its own.
        let dead = |name: &&NodeName| node.observed.dead.contains(&model::Node::id(name));
        node.outlook.dead = node.outlook.world.nodes.keys().filter(dead).cloned().collect();
        node.prober.presume_dead(node.outlook.dead.clone());
        let remembered = services::remembered_ranking(&node.observed, &node.outlook.world);
        node.outlook.ranking = Ranking::new(remembered);
        node.police = node.open_police()?;
        if let Some(dns) = &node.config.dns {
            let names = Names::open(&node.config, dns, &node.outlook)?;
            if let Some(police) = &node.police {
                names.tell(police.clone());
            }
            names.set_synced(position.is_some());
            node.names = Some(names);
        }
        if node.config.masquerade && !translates {
            let problem = "pods reach nothing outside the mesh: load the modules nf_tables, nft_nat and nft_masq, or \
                           set masquerade to false";
            node.problems.set_machine("masquerade", Some(problem.into()));
        }
        node.settle().await;
        node.look_after_machine().await;
        Ok(node)
    }

    /// Time as the engine knows it.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When something is due at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        let probe = self.prober.deadline().map(|at| self.started + at);
        let gone = self.departed.as_ref().and_then(Departed::deadline).map(|at| self.started + at);
        let look = self.outliers.as_ref().map(Watch::deadline);
        let again = self.gateways.deadline().map(|at| self.started + at);
        let way = Some(self.started + self.reaching.deadline());
        let step = self.handover.deadline().map(|at| self.started + at);
        let timers = [
            Some(self.check_at),
            Some(self.observe_at),
            self.saving.deadline(),
            probe,
            gone,
            look,
            again,
            way,
            step,
        ];
        timers.into_iter().flatten().min().expect("two of them are always there")
    }

    /// Takes in what the exchange says.
    pub(crate) fn handle_stream(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Connected { controller } => {
                info!(%controller, "connected");
                self.stream.connected = true;
                self.stream.address = Some(controller);
                self.stream.last_error = None;
                self.vital.metrics.count_reconnect();
            }
            AgentEvent::Disconnected { error } => {
                let error = error.to_string();
                if self.stream.connected || self.stream.last_error.as_ref() != Some(&error) {
                    warn!(error, "no controller; going on with what is known");
                }
                self.stream.connected = false;
                self.stream.stale = true;
                self.stream.last_error = Some(error);
            }
            AgentEvent::Changes { changes, position } => {
                self.told.position = position;
                self.take(changes);
            }
            AgentEvent::Interest(interest) => {
                if let Some(police) = &self.police {
                    police.subscribed(interest.topics.pods.clone());
                }
                self.told.interest = interest;
                self.saving.soon();
            }
            AgentEvent::Synced { position } => {
                self.told.position = Some(position);
                self.stream.stale = false;
                self.stream.revision = position.revision;
                if let Some(names) = &self.names {
                    names.set_synced(true);
                }
                self.saving.soon();
            }
            AgentEvent::Problem(problem) => {
                self.problems.complain(problem);
            }
        }
    }

    fn take(&mut self, changes: Vec<Change>) {
        debug!(changes = changes.len(), "news");
        if let Some(position) = self.told.position {
            self.stream.revision = position.revision;
        }
        let mut keys = Vec::with_capacity(changes.len());
        let now = self.now();
        for change in changes {
            if let Some(departed) = &mut self.departed {
                departed.handle_change(&self.outlook.world, &change, now);
            }
            self.mesh.handle_change(&self.outlook.world, &change);
            let key = change.key();
            if self.outlook.world.apply(change) {
                self.planner.handle_change(&key);
                keys.push(key);
            }
        }
        let planned =
            |key: &Key| !matches!(key, Key::Endpoint(_) | Key::Policy(_) | Key::Namespace(_) | Key::Pod(_));
        self.replan |= keys.iter().any(planned);
        if let Some(police) = &self.police {
            police.follow(&self.outlook.world, &keys);
            self.wish();
        }
        if let Some(names) = &mut self.names {
            names.follow(&self.outlook, &keys);
        }
        self.saving.soon();
    }

    /// Follows a verdict at once: one map write, before any plan.
    pub(crate) async fn handle_verdict(&mut self, verdict: &Verdict) {
        let (name, dead) = match verdict {
            Verdict::Died(name) => (name, true),
            Verdict::Revived(name) => (name, false),
        };
        self.judge = true;
        self.reaching.look_soon();
        let id = model::Node::id(name);
        let op = if dead { Op::MarkDead(id) } else { Op::MarkAlive(id) };
        if dead {
            self.outlook.dead.insert(name.clone());
            self.desired.dead.insert(id);
        } else {
            self.outlook.dead.remove(name);
            self.desired.dead.remove(&id);
        }
        if self.apply(&[op]).await {
            self.observed.dead.clone_from(&self.desired.dead);
        }
        // Who may be ejected depends on who else answers.
        self.planner.handle_ejections(&self.outlook.world, &self.outlook.ejected.addresses());
    }

    /// Lets services do without backends that fail connects, and take them back.
    pub(crate) fn poll_outliers(&mut self) {
        let now = self.now();
        let Some(watch) = self.outliers.as_mut() else { return };
        if !watch.poll_due() {
            return;
        }
        let counted = self.datapath.connects();
        if let Ok(counts) = &counted {
            let changed = watch.look(counts, &self.outlook, now);
            if !changed.is_empty() {
                self.outlook.ejected = watch.ejected(now);
                self.planner.handle_ejections(&self.outlook.world, &changed);
                self.vital.metrics.set_ejected(self.outlook.ejected.len(), watch.ejections());
            }
        }
        self.problems.set_machine("outliers", counted.err().map(|e| format!("{e:#}")));
    }

    /// Where backends were that are gone for good.
    pub(crate) fn poll_gone(&mut self) -> BTreeSet<SocketAddr> {
        let now = self.now();
        let gone = self.departed.as_mut().map(|departed| departed.poll_gone(&self.outlook.world, now));
        gone.unwrap_or_default()
    }

    /// Looks after what nobody reports: a device that vanished, clusters that came nearer, a kernel that was changed
    /// by others. Returns whether the device is another one now.
    pub(crate) async fn poll_check(&mut self) -> bool {
        let now = Instant::now();
        let mut revived = false;
        if now >= self.check_at {
            self.check_at = now + CHECK_EVERY;
            match self.revive().await {
                Ok(gone) => revived = gone,
                Err(e) => warn!("the tunnel device is gone and cannot be brought back: {e:#}"),
            }
            if revived {
                warn!(interface = self.config.interface, "the tunnel device was gone; brought back");
                self.observe_at = now;
                self.reaching.handle_new_device();
                self.ways.forget();
                self.replan = true;
                self.serve_outside();
            }
            self.replan |= self.outlook.measure(self.prober.cluster_rtts());
            let Outlook { world, me, seen, dead, settings, .. } = &mut self.outlook;
            self.replan |= self.endpoints.poll(world, &me.cluster, &mut seen.resolved);
            let answering = self.probed.iter().filter(|(_, name)| !dead.contains(*name));
            self.replan |= self.paths.poll(&self.config.interface, settings.mtu, answering, &mut seen.narrow);
            self.problems.set_machine("endpoints", self.endpoints.problem());
            self.replan |= self.outlook.follow_clock() | self.ways.is_due(now);
            self.follow_keys();
            self.follow_generations();
            if self.cni.is_some() || now >= self.observe_at {
                self.offer_network();
            }
            self.follow_health_checks().await;
            if let Some(police) = &self.police {
                self.tell_host_addresses(police);
                let Unenforced { closed, why } = police.poll();
                self.vital.metrics.set_policy_closed(closed);
                self.problems.set_machine("policy", (!why.is_empty()).then(|| why.join("; ")));
            }
            self.refresh_vital();
        }
        if now >= self.observe_at {
            self.observe_at = now + OBSERVE_EVERY;
            self.look_after_machine().await;
            self.ways.forget();
            match self.datapath.observe().await {
                Ok(state) => self.observed = state,
                Err(e) => warn!("cannot observe the kernel: {e:#}"),
            }
            self.replan = true;
        }
        self.poll_saving().await;
        revived
    }

    /// What the world says of this node, if it does.
    pub(crate) fn myself(&self) -> Option<&model::Node> {
        self.outlook.world.nodes.get(&self.outlook.me)
    }

    /// What pods are made from; nothing while nobody has said.
    pub(crate) fn pod_network(&self) -> Option<PodNetwork> {
        let configured = &self.config.pod_cidrs;
        let ranges = if configured.is_empty() { &self.own } else { configured };
        let network = PodNetwork { pod_cidrs: ranges.clone(), mtu: self.outlook.settings.mtu };
        (!ranges.is_empty()).then_some(network)
    }

    /// Lets the container runtime know of us, once a pod could be served.
    fn offer_network(&mut self) {
        if self.pod_network().is_none() || self.pending() > 0 {
            return;
        }
        match install::put_configuration(&self.config) {
            Ok(problem) => {
                self.cni = None;
                self.problems.set_machine("cni", problem);
            }
            Err(e) => {
                self.cni = Some("the container runtime's folders".into());
                self.problems.set_machine("cni", Some(format!("{e:#}")));
            }
        }
    }

    /// Lets names follow who is alive and near, at once.
    pub(crate) fn follow_names(&mut self) {
        if let Some(names) = &mut self.names {
            names.follow_health(&self.outlook);
        }
    }

    /// Sees to it that the machine forwards for its pods, and that the guard stands where other nodes are reached.
    async fn look_after_machine(&mut self) {
        let ranges = self.pod_network().map(|network| network.pod_cidrs).unwrap_or_default();
        let families = forwarding::Families {
            v4: ranges.iter().any(|range| range.addr().is_ipv4()),
            v6: ranges.iter().any(|range| range.addr().is_ipv6()),
        };
        let refused: Vec<String> = forwarding::ensure(families).iter().map(ToString::to_string).collect();
        self.problems.set_machine("forwarding", (!refused.is_empty()).then(|| refused.join("; ")));
        if let Some(names) = &mut self.names {
            let problem = names.listen(self.outlook.mesh_ips(&self.desired));
            self.problems.set_machine("dns", problem);
        }
        let followed = self.follow_underlay().await;
        self.problems.set_machine("underlay", followed.err().map(|e| format!("{e:#}")));
        self.serve_outside();
    }

    /// Looks after the way of clients outside of the cluster: devices come and go, addresses change.
    fn serve_outside(&mut self) {
        // Before anything is planned: as the agent before this one left it.
        let planned = &self.desired.tunnel.addresses;
        let mesh = if planned.is_empty() { &self.observed.tunnel.addresses } else { planned };
        let served = self.datapath.serve_outside(mesh);
        self.problems.set_machine("outside", served.err().map(|e| format!("{e:#}")));
    }

    async fn follow_underlay(&mut self) -> Result<()> {
        let underlay = underlay::find(&self.datapath.netlink, &self.config, self.myself()).await?;
        if underlay.name != self.underlay {
            info!(from = self.underlay, to = underlay.name, "another device leads to other nodes now");
            self.datapath.move_to(&self.config, &underlay.name)?;
            self.underlay = underlay.name;
            self.ways.forget();
            self.replan = true;
        }
        let mtu = underlay::tunnel_mtu(underlay.mtu);
        self.replan |= self.outlook.settings.mtu != mtu;
        self.outlook.settings.mtu = mtu;
        Ok(())
    }

    /// Answers from what is known and what the device says right now.
    pub(crate) async fn handle_ask(&mut self, ask: Ask) {
        if let Some(watch) = &self.outliers {
            // The same backends, with what is left of their time.
            self.outlook.ejected = watch.ejected(self.now());
        }
        // Whoever asked and went away misses nothing but the answer.
        match ask {
            Ask::Status(answer) => {
                let device = self.datapath.device.observe().unwrap_or_default();
                let _ = answer.send(status::agent(self, &device));
            }
            Ask::Paths(cluster, answer) => {
                let of_cluster = self.probed.iter().filter(|(_, name)| name.cluster == cluster);
                let _ = answer.send(Paths {
                    interface: self.config.interface.clone(),
                    mtu: self.outlook.settings.mtu,
                    peers: of_cluster.map(|(ip, name)| (name.clone(), *ip)).collect(),
                });
            }
            Ask::Plan(answer) => {
                let observed = self.look().await;
                let operations =
                    plan::diff(&observed, &self.desired).iter().map(ToString::to_string).collect();
                let _ = answer.send(PlanReport { desired: self.desired.clone(), observed, operations });
            }
            Ask::Services(from, answer) => {
                let held = Held { desired: &self.desired, observed: &self.look().await, full: &self.full };
                let _ = answer.send(crate::services::report(&self.outlook, &held, from.as_deref()));
            }
        }
    }

    /// What the kernel holds right now, as far as it can be asked.
    async fn look(&self) -> State {
        match self.datapath.observe().await {
            Ok(observed) => observed,
            Err(e) => {
                warn!("cannot observe the kernel: {e:#}");
                self.observed.clone()
            }
        }
    }

    fn refresh_vital(&self) {
        let device = self.datapath.device.observe().unwrap_or_default();
        let metrics = &self.vital.metrics;
        metrics.set_tunnels(&status::tunnels(self, &device));
        metrics.set_datapath(&self.datapath.counters());
        metrics.set_connected(self.stream.connected);
        if let Some(names) = &self.names {
            metrics.set_dns(names.counters());
        }
        let mut health = self.vital.health.lock().expect("nobody panics while holding it");
        health.waiting_for = self.waiting_for();
    }

    /// Plans anew if something changed, and brings the kernel there.
    pub(crate) async fn settle(&mut self) {
        if !self.replan && self.follow_endpoints().await {
            return;
        }
        self.replan = false;
        self.open_ways().await;
        let begun = Instant::now();
        self.hand_over();
        let Plan { state: mut desired, own, via, hidden, health_checks, problems, full, fills } =
            self.outlook.plan(&mut self.mesh, &mut self.planner, &self.observed);
        self.checks = health_checks;
        self.full = full;
        self.tell_fills(&fills);
        if self.own != own {
            // What the machine has to do for its pods depends on it.
            self.own = own;
            self.look_after_machine().await;
        }
        // Before the first word of a controller nothing is granted, and that is no problem yet.
        if self.told.position.is_some() {
            self.problems.set_claims(problems);
        }
        let probed = self.outlook.probed(&desired, &via);
        self.judge |= self.via != via;
        for (node, _) in via.iter().filter(|(node, hop)| self.via.get(*node).is_some_and(|was| was != *hop)) {
            self.paths.handle_another_way(node);
            self.prober.handle_another_way(node);
        }
        self.reaching.handle_plan(hidden);
        self.via = via;
        self.probed = probed.iter().map(|(name, ip)| (*ip, name.clone())).collect();
        self.outlook.reached = probed.iter().map(|(name, _)| name.clone()).collect();
        self.prober.set_peers(probed, self.now());
        // Who is no peer any more is not dead either.
        self.outlook.dead = self.prober.dead();
        self.outlook.dead.extend(self.outlook.unreached());
        desired.dead = self.outlook.dead.iter().map(model::Node::id).collect();
        let readdressed = self.desired.tunnel.addresses != desired.tunnel.addresses;
        self.desired = desired;
        self.follow_names();
        if readdressed && let Some(names) = &mut self.names {
            let problem = names.listen(self.outlook.mesh_ips(&self.desired));
            self.problems.set_machine("dns", problem);
        }
        self.vital.metrics.observe_planning(begun.elapsed());
        let begun = Instant::now();
        let room = self.outlook.limits.backends;
        let mut well = true;
        while well && let Some(step) = plan::within(&self.observed, &self.desired, room) {
            well = self.apply(&plan::diff(&self.observed, &step)).await;
            if well {
                self.observed = step;
            }
        }
        if well && self.apply(&plan::diff(&self.observed, &self.desired)).await {
            self.observed.clone_from(&self.desired);
        }
        self.tell_ways();
        if readdressed {
            self.serve_outside();
        }
        self.vital.metrics.observe_applying(begun.elapsed());
        self.follow_health_checks().await;
    }

    /// Lets load balancers know how many endpoints are here, and whether anybody is led to them.
    async fn follow_health_checks(&mut self) {
        let healthy = self.checks.is_empty() || self.pending() == 0;
        let problem = self.health_checks.follow(&self.checks, &self.outlook.listen(), healthy).await;
        self.problems.set_machine("healthCheckNodePort", problem);
    }

    /// Plans the services whose endpoints have changed, when nothing else has, and brings the kernel there. Returns
    /// whether that was all there was to do; if not, everything is to be planned.
    async fn follow_endpoints(&mut self) -> bool {
        if !self.planner.is_behind() {
            return true;
        }
        let begun = Instant::now();
        let Some(touched) = self.planner.follow(&self.outlook.view(), &mut self.desired) else {
            return false;
        };
        let fills = self.planner.fills(&self.desired, &self.outlook.limits);
        // New sets might find no room beside the old ones: planning everything goes step by step.
        if fills.iter().any(Fill::is_near) {
            return false;
        }
        self.tell_fills(&fills);
        let ops = plan::diff_touched(&self.observed, &self.desired, &touched);
        self.vital.metrics.observe_planning(begun.elapsed());
        let begun = Instant::now();
        if self.apply(&ops).await {
            touched.copy(&self.desired, &mut self.observed);
        }
        self.vital.metrics.observe_applying(begun.elapsed());
        if !self.checks.is_empty() {
            self.checks = services::health_checks(&self.outlook.view()).0;
            self.follow_health_checks().await;
        }
        true
    }

    /// Says how full the data path is.
    fn tell_fills(&mut self, fills: &[Fill]) {
        let near: Vec<String> = fills.iter().filter(|fill| fill.is_near()).map(ToString::to_string).collect();
        self.problems.set_machine("maps", (!near.is_empty()).then(|| near.join("; ")));
        self.vital.metrics.set_maps(fills.iter().map(|fill| (fill.map, fill.used, fill.limit)));
    }

    /// Changes the kernel. Returns whether everything went well; if not, it is looked at again soon.
    async fn apply(&mut self, ops: &[Op]) -> bool {
        let failed = self.datapath.apply(ops).await;
        for op in ops {
            self.vital.metrics.count_operation(op.kind());
        }
        if let Some(first) = failed.first() {
            warn!(operations = failed.len(), "{first:#}; looking at the kernel again in {RETRY_AFTER:?}");
            self.observe_at = self.observe_at.min(Instant::now() + RETRY_AFTER);
        }
        failed.is_empty()
    }

    /// Why the node is not ready yet; nothing when it is.
    pub(crate) fn waiting_for(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        if self.myself().is_none() {
            waiting.push("the controller to name this node".to_string());
        } else if self.pod_network().is_none() {
            waiting.push(
                "this node's pod ranges: spec.podCIDRs of its Node, or a slice from the controller".into(),
            );
        }
        waiting.extend(self.cni.clone());
        let pending = self.pending();
        if pending > 0 {
            waiting.push(format!("{pending} operations on the kernel"));
        }
        if !self.prober.all_probed() {
            waiting.push("the first answer of some peers".to_string());
        }
        waiting
    }

    /// How many operations the kernel is away from the plan.
    pub(crate) fn pending(&self) -> usize {
        plan::diff(&self.observed, &self.desired).len()
    }

    /// Seconds since the start.
    pub(crate) fn uptime(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
