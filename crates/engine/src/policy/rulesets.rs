//! Rulesets: what the policies that select a pod come to, as verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::policy::{NamedPort, PolicyAction, PolicyName, PolicyTier};

use super::classes::Classes;
use super::compiled::{Compiled, Direction, Rule};
use super::identities::Identities;
use super::matchers::{MatcherId, Matchers, Whom};
use super::ports::Ports;
use super::subjects::Whose;
use super::tracked::Tracked;
use super::verdicts::{Rows, Verdicts};
use crate::plan::policing::{Peer, Ruleset, RulesetId, Ruling, Verdict};

/// The most rules of a ruleset: verdicts name them by 16 bits.
const MOST_RULES: usize = 1 << 16;

/// What verdicts are made from.
pub(super) struct Sources<'a> {
    pub(super) matchers: &'a Matchers,
    pub(super) networks: &'a Classes,
    pub(super) names: &'a Classes,
    pub(super) identities: &'a Identities,
}

impl Sources<'_> {
    /// Whether a matcher is about a peer.
    pub(super) fn has(&self, matcher: MatcherId, peer: Peer) -> bool {
        self.matchers.get(matcher).is_some_and(|its| its.peers.contains(&peer))
            || self.networks.has(peer, matcher)
            || self.names.has(peer, matcher)
    }

    fn peers(&self, matcher: MatcherId) -> impl Iterator<Item = Peer> {
        let own = self.matchers.get(matcher).into_iter().flat_map(|its| its.peers.iter().copied());
        own.chain(self.networks.of(matcher)).chain(self.names.of(matcher))
    }
}

/// Why a ruleset cannot be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NoRoom {
    Rules,
    Verdicts,
    Networks,
}

/// A ruleset, and whose it is.
#[derive(Debug)]
pub(super) struct Held {
    /// Its policies in order.
    policies: Vec<Arc<Compiled>>,
    lines: Vec<Line>,
    pub(super) of: BTreeSet<Whose>,
    pub(super) no_room: Option<NoRoom>,
    isolates: bool,
    denies_known: bool,
    /// How many verdicts there are of each length.
    lengths: [u32; 17],
}

/// A rule of a ruleset.
#[derive(Debug)]
struct Line {
    policy: usize,
    rule: Arc<Rule>,
    ruling: Ruling,
    /// What its ports are, but for those that each peer names.
    ports: Vec<Ports>,
}

/// Which rule a verdict names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) policy: &'a PolicyName,
    pub(super) tier: PolicyTier,
    pub(super) rule: &'a Rule,
}

type Row = BTreeMap<Ports, Verdict>;

impl Held {
    /// What policies, in order, say to a pod with such ports.
    pub(super) fn new(policies: Vec<Arc<Compiled>>, direction: Direction, ports: &[NamedPort]) -> Self {
        let mut lines = Vec::new();
        let mut isolates = false;
        let all: usize = policies.iter().map(|policy| policy.rules.len()).sum();
        for (at, policy) in policies.iter().enumerate() {
            isolates |= policy.tier == PolicyTier::Namespace;
            for rule in policy.rules.iter().take(MOST_RULES - lines.len().min(MOST_RULES)) {
                let mut its = rule.fixed.clone();
                if direction == Direction::Ingress {
                    its.extend(rule.named(ports));
                }
                let number = u16::try_from(lines.len()).expect("as many as there may be");
                // Rules come in the order in which they count. Only the namespaces' denials come before what is accepted there.
                let first = policy.tier == PolicyTier::Namespace && rule.action == PolicyAction::Deny;
                let precedence = 0x1_0000 - u32::from(number) + if first { 0x2_0000 } else { 0 };
                let ruling = Ruling { precedence, action: rule.action, rule: number };
                lines.push(Line { policy: at, rule: rule.clone(), ruling, ports: its });
            }
        }
        let denies = |line: &Line| {
            line.ruling.action != PolicyAction::Accept && line.rule.whoms().any(Whom::by_identity)
        };
        Self {
            denies_known: lines.iter().any(denies),
            no_room: (all > MOST_RULES).then_some(NoRoom::Rules),
            policies,
            lines,
            of: BTreeSet::new(),
            isolates,
            lengths: [0; 17],
        }
    }

    /// Everybody its rules look for.
    pub(super) fn whoms(&self) -> impl Iterator<Item = &Whom> {
        self.lines.iter().flat_map(|line| line.rule.whoms())
    }

    /// Every matcher of its rules, some of them twice.
    pub(super) fn matchers(&self) -> impl Iterator<Item = MatcherId> {
        self.lines
            .iter()
            .flat_map(|line| line.rule.matchers.iter().chain(&line.rule.matchers_by_ports).copied())
    }

