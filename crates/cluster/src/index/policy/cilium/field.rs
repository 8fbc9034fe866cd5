//! A value, and where in its object it is written.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::index::complaint::short;
use crate::index::policy::{Refused, Result};
use crate::yaml::nearest;

/// Fields that are known and not read, and what is to be done without them.
const UNREAD: [(&str, &str); 20] = [
    ("toFQDNs", "write a ClusterNetworkPolicy with domainNames"),
    (
        "rules",
        "what is said inside of connections is not looked at here; allow the ports as they are, or none",
    ),
    ("listener", "connections are led through no proxy here"),
    ("terminatingTLS", "connections are led through no proxy here"),
    ("originatingTLS", "connections are led through no proxy here"),
    ("serverNames", "what is said inside of connections is not looked at here"),
    ("authentication", "whatever leaves a node is encrypted and authenticated between nodes in any case"),
    ("fromRequires", "write what is not to be as ingressDeny"),
    ("toRequires", "write what is not to be as egressDeny"),
    ("toServices", "select the pods behind the service by toEndpoints, or its addresses by toCIDRSet"),
    ("fromGroups", "write the addresses as fromCIDRSet"),
    ("toGroups", "write the addresses as toCIDRSet"),
    ("fromNodes", "write the entities host and remote-node, or the nodes' addresses as fromCIDRSet"),
    ("toNodes", "write a ClusterNetworkPolicy with nodes, or the entities host and remote-node"),
    ("cidrGroupRef", "write the ranges themselves, as cidr"),
    ("cidrGroupSelector", "write the ranges themselves, as cidr"),
    ("log", "denied flows are told as events in any case"),
    ("tier", "write a ClusterNetworkPolicy"),
    ("priority", "write a ClusterNetworkPolicy"),
    ("order", "write a ClusterNetworkPolicy"),
];

#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    path: String,
    value: &'a Value,
}

/// The fields of a value. Those that say nothing (`null`) are not there.
#[derive(Debug)]
pub(super) struct Fields<'a>(BTreeMap<&'a str, Field<'a>>);

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        self.0.get(name).cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &Field<'a>)> {
        self.0.iter().map(|(name, field)| (*name, field))
    }
}

impl<'a> Field<'a> {
    pub(super) fn new(path: impl Into<String>, value: &'a Value) -> Self {
        Self { path: path.into(), value }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a field of it.
    pub(super) fn under(&self, name: &str) -> String {
        crate::yaml::field(&self.path, name)
    }

    /// Its fields, all of which have to be among those that are known.
    pub(super) fn fields(&self, known: &[&str]) -> Result<Fields<'a>> {
        let fields = self.all_fields()?;
        let stranger = fields.0.values().zip(fields.0.keys()).find(|(_, name)| !known.contains(name));
        let Some((field, name)) = stranger else { return Ok(fields) };
        let what = match UNREAD.iter().find(|(unread, _)| unread == name) {
            Some((_, instead)) => format!("it is not enforced here; {instead}"),
            None => match nearest(name, known.iter().copied()) {
                Some(near) => format!("it is not known here; did you mean {near}?"),
                None => format!("it is not known here; what is read is {}", known.join(", ")),
            },
        };
        Err(Refused::new(&field.path, what))
    }

    /// Its fields, whatever they are called.
    pub(super) fn all_fields(&self) -> Result<Fields<'a>> {
        let Value::Object(map) = self.value else { return Err(self.wrong("fields of its own")) };
        let there = map.iter().filter(|(_, value)| !value.is_null());
        let field =
            |(name, value): (&'a String, &'a Value)| (name.as_str(), Field::new(self.under(name), value));
        Ok(Fields(there.map(field).collect()))
    }

    pub(super) fn items(&self) -> Result<Vec<Field<'a>>> {
        let Value::Array(items) = self.value else { return Err(self.wrong("a list")) };
        let item = |(n, value)| Field::new(format!("{}[{n}]", self.path), value);
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("text, in quotes"))
    }

    pub(super) fn bool(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A whole number.
    pub(super) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    fn wrong(&self, instead: &str) -> Refused {
        let what = match self.value {
            Value::String(text) => short(text),
            Value::Bool(_) => "true or false".into(),
            Value::Number(number) => number.to_string(),
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "fields".into(),
            Value::Null => "nothing".into(),
        };
        Refused::new(&self.path, format!("there is {what}; write {instead}"))
    }
}
