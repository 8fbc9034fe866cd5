//! Everything a process knows, by key.

use std::collections::BTreeMap;

use crate::policy::{Namespace, NamespaceName, Pod, PodName, Policy, PolicyName};
use crate::{
    Change, Cluster, ClusterName, Endpoint, EndpointKey, Import, Key, Node, NodeName, Object, Peer, PeerName,
    Service, ServiceKey,
};

/// Everything a process knows: its own cluster's objects, and read-only copies of the others'.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Clusters by name.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// Nodes by name.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Peers by name.
    pub peers: BTreeMap<PeerName, Peer>,
    /// Policies by name: the own cluster's, and those of others that are taken here.
    pub policies: BTreeMap<PolicyName, Policy>,
    /// Namespaces by name: the own cluster's, and others' as far as they are of use.
    pub namespaces: BTreeMap<NamespaceName, Namespace>,
    /// Pods by name, as far as they are of use.
    pub pods: BTreeMap<PodName, Pod>,
    /// Services by key.
    pub services: BTreeMap<ServiceKey, Service>,
    /// The own cluster's imports by key.
    pub imports: BTreeMap<ServiceKey, Import>,
    /// Endpoints by service, then by their own name.
    pub endpoints: BTreeMap<ServiceKey, BTreeMap<String, Endpoint>>,
}

impl World {
    /// Takes a change in. Returns whether anything is different now.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Upsert(object) => self.upsert(object),
            Change::Delete(key) => self.remove(&key).is_some(),
        }
    }

    /// The object with this key.
    pub fn get(&self, key: &Key) -> Option<Object> {
        match key {
            Key::Cluster(name) => self.clusters.get(name).cloned().map(Object::Cluster),
            Key::Node(name) => self.nodes.get(name).cloned().map(Object::Node),
            Key::Peer(name) => self.peers.get(name).cloned().map(Object::Peer),
            Key::Policy(name) => self.policies.get(name).cloned().map(Object::Policy),
            Key::Namespace(name) => self.namespaces.get(name).cloned().map(Object::Namespace),
            Key::Pod(name) => self.pods.get(name).cloned().map(Object::Pod),
            Key::Service(key) => self.services.get(key).cloned().map(Object::Service),
            Key::Import(key) => self.imports.get(key).cloned().map(Object::Import),
            Key::Endpoint(key) => {
                self.endpoints.get(&key.service)?.get(&key.name).cloned().map(Object::Endpoint)
            }
        }
    }

    /// Every object, in the order of the kinds.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        let clusters = self.clusters.values().cloned().map(Object::Cluster);
        let nodes = self.nodes.values().cloned().map(Object::Node);
        let peers = self.peers.values().cloned().map(Object::Peer);
        let services = self.services.values().cloned().map(Object::Service);
        let imports = self.imports.values().cloned().map(Object::Import);
        let endpoints = self.endpoints.values().flat_map(BTreeMap::values).cloned().map(Object::Endpoint);
        let policies = self.policies.values().cloned().map(Object::Policy);
        let namespaces = self.namespaces.values().cloned().map(Object::Namespace);
        let pods = self.pods.values().cloned().map(Object::Pod);
        let policing = policies.chain(namespaces).chain(pods);
        clusters.chain(nodes).chain(peers).chain(policing).chain(services).chain(imports).chain(endpoints)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        let endpoints: usize = self.endpoints.values().map(BTreeMap::len).sum();
        let policing = self.policies.len() + self.namespaces.len() + self.pods.len();
        self.clusters.len()
            + self.nodes.len()
            + self.peers.len()
            + policing
            + self.services.len()
            + self.imports.len()
            + endpoints
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn upsert(&mut self, object: Object) -> bool {
        fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
            if map.get(&key) == Some(&value) {
                return false;
            }
            map.insert(key, value);
            true
        }
        match object {
            Object::Cluster(c) => put(&mut self.clusters, c.name.clone(), c),
            Object::Node(n) => put(&mut self.nodes, n.name.clone(), n),
            Object::Peer(p) => put(&mut self.peers, p.name.clone(), p),
            Object::Policy(p) => put(&mut self.policies, p.name.clone(), p),
            Object::Namespace(n) => put(&mut self.namespaces, n.name.clone(), n),
            Object::Pod(p) => put(&mut self.pods, p.name.clone(), p),
            Object::Service(s) => put(&mut self.services, s.key.clone(), s),
            Object::Import(i) => put(&mut self.imports, i.key.clone(), i),
            Object::Endpoint(e) => {
                let EndpointKey { service, name } = e.key.clone();
                put(self.endpoints.entry(service).or_default(), name, e)
            }
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Object> {
        match key {
            Key::Cluster(name) => self.clusters.remove(name).map(Object::Cluster),
            Key::Node(name) => self.nodes.remove(name).map(Object::Node),
            Key::Peer(name) => self.peers.remove(name).map(Object::Peer),
            Key::Policy(name) => self.policies.remove(name).map(Object::Policy),
            Key::Namespace(name) => self.namespaces.remove(name).map(Object::Namespace),
            Key::Pod(name) => self.pods.remove(name).map(Object::Pod),
            Key::Service(key) => self.services.remove(key).map(Object::Service),
            Key::Import(key) => self.imports.remove(key).map(Object::Import),
            Key::Endpoint(EndpointKey { service, name }) => {
                let of_service = self.endpoints.get_mut(service)?;
                let removed = of_service.remove(name)?;
                if of_service.is_empty() {
                    self.endpoints.remove(service);
                }
                Some(Object::Endpoint(removed))
            }
        }
    }
}
