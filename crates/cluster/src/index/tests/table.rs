//! Objects to changes, case by case: what every source of objects has to say.

mod policies;

use model::policy::Pod;
use model::{Access, Change, Cluster, ClusterId, ClusterName, Endpoint, Hints, Object};

use crate::manifest::{Id, Manifest, parse};

pub(crate) fn cluster() -> Cluster {
    Cluster {
        name: ClusterName::new("aws").unwrap(),
        id: ClusterId::new(1).unwrap(),
        pod_cidrs: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/48".parse().unwrap()],
        service_cidrs: vec!["10.101.0.0/16".parse().unwrap(), "fd00:101::/112".parse().unwrap()],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    }
}

/// What happens, and what is to be said of it, each change in one line.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Whether it is about policies, namespaces and pods, or about the rest.
    pub(crate) policing: bool,
    pub(crate) steps: Vec<(Step, &'static [&'static str])>,
}

pub(crate) enum Step {
    Apply(String),
    Delete(Id),
}

pub(crate) fn manifests(text: &str) -> Vec<Manifest> {
    parse("table", text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .into_iter()
        .map(|m| m.value)
        .collect()
}

impl Case {
    /// The changes that it is about, each in one line.
    pub(crate) fn lines(&self, changes: &[Change]) -> Vec<String> {
        lines(changes, self.policing)
    }
}

/// Changes in one line each: those of policies, namespaces and pods, or the others.
pub(crate) fn lines(changes: &[Change], policing: bool) -> Vec<String> {
    changes.iter().filter(|change| is_policing(change) == policing).map(whole_line).collect()
}

/// A change in one line, unless it is one of policies, namespaces and pods.
pub(crate) fn line(change: &Change) -> Option<String> {
    (!is_policing(change)).then(|| whole_line(change))
}

fn is_policing(change: &Change) -> bool {
    use model::Kind::{Namespace, Pod, Policy};
    matches!(change.key().kind(), Policy | Namespace | Pod)
}

/// A change in one line.
pub(crate) fn whole_line(change: &Change) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match change {
        Change::Upsert(Object::Policy(policy)) => policies::line(policy),
        Change::Upsert(Object::Namespace(namespace)) => format!(
            "namespace {} {}{}",
            namespace.name,
            labels(&namespace.labels),
            if namespace.shared { "" } else { " unshared" },
        ),
        Change::Upsert(Object::Pod(Pod { name, ips, node, labels, ports })) => format!(
            "pod {name} {} on {} {}{}",
            join(ips.iter().map(ToString::to_string).collect()),
            node.as_ref().map_or("nothing".into(), ToString::to_string),
            self::labels(labels),
            ports.iter().map(|p| format!(" {}={}/{}", p.name, p.port, p.protocol)).collect::<String>(),
        ),
        Change::Delete(key) => format!("- {key}"),
        Change::Upsert(Object::Cluster(cluster)) => format!("cluster {}", cluster.name),
        Change::Upsert(Object::Node(node)) => format!(
            "node {} at {}/{}/{} private {} public {} pods {}",
            node.name,
            node.location,
            node.topology.region,
            node.topology.zone,
            join(node.private_ips.iter().map(ToString::to_string).collect()),
            join(node.public_ips.iter().map(ToString::to_string).collect()),
            join(node.pod_cidrs.iter().map(ToString::to_string).collect()),
        ),
        Change::Upsert(Object::Peer(peer)) => format!(
            "peer {} {}{}",
            peer.name,
            join(peer.allowed_ips.iter().map(ToString::to_string).collect()),
            peer.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default(),
        ),
        Change::Upsert(Object::Service(service)) => format!(
            "service {} {} {}{}{}",
            service.key.name,
            join(service.vips.iter().map(ToString::to_string).collect()),
            join(service.ports.iter().map(|p| format!("{}:{}/{}", p.name, p.port, p.protocol)).collect()),
            if service.global { " global" } else { "" },
            asked_of(&service.access),
        ),
        Change::Upsert(Object::Import(import)) => unreachable!("a source says nothing of {}", import.key),
        Change::Upsert(Object::Endpoint(Endpoint {
            key,
            ips,
            ports,
            node,
            ready,
            serving,
            terminating,
            weight,
            labels,
            hostname: _,
            hints,
        })) => {
            let flags = [(ready, "ready"), (serving, "serving"), (terminating, "terminating")];
            let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| **set).map(|(_, name)| name).collect();
            let weight = if *weight == 1 { String::new() } else { format!(" weight {weight}") };
            let hints = match hints {
                Hints::None => String::new(),
                Hints::OwnZone => " for its zone".into(),
                Hints::OwnNode => " for its node".into(),
                Hints::Given { zones, nodes } => format!(" for {}", join([&zones[..], nodes].concat())),
            };
            format!(
                "endpoint {}/{} {} {} on {} {} {}{weight}{hints}",
                key.service.name,
                key.name,
                join(ips.iter().map(ToString::to_string).collect()),
                join(ports.iter().map(|p| format!("{}:{}/{}", p.name, p.port, p.protocol)).collect()),
                node.as_ref().map_or("nothing".into(), ToString::to_string),
                flags.join("+"),
                join(labels.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            )
        }
    }
}

