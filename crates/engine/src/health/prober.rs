//! Whom to ask when, and whom to call dead.
//!
//! Anything heard from a peer counts, its own question too, so of two peers mostly one asks. A peer that falls
//! silent is asked at once and then again and again until it answers or its time is up. A prober that was itself
//! not run for a while blames nobody for what it could not hear.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use model::{ClusterName, NodeName};
use siphasher::sip::SipHasher13;

use super::answers::{Answers, IN_VAIN, Tally};
use super::rtt::Rtt;
use super::timing::{DEAD_EVERY, FIRST_GRACE, LEAST_PROBES, LONG_DEAD, RTT_EVERY, Timing};

/// A peer that is heard but never answers is not waited for after so many questions.
const ENOUGH: u32 = 12;

/// Probes whose answers can still be timed.
const OUTSTANDING: usize = 32;

/// A question to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// To whom.
    pub peer: NodeName,
    /// Its address in the mesh.
    pub ip: IpAddr,
    /// What its answer repeats.
    pub seq: u16,
}

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer does not answer.
    Died(NodeName),
    /// A dead peer answers again.
    Revived(NodeName),
}

/// Asks the peers of one node. See the module's description.
#[derive(Debug)]
pub struct Prober {
    me: NodeName,
    random: Random,
    timing: Timing,
    ids: BTreeMap<NodeName, u32>,
    peers: BTreeMap<u32, Peer>,
    /// When each peer wants attention next.
    queue: BTreeSet<(Duration, u32)>,
    /// Who was dead for a prober before this one, and has not been met yet.
    presumed: BTreeSet<NodeName>,
    events: VecDeque<Event>,
    last_call: Option<Duration>,
    next_id: u32,
}

#[derive(Debug)]
struct Peer {
    name: NodeName,
    ip: IpAddr,
    state: State,
    /// When it was heard last; when it was added, if it never was.
    heard: Duration,
    /// Questions since then.
    unanswered: u32,
    /// Questions ever.
    asked: u32,
    next_probe: Duration,
    last_probe: Option<Duration>,
    outstanding: VecDeque<Question>,
    next_seq: u16,
    rtt: Option<Rtt>,
    tally: Tally,
    /// Its entry in the queue.
    queued: Duration,
}

#[derive(Debug)]
struct Question {
    seq: u16,
    sent: Duration,
    /// Whether its answer may come late through our own fault.
    excused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Alive,
    Dead { since: Duration },
}

impl Prober {
    /// A prober of the node `me` that knows nobody yet. The seed spreads the questions over time.
    pub fn new(me: &NodeName, seed: u64) -> Self {
        let mut hasher = SipHasher13::new_with_keys(seed, 0);
        me.hash(&mut hasher);
        Self {
            me: me.clone(),
            random: Random(hasher.finish()),
            timing: Timing::of(0),
            ids: BTreeMap::new(),
            peers: BTreeMap::new(),
            queue: BTreeSet::new(),
            presumed: BTreeSet::new(),
            events: VecDeque::new(),
            last_call: None,
            next_id: 0,
        }
    }

    /// These were found dead by a prober before this one: when they become peers they begin dead instead of unknown,
    /// and whoever follows the events hears of their revival.
    pub fn presume_dead(&mut self, names: BTreeSet<NodeName>) {
        self.presumed = names;
    }

    /// These are the peers now. What is known of those that stay is kept; one that goes leaves [`Prober::dead`]
    /// without an event.
    pub fn set_peers(&mut self, peers: Vec<(NodeName, IpAddr)>, now: Duration) {
        self.arrive(now);
        let mut gone = std::mem::take(&mut self.ids);
        self.timing = Timing::of(peers.len());
        for (name, ip) in peers {
            if let Some(id) = gone.remove(&name) {
                let peer = self.peers.get_mut(&id).expect("a peer has its id");
                if peer.ip != ip {
                    peer.ip = ip;
                    peer.outstanding.clear();
                }
                self.ids.insert(name, id);
            } else if !self.ids.contains_key(&name) {
                let next_probe = now + self.random.part_of(self.timing.interval);
                let state =
                    if self.presumed.remove(&name) { State::Dead { since: now } } else { State::Unknown };
                let (id, peer) = (self.next_id, Peer::new(name.clone(), ip, state, next_probe, now));
                self.next_id = self.next_id.wrapping_add(1);
                self.queue.insert((peer.queued, id));
                self.peers.insert(id, peer);
                self.ids.insert(name, id);
            }
        }
        for id in gone.into_values() {
            let peer = self.peers.remove(&id).expect("a peer has its id");
            self.queue.remove(&(peer.queued, id));
        }
    }

    /// Something came from the peer through the mesh that is no answer to us: its own question.
    pub fn handle_heard(&mut self, peer: &NodeName, now: Duration) {
        self.arrive(now);
        if let Some(id) = self.ids.get(peer).copied() {
            self.heard(id, now);
        }
    }

