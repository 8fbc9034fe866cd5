//! One namespace: selectors never reach out of it, so nothing here looks further.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::policy::{NamespaceName, PodName};
use model::{Change, Cluster, Endpoint, EndpointKey, Key, Object, ObjectName, ServiceKey, Spread};
use siphasher::sip::SipHasher13;

use super::Endpoints;
use super::complaint::complain;
use super::export::Export;
use super::pod::{Pod, Shared};
use super::service::Service;
use super::slice::{self, Slice};
use crate::Complaint;
use crate::manifest::{Id, Kind};
use crate::multicluster::{Behind, Exported};

/// A label and its value.
type Pair = (String, String);

#[derive(Debug)]
pub(super) struct Space {
    cluster: Arc<Cluster>,
    endpoints: Endpoints,
    spread: Spread,
    namespace: String,
    services: BTreeMap<Box<str>, Held>,
    pods: BTreeMap<Box<str>, Pod>,
    shared: Shared,
    slices: BTreeMap<Box<str>, Slice>,
    /// Each service with a selector, under one pair of it: a pod's labels lead to every service that may select it.
    by_pair: BTreeMap<Pair, BTreeSet<Box<str>>>,
    /// The slices of a service, which may come after them.
    slices_of: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// The services for which some slice names the pod.
    given_by_pod: BTreeMap<Box<str>, Box<[Box<str>]>>,
    exports: BTreeMap<Box<str>, Export>,
    /// Services that are only names for something else.
    external: BTreeSet<Box<str>>,
    /// What was last said of exports.
    exported: BTreeMap<Box<str>, Exported>,
}

/// A service, and what was said of its endpoints.
#[derive(Debug)]
struct Held {
    service: Service,
    pair: Option<Pair>,
    said: BTreeMap<Box<str>, u64>,
}

