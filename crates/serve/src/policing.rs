//! What the engine says of policies, in the local API's words.

use std::net::IpAddr;

use engine::policy::explain::{Decision, End, RuleRef, ShownDirection, Tier, Why};
use engine::policy::judge::Packet;
use engine::policy::{Direction, Planner};
use model::policy::{NamespaceName, PodName, PolicyPeer};
use model::{ClusterName, NodeName, World};
use wire::local::{
    DecidedBy, Family, PolicyCheck, PolicyDecision, PolicyDirection, PolicyEnd, PolicyFinding, PolicyLint,
    PolicyProtocol, PolicyQuestion, PolicyRef, PolicyRuleRef, PolicyRuleShown, PolicyShow, PortChoice,
    TierName,
};

/// Types of echo requests, of ICMP and ICMPv6, and the protocols' numbers.
const ECHO: [(u8, u16); 2] = [(1, 8), (58, 128)];

/// Addresses for documentation (RFC 5737, RFC 3849) and some of the internet's: the first that no rule names stands for the
/// world.
const WORLD: [&str; 8] = [
    "198.51.100.1",
    "203.0.113.1",
    "192.0.2.1",
    "1.1.1.1",
    "2001:db8:ffff::1",
    "2606:4700::1111",
    "8.8.8.8",
    "2001:4860::8888",
];

/// Answers by what a planner has worked out of a world, for a whole cluster.
#[derive(Debug, Clone, Copy)]
pub struct Explained<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// Everything that is known.
    pub world: &'a World,
    /// What follows from it.
    pub planner: &'a Planner,
}

