//! Namespaces as policies see them: those that are declared, and those that pods are in, declared or not.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};

use model::policy::{NAMESPACE_LABEL, Namespace, NamespaceName};
use model::{Change, ClusterName, Key, Object, ObjectName};
use siphasher::sip::SipHasher13;

use super::labels::Labels;

/// The namespaces of a cluster.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// The labels of those that are declared.
    declared: BTreeMap<String, Labels>,
    /// What was said of each, as a fingerprint.
    said: BTreeMap<String, u64>,
}

impl Namespaces {
    /// A namespace is declared with these labels, or no more.
    pub(super) fn declare(&mut self, name: &str, labels: Option<Labels>) {
        match labels {
            Some(labels) => drop(self.declared.insert(name.into(), labels)),
            None => drop(self.declared.remove(name)),
        }
    }

    /// Says what is different about a namespace. `inhabited`: whether there are pods in it. `shared`: whether other clusters
    /// hear of it.
    pub(super) fn settle(
        &mut self,
        cluster: &ClusterName,
        name: &str,
        inhabited: bool,
        shared: bool,
    ) -> Option<Change> {
        let of = || NamespaceName { cluster: cluster.clone(), name: name.into() };
        let declared = self.declared.get(name);
        // What has no name that could travel has no policies either.
        if (declared.is_none() && !inhabited) || ObjectName::new(name, "any").is_err() {
            self.said.remove(name)?;
            return Some(Change::Delete(Key::Namespace(of())));
        }
        let mut labels = declared.map(Labels::to_map).unwrap_or_default();
        labels.insert(NAMESPACE_LABEL.into(), name.into());
        let mut hasher = SipHasher13::new();
        (&labels, shared).hash(&mut hasher);
        let print = hasher.finish();
        let before = self.said.insert(name.into(), print);
        let namespace = || Namespace { name: of(), labels, shared };
        (before != Some(print)).then(|| Change::Upsert(Object::Namespace(namespace())))
    }
}
