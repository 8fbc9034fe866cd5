//! All nodes, and which of them has which range: two never have one in common.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use k8s_openapi::api::core::v1;
use model::{Change, Cluster, Key, NodeName, Object, overlaps};

use super::complaint::{Complaints, From, complain};
use super::node;
use crate::Complaint;
use crate::index::Meshing;
use crate::manifest::{Id, Kind};

/// The nodes of a cluster.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    settings: Meshing,
    held: BTreeMap<String, Held>,
    /// The ranges that each node was given by us, for one that comes without.
    given: BTreeMap<String, Vec<String>>,
    /// Who asks for which range.
    claims: BTreeMap<IpNet, BTreeSet<String>>,
}

/// A node, and what was said of it.
#[derive(Debug)]
struct Held {
    /// As it is without ranges.
    bare: model::Node,
    /// In seconds, on the API server's clock; the older of two keeps a range.
    created: i64,
    /// The ranges written for it.
    written: Vec<String>,
    /// Those of them, or of the given ones, that can be used.
    claimed: Vec<IpNet>,
    said: Option<model::Node>,
}

impl Nodes {
    /// None yet; what they do not say is as in these settings.
    pub(super) fn new(settings: Meshing) -> Self {
        Self { settings, ..Self::default() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.held.keys().map(String::as_str)
    }

    pub(super) fn apply(
        &mut self,
        id: &Id,
        object: &v1::Node,
        cluster: &Cluster,
        complaints: &mut Complaints,
    ) -> Vec<Change> {
        let mut found = Vec::new();
        let name = match NodeName::new(cluster.name.clone(), &id.name) {
            Ok(name) => name,
            Err(error) => {
                complain(
                    &mut found,
                    "NameUnusable",
                    format!("{error}; the node is no part of the mesh until then"),
                );
                let changes = self.delete(id, cluster, complaints);
                complaints.set(id, From::Itself, found);
                return changes;
            }
        };
        let created = object.metadata.creation_timestamp.as_ref();
        let (said, claimed) = match self.held.remove(&id.name) {
            Some(held) => (held.said, held.claimed),
            None => (None, Vec::new()),
        };
        let held = Held {
            bare: node::node(name, object, &self.settings, &mut found),
            created: created.map_or(i64::MAX, |time| time.0.as_second()),
            written: node::written_cidrs(object),
            claimed,
            said,
        };
        self.held.insert(id.name.clone(), held);
        self.settle(&id.name, cluster, found, complaints)
    }

    pub(super) fn delete(&mut self, id: &Id, cluster: &Cluster, complaints: &mut Complaints) -> Vec<Change> {
        complaints.clear(id);
        let Some(held) = self.held.remove(&id.name) else { return Vec::new() };
        let others = self.move_claims(&id.name, &held.claimed, &[]);
        let gone = held.said.map(|node| Change::Delete(Key::Node(node.name)));
        let freed = others.iter().filter_map(|other| self.say(other, cluster, complaints));
        gone.into_iter().chain(freed).collect()
    }

    /// The ranges that a node was given by us; none to take them back.
    pub(super) fn give(
        &mut self,
        name: &str,
        ranges: Vec<String>,
        cluster: &Cluster,
        complaints: &mut Complaints,
    ) -> Vec<Change> {
        let before = match ranges.is_empty() {
            true => self.given.remove(name),
            false => self.given.insert(name.to_string(), ranges.clone()),
        };
        if before.unwrap_or_default() == ranges || !self.held.contains_key(name) {
            return Vec::new();
        }
        self.settle_ranges(name, cluster, complaints)
    }

    fn settle(
        &mut self,
        name: &str,
        cluster: &Cluster,
        found: Vec<Complaint>,
        complaints: &mut Complaints,
    ) -> Vec<Change> {
        complaints.set(&Id::new(Kind::Node, "", name), From::Itself, found);
        self.settle_ranges(name, cluster, complaints)
    }

    /// Works out which ranges a node asks for, and says what is different for it and for others.
    fn settle_ranges(&mut self, name: &str, cluster: &Cluster, complaints: &mut Complaints) -> Vec<Change> {
        let Some(held) = self.held.get_mut(name) else { return Vec::new() };
        let claimed = claimed(held, self.given.get(name), cluster, &mut Vec::new());
        let before = std::mem::replace(&mut held.claimed, claimed.clone());
        let mut touched = self.move_claims(name, &before, &claimed);
        touched.remove(name);
        let own = self.say(name, cluster, complaints);
        let others = touched.iter().filter_map(|other| self.say(other, cluster, complaints));
        // What another gives up comes before who takes it.
        let mut changes: Vec<Change> = others.collect();
        changes.extend(own);
        changes
    }

    /// Notes who asks for what. Returns everybody who asks for a part of the same.
    fn move_claims(&mut self, name: &str, before: &[IpNet], now: &[IpNet]) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        for net in before {
            if let Some(names) = self.claims.get_mut(net) {
                names.remove(name);
                if names.is_empty() {
                    self.claims.remove(net);
                }
            }
        }
        for net in now {
            self.claims.entry(*net).or_default().insert(name.to_string());
        }
        for net in before.iter().chain(now) {
            touched.extend(self.claimants(net).map(ToString::to_string));
        }
        touched
    }

    /// Everybody who asks for a part of a range: of a larger one around it, or of one inside it.
    fn claimants(&self, net: &IpNet) -> impl Iterator<Item = &str> {
        let around = std::iter::successors(net.supernet(), IpNet::supernet);
        let around = around.filter_map(|net| self.claims.get(&net));
        let last = IpNet::new_assert(net.broadcast(), net.max_prefix_len());
        let inside = self.claims.range(*net..=last).map(|(_, names)| names);
        around.chain(inside).flatten().map(String::as_str)
    }

    /// Says what is different about a node.
    fn say(&mut self, name: &str, cluster: &Cluster, complaints: &mut Complaints) -> Option<Change> {
        let held = self.held.get(name)?;
        let mut found = Vec::new();
        let mut node = held.bare.clone();
        node.pod_cidrs = claimed(held, self.given.get(name), cluster, &mut found);
        node.pod_cidrs.retain(|net| {
            let older = self.claimants(net).filter(|other| {
                let age = |name: &str| self.held.get(name).map(|held| held.created);
                *other != name && (age(other), *other) < (Some(held.created), name)
            });
            let Some(older) = older.min() else { return true };
            let theirs = self.held.get(older).into_iter().flat_map(|held| &held.claimed);
            let theirs = theirs.filter(|theirs| overlaps(theirs, net)).map(ToString::to_string).next();
            let message = format!(
                "the podCIDR {net} overlaps {} of node {older}, which is older; it is left out here, so that pods of \
                 this node are not reached; give one of the two another range",
                theirs.unwrap_or_default()
            );
            complain(&mut found, "PodCIDROverlaps", message);
            false
        });
        complaints.set(&Id::new(Kind::Node, "", name), From::Others, found);
        let held = self.held.get_mut(name)?;
        if held.said.as_ref() == Some(&node) {
            return None;
        }
        held.said = Some(node.clone());
        Some(Change::Upsert(Object::Node(node)))
    }
}

/// The ranges a node asks for: its own, or without any those it was given.
fn claimed(
    held: &Held,
    given: Option<&Vec<String>>,
    cluster: &Cluster,
    found: &mut Vec<Complaint>,
) -> Vec<IpNet> {
    let written = if held.written.is_empty() { given.unwrap_or(&held.written) } else { &held.written };
    node::pod_cidrs(written, cluster, found)
}
