//! One namespace: selectors never reach out of it, so nothing here looks further.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::{Change, ClusterName, Endpoint, EndpointKey, Key, Object, ObjectName, ServiceKey};
use siphasher::sip::SipHasher13;

use super::pod::Pod;
use super::service::Service;
use super::slice::{self, Given, Slice};
use crate::manifest::Id;

/// A label and its value.
type Pair = (String, String);

#[derive(Debug)]
pub(super) struct Space {
    cluster: ClusterName,
    namespace: String,
    services: BTreeMap<String, Held>,
    pods: BTreeMap<String, Pod>,
    slices: BTreeMap<String, Slice>,
    /// Each service with a selector, under one pair of it: a pod's labels lead to every service that may select it.
    by_pair: BTreeMap<Pair, BTreeSet<String>>,
    /// By service, then endpoint, then slice. A service may come after its slices.
    given: BTreeMap<String, BTreeMap<String, BTreeMap<String, Given>>>,
    /// The services for which some slice names the pod.
    given_by_pod: BTreeMap<String, BTreeSet<String>>,
}

/// A service, and what was said of its endpoints.
#[derive(Debug)]
struct Held {
    service: Service,
    pair: Option<Pair>,
    said: BTreeMap<String, u64>,
}

impl Space {
    pub(super) fn new(cluster: ClusterName, namespace: String) -> Self {
        Self {
            cluster,
            namespace,
            services: BTreeMap::new(),
            pods: BTreeMap::new(),
            slices: BTreeMap::new(),
            by_pair: BTreeMap::new(),
            given: BTreeMap::new(),
            given_by_pod: BTreeMap::new(),
        }
    }

    pub(super) fn apply_service(&mut self, id: &Id, object: &v1::Service) -> Vec<Change> {
        let Ok(name) = ObjectName::new(&self.namespace, &id.name) else { return Vec::new() };
        let key = ServiceKey { cluster: self.cluster.clone(), name };
        let Some(service) = Service::new(key, object) else { return self.delete_service(&id.name) };
        let before = self.forget(&id.name);
        if before.as_ref().is_some_and(|held| held.service == service) {
            let said = before.map(|held| held.said).unwrap_or_default();
            self.remember(&id.name, service, said);
            return Vec::new();
        }
        let mut changes = Vec::new();
        if before.as_ref().is_none_or(|held| held.service.said != service.said) {
            changes.push(Change::Upsert(Object::Service(service.said.clone())));
        }
        // Pods that were not said can come in only by another selector or family.
        let given = self.given.get(&id.name).into_iter().flatten().map(|(name, _)| name.clone());
        let mut names: BTreeSet<String> = given.collect();
        if before.as_ref().is_none_or(|held| !held.service.sees_alike(&service)) {
            names.extend(
                self.pods.iter().filter(|(_, pod)| service.selects(pod)).map(|(name, _)| name.clone()),
            );
        }
        let said = before.map(|held| held.said).unwrap_or_default();
        names.extend(said.keys().cloned());
        self.remember(&id.name, service, said);
        changes.extend(names.into_iter().filter_map(|name| self.settle(&id.name, &name)));
        changes
    }

    pub(super) fn delete_service(&mut self, name: &str) -> Vec<Change> {
        let Some(held) = self.forget(name) else { return Vec::new() };
        let key = held.service.said.key;
        let endpoint = |name| Change::Delete(Key::Endpoint(EndpointKey { service: key.clone(), name }));
        let mut changes: Vec<Change> = held.said.into_keys().map(endpoint).collect();
        changes.push(Change::Delete(Key::Service(key)));
        changes
    }

    pub(super) fn apply_pod(&mut self, name: &str, object: &v1::Pod) -> Vec<Change> {
        let pod = Pod::new(object);
        if self.pods.get(name) == Some(&pod) {
            return Vec::new();
        }
        let mut services = self.candidates(name);
        self.pods.insert(name.to_string(), pod);
        services.extend(self.candidates(name));
        services.into_iter().filter_map(|service| self.settle(&service, name)).collect()
    }

    pub(super) fn delete_pod(&mut self, name: &str) -> Vec<Change> {
        let services = self.candidates(name);
        self.pods.remove(name);
        services.into_iter().filter_map(|service| self.settle(&service, name)).collect()
    }

