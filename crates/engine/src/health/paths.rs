//! How two nodes reach each other that neither can dial, because both are behind a NAT: by a relay at once, and past it
//! as soon as a direct way is found.
//!
//! Where both are seen, each sends the other a sign of life there, again and again: the first opens the own NAT, the
//! second passes the other's. Whoever hears one answers where it came from, so traffic leaves the relay without a loss.
//! A direct way that falls silent is left for the relay, and tried again later and later. Without a device that can send
//! such signs (the kernel's) the direct way is tried first, for a moment, and then no more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use model::NodeName;

/// How long a direct way has to show itself before a relay is taken, where there is one.
const TRIAL: Duration = Duration::from_secs(2);

/// How long another try of the same has to wait.
const AGAIN: Duration = Duration::from_secs(5);

/// How long the first sign of life waits for the second; each next one twice as long, up to the longest: a NAT's mapping
/// lives 30 s at least where it is to be of use.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(20);

/// After a direct way has fallen silent it is not looked for during this time, twice as long each time, up to the longest.
const FALL: Duration = Duration::from_secs(2);
const FALL_LONGEST: Duration = Duration::from_secs(600);

/// A direct way that has lasted so long has not failed before.
const LASTING: Duration = Duration::from_secs(60);

/// Another relay is tried if the way over it is shorter by a quarter and by this, and that not more often than this.
const SHORTER: Duration = Duration::from_millis(5);
const MOVE_EVERY: Duration = Duration::from_secs(10);

/// Where messages to a node go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// Nowhere.
    Nowhere,
    /// To an address of its own.
    Direct,
    /// To a node that passes them on.
    Relay(NodeName),
}

/// A node that may pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// Which.
    pub name: NodeName,
    /// Where it is dialled.
    pub at: SocketAddr,
    /// The time there and back by way of it.
    pub time: Duration,
}

/// What is known of a node that is not dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Where messages to it go.
    pub stands: Stands,
    /// Where others see it.
    pub candidate: Option<SocketAddr>,
    /// Whether no direct way can be: both NATs have another mapping for everybody.
    pub hopeless: bool,
    /// Who may pass on and answers, the nearest first.
    pub relays: Vec<Via>,
    /// Whether it answers; nothing before that is known.
    pub alive: Option<bool>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Messages go there from now on, with new keys.
    Point(NodeName, SocketAddr),
    /// A sign of life goes there, and nothing else.
    Probe(NodeName, SocketAddr),
    /// New keys are agreed on by way of there; until they are, messages go as before.
    Move(NodeName, SocketAddr),
}

/// All such nodes of a node.
#[derive(Debug, Default)]
pub struct Paths {
    all: BTreeMap<NodeName, Path>,
    deadline: Option<Duration>,
}

#[derive(Debug, Default)]
struct Path {
    /// Signs of life since the last change.
    probes: u32,
    probe_at: Duration,
    candidate: Option<SocketAddr>,
    /// Where messages were made to go last, and when.
    pointed: Option<(SocketAddr, Duration)>,
    moved: Option<Duration>,
    /// Since when a direct way carries.
    direct: Option<Duration>,
    falls: u32,
}

