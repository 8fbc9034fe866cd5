//! How a packet is judged, as the kernel does it: by nothing but what the kernel holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::policy::PolicyAction;

use super::compiled::Direction;
use super::verdicts::Verdicts;
use crate::plan::policing::{
    Identity, Judged, Network, Peer, Policing, Ruleset, RulesetId, Ruling, Subject, Verdict, VerdictKey,
};

/// A packet that begins something, seen from a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The pod's address.
    pub pod: IpAddr,
    /// Which way it goes.
    pub direction: Direction,
    /// The other end's address.
    pub peer: IpAddr,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// The port that is dialled, of ICMP the type; 0 where there is none.
    pub port: u16,
}

/// What becomes of a packet, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It passes: no policy is about the pod and the direction.
    Open,
    /// It passes: it comes from the pod's own node.
    Own,
    /// It passes: no policy takes it from the node itself.
    Always,
    /// It is dropped: the pod's rules cannot be enforced, or are not known.
    Closed,
    /// It is dropped: nobody is known to be at the other end, and somebody is denied.
    Unknown(RulesetId),
    /// A rule decides.
    Ruled {
        /// The ruleset.
        ruleset: RulesetId,
        /// What the rule says.
        ruling: Ruling,
    },
    /// It is dropped: the pod is isolated, and no rule accepts it.
    Isolated(RulesetId),
    /// It passes: no rule is about it.
    Unmatched(RulesetId),
}

impl Judgement {
    /// Whether it passes.
    pub fn passes(&self) -> bool {
        match self {
            Self::Open | Self::Own | Self::Always | Self::Unmatched(_) => true,
            Self::Closed | Self::Unknown(_) | Self::Isolated(_) => false,
            Self::Ruled { ruling, .. } => ruling.action != PolicyAction::Deny,
        }
    }
}

/// Judges a packet.
pub fn judge(policing: &Policing, packet: &Packet) -> Judgement {
    let Policing { subjects, rulesets, verdicts, identities, networks, named, own, always } = policing;
    let Packet { pod, direction, peer, protocol, port } = *packet;
    if own.contains(&pod) {
        let to_node = direction == Direction::Ingress;
        if subjects.contains_key(&pod) && always.iter().any(|its| its.is_about(to_node, peer, protocol, port))
        {
            return Judgement::Always;
        }
    }
    let from_own = own.contains(&packet.peer);
    judge_in(&Tables { subjects, rulesets, verdicts, identities, networks, named, from_own }, packet)
}

/// Verdicts, however they are kept.
pub(super) trait Find {
    fn find(&self, key: &VerdictKey) -> Option<&Verdict>;
}

impl Find for BTreeMap<VerdictKey, Verdict> {
    fn find(&self, key: &VerdictKey) -> Option<&Verdict> {
        self.get(key)
    }
}

impl Find for Verdicts {
    fn find(&self, key: &VerdictKey) -> Option<&Verdict> {
        self.get(key)
    }
}

/// What a packet is judged by, wherever it is kept.
pub(super) struct Tables<'a> {
    pub(super) subjects: &'a BTreeMap<IpAddr, Subject>,
    pub(super) rulesets: &'a BTreeMap<RulesetId, Ruleset>,
    pub(super) verdicts: &'a dyn Find,
    pub(super) identities: &'a BTreeMap<IpAddr, Identity>,
    pub(super) networks: &'a BTreeMap<IpNet, Network>,
    pub(super) named: &'a BTreeMap<IpAddr, Peer>,
    /// Whether the packet's other end is the node itself.
    pub(super) from_own: bool,
}

/// Judges a packet.
pub(super) fn judge_in(policing: &Tables<'_>, packet: &Packet) -> Judgement {
    let Some(subject) = policing.subjects.get(&packet.pod) else { return Judgement::Open };
    if packet.direction == Direction::Ingress && policing.from_own {
        return Judgement::Own;
    }
    let judged = match packet.direction {
        Direction::Ingress => subject.ingress,
        Direction::Egress => subject.egress,
    };
    let id = match judged {
        Judged::Open => return Judgement::Open,
        Judged::Closed => return Judgement::Closed,
        Judged::By(id) => id,
    };
    // A ruleset that is not there is one whose rules are not known.
    let Some(ruleset) = policing.rulesets.get(&id) else { return Judgement::Closed };
    let identity = policing.identities.get(&packet.peer).copied();
    let network = network(policing, packet.peer);
    if identity.is_none() && network.pods && ruleset.denies_known {
        return Judgement::Unknown(id);
    }
    let who = identity.unwrap_or_default();
    let named = policing.named.get(&packet.peer).copied().unwrap_or_default();
    let peers = [who.identity, who.namespace, who.cluster, network.class, network.world, named];
    let mut verdict = Verdict::default();
    for peer in [Peer::ANY].into_iter().chain(peers.into_iter().filter(|peer| *peer != Peer::ANY)) {
        for key in keys(packet, id, peer, ruleset.lengths) {
            if let Some(found) = policing.verdicts.find(&key) {
                higher(&mut verdict.admin, found.admin);
                higher(&mut verdict.namespace, found.namespace);
                higher(&mut verdict.baseline, found.baseline);
            }
        }
    }
    let ruled = |ruling| Judgement::Ruled { ruleset: id, ruling };
    if let Some(ruling) = verdict.admin.filter(|ruling| ruling.action != PolicyAction::Pass) {
        return ruled(ruling);
    }
    if let Some(ruling) = verdict.namespace {
        return ruled(ruling);
    }
    if ruleset.isolates {
        return Judgement::Isolated(id);
    }
    verdict.baseline.map_or(Judgement::Unmatched(id), ruled)
}

fn keys(
    packet: &Packet,
    ruleset: RulesetId,
    peer: Peer,
    lengths: u32,
) -> impl Iterator<Item = VerdictKey> + use<> {
    let Packet { protocol, port, .. } = *packet;
    let all = VerdictKey { ruleset, peer, protocol: 0, bits: 0, port: 0 };
    let of_protocol = (0..=16).filter(move |bits| lengths & 1 << bits != 0).map(move |bits: u8| {
        let mask = u16::MAX.checked_shl(16 - u32::from(bits)).unwrap_or(0);
        VerdictKey { protocol, bits, port: port & mask, ..all }
    });
    of_protocol.chain((lengths & 1 != 0).then_some(all))
}

fn higher(known: &mut Option<Ruling>, found: Option<Ruling>) {
    if found.is_some_and(|found| known.is_none_or(|known| known.precedence < found.precedence)) {
        *known = found;
    }
}

/// What is known of the longest range around an address.
fn network(policing: &Tables<'_>, ip: IpAddr) -> Network {
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let around = (0..=longest).rev().filter_map(|length| IpNet::new(ip, length).ok());
    around.map(|net| net.trunc()).find_map(|net| policing.networks.get(&net)).copied().unwrap_or_default()
}
