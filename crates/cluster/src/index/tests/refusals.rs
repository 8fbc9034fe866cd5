//! Policies that are refused: each with the field that it is refused for, and nothing of it applied.

use serde_json::{Value, json};

use super::{Endpoints, Index, cluster};
use crate::manifest::Manifest;
use crate::manifest::cilium::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
use crate::manifest::policy::ClusterNetworkPolicy;

fn read(kind: &str, spec: Value) -> Result<Manifest, serde_json::Error> {
    let object = json!({ "metadata": { "name": "p", "namespace": "demo" }, "spec": spec });
    Ok(match kind {
        "NetworkPolicy" => {
            serde_json::from_value::<k8s_openapi::api::networking::v1::NetworkPolicy>(object)?.into()
        }
        "ClusterNetworkPolicy" => serde_json::from_value::<ClusterNetworkPolicy>(object)?.into(),
        "CiliumNetworkPolicy" => serde_json::from_value::<CiliumNetworkPolicy>(object)?.into(),
        _ => serde_json::from_value::<CiliumClusterwideNetworkPolicy>(object)?.into(),
    })
}

/// Why an object is refused; nothing is said of it.
fn refusal(manifest: &Manifest) -> String {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    assert_eq!(index.apply(manifest), [], "{manifest:?}");
    let complaints = index.take_complaints();
    let [(_, complaints)] = &complaints[..] else { panic!("{complaints:?} of {manifest:?}") };
    assert_eq!(complaints[0].reason, "PolicyRefused");
    complaints[0].message.clone()
}

#[test]
fn network_policies() {
    for (spec, expected) in [
        (json!({"policyTypes": ["Ingres"]}), "spec.policyTypes[0]: \"Ingres\" is neither Ingress nor Egress"),
        (json!({"ingress": [{"from": [{}]}]}), "spec.ingress[0].from[0]: it selects nobody"),
        (
            json!({"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]}),
            "spec.ingress[0].from[0]: ipBlock beside a selector",
        ),
        (
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "x"}}]}]}),
            "spec.egress[0].to[0].ipBlock.cidr: \"x\" is no",
        ),
        (
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]}),
            "spec.egress[0].to[0].ipBlock.except[0]: 11.0.0.0/9 is not a part of 10.0.0.0/8",
        ),
        (json!({"ingress": [{"ports": [{"port": 0}]}]}), "spec.ingress[0].ports[0].port: 0 is no port"),
        (json!({"ingress": [{"ports": [{"port": "a_b"}]}]}), "spec.ingress[0].ports[0].port: \"a_b\" is not"),
        (json!({"ingress": [{"ports": [{"port": 5, "endPort": 4}]}]}), "ports[0].endPort: 4 is before 5"),
        (json!({"ingress": [{"ports": [{"port": "web", "endPort": 4}]}]}), "ports[0].endPort: the end"),
        (json!({"ingress": [{"ports": [{"protocol": "GRE"}]}]}), "ports[0].protocol: \"GRE\" is no protocol"),
        (
            json!({"podSelector": {"matchLabels": {"a b": ""}}}),
            "spec.podSelector.matchLabels: \"a b\" is not",
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            "spec.podSelector.matchExpressions[0]: In of no values",
        ),
    ] {
        let message = refusal(&read("NetworkPolicy", spec).unwrap());
        assert!(message.contains(expected), "{message} does not say {expected}");
        assert!(message.ends_with("what was known of it before stays in force"), "{message}");
    }
}

