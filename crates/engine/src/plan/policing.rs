//! What the kernel ought to hold of policies.
//!
//! A packet at a pod's link is judged thus. The pod's address names the [`Subject`], and that a [`RulesetId`] for the
//! direction; without one the packet passes. The other end's address names up to [`Identity`]'s three peers, the longest
//! range around it a [`Network`], and a name that led to it one more; [`Peer::ANY`] is everybody. For each of those peers,
//! and each length of prefix of the port that the ruleset uses, a [`VerdictKey`] is looked up. Of what is found the highest
//! precedence of each tier counts: admin, then namespaces', then baseline, as [`model::policy::PolicyTier`] says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::entries;

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
    /// This node's pods that policies are about, by address.
    pub subjects: BTreeMap<IpAddr, Subject>,
    /// What holds for them.
    pub rulesets: BTreeMap<RulesetId, Ruleset>,
    /// Their rules.
    #[serde(with = "entries")]
    pub verdicts: BTreeMap<VerdictKey, Verdict>,
    /// Who is at which address: pods and nodes.
    pub identities: BTreeMap<IpAddr, Identity>,
    /// What is known of addresses that nobody is known to be at.
    #[serde(with = "entries")]
    pub networks: BTreeMap<IpNet, Network>,
    /// What names led to, by address: a peer for each set of names.
    pub named: BTreeMap<IpAddr, Peer>,
    /// The node's own addresses: what comes from there to its own pods always passes, unless it came through the node.
    pub own: BTreeSet<IpAddr>,
}

/// A pod that policies are about.
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

/// What is known of the addresses of a range that nobody is known to be at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// A number for those rules' ranges that contain it.
    pub class: Peer,
    /// Whether it is in a cluster's ranges of pods: whoever is there is unknown as long as no identity is.
    pub pods: bool,
    /// The peer that everything outside of every cluster is, or [`Peer::ANY`] inside.
    pub world: Peer,
}
