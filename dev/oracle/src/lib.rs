//! Policy as its specifications say it, slowly: one question at a time, over the objects as they are, without an index and
//! without a line in common with the engine, which it is to be compared with.
//!
//! Each sentence that is followed here stands above the lines that follow it. Where the specifications leave something open
//! the sentence is the project's own.
#![forbid(unsafe_code)]

mod labels;
pub mod manifest;
mod peer;
mod scene;
pub mod situations;

use model::policy::{
    NamedPort, Pod, Policy, PolicyAction, PolicyEntity, PolicyPeer, PolicyPort, PolicyRule, PolicyTier,
};
use std::net::IpAddr;

pub use labels::{Truth, selects};
pub use peer::Who;
pub use scene::{Node, Scene};

/// Which way, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the pod.
    In,
    /// From it.
    Out,
}

/// What is asked: may a pod of this scene's node begin this, or the other end towards it?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Which way.
    pub way: Way,
    /// The other end's address.
    pub other: IpAddr,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// The port that is dialled; of ICMP the type; 0 where there is none.
    pub port: u16,
}

/// Whether it may be.
pub fn allows(scene: &Scene, question: &Question<'_>) -> bool {
    let Question { pod, way, other, .. } = *question;
    // "Traffic from the node a pod is on to the pod is always allowed."
    if way == Way::In && scene.nodes.iter().any(|node| node.name == scene.me && node.ips.contains(&other)) {
        return true;
    }

    // "A policy is about a pod if its subject selects the pod's labels and its namespace's, and it says something of the
    // direction." As long as it cannot be told whether one is, nothing passes.
    let mut selecting: Vec<(&Policy, &Vec<PolicyRule>)> = Vec::new();
    for policy in scene.policies.iter().filter(|policy| holds(scene, policy)) {
        let rules = match way {
            Way::In => &policy.ingress,
            Way::Out => &policy.egress,
        };
        let Some(rules) = rules else { continue };
        match labels::selects(scene, &policy.subject, pod) {
            Truth::Yes => selecting.push((policy, rules)),
            Truth::No => {}
            Truth::Unknown => return false,
        }
    }
    selecting.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));

    // "Whoever is unknown may be one that is denied."
    let who = peer::who(scene, other);
    if who == Who::Unknown {
        let strict = |rule: &PolicyRule| rule.action != PolicyAction::Accept && about_pods(rule, way);
        if selecting.iter().flat_map(|(_, rules)| rules.iter()).any(strict) {
            return false;
        }
    }
    let matches = |rule: &&PolicyRule| rule_matches(scene, rule, question, &who);

    // "Policies of the admin tier come first, the lowest number of priority first, their rules in order. The first rule that
    // matches counts: Accept and Deny are the end of it, Pass skips the rest of the tier."
    let mut admin: Vec<_> = selecting
        .iter()
        .filter_map(|(policy, rules)| match policy.tier {
            PolicyTier::Admin { priority } => Some((priority, rules)),
            _ => None,
        })
        .collect();
    admin.sort_by_key(|(priority, _)| *priority);
    match admin.iter().flat_map(|(_, rules)| rules.iter()).find(matches).map(|rule| rule.action) {
        Some(PolicyAction::Accept) => return true,
        Some(PolicyAction::Deny) => return false,
        Some(PolicyAction::Pass) | None => {}
    }

    // "If a policy selects a pod for a direction, the pod is isolated in it: only what some such policy's rules allow is allowed.
    // Rules add up, and have no order." A denial of this tier (Cilium's) comes before all that is allowed.
    let isolating: Vec<_> =
        selecting.iter().filter(|(policy, _)| policy.tier == PolicyTier::Namespace).collect();
    if !isolating.is_empty() {
        let mut found = isolating.iter().flat_map(|(_, rules)| rules.iter()).filter(matches);
        let actions: Vec<PolicyAction> = found.by_ref().map(|rule| rule.action).collect();
        return !actions.contains(&PolicyAction::Deny) && actions.contains(&PolicyAction::Accept);
    }

    // "The baseline tier is asked for what no policy of a namespace isolates, in the same order."
    let mut baseline: Vec<_> = selecting
        .iter()
        .filter_map(|(policy, rules)| match policy.tier {
            PolicyTier::Baseline { priority } => Some((priority, rules)),
            _ => None,
        })
        .collect();
    baseline.sort_by_key(|(priority, _)| *priority);
    let first = baseline.iter().flat_map(|(_, rules)| rules.iter()).find(matches);
    // "What no policy is about is allowed."
    first.is_none_or(|rule| rule.action != PolicyAction::Deny)
}

