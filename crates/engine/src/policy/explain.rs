//! Why something may be or not: by the verdicts that the kernel holds, with the rules that they come from.

use std::net::IpAddr;

use model::NodeName;
use model::policy::{PodName, PolicyAction, PolicyName, PolicyTier};
use serde::{Deserialize, Serialize};

use super::compiled::Direction;
use super::judge::{Judgement, Packet, judge_in};
use super::planner::Planner;
use super::subjects::Whose;
use crate::plan::policing::RulesetId;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// A pod.
    Pod(PodName),
    /// A node.
    Node(NodeName),
    /// Whoever is at an address.
    Address(IpAddr),
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether both ends let it pass, as far as they are judged here.
    pub allowed: bool,
    /// The address it would come from.
    pub from: IpAddr,
    /// The address it would go to.
    pub to: IpAddr,
    /// What the policies say of the end that dials.
    pub egress: Decision,
    /// What the policies say of the end that is dialled.
    pub ingress: Decision,
}

/// What the policies of one end say, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it passes.
    pub allowed: bool,
    /// Why.
    pub why: Why,
    /// The rule that decides, if one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<RuleRef>,
}

/// Why something passes or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// The end is no pod of this node: policies about it are not enforced here.
    Elsewhere,
    /// No policy selects the pod for the direction.
    NoPolicy,
    /// It comes from the pod's own node.
    OwnNode,
    /// No policy takes it from the node itself.
    Always,
    /// The pod's labels are not known yet, and a policy may be about it.
    LabelsUnknown,
    /// The pod's rules cannot be enforced: there is no room for them.
    NoRoom,
    /// Nobody is known to be at the other end, and the policies deny somebody by what they are.
    PeerUnknown,
    /// A rule decides.
    Rule,
    /// The pod is isolated, and no rule accepts it.
    Isolated,
    /// Policies select the pod, and none of their rules is about it.
    NoRule,
}

/// A rule, as people find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// The object it is in.
    pub policy: PolicyName,
    /// The tier.
    pub tier: Tier,
    /// The priority in the tier, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<u16>,
    /// Where in the object the rule is.
    pub path: String,
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub name: String,
    /// What it does.
    pub action: PolicyAction,
}

/// A tier, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Before those of namespaces.
    Admin,
    /// Of namespaces.
    Namespace,
    /// After those of namespaces.
    Baseline,
}

/// Why something cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// There is no such pod.
    #[error(
        "pod {}/{} of cluster {} is not known here: check its name, and ask a node that has it or a policy about it",
        .0.namespace.name, .0.name, .0.namespace.cluster
    )]
    Pod(PodName),
    /// There is no such node.
    #[error("node {0} is not known here: check its name")]
    Node(NodeName),
    /// The ends have no addresses of one family.
    #[error("the two ends have no addresses of one family: check that both have been given theirs")]
    Family,
}

/// What the policies about a pod are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// About what is sent to it.
    pub ingress: ShownDirection,
    /// About what it sends.
    pub egress: ShownDirection,
}

/// What holds for one direction of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownDirection {
    /// Whether what no policy of a namespace accepts is denied.
    pub isolated: bool,
    /// Why nothing passes, if nothing does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed: Option<Why>,
    /// The policies that select it, in the order in which they are asked.
    pub policies: Vec<PolicyName>,
    /// Their rules, likewise.
    pub rules: Vec<RuleRef>,
}

impl Planner {
    /// What becomes of a connection from one end to another: of a protocol, by its number in the IP header, and the port that
    /// is dialled (of ICMP the type; 0 where there is none). Only pods of this planner's scope are judged.
    ///
    /// # Errors
    /// An end is not known, or the two cannot talk.
    pub fn check(&self, from: &End, to: &End, protocol: u8, port: u16) -> Result<Explanation, Unexplained> {
        let (sources, targets) = (self.ips_of(from)?, self.ips_of(to)?);
        let pairs = sources.iter().flat_map(|from| targets.iter().map(move |to| (*from, *to)));
        let (source, target) =
            pairs.into_iter().find(|(a, b)| a.is_ipv4() == b.is_ipv4()).ok_or(Unexplained::Family)?;
        let ask = |direction, pod, peer| self.decide(&Packet { pod, direction, peer, protocol, port });
        let egress = ask(Direction::Egress, source, target);
        let ingress = ask(Direction::Ingress, target, source);
        let allowed = egress.allowed && ingress.allowed;
        Ok(Explanation { allowed, from: source, to: target, egress, ingress })
    }

