//! CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy: `cilium.io/v2`, as much of it as can be enforced whole. A field that
//! is not among what is read here is refused, whatever it says.

mod field;
mod labels;
mod ports;

use model::policy::{
    NamespaceChoice, PodSelector, Policy, PolicyAction, PolicyEntity, PolicyName, PolicyPeer, PolicyPort,
    PolicyRule, PolicySubject, PolicyTier,
};
use serde_json::Value;

use super::parts::{part_of, range, ranges};
use super::{Refused, Result};
use crate::index::complaint::short;
use field::{Field, Fields};

/// All rules of an object, each a policy of its own: `spec` under the object's name, `specs` under `NAME[0]` and so on.
pub(super) fn policies(
    name: &PolicyName,
    distribute: bool,
    spec: Option<&Value>,
    specs: Option<&[Value]>,
) -> Result<Vec<Policy>> {
    let spec = spec.filter(|spec| !spec.is_null());
    let first = spec.map(|spec| (name.clone(), Field::new("spec", spec)));
    let others = specs.unwrap_or_default().iter().enumerate().map(|(n, spec)| {
        let name = PolicyName { name: format!("{}[{n}]", name.name), ..name.clone() };
        (name, Field::new(format!("specs[{n}]"), spec))
    });
    let all: Vec<_> = first.into_iter().chain(others).collect();
    if all.is_empty() {
        return Err(Refused::new("spec", "neither spec nor specs says anything"));
    }
    all.into_iter().map(|(name, field)| policy(name, distribute, &field)).collect()
}

fn policy(name: PolicyName, distribute: bool, field: &Field<'_>) -> Result<Policy> {
    let known = [
        "endpointSelector",
        "nodeSelector",
        "ingress",
        "ingressDeny",
        "egress",
        "egressDeny",
        "enableDefaultDeny",
        "labels",
        "description",
    ];
    let fields = field.fields(&known)?;
    let subject = subject(field, &fields, &name, distribute)?;
    let deny = match fields.get("enableDefaultDeny") {
        Some(deny) => Some(deny.fields(&["ingress", "egress"])?),
        None => None,
    };
    let direction = |word: &str| {
        let accepts = rules(&fields, word, PolicyAction::Accept, &name.namespace)?;
        let denies = rules(&fields, &format!("{word}Deny"), PolicyAction::Deny, &name.namespace)?;
        let some = !accepts.is_empty() || !denies.is_empty();
        let written = deny.as_ref().and_then(|deny| deny.get(word));
        let isolates = written.as_ref().map(Field::bool).transpose()?.unwrap_or(some);
        match written {
            Some(written) if some && !isolates => Err(Refused::new(
                written.path(),
                "rules that do not isolate are not enforced here; remove it, or write a ClusterNetworkPolicy of the \
                 tier Admin or Baseline",
            )),
            _ => Ok(isolates.then(|| denies.into_iter().chain(accepts).collect())),
        }
    };
    let (ingress, egress) = (direction("ingress")?, direction("egress")?);
    if matches!(subject, PolicySubject::Nodes(_)) {
        [&ingress, &egress].into_iter().flatten().flatten().try_for_each(numbers_alone)?;
    }
    if ingress.is_none() && egress.is_none() {
        return Err(Refused::new(
            field.path(),
            "it says nothing; write rules as ingress, ingressDeny, egress or egressDeny",
        ));
    }
    Ok(Policy { name, tier: PolicyTier::Namespace, distribute, subject, ingress, egress })
}

/// Whom a policy is about.
fn subject(
    field: &Field<'_>,
    fields: &Fields<'_>,
    name: &PolicyName,
    distribute: bool,
) -> Result<PolicySubject> {
    let nodes = match (fields.get("endpointSelector"), fields.get("nodeSelector")) {
        (Some(pods), None) => return Ok(labels::subject(&pods, &name.namespace)?.into()),
        (None, Some(nodes)) => nodes,
        (Some(_), Some(nodes)) => {
            let what =
                "endpointSelector is written beside it; a policy is about pods or about nodes: write two";
            return Err(Refused::new(nodes.path(), what));
        }
        (None, None) => {
            return Err(Refused::new(
                field.under("endpointSelector"),
                "it is missing; select the pods that the policy is about, {} for all of them",
            ));
        }
    };
    if !name.namespace.is_empty() {
        let what = "nodes are in no namespace; write a CiliumClusterwideNetworkPolicy";
        return Err(Refused::new(nodes.path(), what));
    }
    if distribute {
        let what = "a policy about nodes holds in its own cluster alone; remove causeway.io/distribute";
        return Err(Refused::new(nodes.path(), what));
    }
    labels::nodes(&nodes).map(PolicySubject::Nodes)
}

/// Ports of a rule about a node: it gives them no names.
fn numbers_alone(rule: &PolicyRule) -> Result<()> {
    let named = rule.ports.iter().flatten().find_map(|port| match port {
        PolicyPort::Named { name, .. } => Some(name),
        PolicyPort::Ports { .. } | PolicyPort::Icmp { .. } => None,
    });
    let Some(name) = named else { return Ok(()) };
    let what = format!("nodes give ports no names; write the number of {}", short(name));
    Err(Refused::new(format!("{}.toPorts", rule.path), what))
}

