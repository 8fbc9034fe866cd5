//! Asking a cluster what it is.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipnet::IpNet;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};

use crate::facts::{Facts, Flavour, NodeFact};

/// Networks of others, by the names of their DaemonSets.
const NETWORKS: [&str; 10] = [
    "aws-node",
    "calico-node",
    "canal",
    "cilium",
    "flannel",
    "kilo",
    "kindnet",
    "kube-flannel",
    "kube-router",
    "weave",
];

/// Everything at once. What may not be read is left out: flags can say it.
///
/// # Errors
/// Nodes cannot be listed: then nothing here would work.
pub async fn read(client: &Client, name: &str) -> Result<Facts, kube::Error> {
    let version = client.apiserver_version().await?;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items;
    let kubeadm = kubeadm(client).await;
    let daemons = Api::<DaemonSet>::all(client.clone()).list(&ListParams::default()).await;
    let daemons: Vec<String> =
        daemons.map_or_else(|_| Vec::new(), |list| list.items.iter().map(full_name).collect());
    let flavour = flavour(&version.git_version, &nodes, kubeadm.is_some());
    let kubeadm = kubeadm.unwrap_or_default();
    Ok(Facts {
        server: version.git_version,
        flavour,
        name: if kubeadm.name.is_empty() { name.to_owned() } else { kubeadm.name.clone() },
        kube_proxy: daemons.iter().any(|name| name.contains("/kube-proxy"))
            || embedded_proxy(flavour, &nodes),
        other_networks: daemons.into_iter().filter(|name| is_network(name)).collect(),
        nodes: nodes.iter().map(node).collect(),
        pod_cidrs: kubeadm.pods,
        service_cidrs: match service_cidrs(client).await {
            found if found.is_empty() => kubeadm.services,
            found => found,
        },
        api_servers: api_servers(client).await,
    })
}

fn full_name(daemons: &DaemonSet) -> String {
    format!("{}/{}", daemons.namespace().unwrap_or_default(), daemons.name_any())
}

fn is_network(full_name: &str) -> bool {
    let name = full_name.rsplit('/').next().unwrap_or_default();
    NETWORKS.iter().any(|network| {
        name.strip_prefix(network)
            .is_some_and(|rest| !rest.starts_with("-envoy") && !rest.starts_with("-operator"))
    })
}

fn flavour(version: &str, nodes: &[Node], kubeadm: bool) -> Flavour {
    let labelled = |label: &str| nodes.iter().any(|node| node.labels().contains_key(label));
    match version {
        v if v.contains("+k3s") => Flavour::K3s,
        v if v.contains("+rke2") => Flavour::Rke2,
        v if v.contains("-eks-") => Flavour::Eks,
        v if v.contains("-gke.") => Flavour::Gke,
        _ if labelled("kubernetes.azure.com/cluster") => Flavour::Aks,
        _ if kubeadm => Flavour::Kubeadm,
        _ => Flavour::Other,
    }
}

/// k3s and RKE2 run kube-proxy inside of their own process, and write their arguments on the node.
fn embedded_proxy(flavour: Flavour, nodes: &[Node]) -> bool {
    let refused = |node: &Node| {
        let arguments = ["k3s.io/node-args", "rke2.io/node-args"].map(|key| node.annotations().get(key));
        arguments.into_iter().flatten().any(|text| text.contains("disable-kube-proxy"))
    };
    matches!(flavour, Flavour::K3s | Flavour::Rke2) && !nodes.iter().any(refused)
}

fn node(node: &Node) -> NodeFact {
    let spec = node.spec.as_ref();
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut slices: Vec<&String> =
        spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten().collect();
    if slices.is_empty() {
        slices.extend(spec.and_then(|spec| spec.pod_cidr.as_ref()));
    }
    NodeFact {
        name: node.name_any(),
        control_plane: ["control-plane", "master"]
            .iter()
            .any(|role| node.labels().contains_key(&format!("node-role.kubernetes.io/{role}"))),
        ready: conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        internal_ips: addresses
            .filter(|a| a.type_ == "InternalIP")
            .filter_map(|a| a.address.parse().ok())
            .collect(),
        pod_cidrs: slices.into_iter().filter_map(|text| text.parse().ok()).collect(),
    }
}

#[derive(Default)]
struct Kubeadm {
    name: String,
    pods: Vec<IpNet>,
    services: Vec<IpNet>,
}

async fn kubeadm(client: &Client) -> Option<Kubeadm> {
    let map = Api::<ConfigMap>::namespaced(client.clone(), "kube-system")
        .get_opt("kubeadm-config")
        .await
        .ok()??;
    Some(read_kubeadm(map.data?.get("ClusterConfiguration")?))
}