impl Explained<'_> {
    /// What holds between two ends. What it says of an end of another cluster does not count: that one judges it.
    ///
    /// # Errors
    /// In a sentence that says what to do, when an end is not there, or a port has no such name.
    pub fn check(&self, question: &PolicyQuestion) -> Result<PolicyCheck, String> {
        let PolicyQuestion { from, to, protocol, port, family } = question;
        let (sources, targets) = (self.addresses(from, to)?, self.addresses(to, from)?);
        let in_mesh = self.is_in_mesh(from) || self.is_in_mesh(to);
        let fits = |ip: &IpAddr| family.is_none_or(|family| Family::of(*ip) == family);
        let pairs = sources.iter().flat_map(|from| targets.iter().map(move |to| (*from, *to)));
        let mut alike = pairs.filter(|(a, b)| a.is_ipv4() == b.is_ipv4());
        let Some((source, target)) = alike.find(|(a, _)| fits(a)) else {
            let family = family.map_or_else(|| "one family".to_string(), |family| family.to_string());
            return Err(format!(
                "{from} and {to} have no addresses of {family}: choose another, or look whether both have got theirs"
            ));
        };
        let (from, to) = (self.name(from, source), self.name(to, target));
        let (number, dialled) = match protocol.transport() {
            None => ECHO[usize::from(source.is_ipv6())],
            Some(transport) => (transport.number(), self.dialled(&to, *protocol, port.as_ref())?),
        };
        let packet = |direction, pod, peer| Packet { pod, direction, peer, protocol: number, port: dialled };
        let ask = |end: &PolicyEnd, other: &PolicyEnd, packet: Packet| match self.judged_node(end) {
            None => self.decide(end, &packet),
            Some(_) if in_mesh => self.beside_underlay(),
            Some(node) => match self.on_underlay(&node, other, packet) {
                Some(packet) => self.decide(end, &packet),
                None => self.beside_underlay(),
            },
        };
        let egress = ask(&from, &to, packet(Direction::Egress, source, target));
        let mut ingress = ask(&to, &from, packet(Direction::Ingress, target, source));
        if self.is_own_node(&from, &to) {
            let note = "a node may always speak with its own pods".to_string();
            ingress =
                PolicyDecision { allowed: Some(true), by: DecidedBy::OwnNode, rule: None, note, ..ingress };
        }
        let allowed = PolicyCheck::conclude(&egress, &ingress);
        let family = Some(Family::of(source));
        Ok(PolicyCheck {
            from,
            to,
            protocol: *protocol,
            port: port.clone(),
            family,
            allowed,
            egress,
            ingress,
        })
    }

    /// What holds for a pod or node of the cluster.
    ///
    /// # Errors
    /// As with [`Explained::check`].
    pub fn show(&self, pod: &PolicyEnd) -> Result<PolicyShow, String> {
        let pod = match pod {
            PolicyEnd::Address(ip) => self.name(pod, *ip),
            other => other.clone(),
        };
        if let Some(name) = self.node_name(&pod) {
            return self.show_node(pod, &name);
        }
        let name = self
            .pod_name(&pod)
            .ok_or_else(|| format!("{pod} is neither a pod nor a node: write NAMESPACE/POD or node/NAME"))?;
        let known = self.world.pods.get(&name).ok_or_else(|| unknown(&pod))?;
        let shown = self.planner.show(&name).map_err(|e| e.to_string())?;
        Ok(PolicyShow {
            pod,
            node: known.node.clone(),
            ips: known.ips.clone(),
            labels: known.labels.clone(),
            ingress: self.direction(&shown.ingress),
            egress: self.direction(&shown.egress),
        })
    }

    fn show_node(&self, end: PolicyEnd, name: &NodeName) -> Result<PolicyShow, String> {
        let known = self.world.nodes.get(name).ok_or_else(|| unknown(&end))?;
        let shown = self.planner.show_node(name).map_err(|e| e.to_string())?.ok_or_else(|| {
            format!("{end} is not judged: set policy.host: true to have policies about nodes enforced")
        })?;
        Ok(PolicyShow {
            pod: end,
            node: Some(name.clone()),
            ips: shown.addresses.clone(),
            labels: known.labels.clone(),
            ingress: self.direction(&shown.ingress),
            egress: self.direction(&shown.egress),
        })
    }

    /// The node that an end is, if policies may be about it here.
    fn judged_node(&self, end: &PolicyEnd) -> Option<NodeName> {
        self.node_name(end).filter(|name| matches!(self.planner.show_node(name), Ok(Some(_))))
    }

    /// Whether somebody is said to be at a node's address in the mesh: what goes there leaves through the tunnel.
    fn is_in_mesh(&self, said: &PolicyEnd) -> bool {
        let PolicyEnd::Address(ip) = said else { return false };
        self.world.nodes.values().any(|node| node.mesh_ips().contains(ip))
    }

    /// A node's address on its networks: this one, if it is one of them, else one of the same family; or this one all the same.
    fn outer_ip(&self, name: &NodeName, this: IpAddr) -> IpAddr {
        let node = self.world.nodes.get(name).into_iter();
        let all: Vec<_> = node.flat_map(|node| node.private_ips.iter().chain(&node.public_ips)).collect();
        let alike = all.iter().find(|ip| ip.is_ipv4() == this.is_ipv4());
        alike.filter(|_| !all.contains(&&this)).map_or(this, |ip| **ip)
    }

    /// A packet as the underlay device of one of its ends, a node, sees it. None: it does not come by there.
    fn on_underlay(&self, node: &NodeName, other: &PolicyEnd, packet: Packet) -> Option<Packet> {
        let pod = self.outer_ip(node, packet.pod);
        let peer = match (self.pod_name(other), self.node_name(other)) {
            // By its link, or through the tunnel.
            (Some(_), _) if packet.direction == Direction::Egress => return None,
            (Some(name), _) => match self.world.pods.get(&name).and_then(|pod| pod.node.as_ref()) {
                Some(its) if its == node => return None,
                // Pods reach what is outside of the mesh under their node's address.
                Some(its) => self.outer_ip(its, packet.peer),
                None => packet.peer,
            },
            (None, Some(its)) if its == *node => return None,
            (None, Some(its)) => self.outer_ip(&its, packet.peer),
            (None, None) => packet.peer,
        };
        Some(Packet { pod, peer, ..packet })
    }

    fn beside_underlay(&self) -> PolicyDecision {
        PolicyDecision {
            allowed: Some(true),
            by: DecidedBy::NoPolicy,
            judged_by: Some(self.cluster.clone()),
            note: "nodes are judged on the underlay device, and this does not come by there".into(),
            ..PolicyDecision::nobody()
        }
    }

    /// What is hardly meant as it is written.
    pub fn lint(&self) -> PolicyLint {
        let finding = |finding: engine::policy::Finding| PolicyFinding {
            policy: PolicyRef::from(&finding.policy),
            path: finding.path,
            kind: finding.flaw.as_str().into(),
            message: finding.advice,
        };
        let mut findings: Vec<_> = self.planner.lint().into_iter().map(finding).collect();
        findings.sort();
        PolicyLint { cluster: self.cluster.clone(), policies: self.planner.policies().count(), findings }
    }

    /// An end's addresses. A node speaks with pods by those in the mesh, and where it is judged with others by its own.
    fn addresses(&self, end: &PolicyEnd, other: &PolicyEnd) -> Result<Vec<IpAddr>, String> {
        match end {
            PolicyEnd::Address(ip) => Ok(vec![*ip]),
            PolicyEnd::World => Ok(self.somewhere()),
            PolicyEnd::Node { .. } => {
                let name = self.node_name(end).ok_or_else(|| format!("{end} is no node's name"))?;
                let node = self.world.nodes.get(&name).ok_or_else(|| unknown(end))?;
                let others = node.private_ips.iter().chain(&node.public_ips).copied();
                let mesh = node.mesh_ips();
                let is_pod = matches!(other, PolicyEnd::Pod { .. });
                Ok(match self.judged_node(end) {
                    Some(_) if !is_pod => others.chain(mesh).collect(),
                    _ => mesh.into_iter().chain(others).collect(),
                })
            }
            PolicyEnd::Pod { .. } => {
                let name = self.pod_name(end).ok_or_else(|| unknown(end))?;
                if let Some(pod) = self.world.pods.get(&name) {
                    return Ok(pod.ips.clone());
                }
                // Pods that no policy here can mean are not told; to this cluster one is like another.
                let cluster = &name.namespace.cluster;
                let ranges = self.world.clusters.get(cluster).filter(|_| cluster != self.cluster);
                let first = |range: &ipnet::IpNet| range.hosts().nth(1);
                Ok(ranges.ok_or_else(|| unknown(end))?.pod_cidrs.iter().filter_map(first).collect())
            }
        }
    }

    /// An address of each family that is in no cluster, and in no range that a rule names.
    fn somewhere(&self) -> Vec<IpAddr> {
        let candidates = WORLD.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        let named = |ip: &IpAddr| {
            let rules = self.planner.policies().flat_map(|policy| [&policy.ingress, &policy.egress]);
            let mut peers = rules.flatten().flatten().filter_map(|rule| rule.peers.as_ref()).flatten();
            peers.any(|peer| {
                // Everywhere is no place of its own.
                matches!(peer, PolicyPeer::Networks { ranges, except } if
                    ranges.iter().chain(except).any(|range| range.prefix_len() > 0 && range.contains(ip)))
            })
        };
        let free: Vec<_> = candidates.filter(|ip| !named(ip)).collect();
        [true, false]
            .into_iter()
            .filter_map(|v4| free.iter().copied().find(|ip| ip.is_ipv4() == v4))
            .collect()
    }

    /// Who is at an address, as it is said in full.
    fn name(&self, said: &PolicyEnd, ip: IpAddr) -> PolicyEnd {
        match said {
            PolicyEnd::Address(_) => {
                self.planner.end_at(ip).map_or(PolicyEnd::Address(ip), |end| named(&end))
            }
            other => other.clone(),
        }
    }

    fn pod_name(&self, end: &PolicyEnd) -> Option<PodName> {
        let PolicyEnd::Pod { cluster, pod } = end else { return None };
        let cluster = cluster.as_ref().unwrap_or(self.cluster).clone();
        let namespace = NamespaceName { cluster, name: pod.namespace.clone() };
        Some(PodName { namespace, name: pod.name.clone() })
    }

    fn node_name(&self, end: &PolicyEnd) -> Option<NodeName> {
        let PolicyEnd::Node { cluster, name } = end else { return None };
        NodeName::new(cluster.as_ref().unwrap_or(self.cluster).clone(), name.as_str()).ok()
    }

    /// The number of the port that is dialled. 0, which no rule names, where none is.
    fn dialled(
        &self,
        to: &PolicyEnd,
        protocol: PolicyProtocol,
        port: Option<&PortChoice>,
    ) -> Result<u16, String> {
        let name = match port {
            None => return Ok(0),
            Some(PortChoice::Number(number)) => return Ok(number.get()),
            Some(PortChoice::Name(name)) => name,
        };
        let pod = self.pod_name(to).and_then(|name| self.world.pods.get(&name));
        let ports = pod.into_iter().flat_map(|pod| &pod.ports);
        let mut its = ports.filter(|port| port.name == *name && Some(port.protocol) == protocol.transport());
        its.next().map(|port| port.port.get()).ok_or_else(|| {
            format!("{to} has no port of the name {name} for {protocol}: write its number, or look at its containers")
        })
    }

    fn is_own_node(&self, from: &PolicyEnd, to: &PolicyEnd) -> bool {
        let (Some(node), Some(pod)) = (self.node_name(from), self.pod_name(to)) else { return false };
        self.world.pods.get(&pod).is_some_and(|pod| pod.node.as_ref() == Some(&node))
    }

    /// What holds for an end that is a pod or node of the cluster, and why.
    fn decide(&self, end: &PolicyEnd, packet: &Packet) -> PolicyDecision {
        let Decision { allowed, why, rule } = self.planner.decide(packet);
        let (by, note) = match why {
            Why::Elsewhere => return PolicyDecision::nobody(),
            Why::NoPolicy => (DecidedBy::NoPolicy, "no policy selects it for this direction"),
            Why::NoRule => (DecidedBy::NoPolicy, "policies select it; none of their rules is about this"),
            Why::Always => {
                (DecidedBy::AlwaysAllowed, "so that nobody is locked out: see policy.hostAlwaysAllowed")
            }
            Why::OwnNode => (DecidedBy::OwnNode, "a node may always speak with its own pods"),
            Why::LabelsUnknown => (
                DecidedBy::Unknown,
                "closed until its labels are known here, because a policy may be about it",
            ),
            Why::NoRoom => (
                DecidedBy::Unknown,
                "closed, because its rules find no room in the kernel: see `causeway status`",
            ),
            Why::PeerUnknown => (
                DecidedBy::Unknown,
                "nobody is known to be at the other end, and a rule denies some by what they are",
            ),
            Why::Rule => (DecidedBy::Rule, ""),
            Why::Isolated => (DecidedBy::Isolated, "a policy isolates it, and no rule accepts this"),
        };
        let shown = match self.judged_node(end) {
            Some(node) => self.planner.show_node(&node).ok().flatten(),
            None => self.pod_name(end).and_then(|name| self.planner.show(&name).ok()),
        };
        let policies = shown.map(|shown| match packet.direction {
            Direction::Ingress => shown.ingress.policies,
            Direction::Egress => shown.egress.policies,
        });
        PolicyDecision {
            allowed: Some(allowed),
            by,
            rule: rule.as_ref().map(rule_ref),
            judged_by: Some(self.cluster.clone()),
            policies: policies.iter().flatten().map(PolicyRef::from).collect(),
            note: note.into(),
        }
    }

    fn direction(&self, shown: &ShownDirection) -> PolicyDirection {
        let closed = match shown.closed {
            None => "",
            Some(Why::LabelsUnknown) => "its labels, or its namespace's, are not known yet",
            Some(_) => "its rules find no room in the kernel",
        };
        PolicyDirection {
            isolated: shown.isolated,
            closed: closed.into(),
            policies: shown.policies.iter().map(PolicyRef::from).collect(),
            rules: shown.rules.iter().map(|rule| self.rule(rule)).collect(),
        }
    }

    /// A rule with its words.
    fn rule(&self, rule: &RuleRef) -> PolicyRuleShown {
        let policy = self.world.policies.get(&rule.policy);
        let rules =
            policy.into_iter().flat_map(|policy| [&policy.ingress, &policy.egress]).flatten().flatten();
        let written = rules.into_iter().find(|written| written.path == rule.path);
        let words = |peers: &Vec<PolicyPeer>| peers.iter().map(ToString::to_string).collect();
        PolicyRuleShown {
            rule: rule_ref(rule),
            priority: rule.priority,
            peers: written.and_then(|rule| rule.peers.as_ref()).map(words).unwrap_or_default(),
            ports: written
                .and_then(|rule| rule.ports.as_ref())
                .map(|ports| ports.iter().map(|port| port.to_string().to_lowercase()).collect())
                .unwrap_or_default(),
        }
    }
}

