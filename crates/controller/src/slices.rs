//! Slices that are derived from the endpoints of imported services: what other controllers read of an import.
//!
//! A slice has one family, one set of ports and one source cluster. Endpoints are put into slices by the hash of their
//! name, so that one that comes or goes changes one slice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cluster::kubernetes::multicluster::SliceFields;
use cluster::multicluster::{print_of, slice_labels};
use model::{ClusterName, Endpoint, EndpointPort, ObjectName};
use serde_json::{Value, json};

/// About how many endpoints are put into one slice; Kubernetes' own controller puts at most 100, and takes at most 1000.
const FULL: usize = 64;

/// The slices of an import with the endpoints that one cluster has of it.
pub(crate) fn slices<'a>(
    import: &ObjectName,
    source: &ClusterName,
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
) -> Vec<SliceFields> {
    type Member<'a> = (&'a Endpoint, IpAddr);
    let mut groups: BTreeMap<(bool, &[EndpointPort]), Vec<Member<'_>>> = BTreeMap::new();
    for endpoint in endpoints {
        for ip in &endpoint.ips {
            groups.entry((ip.is_ipv6(), &endpoint.ports)).or_default().push((endpoint, *ip));
        }
    }
    let mut slices = Vec::new();
    for ((ipv6, ports), members) in groups {
        let count = members.len().div_ceil(FULL).next_power_of_two();
        let mut buckets: Vec<Vec<Member<'_>>> = vec![Vec::new(); count];
        for member in members {
            let hash = print_of(&member.0.key.name.as_str().into());
            let bucket = usize::try_from(hash % count as u64).expect("less than a usize");
            buckets[bucket].push(member);
        }
        let ports: Vec<Value> = ports.iter().map(port).collect();
        for (n, members) in buckets.into_iter().enumerate().filter(|(_, members)| !members.is_empty()) {
            let place = json!([import.name, source, ipv6, ports, n, count]);
            let stem: String = import.name.chars().take(63).collect();
            let name =
                format!("{}-{source}-{:010x}", stem.trim_end_matches(['-', '.']), print_of(&place) >> 24);
            slices.push(SliceFields {
                name: ObjectName { namespace: import.namespace.clone(), name },
                import: import.name.clone(),
                labels: slice_labels(&import.name, source).map(|(key, value)| (key.into(), value)).into(),
                content: json!({
                    "addressType": if ipv6 { "IPv6" } else { "IPv4" },
                    "ports": ports,
                    "endpoints": members.into_iter().map(endpoint).collect::<Vec<_>>(),
                }),
            });
        }
    }
    slices
}

fn port(port: &EndpointPort) -> Value {
    json!({ "name": port.name, "protocol": port.protocol.to_string(), "port": port.port.get() })
}

/// Without its node and zone: they would be taken for some of the importing cluster.
fn endpoint((endpoint, ip): (&Endpoint, IpAddr)) -> Value {
    let conditions =
        json!({ "ready": endpoint.ready, "serving": endpoint.serving, "terminating": endpoint.terminating });
    let mut value = json!({ "addresses": [ip], "conditions": conditions });
    if !endpoint.hostname.is_empty() {
        value["hostname"] = endpoint.hostname.clone().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{EndpointKey, Port, Protocol, ServiceKey};

    use super::*;

    fn endpoint(n: usize, hostname: &str) -> Endpoint {
        let name = ObjectName::new("demo", "echo").unwrap();
        let service = ServiceKey { cluster: "gcp".parse().unwrap(), name };
        let port = |name: &str, port| EndpointPort::new(name, Protocol::Tcp, Port::new(port).unwrap());
        Endpoint {
            ready: n.is_multiple_of(2),
            hostname: hostname.into(),
            ..Endpoint::new(
                EndpointKey { service, name: format!("p{n}") },
                vec![
                    IpAddr::from([10, 1, u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap()]),
                    format!("fd00::{n:x}").parse().unwrap(),
                ],
                vec![port("http", 8080)],
            )
        }
    }

    fn derived(endpoints: &[Endpoint]) -> Vec<SliceFields> {
        slices(&ObjectName::new("demo", "echo").unwrap(), &"gcp".parse().unwrap(), endpoints)
    }

    #[test]
    fn one_family_and_one_cluster_a_slice() {
        let said = derived(&[endpoint(1, "db-0")]);
        assert_eq!(said.len(), 2);
        let labels = &said[0].labels;
        assert_eq!(labels["multicluster.kubernetes.io/service-name"], "echo");
        assert_eq!(labels["multicluster.kubernetes.io/source-cluster"], "gcp");
        assert_ne!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslice-controller.k8s.io");
        let expected = json!({
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [{
                "addresses": ["10.1.0.1"],
                "conditions": {"ready": false, "serving": true, "terminating": false},
                "hostname": "db-0",
            }],
        });
        assert_eq!(said[0].content, expected);
        assert_eq!(said[1].content["addressType"], "IPv6");
        assert!(said[0].name.name.starts_with("echo-gcp-") && said[0].name.name.len() <= 253);
        assert!(derived(&[]).is_empty());
    }

    #[test]
    fn many_endpoints_are_split_and_one_that_goes_changes_one_slice() {
        let all: Vec<Endpoint> = (0..1000).map(|n| endpoint(n, "")).collect();
        let before = derived(&all);
        let size = |slice: &SliceFields| slice.content["endpoints"].as_array().unwrap().len();
        assert!(
            before.iter().all(|slice| size(slice) <= 100),
            "{:?}",
            before.iter().map(size).collect::<Vec<_>>()
        );
        assert_eq!(before.iter().map(size).sum::<usize>(), 2000);
        let names: BTreeSet<_> = before.iter().map(|slice| slice.name.clone()).collect();
        assert_eq!(names.len(), before.len());
        let after = derived(&all[1..]);
        let changed = before.iter().filter(|slice| !after.contains(slice)).count();
        assert_eq!(changed, 2, "one a family");
    }
}
