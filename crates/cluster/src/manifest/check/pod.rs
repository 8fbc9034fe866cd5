//! Pods, and the Deployments that make them.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    At, PROTOCOLS, Result, addresses, in_range, labels, one_of, port_number, port_or_name, required,
    syntactic,
};
use crate::manifest::syntax::Syntax;
use crate::yaml::Reason;

const PHASES: &[&str] = &["Pending", "Running", "Succeeded", "Failed", "Unknown"];

pub(super) fn check(at: At<'_>, pod: &Pod) -> Result {
    required(at, "spec")?;
    if let Some(spec) = &pod.spec {
        check_spec(at, "spec", spec)?;
    }
    let Some(status) = &pod.status else { return Ok(()) };
    one_of(at, "status.phase", status.phase.as_deref(), PHASES)?;
    for (n, condition) in status.conditions.iter().flatten().enumerate() {
        let path = format!("status.conditions[{n}].status");
        one_of(at, &path, Some(&condition.status), &["True", "False", "Unknown"])?;
    }
    addresses(at, status.pod_ip.iter().map(|ip| ("status.podIP".to_string(), ip)))?;
    let ips = status.pod_ips.iter().flatten().enumerate();
    addresses(at, ips.map(|(n, ip)| (format!("status.podIPs[{n}].ip"), &ip.ip)))
}

pub(super) fn check_deployment(at: At<'_>, deployment: &Deployment) -> Result {
    for path in ["spec", "spec.selector", "spec.template", "spec.template.spec"] {
        required(at, path)?;
    }
    let Some(spec) = &deployment.spec else { return Ok(()) };
    if let Some(replicas) = spec.replicas {
        in_range(at, "spec.replicas", replicas.into(), 0, i32::MAX.into())?;
    }
    let wanted = spec.selector.match_labels.as_ref();
    let expressions = spec.selector.match_expressions.as_deref().unwrap_or_default();
    labels(at, "spec.selector.matchLabels", wanted)?;
    if wanted.is_none_or(|wanted| wanted.is_empty()) && expressions.is_empty() {
        let what = "an empty selector would match every pod";
        return Err(at.error("spec.selector", what, "`matchLabels` with labels that the template has"));
    }
    let template = spec.template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    labels(at, "spec.template.metadata.labels", template)?;
    let has = |key: &str| template.and_then(|labels| labels.get(key));
    for (key, value) in wanted.into_iter().flatten() {
        if has(key) != Some(value) {
            let what =
                format!("the template's labels do not have `{key}: {value}`, which the selector asks for");
            return Err(at.error("spec.template.metadata.labels", what, "it there too"));
        }
    }
    for (n, wanted) in expressions.iter().enumerate() {
        let path = format!("spec.selector.matchExpressions[{n}]");
        let operators = &["In", "NotIn", "Exists", "DoesNotExist"];
        one_of(at, &format!("{path}.operator"), Some(&wanted.operator), operators)?;
        let found = has(&wanted.key);
        let listed = found.is_some_and(|value| wanted.values.iter().flatten().any(|one| one == value));
        let matches = match wanted.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => found.is_some(),
            _ => found.is_none(),
        };
        if !matches {
            let what = format!("the template's `{}` does not match this", wanted.key);
            return Err(at.error(&path, what, "what its labels match"));
        }
    }
    spec.template.spec.as_ref().map_or(Ok(()), |spec| check_spec(at, "spec.template.spec", spec))
}

