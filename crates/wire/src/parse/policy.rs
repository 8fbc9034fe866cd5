//! Policies, namespaces and pods. A policy of which anything is not understood is none.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::policy::{
    MAX_PARTS, MAX_RANGES, NamedPort, Namespace, NamespaceChoice, NamespaceName, Operator, Pod, PodName,
    PodSelector, Policy, PolicyAction, PolicyEntity, PolicyKind, PolicyName, PolicyPeer, PolicyPort,
    PolicyRule, PolicySubject, PolicyTier, Requirement, Selector,
};
use model::{ClusterName, ObjectName};

use super::{few, labels, mapped, node_name, one_of_each, parse_ips, port, protocol, range, text};
use crate::{ParseError, limits, pb};

/// The last priority of a tier.
const LAST_PRIORITY: u32 = 1000;

pub(super) fn namespace_name(name: Option<pb::NamespaceName>) -> Result<NamespaceName, ParseError> {
    let name = name.ok_or(ParseError::Missing("a namespace's name"))?;
    namespace_of(name.cluster, name.name)
}

fn namespace_of(cluster: String, name: String) -> Result<NamespaceName, ParseError> {
    let ObjectName { namespace: name, .. } = ObjectName::new(name, "any")?;
    Ok(NamespaceName { cluster: ClusterName::new(cluster)?, name })
}

pub(super) fn namespace(n: pb::Namespace) -> Result<Namespace, ParseError> {
    Ok(Namespace { name: namespace_name(n.name)?, labels: labels(n.labels)?, shared: n.shared })
}

pub(super) fn pod_name(name: Option<pb::PodName>) -> Result<PodName, ParseError> {
    let name = name.ok_or(ParseError::Missing("a pod's name"))?;
    let cluster = ClusterName::new(name.cluster)?;
    let ObjectName { namespace, name } = ObjectName::new(name.namespace, name.name)?;
    Ok(PodName { namespace: NamespaceName { cluster, name: namespace }, name })
}

pub(super) fn pod(p: pb::Pod) -> Result<Pod, ParseError> {
    let ips = parse_ips("a pod's addresses", &p.ips, 2)?;
    one_of_each("a pod's addresses", ips.iter().copied())?;
    few("ports", p.ports.len(), limits::PORTS)?;
    let named = |p: pb::Port| {
        let (name, protocol, port) = port(p.name, p.protocol, p.port)?;
        Ok(NamedPort { name, protocol, port })
    };
    Ok(Pod {
        name: pod_name(p.name)?,
        ips,
        node: p.node.map(node_name).transpose()?,
        labels: labels(p.labels)?,
        ports: p.ports.into_iter().map(named).collect::<Result<_, ParseError>>()?,
    })
}

pub(super) fn policy_name(name: Option<pb::PolicyName>) -> Result<PolicyName, ParseError> {
    let name = name.ok_or(ParseError::Missing("a policy's name"))?;
    let kind = match pb::PolicyKind::try_from(name.kind) {
        Ok(pb::PolicyKind::NetworkPolicy) => PolicyKind::NetworkPolicy,
        Ok(pb::PolicyKind::ClusterNetworkPolicy) => PolicyKind::ClusterNetworkPolicy,
        Ok(pb::PolicyKind::CiliumNetworkPolicy) => PolicyKind::CiliumNetworkPolicy,
        Ok(pb::PolicyKind::CiliumClusterwideNetworkPolicy) => PolicyKind::CiliumClusterwideNetworkPolicy,
        Ok(pb::PolicyKind::Unspecified) | Err(_) => {
            return Err(ParseError::Word { field: "kind of policy", value: name.kind });
        }
    };
    let written = text("a policy's name", name.name, 1, limits::POLICY_NAME_CHARS)?;
    // Which part of the object it is stands behind its name.
    let object = written.split_once('[').map_or(&*written, |(object, _)| object);
    let namespace = if name.namespace.is_empty() { "none" } else { &name.namespace };
    ObjectName::new(namespace, object)?;
    Ok(PolicyName {
        cluster: ClusterName::new(name.cluster)?,
        kind,
        namespace: name.namespace,
        name: written,
    })
}

