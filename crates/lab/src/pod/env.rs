//! A container's command line and environment, from the pod's own words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use model::NodeName;

use crate::plan::NodePlan;

/// What a pod knows once it is wired up.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its node.
    pub node: &'a NodePlan,
    /// Its addresses.
    pub ips: &'a [IpAddr],
    /// Put before the search path: where `causeway` itself lies.
    pub bin: &'a str,
}

/// Why a container cannot be run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// There is no image, so there is no default command.
    #[error("container {0} has no command: the lab runs no images, so write the program into `command`")]
    NoCommand(String),
    /// A value from a place the lab does not have.
    #[error(
        "container {container}: env {name} has its value from a place the lab does not know: use value or valueFrom.fieldRef"
    )]
    Source {
        /// The container.
        container: String,
        /// The variable.
        name: String,
    },
    /// A field that cannot be had.
    #[error(
        "container {container}: env {name}: fieldPath {path:?} is not one of metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY'], spec.nodeName, spec.serviceAccountName, status.hostIP, status.hostIPs, status.podIP, status.podIPs"
    )]
    Field {
        /// The container.
        container: String,
        /// The variable.
        name: String,
        /// The path.
        path: String,
    },
}

/// The environment of a container, in the order it was built: the lab's own first, then the pod's.
pub fn environment(facts: &Facts<'_>, container: &Container) -> Result<Vec<(String, String)>, EnvError> {
    let mut env = base(facts);
    for variable in container.env.iter().flatten() {
        let value = value(facts, container, variable, &env)?;
        env.retain(|(name, _)| *name != variable.name);
        env.push((variable.name.clone(), value));
    }
    Ok(env)
}

