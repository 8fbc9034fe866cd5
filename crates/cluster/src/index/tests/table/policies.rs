//! Policies, namespaces and pods.

use model::policy::{
    NamespaceChoice, Operator, PodSelector, Policy, PolicyAction, PolicyPeer, PolicyPort, PolicyRule,
    PolicySubject, PolicyTier, Selector,
};

use super::{Case, apply, delete, pod};

/// A policy in one line.
pub(super) fn line(policy: &Policy) -> String {
    let tier = match policy.tier {
        PolicyTier::Admin { priority } => format!("admin {priority}"),
        PolicyTier::Namespace => "namespace".into(),
        PolicyTier::Baseline { priority } => format!("baseline {priority}"),
    };
    let rules = |word: &str, rules: &Option<Vec<PolicyRule>>| match rules {
        None => String::new(),
        Some(rules) => {
            format!(" {word} [{}]", rules.iter().map(rule).collect::<Vec<_>>().join("; "))
        }
    };
    format!(
        "{} {tier}{} about {}{}{}",
        policy.name,
        if policy.distribute { " distributed" } else { "" },
        match &policy.subject {
            PolicySubject::Pods(its) => pods(its),
            PolicySubject::Nodes(nodes) => format!("nodes {}", selector(nodes)),
        },
        rules("ingress", &policy.ingress),
        rules("egress", &policy.egress),
    )
}

fn rule(rule: &PolicyRule) -> String {
    let action = match rule.action {
        PolicyAction::Accept => "accept",
        PolicyAction::Deny => "deny",
        PolicyAction::Pass => "pass",
    };
    let list = |list: Vec<String>| if list.is_empty() { "nothing".into() } else { list.join(" or ") };
    let peers =
        rule.peers.as_ref().map_or("everybody".into(), |peers| list(peers.iter().map(peer).collect()));
    let ports = rule.ports.as_ref().map(|ports| list(ports.iter().map(port).collect()));
    format!("{action} {peers}{}", ports.map(|ports| format!(" on {ports}")).unwrap_or_default())
}

fn peer(peer: &PolicyPeer) -> String {
    match peer {
        PolicyPeer::Pods(some) => pods(some),
        PolicyPeer::Networks { ranges, except } => {
            let join = |ranges: &[ipnet::IpNet]| {
                ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
            };
            let but = if except.is_empty() { String::new() } else { format!(" but {}", join(except)) };
            format!("{}{but}", join(ranges))
        }
        PolicyPeer::Nodes(nodes) => format!("nodes {}", selector(nodes)),
        PolicyPeer::DomainNames(names) => names.join("+"),
        PolicyPeer::Entity(entity) => format!("{entity:?}"),
    }
}

fn pods(pods: &PodSelector) -> String {
    let namespaces = match &pods.namespaces {
        NamespaceChoice::Named(name) => name.clone(),
        NamespaceChoice::Selected(namespaces) => selector(namespaces),
    };
    format!("{namespaces}/{}", selector(&pods.pods))
}

fn selector(selector: &Selector) -> String {
    let one = |one: &model::policy::Requirement| {
        let values = |values: &std::collections::BTreeSet<String>| {
            values.iter().cloned().collect::<Vec<_>>().join("|")
        };
        match &one.operator {
            Operator::In(some) => format!("{}={}", one.key, values(some)),
            Operator::NotIn(some) => format!("{}!={}", one.key, values(some)),
            Operator::Exists => one.key.clone(),
            Operator::DoesNotExist => format!("!{}", one.key),
        }
    };
    match &*selector.requirements {
        [] => "*".into(),
        some => some.iter().map(one).collect::<Vec<_>>().join(","),
    }
}

fn port(port: &PolicyPort) -> String {
    match port {
        PolicyPort::Ports { protocol, first: 0, last: u16::MAX } => protocol.to_string(),
        PolicyPort::Ports { protocol, first, last } if first == last => format!("{first}/{protocol}"),
        PolicyPort::Ports { protocol, first, last } => format!("{first}-{last}/{protocol}"),
        PolicyPort::Named { protocol: Some(protocol), name } => format!("{name}/{protocol}"),
        PolicyPort::Named { protocol: None, name } => name.clone(),
        PolicyPort::Icmp { v6, kind } => {
            let kind = kind.map_or("any".into(), |kind| kind.to_string());
            format!("icmp{}:{kind}", if *v6 { "6" } else { "4" })
        }
    }
}

fn network(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: demo}}\nspec: {spec}\n"
    )
}