/// The rules of a section. An empty one selects nobody, and so isolates at most.
fn rules(
    fields: &Fields<'_>,
    section: &str,
    action: PolicyAction,
    namespace: &str,
) -> Result<Vec<PolicyRule>> {
    let Some(section) = fields.get(section) else { return Ok(Vec::new()) };
    section.items()?.iter().map(|field| rule(field, action, namespace)).collect()
}

fn rule(field: &Field<'_>, action: PolicyAction, namespace: &str) -> Result<PolicyRule> {
    let way = if field.path().contains("ingress") { "from" } else { "to" };
    let [endpoints, cidr, cidr_set, entities] =
        ["Endpoints", "CIDR", "CIDRSet", "Entities"].map(|what| format!("{way}{what}"));
    let known = [endpoints.as_str(), &cidr, &cidr_set, &entities, "toPorts", "icmps"];
    let fields = field.fields(&known)?;
    let mut peers: Option<Vec<PolicyPeer>> = None;
    let mut given: Option<String> = None;
    for name in [&endpoints, &cidr, &cidr_set, &entities] {
        let Some(list) = fields.get(name) else { continue };
        let read = |item: &Field<'_>| {
            if *name == endpoints {
                labels::peer(item, namespace).map(PolicyPeer::Pods)
            } else if *name == cidr {
                let range = address(item)?;
                Ok(PolicyPeer::Networks { ranges: vec![range], except: Vec::new() })
            } else if *name == cidr_set {
                cidr_rule(item)
            } else {
                entity(item)
            }
        };
        let read: Vec<PolicyPeer> = list.items()?.iter().map(read).collect::<Result<_>>()?;
        if let Some(other) = given.as_ref().filter(|_| !read.is_empty()) {
            let what = format!("{other} is written beside it; write each in a rule of its own");
            return Err(Refused::new(list.path(), what));
        }
        given = (!read.is_empty()).then(|| name.clone()).or(given);
        peers.get_or_insert_default().extend(read);
    }
    let ports = ports::ports(&fields)?;
    // A rule that names neither peers nor ports matches nothing: it is how people isolate and accept nobody.
    let peers = match (peers, &ports) {
        (None, None) => Some(Vec::new()),
        (peers, _) => peers.map(merge),
    };
    Ok(PolicyRule { path: field.path().into(), name: String::new(), action, peers, ports })
}

/// Ranges without exceptions as one peer: of a hundred thousand, not as many.
fn merge(peers: Vec<PolicyPeer>) -> Vec<PolicyPeer> {
    let mut plain = Vec::new();
    let mut merged = Vec::new();
    for peer in peers {
        match peer {
            PolicyPeer::Networks { ranges, except } if except.is_empty() => plain.extend(ranges),
            peer => merged.push(peer),
        }
    }
    if !plain.is_empty() {
        plain.sort_unstable();
        plain.dedup();
        merged.push(PolicyPeer::Networks { ranges: plain, except: Vec::new() });
    }
    merged
}

/// A range, or one address.
fn address(field: &Field<'_>) -> Result<ipnet::IpNet> {
    let text = field.text()?;
    match text.parse::<std::net::IpAddr>() {
        Ok(ip) => range(field.path(), &ipnet::IpNet::from(ip).to_string()),
        Err(_) => range(field.path(), text),
    }
}

fn cidr_rule(field: &Field<'_>) -> Result<PolicyPeer> {
    let fields = field.fields(&["cidr", "except"])?;
    let Some(cidr) = fields.get("cidr") else {
        return Err(Refused::new(field.under("cidr"), "it is missing; write a range such as 10.1.0.0/24"));
    };
    let whole = address(&cidr)?;
    let except = match fields.get("except") {
        Some(except) => {
            let parts = except.items()?;
            ranges(parts.iter().map(|part| part_of(part.path(), &whole, part.text()?)))?
        }
        None => Vec::new(),
    };
    Ok(PolicyPeer::Networks { ranges: vec![whole], except })
}

fn entity(field: &Field<'_>) -> Result<PolicyPeer> {
    let entity = match field.text()? {
        "cluster" => PolicyEntity::Cluster,
        "cluster-mesh" => PolicyEntity::ClusterMesh,
        "host" => PolicyEntity::Host,
        "remote-node" => PolicyEntity::RemoteNode,
        "world" => PolicyEntity::World,
        "all" => PolicyEntity::All,
        other => {
            let instead = match other {
                "world-ipv4" | "world-ipv6" => "write a CIDRSet of 0.0.0.0/0 or ::/0 in its place",
                "kube-apiserver" => "write the API server's addresses as a CIDRSet in its place",
                _ => "write cluster, cluster-mesh, host, remote-node, world or all",
            };
            let what = format!("the entity {} is not enforced here; {instead}", short(other));
            return Err(Refused::new(field.path(), what));
        }
    };
    Ok(PolicyPeer::Entity(entity))
}

/// Pods by a choice of namespaces and of labels.
fn pods(namespaces: NamespaceChoice, pods: model::policy::Selector) -> PodSelector {
    PodSelector { namespaces, pods }
}

/// What a rule is about of what is said.
type Ports = Option<Vec<PolicyPort>>;