impl Paths {
    /// Takes in what is known of every such node, and returns what is to be done. A device that `probes` can send signs of
    /// life. Call it when anything is new, and at [`Paths::deadline`].
    pub fn follow(&mut self, known: &BTreeMap<NodeName, Known>, probes: bool, now: Duration) -> Vec<Step> {
        self.all.retain(|name, _| known.contains_key(name));
        self.deadline = None;
        let mut steps = Vec::new();
        for (name, known) in known {
            let path = self.all.entry(name.clone()).or_default();
            let due = path.follow(name, known, probes, now, &mut steps);
            self.deadline = [self.deadline, due].into_iter().flatten().min();
        }
        steps
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

impl Path {
    fn follow(
        &mut self,
        name: &NodeName,
        known: &Known,
        probes: bool,
        now: Duration,
        steps: &mut Vec<Step>,
    ) -> Option<Duration> {
        if self.candidate != known.candidate {
            self.candidate = known.candidate;
            (self.probes, self.probe_at) = (0, self.probe_at.min(now));
        }
        let candidate = known.candidate.filter(|_| !known.hopeless);
        match &known.stands {
            Stands::Nowhere => {
                let first = if probes { None } else { candidate };
                if let Some(at) = first.or(known.relays.first().map(|via| via.at)).or(candidate) {
                    self.point(name, at, now, steps);
                }
            }
            Stands::Direct => self.follow_direct(name, known, candidate, now, steps),
            Stands::Relay(over) => {
                self.direct = None;
                self.follow_relay(name, over, known, candidate, now, steps);
                if probes && let Some(at) = candidate {
                    if self.probe_at <= now {
                        steps.push(Step::Probe(name.clone(), at));
                        let pause = FIRST * 2u32.saturating_pow(self.probes.min(16));
                        self.probe_at = now + pause.min(LONGEST);
                        self.probes = self.probes.saturating_add(1);
                    }
                    return Some(self.probe_at);
                }
            }
        }
        None
    }

    fn follow_direct(
        &mut self,
        name: &NodeName,
        known: &Known,
        candidate: Option<SocketAddr>,
        now: Duration,
        steps: &mut Vec<Step>,
    ) {
        if known.alive == Some(true) {
            let since = *self.direct.get_or_insert(now);
            if now.saturating_sub(since) >= LASTING {
                self.falls = 0;
            }
            self.probes = 0;
            return;
        }
        // While it was being tried, silence before the end of the trial means nothing.
        let tried = self.pointed.is_some_and(|(_, at)| self.direct.is_none() && now < at + TRIAL);
        if tried || (known.alive.is_none() && self.pointed.is_none()) {
            return;
        }
        if self.direct.take().is_some() {
            let pause = FALL * 2u32.saturating_pow(self.falls.min(16));
            self.probe_at = now + pause.min(FALL_LONGEST);
            self.falls = self.falls.saturating_add(1);
        }
        if let Some(at) = known.relays.first().map(|via| via.at).or(candidate) {
            self.point(name, at, now, steps);
        }
    }

    fn follow_relay(
        &mut self,
        name: &NodeName,
        over: &NodeName,
        known: &Known,
        candidate: Option<SocketAddr>,
        now: Duration,
        steps: &mut Vec<Step>,
    ) {
        let current = known.relays.iter().find(|via| via.name == *over);
        match (known.relays.first(), current) {
            (Some(best), None) => self.point(name, best.at, now, steps),
            // It answers itself, and has perhaps forgotten the session: it was started again.
            (Some(_), Some(current)) if known.alive == Some(false) => {
                self.point(name, current.at, now, steps)
            }
            (Some(best), Some(current)) => {
                let shorter = best.time + SHORTER <= current.time && best.time * 4 <= current.time * 3;
                if shorter && self.moved.is_none_or(|at| now >= at + MOVE_EVERY) {
                    self.moved = Some(now);
                    steps.push(Step::Move(name.clone(), best.at));
                }
            }
            // Whoever passes on may not be told of yet, and does it.
            (None, _) if known.alive != Some(false) => {}
            (None, _) => {
                if let Some(at) = candidate {
                    self.point(name, at, now, steps);
                }
            }
        }
    }

    /// Messages go there from now on. The same again only after a while.
    fn point(&mut self, name: &NodeName, at: SocketAddr, now: Duration, steps: &mut Vec<Step>) {
        if self.pointed.is_none_or(|(before, when)| before != at || now >= when + AGAIN) {
            self.pointed = Some((at, now));
            steps.push(Step::Point(name.clone(), at));
        }
    }
}

#[cfg(test)]
mod tests;
