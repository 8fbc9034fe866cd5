//! From Kubernetes objects to what travels: nodes, peers, policies, namespaces, pods, services, endpoints. Pure: objects in,
//! changes out.
//!
//! Every change touches only what it concerns: a pod, the services that have it; a service, its own endpoints; of a
//! slice, the endpoints that differ. The index keeps of each object only what it needs, and of each endpoint it gave
//! out only a fingerprint. What it cannot use of an object it leaves out, and says so; the rest counts.

mod access;
mod addresses;
mod complaint;
mod export;
mod labels;
mod mesh;
mod namespace;
mod node;
mod nodes;
mod peer;
mod pod;
mod policy;
mod service;
mod sharing;
mod slice;
mod sources;
mod space;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use model::{Change, Cluster, ObjectName, Spread};

use crate::Complaint;
use crate::manifest::{Id, Kind, Manifest};
use crate::multicluster::{DerivedSlice, Fact, Imported};
use addresses::Addresses;
use complaint::{Complaints, From};
use labels::Labels;
use namespace::Namespaces;
use nodes::Nodes;
use peer::Peers;
use policy::Policies;
use space::Space;

pub use mesh::{Meshing, OfLocation, location};
pub use node::WIREGUARD_PORT;
pub(crate) use peer::read as read_peer;
pub(crate) use service::{HEAVIEST, WEIGHT};
pub use traffic::{is_global, traffic};

/// Where the endpoints of services come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoints {
    /// From the pods that services select, as Kubernetes' own controller would say, and from slices where there is no
    /// pod: nobody else is there to write them.
    FromSelectors,
    /// From slices alone: somebody writes them for every service.
    FromSlices,
}

/// What holds where objects do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsaid {
    /// How backends of the own cluster stand to each other.
    pub spread: Spread,
    /// Whether a namespace is shared with other clusters.
    pub shared: bool,
    /// Which nodes have tunnels to which, and what says where they are.
    pub mesh: Meshing,
}

impl Default for Unsaid {
    fn default() -> Self {
        Self { spread: Spread::default(), shared: true, mesh: Meshing::default() }
    }
}

/// The objects of one cluster, and what was last said of them.
#[derive(Debug)]
pub struct Index {
    cluster: Arc<Cluster>,
    endpoints: Endpoints,
    nodes: Nodes,
    peers: Peers,
    spaces: BTreeMap<String, Space>,
    addresses: Addresses,
    namespaces: Namespaces,
    policies: Policies,
    unsaid: Unsaid,
    complaints: Complaints,
    /// What has not been said yet of namespaces, exports and imports.
    facts: BTreeMap<Id, Fact>,
    /// Namespaces, imports and derived slices that are there.
    noticed: BTreeMap<Kind, BTreeSet<Id>>,
    /// Which namespaces say whether they are shared.
    sharing: BTreeMap<String, bool>,
}

impl Index {
    /// An index of nothing.
    pub fn new(cluster: Cluster, endpoints: Endpoints) -> Self {
        Self {
            cluster: Arc::new(cluster),
            endpoints,
            nodes: Nodes::default(),
            peers: Peers::default(),
            spaces: BTreeMap::new(),
            addresses: Addresses::default(),
            namespaces: Namespaces::default(),
            policies: Policies::default(),
            unsaid: Unsaid::default(),
            complaints: Complaints::default(),
            facts: BTreeMap::new(),
            noticed: BTreeMap::new(),
            sharing: BTreeMap::new(),
        }
    }

    /// The same, where this holds unless objects say otherwise.
    pub fn with_unsaid(self, unsaid: Unsaid) -> Self {
        Self { nodes: Nodes::new(unsaid.mesh.clone()), unsaid, ..self }
    }

