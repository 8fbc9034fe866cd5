//! Selectors as Cilium writes them: labels with a source in front, those of namespaces among them.

use model::policy::{
    CILIUM_CLUSTER_LABEL, NAMESPACE_LABEL, NamespaceChoice, Operator, PodSelector, Requirement, Selector,
};

use super::super::parts::{all, requirement};
use super::field::Field;
use super::pods;
use crate::index::policy::{Refused, Result};

/// A pod's namespace.
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Before the labels of a pod's namespace.
const OF_NAMESPACE: &str = "io.cilium.k8s.namespace.labels.";
const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";

/// The requirements of a selector: of pods, of the names of namespaces, of their other labels.
#[derive(Default)]
struct Read {
    pods: Vec<Requirement>,
    namespaces: Vec<Requirement>,
    /// The path of what says something of namespaces.
    of_namespaces: Option<String>,
}

/// The pods that a policy is about: of its namespace, where it is in one.
pub(super) fn subject(field: &Field<'_>, namespace: &str) -> Result<PodSelector> {
    let Read { pods: labels, namespaces, of_namespaces } = read(field)?;
    if namespace.is_empty() {
        return Ok(pods(NamespaceChoice::Selected(all(namespaces)), all(labels)));
    }
    let own =
        Requirement { key: NAMESPACE_LABEL.into(), operator: Operator::In([namespace.to_string()].into()) };
    let named = |one: &&Requirement| one.key == NAMESPACE_LABEL;
    let other = namespaces.iter().find(named).filter(|one| **one != own);
    if let (Some(_), Some(path)) = (other, of_namespaces) {
        let what = format!(
            "a policy of the namespace {namespace} is about pods of that one; leave other namespaces out"
        );
        return Err(Refused::new(path, what));
    }
    let choice = match namespaces.iter().all(|one| *one == own) {
        true => NamespaceChoice::Named(namespace.into()),
        false => NamespaceChoice::Selected(all(namespaces.into_iter().chain([own]))),
    };
    Ok(pods(choice, all(labels)))
}

/// The nodes that a policy is about.
pub(super) fn nodes(field: &Field<'_>) -> Result<Selector> {
    let Read { pods: labels, of_namespaces, .. } = read(field)?;
    match of_namespaces {
        None => Ok(all(labels)),
        Some(path) => Err(Refused::new(path, "nodes are in no namespace; select them by their own labels")),
    }
}

/// Pods at the other end: of the policy's namespace unless it says something of namespaces.
pub(super) fn peer(field: &Field<'_>, namespace: &str) -> Result<PodSelector> {
    let Read { pods: labels, namespaces, of_namespaces } = read(field)?;
    let choice = match (of_namespaces, namespace) {
        (None, own) if !own.is_empty() => NamespaceChoice::Named(own.into()),
        _ => match &*namespaces {
            [Requirement { key, operator: Operator::In(names) }]
                if key == NAMESPACE_LABEL && names.len() == 1 =>
            {
                NamespaceChoice::Named(names.first().cloned().unwrap_or_default())
            }
            _ => NamespaceChoice::Selected(all(namespaces)),
        },
    };
    Ok(pods(choice, all(labels)))
}

fn read(field: &Field<'_>) -> Result<Read> {
    let mut found = Read::default();
    let fields = field.fields(&["matchLabels", "matchExpressions"])?;
    if let Some(labels) = fields.get("matchLabels") {
        for (key, value) in labels.all_fields()?.iter() {
            found.take(value.path(), key, "In", &[value.text()?.to_string()])?;
        }
    }
    if let Some(expressions) = fields.get("matchExpressions") {
        for expression in expressions.items()? {
            let fields = expression.fields(&["key", "operator", "values"])?;
            let text = |name: &str| match fields.get(name) {
                Some(field) => field.text(),
                None => Err(Refused::new(expression.under(name), "it is missing")),
            };
            let values = fields.get("values").map(|values| values.items()).transpose()?.unwrap_or_default();
            let values = values.iter().map(|value| value.text().map(Into::into));
            let values = values.collect::<Result<Vec<String>>>()?;
            found.take(expression.path(), text("key")?, text("operator")?, &values)?;
        }
    }
    Ok(found)
}

impl Read {
    fn take(&mut self, path: &str, written: &str, operator: &str, values: &[String]) -> Result<()> {
        let key = match written.split_once(':') {
            None => written,
            Some(("k8s" | "any", key)) => key,
            Some(("reserved", _)) => {
                return Err(Refused::new(
                    path,
                    "whatever is reserved has an entity; write it as one, in its place",
                ));
            }
            Some((source, _)) => {
                let what = format!(
                    "labels have no source {source} here; write k8s:, any:, or nothing before the key"
                );
                return Err(Refused::new(path, what));
            }
        };
        if key == SERVICE_ACCOUNT {
            return Err(Refused::new(
                path,
                "service accounts are not known here; select pods by their labels",
            ));
        }
        let of_namespace = match key {
            NAMESPACE => Some(NAMESPACE_LABEL),
            _ => key.strip_prefix(OF_NAMESPACE),
        };
        match of_namespace {
            Some(key) => {
                self.of_namespaces.get_or_insert_with(|| path.into());
                self.namespaces.push(requirement(path, key, operator, values)?);
            }
            None if key.starts_with("io.cilium.k8s.") && key != CILIUM_CLUSTER_LABEL => {
                return Err(Refused::new(
                    path,
                    "it is none of the labels of Cilium's own that are known here",
                ));
            }
            None => self.pods.push(requirement(path, key, operator, values)?),
        }
        Ok(())
    }
}