fn labels(labels: &model::policy::Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// What a service asks of its cluster beyond virtual addresses.
fn asked_of(access: &Access) -> String {
    let mut text = String::new();
    let words = [
        (access.internal_local, " internal-local"),
        (access.external_local, " external-local"),
        (access.other_proxy, " other-proxy"),
    ];
    text.extend(words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word));
    text.extend(access.session_affinity.map(|seconds| format!(" affinity={seconds}")));
    text.extend(
        access.node_ports.iter().map(|p| format!(" node-port={}>{}/{}", p.node_port, p.port, p.protocol)),
    );
    text.extend(access.external_ips.iter().map(|ip| format!(" external={ip}")));
    text.extend(access.load_balancer_ips.iter().map(|ip| format!(" balancer={ip}")));
    let ranges = |ranges: &Vec<ipnet::IpNet>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    text.extend(access.source_ranges.as_ref().map(|some| format!(" from={}", ranges(some).join(","))));
    text.extend(access.health_check_node_port.map(|port| format!(" health={port}")));
    text
}

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: demo, annotations: {causeway.io/global: "true"}}
spec:
  clusterIPs: [10.101.0.9, "fd00:101::9"]
  selector: {app: echo}
  ports: [{name: http, port: 80, targetPort: web}, {name: dns, port: 53, targetPort: 5353, protocol: UDP}]
"#;

/// A pod of demo, as its spec, status and metadata say.
fn pod(name: &str, meta: &str, status: &str) -> Step {
    Step::Apply(format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: demo, {meta}}}\nspec:\n  nodeName: aws-1\n  \
         containers: [{{name: c, ports: [{{name: web, containerPort: 8080}}]}}]\nstatus: {{{status}}}\n"
    ))
}

fn apply(text: &str) -> Step {
    Step::Apply(text.to_string())
}

fn delete(id: &str) -> Step {
    let (kind, name) = id.split_once(' ').unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    Step::Delete(Id::new(kind.parse().unwrap(), namespace, name))
}

const APP: &str = "labels: {app: echo, v: x}";
pub(super) const READY: &str =
    "podIPs: [{ip: 10.1.0.5}, {ip: \"fd00:1::5\"}], conditions: [{type: Ready, status: \"True\"}]";
pub(super) const UNREADY: &str =
    "podIPs: [{ip: 10.1.0.5}, {ip: \"fd00:1::5\"}], conditions: [{type: Ready, status: \"False\"}]";
const SAID: &str = "service demo/echo 10.101.0.9,fd00:101::9 http:80/TCP,dns:53/UDP global";
const A_READY: &str = "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1 ready+serving \
                       app=echo,v=x";
const A_GONE: &str = "- endpoint aws/demo/echo/a";

/// What is told of endpoints that nobody writes slices for, and no slice would say so.
pub(super) fn derived() -> Vec<Case> {
    let case = |name, steps| Case { name, policing: false, steps };
    vec![case(
        "hints: as Kubernetes' controller would write them, as slices have them",
        vec![
            (apply(&SERVICE.replace("spec:", "spec:\n  trafficDistribution: PreferSameNode")), &[SAID]),
            (
                pod("a", APP, READY),
                &[
                    "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1 ready+serving \
                       app=echo,v=x for its node",
                ],
            ),
            (
                apply(&SERVICE.replace("spec:", "spec:\n  trafficDistribution: PreferClose")),
                &[
                    "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1 ready+serving \
                       app=echo,v=x for its zone",
                ],
            ),
            (
                pod("a", APP, UNREADY),
                &[
                    "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1  app=echo,v=x",
                ],
            ),
            (
                apply(
                    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e, namespace: demo, \
                         labels: {kubernetes.io/service-name: echo}}\naddressType: IPv4\nports: [{name: http, port: \
                         5}]\nendpoints: [{addresses: [10.1.0.7], hints: {forZones: [{name: eu-a}, {name: eu-b}], \
                         forNodes: [{name: n}]}}]",
                ),
                &[
                    "endpoint demo/echo/10.1.0.7 10.1.0.7 http:5/TCP on nothing ready+serving  for eu-a,eu-b,n",
                ],
            ),
        ],
    )]
}