pub(super) fn policy(p: pb::Policy) -> Result<Policy, ParseError> {
    let priority = match u16::try_from(p.priority) {
        Ok(priority) if p.priority <= LAST_PRIORITY => priority,
        _ => {
            let (field, value) = ("a policy's priority", u64::from(p.priority));
            return Err(ParseError::Range { field, value, min: 0, max: LAST_PRIORITY.into() });
        }
    };
    let tier = match pb::PolicyTier::try_from(p.tier) {
        Ok(pb::PolicyTier::Admin) => PolicyTier::Admin { priority },
        Ok(pb::PolicyTier::Namespace) => PolicyTier::Namespace,
        Ok(pb::PolicyTier::Baseline) => PolicyTier::Baseline { priority },
        Ok(pb::PolicyTier::Unspecified) | Err(_) => {
            return Err(ParseError::Word { field: "tier of policies", value: p.tier });
        }
    };
    let mut room = Room { parts: 0, ranges: 0 };
    let subject = match (p.subject, p.nodes) {
        (Some(pods), None) => PolicySubject::Pods(room.pods(pods)?),
        (None, Some(nodes)) => PolicySubject::Nodes(room.selector(nodes)?),
        (Some(_), Some(_)) => {
            return Err(ParseError::TooMany { field: "subjects of a policy", count: 2, max: 1 });
        }
        (None, None) => return Err(ParseError::Missing("a policy's subject")),
    };
    Ok(Policy {
        name: policy_name(p.name)?,
        tier,
        distribute: p.distribute,
        subject,
        ingress: p.ingress.map(|rules| room.rules(rules)).transpose()?,
        egress: p.egress.map(|rules| room.rules(rules)).transpose()?,
    })
}

/// What a policy has of all that it may have. A few bytes say much that takes room, so it is counted before.
struct Room {
    parts: usize,
    ranges: usize,
}

impl Room {
    fn take(&mut self, parts: usize) -> Result<(), ParseError> {
        self.parts = self.parts.saturating_add(parts);
        few("parts of a policy", self.parts, MAX_PARTS)
    }

    fn rules(&mut self, rules: pb::PolicyRules) -> Result<Vec<PolicyRule>, ParseError> {
        self.take(rules.rules.len())?;
        rules.rules.into_iter().map(|rule| self.rule(rule)).collect()
    }

    fn rule(&mut self, r: pb::PolicyRule) -> Result<PolicyRule, ParseError> {
        let action = match pb::PolicyAction::try_from(r.action) {
            Ok(pb::PolicyAction::Accept) => PolicyAction::Accept,
            Ok(pb::PolicyAction::Deny) => PolicyAction::Deny,
            Ok(pb::PolicyAction::Pass) => PolicyAction::Pass,
            Ok(pb::PolicyAction::Unspecified) | Err(_) => {
                return Err(ParseError::Word { field: "action of a rule", value: r.action });
            }
        };
        let peers = r.peers.map(|peers| {
            self.take(peers.peers.len())?;
            peers.peers.into_iter().map(|peer| self.peer(peer)).collect::<Result<_, ParseError>>()
        });
        let peers = peers.transpose()?;
        let ports = r.ports.map(|ports| {
            self.take(ports.ports.len())?;
            ports.ports.into_iter().map(policy_port).collect::<Result<_, ParseError>>()
        });
        Ok(PolicyRule {
            path: text("a rule's path", r.path, 1, limits::RULE_PATH_CHARS)?,
            name: words("a rule's name", r.name, limits::RULE_NAME_CHARS)?,
            action,
            peers,
            ports: ports.transpose()?,
        })
    }

    fn peer(&mut self, peer: pb::PolicyPeer) -> Result<PolicyPeer, ParseError> {
        use pb::policy_peer::Peer;
        Ok(match peer.peer.ok_or(ParseError::Missing("a peer"))? {
            Peer::Pods(pods) => PolicyPeer::Pods(self.pods(pods)?),
            Peer::Networks(pb::Networks { ranges4, ranges6, except4, except6 }) => PolicyPeer::Networks {
                ranges: self.ranges(&ranges4, &ranges6)?,
                except: self.ranges(&except4, &except6)?,
            },
            Peer::Nodes(nodes) => PolicyPeer::Nodes(self.selector(nodes)?),
            Peer::DomainNames(names) => {
                self.take(names.names.len())?;
                let name = |name| text("a domain name", name, 1, limits::DOMAIN_NAME_CHARS);
                PolicyPeer::DomainNames(names.names.into_iter().map(name).collect::<Result<_, _>>()?)
            }
            Peer::Entity(entity) => PolicyPeer::Entity(match pb::PolicyEntity::try_from(entity) {
                Ok(pb::PolicyEntity::Cluster) => PolicyEntity::Cluster,
                Ok(pb::PolicyEntity::ClusterMesh) => PolicyEntity::ClusterMesh,
                Ok(pb::PolicyEntity::Host) => PolicyEntity::Host,
                Ok(pb::PolicyEntity::RemoteNode) => PolicyEntity::RemoteNode,
                Ok(pb::PolicyEntity::World) => PolicyEntity::World,
                Ok(pb::PolicyEntity::All) => PolicyEntity::All,
                Ok(pb::PolicyEntity::Unspecified) | Err(_) => {
                    return Err(ParseError::Word { field: "entity", value: entity });
                }
            }),
        })
    }

