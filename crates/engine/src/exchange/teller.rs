//! Who is told what: agents everything, peer clusters only what is exported.

use std::sync::Arc;

use model::{Change, ClusterName, EndpointKey, Key, Object, ServiceKey};

use super::{Cursor, Limits, Log, Position, Told};

/// Whom something is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The cluster's own agents: everything of their cluster, and what other clusters export to it.
    Agents,
    /// Controllers of other clusters: the own cluster, its nodes, its shared and exported services with their endpoints.
    Peers,
}

/// One cluster's two logs. What may leave the cluster has a log of its own, so that not even the name of anything
/// else can leave with a deletion.
#[derive(Debug)]
pub struct Teller {
    own: ClusterName,
    agents: Log,
    peers: Log,
}

impl Teller {
    /// A teller that knows nothing yet.
    pub fn new(own: ClusterName, epoch: u64, limits: Limits) -> Self {
        Self { own, agents: Log::new(epoch, limits), peers: Log::new(epoch, limits) }
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

    /// What to tell a receiver next.
    pub fn poll(&self, audience: Audience, cursor: &mut Cursor) -> Option<Told> {
        self.log(audience).poll(cursor)
    }

    /// Takes a change in. Returns whether anything is different now for anybody.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Upsert(object) => self.upsert(Arc::new(object)),
            Change::Delete(key) => {
                let changed = self.agents.delete(&key);
                self.withdraw(&key);
                changed
            }
        }
    }

    fn upsert(&mut self, object: Arc<Object>) -> bool {
        if !self.agents.upsert(object.clone()) {
            return false;
        }
        if *object.key().cluster() != self.own {
            return true;
        }
        match &*object {
            Object::Cluster(_) | Object::Node(_) => {
                self.peers.upsert(object);
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

    /// Takes an object back from the peers; a service with all its endpoints.
    fn withdraw(&mut self, key: &Key) {
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
