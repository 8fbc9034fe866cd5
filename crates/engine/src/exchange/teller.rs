//! Who is told what: agents everything, peer clusters only what is exported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::policy::{Labels, NamespaceName, PodName};
use model::{
    Change, ClusterName, EndpointKey, Key, Node, NodeName, Object, ObjectName, Peer, PublicKey, ServiceKey,
};

use super::{Cursor, Limits, Log, Position, Told};

/// Whom something is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The cluster's own agents: everything of their cluster, and what other clusters export to it.
    Agents,
    /// Controllers of other clusters: the own cluster, its nodes and peers, its shared and exported services with their endpoints, its
    /// shared namespaces with their pods, the policies that it distributes.
    Peers,
}

/// One cluster's two logs. What may leave the cluster has a log of its own, so that not even the name of anything
/// else can leave with a deletion.
#[derive(Debug)]
pub struct Teller {
    own: ClusterName,
    agents: Log,
    peers: Log,
    /// The services whose endpoints in other clusters are of use here.
    wanted: BTreeSet<ObjectName>,
    /// Whether that is different since it was last taken.
    wanted_changed: bool,
    /// The own cluster's nodes by their WireGuard keys.
    keys: BTreeMap<PublicKey, NodeName>,
}

impl Teller {
    /// A teller that knows nothing yet.
    pub fn new(own: ClusterName, epoch: u64, limits: Limits) -> Self {
        let log = || Log::new(own.clone(), epoch, limits);
        let (agents, peers) = (log(), log());
        Self { own, agents, peers, wanted: BTreeSet::new(), wanted_changed: true, keys: BTreeMap::new() }
    }

    /// The log of an audience.
    pub fn log(&self, audience: Audience) -> &Log {
        match audience {
            Audience::Agents => &self.agents,
            Audience::Peers => &self.peers,
        }
    }

    /// Where an audience's log stands.
    pub fn position(&self, audience: Audience) -> Position {
        self.log(audience).position()
    }

    /// The services whose endpoints in other clusters are of use here: those that are one with their namesakes there, and
    /// those that are imported.
    pub fn wanted(&self) -> &BTreeSet<ObjectName> {
        &self.wanted
    }

    /// The same, if it is different since this was last asked.
    pub fn take_wanted(&mut self) -> Option<BTreeSet<ObjectName>> {
        std::mem::take(&mut self.wanted_changed).then(|| self.wanted.clone())
    }

    /// The own cluster's node with this WireGuard key.
    pub fn key_of(&self, key: &PublicKey) -> Option<&NodeName> {
        self.keys.get(key)
    }

    /// Has a receiver told where it stands.
    pub fn mark(&self, audience: Audience, cursor: &mut Cursor) {
        self.log(audience).mark(cursor);
    }

    /// What to tell a receiver next.
    pub fn poll(&self, audience: Audience, cursor: &mut Cursor) -> Option<Told> {
        self.log(audience).poll(cursor)
    }