    /// The cluster whose objects these are.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn take_in(&mut self, manifest: &Manifest) -> Vec<Change> {
        let id = manifest.id();
        let mut found = Vec::new();
        let changes = match manifest {
            Manifest::Deployment(_) => Vec::new(),
            Manifest::Namespace(object) => {
                self.notice(&id, Fact::Namespace { name: id.name.clone(), there: true });
                let labels = Labels::new(object.metadata.labels.as_ref(), &mut found);
                self.namespaces.declare(&id.name, Some(labels));
                Vec::new()
            }
            Manifest::Node(object) => {
                return self.nodes.apply(&id, object, &self.cluster, &mut self.complaints);
            }
            Manifest::Peer(object) => self.peers.apply(&self.cluster, object, &mut found),
            Manifest::Service(object) => {
                let changes = self.space(&id).apply_service(&id, object, &mut found);
                self.look_at_export(&id);
                changes
            }
            Manifest::Pod(object) => self.apply_pod(&id, Some(object), &mut found),
            Manifest::EndpointSlice(object) if export::is_derived(&object.metadata) => {
                let changes = self.space(&id).delete_slice(&id.name);
                match (export::name(&id), DerivedSlice::new(object)) {
                    (Some(name), Some(slice)) => self.notice(&id, Fact::Slice { name, slice: Some(slice) }),
                    _ => self.unnotice(&id),
                }
                changes
            }
            Manifest::EndpointSlice(object) => {
                self.unnotice(&id);
                self.space(&id).apply_slice(&id.name, object, &mut found)
            }
            Manifest::ServiceExport(object) => {
                let annotations = object.spec.as_ref().and_then(|spec| spec.exported_annotations.as_ref());
                annotations.map(|annotations| traffic(annotations, self.unsaid.spread, &mut found));
                let changes = self.space(&id).apply_export(&id.name, export::Export::new(object));
                self.look_at_export(&id);
                changes
            }
            Manifest::ServiceImport(object) => {
                let import = Imported::from(&**object);
                if !import.ours {
                    complaint::complain(&mut found, "ImportNotOurs", IMPORT_NOT_OURS);
                }
                if let Some(name) = export::name(&id) {
                    self.notice(&id, Fact::Import { name, import: Some(import) });
                }
                Vec::new()
            }
            Manifest::NetworkPolicy(_)
            | Manifest::ClusterNetworkPolicy(_)
            | Manifest::CiliumNetworkPolicy(_)
            | Manifest::CiliumClusterwideNetworkPolicy(_) => {
                self.policies.apply(&self.cluster.name, manifest, &mut found)
            }
        };
        self.complaints.set(&id, From::Itself, found);
        changes
    }

    fn take_out(&mut self, id: &Id) -> Vec<Change> {
        let changes = match id.kind {
            Kind::Deployment => Vec::new(),
            Kind::Namespace => {
                self.unnotice(id);
                self.namespaces.declare(&id.name, None);
                Vec::new()
            }
            Kind::ServiceImport => {
                self.unnotice(id);
                Vec::new()
            }
            Kind::Node => self.nodes.delete(id, &self.cluster, &mut self.complaints),
            Kind::Peer => self.peers.delete(id),
            Kind::Service => {
                let changes = self.space(id).delete_service(&id.name);
                self.look_at_export(id);
                changes
            }
            Kind::Pod => self.apply_pod(id, None, &mut Vec::new()),
            Kind::EndpointSlice => {
                self.unnotice(id);
                self.space(id).delete_slice(&id.name)
            }
            Kind::ServiceExport => {
                let changes = self.space(id).apply_export(&id.name, None);
                self.look_at_export(id);
                changes
            }
            Kind::NetworkPolicy
            | Kind::ClusterNetworkPolicy
            | Kind::CiliumNetworkPolicy
            | Kind::CiliumClusterwideNetworkPolicy => self.policies.delete(&self.cluster.name, id),
        };
        self.complaints.clear(id);
        changes
    }

    /// Notes that an object is there and cannot be read at all. What was known of it stays in force.
    pub fn refuse(&mut self, id: &Id, complaint: Complaint) {
        self.complaints.set(id, From::Itself, vec![complaint]);
    }

    /// Gives a node the ranges that it has if its object names none; an empty list takes them back.
    pub fn give_ranges(&mut self, node: &str, ranges: Vec<String>) -> Vec<Change> {
        self.nodes.give(node, ranges, &self.cluster, &mut self.complaints)
    }

    /// What is wrong with single objects, where that is different since this was last asked; nothing for an object that
    /// is well again.
    pub fn take_complaints(&mut self) -> Vec<(Id, Vec<Complaint>)> {
        self.complaints.take()
    }

    /// What is different of namespaces, exports and imports since this was last asked.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts).into_values().collect()
    }

    /// What an operator ought to know of the objects as a whole: kinds that are there and change nothing.
    pub fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Every object of a kind of which something is known.
    pub fn ids(&self, kind: Kind) -> BTreeSet<Id> {
        let complained = self.complaints.ids(kind).cloned();
        let nodes = self.nodes.names().filter(|_| kind == Kind::Node).map(|name| Id::new(kind, "", name));
        let peers = self.peers.ids().filter(|_| kind == Kind::Peer);
        let spaces = self.spaces.iter();
        let spaces = spaces.flat_map(|(namespace, space)| {
            space.names(kind).into_iter().map(move |name| Id::new(kind, namespace, name))
        });
        let policies = self.policies.ids(kind).cloned();
        let noticed = self.noticed.get(&kind).into_iter().flatten().cloned();
        complained.chain(nodes).chain(peers).chain(spaces).chain(policies).chain(noticed).collect()
    }

    fn notice(&mut self, id: &Id, fact: Fact) {
        self.noticed.entry(id.kind).or_default().insert(id.clone());
        self.facts.insert(id.clone(), fact);
    }

    /// Says that something is gone, if it had been said to be there.
    fn unnotice(&mut self, id: &Id) {
        if !self.noticed.get_mut(&id.kind).is_some_and(|ids| ids.remove(id)) {
            return;
        }
        let name = || ObjectName { namespace: id.namespace.clone(), name: id.name.clone() };
        let fact = match id.kind {
            Kind::Namespace => Fact::Namespace { name: id.name.clone(), there: false },
            Kind::ServiceImport => Fact::Import { name: name(), import: None },
            _ => Fact::Slice { name: name(), slice: None },
        };
        self.facts.insert(id.clone(), fact);
    }

    /// Says how the export of a name stands, if that is different now.
    fn look_at_export(&mut self, id: &Id) {
        let Some(name) = export::name(id) else { return };
        let shared = self.is_shared(&id.namespace);
        if let Some(export) = self.space(id).export_news(&id.name, shared) {
            let fact = Fact::Export { name, export };
            self.facts.insert(fact.id(), fact);
        }
    }

    /// Says what is different about a namespace: before the pods in it if it is there, after them if it is not.
    fn settle_namespace(&mut self, name: &str, changes: &mut Vec<Change>) {
        let inhabited = self.spaces.get(name).is_some_and(Space::has_pods);
        let shared = self.is_shared(name);
        match self.namespaces.settle(&self.cluster.name, name, inhabited, shared) {
            Some(gone @ Change::Delete(_)) => changes.push(gone),
            Some(there) => changes.insert(0, there),
            None => {}
        }
    }

    fn space(&mut self, id: &Id) -> &mut Space {
        if !self.spaces.contains_key(&id.namespace) {
            let space =
                Space::new(self.cluster.clone(), self.endpoints, self.unsaid.spread, id.namespace.clone());
            self.spaces.insert(id.namespace.clone(), space);
        }
        self.spaces.get_mut(&id.namespace).expect("just put there")
    }

    /// A pod as it is now, or not at all, with what that means for others with its addresses.
    fn apply_pod(&mut self, id: &Id, object: Option<&v1::Pod>, found: &mut Vec<Complaint>) -> Vec<Change> {
        let space = self.space(id);
        let before = space.own_ips(&id.name);
        let changes = match object {
            Some(object) => space.apply_pod(&id.name, object, found),
            None => space.delete_pod(&id.name),
        };
        let now = space.own_ips(&id.name);
        let mut concerned = BTreeSet::new();
        for ip in before.iter().filter(|ip| !now.contains(ip)) {
            concerned.extend(self.addresses.remove(*ip, id));
        }
        for ip in now.iter().filter(|ip| !before.contains(ip)) {
            let holder = || {
                self.spaces.iter().find_map(|(namespace, space)| {
                    let except = (*namespace == id.namespace).then_some(id.name.as_str());
                    Some(Id::new(Kind::Pod, namespace, space.holder(*ip, except)?))
                })
            };
            concerned.extend(self.addresses.add(*ip, id, holder));
        }
        for pod in concerned {
            let complaints = self.shared(&pod);
            self.complaints.set(&pod, From::Others, complaints);
        }
        changes
    }

    /// What is wrong with a pod because of others with its addresses.
    fn shared(&self, pod: &Id) -> Vec<Complaint> {
        let ips = self.spaces.get(&pod.namespace).map(|space| space.own_ips(&pod.name)).unwrap_or_default();
        let shared = ips.into_iter().filter_map(|ip| Some((ip, self.addresses.other(ip, pod)?)));
        let complaint = |(ip, other): (std::net::IpAddr, &Id)| Complaint {
            reason: "PodIPShared",
            message: format!(
                "{ip} is also the address of {other}; both stay in use, and whoever of the two answers gets the \
                 connections of both; recreate the one that the network plugin of its node does not know"
            ),
        };
        shared.map(complaint).collect()
    }
}

/// Of an import that somebody else wrote.
const IMPORT_NOT_OURS: &str = "somebody else wrote it, and it changes nothing: imports follow from exports, and are \
                               written by the controller alone; remove it, and the controller writes its own in its \
                               place as soon as a cluster exports the service";

#[cfg(test)]
pub(crate) mod tests;