/// What every process in a pod has, `lab exec` included.
pub fn base(facts: &Facts<'_>) -> Vec<(String, String)> {
    let NodeName { cluster, node } = &facts.node.name;
    let topology = &facts.node.topology;
    let path = std::env::var("PATH")
        .unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let name = facts.pod.metadata.name.clone().unwrap_or_default();
    let namespace = facts.pod.metadata.namespace.clone().unwrap_or_default();
    let all = [
        ("PATH", format!("{}:{path}", facts.bin)),
        ("HOSTNAME", name.clone()),
        ("POD_NAME", name.clone()),
        ("POD_NAMESPACE", namespace.clone()),
        ("POD_IP", joined(facts.ips, 1)),
        ("POD_IPS", joined(facts.ips, usize::MAX)),
        ("NODE_NAME", node.clone()),
        ("CAUSEWAY_CLUSTER", cluster.to_string()),
        ("CAUSEWAY_PROVIDER", topology.provider.clone()),
        ("CAUSEWAY_REGION", topology.region.clone()),
        ("CAUSEWAY_ZONE", topology.zone.clone()),
        ("CAUSEWAY_NODE", node.clone()),
        ("CAUSEWAY_NAMESPACE", namespace),
        ("CAUSEWAY_POD", name),
    ];
    all.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// A container's command and arguments, with `$(NAME)` replaced.
pub fn command_line(container: &Container, env: &[(String, String)]) -> Result<Vec<String>, EnvError> {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    let words: Vec<String> = words.map(|word| expand(word, env)).collect();
    let has_command = container.command.as_ref().is_some_and(|command| !command.is_empty());
    if has_command { Ok(words) } else { Err(EnvError::NoCommand(container.name.clone())) }
}

fn joined(ips: &[IpAddr], most: usize) -> String {
    ips.iter().take(most).map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn value(
    facts: &Facts<'_>,
    container: &Container,
    variable: &EnvVar,
    env: &[(String, String)],
) -> Result<String, EnvError> {
    let Some(source) = &variable.value_from else {
        return Ok(expand(variable.value.as_deref().unwrap_or_default(), env));
    };
    let (container, name) = (container.name.clone(), variable.name.clone());
    let Some(field) = &source.field_ref else { return Err(EnvError::Source { container, name }) };
    let path = field.field_path.clone();
    field_value(facts, &path).ok_or(EnvError::Field { container, name, path })
}

fn field_value(facts: &Facts<'_>, path: &str) -> Option<String> {
    let metadata = &facts.pod.metadata;
    let host = |most| joined(&facts.node.host.private_ips(), most);
    Some(match path {
        "metadata.name" => metadata.name.clone().unwrap_or_default(),
        "metadata.namespace" => metadata.namespace.clone().unwrap_or_default(),
        "metadata.uid" => metadata.uid.clone().unwrap_or_default(),
        "spec.nodeName" => facts.node.name.node.clone(),
        "spec.serviceAccountName" => {
            let spec = facts.pod.spec.as_ref();
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".into())
        }
        "status.hostIP" => host(1),
        "status.hostIPs" => host(usize::MAX),
        "status.podIP" => joined(facts.ips, 1),
        "status.podIPs" => joined(facts.ips, usize::MAX),
        _ => {
            let (map, rest) = match path.split_once("['")? {
                ("metadata.labels", rest) => (&metadata.labels, rest),
                ("metadata.annotations", rest) => (&metadata.annotations, rest),
                _ => return None,
            };
            let key = rest.strip_suffix("']")?;
            map.as_ref().and_then(|map: &BTreeMap<String, String>| map.get(key)).cloned().unwrap_or_default()
        }
    })
}

/// Kubernetes' substitution: `$(NAME)` is the variable if there is one and stays as it is if not; `$$` is `$`.
fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match env.iter().find(|(known, _)| known == name) {
                Some((_, value)) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Addresses, Host};

    fn node() -> NodePlan {
        let private = vec!["172.16.1.1/24".parse().unwrap(), "fd10::1/64".parse().unwrap()];
        NodePlan {
            name: "aws/aws-1".to_string().try_into().unwrap(),
            topology: model::Topology {
                region: "eu".into(),
                zone: "eu-a".into(),
                ..model::Topology::default()
            },
            host: Host {
                netns: "cwn_aws_aws-1".into(),
                location: 1,
                number: 1,
                addresses: Addresses { private, public: vec![], gateways: vec![] },
                nat: None,
            },
            cgroup: "aws/aws-1".into(),
            pod_cidrs: vec![],
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    type Ran = (Vec<String>, Vec<(String, String)>);

    fn run(container: &str) -> Result<Ran, EnvError> {
        let pod: Pod = serde_json::from_str(&format!(
            r#"{{"metadata": {{"name": "p", "namespace": "demo", "uid": "u-1", "labels": {{"app": "x"}}}},
                "spec": {{"containers": [{container}]}}}}"#
        ))
        .unwrap();
        let node = node();
        let ips = ["10.1.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let facts = Facts { pod: &pod, node: &node, ips: &ips, bin: "/opt/bin" };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let env = environment(&facts, container)?;
        Ok((command_line(container, &env)?, env))
    }

    #[test]
    fn values() {
        let (command, env) =
            run(r#"{"name": "c", "command": ["echo", "$(A)", "$$(A)", "$(B)", "5$"], "args": ["$(IP)"],
            "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "<$(A)>"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
                {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "NODE_NAME", "value": "mine"}]}"#)
            .unwrap();
        assert_eq!(command, ["echo", "1", "$(A)", "$(B)", "5$", "10.1.0.5"]);
        let get = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap();
        for (name, value) in [
            ("C", "<1>"),
            ("IPS", "10.1.0.5,fd00::5"),
            ("HOST", "172.16.1.1"),
            ("L", "x"),
            ("NODE_NAME", "mine"),
            ("CAUSEWAY_NODE", "aws-1"),
            ("CAUSEWAY_ZONE", "eu-a"),
            ("CAUSEWAY_POD", "p"),
        ] {
            assert_eq!(get(name), value, "{name}");
        }
        assert!(get("PATH").starts_with("/opt/bin:"));
    }

    #[test]
    fn refused() {
        for (container, said) in [
            (r#"{"name": "c"}"#, "has no command"),
            (r#"{"name": "c", "args": ["x"]}"#, "has no command"),
            (
                r#"{"name": "c", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.volumes"}}}]}"#,
                "spec.volumes",
            ),
            (
                r#"{"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}"#,
                "env A",
            ),
        ] {
            let error = run(container).unwrap_err().to_string();
            assert!(error.contains(said), "{container}: {error}");
        }
    }
}