fn cluster(spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    )
}

fn cilium(spec: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: demo}}\n{spec}\n"
    )
}

fn clusterwide(spec: &str) -> String {
    format!("apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {{name: p}}\n{spec}\n")
}

const NS: &str = "namespace aws/demo kubernetes.io/metadata.name=demo";

pub(super) fn cases() -> Vec<Case> {
    let case = |name, steps| Case { name, policing: true, steps };
    vec![
        case(
            "a pod: before it has an address, its node and named ports, labels that change, its end",
            vec![
                (
                    pod("a", "labels: {app: echo}", ""),
                    &[NS, "pod aws/demo/a  on aws/aws-1 app=echo web=8080/TCP"],
                ),
                (
                    pod("a", "labels: {app: echo}", "podIPs: [{ip: 10.1.0.5}, {ip: \"fd00:1::5\"}]"),
                    &["pod aws/demo/a 10.1.0.5,fd00:1::5 on aws/aws-1 app=echo web=8080/TCP"],
                ),
                (
                    pod("a", "labels: {app: other}", "podIPs: [{ip: 10.1.0.5}, {ip: \"fd00:1::5\"}]"),
                    &["pod aws/demo/a 10.1.0.5,fd00:1::5 on aws/aws-1 app=other web=8080/TCP"],
                ),
                (pod("a", "labels: {app: other}", "phase: Failed, podIP: 10.1.0.5"), &["- pod aws/demo/a"]),
                (delete("pod demo/a"), &["- namespace aws/demo"]),
            ],
        ),
        case(
            "sidecars have ports; whoever has its node's addresses is no pod of policies",
            vec![
                (
                    apply(
                        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: demo}\nspec: {nodeName: n, \
                         containers: [{name: c, ports: [{name: web, containerPort: 80}, {containerPort: 81}]}], \
                         initContainers: [{name: s, restartPolicy: Always, ports: [{name: dns, containerPort: 53, \
                         protocol: UDP}]}, {name: i, ports: [{name: once, containerPort: 1}]}]}\nstatus: {podIP: 10.1.0.5}",
                    ),
                    &[NS, "pod aws/demo/a 10.1.0.5 on aws/n  dns=53/UDP web=80/TCP"],
                ),
                (
                    apply(
                        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: demo}\nspec: {nodeName: n, \
                         hostNetwork: true, containers: [{name: c}]}\nstatus: {podIP: 172.16.0.1}",
                    ),
                    &["- pod aws/demo/a"],
                ),
            ],
        ),
        case(
            "a namespace: its labels, whether it is shared",
            vec![
                (
                    apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: demo, labels: {team: a}}"),
                    &["namespace aws/demo kubernetes.io/metadata.name=demo,team=a"],
                ),
                (
                    apply(
                        "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo, labels: {team: b}, annotations: \
                         {causeway.io/global: \"false\"}}",
                    ),
                    &["namespace aws/demo kubernetes.io/metadata.name=demo,team=b unshared"],
                ),
                (pod("a", "", ""), &["pod aws/demo/a  on aws/aws-1  web=8080/TCP"]),
                (delete("pod demo/a"), &["- pod aws/demo/a"]),
                (delete("namespace demo"), &["- namespace aws/demo"]),
            ],
        ),
        case(
            "NetworkPolicy: directions",
            vec![
                (
                    apply(&network("{podSelector: {}}")),
                    &["NetworkPolicy demo/p of aws namespace about demo/* ingress []"],
                ),
                (
                    apply(&network("{podSelector: {}, egress: [{}]}")),
                    &[
                        "NetworkPolicy demo/p of aws namespace about demo/* ingress [] egress [accept everybody]",
                    ],
                ),
                (
                    apply(&network("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}")),
                    &["NetworkPolicy demo/p of aws namespace about demo/* egress []"],
                ),
                (delete("networkpolicy demo/p"), &["- policy NetworkPolicy demo/p of aws"]),
            ],
        ),
        case(
            "NetworkPolicy: peers and ports",
            vec![(
                apply(&network(
                    "{podSelector: {matchLabels: {app: db}, matchExpressions: [{key: v, operator: NotIn, values: [b, a]}]}, \
                     ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}, {namespaceSelector: {matchLabels: {team: \
                     a}}, podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 10.0.0.9/8, except: [10.1.0.0/16]}}], \
                     ports: [{}, {port: 80}, {port: web, protocol: UDP}, {port: 5, endPort: 9, protocol: SCTP}]}]}",
                )),
                &[
                    "NetworkPolicy demo/p of aws namespace about demo/app=db,v!=a|b ingress [accept demo/* or */* or \
                   team=a/app=web or 10.0.0.0/8 but 10.1.0.0/16 on TCP or 80/TCP or web/UDP or 5-9/SCTP]",
                ],
            )],
        ),
        case(
            "a policy that is to be distributed, as annotation and as label",
            vec![
                (
                    apply(
                        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: demo, \
                         annotations: {causeway.io/distribute: \"true\"}}\nspec: {podSelector: {}}",
                    ),
                    &["NetworkPolicy demo/p of aws namespace distributed about demo/* ingress []"],
                ),
                (
                    apply(
                        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: demo, \
                         labels: {causeway.io/distribute: \"false\"}}\nspec: {podSelector: {}}",
                    ),
                    &["NetworkPolicy demo/p of aws namespace about demo/* ingress []"],
                ),
            ],
        ),
        case(
            "ClusterNetworkPolicy",
            vec![
                (
                    apply(&cluster(
                        "{tier: Admin, priority: 7, subject: {namespaces: {}}, ingress: [{name: one, action: Pass, from: \
                         [{namespaces: {matchLabels: {team: a}}}]}, {action: Deny, from: [{pods: {namespaceSelector: {}, \
                         podSelector: {matchLabels: {app: x}}}}], protocols: [{tcp: {}}, {udp: {destinationPort: {number: \
                         53}}}, {sctp: {destinationPort: {range: {start: 1, end: 2}}}}, {destinationNamedPort: web}]}]}",
                    )),
                    &[
                        "ClusterNetworkPolicy p of aws admin 7 about */* ingress [pass team=a/*; deny */app=x on TCP or 53/UDP \
                       or 1-2/SCTP or web]",
                    ],
                ),
                (
                    apply(&cluster(
                        "{tier: Baseline, priority: 0, subject: {pods: {namespaceSelector: {}, podSelector: {}}}, egress: \
                         [{action: Accept, to: [{nodes: {matchLabels: {role: db}}}, {networks: [10.0.0.0/8, \"fd00::/8\"]}, \
                         {domainNames: [\"*.Example.com.\", a.b]}]}]}",
                    )),
                    &[
                        "ClusterNetworkPolicy p of aws baseline 0 about */* egress [accept nodes role=db or 10.0.0.0/8+fd00::/8 \
                       or *.example.com+a.b]",
                    ],
                ),
            ],
        ),
        case(
            "CiliumNetworkPolicy: endpoints, and whose namespace",
            vec![
                (
                    apply(&cilium(
                        "spec: {endpointSelector: {matchLabels: {\"k8s:app\": db}}, ingress: [{fromEndpoints: [{}, {matchLabels: \
                         {\"any:app\": web}}, {matchLabels: {\"k8s:io.kubernetes.pod.namespace\": other}}, {matchExpressions: \
                         [{key: io.kubernetes.pod.namespace, operator: In, values: [x, y]}]}, {matchLabels: \
                         {\"k8s:io.cilium.k8s.namespace.labels.team\": a, app: z}}, {matchLabels: \
                         {io.cilium.k8s.policy.cluster: gcp, app: z}}], toPorts: [{ports: [{port: \"80\", protocol: TCP}, {port: \
                         web}, {port: \"5\", endPort: 9, protocol: UDP}, {port: \"0\", protocol: SCTP}]}]}]}",
                    )),
                    &[
                        "CiliumNetworkPolicy demo/p of aws namespace about demo/app=db ingress [accept demo/* or demo/app=web or \
                       other/* or kubernetes.io/metadata.name=x|y/* or team=a/app=z or \
                       demo/app=z,io.cilium.k8s.policy.cluster=gcp on 80/TCP or web or 5-9/UDP or SCTP]",
                    ],
                ),
                (
                    apply(&cilium("spec: {endpointSelector: {}, ingress: [{}]}")),
                    &["CiliumNetworkPolicy demo/p of aws namespace about demo/* ingress [accept nothing]"],
                ),
                (
                    apply(&cilium("spec: {endpointSelector: {}, enableDefaultDeny: {egress: true}}")),
                    &["CiliumNetworkPolicy demo/p of aws namespace about demo/* egress []"],
                ),
            ],
        ),
        case(
            "CiliumNetworkPolicy: entities, ranges, ICMP, what is denied",
            vec![(
                apply(&cilium(
                    "spec: {description: x, endpointSelector: {}, egressDeny: [{toCIDR: [10.0.0.0/8, 192.0.2.1]}], egress: \
                     [{toEntities: [world, cluster-mesh]}, {toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.9.0.0/16]}, {cidr: \
                     \"fd00::/8\"}]}, {icmps: [{fields: [{type: 8}, {family: IPv6, type: EchoRequest}]}]}, {toPorts: [{ports: \
                     [{port: \"53\", protocol: ANY}]}]}]}",
                )),
                &[
                    "CiliumNetworkPolicy demo/p of aws namespace about demo/* egress [deny 10.0.0.0/8+192.0.2.1/32; accept World \
                   or ClusterMesh; accept 10.0.0.0/8 but 10.9.0.0/16 or fd00::/8; accept everybody on icmp4:8 or icmp6:128; \
                   accept everybody on 53/TCP or 53/UDP or 53/SCTP]",
                ],
            )],
        ),
        case(
            "CiliumNetworkPolicy: several of them in one, and fewer",
            vec![
                (
                    apply(&cilium(
                        "spec: {endpointSelector: {}, ingress: [{}]}\nspecs: [{endpointSelector: {}, egress: [{}]}, \
                         {endpointSelector: {matchLabels: {app: a}}, egress: [{}]}]",
                    )),
                    &[
                        "CiliumNetworkPolicy demo/p of aws namespace about demo/* ingress [accept nothing]",
                        "CiliumNetworkPolicy demo/p[0] of aws namespace about demo/* egress [accept nothing]",
                        "CiliumNetworkPolicy demo/p[1] of aws namespace about demo/app=a egress [accept nothing]",
                    ],
                ),
                (
                    apply(&cilium("specs: [{endpointSelector: {matchLabels: {app: a}}, egress: [{}]}]")),
                    &[
                        "CiliumNetworkPolicy demo/p[0] of aws namespace about demo/app=a egress [accept nothing]",
                        "- policy CiliumNetworkPolicy demo/p of aws",
                        "- policy CiliumNetworkPolicy demo/p[1] of aws",
                    ],
                ),
                (delete("ciliumnetworkpolicy demo/p"), &["- policy CiliumNetworkPolicy demo/p[0] of aws"]),
            ],
        ),
        case(
            "CiliumClusterwideNetworkPolicy",
            vec![(
                apply(&clusterwide(
                    "spec: {endpointSelector: {matchLabels: {io.kubernetes.pod.namespace: demo, app: a}}, ingressDeny: \
                     [{fromEndpoints: [{}, {matchLabels: {app: b}}]}], ingress: [{fromEntities: [all]}]}",
                )),
                &[
                    "CiliumClusterwideNetworkPolicy p of aws namespace about kubernetes.io/metadata.name=demo/app=a ingress [deny \
                   */* or */app=b; accept All]",
                ],
            )],
        ),
        case(
            "CiliumClusterwideNetworkPolicy of nodes",
            vec![
                (
                    apply(&clusterwide(
                        "spec: {nodeSelector: {matchLabels: {'any:role': db}}, ingress: [{fromEntities: [cluster], toPorts: \
                         [{ports: [{port: '5432'}]}]}], egressDeny: [{toCIDR: [192.0.2.0/24]}]}",
                    )),
                    &[
                        "CiliumClusterwideNetworkPolicy p of aws namespace about nodes role=db ingress [accept Cluster on \
                       5432/TCP or 5432/UDP or 5432/SCTP] egress [deny 192.0.2.0/24]",
                    ],
                ),
                (
                    apply(&clusterwide("spec: {nodeSelector: {}, ingress: [{}]}")),
                    &[
                        "CiliumClusterwideNetworkPolicy p of aws namespace about nodes * ingress [accept nothing]",
                    ],
                ),
            ],
        ),
        case(
            "what is refused leaves what was known in force",
            vec![
                (
                    apply(&cilium("spec: {endpointSelector: {}, egress: [{}]}")),
                    &["CiliumNetworkPolicy demo/p of aws namespace about demo/* egress [accept nothing]"],
                ),
                (
                    apply(&cilium(
                        "spec: {endpointSelector: {}, egress: [{toFQDNs: [{matchName: a.b}]}, {}]}",
                    )),
                    &[],
                ),
                (delete("ciliumnetworkpolicy demo/p"), &["- policy CiliumNetworkPolicy demo/p of aws"]),
            ],
        ),
    ]
}