    pub(super) fn apply_slice(&mut self, name: &str, object: &EndpointSlice) -> Vec<Change> {
        let slice = Slice::new(object);
        if self.slices.get(name) == slice.as_ref() {
            return Vec::new();
        }
        let mut touched = self.take_slice(name);
        if let Some(slice) = slice {
            for (endpoint, given) in &slice.endpoints {
                touched.insert((slice.service.clone(), endpoint.clone()));
                if given.pod {
                    let services = self.given_by_pod.entry(endpoint.clone()).or_default();
                    services.insert(slice.service.clone());
                }
                let of_service = self.given.entry(slice.service.clone()).or_default();
                let of_endpoint = of_service.entry(endpoint.clone()).or_default();
                of_endpoint.insert(name.to_string(), given.clone());
            }
            self.slices.insert(name.to_string(), slice);
        }
        touched.into_iter().filter_map(|(service, endpoint)| self.settle(&service, &endpoint)).collect()
    }

    pub(super) fn delete_slice(&mut self, name: &str) -> Vec<Change> {
        let touched = self.take_slice(name);
        touched.into_iter().filter_map(|(service, endpoint)| self.settle(&service, &endpoint)).collect()
    }

    /// Removes a slice. Returns the service and name of each endpoint it had.
    fn take_slice(&mut self, name: &str) -> BTreeSet<(String, String)> {
        let Some(slice) = self.slices.remove(name) else { return BTreeSet::new() };
        for endpoint in slice.endpoints.keys() {
            let Some(of_service) = self.given.get_mut(&slice.service) else { continue };
            let Some(of_endpoint) = of_service.get_mut(endpoint) else { continue };
            of_endpoint.remove(name);
            if of_endpoint.is_empty() {
                of_service.remove(endpoint);
                drop_from(&mut self.given_by_pod, endpoint, &slice.service);
            }
            if of_service.is_empty() {
                self.given.remove(&slice.service);
            }
        }
        slice.endpoints.into_keys().map(|endpoint| (slice.service.clone(), endpoint)).collect()
    }

    /// The services that may have something to do with a pod as it is now.
    fn candidates(&self, pod: &str) -> BTreeSet<String> {
        let mut services = self.given_by_pod.get(pod).cloned().unwrap_or_default();
        let Some(held) = self.pods.get(pod) else { return services };
        for (key, value) in held.labels() {
            let pair = (key.to_string(), value.to_string());
            services.extend(self.by_pair.get(&pair).into_iter().flatten().cloned());
        }
        services
    }

    /// Works out one endpoint of one service. Says so if it is different from what was said before.
    fn settle(&mut self, service: &str, name: &str) -> Option<Change> {
        let held = self.services.get_mut(service)?;
        let pod = self.pods.get(name);
        let derived = pod.filter(|pod| held.service.selects(pod));
        let endpoint = derived.and_then(|pod| held.service.endpoint(name, pod)).or_else(|| {
            let given = self.given.get(service)?.get(name)?.values();
            slice::endpoint(&held.service, name, given, pod)
        });
        match endpoint {
            Some(endpoint) => {
                let print = fingerprint(&endpoint);
                let before = held.said.insert(name.to_string(), print);
                (before != Some(print)).then_some(Change::Upsert(Object::Endpoint(endpoint)))
            }
            None => {
                held.said.remove(name)?;
                let key = EndpointKey { service: held.service.said.key.clone(), name: name.to_string() };
                Some(Change::Delete(Key::Endpoint(key)))
            }
        }
    }

    /// Puts a service in, under whichever pair of its selector the fewest others have.
    fn remember(&mut self, name: &str, service: Service, said: BTreeMap<String, u64>) {
        let pairs = service.selector.iter().map(|(key, value)| (key.clone(), value.clone()));
        let pair = pairs.min_by_key(|pair| self.by_pair.get(pair).map_or(0, BTreeSet::len));
        if let Some(pair) = &pair {
            self.by_pair.entry(pair.clone()).or_default().insert(name.to_string());
        }
        self.services.insert(name.to_string(), Held { service, pair, said });
    }

    fn forget(&mut self, name: &str) -> Option<Held> {
        let held = self.services.remove(name)?;
        if let Some(pair) = &held.pair {
            drop_from(&mut self.by_pair, pair, name);
        }
        Some(held)
    }
}

/// Removes one of a set, and the set with its last.
fn drop_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<String>>, key: &K, value: &str) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// Stands for an endpoint that was said, at a fraction of its size.
fn fingerprint(endpoint: &Endpoint) -> u64 {
    let Endpoint { key: _, ips, ports, node, ready, serving, terminating, weight, labels } = endpoint;
    let mut hasher = SipHasher13::new();
    (ips, ports, node, ready, serving, terminating, weight, labels).hash(&mut hasher);
    hasher.finish()
}