fn check_spec(at: At<'_>, path: &str, spec: &PodSpec) -> Result {
    if let Some(node) = &spec.node_name {
        syntactic(at, &format!("{path}.nodeName"), node, Syntax::Subdomain)?;
    }
    labels(at, &format!("{path}.nodeSelector"), spec.node_selector.as_ref())?;
    if spec.containers.is_empty() {
        return Err(at.because(&format!("{path}.containers"), Reason::Missing { field: "containers".into() }));
    }
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    let inits = spec.init_containers.iter().flatten().enumerate();
    let inits = inits.map(|(n, container)| (format!("{path}.initContainers[{n}]"), container));
    let mains = spec.containers.iter().enumerate();
    let mains = mains.map(|(n, container)| (format!("{path}.containers[{n}]"), container));
    for (path, container) in inits.chain(mains) {
        required(at, &format!("{path}.name"))?;
        syntactic(at, &format!("{path}.name"), &container.name, Syntax::Label)?;
        if !names.insert(container.name.as_str()) {
            let what = format!("`{}` is already the name of another container", container.name);
            return Err(at.error(&format!("{path}.name"), what, "another name"));
        }
        check_ports(at, &path, container, &mut ports)?;
        let probes = [
            ("readinessProbe", &container.readiness_probe),
            ("livenessProbe", &container.liveness_probe),
            ("startupProbe", &container.startup_probe),
        ];
        for (name, probe) in probes {
            if let Some(probe) = probe {
                check_probe(at, &format!("{path}.{name}"), probe, container)?;
            }
        }
    }
    Ok(())
}

fn check_ports<'a>(
    at: At<'_>,
    path: &str,
    container: &'a Container,
    names: &mut BTreeSet<&'a str>,
) -> Result {
    for (n, port) in container.ports.iter().flatten().enumerate() {
        let path = |field: &str| format!("{path}.ports[{n}].{field}");
        required(at, &path("containerPort"))?;
        port_number(at, &path("containerPort"), port.container_port)?;
        one_of(at, &path("protocol"), port.protocol.as_deref(), PROTOCOLS)?;
        if let Some(host) = port.host_port {
            port_number(at, &path("hostPort"), host)?;
        }
        if let Some(name) = &port.name {
            syntactic(at, &path("name"), name, Syntax::PortName)?;
            if !names.insert(name) {
                let what = format!("`{name}` is already the name of another port of this pod");
                return Err(at.error(&path("name"), what, "another name"));
            }
        }
    }
    Ok(())
}

fn check_probe(at: At<'_>, path: &str, probe: &Probe, container: &Container) -> Result {
    let handlers =
        [probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.exec.is_some(), probe.grpc.is_some()];
    let given = handlers.into_iter().filter(|given| *given).count();
    if given != 1 {
        let what = format!("a probe asks in one way, this one in {given}");
        return Err(at.error(path, what, "one of httpGet, tcpSocket, exec and grpc"));
    }
    for (name, seconds, least) in [
        ("initialDelaySeconds", probe.initial_delay_seconds, 0),
        ("periodSeconds", probe.period_seconds, 1),
        ("timeoutSeconds", probe.timeout_seconds, 1),
        ("successThreshold", probe.success_threshold, 1),
        ("failureThreshold", probe.failure_threshold, 1),
    ] {
        if let Some(seconds) = seconds {
            in_range(at, &format!("{path}.{name}"), seconds.into(), least, i32::MAX.into())?;
        }
    }
    let known_port = |path: String, port: &IntOrString| {
        required(at, &path)?;
        port_or_name(at, &path, port)?;
        let names = || container.ports.iter().flatten().filter_map(|port| port.name.as_deref());
        match port {
            IntOrString::String(name) if !names().any(|known| known == name) => {
                let what = format!("no port of the container has the name {name:?}");
                Err(at.error(&path, what, "a number, or the name of one of its ports"))
            }
            _ => Ok(()),
        }
    };
    if let Some(http) = &probe.http_get {
        known_port(format!("{path}.httpGet.port"), &http.port)?;
        one_of(at, &format!("{path}.httpGet.scheme"), http.scheme.as_deref(), &["HTTP", "HTTPS"])?;
    }
    if let Some(tcp) = &probe.tcp_socket {
        known_port(format!("{path}.tcpSocket.port"), &tcp.port)?;
    }
    if let Some(grpc) = &probe.grpc {
        port_number(at, &format!("{path}.grpc.port"), grpc.port)?;
    }
    if let Some(exec) = &probe.exec
        && exec.command.as_ref().is_none_or(Vec::is_empty)
    {
        let what = "there is no command to run";
        return Err(at.error(&format!("{path}.exec.command"), what, "a command, such as [\"true\"]"));
    }
    Ok(())
}
