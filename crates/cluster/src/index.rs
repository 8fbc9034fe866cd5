//! From Kubernetes objects to what travels: nodes, services, endpoints. Pure: objects in, changes out.
//!
//! Does what Kubernetes' EndpointSlice controller does for a service with a selector, and reads EndpointSlices for the
//! rest. Every change touches only what it concerns: a pod, the services that select it; a service, its own endpoints.
//! The index keeps of each object only what it needs, and of each endpoint it gave out only a fingerprint.

mod node;
mod pod;
mod service;
mod slice;
mod space;

use std::collections::BTreeMap;

use model::{Change, Cluster, Key, NodeName, Object};

use crate::manifest::{Id, Kind, Manifest};
use space::Space;

pub use node::WIREGUARD_PORT;
pub use service::is_global;
pub(crate) use service::{HEAVIEST, WEIGHT};

/// The objects of one cluster, and what was last said of them.
#[derive(Debug)]
pub struct Index {
    cluster: Cluster,
    nodes: BTreeMap<String, model::Node>,
    spaces: BTreeMap<String, Space>,
}

impl Index {
    /// An index of nothing.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, nodes: BTreeMap::new(), spaces: BTreeMap::new() }
    }

    /// The cluster whose objects these are.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Takes an object in, new or changed. Says what is different now: a service before its endpoints.
    pub fn apply(&mut self, manifest: &Manifest) -> Vec<Change> {
        let id = manifest.id();
        match manifest {
            Manifest::Namespace(_) | Manifest::Deployment(_) => Vec::new(),
            Manifest::Node(object) => self.apply_node(&id.name, object),
            Manifest::Service(object) => self.space(&id).apply_service(&id, object),
            Manifest::Pod(object) => self.space(&id).apply_pod(&id.name, object),
            Manifest::EndpointSlice(object) => self.space(&id).apply_slice(&id.name, object),
        }
    }

    /// Takes an object out. Says what is different now: a service after its endpoints.
    pub fn delete(&mut self, id: &Id) -> Vec<Change> {
        match id.kind {
            Kind::Namespace | Kind::Deployment => Vec::new(),
            Kind::Node => self
                .nodes
                .remove(&id.name)
                .map(|node| Change::Delete(Key::Node(node.name)))
                .into_iter()
                .collect(),
            Kind::Service => self.space(id).delete_service(&id.name),
            Kind::Pod => self.space(id).delete_pod(&id.name),
            Kind::EndpointSlice => self.space(id).delete_slice(&id.name),
        }
    }

    fn space(&mut self, id: &Id) -> &mut Space {
        if !self.spaces.contains_key(&id.namespace) {
            let space = Space::new(self.cluster.name.clone(), id.namespace.clone());
            self.spaces.insert(id.namespace.clone(), space);
        }
        self.spaces.get_mut(&id.namespace).expect("just put there")
    }

    fn apply_node(&mut self, name: &str, object: &k8s_openapi::api::core::v1::Node) -> Vec<Change> {
        let Ok(name) = NodeName::new(self.cluster.name.clone(), name) else { return Vec::new() };
        let node = node::node(name, object);
        if self.nodes.get(&node.name.node) == Some(&node) {
            return Vec::new();
        }
        self.nodes.insert(node.name.node.clone(), node.clone());
        vec![Change::Upsert(Object::Node(node))]
    }
}

#[cfg(test)]
pub(crate) mod tests;
