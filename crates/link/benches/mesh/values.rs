//! What a cluster mesh on etcd writes for the same world: Cilium's keys, with its JSON, or with what a tuned one would
//! write instead.
//!
//! A service is one value with all its backends, written again whenever one of them comes, goes or changes; beside it
//! each address of a pod is a key of its own. The JSON leaves out what is optional there (zones, host names), and the
//! tuned values are protobuf in zstd, one slice a service, as Cilium's newest releases do it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Change, Endpoint, Key, Object, Service, ServiceKey, World};
use prost::Message as _;
use serde_json::{Value, json};

use crate::etcd::Write;

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As Cilium writes them.
    Json,
    /// Protobuf in zstd.
    Tuned,
}

/// The world as a writer keeps it, to write a service whenever an endpoint of it changes.
pub(crate) struct Writer {
    world: World,
    form: Form,
}

impl Writer {
    pub(crate) fn new(form: Form) -> Self {
        Self { world: World::default(), form }
    }

    /// Takes in what there is, and writes nothing.
    pub(crate) fn know(&mut self, objects: Vec<Object>) {
        for object in objects {
            self.world.apply(Change::Upsert(object));
        }
    }

    /// Takes in what there is. Returns it as keys and values.
    pub(crate) fn take(&mut self, objects: Vec<Object>) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.know(objects);
        let services = self.world.services.keys().filter_map(|key| self.service(key));
        let endpoints = self.world.endpoints.values().flat_map(BTreeMap::values);
        let ips = endpoints.flat_map(|endpoint| self.ips(endpoint));
        services.chain(ips).filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// What is written for a change; the last is the service's value.
    pub(crate) fn change(&mut self, change: Change) -> Vec<Write> {
        let Key::Endpoint(key) = change.key() else { return Vec::new() };
        let before = self.world.endpoints.get(&key.service).and_then(|of| of.get(&key.name)).cloned();
        self.world.apply(change.clone());
        let mut writes = match (change, before) {
            (Change::Upsert(Object::Endpoint(new)), Some(old)) if old.ips == new.ips => Vec::new(),
            (Change::Upsert(Object::Endpoint(new)), _) => self.ips(&new),
            (Change::Delete(_), Some(old)) => {
                self.ips(&old).into_iter().map(|(key, _)| (key, None)).collect()
            }
            _ => Vec::new(),
        };
        writes.extend(self.service(&key.service));
        writes
    }

    /// The key a service is under.
    pub(crate) fn service_key(key: &ServiceKey) -> Vec<u8> {
        format!("cilium/cache/services/v1/{}/{}/{}", key.cluster, key.name.namespace, key.name.name)
            .into_bytes()
    }

    fn service(&self, key: &ServiceKey) -> Option<Write> {
        let service = self.world.services.get(key)?;
        let endpoints = self.world.endpoints.get(key).into_iter().flat_map(BTreeMap::values);
        let value = match self.form {
            Form::Json => json_of(service, endpoints).to_string().into_bytes(),
            Form::Tuned => {
                let ready = endpoints.cloned().map(Object::Endpoint);
                let objects = std::iter::once(Object::Service(service.clone())).chain(ready);
                let objects = objects.map(|object| wire::encode_object(&object)).collect();
                packed(&wire::pb::Snapshot { places: Vec::new(), objects }.encode_to_vec())
            }
        };
        Some((Self::service_key(key), Some(value)))
    }

    fn ips(&self, endpoint: &Endpoint) -> Vec<Write> {
        let of = |ip: &IpAddr| {
            let key = format!("cilium/cache/ip/v1/{}/{ip}", endpoint.key.service.cluster);
            let value = match self.form {
                Form::Json => json_of_ip(endpoint, ip).to_string().into_bytes(),
                Form::Tuned => {
                    let mut alone = endpoint.clone();
                    alone.ips = vec![*ip];
                    packed(&wire::encode_object(&Object::Endpoint(alone)).encode_to_vec())
                }
            };
            (key.into_bytes(), Some(value))
        };
        endpoint.ips.iter().map(of).collect()
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 0).expect("compressing needs no more than memory")
}

fn ports<'a>(ports: impl Iterator<Item = (&'a str, u16)>) -> Value {
    ports.map(|(name, port)| (name.to_string(), json!({"Protocol": "TCP", "Port": port}))).collect()
}

fn json_of<'a>(service: &Service, endpoints: impl Iterator<Item = &'a Endpoint>) -> Value {
    let front = || ports(service.ports.iter().map(|p| (p.name.as_str(), p.port.get())));
    let frontends: Value = service.vips.iter().map(|vip| (vip.to_string(), front())).collect();
    // Backends that are not ready are not there.
    let backends: Value = endpoints
        .filter(|endpoint| endpoint.ready)
        .flat_map(|endpoint| {
            let back = ports(endpoint.ports.iter().map(|p| (p.name.as_str(), p.port.get())));
            endpoint.ips.iter().map(move |ip| (ip.to_string(), back.clone()))
        })
        .collect();
    json!({
        "cluster": service.key.cluster.as_str(),
        "namespace": service.key.name.namespace,
        "name": service.key.name.name,
        "frontends": frontends,
        "backends": backends,
        "labels": {"app.kubernetes.io/name": service.key.name.name, "app.kubernetes.io/instance": "production"},
        "selector": {"app.kubernetes.io/name": service.key.name.name, "app.kubernetes.io/instance": "production"},
        "includeExternal": true,
        "shared": true,
        "clusterID": 1,
    })
}

fn json_of_ip(endpoint: &Endpoint, ip: &IpAddr) -> Value {
    let service = &endpoint.key.service;
    let node = endpoint.node.as_ref().map(|node| node.node.as_str()).unwrap_or_default();
    json!({
        "IP": ip.to_string(),
        "Mask": null,
        "HostIP": "172.16.101.17",
        "ID": 65536 + service.name.name.len() * 1021,
        "Key": 0,
        "Metadata": format!("cilium-global:{}:{node}:{}", service.cluster, endpoint.key.name),
        "NamedPorts": endpoint.ports.iter()
            .map(|port| json!({"Name": port.name, "Port": port.port.get(), "Protocol": "TCP"}))
            .collect::<Value>(),
        "K8sNamespace": service.name.namespace,
        "K8sPodName": endpoint.key.name,
    })
}
