//! The run: one queue of what happens when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use engine::exchange::{Audience, Heard, Told};
use link::frames::Said;
use model::{Change, Cluster, ClusterName, Key, Object};

use crate::hostile::Liar;
use crate::measure::Report;
use crate::network::{SECOND, Time};
use crate::scenario::Scenario;
use crate::shape::{self, MOST_CLUSTERS};
use crate::site::{Agent, Controller};
use crate::stream::{Hearer, Stream, Zstd};
use crate::{Random, Traffic};

/// What a hearer needs for a change, in nanoseconds: as the release build was measured, rounded up.
const NANOSECONDS_PER_CHANGE: u64 = 5_000;
/// For how long it is remembered when a change was made.
const REMEMBERED: Time = 60 * SECOND;

/// Something that happens.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The stream is there.
    Connect { stream: usize },
    /// It breaks.
    Break { stream: usize, generation: u32 },
    /// There may be something to tell.
    Tell { stream: usize, generation: u32 },
    /// Bytes arrive.
    Arrive { stream: usize, generation: u32, bytes: Vec<u8>, changes: u64 },
    /// The hearer takes them in.
    Take { stream: usize, generation: u32, bytes: Vec<u8> },
    /// The teller knows that they have arrived.
    Acknowledge { stream: usize, generation: u32, bytes: usize },
    /// Something changes somewhere.
    Change,
    /// The network is cut in two.
    Cut,
    /// It is whole again.
    Heal,
}

/// A run.
pub struct Sim {
    scenario: Scenario,
    random: Random,
    now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    /// Counts events: those of one moment happen in the order in which they were planned.
    planned: u64,
    controllers: Vec<Controller>,
    agents: Vec<Agent>,
    streams: Vec<Stream>,
    clusters: Vec<Cluster>,
    /// When the changes end; nothing breaks after it.
    end: Time,
    cut: bool,
    /// When the network was whole again, and what the cut streams had carried until then.
    healed: Option<(Time, Traffic)>,
    /// When what was last changed.
    born: HashMap<Key, Time>,
    births: VecDeque<(Time, Key)>,
    report: Report,
    zstd: Zstd,
}

impl Sim {
    /// The scenario, before anything has happened.
    ///
    /// # Panics
    /// The scenario has more clusters than there are ranges, or none with an endpoint that could change.
    pub fn new(scenario: Scenario) -> Self {
        assert!((1..=MOST_CLUSTERS).contains(&scenario.clusters), "1 to {MOST_CLUSTERS} clusters");
        assert!(scenario.hearers <= scenario.clusters, "a cluster that hears is one of the clusters");
        assert!(scenario.shape.nodes <= 250 && scenario.shape.nodes > 0, "1 to 250 nodes");
        assert!(scenario.shape.endpoints <= scenario.shape.nodes * 200, "at most 200 endpoints on a node");
        assert!(scenario.shape.endpoints > 0 && scenario.shape.services > 0, "at least one of each");
        let mut random = Random::new(scenario.seed);
        let count = scenario.clusters;
        let controllers =
            (0..count).map(|c| Controller::new(c, count, scenario.shape, &mut random)).collect();
        let mut sim = Self {
            random,
            now: 0,
            queue: BinaryHeap::new(),
            planned: 0,
            controllers,
            agents: Vec::new(),
            streams: Vec::new(),
            clusters: (0..count).map(shape::cluster).collect(),
            end: Time::MAX,
            cut: false,
            healed: None,
            born: HashMap::new(),
            births: VecDeque::new(),
            report: Report::default(),
            zstd: Zstd::default(),
            scenario,
        };
        sim.wire_up();
        sim
    }

