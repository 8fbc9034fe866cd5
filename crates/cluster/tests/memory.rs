//! What a watched pod costs: an index of many, with their services' slices, weighed. A process of its own, so that
//! nothing else is on the scales.

use std::collections::BTreeMap;

use causeway_cluster::index::{Endpoints, Index};
use causeway_cluster::manifest::Manifest;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ObjectReference, Pod, PodIP, PodSpec, PodStatus, Service, ServicePort,
    ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{Cluster, ClusterId, ClusterName};

const SERVICES: usize = 500;
const PODS_OF_EACH: usize = 100;
/// Bytes.
const LIMIT: usize = 1024;

/// The memory this process has, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn meta(name: String, labels: &[(&str, String)]) -> ObjectMeta {
    let labels: BTreeMap<String, String> = labels.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    ObjectMeta {
        name: Some(name),
        namespace: Some("shop".into()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// As Deployments name and label their pods.
fn pod_name(service: usize, n: usize) -> String {
    format!("checkout-backend-{service}-7d4b9c6f5{}-{n:05}", service % 10)
}

fn pod(service: usize, n: usize, ip: &str) -> Manifest {
    let labels = [
        ("app.kubernetes.io/name", format!("checkout-backend-{service}")),
        ("app.kubernetes.io/instance", "production".into()),
        ("app.kubernetes.io/component", "backend".into()),
        ("app.kubernetes.io/managed-by", "Helm".into()),
        ("pod-template-hash", format!("7d4b9c6f5{}", service % 10)),
    ];
    Pod {
        metadata: meta(pod_name(service, n), &labels),
        spec: Some(PodSpec {
            node_name: Some(format!("ip-10-0-{}-{n}.eu-west-1.compute.internal", service % 50)),
            containers: vec![Container {
                ports: Some(vec![ContainerPort {
                    name: Some("http".into()),
                    container_port: 8080,
                    ..ContainerPort::default()
                }]),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            phase: Some("Running".into()),
            pod_ips: Some(vec![PodIP { ip: ip.into() }]),
            ..PodStatus::default()
        }),
    }
    .into()
}

#[test]
fn a_watched_pod_costs_less_than_a_kilobyte() {
    let cluster = Cluster {
        name: ClusterName::new("aws").unwrap(),
        id: ClusterId::new(1).unwrap(),
        pod_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
        service_cidrs: vec!["172.30.0.0/16".parse().unwrap()],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    };
    let mut index = Index::new(cluster, Endpoints::FromSlices);
    let before = resident();
    let mut endpoints = 0;
    for service in 0..SERVICES {
        let name = format!("checkout-backend-{service}");
        let ip = |n: usize| format!("10.{}.{}.{}", service / 250, service % 250, n + 1);
        for n in 0..PODS_OF_EACH {
            index.apply(&pod(service, n, &ip(n)));
        }
        index.apply(
            &Service {
                metadata: meta(name.clone(), &[]),
                spec: Some(ServiceSpec {
                    cluster_ip: Some(format!("172.30.{}.{}", service / 250, service % 250 + 1)),
                    ports: Some(vec![ServicePort { port: 80, ..ServicePort::default() }]),
                    ..ServiceSpec::default()
                }),
                status: None,
            }
            .into(),
        );
        let given = (0..PODS_OF_EACH).map(|n| Endpoint {
            addresses: vec![ip(n)],
            node_name: Some(format!("ip-10-0-{}-{n}.eu-west-1.compute.internal", service % 50)),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".into()),
                name: Some(pod_name(service, n)),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        });
        let slice = EndpointSlice {
            metadata: meta(format!("{name}-x7k2p"), &[("kubernetes.io/service-name", name)]),
            address_type: "IPv4".into(),
            endpoints: given.collect(),
            ports: Some(vec![EndpointPort { port: Some(8080), ..EndpointPort::default() }]),
        };
        endpoints += index.apply(&slice.into()).len();
    }
    let pods = SERVICES * PODS_OF_EACH;
    assert_eq!(endpoints, pods);
    assert!(index.take_complaints().is_empty());
    let each = (resident() - before) / pods;
    println!("{each} bytes for each of {pods} pods, with its endpoint");
    assert!(each <= LIMIT, "{each} bytes for each of {pods} pods; at most {LIMIT} are allowed");
}