    /// The rule that a verdict names.
    pub(super) fn rule(&self, number: u16) -> Option<Named<'_>> {
        self.lines.get(usize::from(number)).map(|line| self.name(line))
    }

    /// Its rules, in order.
    pub(super) fn rules(&self) -> impl Iterator<Item = Named<'_>> {
        self.lines.iter().map(|line| self.name(line))
    }

    fn name<'a>(&'a self, line: &'a Line) -> Named<'a> {
        let policy = &self.policies[line.policy];
        Named { policy: &policy.name, tier: policy.tier, rule: &line.rule }
    }

    /// Whether what no policy of a namespace accepts is denied.
    pub(super) fn isolates(&self) -> bool {
        self.isolates
    }

    /// What the rules say of a peer.
    fn row(&self, peer: Peer, sources: &Sources<'_>) -> Row {
        let mut row = Row::new();
        for line in &self.lines {
            if line.rule.matchers.iter().any(|matcher| sources.has(*matcher, peer)) {
                self.say(line, &line.ports, &mut row);
            }
            if line.rule.matchers_by_ports.iter().any(|matcher| sources.has(*matcher, peer)) {
                self.say(line, &named(line, peer, sources), &mut row);
            }
        }
        row
    }

    fn say(&self, line: &Line, ports: &[Ports], row: &mut Row) {
        for its in ports {
            put(row.entry(*its).or_default(), self.policies[line.policy].tier, line.ruling);
        }
    }

    /// All verdicts, or none where there are more than that.
    fn rows(&self, sources: &Sources<'_>, most: usize) -> Option<Rows> {
        let mut rows = Rows::new();
        for line in &self.lines {
            let tier = self.policies[line.policy].tier;
            for peer in line.rule.matchers.iter().flat_map(|matcher| sources.peers(*matcher)) {
                for ports in &line.ports {
                    put(rows.entry((peer, *ports)).or_default(), tier, line.ruling);
                }
                if rows.len() > most {
                    return None;
                }
            }
            for peer in line.rule.matchers_by_ports.iter().flat_map(|matcher| sources.peers(*matcher)) {
                for ports in named(line, peer, sources) {
                    put(rows.entry((peer, ports)).or_default(), tier, line.ruling);
                }
                if rows.len() > most {
                    return None;
                }
            }
        }
        Some(rows)
    }

    fn ruleset(&self) -> Ruleset {
        let lengths = (0..=16).filter(|bits| self.lengths[*bits] > 0).fold(0, |all, bits| all | 1 << bits);
        Ruleset {
            isolates: self.isolates,
            denies_known: self.denies_known,
            lengths,
            verdicts: self.lengths.iter().sum(),
        }
    }
}

/// What a rule's named ports are at the peer.
fn named(line: &Line, peer: Peer, sources: &Sources<'_>) -> Vec<Ports> {
    sources.identities.get(peer).map(|who| line.rule.named(&who.ports)).unwrap_or_default()
}

fn put(verdict: &mut Verdict, tier: PolicyTier, ruling: Ruling) {
    let place = match tier {
        PolicyTier::Admin { .. } => &mut verdict.admin,
        PolicyTier::Namespace => &mut verdict.namespace,
        PolicyTier::Baseline { .. } => &mut verdict.baseline,
    };
    if place.is_none_or(|known| known.precedence < ruling.precedence) {
        *place = Some(ruling);
    }
}

/// What the kernel is to hold of rulesets.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) rulesets: Tracked<RulesetId, Ruleset>,
    pub(super) verdicts: Verdicts,
    /// How many verdicts are about a peer, and how many of those do not only accept.
    uses: BTreeMap<Peer, (u32, u32)>,
}

impl Written {
    /// Whether a verdict is about the peer, and whether one may deny it something.
    pub(super) fn about(&self, peer: Peer) -> (bool, bool) {
        let (all, denying) = self.uses.get(&peer).copied().unwrap_or_default();
        (all > 0, denying > 0)
    }

    /// Makes room for a ruleset and writes it down, whole.
    pub(super) fn write(&mut self, id: RulesetId, held: &mut Held, sources: &Sources<'_>, limit: usize) {
        let most = limit.saturating_sub(self.verdicts.len());
        let Some(rows) = held.rows(sources, most) else {
            held.no_room = Some(NoRoom::Verdicts);
            return;
        };
        self.replace(id, rows, held);
        self.rulesets.put(id, Some(held.ruleset()));
    }

    /// Writes down what is so of one peer.
    pub(super) fn update(
        &mut self,
        (id, peer): (RulesetId, Peer),
        held: &mut Held,
        sources: &Sources<'_>,
        limit: usize,
    ) {
        let row = held.row(peer, sources);
        let known: Vec<Ports> = self.verdicts.of_peer(id, peer).collect();
        for ports in known.into_iter().filter(|ports| !row.contains_key(ports)) {
            self.put(id, (peer, ports), None, held);
        }
        for (ports, verdict) in row {
            self.put(id, (peer, ports), Some(verdict), held);
        }
        if self.verdicts.len() > limit {
            self.erase(id, held);
            held.no_room = Some(NoRoom::Verdicts);
        } else {
            self.rulesets.put(id, Some(held.ruleset()));
        }
    }

    /// Takes a ruleset away.
    pub(super) fn erase(&mut self, id: RulesetId, held: &mut Held) {
        self.replace(id, Rows::new(), held);
        self.rulesets.put(id, None);
    }

    fn replace(&mut self, id: RulesetId, rows: Rows, held: &mut Held) {
        for ((peer, ports), verdict) in &rows {
            self.count(*peer, *ports, None, Some(*verdict), held);
        }
        for ((peer, ports), was) in self.verdicts.replace(id, rows) {
            self.count(peer, ports, Some(was), None, held);
        }
    }

    fn put(&mut self, id: RulesetId, row: (Peer, Ports), verdict: Option<Verdict>, held: &mut Held) {
        let was = self.verdicts.put(id, row, verdict);
        if was != verdict {
            self.count(row.0, row.1, was, verdict, held);
        }
    }

    fn count(
        &mut self,
        peer: Peer,
        ports: Ports,
        was: Option<Verdict>,
        is: Option<Verdict>,
        held: &mut Held,
    ) {
        let (all, denying) = self.uses.entry(peer).or_default();
        if let Some(is) = is {
            *all += 1;
            *denying += u32::from(!is.only_accepts());
        }
        if let Some(was) = was {
            *all -= 1;
            *denying -= u32::from(!was.only_accepts());
        }
        if *all == 0 {
            self.uses.remove(&peer);
        }
        let length = &mut held.lengths[usize::from(ports.bits)];
        *length = *length + u32::from(is.is_some()) - u32::from(was.is_some());
    }
}