/// Every case starts from nothing.
pub(crate) fn table() -> Vec<Case> {
    services().into_iter().chain(policies::cases()).collect()
}

fn services() -> Vec<Case> {
    let case = |name, steps| Case { name, policing: false, steps };
    vec![
        case(
            "nodes: topology, addresses, ranges",
            vec![
                (
                    apply(
                        "apiVersion: v1\nkind: Node\nmetadata: {name: aws-1, labels: {topology.kubernetes.io/region: eu, \
                         topology.kubernetes.io/zone: eu-a}}\nspec: {podCIDRs: [10.1.0.0/24, \"fd00:1::/64\"]}\nstatus: \
                         {addresses: [{type: InternalIP, address: 172.16.0.1}, {type: ExternalIP, address: 198.18.0.1}, \
                         {type: Hostname, address: aws-1}]}",
                    ),
                    &[
                        "node aws/aws-1 at eu/eu/eu-a private 172.16.0.1 public 198.18.0.1 pods 10.1.0.0/24,fd00:1::/64",
                    ],
                ),
                (delete("node aws-1"), &["- node aws/aws-1"]),
            ],
        ),
        case(
            "nodes: a location of one's own choosing, ours before Kilo's",
            vec![
                (
                    apply(
                        "apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {topology.kubernetes.io/region: eu}, \
                         annotations: {kilo.squat.ai/location: k, causeway.io/location: c}}\nstatus: {addresses: \
                         [{type: InternalIP, address: 172.16.0.1}]}",
                    ),
                    &["node aws/n at c/eu/ private 172.16.0.1 public  pods "],
                ),
                (
                    apply(
                        "apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {kilo.squat.ai/location: k}}\nstatus: \
                         {addresses: [{type: InternalIP, address: 172.16.0.1}]}",
                    ),
                    &["node aws/n at k// private 172.16.0.1 public  pods "],
                ),
            ],
        ),
        case(
            "nodes: without a private address, a location of its own",
            vec![(
                apply(
                    "apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {topology.kubernetes.io/region: eu}}\n\
                     spec: {podCIDR: 10.1.0.0/24}\nstatus: {addresses: [{type: ExternalIP, address: 198.18.0.1}]}",
                ),
                &["node aws/n at n/eu/ private  public 198.18.0.1 pods 10.1.0.0/24"],
            )],
        ),
        case(
            "a service, then its pod: through readiness to deletion",
            vec![
                (apply(SERVICE), &[SAID]),
                (pod("a", APP, ""), &[]),
                (
                    pod("a", APP, UNREADY),
                    &[
                        "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1  app=echo,v=x",
                    ],
                ),
                (pod("a", APP, READY), &[A_READY]),
                (pod("a", APP, READY), &[]),
                (
                    pod("a", "labels: {app: echo, v: x}, deletionTimestamp: \"2026-01-02T03:04:05Z\"", READY),
                    &["endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1 \
                       serving+terminating app=echo,v=x"],
                ),
                (delete("pod demo/a"), &[A_GONE]),
                (delete("service demo/echo"), &["- service aws/demo/echo"]),
            ],
        ),
        case(
            "a pod, then its service; the service goes first",
            vec![
                (pod("a", APP, READY), &[]),
                (apply(SERVICE), &[SAID, A_READY]),
                (delete("service demo/echo"), &[A_GONE, "- service aws/demo/echo"]),
                (delete("pod demo/a"), &[]),
            ],
        ),
        case(
            "a pod that has run to its end is out",
            vec![
                (apply(SERVICE), &[SAID]),
                (pod("a", APP, READY), &[A_READY]),
                (pod("a", APP, &format!("phase: Succeeded, {READY}")), &[A_GONE]),
                (pod("a", APP, &format!("phase: Running, {READY}")), &[A_READY]),
                (pod("a", APP, &format!("phase: Failed, {READY}")), &[A_GONE]),
            ],
        ),
        case(
            "weights",
            vec![
                (apply(SERVICE), &[SAID]),
                (
                    pod("a", "annotations: {causeway.io/weight: \"0\"}, labels: {app: echo}", READY),
                    &[
                        "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1 ready+serving \
                       app=echo weight 0",
                    ],
                ),
            ],
        ),
        case(
            "what a service asks of its own cluster",
            vec![
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: demo, labels: \
                         {service.kubernetes.io/service-proxy-name: other}}\nspec: {type: LoadBalancer, clusterIP: \
                         10.101.0.9, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30081}], \
                         externalIPs: [192.0.2.7, 192.0.2.7], internalTrafficPolicy: Local, externalTrafficPolicy: \
                         Local, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}}\n\
                         status: {loadBalancer: {ingress: [{ip: 192.0.2.8}, {ip: 192.0.2.9, ipMode: Proxy}, \
                         {hostname: lb}]}}",
                    ),
                    &[
                        "service demo/s 10.101.0.9 a:80/TCP,b:81/TCP internal-local external-local other-proxy affinity=60 \
                       node-port=30080>80/TCP node-port=30081>81/TCP external=192.0.2.7 balancer=192.0.2.8",
                    ],
                ),
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: demo}\nspec: {clusterIP: \
                         10.101.0.9, ports: [{port: 80}], sessionAffinity: ClientIP}\nstatus: \
                         {loadBalancer: {ingress: [{ip: 192.0.2.8}]}}",
                    ),
                    &["service demo/s 10.101.0.9 :80/TCP affinity=10800"],
                ),
            ],
        ),
        case(
            "who may dial a service from outside, and what load balancers ask",
            vec![
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: demo}\nspec: {type: LoadBalancer, \
                         clusterIP: 10.101.0.9, ports: [{port: 80, nodePort: 30080}], externalTrafficPolicy: Local, \
                         healthCheckNodePort: 30100, loadBalancerSourceRanges: [\" 192.0.2.7/24\", \
                         \"::ffff:10.0.0.0/104\", \"2001:db8::/32\"]}",
                    ),
                    &["service demo/s 10.101.0.9 :80/TCP external-local node-port=30080>80/TCP \
                       from=10.0.0.0/8,192.0.2.0/24,2001:db8::/32 health=30100"],
                ),
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: demo}\nspec: {type: LoadBalancer, \
                         clusterIP: 10.101.0.9, ports: [{port: 80, nodePort: 30080}], healthCheckNodePort: 30100}",
                    ),
                    &["service demo/s 10.101.0.9 :80/TCP node-port=30080>80/TCP"],
                ),
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: demo}\nspec: {type: NodePort, \
                         clusterIP: 10.101.0.9, ports: [{port: 80, nodePort: 30080}], externalTrafficPolicy: Local, \
                         healthCheckNodePort: 30100, loadBalancerSourceRanges: [192.0.2.0/24]}",
                    ),
                    &["service demo/s 10.101.0.9 :80/TCP external-local node-port=30080>80/TCP"],
                ),
            ],
        ),
        case(
            "labels decide: in, changed, out; other namespaces never",
            vec![
                (apply(SERVICE), &[SAID]),
                (pod("a", "labels: {app: other}", READY), &[]),
                (pod("a", APP, READY), &[A_READY]),
                (
                    pod("a", "labels: {app: echo}", READY),
                    &[
                        "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:8080/TCP,dns:5353/UDP on aws/aws-1 ready+serving \
                       app=echo",
                    ],
                ),
                (pod("a", "labels: {app: other}", READY), &[A_GONE]),
                (
                    apply(&format!(
                        "apiVersion: v1\nkind: Pod\nmetadata: {{name: b, namespace: prod, {APP}}}\nspec: {{containers: \
                         [{{name: c}}]}}\nstatus: {{{READY}}}\n"
                    )),
                    &[],
                ),
            ],
        ),
        case(
            "a selector changes",
            vec![
                (pod("a", APP, READY), &[]),
                (apply(SERVICE), &[SAID, A_READY]),
                (apply(&SERVICE.replace("{app: echo}", "{app: echo, v: y}")), &[A_GONE]),
                (apply(&SERVICE.replace("{app: echo}", "{v: x}")), &[A_READY]),
            ],
        ),
        case(
            "ports change; a name that the pod does not have is left out",
            vec![
                (pod("a", APP, READY), &[]),
                (apply(SERVICE), &[SAID, A_READY]),
                (
                    apply(&SERVICE.replace("targetPort: web", "targetPort: nope")),
                    &[
                        "endpoint demo/echo/a 10.1.0.5,fd00:1::5 dns:5353/UDP on aws/aws-1 ready+serving app=echo,v=x",
                    ],
                ),
                (
                    apply(&SERVICE.replace("port: 80, targetPort: web", "port: 81")),
                    &[
                        "service demo/echo 10.101.0.9,fd00:101::9 http:81/TCP,dns:53/UDP global",
                        "endpoint demo/echo/a 10.1.0.5,fd00:1::5 http:81/TCP,dns:5353/UDP on aws/aws-1 ready+serving \
                         app=echo,v=x",
                    ],
                ),
            ],
        ),
        case(
            "one family of two; not global",
            vec![
                (pod("a", APP, READY), &[]),
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: demo, annotations: \
                         {service.cilium.io/global: \"false\"}}\nspec: {clusterIP: 10.101.0.9, ipFamilies: [IPv4], \
                         ipFamilyPolicy: SingleStack, selector: {app: echo}, ports: [{port: 80}]}",
                    ),
                    &[
                        "service demo/echo 10.101.0.9 :80/TCP",
                        "endpoint demo/echo/a 10.1.0.5 :80/TCP on aws/aws-1 ready+serving app=echo,v=x",
                    ],
                ),
            ],
        ),
        case(
            "not ready, but published",
            vec![
                (pod("a", APP, UNREADY), &[]),
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: demo, annotations: \
                         {io.cilium/global-service: \"true\"}}\nspec: {clusterIP: None, publishNotReadyAddresses: true, \
                         selector: {app: echo}, ports: [{port: 80}]}",
                    ),
                    &[
                        "service demo/echo  :80/TCP global",
                        "endpoint demo/echo/a 10.1.0.5,fd00:1::5 :80/TCP on aws/aws-1 ready app=echo,v=x",
                    ],
                ),
            ],
        ),
        case(
            "without a selector: slices, one family each, conditions as Kubernetes reads their absence",
            vec![
                (
                    apply(
                        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-4, namespace: demo, \
                         labels: {kubernetes.io/service-name: db}}\naddressType: IPv4\nports: [{name: \"\", port: \
                         5432}]\nendpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2], conditions: {ready: \
                         false}}, {addresses: [10.1.0.5], nodeName: aws-1, targetRef: {kind: Pod, name: a}}]",
                    ),
                    &[],
                ),
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: demo}\nspec: {clusterIPs: \
                         [10.101.0.8, \"fd00:101::8\"], ports: [{port: 5432}]}",
                    ),
                    &[
                        "service demo/db 10.101.0.8,fd00:101::8 :5432/TCP",
                        "endpoint demo/db/192.0.2.1 192.0.2.1 :5432/TCP on nothing ready+serving ",
                        "endpoint demo/db/192.0.2.2 192.0.2.2 :5432/TCP on nothing  ",
                        "endpoint demo/db/a 10.1.0.5 :5432/TCP on aws/aws-1 ready+serving ",
                    ],
                ),
                (
                    apply(
                        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-6, namespace: demo, \
                         labels: {kubernetes.io/service-name: db}}\naddressType: IPv6\nports: [{name: \"\", port: \
                         5432}]\nendpoints: [{addresses: [\"fd00:1::5\"], nodeName: aws-1, targetRef: {kind: Pod, name: \
                         a}}]",
                    ),
                    &["endpoint demo/db/a 10.1.0.5,fd00:1::5 :5432/TCP on aws/aws-1 ready+serving "],
                ),
                (
                    pod("a", APP, READY),
                    &[
                        "endpoint demo/db/a 10.1.0.5,fd00:1::5 :5432/TCP on aws/aws-1 ready+serving app=echo,v=x",
                    ],
                ),
                (
                    delete("endpointslice demo/db-4"),
                    &[
                        "- endpoint aws/demo/db/192.0.2.1",
                        "- endpoint aws/demo/db/192.0.2.2",
                        "endpoint demo/db/a fd00:1::5 :5432/TCP on aws/aws-1 ready+serving app=echo,v=x",
                    ],
                ),
            ],
        ),
        case(
            "a name for something else is no service of ours",
            vec![
                (apply(SERVICE), &[SAID]),
                (
                    apply(
                        "apiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: demo}\nspec: {type: \
                         ExternalName, externalName: example.com}",
                    ),
                    &["- service aws/demo/echo"],
                ),
            ],
        ),
    ]
}
