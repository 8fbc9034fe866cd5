//! Ways to nodes that nobody can dial: what is told of it, what others tell, and what the device does about it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use engine::health::Paths;
use engine::health::paths::{Known, Stands, Step, Via};
use engine::health::unanswered::Unanswered;
use engine::mesh::encapsulation;
use engine::mesh::reach::{self, Met, Sightings};
use kernel::wireguard::{Observed, PeerStats};
use link::NodeReport;
use model::{NodeName, PublicKey, Reach};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Node;

/// Seconds between packets that keep a NAT's mapping open: WireGuard's own advice.
pub(super) const KEEPALIVE: u16 = 25;

/// Keys live so long (Reject-After-Time), and a little more.
const FRESH: Duration = Duration::from_secs(185);

/// How often is looked while something is missing without which others find no way here.
const SOON: Duration = Duration::from_millis(100);

/// What a node knows of ways to others, beside the plan.
#[derive(Debug)]
pub(crate) struct Reaching {
    paths: Paths,
    unanswered: Unanswered,
    sightings: Sightings,
    /// Nodes that nobody dials, as the newest plan has it.
    hidden: BTreeSet<NodeName>,
    /// How each of those is reached, as it was found last.
    stands: BTreeMap<NodeName, Stands>,
    /// Whether the world is another one than when it was last looked at.
    stale: bool,
    /// When to look, if nothing happens before.
    due: Duration,
    /// What was told last.
    reach: Reach,
    /// Between whom the device passes on.
    passed: BTreeSet<PublicKey>,
    report: watch::Sender<NodeReport>,
}

impl Reaching {
    pub(crate) fn new(report: watch::Sender<NodeReport>) -> Self {
        Self {
            paths: Paths::default(),
            unanswered: Unanswered::default(),
            sightings: Sightings::default(),
            hidden: BTreeSet::new(),
            stands: BTreeMap::new(),
            stale: true,
            due: Duration::ZERO,
            reach: Reach::default(),
            passed: BTreeSet::new(),
            report,
        }
    }

    /// There is a new plan.
    pub(super) fn handle_plan(&mut self, hidden: BTreeSet<NodeName>) {
        self.hidden = hidden;
        self.stale = true;
        self.due = Duration::ZERO;
    }

    /// Somebody fell silent, or answers again; or it is time to look.
    pub(super) fn look_soon(&mut self) {
        self.due = Duration::ZERO;
    }

    /// When to look.
    pub(super) fn deadline(&self) -> Duration {
        self.paths.deadline().map_or(self.due, |at| at.min(self.due))
    }

    /// The device is another one: it knows nothing of what the one before was told.
    pub(super) fn handle_new_device(&mut self) {
        self.passed.clear();
        self.due = Duration::ZERO;
    }

    /// How a node is reached that nobody dials.
    pub(crate) fn stands(&self, node: &NodeName) -> Option<&Stands> {
        self.stands.get(node)
    }
}

impl Node {
    /// Tells what is to be told, and follows what was.
    pub(crate) fn poll_paths(&mut self) {
        let now = self.now();
        if now < self.reaching.deadline() {
            return;
        }
        self.reaching.due = now + super::CHECK_EVERY;
        let Ok(observed) = self.datapath.device.observe() else { return };
        let keys = self.hops();
        let stats = |key: &PublicKey| observed.peers.get(key).copied().unwrap_or_default();
        let found: BTreeMap<&NodeName, PeerStats> =
            keys.iter().map(|(name, key)| (name, stats(key))).collect();
        self.tell_reach(&found);
        self.say_silence(&observed, &keys, now);
        self.follow_paths(&found, &keys, now);
    }

    /// The nodes with tunnels, and their keys.
    fn hops(&self) -> BTreeMap<NodeName, PublicKey> {
        let hops: BTreeSet<&NodeName> = self.via.values().collect();
        let key = |name: &NodeName| self.outlook.world.nodes.get(name)?.public_key;
        hops.into_iter().filter_map(|name| Some((name.clone(), key(name)?))).collect()
    }

    fn tell_reach(&mut self, found: &BTreeMap<&NodeName, PeerStats>) {
        let Some(me) = self.myself() else { return };
        let met = found.iter().filter_map(|(name, stats)| {
            let at = stats.endpoint.filter(|_| is_fresh(stats))?;
            let rtt = self.prober.rtt(name).filter(|_| self.prober.is_alive(name));
            Some(((*name).clone(), Met { at, rtt }))
        });
        let met: BTreeMap<NodeName, Met> = met.collect();
        let passes_on = self.datapath.device.passes_on();
        let reach = reach::found(&self.outlook.world, me, passes_on, &met, &self.reaching.reach);
        let is_relay =
            |name: &&NodeName| self.outlook.world.nodes.get(*name).is_some_and(|n| n.mesh.reach.relays);
        let awaited = !reach::is_dialled(me) && reach.relayed_by.is_empty() && found.keys().any(is_relay);
        if awaited {
            self.reaching.due = self.now() + SOON;
        }
        let passed = found.keys().filter_map(|name| self.outlook.world.nodes.get(*name)?.public_key);
        let passed: BTreeSet<PublicKey> = passed.filter(|_| reach.relays).collect();
        if passed != self.reaching.passed {
            match self.datapath.device.pass_on(&passed) {
                Ok(()) => self.reaching.passed = passed,
                Err(e) => warn!("passing on messages between nodes: {e}"),
            }
        }
        if reach != self.reaching.reach {
            self.reaching.report.send_modify(|report| report.reach = reach.clone());
            self.reaching.reach = reach;
        }
    }