    /// The peer answered.
    pub fn handle_reply(&mut self, peer: &NodeName, seq: u16, now: Duration) {
        self.arrive(now);
        let Some(id) = self.ids.get(peer).copied() else { return };
        let peer = self.peers.get_mut(&id).expect("a peer has its id");
        // An answer to a question that waited for the handshake tells nothing of the way.
        let timed = peer.state == State::Alive;
        if let Some(at) = peer.outstanding.iter().position(|asked| asked.seq == seq && timed) {
            let Question { sent, excused, .. } = peer.outstanding.remove(at).expect("just found");
            let time = now.saturating_sub(sent);
            peer.rtt = Some(Rtt::update(peer.rtt, time));
            peer.tally.answered((!excused).then_some(time), now);
        }
        self.heard(id, now);
    }

    /// The way to the peer is another one: what was asked by the former one says nothing of it.
    pub fn handle_another_way(&mut self, peer: &NodeName) {
        let peer = self.ids.get(peer).and_then(|id| self.peers.get_mut(id));
        if let Some(peer) = peer {
            peer.outstanding.clear();
            peer.tally.forget();
        }
    }

    /// The next question that is due. First hand in what has arrived; call until there is none, then [`Prober::poll_event`].
    pub fn poll_probe(&mut self, now: Duration) -> Option<Probe> {
        self.arrive(now);
        while let Some((due, id)) = self.queue.first().copied().filter(|(due, _)| *due <= now) {
            self.queue.remove(&(due, id));
            let Self { random, timing, peers, events, .. } = self;
            let peer = peers.get_mut(&id).expect("a queued peer exists");
            if peer.is_dying(timing, now) {
                peer.state = State::Dead { since: now };
                peer.tally.forget();
                events.push_back(Event::Died(peer.name.clone()));
            }
            let probe = (peer.next_probe <= now).then(|| peer.probe(timing, random, now));
            peer.queued = peer.due(timing, now);
            self.queue.insert((peer.queued, id));
            if probe.is_some() {
                return probe;
            }
        }
        None
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Prober::poll_probe`] again at the latest; none while there is nobody to ask.
    pub fn deadline(&self) -> Option<Duration> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The peer's smoothed round-trip time; the last one known if it is dead.
    pub fn rtt(&self, peer: &NodeName) -> Option<Duration> {
        let peer = self.peers.get(self.ids.get(peer)?)?;
        peer.rtt.map(|rtt| rtt.smoothed())
    }

    /// How well those that are alive have answered since this was called last; whoever was not asked is not there.
    pub fn take_answers(&mut self) -> BTreeMap<NodeName, Answers> {
        let alive = self.peers.values_mut().filter(|peer| peer.state == State::Alive);
        let taken =
            alive.map(|peer| (&peer.name, peer.tally.take())).filter(|(_, answers)| answers.asked > 0);
        taken.map(|(name, answers)| (name.clone(), answers)).collect()
    }

    /// Each other cluster's time: the median of its nodes'. Dead nodes keep theirs, so that a dying cluster does not
    /// shuffle every ladder at the worst moment.
    pub fn cluster_rtts(&self) -> BTreeMap<ClusterName, Option<Duration>> {
        let mut times: BTreeMap<ClusterName, Vec<Duration>> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| peer.name.cluster != self.me.cluster) {
            let of_cluster = times.entry(peer.name.cluster.clone()).or_default();
            of_cluster.extend(peer.rtt.map(|rtt| rtt.smoothed()));
        }
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times.get(times.len().saturating_sub(1) / 2).copied()
        };
        times.into_iter().map(|(name, times)| (name, median(times))).collect()
    }

    /// The peers that do not answer.
    pub fn dead(&self) -> BTreeSet<NodeName> {
        let dead = self.peers.values().filter(|peer| matches!(peer.state, State::Dead { .. }));
        dead.map(|peer| peer.name.clone()).collect()
    }

    /// Whether the peer has been heard and is not dead.
    pub fn is_alive(&self, peer: &NodeName) -> bool {
        self.ids.get(peer).is_some_and(|id| self.peers[id].state == State::Alive)
    }

    /// Whether of every peer it is known if it answers, and how far away it is if that can be known.
    pub fn all_probed(&self) -> bool {
        self.peers.values().all(|peer| match peer.state {
            State::Unknown => false,
            State::Alive => peer.rtt.is_some() || peer.asked >= ENOUGH,
            State::Dead { .. } => true,
        })
    }

    fn heard(&mut self, id: u32, now: Duration) {
        let peer = self.peers.get_mut(&id).expect("a peer has its id");
        if let State::Dead { .. } = peer.state {
            self.events.push_back(Event::Revived(peer.name.clone()));
        }
        if peer.state != State::Alive {
            peer.outstanding.clear();
            peer.tally.forget();
        }
        peer.state = State::Alive;
        peer.heard = now;
        peer.unanswered = 0;
        let again_after = match peer.rtt {
            None => self.timing.retry,
            Some(rtt) if !rtt.is_settled() || peer.tally.is_alert(now) => self.timing.interval,
            Some(_) => RTT_EVERY,
        };
        let for_rtt = peer.last_probe.map_or(now, |at| at + again_after);
        // Of two nodes the first by name leads; the other waits a little longer to be asked.
        let interval = self.timing.interval;
        let pause = if self.me < peer.name { interval } else { interval * 3 / 2 };
        peer.next_probe = for_rtt.min(now + self.random.around(pause));
        self.queue.remove(&(peer.queued, id));
        peer.queued = peer.due(&self.timing, now);
        self.queue.insert((peer.queued, id));
    }

    /// Notices that nobody called when it was time: what was not heard meanwhile was perhaps not silence.
    fn arrive(&mut self, now: Duration) {
        let Some(last) = self.last_call.replace(now) else { return };
        let Timing { interval, dead_after, .. } = self.timing;
        let expected = self.deadline().map_or(now, |due| due.max(last));
        let late = now.saturating_sub(expected);
        let tolerated = interval / 2;
        if late <= tolerated {
            return;
        }
        for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| !matches!(peer.state, State::Dead { .. }))
        {
            peer.outstanding.iter_mut().for_each(|asked| asked.excused = true);
            if late >= dead_after {
                peer.heard = now;
                peer.unanswered = 0;
            } else {
                // A little of every delay counts, or a prober that is always late would never see a death.
                peer.heard = (peer.heard + (late - tolerated)).min(now);
            }
            self.queue.remove(&(peer.queued, *id));
            peer.queued = peer.due(&self.timing, now);
            self.queue.insert((peer.queued, *id));
        }
    }
}

impl Peer {
    fn new(name: NodeName, ip: IpAddr, state: State, next_probe: Duration, now: Duration) -> Self {
        Self {
            name,
            ip,
            state,
            heard: now,
            unanswered: 0,
            asked: 0,
            next_probe,
            last_probe: None,
            outstanding: VecDeque::new(),
            next_seq: 0,
            rtt: None,
            tally: Tally::default(),
            queued: next_probe,
        }
    }

    /// When its silence has lasted too long; never again for one already dead.
    fn time_is_up(&self, timing: &Timing) -> Option<Duration> {
        let patience = timing.patience(self.rtt.map(|rtt| rtt.smoothed()));
        match self.state {
            State::Unknown => Some(self.heard + patience + FIRST_GRACE),
            State::Alive => Some(self.heard + patience),
            State::Dead { .. } => None,
        }
    }

    fn is_dying(&self, timing: &Timing, now: Duration) -> bool {
        self.unanswered >= LEAST_PROBES && self.time_is_up(timing).is_some_and(|at| at <= now)
    }

    /// When it wants attention next.
    fn due(&self, timing: &Timing, now: Duration) -> Duration {
        // Once its time is up it lives until the probes it is owed have been sent.
        let end = self.time_is_up(timing).filter(|at| *at > now);
        end.map_or(self.next_probe, |end| end.min(self.next_probe))
    }

    /// Asks it now, and plans when to ask again should it stay silent.
    fn probe(&mut self, timing: &Timing, random: &mut Random, now: Duration) -> Probe {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        while let Some(first) = self.outstanding.front() {
            let in_vain = now >= first.sent + IN_VAIN;
            if in_vain && self.state == State::Alive {
                self.tally.missed(now);
            }
            if !in_vain && self.outstanding.len() < OUTSTANDING {
                break;
            }
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(Question { seq, sent: now, excused: false });
        self.unanswered = self.unanswered.saturating_add(1);
        self.asked = self.asked.saturating_add(1);
        self.last_probe = Some(now);
        self.next_probe = match self.state {
            State::Unknown => now + random.around(timing.interval),
            State::Alive if self.unanswered == 1 => {
                let overdue = self.rtt.map_or(timing.interval, |rtt| rtt.overdue());
                let silent = self.heard + timing.interval;
                silent.max(now + overdue.clamp(timing.retry, timing.interval))
            }
            State::Alive => now + timing.retry,
            State::Dead { since } if now.saturating_sub(since) > LONG_DEAD => now + random.around(DEAD_EVERY),
            State::Dead { .. } => now + random.around(timing.interval),
        };
        Probe { peer: self.name.clone(), ip: self.ip, seq }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to keep nodes out of step.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From nothing to the whole of it.
    fn part_of(&mut self, whole: Duration) -> Duration {
        let nanos = u64::try_from(whole.as_nanos()).expect("seconds, not centuries");
        Duration::from_nanos(self.next() % nanos.max(1))
    }

    /// The time give or take a tenth.
    fn around(&mut self, time: Duration) -> Duration {
        time * 9 / 10 + self.part_of(time / 5)
    }
}