    fn wire_up(&mut self) {
        let Scenario { clusters, hearers, agents, path, agent_path, encoding, misdeed, shape, .. } =
            self.scenario.clone();
        for hearer in 0..hearers {
            for teller in (0..clusters).filter(|teller| *teller != hearer) {
                let mut stream = Stream::new(teller, Hearer::Controller(hearer), path, encoding);
                if let Some(misdeed) = misdeed.filter(|_| teller == clusters - 1) {
                    stream.liar = Some(Liar::new(misdeed, teller, shape, &mut self.random));
                }
                self.controllers[hearer].hears[teller] = Some(self.streams.len());
                self.open(stream);
            }
            for _ in 0..agents {
                let stream = Stream::new(hearer, Hearer::Agent(self.agents.len()), agent_path, encoding);
                self.agents.push(Agent { cluster: hearer, ..Agent::default() });
                self.open(stream);
            }
        }
    }

    fn open(&mut self, stream: Stream) {
        let id = self.streams.len();
        self.controllers[stream.teller].tells.push(id);
        self.streams.push(stream);
        let within = self.random.below(100_000);
        self.plan(within, Event::Connect { stream: id });
    }

    /// Plays it all: everybody hears everything, then there are changes for a while, then everything settles.
    pub fn run(mut self) -> Report {
        self.bootstrap();
        self.churn();
        self.finish()
    }

    /// Plays until everybody knows everything.
    pub fn bootstrap(&mut self) {
        while self.streams.iter().any(|stream| stream.bootstrap.is_none()) {
            if !self.step() {
                break;
            }
        }
        (self.report.bootstrap, self.report.agents_bootstrap) = self.traffic();
    }

    /// Plays the changes, and on until nothing more happens.
    pub fn churn(&mut self) {
        let Scenario { seconds, partition, breaks, .. } = self.scenario;
        let begin = self.now;
        self.end = begin + seconds * SECOND;
        self.plan(0, Event::Change);
        if let Some(partition) = partition {
            self.plan(partition.from * SECOND, Event::Cut);
            self.plan(partition.to * SECOND, Event::Heal);
        }
        if breaks.is_some() {
            (0..self.streams.len()).for_each(|stream| self.plan_break(stream));
        }
        while self.step() {}
        let (controllers, agents) = self.traffic();
        self.report.churn = controllers.since(&self.report.bootstrap);
        self.report.agents_churn = agents.since(&self.report.agents_bootstrap);
    }

    /// What came of it.
    pub fn finish(mut self) -> Report {
        let peers = |stream: &&Stream| matches!(stream.hearer, Hearer::Controller(_));
        self.report.refused = self.streams.iter().filter(peers).map(|s| s.mirror.refusals().total()).sum();
        let hostile = self.streams.iter().filter(|stream| stream.liar.is_some());
        let kinds = model::Kind::ALL;
        let held = |stream: &Stream| kinds.iter().map(|kind| stream.mirror.count(*kind) as u64).sum::<u64>();
        self.report.held_of_hostile = hostile.map(held).sum();
        self.report.diverged = self.diverged();
        self.report
    }

    /// How much agents know.
    pub fn agents_know(&self) -> usize {
        self.agents.iter().map(|agent| agent.world.len()).sum()
    }

    /// One thing happens. Returns whether there was one.
    fn step(&mut self) -> bool {
        let Some(Reverse((at, _, event))) = self.queue.pop() else { return false };
        self.now = at;
        match event {
            Event::Connect { stream } => self.connect(stream),
            Event::Break { stream, generation } => {
                if self.is_current(stream, generation) && at < self.end {
                    self.disconnect(stream);
                }
            }
            Event::Tell { stream, generation } => {
                if self.is_current(stream, generation) {
                    self.tell(stream);
                }
            }
            Event::Arrive { stream, generation, bytes, changes } => {
                if self.is_current(stream, generation) {
                    self.arrive(stream, generation, bytes, changes);
                }
            }
            Event::Take { stream, generation, bytes } => {
                if self.is_current(stream, generation) {
                    self.take(stream, &bytes);
                }
            }
            Event::Acknowledge { stream, generation, bytes } => {
                if self.is_current(stream, generation) {
                    self.streams[stream].acknowledge(bytes);
                    self.wake(stream, 0);
                }
            }
            Event::Change => self.change(),
            Event::Cut => {
                self.cut = true;
                for stream in 0..self.streams.len() {
                    if self.is_cut(stream) && self.streams[stream].is_up() {
                        self.disconnect(stream);
                    }
                }
            }
            Event::Heal => {
                self.cut = false;
                let crossing = (0..self.streams.len()).filter(|s| self.crosses(*s));
                self.healed = Some((self.now, sum(crossing.map(|s| &self.streams[s].traffic))));
            }
        }
        true
    }

