//! Keeps what the kernel is to hold of policies up with what changes, so that a change costs what it changes.

mod settle;
mod takes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::policy::{PodName, Policy, PolicyName, PolicySubject};
use model::{ClusterName, NodeName};

use super::addresses::Addresses;
use super::compiled::Direction;
use super::explain::End;
use super::identities::Identities;
use super::judge::Tables;
use super::matchers::{MatcherId, Matchers, Surroundings};
use super::names::Names;
use super::networks::Networks;
use super::problem::Problem;
use super::rulesets::{Held, Named, NoRoom, Written};
use super::settings::{Distributed, Limits, Scope, Settings};
use super::subjects::{Policies, Seen, Whose};
use super::tracked::Tracked;
use crate::plan::policing::{Always, Identity, Network, Op, Peer, Policing, RulesetId, Subject};

/// What has come of what was taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The operations, in the order to apply them.
    pub ops: Vec<Op>,
    /// Whether something that may be talked about now may not be afterwards: then connections are to be judged again.
    pub raises_epoch: bool,
}

/// Plans what one node's kernel holds of policies. What it is told it takes in at once; [`Planner::poll`] works it out.
#[derive(Debug)]
pub struct Planner {
    pub(super) settings: Settings,
    pub(super) around: Surroundings,
    /// The ranges of clusters' pods.
    ranges: BTreeMap<ClusterName, Vec<IpNet>>,
    /// Clusters whose pods are told to this node.
    subscribed: BTreeSet<ClusterName>,
    /// The addresses of nodes.
    pub(super) nodes: BTreeMap<NodeName, Vec<IpAddr>>,
    pods: BTreeMap<PodName, Pod>,
    /// What this node has given its pods.
    attached: BTreeMap<PodName, Vec<IpAddr>>,
    /// Whom policies may be about.
    mine: BTreeSet<PodName>,
    policies: Policies,
    matchers: Matchers,
    networks: Networks,
    names: Names,
    addresses: Addresses,
    assigned: BTreeMap<Whose, Assigned>,
    subjects_at: BTreeMap<IpAddr, BTreeSet<Whose>>,
    rulesets: BTreeMap<RulesetId, Held>,

    /// The addresses of this node's devices.
    pub(super) host_ips: BTreeSet<IpAddr>,
    /// Where the own cluster's API server is.
    pub(super) api_servers: BTreeSet<(IpAddr, u16)>,

    stale_pods: BTreeSet<PodName>,
    pub(super) stale_nodes: BTreeSet<NodeName>,
    stale_subjects: BTreeSet<IpAddr>,
    /// Rulesets that pods and nodes have gone over from.
    retired: Vec<(RulesetId, Whose)>,
    /// Rulesets that are to be written down.
    unwritten: BTreeSet<RulesetId>,
    /// Matchers whose ranges found no room.
    no_networks: BTreeSet<MatcherId>,
    /// Addresses that found no room, and whose they are.
    left_out: BTreeMap<IpAddr, PodName>,
    names_left_out: bool,
    /// How many verdicts there were when a ruleset found no room the last time.
    full_at: usize,

    written: Written,
    identities: Tracked<IpAddr, Identity>,
    known_networks: Tracked<IpNet, Network>,
    named: Tracked<IpAddr, Peer>,
    subjects: Tracked<IpAddr, Subject>,
    own: Tracked<IpAddr, ()>,
    pub(super) always: Tracked<Always, ()>,
}

/// A pod that the controller told of.
#[derive(Debug, PartialEq, Eq)]
struct Pod {
    /// What it is; none if that cannot be told apart from another.
    who: Option<Peer>,
    ips: Vec<IpAddr>,
    /// Whether it is one of those that policies may be about here.
    mine: bool,
}

/// How a pod is judged.
#[derive(Debug, Default, PartialEq, Eq)]
struct Assigned {
    ips: Vec<IpAddr>,
    ingress: Ways,
    egress: Ways,
}

/// How one direction of it is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Ways {
    #[default]
    Open,
    By(RulesetId),
    /// Its labels are not known, and this policy may be about it.
    Unknown(PolicyName),
}

impl Assigned {
    fn ways(&self) -> [(Direction, &Ways); 2] {
        [(Direction::Ingress, &self.ingress), (Direction::Egress, &self.egress)]
    }

    fn rulesets(&self) -> impl Iterator<Item = RulesetId> {
        self.ways().into_iter().filter_map(|(_, way)| match way {
            Ways::By(id) => Some(*id),
            Ways::Open | Ways::Unknown(_) => None,
        })
    }
}