/// A rule, as it is named to people.
pub fn rule_ref(rule: &RuleRef) -> PolicyRuleRef {
    let RuleRef { policy, tier, path, name, action, .. } = rule;
    PolicyRuleRef {
        policy: PolicyRef::from(policy),
        path: path.clone(),
        rule: name.clone(),
        tier: match tier {
            Tier::Admin => TierName::Admin,
            Tier::Namespace => TierName::Namespace,
            Tier::Baseline => TierName::Baseline,
        },
        action: (*action).into(),
    }
}

/// An end, as it is named to people.
pub fn named(end: &End) -> PolicyEnd {
    match end {
        End::Address(ip) => PolicyEnd::Address(*ip),
        End::Node(node) => PolicyEnd::Node { cluster: Some(node.cluster.clone()), name: node.node.clone() },
        End::Pod(pod) => PolicyEnd::Pod {
            cluster: Some(pod.namespace.cluster.clone()),
            pod: model::ObjectName { namespace: pod.namespace.name.clone(), name: pod.name.clone() },
        },
    }
}

fn unknown(end: &PolicyEnd) -> String {
    match end {
        PolicyEnd::Pod { .. } => format!(
            "there is no pod {end}, or its cluster does not share it: look with kubectl get pods, and write \
             CLUSTER/NAMESPACE/POD for one of another cluster"
        ),
        _ => format!("there is no {end}: look with kubectl get nodes"),
    }
}