#[test]
fn cluster_network_policies() {
    let base = |field: &str, value: Value| {
        let mut spec = json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}});
        spec[field] = value;
        spec
    };
    let egress = |peer: Value, action: &str| base("egress", json!([{"action": action, "to": [peer]}]));
    for (spec, expected) in [
        (base("tier", json!("Other")), "spec.tier: \"Other\" is no tier"),
        (base("priority", json!(1001)), "spec.priority: 1001"),
        (base("subject", json!({})), "spec.subject: write exactly one of"),
        (base("ingress", json!([{"action": "Deny", "from": []}])), "spec.ingress[0].from: it is empty"),
        (egress(json!({"nodes": {}}), "Allow"), "spec.egress[0].action: \"Allow\" is no action"),
        (egress(json!({}), "Deny"), "spec.egress[0].to[0]: write exactly one of"),
        (egress(json!({"networks": []}), "Deny"), "spec.egress[0].to[0].networks: it is empty"),
        (
            egress(json!({"networks": ["::ffff:10.0.0.0/104"]}), "Deny"),
            "networks[0]: \"::ffff:10.0.0.0/104\"",
        ),
        (egress(json!({"domainNames": ["a.b"]}), "Deny"), "domainNames: names cannot be told apart"),
        (egress(json!({"domainNames": ["*"]}), "Accept"), "domainNames[0]: \"*\" is no domain name"),
        (
            base("ingress", json!([{"action": "Deny", "from": [{"namespaces": {}}], "protocols": [{}]}])),
            "spec.ingress[0].protocols[0]: write exactly one of",
        ),
        (
            base("ingress", json!([{"action": "Deny", "from": [{"namespaces": {}}], "protocols": []}])),
            "spec.ingress[0].protocols: it is empty",
        ),
    ] {
        let message = refusal(&read("ClusterNetworkPolicy", spec).unwrap());
        assert!(message.contains(expected), "{message} does not say {expected}");
    }
    // What a later version of the API says besides would make it another policy.
    let unknown =
        read("ClusterNetworkPolicy", base("egress", json!([{"action": "Deny", "to": [], "log": true}])));
    assert!(unknown.unwrap_err().to_string().contains("unknown field `log`"));
}

#[test]
fn policies_about_nodes() {
    let of = |selector: Value, rule: Value| json!({"nodeSelector": selector, "ingress": [rule]});
    for (spec, expected) in [
        (of(json!({"matchNames": {}}), json!({})), "spec.nodeSelector.matchNames: it is not known here"),
        (
            of(json!({"matchLabels": {"io.kubernetes.pod.namespace": "demo"}}), json!({})),
            "[\"io.kubernetes.pod.namespace\"]: nodes are in no namespace",
        ),
        (
            of(json!({}), json!({"toPorts": [{"ports": [{"port": "web"}]}]})),
            "spec.ingress[0].toPorts: nodes give ports no names; write the number of \"web\"",
        ),
        (of(json!({}), json!({"fromNodes": [{}]})), "spec.ingress[0].fromNodes: it is not enforced here"),
        (json!({"nodeSelector": {}}), "spec: it says nothing"),
    ] {
        let message = refusal(&read("CiliumClusterwideNetworkPolicy", spec).unwrap());
        assert!(message.contains(expected), "{message} does not say {expected}");
    }
    let mut object = json!({"metadata": {"name": "p", "annotations": {"causeway.io/distribute": "true"}}});
    object["spec"] = of(json!({}), json!({}));
    let message = refusal(&serde_json::from_value::<CiliumClusterwideNetworkPolicy>(object).unwrap().into());
    assert!(
        message.contains("spec.nodeSelector: a policy about nodes holds in its own cluster"),
        "{message}"
    );
}

