//! The labels of an object, in one piece of memory: there are many pods, and few of them are ever looked at twice.

use std::collections::BTreeMap;

use super::complaint::{complain, some};
use crate::Complaint;
use crate::manifest::syntax::Syntax;

/// Labels by key. Within Kubernetes' limits, so that no key or value has the separator in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels(Box<str>);

const SEPARATOR: char = '\0';

impl Labels {
    /// What can be used of the labels as written.
    pub(super) fn new(written: Option<&BTreeMap<String, String>>, found: &mut Vec<Complaint>) -> Self {
        let mut text = String::new();
        let mut beyond = Vec::new();
        for (key, value) in written.into_iter().flatten() {
            if !Syntax::LabelKey.allows(key) || !Syntax::LabelValue.allows(value) {
                beyond.push(format!("{key}={value}"));
                continue;
            }
            for part in [key, value] {
                text.push_str(part);
                text.push(SEPARATOR);
            }
        }
        if !beyond.is_empty() {
            let message = format!(
                "the labels {} are not what Kubernetes allows as a key and a value; the object counts as one without \
                 them, for services and policies alike; shorten or remove them",
                some(&beyond)
            );
            complain(found, "LabelBeyondLimits", message);
        }
        Self(text.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator(SEPARATOR);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    pub(super) fn has(&self, key: &str, value: &str) -> bool {
        self.iter().any(|label| label == (key, value))
    }

    pub(super) fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}
