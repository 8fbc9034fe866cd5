//! What the kernel ought to hold of policies.
//!
//! A packet at a pod's link is judged thus. The pod's address names the [`Subject`], and that a [`RulesetId`] for the
//! direction; without one the packet passes. What comes from an address of the node's own ([`Policing::own`]) to the pod
//! passes. The other end's address names up to [`Identity`]'s three peers, the longest range around it a [`Network`]'s class
//! and world, whoever is at the address, and a name that led to it one more; [`Peer::ANY`] is everybody. An address without an
//! identity in a range of pods is somebody unknown: where the ruleset denies somebody known it is dropped. For each of those
//! peers, and each length of prefix of the port that the ruleset uses, a [`VerdictKey`] is looked up, for the packet's protocol
//! and, with length 0, for every protocol. Of what is found the highest precedence of each tier counts:
//!
//! 1. The admin tier's accepts or denies, and that is the end of it; a pass, or nothing, goes on.
//! 2. The namespaces' tier's accepts or denies likewise. Nothing, where the ruleset isolates, denies; else it goes on.
//! 3. The baseline tier's denies; whatever else passes.
//!
//! `engine::policy::judge` does the same in Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::entries;

mod diff;
mod op;

pub use diff::{diff, in_order};
pub use op::Op;

/// A number that stands for some other ends: a hash of what they are, so it needs no allocator. 0 is [`Peer::ANY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Peer(pub u64);

impl Peer {
    /// Everybody.
    pub const ANY: Self = Self(0);
}

/// A hash of what a ruleset says: the rules of every policy that selects the pod for the direction, with the numbers of the
/// pod's named ports. What identities they match is not part of it. Never 0.
pub type RulesetId = u64;

/// What is wanted of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policing {
    /// This node's pods that policies are about, and the node itself, by address.
    pub subjects: BTreeMap<IpAddr, Subject>,
    /// What holds for them.
    pub rulesets: BTreeMap<RulesetId, Ruleset>,
    /// Their rules.
    #[serde(with = "entries")]
    pub verdicts: BTreeMap<VerdictKey, Verdict>,
    /// Who is at which address: pods and nodes.
    pub identities: BTreeMap<IpAddr, Identity>,
    /// What is known of ranges of addresses, those of pods among them. The longest one around an address tells all of it.
    #[serde(with = "entries")]
    pub networks: BTreeMap<IpNet, Network>,
    /// What names led to, by address: a peer for each set of names.
    pub named: BTreeMap<IpAddr, Peer>,
    /// The node's own addresses: what comes from there to its own pods always passes, unless it came through the node.
    pub own: BTreeSet<IpAddr>,
    /// What no policy takes from the node itself.
    pub always: BTreeSet<Always>,
}

impl Policing {
    /// Takes a change in, as the kernel does.
    pub fn apply(&mut self, op: &Op) {
        match *op {
            Op::SetVerdict(key, is) => drop(self.verdicts.insert(key, is)),
            Op::DeleteVerdict(key) => drop(self.verdicts.remove(&key)),
            Op::SetRuleset(id, is) => drop(self.rulesets.insert(id, is)),
            Op::DeleteRuleset(id) => drop(self.rulesets.remove(&id)),
            Op::SetNetwork(range, is) => drop(self.networks.insert(range, is)),
            Op::DeleteNetwork(range) => drop(self.networks.remove(&range)),
            Op::SetNamed(ip, is) => drop(self.named.insert(ip, is)),
            Op::DeleteNamed(ip) => drop(self.named.remove(&ip)),
            Op::SetIdentity(ip, is) => drop(self.identities.insert(ip, is)),
            Op::DeleteIdentity(ip) => drop(self.identities.remove(&ip)),
            Op::AddOwn(ip) => drop(self.own.insert(ip)),
            Op::DeleteOwn(ip) => drop(self.own.remove(&ip)),
            Op::AddAlways(its) => drop(self.always.insert(its)),
            Op::DeleteAlways(its) => drop(self.always.remove(&its)),
            Op::SetSubject(ip, is) => drop(self.subjects.insert(ip, is)),
            Op::DeleteSubject(ip) => drop(self.subjects.remove(&ip)),
        }
    }
}