    /// Says whom a firewall seems to keep from us.
    fn say_silence(&mut self, observed: &Observed, keys: &BTreeMap<NodeName, PublicKey>, now: Duration) {
        // Nothing is said in tunnels beside which there is a way that needs none.
        let unused =
            encapsulation::transports(&self.outlook.world, &keys.keys().collect(), &self.desired.neighbours);
        let used = keys.iter().filter(|(name, _)| !unused.contains_key(name));
        let dialled = used.filter_map(|(name, key)| {
            let at = self.desired.tunnel.peers.get(key)?.endpoint?;
            let stats = observed.peers.get(key).filter(|stats| stats.tx_bytes > 0)?;
            Some((name.clone(), (at, is_fresh(stats))))
        });
        let dialled: BTreeMap<NodeName, (SocketAddr, bool)> = dialled.collect();
        let silence = self.reaching.unanswered.follow(&dialled, now);
        self.problems.set_machine("udp", silence.map(|silence| silence.to_string()));
    }

    fn follow_paths(
        &mut self,
        found: &BTreeMap<&NodeName, PeerStats>,
        keys: &BTreeMap<NodeName, PublicKey>,
        now: Duration,
    ) {
        if self.reaching.hidden.is_empty() && self.reaching.stands.is_empty() {
            return;
        }
        if std::mem::take(&mut self.reaching.stale) {
            self.reaching.sightings = Sightings::of(&self.outlook.world);
        }
        let hidden = &self.reaching.hidden;
        let dialled = found.iter().filter(|(name, _)| !hidden.contains(**name));
        let places: BTreeMap<SocketAddr, &NodeName> =
            dialled.filter_map(|(name, stats)| Some((stats.endpoint?, *name))).collect();
        let dead = self.prober.dead();
        let known: BTreeMap<NodeName, Known> = hidden
            .iter()
            .filter_map(|name| {
                let stats = found.get(name)?;
                Some((name.clone(), self.known(name, stats, found, &places, &dead)?))
            })
            .collect();
        self.note_stands(&known);
        let probes = self.datapath.device.passes_on();
        for step in self.reaching.paths.follow(&known, probes, now) {
            let device = &self.datapath.device;
            let done = match &step {
                Step::Point(name, at) => device.point(keys[name], *at),
                Step::Probe(name, at) => device.probe(keys[name], *at, false),
                Step::Move(name, at) => device.probe(keys[name], *at, true),
            };
            if let Err(e) = done {
                warn!("finding a way to a node behind a NAT: {e}");
            }
            if !matches!(step, Step::Probe(..)) {
                self.reaching.due = self.now() + SOON;
            }
        }
    }

    fn known(
        &self,
        name: &NodeName,
        stats: &PeerStats,
        found: &BTreeMap<&NodeName, PeerStats>,
        places: &BTreeMap<SocketAddr, &NodeName>,
        dead: &BTreeSet<NodeName>,
    ) -> Option<Known> {
        let (world, reaching) = (&self.outlook.world, &self.reaching);
        let outside = |at: &SocketAddr| !self.desired.guarded.iter().any(|range| range.contains(&at.ip()));
        let relays = reach::relays(world, &reaching.reach, world.nodes.get(name)?);
        let via = |(name, time): (NodeName, Duration)| {
            let at = found.get(&name)?.endpoint?;
            self.prober.is_alive(&name).then_some(Via { name, at, time })
        };
        Some(Known {
            stands: match stats.endpoint {
                None => Stands::Nowhere,
                Some(at) => match places.get(&at) {
                    Some(relay) => Stands::Relay((*relay).clone()),
                    None => Stands::Direct,
                },
            },
            candidate: reaching.sightings.candidate(name).filter(outside),
            hopeless: [&self.outlook.me, name].iter().all(|name| reaching.sightings.is_symmetric(name)),
            relays: relays.into_iter().filter_map(via).collect(),
            alive: match (dead.contains(name), self.prober.is_alive(name)) {
                (true, _) => Some(false),
                (_, true) => Some(true),
                _ => None,
            },
        })
    }

    fn note_stands(&mut self, known: &BTreeMap<NodeName, Known>) {
        let stands: BTreeMap<NodeName, Stands> =
            known.iter().map(|(name, known)| (name.clone(), known.stands.clone())).collect();
        for (peer, stands) in &stands {
            if self.reaching.stands.get(peer) == Some(stands) {
                continue;
            }
            self.paths.handle_another_way(peer);
            match stands {
                Stands::Nowhere => {}
                Stands::Direct => info!(%peer, "reached past the NATs, directly"),
                Stands::Relay(relay) => info!(%peer, %relay, "reached by a relay"),
            }
        }
        self.reaching.stands = stands;
    }
}

fn is_fresh(stats: &PeerStats) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    stats.last_handshake.is_some_and(|at| now.saturating_sub(at) < FRESH)
}