/// "A policy holds in the cluster it is written in, and in those that take it over if it is distributed."
fn holds(scene: &Scene, policy: &Policy) -> bool {
    policy.name.cluster == scene.me.cluster || policy.distribute && scene.accepts_distributed
}

/// Whether a rule is about pods by what they are.
fn about_pods(rule: &PolicyRule, way: Way) -> bool {
    let Some(peers) = &rule.peers else { return way == Way::Out && has_named_port(rule) };
    peers.iter().any(|peer| match peer {
        PolicyPeer::Pods(_) => true,
        PolicyPeer::Entity(PolicyEntity::Cluster | PolicyEntity::ClusterMesh) => true,
        _ => way == Way::Out && has_named_port(rule),
    })
}

fn has_named_port(rule: &PolicyRule) -> bool {
    rule.ports.iter().flatten().any(|port| matches!(port, PolicyPort::Named { .. }))
}

/// "A rule matches what matches both one of its peers and one of its ports. Without peers it matches every peer, without ports
/// every port."
fn rule_matches(scene: &Scene, rule: &PolicyRule, question: &Question<'_>, who: &Who<'_>) -> bool {
    let Question { way, other, protocol, port, pod } = *question;
    let number = |wanted: &PolicyPort| match wanted {
        PolicyPort::Ports { protocol: wanted, first, last } => {
            wanted.number() == protocol && *first <= port && port <= *last
        }
        PolicyPort::Icmp { v6, kind } => {
            protocol == if *v6 { 58 } else { 1 } && kind.is_none_or(|kind| u16::from(kind) == port)
        }
        PolicyPort::Named { .. } => false,
    };
    // "A named port is the port that the pod which is dialled calls so."
    let name = |wanted: &PolicyPort, ports: &[NamedPort]| match wanted {
        PolicyPort::Named { protocol: wanted, name } => ports.iter().any(|its| {
            its.name == *name
                && wanted.is_none_or(|wanted| wanted == its.protocol)
                && its.protocol.number() == protocol
                && its.port.get() == port
        }),
        _ => false,
    };
    let by_number = match &rule.ports {
        None => true,
        Some(ports) => ports.iter().any(number),
    };
    let named: &[PolicyPort] = rule.ports.as_deref().unwrap_or_default();
    let everybody = rule.peers.is_none();
    let peers = || rule.peers.iter().flatten();
    let right_peer = || everybody || peers().any(|its| peer::matches(scene, its, other, who));
    match way {
        Way::In => {
            let ports = if labels::is_known(scene, pod) { pod.ports.as_slice() } else { &[] };
            (by_number || named.iter().any(|wanted| name(wanted, ports))) && right_peer()
        }
        Way::Out => {
            if by_number && right_peer() {
                return true;
            }
            // Ranges, nodes and names of domains have no named ports.
            let Who::Pod(dialled) = who else { return false };
            let cluster = &dialled.name.namespace.cluster;
            let own = *cluster == scene.me.cluster;
            named.iter().any(|wanted| name(wanted, &dialled.ports))
                && match &rule.peers {
                    None => own || scene.selectors_clusterset && peer::exists(scene, cluster),
                    Some(peers) => peers.iter().any(|its| match its {
                        PolicyPeer::Pods(_) => peer::matches(scene, its, other, who),
                        PolicyPeer::Entity(PolicyEntity::Cluster) => own,
                        PolicyPeer::Entity(PolicyEntity::ClusterMesh | PolicyEntity::All) => {
                            peer::exists(scene, cluster)
                        }
                        _ => false,
                    }),
                }
        }
    }
}