    /// Which policies select a pod of this planner's scope, and what rules come of them.
    ///
    /// # Errors
    /// There is no such pod here.
    pub fn show(&self, name: &PodName) -> Result<Shown, Unexplained> {
        if !self.is_mine(name) {
            return Err(Unexplained::Pod(name.clone()));
        }
        Ok(self.show_all(&Whose::Pod(name.clone()), self.ips(name).to_vec()))
    }

    /// Which policies select a node of this planner's scope, and what rules come of them. None where nodes are not judged.
    ///
    /// # Errors
    /// There is no such node here.
    pub fn show_node(&self, name: &NodeName) -> Result<Option<Shown>, Unexplained> {
        self.node_ips(name).ok_or_else(|| Unexplained::Node(name.clone()))?;
        let judged = self.judged_nodes().contains(name);
        Ok(judged.then(|| self.show_all(&Whose::Node(name.clone()), self.judged_ips(name))))
    }

    fn show_all(&self, whose: &Whose, addresses: Vec<IpAddr>) -> Shown {
        Shown {
            addresses,
            ingress: self.show_direction(whose, Direction::Ingress),
            egress: self.show_direction(whose, Direction::Egress),
        }
    }

    /// The rule that a verdict of a ruleset names, as the kernel tells of it.
    pub fn rule_ref(&self, ruleset: RulesetId, rule: u16) -> Option<RuleRef> {
        self.rule(ruleset, rule).map(|named| RuleRef::new(named.policy, named.tier, named.rule))
    }

    fn show_direction(&self, name: &Whose, direction: Direction) -> ShownDirection {
        let policies = self.selecting(name, direction);
        let Some(held) = self.ruleset_of(name, direction) else {
            let closed = self.labels_unknown(name, direction).then_some(Why::LabelsUnknown);
            return ShownDirection { closed, policies, ..ShownDirection::default() };
        };
        let rules = held.rules().map(|named| RuleRef::new(named.policy, named.tier, named.rule));
        ShownDirection {
            isolated: held.isolates(),
            closed: held.no_room.is_some().then_some(Why::NoRoom),
            policies,
            rules: rules.collect(),
        }
    }

    fn ips_of(&self, end: &End) -> Result<Vec<IpAddr>, Unexplained> {
        match end {
            End::Address(ip) => Ok(vec![*ip]),
            End::Pod(name) if self.knows_pod(name) => Ok(self.ips(name).to_vec()),
            End::Pod(name) => Err(Unexplained::Pod(name.clone())),
            End::Node(name) => {
                let ips = self.node_ips(name).ok_or_else(|| Unexplained::Node(name.clone()))?;
                Ok(ips.to_vec())
            }
        }
    }

    /// What the kernel makes of a packet, and why.
    pub fn decide(&self, packet: &Packet) -> Decision {
        let judgement = match self.always_passes(packet) {
            true => Judgement::Always,
            false => judge_in(&self.tables(packet.peer), packet),
        };
        let rule = match judgement {
            Judgement::Ruled { ruleset, ruling } => self.rule_ref(ruleset, ruling.rule),
            _ => None,
        };
        let why = match judgement {
            Judgement::Open if self.subject_names(packet.pod).next().is_none() => Why::Elsewhere,
            Judgement::Open => Why::NoPolicy,
            Judgement::Own => Why::OwnNode,
            Judgement::Always => Why::Always,
            Judgement::Closed => {
                let mut names = self.subject_names(packet.pod);
                match names.any(|name| self.labels_unknown(name, packet.direction)) {
                    true => Why::LabelsUnknown,
                    false => Why::NoRoom,
                }
            }
            Judgement::Unknown(_) => Why::PeerUnknown,
            Judgement::Ruled { .. } => Why::Rule,
            Judgement::Isolated(_) => Why::Isolated,
            Judgement::Unmatched(_) => Why::NoRule,
        };
        Decision { allowed: judgement.passes(), why, rule }
    }
}

impl RuleRef {
    fn new(policy: &PolicyName, tier: PolicyTier, rule: &super::compiled::Rule) -> Self {
        let (tier, priority) = match tier {
            PolicyTier::Admin { priority } => (Tier::Admin, Some(priority)),
            PolicyTier::Namespace => (Tier::Namespace, None),
            PolicyTier::Baseline { priority } => (Tier::Baseline, Some(priority)),
        };
        Self {
            policy: policy.clone(),
            tier,
            priority,
            path: rule.path.clone(),
            name: rule.name.clone(),
            action: rule.action,
        }
    }
}
