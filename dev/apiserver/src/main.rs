//! The API server for tests as a process of its own, filled with a cluster of any size: for benchmarks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use apiserver::{Options, Server};
use clap::Parser;
use serde_json::{Value, json};

/// An API server for tests, without TLS. Whoever reaches it may do everything: keep it on loopback.
#[derive(Parser)]
#[command(name = "apiserver")]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write a kubeconfig here; the server's address is printed in any case.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Nodes to begin with: `node-0`, `node-1`, …
    #[arg(long, default_value_t = 0)]
    nodes: usize,
    /// Services to begin with, ten to a namespace.
    #[arg(long, default_value_t = 0)]
    services: usize,
    /// Pods to begin with, spread over nodes and services; each is an endpoint of its service.
    #[arg(long, visible_alias = "load", default_value_t = 0)]
    pods: usize,
    /// Endpoint changes in a second, from the first watch of EndpointSlices on.
    #[arg(long, default_value_t = 0)]
    churn: u32,
    /// Write the time of each change, in microseconds since 1970, as its endpoint's node: `at-1234567890`.
    #[arg(long)]
    stamp: bool,
    /// Begin watches with a list where clients ask for it, as Kubernetes 1.34 does and 1.33 does not.
    #[arg(long)]
    streaming_lists: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let options =
        Options { listen: args.listen, streaming_lists: args.streaming_lists, ..Options::default() };
    let server = Server::start(options);
    for number in 0..args.nodes {
        server.apply_json(node(number));
    }
    for number in 0..args.services {
        server.apply_json(service(number));
    }
    for number in 0..args.pods {
        server.apply_json(pod(number, args.nodes.max(1), args.services.max(1)));
    }
    for number in 0..args.services.max(usize::from(args.pods > 0)) {
        for slice in slices(&args, number) {
            server.apply_json(slice);
        }
    }
    if let Some(path) = &args.kubeconfig {
        std::fs::write(path, server.kubeconfig()).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("{}", server.url());
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended.context("waiting for the end")?,
        () = churn(&server, &args) => {}
    }
    Ok(())
}

/// Turns one endpoint after the other unready and ready again.
async fn churn(server: &Server, args: &Args) {
    if args.churn == 0 || args.pods == 0 {
        return std::future::pending().await;
    }
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let (mut owed, mut turn) = (0.0, 0usize);
    loop {
        tick.tick().await;
        if !server.watches().iter().any(|(resource, _)| resource == "endpointslices") {
            continue;
        }
        owed += f64::from(args.churn) / 100.0;
        while owed >= 1.0 {
            owed -= 1.0;
            let service = turn % args.services.max(1);
            for mut slice in slices(args, service).into_iter().take(1) {
                let ready = (turn / args.services.max(1)) % 2 == 1;
                slice["endpoints"][0]["conditions"]["ready"] = ready.into();
                if args.stamp {
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    slice["endpoints"][0]["nodeName"] = format!("at-{}", now.as_micros()).into();
                }
                server.apply_json(slice);
            }
            turn += 1;
        }
    }
}

fn space(service: usize) -> String {
    format!("team-{}", service / 10)
}

fn address(number: usize) -> String {
    format!("10.{}.{}.{}", 128 + (number >> 16), number >> 8 & 0xff, number & 0xff)
}

fn node(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": format!("node-{number}"), "labels": {
            "kubernetes.io/hostname": format!("node-{number}"), "kubernetes.io/os": "linux",
            "topology.kubernetes.io/region": format!("region-{}", number % 3),
            "topology.kubernetes.io/zone": format!("zone-{}", number % 9) } },
        "spec": { "podCIDR": format!("10.{}.{}.0/24", 64 + (number >> 8), number & 0xff),
                  "podCIDRs": [format!("10.{}.{}.0/24", 64 + (number >> 8), number & 0xff)] },
        "status": { "addresses": [{ "type": "InternalIP", "address": format!("172.{}.{}.{}", 16 + (number >> 16),
                                    number >> 8 & 0xff, number & 0xff) }],
                    "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": format!("service-{number}"), "namespace": space(number) },
        "spec": { "selector": { "app": format!("service-{number}") },
                  "clusterIP": format!("10.96.{}.{}", number >> 8, number & 0xff),
                  "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" }] },
    })
}

/// A pod as a kubelet leaves it, with the bulk that a real one has.
fn pod(number: usize, nodes: usize, services: usize) -> Value {
    let service = number % services;
    let name = format!("service-{service}-{number}");
    let fields = json!({ "f:metadata": { "f:labels": { ".": {}, "f:app": {}, "f:pod-template-hash": {} } },
        "f:spec": { "f:containers": { "k:{\"name\":\"main\"}": { ".": {}, "f:image": {}, "f:name": {},
        "f:ports": { ".": {}, "k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } },
        "f:resources": {} } }, "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {} } });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": space(service),
            "labels": { "app": format!("service-{service}"), "pod-template-hash": "6b7c9d8f5" },
            "managedFields": [{ "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields }] },
        "spec": { "nodeName": format!("node-{}", number % nodes), "serviceAccountName": "default",
            "containers": [{ "name": "main", "image": "example.org/app:v1.2.3", "imagePullPolicy": "IfNotPresent",
                "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                "env": [{ "name": "LEVEL", "value": "info" }, { "name": "MODE", "value": "production" }],
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
                "volumeMounts": [{ "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }] }] },
        "status": { "phase": "Running", "podIP": address(number), "podIPs": [{ "ip": address(number) }],
            "hostIP": "172.16.0.1", "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
                           { "type": "PodScheduled", "status": "True" }],
            "containerStatuses": [{ "name": "main", "ready": true, "restartCount": 0, "image": "example.org/app:v1.2.3",
                "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }] },
    })
}

/// The slices of one service: a hundred endpoints each.
fn slices(args: &Args, service: usize) -> Vec<Value> {
    let (nodes, services) = (args.nodes.max(1), args.services.max(1));
    let pods: Vec<usize> = (service..args.pods).step_by(services).collect();
    let slice = |(at, pods): (usize, &[usize])| {
        let endpoint = |number: &usize| {
            let node = number % nodes;
            json!({
                "addresses": [address(*number)], "nodeName": format!("node-{node}"),
                "zone": format!("zone-{}", node % 9),
                "conditions": { "ready": true, "serving": true, "terminating": false },
                "targetRef": { "kind": "Pod", "name": format!("service-{service}-{number}"),
                               "namespace": space(service) },
            })
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": format!("service-{service}-{at:05}"), "namespace": space(service), "labels": {
                "kubernetes.io/service-name": format!("service-{service}"),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io" } },
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        })
    };
    pods.chunks(100).enumerate().map(slice).collect()
}