impl Planner {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let cluster = settings.scope.cluster().clone();
        let around = Surroundings {
            selectors: settings.selectors,
            clusters: [cluster.clone()].into(),
            cluster,
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            identities: Identities::default(),
        };
        let mut planner = Self {
            settings,
            around,
            ranges: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            attached: BTreeMap::new(),
            mine: BTreeSet::new(),
            policies: Policies::default(),
            matchers: Matchers::default(),
            networks: Networks::new(),
            names: Names::new(),
            addresses: Addresses::default(),
            assigned: BTreeMap::new(),
            subjects_at: BTreeMap::new(),
            rulesets: BTreeMap::new(),
            host_ips: BTreeSet::new(),
            api_servers: BTreeSet::new(),
            stale_pods: BTreeSet::new(),
            stale_nodes: BTreeSet::new(),
            stale_subjects: BTreeSet::new(),
            retired: Vec::new(),
            unwritten: BTreeSet::new(),
            no_networks: BTreeSet::new(),
            left_out: BTreeMap::new(),
            names_left_out: false,
            full_at: 0,
            written: Written::default(),
            identities: Tracked::default(),
            known_networks: Tracked::default(),
            named: Tracked::default(),
            subjects: Tracked::default(),
            own: Tracked::default(),
            always: Tracked::default(),
        };
        planner.stale_nodes = planner.judged_nodes().into_iter().collect();
        planner.renew_always();
        planner
    }

    /// Everything the kernel is to hold, as it was worked out the last time.
    pub fn policing(&self) -> Policing {
        Policing {
            subjects: self.subjects.now().clone(),
            rulesets: self.written.rulesets.now().clone(),
            verdicts: self.written.verdicts.iter().collect(),
            identities: self.identities.now().clone(),
            networks: self.known_networks.now().clone(),
            named: self.named.now().clone(),
            own: self.own.now().keys().copied().collect(),
            always: self.always.now().keys().copied().collect(),
        }
    }

    /// The clusters whose pods this node has to know: those that a policy about one of its pods may mean by what they are.
    pub fn interest(&self) -> BTreeSet<ClusterName> {
        self.matchers.iter().flat_map(|matcher| matcher.whom.interest(&self.around)).collect()
    }

    /// When names that were learned end the next time.
    pub fn deadline(&self) -> Option<Duration> {
        self.names.deadline()
    }

    /// Which names end until then, and where they led. Whoever still talks there learns them again to go on.
    pub fn due(&self, until: Duration) -> impl Iterator<Item = (&str, IpAddr)> {
        self.names.due(until)
    }

    /// What cannot be enforced, as it was worked out the last time.
    pub fn problems(&self) -> Vec<Problem> {
        let limits = &self.settings.limits;
        let mut problems = Vec::new();
        for (whose, assigned) in &self.assigned {
            for (direction, way) in assigned.ways() {
                let pod = match whose {
                    Whose::Pod(pod) => pod.clone(),
                    Whose::Node(node) => {
                        problems.extend(self.problem_of_node(node, direction, way));
                        continue;
                    }
                };
                match way {
                    Ways::Open => {}
                    Ways::Unknown(policy) => {
                        problems.push(Problem::Labels { pod, direction, policy: policy.clone() })
                    }
                    Ways::By(id) => {
                        problems.extend(self.rulesets.get(id).and_then(|held| held.no_room).map(|what| {
                            match what {
                                NoRoom::Rules => Problem::Rules { pod, direction },
                                NoRoom::Verdicts => {
                                    Problem::Verdicts { pod, direction, limit: limits.verdicts }
                                }
                                NoRoom::Networks => {
                                    Problem::Networks { pod, direction, limit: limits.networks }
                                }
                            }
                        }))
                    }
                }
            }
        }
        if !self.left_out.is_empty() {
            problems.push(Problem::Identities { left_out: self.left_out.len(), limit: limits.identities });
        }
        if self.names_left_out {
            problems.push(Problem::Names { limit: limits.names });
        }
        problems
    }

    fn problem_of_node(&self, node: &NodeName, direction: Direction, way: &Ways) -> Option<Problem> {
        let Limits { verdicts, networks, .. } = self.settings.limits;
        let why = match way {
            Ways::Open => return None,
            Ways::Unknown(policy) => format!("its labels are not known yet, and {policy} may be about it"),
            Ways::By(id) => match self.rulesets.get(id)?.no_room? {
                NoRoom::Rules => {
                    "its policies have more than 65536 rules together; merge some of them".into()
                }
                NoRoom::Verdicts => format!(
                    "its policies come to more verdicts than there is room for ({verdicts} in all); let fewer of them \
                     name single ports"
                ),
                NoRoom::Networks => format!(
                    "its policies name more ranges of addresses than there is room for ({networks} in all); name \
                     larger ranges"
                ),
            },
        };
        Some(Problem::Node { node: node.clone(), direction, why })
    }

    /// Who is at an address, as far as that is known.
    pub fn end_at(&self, ip: IpAddr) -> Option<End> {
        let at = |ips: &[IpAddr]| ips.contains(&ip);
        let attached = self.attached.iter().find(|(_, ips)| at(ips)).map(|(name, _)| End::Pod(name.clone()));
        let told = || self.pods.iter().find(|(_, pod)| at(&pod.ips)).map(|(name, _)| End::Pod(name.clone()));
        let node = || self.nodes.iter().find(|(_, ips)| at(ips)).map(|(name, _)| End::Node(name.clone()));
        let me = || match &self.settings.scope {
            Scope::Node(me) if self.host_ips.contains(&ip) => Some(End::Node(me.clone())),
            Scope::Node(_) | Scope::Cluster(_) => None,
        };
        attached.or_else(node).or_else(me).or_else(told)
    }

    /// The policies that hold here.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }

    /// A pod's addresses: those that this node has given it, else those that it was told.
    pub(super) fn ips(&self, name: &PodName) -> &[IpAddr] {
        let told = self.pods.get(name).map(|pod| pod.ips.as_slice());
        self.attached.get(name).map(Vec::as_slice).or(told).unwrap_or_default()
    }

    /// A pod's labels and its namespace's.
    pub(super) fn seen<'a>(&'a self, name: &'a PodName) -> Seen<'a> {
        let who = self.pods.get(name).and_then(|pod| self.around.identities.get(pod.who?));
        Seen {
            namespace: &name.namespace,
            of_namespace: self.around.namespaces.get(&name.namespace),
            of_pod: who.map(|who| &who.labels),
        }
    }

    pub(super) fn around(&self) -> &Surroundings {
        &self.around
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn subscribed(&self) -> &BTreeSet<ClusterName> {
        &self.subscribed
    }

    /// The ranges of clusters' pods.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (&ClusterName, &IpNet)> {
        self.ranges.iter().flat_map(|(name, ranges)| ranges.iter().map(move |range| (name, range)))
    }

    /// Every pod that is known.
    pub(super) fn pod_names(&self) -> impl Iterator<Item = &PodName> {
        self.pods.keys()
    }

    /// Whether policies may be about a pod here.
    pub(super) fn is_mine(&self, name: &PodName) -> bool {
        self.mine.contains(name)
    }

    pub(super) fn knows_pod(&self, name: &PodName) -> bool {
        self.pods.contains_key(name) || self.attached.contains_key(name)
    }

    pub(super) fn node_ips(&self, name: &NodeName) -> Option<&[IpAddr]> {
        self.nodes.get(name).map(Vec::as_slice)
    }

    /// The rule that a verdict of a ruleset names.
    pub(super) fn rule(&self, id: RulesetId, number: u16) -> Option<Named<'_>> {
        self.rulesets.get(&id)?.rule(number)
    }

    /// The policies that are about a direction of a pod or node.
    pub(super) fn selecting(&self, whose: &Whose, direction: Direction) -> Vec<PolicyName> {
        let says = |policy: &&Policy| match direction {
            Direction::Ingress => policy.ingress.is_some(),
            Direction::Egress => policy.egress.is_some(),
        };
        let selecting = match whose {
            Whose::Pod(name) => self.policies.selecting(self.seen(name)),
            Whose::Node(name) => self.policies.selecting_node(&name.cluster, self.around.nodes.get(name)),
        };
        let selecting = selecting.into_iter().filter(says);
        selecting.map(|policy| policy.name.clone()).collect()
    }

    fn way_of(&self, name: &Whose, direction: Direction) -> Option<&Ways> {
        let assigned = self.assigned.get(name)?;
        Some(match direction {
            Direction::Ingress => &assigned.ingress,
            Direction::Egress => &assigned.egress,
        })
    }

    /// What a direction of a pod or node is judged by.
    pub(super) fn ruleset_of(&self, name: &Whose, direction: Direction) -> Option<&Held> {
        match self.way_of(name, direction)? {
            Ways::By(id) => self.rulesets.get(id),
            Ways::Open | Ways::Unknown(_) => None,
        }
    }

    /// Whether a direction of a pod or node is closed because its labels are not known.
    pub(super) fn labels_unknown(&self, name: &Whose, direction: Direction) -> bool {
        matches!(self.way_of(name, direction), Some(Ways::Unknown(_)))
    }

    /// The pods and nodes at an address that policies may be about.
    pub(super) fn subject_names(&self, ip: IpAddr) -> impl Iterator<Item = &Whose> {
        self.subjects_at.get(&ip).into_iter().flatten()
    }

    /// What the kernel is to judge what comes from an address by.
    pub(super) fn tables(&self, from: IpAddr) -> Tables<'_> {
        Tables {
            subjects: self.subjects.now(),
            rulesets: self.written.rulesets.now(),
            verdicts: &self.written.verdicts,
            identities: self.identities.now(),
            networks: self.known_networks.now(),
            named: self.named.now(),
            from_own: self.own.now().contains_key(&from),
        }
    }
}

/// Whether a policy holds in this cluster.
pub(super) fn holds(settings: &Settings, policy: &Policy) -> bool {
    let of_pods = matches!(policy.subject, PolicySubject::Pods(_));
    policy.name.cluster == *settings.scope.cluster()
        || of_pods && policy.distribute && settings.distributed == Distributed::Accept
}