    /// Ranges as they are packed, sorted.
    fn ranges(&mut self, v4: &[u8], v6: &[u8]) -> Result<Vec<IpNet>, ParseError> {
        const FIELD: &str = "a policy's ranges";
        let (some4, rest4) = v4.as_chunks::<5>();
        let (some6, rest6) = v6.as_chunks::<17>();
        if !rest4.is_empty() || !rest6.is_empty() {
            return Err(ParseError::Address { field: FIELD, bytes: rest4.len().max(rest6.len()) });
        }
        self.ranges = self.ranges.saturating_add(some4.len() + some6.len());
        few(FIELD, self.ranges, MAX_RANGES)?;
        let v4 = some4.iter().map(|[a, b, c, d, length]| (Ipv4Addr::new(*a, *b, *c, *d).into(), *length));
        let v6 = some6.iter().filter_map(|bytes| {
            let (address, length) = bytes.split_first_chunk::<16>()?;
            Some((IpAddr::from(Ipv6Addr::from(*address)), *length.first()?))
        });
        let mut ranges = v4.chain(v6).map(|(address, length)| match IpNet::new(address, length) {
            Ok(net) if net.network() == address && !mapped(&address) => Ok(net),
            _ => Err(ParseError::Prefix { field: FIELD, address, length: length.into() }),
        });
        let mut ranges = ranges.by_ref().collect::<Result<Vec<IpNet>, _>>()?;
        ranges.sort_unstable();
        ranges.dedup();
        Ok(ranges)
    }

    fn pods(&mut self, pods: pb::PodSelector) -> Result<PodSelector, ParseError> {
        use pb::pod_selector::Namespaces;
        let namespaces = match pods.namespaces.ok_or(ParseError::Missing("a choice of namespaces"))? {
            Namespaces::Named(name) => NamespaceChoice::Named(ObjectName::new(name, "any")?.namespace),
            Namespaces::Selected(selector) => NamespaceChoice::Selected(self.selector(selector)?),
        };
        Ok(PodSelector { namespaces, pods: self.selector(pods.pods.unwrap_or_default())? })
    }

    fn selector(&mut self, selector: pb::Selector) -> Result<Selector, ParseError> {
        self.take(selector.requirements.len())?;
        let mut requirements = BTreeSet::new();
        for pb::Requirement { key, operator, values } in selector.requirements {
            self.take(values.len())?;
            let key = text("a label's key", key, 1, limits::LABEL_KEY_CHARS)?;
            let value = |value| text("a label's value", value, 0, limits::LABEL_VALUE_CHARS);
            let values = values.into_iter().map(value).collect::<Result<BTreeSet<_>, _>>()?;
            let operator = match pb::Operator::try_from(operator) {
                Ok(pb::Operator::In) => Operator::In(values),
                Ok(pb::Operator::NotIn) => Operator::NotIn(values),
                Ok(pb::Operator::Exists) => Operator::Exists,
                Ok(pb::Operator::DoesNotExist) => Operator::DoesNotExist,
                Ok(pb::Operator::Unspecified) | Err(_) => {
                    return Err(ParseError::Word { field: "operator", value: operator });
                }
            };
            requirements.insert(Requirement { key, operator });
        }
        Ok(Selector { requirements: requirements.into_iter().collect() })
    }
}

fn policy_port(port: pb::PolicyPort) -> Result<PolicyPort, ParseError> {
    use pb::policy_port::Port;
    Ok(match port.port.ok_or(ParseError::Missing("a port"))? {
        Port::Range(pb::PortRange { protocol: of, first, last }) => {
            let number = |port| u16::try_from(port).map_err(|_| range("a port", port, 0));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(range("the last port of a range", last.into(), first.into()));
            }
            PolicyPort::Ports { protocol: protocol(of)?, first, last }
        }
        Port::Named(pb::PortName { protocol: of, name }) => PolicyPort::Named {
            protocol: (of != i32::from(pb::Protocol::Unspecified)).then(|| protocol(of)).transpose()?,
            name: text("a port's name", name, 1, limits::PORT_NAME_CHARS)?,
        },
        Port::Icmp(pb::Icmp { v6, r#type: kind }) => {
            let number = |kind: u32| {
                let (field, value) = ("a type of ICMP", u64::from(kind));
                u8::try_from(kind).map_err(|_| ParseError::Range { field, value, min: 0, max: 255 })
            };
            PolicyPort::Icmp { v6, kind: kind.map(number).transpose()? }
        }
    })
}

/// Text for people.
fn words(field: &'static str, value: String, max: usize) -> Result<String, ParseError> {
    if value.chars().count() <= max && !value.chars().any(char::is_control) {
        return Ok(value);
    }
    Err(ParseError::Text { field, value: value.chars().filter(|c| !c.is_control()).take(80).collect(), max })
}