/// Something that policies about a node never stop, so that they can always be mended: whoever dials it, and what answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Always {
    /// A port of the node's own, by the protocol's number in the IP header.
    Port(u8, u16),
    /// A port of others', which the node dials.
    OthersPort(u8, u16),
    /// All that is said to an address, and from there.
    Address(IpAddr),
}

impl Always {
    /// Whether it is about a packet that begins something, seen from the node: which way it goes, the other end, the
    /// protocol's number and the port that is dialled.
    pub fn is_about(&self, to_node: bool, other: IpAddr, protocol: u8, port: u16) -> bool {
        match *self {
            Self::Port(its, at) => to_node && its == protocol && at == port,
            Self::OthersPort(its, at) => !to_node && its == protocol && at == port,
            Self::Address(ip) => ip == other,
        }
    }
}

/// A pod, or the node itself, that policies are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// About what is sent to it.
    pub ingress: Judged,
    /// About what it sends.
    pub egress: Judged,
}

/// How one direction of a pod is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judged {
    /// Everything passes.
    #[default]
    Open,
    /// By these rules.
    By(RulesetId),
    /// Nothing passes, because its rules cannot be enforced (there is no room for them) or are not known yet.
    Closed,
}

/// What holds for a ruleset as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Whether a policy of the namespaces' tier isolates: what no such policy accepts is denied.
    pub isolates: bool,
    /// Whether a rule denies somebody by what they are (identity, namespace, cluster): somebody who is unknown may be that
    /// one, so does not pass.
    pub denies_known: bool,
    /// Which lengths of prefixes of ports its verdicts have: bit n for n bits, 0 to 16.
    pub lengths: u32,
    /// How many verdicts it has.
    pub verdicts: u32,
}

impl Ruleset {
    /// Whether the kernel has the same to hold of both: it does not count verdicts.
    pub fn same(&self, other: &Self) -> bool {
        Self { verdicts: 0, ..*self } == Self { verdicts: 0, ..*other }
    }
}

/// What a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VerdictKey {
    /// The ruleset.
    pub ruleset: RulesetId,
    /// The other end.
    pub peer: Peer,
    /// The protocol's number in the IP header; 0 for whatever it is, which goes with `bits` 0.
    pub protocol: u8,
    /// How many bits of the port count, 0 to 16.
    pub bits: u8,
    /// The port at the end that is dialled, its other bits 0. Of ICMP and ICMPv6 the type.
    pub port: u16,
}

/// What the three tiers say, of one key. None: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The admin tier's rule.
    pub admin: Option<Ruling>,
    /// The namespaces' tier's.
    pub namespace: Option<Ruling>,
    /// The baseline tier's.
    pub baseline: Option<Ruling>,
}

impl Verdict {
    /// Whether no tier denies or passes on: then it takes nothing away.
    pub fn only_accepts(&self) -> bool {
        let rulings = [self.admin, self.namespace, self.baseline];
        rulings.iter().flatten().all(|ruling| ruling.action == model::policy::PolicyAction::Accept)
    }
}

/// A rule's say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// Of two in a tier the higher one counts. 1 to 2^24 - 1.
    pub precedence: u32,
    /// What it does.
    pub action: model::policy::PolicyAction,
    /// Which rule of the ruleset's list it is, for whoever asks why.
    pub rule: u16,
}

/// Who is at an address. [`Peer::ANY`] where there is none such.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its labels, its namespace and cluster among them; or a node's.
    pub identity: Peer,
    /// Its namespace in its cluster, with the labels of that.
    pub namespace: Peer,
    /// Its cluster's pods; or the cluster's nodes.
    pub cluster: Peer,
}

/// What is known of the addresses of a range, whoever is at them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// A number for those rules' ranges that contain it.
    pub class: Peer,
    /// Whether it is in the ranges of a cluster whose pods are known here: whoever is there is unknown as long as no identity
    /// is.
    pub pods: bool,
    /// The peer that everything outside of every cluster is, or [`Peer::ANY`] inside.
    pub world: Peer,
}