fn read_kubeadm(text: &str) -> Kubeadm {
    let config: serde_json::Value = serde_saphyr::from_str(text).unwrap_or_default();
    let ranges = |field: &str| {
        let text = config["networking"][field].as_str().unwrap_or_default();
        text.split(',').filter_map(|range| range.trim().parse().ok()).collect()
    };
    Kubeadm {
        name: config["clusterName"].as_str().filter(|name| *name != "kubernetes").unwrap_or_default().into(),
        pods: ranges("podSubnet"),
        services: ranges("serviceSubnet"),
    }
}

/// From the kind that says so, or from what an impossible request is answered with.
async fn service_cidrs(client: &Client) -> Vec<IpNet> {
    if let Ok(list) = Api::<ServiceCIDR>::all(client.clone()).list(&ListParams::default()).await {
        let ranges = list.items.into_iter().filter_map(|object| object.spec?.cidrs).flatten();
        let found: BTreeSet<IpNet> = ranges.filter_map(|text| text.parse().ok()).collect();
        if !found.is_empty() {
            return found.into_iter().collect();
        }
    }
    let mut service = Service { spec: Some(ServiceSpec::default()), ..Service::default() };
    service.metadata.generate_name = Some("causeway-asks-".into());
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("192.0.2.1".into());
        spec.ports = Some(vec![k8s_openapi::api::core::v1::ServicePort { port: 1, ..Default::default() }]);
    }
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match Api::namespaced(client.clone(), "default").create(&dry, &service).await {
        Err(kube::Error::Api(status)) => ranges_in_refusal(&status.message),
        _ => Vec::new(),
    }
}

fn ranges_in_refusal(message: &str) -> Vec<IpNet> {
    let Some((_, tail)) = message.rsplit_once("range of valid IPs is ") else { return Vec::new() };
    tail.split([' ', ',', '"']).next().and_then(|range| range.parse().ok()).into_iter().collect()
}

async fn api_servers(client: &Client) -> Vec<SocketAddr> {
    let one = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let Ok(slices) = Api::<EndpointSlice>::namespaced(client.clone(), "default").list(&one).await else {
        return Vec::new();
    };
    let mut found: Vec<SocketAddr> = Vec::new();
    for slice in slices {
        let port =
            slice.ports.iter().flatten().find_map(|port| u16::try_from(port.port?).ok()).unwrap_or(6443);
        let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        found.extend(addresses.filter_map(|text| Some(SocketAddr::new(text.parse().ok()?, port))));
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_it_is() {
        let azure: Node = serde_json::from_value(
            serde_json::json!({"metadata": {"name": "n", "labels": {"kubernetes.azure.com/cluster": "x"}}}),
        )
        .unwrap();
        for (version, nodes, kubeadm, expected) in [
            ("v1.33.1+k3s1", vec![], false, Flavour::K3s),
            ("v1.33.1+rke2r1", vec![], true, Flavour::Rke2),
            ("v1.33.1-eks-7f9249a", vec![], false, Flavour::Eks),
            ("v1.33.1-gke.1107000", vec![], false, Flavour::Gke),
            ("v1.33.1", vec![azure], false, Flavour::Aks),
            ("v1.33.1", vec![], true, Flavour::Kubeadm),
            ("v1.33.1", vec![], false, Flavour::Other),
        ] {
            assert_eq!(flavour(version, &nodes, kubeadm), expected, "{version}");
        }
    }

    #[test]
    fn where_ranges_are_written() {
        let config = read_kubeadm(
            "clusterName: prod\nnetworking:\n  dnsDomain: cluster.local\n  podSubnet: 10.1.0.0/16, fd00:1::/48\n  serviceSubnet: 10.96.0.0/12\n",
        );
        assert_eq!((config.name.as_str(), config.pods.len(), config.services.len()), ("prod", 2, 1));
        assert!(read_kubeadm("not: [a, config").pods.is_empty());
        let refusal = "Service \"causeway-asks-x\" is invalid: spec.clusterIPs: Invalid value: [\"192.0.2.1\"]: failed to \
                       allocate IP 192.0.2.1: the provided IP (192.0.2.1) is not in the valid range. The range of valid \
                       IPs is 10.43.0.0/16";
        assert_eq!(ranges_in_refusal(refusal), ["10.43.0.0/16".parse::<IpNet>().unwrap()]);
        assert!(ranges_in_refusal("forbidden").is_empty());
    }

    #[test]
    fn networks_of_others() {
        for (name, expected) in [
            ("kube-flannel/kube-flannel-ds", true),
            ("kube-system/cilium", true),
            ("kube-system/cilium-envoy", false),
            ("kube-system/aws-node", true),
            ("kube-system/kube-proxy", false),
            ("kube-system/causeway-agent", false),
        ] {
            assert_eq!(is_network(name), expected, "{name}");
        }
    }
}