    fn plan(&mut self, after: Time, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse((self.now + after, self.planned, event)));
    }

    fn plan_break(&mut self, stream: usize) {
        let Some(mean) = self.scenario.breaks.filter(|_| self.end != Time::MAX) else { return };
        if matches!(self.streams[stream].hearer, Hearer::Agent(_)) {
            return;
        }
        let after = -(1.0 - self.random.part()).ln() * (mean * SECOND) as f64;
        let generation = self.streams[stream].generation;
        self.plan(after as Time, Event::Break { stream, generation });
    }

    fn is_current(&self, stream: usize, generation: u32) -> bool {
        self.streams[stream].is_up() && self.streams[stream].generation == generation
    }

    /// Whether the partition lies across a stream.
    fn crosses(&self, stream: usize) -> bool {
        let Some(partition) = self.scenario.partition else { return false };
        let stream = &self.streams[stream];
        match stream.hearer {
            Hearer::Controller(c) => (c < partition.clusters) != (stream.teller < partition.clusters),
            Hearer::Agent(_) => false,
        }
    }

    fn is_cut(&self, stream: usize) -> bool {
        self.cut && self.crosses(stream)
    }

    fn connect(&mut self, stream: usize) {
        if self.is_cut(stream) {
            // As `link` backs off: five seconds at the most.
            let after = 2_500_000 + self.random.below(2_500_000);
            self.plan(after, Event::Connect { stream });
            return;
        }
        let now = self.now;
        // TCP, TLS and the greeting: three round trips before anything is asked for.
        let after = 6 * self.streams[stream].path.delay;
        self.streams[stream].connect(now + after);
        self.plan_break(stream);
        self.wake(stream, after);
    }

    fn disconnect(&mut self, stream: usize) {
        self.report.breaks += 1;
        self.streams[stream].disconnect();
        let after = 50_000 + self.random.below(50_000);
        self.plan(after, Event::Connect { stream });
    }

    fn wake(&mut self, stream: usize, after: Time) {
        let s = &mut self.streams[stream];
        if s.is_up() && !std::mem::replace(&mut s.woken, true) {
            let generation = s.generation;
            self.plan(after, Event::Tell { stream, generation });
        }
    }

    fn tell(&mut self, stream: usize) {
        let s = &mut self.streams[stream];
        s.woken = false;
        if self.now < s.since {
            let after = s.since - self.now;
            self.wake(stream, after);
            return;
        }
        let audience = s.audience();
        loop {
            let s = &mut self.streams[stream];
            if s.room().is_none() {
                return;
            }
            let told = match (&mut s.liar, self.now < self.end) {
                (Some(liar), true) => liar.poll(self.now, &mut self.random),
                (Some(_), false) => None,
                (None, _) => {
                    let teller = &self.controllers[s.teller].teller;
                    s.room().and_then(|cursor| teller.poll(audience, cursor))
                }
            };
            let Some(told) = told else { break };
            let changes = match &told {
                Told::Batch { changes, .. } => changes.len() as u64,
                _ => 1,
            };
            let (bytes, arrival) = s.send(told, self.now, &mut self.random, &mut self.zstd);
            let (generation, after) = (s.generation, arrival - self.now);
            self.plan(after, Event::Arrive { stream, generation, bytes, changes });
        }
        if let Some(liar) = &self.streams[stream].liar
            && self.end != Time::MAX
            && self.now < self.end
        {
            let after = liar.next.saturating_sub(self.now);
            self.wake(stream, after);
        }
    }

    /// The hearer takes one thing after the other.
    fn arrive(&mut self, stream: usize, generation: u32, bytes: Vec<u8>, changes: u64) {
        let busy = match self.streams[stream].hearer {
            Hearer::Controller(c) => &mut self.controllers[c].busy,
            Hearer::Agent(a) => &mut self.agents[a].busy,
        };
        *busy = (*busy).max(self.now) + changes * NANOSECONDS_PER_CHANGE / 1000;
        let after = *busy - self.now;
        self.plan(after, Event::Take { stream, generation, bytes });
    }

    fn take(&mut self, stream: usize, bytes: &[u8]) {
        let s = &mut self.streams[stream];
        let (generation, back) = (s.generation, s.path.delay);
        let Said::Told(told, _) = s.read(bytes, &mut self.zstd) else { return };
        let heard = match s.mirror.handle(told, self.clusters.as_slice()) {
            Ok(heard) => heard,
            Err(_) => {
                self.disconnect(stream);
                return;
            }
        };
        self.plan(back, Event::Acknowledge { stream, generation, bytes: bytes.len() });
        self.apply(stream, heard);
    }

    fn apply(&mut self, stream: usize, heard: Heard) {
        for change in &heard.changes {
            self.note_age(stream, change);
        }
        match self.streams[stream].hearer {
            Hearer::Controller(c) => {
                let controller = &mut self.controllers[c];
                let mut changed = false;
                for change in heard.changes {
                    changed |= controller.teller.apply(change);
                }
                if changed {
                    self.wake_all(c);
                }
            }
            Hearer::Agent(a) => {
                for change in heard.changes {
                    self.agents[a].world.apply(change);
                }
            }
        }
        if heard.resync {
            self.disconnect(stream);
        } else if heard.synced {
            self.note_synced(stream);
        }
    }

    fn wake_all(&mut self, controller: usize) {
        for at in 0..self.controllers[controller].tells.len() {
            let stream = self.controllers[controller].tells[at];
            self.wake(stream, 0);
        }
    }

    fn change(&mut self) {
        let Scenario { changes, clusters, misdeed, .. } = self.scenario;
        if self.now >= self.end || changes == 0 {
            return;
        }
        // Who misbehaves is busy with that.
        let changing = if misdeed.is_some() { clusters - 1 } else { clusters };
        let c = self.random.index(changing);
        let controller = &mut self.controllers[c];
        let made = controller.pods.change(&mut self.random);
        let count = made.len() as u64;
        for change in made {
            let key = change.key();
            controller.teller.apply(change);
            self.births.push_back((self.now, key.clone()));
            self.born.insert(key, self.now);
        }
        while self.births.front().is_some_and(|(at, _)| *at + REMEMBERED < self.now) {
            let Some((at, key)) = self.births.pop_front() else { break };
            if self.born.get(&key) == Some(&at) {
                self.born.remove(&key);
            }
        }
        self.report.made += count;
        self.wake_all(c);
        let mean = (SECOND * count / changes) as f64;
        let after = -(1.0 - self.random.part()).ln() * mean;
        self.plan(after as Time, Event::Change);
    }

    /// Notes how old a change is that arrives somewhere, if it is still what its cluster says.
    fn note_age(&mut self, stream: usize, change: &Change) {
        let key = change.key();
        let Some(born) = self.born.get(&key).copied() else { return };
        let Some(source) = self.clusters.iter().position(|cluster| cluster.name == *key.cluster()) else {
            return;
        };
        let current = self.controllers[source].teller.log(Audience::Peers).get(&key);
        let is_current = match (change, current) {
            (Change::Upsert(object), Some(current)) => *object == **current,
            (Change::Delete(_), None) => true,
            _ => false,
        };
        if !is_current {
            return;
        }
        let s = &self.streams[stream];
        let (since, ages) = match s.hearer {
            Hearer::Controller(_) => (s.since, &mut self.report.to_controllers),
            Hearer::Agent(agent) => {
                let heard_on = self.controllers[self.agents[agent].cluster].hears[source];
                (heard_on.map_or(0, |s| self.streams[s].since), &mut self.report.to_agents)
            }
        };
        if born < since {
            self.report.delayed += 1;
        } else {
            ages.add(self.now - born);
        }
    }

    fn note_synced(&mut self, stream: usize) {
        let now = self.now / 1000;
        let s = &mut self.streams[stream];
        s.synced = true;
        let controller = match s.hearer {
            Hearer::Controller(c) => {
                if s.bootstrap.is_none() {
                    s.bootstrap = Some(s.traffic);
                    self.report.controllers_synced_ms = now;
                }
                c
            }
            Hearer::Agent(_) => s.teller,
        };
        // An agent knows everything once its controller does and has told it.
        let Controller { teller, hears, tells, .. } = &self.controllers[controller];
        let place = Some(teller.position(Audience::Agents));
        if hears.iter().flatten().all(|s| self.streams[*s].bootstrap.is_some()) {
            for s in tells.iter().copied() {
                let s = &mut self.streams[s];
                let is_agent = matches!(s.hearer, Hearer::Agent(_));
                if is_agent && s.bootstrap.is_none() && s.synced && s.mirror.position() == place {
                    s.bootstrap = Some(s.traffic);
                    self.report.agents_synced_ms = now;
                }
            }
        }
        if let Some((at, before)) = self.healed {
            let crossing: Vec<usize> = (0..self.streams.len()).filter(|s| self.crosses(*s)).collect();
            if crossing.iter().all(|s| self.streams[*s].synced) {
                self.healed = None;
                self.report.healed_ms = (self.now - at) / 1000;
                self.report.healing = sum(crossing.iter().map(|s| &self.streams[*s].traffic)).since(&before);
                let snapshots = crossing.iter().filter_map(|s| self.streams[*s].bootstrap);
                self.report.healing_as_snapshots = snapshots.map(|traffic| traffic.bytes).sum();
            }
        }
    }

    fn traffic(&self) -> (Traffic, Traffic) {
        let honest = self.streams.iter().filter(|stream| stream.liar.is_none());
        let (peers, agents): (Vec<_>, Vec<_>) =
            honest.partition(|stream| matches!(stream.hearer, Hearer::Controller(_)));
        let total = |streams: Vec<&Stream>| sum(streams.into_iter().map(|stream| &stream.traffic));
        (total(peers), total(agents))
    }

    /// Where a hearer does not know what its teller says. Of clusters that misbehave nothing is expected.
    fn diverged(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let known_of: Vec<HashMap<ClusterName, usize>> =
            self.controllers.iter().take(self.scenario.hearers).map(Controller::known).collect();
        for stream in self.streams.iter().filter(|stream| stream.liar.is_none()) {
            let teller = &self.controllers[stream.teller];
            let expected: Vec<&Object> = teller.told(stream.audience()).collect();
            let missing = expected.iter().filter(|object| match stream.hearer {
                Hearer::Controller(c) => {
                    let known = self.controllers[c].teller.log(Audience::Agents).get(&object.key());
                    known.is_none_or(|known| **known != ***object)
                }
                Hearer::Agent(a) => self.agents[a].world.get(&object.key()).as_ref() != Some(object),
            });
            let missing = missing.count();
            let known = match stream.hearer {
                Hearer::Controller(c) => {
                    known_of[c].get(&shape::name(stream.teller)).copied().unwrap_or_default()
                }
                Hearer::Agent(a) => self.agents[a].world.len(),
            };
            if missing > 0 || known != expected.len() {
                wrong.push(format!(
                    "{:?} knows {known} of {} objects of {}, {missing} of them missing or old",
                    stream.hearer,
                    expected.len(),
                    shape::name(stream.teller)
                ));
            }
        }
        wrong
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Traffic>) -> Traffic {
    all.fold(Traffic::default(), |mut total, traffic| {
        total.messages += traffic.messages;
        total.bytes += traffic.bytes;
        total.changes += traffic.changes;
        total.snapshots += traffic.snapshots;
        total
    })
}