    /// Takes a change in. Returns whether anything is different now for anybody.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Upsert(object) => self.upsert(Arc::new(object)),
            Change::Delete(key) => {
                self.mind_keys(&key, &[]);
                let changed = self.agents.delete(&key);
                self.withdraw(&key);
                self.mind_wanted(&key);
                changed
            }
        }
    }

    fn upsert(&mut self, object: Arc<Object>) -> bool {
        if let Object::Node(node) = &*object {
            self.mind_keys(&Key::Node(node.name.clone()), &keys(node));
        }
        if !self.agents.upsert(object.clone()) {
            return false;
        }
        let key = object.key();
        if *key.cluster() != self.own {
            return true;
        }
        self.mind_wanted(&key);
        match &*object {
            Object::Cluster(_) => {
                self.peers.upsert(object);
            }
            Object::Node(node) => {
                // Labels are for policies of the own cluster.
                let object = match node.labels.is_empty() {
                    true => object,
                    false => Arc::new(Object::Node(Node { labels: Labels::new(), ..node.clone() })),
                };
                self.peers.upsert(object);
            }
            Object::Peer(peer) => match self.abroad(peer) {
                Some(peer) => drop(self.peers.upsert(Arc::new(Object::Peer(peer)))),
                None => self.withdraw(&key),
            },
            Object::Policy(policy) if policy.distribute => {
                self.peers.upsert(object);
            }
            Object::Policy(_) => self.withdraw(&key),
            Object::Namespace(namespace) if namespace.shared => {
                let name = namespace.name.clone();
                let first = self.peers.get(&key).is_none();
                self.peers.upsert(object);
                if first {
                    for pod in pods(&self.agents, &name) {
                        self.peers.upsert(pod);
                    }
                }
            }
            Object::Namespace(_) => self.withdraw(&key),
            Object::Pod(pod) => {
                if self.peers.get(&Key::Namespace(pod.name.namespace.clone())).is_some() {
                    self.peers.upsert(object);
                }
            }
            Object::Service(service) if service.travels() => {
                let key = service.key.clone();
                let first = self.peers.get(&object.key()).is_none();
                self.peers.upsert(object);
                if first {
                    for endpoint in endpoints(&self.agents, &key) {
                        self.peers.upsert(endpoint);
                    }
                }
            }
            Object::Service(_) => self.withdraw(&object.key()),
            Object::Import(_) => {}
            Object::Endpoint(endpoint) => {
                if self.peers.get(&Key::Service(endpoint.key.service.clone())).is_some() {
                    self.peers.upsert(object);
                }
            }
        }
        true
    }

    /// What other clusters are told of a peer: its addresses in the ranges that the cluster has for peers, and which node
    /// has its tunnel. Nothing, if it has none there.
    fn abroad(&self, peer: &Peer) -> Option<Peer> {
        let own = self.agents.get(&Key::Cluster(self.own.clone()));
        let Some(Object::Cluster(cluster)) = own.map(|object| &**object) else { return None };
        let ours = |net: &&ipnet::IpNet| cluster.peer_cidrs.iter().any(|range| range.contains(*net));
        let allowed_ips: Vec<_> = peer.allowed_ips.iter().filter(ours).copied().collect();
        let peer = Peer { allowed_ips, endpoint: None, preshared_key: None, ..peer.clone() };
        (!peer.allowed_ips.is_empty()).then_some(peer)
    }

    /// Notes the keys that a node of ours has from now on.
    fn mind_keys(&mut self, key: &Key, new: &[PublicKey]) {
        let Key::Node(name) = key else { return };
        if name.cluster != self.own {
            return;
        }
        let old = match self.agents.get(key).map(|object| &**object) {
            Some(Object::Node(node)) => keys(node),
            _ => Vec::new(),
        };
        for old in old {
            if self.keys.get(&old) == Some(name) {
                self.keys.remove(&old);
            }
        }
        self.keys.extend(new.iter().map(|new| (*new, name.clone())));
    }

    /// Notes whether a name is wanted, after a service or an import of it has changed.
    fn mind_wanted(&mut self, key: &Key) {
        let (Key::Service(named) | Key::Import(named)) = key else { return };
        if named.cluster != self.own {
            return;
        }
        let service = self.agents.get(&Key::Service(named.clone())).map(|object| &**object);
        let global = matches!(service, Some(Object::Service(service)) if service.global);
        let imported = self.agents.get(&Key::Import(named.clone())).is_some();
        self.wanted_changed |= if global || imported {
            self.wanted.insert(named.name.clone())
        } else {
            self.wanted.remove(&named.name)
        };
    }

    /// Takes an object back from the peers; a service with all its endpoints, a namespace with all its pods.
    fn withdraw(&mut self, key: &Key) {
        if let Key::Namespace(namespace) = key {
            for pod in pods(&self.peers, namespace) {
                self.peers.delete(&pod.key());
            }
        }
        if let Key::Service(service) = key {
            for endpoint in endpoints(&self.peers, service) {
                self.peers.delete(&endpoint.key());
            }
        }
        self.peers.delete(key);
    }
}

/// The endpoints of a service in a log.
fn endpoints(log: &Log, service: &ServiceKey) -> Vec<Arc<Object>> {
    let first = Key::Endpoint(EndpointKey { service: service.clone(), name: String::new() });
    let of_service = |o: &&Arc<Object>| matches!(&***o, Object::Endpoint(e) if e.key.service == *service);
    log.objects_from(&first).take_while(of_service).cloned().collect()
}

/// The pods of a namespace in a log.
fn pods(log: &Log, namespace: &NamespaceName) -> Vec<Arc<Object>> {
    let first = Key::Pod(PodName { namespace: namespace.clone(), name: String::new() });
    let of_namespace = |o: &&Arc<Object>| matches!(&***o, Object::Pod(p) if p.name.namespace == *namespace);
    log.objects_from(&first).take_while(of_namespace).cloned().collect()
}

/// The keys that a node has, or will have next.
fn keys(node: &Node) -> Vec<PublicKey> {
    node.public_key.iter().chain(&node.mesh.rekeying.next_key).copied().collect()
}