impl Space {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        endpoints: Endpoints,
        spread: Spread,
        namespace: String,
    ) -> Self {
        Self {
            cluster,
            endpoints,
            spread,
            namespace,
            services: BTreeMap::new(),
            pods: BTreeMap::new(),
            shared: Shared::default(),
            slices: BTreeMap::new(),
            by_pair: BTreeMap::new(),
            slices_of: BTreeMap::new(),
            given_by_pod: BTreeMap::new(),
            exports: BTreeMap::new(),
            external: BTreeSet::new(),
            exported: BTreeMap::new(),
        }
    }

    /// The names of the objects of a kind.
    pub(super) fn names(&self, kind: Kind) -> Vec<&str> {
        match kind {
            Kind::Service => self.services.keys().map(|name| &**name).collect(),
            Kind::Pod => self.pods.keys().map(|name| &**name).collect(),
            Kind::EndpointSlice => self.slices.keys().map(|name| &**name).collect(),
            Kind::ServiceExport => self.exports.keys().map(|name| &**name).collect(),
            _ => Vec::new(),
        }
    }

    /// Its services, as they are said.
    pub(super) fn services(&self) -> impl Iterator<Item = &model::Service> {
        self.services.values().map(|held| &held.service.said)
    }

    /// Whether there are pods in it.
    pub(super) fn has_pods(&self) -> bool {
        !self.pods.is_empty()
    }

    /// The addresses that this pod has for itself.
    pub(super) fn own_ips(&self, pod: &str) -> Vec<IpAddr> {
        self.pods.get(pod).map(|pod| pod.own_ips().to_vec()).unwrap_or_default()
    }

    /// A pod other than this one that has the address for itself.
    pub(super) fn holder(&self, ip: IpAddr, except: Option<&str>) -> Option<&str> {
        let mut pods = self.pods.iter().filter(|(name, _)| Some(&***name) != except);
        pods.find(|(_, pod)| pod.own_ips().contains(&ip)).map(|(name, _)| &**name)
    }

    pub(super) fn apply_service(
        &mut self,
        id: &Id,
        object: &v1::Service,
        found: &mut Vec<Complaint>,
    ) -> Vec<Change> {
        let name = match ObjectName::new(&self.namespace, &id.name) {
            Ok(name) => name,
            Err(error) => {
                let message = format!("{error}; nobody hears of the service until then");
                complain(found, "NameUnusable", message);
                return self.delete_service(&id.name);
            }
        };
        let key = ServiceKey { cluster: self.cluster.name.clone(), name };
        let Some(mut service) = Service::new(key, object, self.spread, found) else {
            let changes = self.delete_service(&id.name);
            self.external.insert(id.name.as_str().into());
            return changes;
        };
        self.external.remove(id.name.as_str());
        service.said.export = self.exports.get(id.name.as_str()).map(|export| export.of(&service.terms));
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
        let slices = self.slices_of(&id.name);
        let given = slices.flat_map(|slice| slice.endpoints.iter().map(|(name, _)| name.clone()));
        let mut names: BTreeSet<Box<str>> = given.collect();
        if self.endpoints == Endpoints::FromSelectors
            && before.as_ref().is_none_or(|held| !held.service.sees_alike(&service))
        {
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

    /// An export is now so, or not there. Says what is different of its service.
    pub(super) fn apply_export(&mut self, name: &str, export: Option<Export>) -> Vec<Change> {
        let held = self.services.get_mut(name);
        let changed = held.and_then(|held| {
            let now = export.as_ref().map(|export| export.of(&held.service.terms));
            let said = &mut held.service.said;
            (std::mem::replace(&mut said.export, now.clone()) != now).then(|| said.clone())
        });
        match export {
            Some(export) => drop(self.exports.insert(name.into(), export)),
            None => drop(self.exports.remove(name)),
        }
        changed.map(|said| Change::Upsert(Object::Service(said))).into_iter().collect()
    }

    /// What is to be said of an export now, if that is different from what was said before. `shared` says whether other
    /// clusters hear of the namespace.
    pub(super) fn export_news(&mut self, name: &str, shared: bool) -> Option<Option<Exported>> {
        let behind = match self.services.contains_key(name) {
            true if !shared => Behind::Unshared,
            true => Behind::Service,
            false if self.external.contains(name) => Behind::ExternalName,
            false => Behind::Nothing,
        };
        let now = self.exports.get(name).map(|export| export.exported(behind));
        if self.exported.get(name) == now.as_ref() {
            return None;
        }
        match &now {
            Some(now) => drop(self.exported.insert(name.into(), now.clone())),
            None => drop(self.exported.remove(name)),
        }
        Some(now)
    }

    pub(super) fn delete_service(&mut self, name: &str) -> Vec<Change> {
        self.external.remove(name);
        let Some(held) = self.forget(name) else { return Vec::new() };
        let key = held.service.said.key;
        let endpoint = |name: Box<str>| {
            Change::Delete(Key::Endpoint(EndpointKey { service: key.clone(), name: name.into() }))
        };
        let mut changes: Vec<Change> = held.said.into_keys().map(endpoint).collect();
        changes.push(Change::Delete(Key::Service(key)));
        changes
    }

    pub(super) fn apply_pod(
        &mut self,
        name: &str,
        object: &v1::Pod,
        found: &mut Vec<Complaint>,
    ) -> Vec<Change> {
        let pod = Pod::new(object, &self.cluster, self.endpoints, &mut self.shared, found);
        if self.pods.get(name) == Some(&pod) {
            return Vec::new();
        }
        let before = self.said_pod(name);
        let mut services = self.candidates(name);
        self.pods.insert(name.into(), pod);
        services.extend(self.candidates(name));
        let mut changes = self.tell_pod(name, before);
        changes.extend(services.into_iter().filter_map(|service| self.settle(&service, name)));
        changes
    }

    pub(super) fn delete_pod(&mut self, name: &str) -> Vec<Change> {
        let before = self.said_pod(name);
        let services = self.candidates(name);
        self.pods.remove(name);
        let mut changes: Vec<Change> =
            services.into_iter().filter_map(|service| self.settle(&service, name)).collect();
        changes.extend(self.tell_pod(name, before));
        changes
    }

    /// A pod as policies see it, if they do.
    fn said_pod(&self, name: &str) -> Option<model::policy::Pod> {
        let namespace = NamespaceName { cluster: self.cluster.name.clone(), name: self.namespace.clone() };
        self.pods.get(name)?.said(PodName { namespace, name: name.into() })
    }

    /// Says what is different of a pod to policies.
    fn tell_pod(&self, name: &str, before: Option<model::policy::Pod>) -> Vec<Change> {
        let change = match (before, self.said_pod(name)) {
            (before, Some(now)) => {
                (before.as_ref() != Some(&now)).then_some(Change::Upsert(Object::Pod(now)))
            }
            (Some(before), None) => Some(Change::Delete(Key::Pod(before.name))),
            (None, None) => None,
        };
        change.into_iter().collect()
    }

    pub(super) fn apply_slice(
        &mut self,
        name: &str,
        object: &EndpointSlice,
        found: &mut Vec<Complaint>,
    ) -> Vec<Change> {
        self.replace_slice(name, Slice::new(object, &self.cluster, found))
    }

    pub(super) fn delete_slice(&mut self, name: &str) -> Vec<Change> {
        self.replace_slice(name, None)
    }

    fn replace_slice(&mut self, name: &str, new: Option<Slice>) -> Vec<Change> {
        let old = self.slices.remove(name);
        let mut touched: BTreeSet<(Box<str>, Box<str>)> = BTreeSet::new();
        match (&old, &new) {
            (Some(old), Some(new)) => {
                for name in old.differences(new) {
                    touched.insert((old.service.clone(), name.into()));
                    touched.insert((new.service.clone(), name.into()));
                }
            }
            (Some(one), None) | (None, Some(one)) => {
                touched.extend(one.endpoints.iter().map(|(name, _)| (one.service.clone(), name.clone())));
            }
            (None, None) => {}
        }
        if let Some(old) = &old {
            drop_from(&mut self.slices_of, &old.service, name);
        }
        if let Some(new) = new {
            self.slices_of.entry(new.service.clone()).or_default().insert(name.into());
            self.slices.insert(name.into(), new);
        }
        for (service, endpoint) in &touched {
            self.note_given(service, endpoint);
        }
        touched.into_iter().filter_map(|(service, endpoint)| self.settle(&service, &endpoint)).collect()
    }

    /// Notes whether some slice of a service names a pod.
    fn note_given(&mut self, service: &str, pod: &str) {
        let is = self.slices_of(service).any(|slice| slice.get(pod).is_some_and(|given| given.pod));
        let known = self.given_by_pod.get(pod).map(|services| &**services).unwrap_or_default();
        let was = known.iter().any(|known| **known == *service);
        if is == was {
            return;
        }
        let others = known.iter().filter(|known| ***known != *service).cloned();
        let now: Box<[Box<str>]> = others.chain(is.then(|| service.into())).collect();
        if now.is_empty() {
            self.given_by_pod.remove(pod);
        } else {
            self.given_by_pod.insert(pod.into(), now);
        }
    }

    fn slices_of(&self, service: &str) -> impl Iterator<Item = &Slice> {
        let names = self.slices_of.get(service).into_iter().flatten();
        names.filter_map(|name| self.slices.get(name))
    }

    /// The services that may have something to do with a pod as it is now.
    fn candidates(&self, pod: &str) -> BTreeSet<Box<str>> {
        let given = self.given_by_pod.get(pod).map(|services| &**services).unwrap_or_default();
        let mut services: BTreeSet<Box<str>> = given.iter().cloned().collect();
        let held = self.pods.get(pod).filter(|_| self.endpoints == Endpoints::FromSelectors);
        for (key, value) in held.iter().flat_map(|held| held.labels.iter()) {
            let pair = (key.to_string(), value.to_string());
            services.extend(self.by_pair.get(&pair).into_iter().flatten().cloned());
        }
        services
    }

    /// Works out one endpoint of one service. Says so if it is different from what was said before.
    fn settle(&mut self, service: &str, name: &str) -> Option<Change> {
        let held = self.services.get(service)?;
        let pod = self.pods.get(name);
        let derived = match self.endpoints {
            Endpoints::FromSelectors => pod.filter(|pod| held.service.selects(pod)),
            Endpoints::FromSlices => None,
        };
        let endpoint = derived
            .and_then(|pod| held.service.endpoint(name, pod))
            .or_else(|| slice::endpoint(&held.service, name, self.slices_of(service), pod));
        let held = self.services.get_mut(service)?;
        match endpoint {
            Some(endpoint) => {
                let print = fingerprint(&endpoint);
                let before = held.said.insert(name.into(), print);
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
    fn remember(&mut self, name: &str, service: Service, said: BTreeMap<Box<str>, u64>) {
        let selector = match self.endpoints {
            Endpoints::FromSelectors => Some(&service.selector),
            Endpoints::FromSlices => None,
        };
        let pairs = selector.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
        let pair = pairs.min_by_key(|pair| self.by_pair.get(pair).map_or(0, BTreeSet::len));
        if let Some(pair) = &pair {
            self.by_pair.entry(pair.clone()).or_default().insert(name.into());
        }
        self.services.insert(name.into(), Held { service, pair, said });
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
fn drop_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<Box<str>>>, key: &K, value: &str) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// Stands for an endpoint that was said, at a fraction of its size.
fn fingerprint(endpoint: &Endpoint) -> u64 {
    let Endpoint { key: _, ips, ports, node, ready, serving, terminating, weight, labels, hostname, hints } =
        endpoint;
    let mut hasher = SipHasher13::new();
    (ips, ports, node, ready, serving, terminating, weight, labels, hostname, hints).hash(&mut hasher);
    hasher.finish()
}
