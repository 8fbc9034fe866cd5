//! Policies: from objects of four kinds to one shape, or a refusal that names the field. Nothing is half applied.

mod cilium;
mod cluster;
mod network;
mod parts;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::policy::{MAX_BYTES, MAX_PARTS, MAX_RANGES, Policy, PolicyKind, PolicyName};
use model::{Change, ClusterName, Key, Object, ObjectName};
use siphasher::sip::SipHasher13;

use crate::Complaint;
use crate::manifest::{Id, Kind, Manifest};

/// Has other clusters that opt in take a policy, as annotation or label.
const DISTRIBUTE: &str = "causeway.io/distribute";

/// Why an object is no policy of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    /// The field: `spec.ingress[0].toPorts[1].rules`.
    path: String,
    /// What is wrong with it, and what to write instead.
    what: String,
}

impl Refused {
    fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into() }
    }
}

impl From<Refused> for Complaint {
    fn from(Refused { path, what }: Refused) -> Self {
        let message = format!(
            "{path}: {what}; nothing of the policy as it is now is applied, and what was known of it before stays in force"
        );
        Self { reason: "PolicyRefused", message }
    }
}

type Result<T> = std::result::Result<T, Refused>;

/// What was said of each object that is a policy: one policy, or several.
#[derive(Debug, Default)]
pub(super) struct Policies {
    said: BTreeMap<Id, BTreeMap<String, u64>>,
}

impl Policies {
    /// The objects that are policies.
    pub(super) fn ids(&self, kind: Kind) -> impl Iterator<Item = &Id> {
        self.said.keys().filter(move |id| id.kind == kind)
    }

    /// Takes an object in. Says what is different now; nothing if it is refused.
    pub(super) fn apply(
        &mut self,
        cluster: &ClusterName,
        manifest: &Manifest,
        found: &mut Vec<Complaint>,
    ) -> Vec<Change> {
        let id = manifest.id();
        let policies = match read(cluster, &id, manifest) {
            Ok(policies) => policies,
            Err(refused) => {
                found.push(refused.into());
                return Vec::new();
            }
        };
        let said = self.said.entry(id.clone()).or_default();
        let now: BTreeMap<String, u64> =
            policies.iter().map(|policy| (policy.name.name.clone(), fingerprint(policy))).collect();
        let mut changes: Vec<Change> = policies
            .into_iter()
            .filter(|policy| said.get(&policy.name.name) != now.get(&policy.name.name))
            .map(|policy| Change::Upsert(Object::Policy(policy)))
            .collect();
        let gone = said.keys().filter(|name| !now.contains_key(*name));
        changes.extend(gone.filter_map(|name| Some(Change::Delete(key(cluster, &id, name)?))));
        *said = now;
        changes
    }

    /// Takes an object out.
    pub(super) fn delete(&mut self, cluster: &ClusterName, id: &Id) -> Vec<Change> {
        let said = self.said.remove(id).unwrap_or_default();
        said.keys().filter_map(|name| Some(Change::Delete(key(cluster, id, name)?))).collect()
    }
}

fn kind(kind: Kind) -> Option<PolicyKind> {
    match kind {
        Kind::NetworkPolicy => Some(PolicyKind::NetworkPolicy),
        Kind::ClusterNetworkPolicy => Some(PolicyKind::ClusterNetworkPolicy),
        Kind::CiliumNetworkPolicy => Some(PolicyKind::CiliumNetworkPolicy),
        Kind::CiliumClusterwideNetworkPolicy => Some(PolicyKind::CiliumClusterwideNetworkPolicy),
        _ => None,
    }
}

fn key(cluster: &ClusterName, id: &Id, name: &str) -> Option<Key> {
    Some(Key::Policy(PolicyName {
        cluster: cluster.clone(),
        kind: kind(id.kind)?,
        namespace: id.namespace.clone(),
        name: name.into(),
    }))
}

/// What an object says: as many policies as it has parts.
fn read(cluster: &ClusterName, id: &Id, manifest: &Manifest) -> Result<Vec<Policy>> {
    let Some(kind) = kind(id.kind) else { return Ok(Vec::new()) };
    let namespace = if id.namespace.is_empty() { "none" } else { &id.namespace };
    ObjectName::new(namespace, &id.name).map_err(|error| Refused::new("metadata.name", error.to_string()))?;
    let name =
        PolicyName { cluster: cluster.clone(), kind, namespace: id.namespace.clone(), name: id.name.clone() };
    let distribute = distribute(manifest.metadata())?;
    let policies = match manifest {
        Manifest::NetworkPolicy(object) => vec![network::policy(name, distribute, object)?],
        Manifest::ClusterNetworkPolicy(object) => vec![cluster::policy(name, distribute, object)?],
        Manifest::CiliumNetworkPolicy(object) => {
            cilium::policies(&name, distribute, object.spec.as_ref(), object.specs.as_deref())?
        }
        Manifest::CiliumClusterwideNetworkPolicy(object) => {
            cilium::policies(&name, distribute, object.spec.as_ref(), object.specs.as_deref())?
        }
        _ => Vec::new(),
    };
    for policy in &policies {
        let (parts, ranges) = policy.size();
        let bytes = engine::exchange::weight(&Object::Policy(policy.clone()));
        for (count, most, of) in [
            (ranges, MAX_RANGES, "ranges of addresses"),
            (parts, MAX_PARTS, "rules, peers, ports, labels and names"),
            (bytes, MAX_BYTES, "bytes"),
        ] {
            if count > most {
                let what =
                    format!("{count} {of} in one policy; at most {most} are read; write several policies");
                return Err(Refused::new("spec", what));
            }
        }
    }
    Ok(policies)
}

fn distribute(meta: &ObjectMeta) -> Result<bool> {
    for (field, map) in [("annotations", &meta.annotations), ("labels", &meta.labels)] {
        match map.as_ref().and_then(|map| map.get(DISTRIBUTE)).map(String::as_str) {
            None => {}
            Some("true") => return Ok(true),
            Some("false") => return Ok(false),
            Some(_) => {
                let path = format!("metadata.{field}[\"{DISTRIBUTE}\"]");
                return Err(Refused::new(path, "it is neither \"true\" nor \"false\""));
            }
        }
    }
    Ok(false)
}

/// Stands for a policy that was said, at a fraction of its size.
fn fingerprint(policy: &Policy) -> u64 {
    let Policy { name: _, tier, distribute, subject, ingress, egress } = policy;
    let mut hasher = SipHasher13::new();
    (tier, distribute, subject).hash(&mut hasher);
    for rules in [ingress, egress] {
        rules.is_some().hash(&mut hasher);
        for rule in rules.iter().flatten() {
            (&rule.path, &rule.name, rule.action, &rule.peers, &rule.ports).hash(&mut hasher);
        }
        // Where one list ends and the next begins.
        u64::MAX.hash(&mut hasher);
    }
    hasher.finish()
}