#[test]
fn ciliums_policies() {
    let ingress = |rule: Value| json!({"endpointSelector": {}, "ingress": [rule]});
    let egress = |rule: Value| json!({"endpointSelector": {}, "egress": [{}, rule]});
    let ports = |port: Value| ingress(json!({"toPorts": [{"ports": [port]}]}));
    let from = |labels: Value| ingress(json!({"fromEndpoints": [{"matchLabels": labels}]}));
    for (spec, expected) in [
        (Value::Null, "spec: neither spec nor specs"),
        (json!({"ingress": [{}]}), "spec.endpointSelector: it is missing"),
        (json!({"endpointSelector": {}}), "spec: it says nothing"),
        (json!({"endpointSelector": {}, "ingress": []}), "spec: it says nothing"),
        (
            json!({"nodeSelector": {}, "ingress": [{}]}),
            "spec.nodeSelector: nodes are in no namespace; write a CiliumClusterwideNetworkPolicy",
        ),
        (
            json!({"nodeSelector": {}, "endpointSelector": {}, "ingress": [{}]}),
            "spec.nodeSelector: endpointSelector is written beside it",
        ),
        (
            egress(json!({"toFQDNs": [{"matchName": "a.b"}]})),
            "spec.egress[1].toFQDNs: it is not enforced here; write a ClusterNetworkPolicy with domainNames",
        ),
        (egress(json!({"toServices": []})), "spec.egress[1].toServices"),
        (egress(json!({"toGroups": []})), "spec.egress[1].toGroups"),
        (egress(json!({"toNodes": []})), "spec.egress[1].toNodes"),
        (egress(json!({"toRequires": []})), "spec.egress[1].toRequires"),
        (
            egress(json!({"fromEndpoints": []})),
            "spec.egress[1].fromEndpoints: it is not known here; did you mean toEndpoints?",
        ),
        (ingress(json!({"fromRequires": []})), "spec.ingress[0].fromRequires"),
        (ingress(json!({"authentication": {"mode": "required"}})), "spec.ingress[0].authentication"),
        (
            ingress(json!({"toPorts": [{"ports": [{"port": "80"}], "rules": {"http": [{}]}}]})),
            "spec.ingress[0].toPorts[0].rules: it is not enforced here",
        ),
        (
            ingress(json!({"toPorts": [{"ports": [{"port": "443"}], "serverNames": ["a"]}]})),
            "toPorts[0].serverNames",
        ),
        (ingress(json!({"toPorts": [{"ports": [{"port": "443"}], "listener": {}}]})), "toPorts[0].listener"),
        (ingress(json!({"toPorts": [{"ports": []}]})), "toPorts[0].ports: it is empty"),
        (
            ingress(json!({"toPorts": [{"ports": [{"port": "80"}]}], "icmps": [{"fields": [{"type": 8}]}]})),
            "spec.ingress[0].icmps: toPorts is written beside it",
        ),
        (
            ingress(json!({"icmps": [{"fields": [{"type": "Ping"}]}]})),
            "icmps[0].fields[0].type: it is no type",
        ),
        (ingress(json!({"icmps": [{"fields": [{"family": "IPv5", "type": 1}]}]})), "fields[0].family"),
        (ports(json!({"port": 80})), "toPorts[0].ports[0].port: there is 80; write text"),
        (ports(json!({"port": "80", "protocol": "VRRP"})), "ports[0].protocol: \"VRRP\" is not enforced"),
        (ports(json!({"port": "80", "protocol": "ICMP"})), "ports[0].protocol: it has no ports"),
        (ports(json!({"port": "80", "endPort": 70})), "ports[0].endPort: 70 is before 80"),
        (ports(json!({"port": "web", "endPort": 70})), "ports[0].endPort: the end of a range"),
        (ports(json!({"port": "70000"})), "ports[0].port: \"70000\" is not allowed"),
        (
            ingress(json!({"fromEntities": ["kube-apiserver"]})),
            "fromEntities[0]: the entity \"kube-apiserver\" is not enforced",
        ),
        (ingress(json!({"fromEntities": ["nobody"]})), "fromEntities[0]"),
        (ingress(json!({"fromCIDR": ["10.0.0.0/33"]})), "fromCIDR[0]: \"10.0.0.0/33\" is no range"),
        (ingress(json!({"fromCIDRSet": [{"cidrGroupRef": "x"}]})), "fromCIDRSet[0].cidrGroupRef"),
        (
            ingress(json!({"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["0.0.0.0/0"]}]})),
            "fromCIDRSet[0].except[0]: 0.0.0.0/0 is not a part",
        ),
        (
            ingress(json!({"fromCIDR": ["10.0.0.0/8"], "fromEntities": ["world"]})),
            "fromEntities: fromCIDR is written beside it",
        ),
        (from(json!({"k8s:io.cilium.k8s.policy.serviceaccount": "x"})), "service accounts are not known"),
        (from(json!({"reserved:host": ""})), "whatever is reserved has an entity"),
        (from(json!({"container:a": "b"})), "labels have no source container"),
        (from(json!({"io.cilium.k8s.other": "b"})), "none of the labels of Cilium's own"),
        (from(json!({"app": 1})), "matchLabels.app: there is 1; write text"),
        (
            json!({"endpointSelector": {"matchLabels": {"io.kubernetes.pod.namespace": "other"}}, "ingress": [{}]}),
            "a policy of the namespace demo is about pods of that one",
        ),
        (
            json!({"endpointSelector": {"matchNames": {}}, "ingress": [{}]}),
            "spec.endpointSelector.matchNames: it is not known here",
        ),
        (json!({"endpointSelector": {}, "ingress": {}}), "spec.ingress: there is fields; write a list"),
        (
            json!({"endpointSelector": {}, "ingress": [{}], "enableDefaultDeny": {"ingress": false}}),
            "spec.enableDefaultDeny.ingress: rules that do not isolate",
        ),
        (
            json!({"endpointSelector": {}, "ingress": [{}], "newField": 1}),
            "spec.newField: it is not known here",
        ),
    ] {
        let message = refusal(&read("CiliumNetworkPolicy", spec).unwrap());
        assert!(message.contains(expected), "{message} does not say {expected}");
    }
    let clusterwide =
        refusal(&read("CiliumClusterwideNetworkPolicy", egress(json!({"toFQDNs": []}))).unwrap());
    assert!(clusterwide.contains("spec.egress[1].toFQDNs"), "{clusterwide}");
}

#[test]
fn one_bad_part_costs_the_whole() {
    let specs = json!([{"endpointSelector": {}, "ingress": [{}]}, {"endpointSelector": {}, "egress": [{"toFQDNs": []}]}]);
    let object = json!({"metadata": {"name": "p", "namespace": "demo"}, "specs": specs});
    let message = refusal(&serde_json::from_value::<CiliumNetworkPolicy>(object).unwrap().into());
    assert!(message.contains("specs[1].egress[0].toFQDNs"), "{message}");
}

#[test]
fn distribution_that_is_no_word() {
    let object = json!({
        "metadata": {"name": "p", "namespace": "demo", "annotations": {"causeway.io/distribute": "yes"}},
        "spec": {"endpointSelector": {}, "ingress": [{}]},
    });
    let message = refusal(&serde_json::from_value::<CiliumNetworkPolicy>(object).unwrap().into());
    assert!(message.contains("metadata.annotations[\"causeway.io/distribute\"]: it is neither"), "{message}");
}

#[test]
fn too_much_of_it() {
    let ranges = |n: usize| -> Value {
        (0..n).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect()
    };
    let of = |n: usize| json!({"endpointSelector": {}, "egress": [{"toCIDR": ranges(n)}]});
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    let changes = index.apply(&read("CiliumNetworkPolicy", of(100_000)).unwrap());
    let [model::Change::Upsert(model::Object::Policy(policy))] = &changes[..] else { panic!("refused") };
    assert_eq!(policy.size(), (2, 100_000));
    let message = refusal(&read("CiliumNetworkPolicy", of(140_000)).unwrap());
    assert!(message.contains("140000 ranges of addresses in one policy; at most 131072"), "{message}");
    let peers: Value = (0..70_000).map(|n| json!({"matchLabels": {"app": format!("a{n}")}})).collect();
    let spec = json!({"endpointSelector": {}, "egress": [{"toEndpoints": peers}]});
    let message = refusal(&read("CiliumNetworkPolicy", spec).unwrap());
    assert!(message.contains("in one policy; at most 65536 are read"), "{message}");
}

#[test]
fn ten_thousand_policies_at_once() {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    let policy = |n: usize, app: &str| -> Manifest {
        serde_json::from_value::<k8s_openapi::api::networking::v1::NetworkPolicy>(json!({
            "metadata": {"name": format!("p{n}"), "namespace": format!("ns{}", n % 100)},
            "spec": {
                "podSelector": {"matchLabels": {"app": app}},
                "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}],
            },
        }))
        .unwrap()
        .into()
    };
    for n in 0..10_000 {
        assert_eq!(index.apply(&policy(n, "a")).len(), 1);
        assert_eq!(index.apply(&policy(n, "a")).len(), 0, "the same is no news");
    }
    assert_eq!(index.apply(&policy(77, "b")).len(), 1, "a change costs what changes");
    assert!(index.take_complaints().is_empty());
}
