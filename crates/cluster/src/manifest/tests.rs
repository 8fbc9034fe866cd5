//! Manifests as people write them, and the exact words about each mistake.

use super::{Id, Kind, Manifest, parse};
use crate::yaml::Located;

const GOOD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: v1
kind: Service
metadata:
  name: echo
  namespace: demo
  annotations: {service.cilium.io/global: "true"}
spec:
  type: LoadBalancer
  selector: {app: echo}
  sessionAffinity: ClientIP
  ports:
  - {name: http, port: 80, targetPort: web}
  - {name: dns, port: 53, targetPort: 5353, protocol: UDP}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: demo}
spec:
  replicas: 3
  selector:
    matchLabels: {app: echo}
    matchExpressions: [{key: app, operator: In, values: [echo]}]
  template:
    metadata: {labels: {app: echo}}
    spec:
      nodeSelector: {topology.kubernetes.io/zone: eu-west-1a}
      containers:
      - name: echo
        image: ignored
        command: [causeway, echo, --listen, ":8080"]
        resources: {limits: {cpu: 1, memory: 64Mi}}
        volumeMounts: [{name: cfg, mountPath: /cfg}]
        ports: [{name: web, containerPort: 8080}]
        readinessProbe:
          httpGet: {path: /ready, port: web}
          periodSeconds: 1
      volumes: [{name: cfg, configMap: {name: cfg, defaultMode: 0644}}]
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: client, creationTimestamp: "2026-01-02T03:04:05Z"}
  spec:
    nodeName: aws-1
    containers: [{name: c, command: [sleep, "1000"]}]
  status:
    phase: Running
    podIPs: [{ip: 10.1.0.5}, {ip: "fd00:1::5"}]
    conditions: [{type: Ready, status: "True"}]
- apiVersion: v1
  kind: Node
  metadata: {name: aws-1, labels: {topology.kubernetes.io/region: eu-west-1}}
  spec: {podCIDRs: [10.1.0.0/24, "fd00:1::/64"]}
  status: {addresses: [{type: InternalIP, address: 172.16.1.1}, {type: Hostname, address: aws-1}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: db-1, namespace: demo, labels: {kubernetes.io/service-name: db}}
  addressType: IPv4
  ports: [{name: "", port: 5432}]
  endpoints: [{addresses: [192.0.2.7], conditions: {ready: true}}]
"#;

#[test]
fn good() {
    let manifests = parse("good.yaml", GOOD).unwrap();
    let ids: Vec<String> = manifests.iter().map(|manifest| manifest.value.id().to_string()).collect();
    assert_eq!(
        ids,
        [
            "namespace demo",
            "service demo/echo",
            "deployment demo/echo",
            "pod default/client",
            "node aws-1",
            "endpointslice demo/db-1"
        ]
    );
    let lines: Vec<usize> = manifests.iter().map(Located::line).collect();
    assert_eq!(lines, [2, 6, 20, 47, 57, 62]);
    let Manifest::Pod(pod) = &manifests[3].value else { panic!("the fourth is a pod") };
    assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("aws-1"));
    assert_eq!(manifests[3].value.id(), Id::new(Kind::Pod, "", "client"));
}

/// A service called `a`, with more lines.
fn service(lines: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\n{lines}")
}

fn pod(container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - name: c\n    {container}"
    )
}

fn deployment(spec: &str) -> String {
    format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec:\n{spec}")
}

#[test]
fn bad() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n}\n";
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\n";
    for (text, expected) in [
        (
            "hello".to_string(),
            "f:1:1: expected a Kubernetes object, found the text \"hello\"; write its `apiVersion: …`, `kind: …`, `metadata: …` and `spec: …` lines",
        ),
        ("kind: Pod".into(), "f:1:1: `apiVersion` is missing; write `apiVersion: …` here"),
        ("apiVersion: v1\nkind: Pdo".into(), "f:2:7: kind: unknown value `Pdo`; did you mean `Pod`?"),
        (
            "apiVersion: v1\nkind: ConfigMap".into(),
            "f:2:7: kind: unknown value `ConfigMap`; write one of `Namespace`, `Node`, `Peer`, `Service`, `Deployment`, \
             `Pod`, `EndpointSlice`, `NetworkPolicy`, `ClusterNetworkPolicy`, `CiliumNetworkPolicy`, \
             `CiliumClusterwideNetworkPolicy`, `ServiceExport`, `ServiceImport`",
        ),
        (
            "apiVersion: extensions/v1beta1\nkind: Deployment".into(),
            "f:1:13: apiVersion: Deployment is not read in version `extensions/v1beta1`; write `apps/v1`",
        ),
        (
            deployment("  replica: 3"),
            "f:5:3: spec.replica: unknown field `replica`; did you mean `replicas`?",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: A}".into(),
            "f:3:18: metadata.name: \"A\" is not allowed here; write 1 to 63 of a-z, 0-9 and '-', beginning with a \
             letter and ending with a letter or digit",
        ),
        (
            "apiVersion: v1\nkind: Pod\nspec: {}".into(),
            "f:1:1: metadata.name: `name` is missing; write `name: …` here",
        ),
        (
            "apiVersion: v1\nkind: Node\nmetadata: {name: a, namespace: b}".into(),
            "f:3:32: metadata.namespace: this kind of object is in no namespace; write no namespace",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a b}}".into(),
            "f:3:35: metadata.labels.app: \"a b\" is not allowed here; write nothing, or 1 to 63 of A-Z, a-z, 0-9, \
             '-', '_' and '.', letter or digit at both ends",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {causeway.io/global: true}}"
                .into(),
            "f:3:55: metadata.annotations[\"causeway.io/global\"]: expected text, found the boolean true; write it in \
             quotes: \"true\"",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {causeway.io/weight: \"1000\"}}"
                .into(),
            "f:3:55: metadata.annotations[\"causeway.io/weight\"]: \"1000\" is no weight; write a whole number from 0 to \
             100, in quotes",
        ),
        (
            service("spec: {}"),
            "f:4:7: spec.ports: the service has no ports; write at least one port there, or `clusterIP: None`",
        ),
        (
            service("spec:\n  ports:\n  - port: 0"),
            "f:6:11: spec.ports[0].port: 0 is out of range; write a whole number from 1 to 65535",
        ),
        (
            service("spec:\n  ports:\n  - targetPort: 80"),
            "f:6:5: spec.ports[0].port: `port` is missing; write `port: …` here",
        ),
        (
            service("spec:\n  ports:\n  - {port: 80, protocol: tcp}"),
            "f:6:26: spec.ports[0].protocol: unknown value `tcp`; did you mean `TCP`?",
        ),
        (
            service("spec:\n  ports:\n  - {port: 80, targetPort: Web}"),
            "f:6:28: spec.ports[0].targetPort: \"Web\" is not allowed here; write 1 to 15 of a-z, 0-9 and single '-', \
             with a letter, such as http",
        ),
        (
            service("spec:\n  ports:\n  - port: 80\n  - port: 81"),
            "f:6:5: spec.ports[0].name: `name` is missing; write `name: …` here",
        ),
        (
            service("spec:\n  ports:\n  - {port: 80, name: a}\n  - {port: 80, name: b}"),
            "f:7:12: spec.ports[1].port: TCP 80 is already a port of this service; write another port, or another \
             protocol",
        ),
        (
            service("spec: {clusterIP: 127.0.0.1, ports: [{port: 80}]}"),
            "f:4:19: spec.clusterIP: 127.0.0.1 is a loopback, link-local, mapped, multicast or unspecified address; \
             write an address such as 10.1.0.7 or fd00:1::7",
        ),
        (
            service("spec: {clusterIPs: [10.0.0.1, 10.0.0.2], ports: [{port: 80}]}"),
            "f:4:31: spec.clusterIPs[1]: a second address of one family; write at most one IPv4 and one IPv6 address",
        ),
        (
            service("spec: {ipFamilyPolicy: DualStack, ports: [{port: 80}]}"),
            "f:4:24: spec.ipFamilyPolicy: unknown value `DualStack`; write one of `SingleStack`, `PreferDualStack`, \
             `RequireDualStack`",
        ),
        (
            service(
                "spec: {ports: [{port: 80}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 81}]}",
            ),
            "f:8:18: metadata.name: service default/a is already in f:1; write another name, or the object only once",
        ),
        (
            pod("readinessProbe: {httpGet: {port: 80}, exec: {command: [x]}}"),
            "f:7:21: spec.containers[0].readinessProbe: a probe asks in one way, this one in 2; write one of httpGet, \
             tcpSocket, exec and grpc",
        ),
        (
            pod("readinessProbe: {httpGet: {port: web}}"),
            "f:7:38: spec.containers[0].readinessProbe.httpGet.port: no port of the container has the name \"web\"; \
             write a number, or the name of one of its ports",
        ),
        (
            pod("readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 0}"),
            "f:7:60: spec.containers[0].readinessProbe.periodSeconds: 0 is out of range; write a whole number from 1 \
             to 2147483647",
        ),
        (
            pod("command: [sleep, 10]"),
            "f:7:22: spec.containers[0].command[1]: expected text, found the number 10; write it in quotes: \"10\"",
        ),
        (
            pod("ports: [{containerPort: 80, name: a}, {containerPort: 81, name: a}]"),
            "f:7:69: spec.containers[0].ports[1].name: `a` is already the name of another port of this pod; write \
             another name",
        ),
        (
            deployment(
                "  selector: {matchLabels: {app: a}}\n  template:\n    metadata: {labels: {app: b}}\n    spec: {containers: [{name: c}]}",
            ),
            "f:7:24: spec.template.metadata.labels: the template's labels do not have `app: a`, which the selector \
             asks for; write it there too",
        ),
        (
            deployment("  replicas: -1\n  selector: {}\n  template: {spec: {}}"),
            "f:5:13: spec.replicas: -1 is out of range; write a whole number from 0 to 2147483647",
        ),
        (
            format!("{node}spec: {{podCIDRs: [10.1.0.1/24]}}"),
            "f:4:19: spec.podCIDRs[0]: 10.1.0.1/24 has bits set behind its prefix; write 10.1.0.0/24",
        ),
        (
            format!("{node}status: {{addresses: [{{type: InternalIP, address: here}}]}}"),
            "f:4:50: status.addresses[0].address: \"here\" is no IP address; write an address such as 10.1.0.7 or \
             fd00:1::7",
        ),
        (
            format!("{slice}addressType: IPv6\nendpoints: [{{addresses: [192.0.2.1]}}]"),
            "f:5:26: endpoints[0].addresses[0]: 192.0.2.1 is not of the slice's addressType IPv6; write it in a slice \
             of its own family",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {nmae: a}".into(),
            "f:6:14: items[0].metadata.nmae: unknown field `nmae`; did you mean `name`?",
        ),
    ] {
        let error = parse("f", &text).expect_err(&text);
        assert_eq!(error.to_string(), expected, "for\n{text}");
    }
}

#[test]
fn policies_and_exports() {
    let policy = |spec: &str| {
        format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}")
    };
    let cluster_policy = |rest: &str| {
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\nspec: \
             {{tier: Admin, priority: 5, subject: {{namespaces: {{}}}}{rest}}}"
        )
    };
    let import = |spec: &str| {
        format!(
            "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata: {{name: s}}\nspec: {spec}"
        )
    };
    let export =
        "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\nmetadata: {name: s}".to_string();
    for (text, expected) in [
        (policy("{podSelector: {}}"), ""),
        (
            policy(
                "{podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}, policyTypes: [Ingress], \
                 ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {podSelector: {}}], ports: \
                 [{protocol: TCP, port: 80, endPort: 90}, {port: web}]}]}",
            ),
            "",
        ),
        (
            policy(
                "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]}",
            ),
            "spec.ingress[0].from[0].ipBlock.except[0]: 11.0.0.0/9 is not a part of 10.0.0.0/8",
        ),
        (
            policy("{podSelector: {}, egress: [{to: [{}]}]}"),
            "spec.egress[0].to[0]: there is nothing; write exactly one of ipBlock, namespaceSelector/podSelector",
        ),
        (
            policy("{podSelector: {}, ingress: [{ports: [{port: web, endPort: 90}]}]}"),
            "spec.ingress[0].ports[0].endPort: the end of a range without a number",
        ),
        (policy("{podSelector: {}, policyType: Ingress}"), "unknown field `policyType`"),
        (
            policy("{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}"),
            "spec.podSelector.matchExpressions[0].values: `Exists` with 1 values; write no values",
        ),
        (cluster_policy(""), ""),
        (
            cluster_policy(
                ", egress: [{name: x, action: Accept, to: [{networks: [10.0.0.0/8]}, {domainNames: [example.com]}], \
                 protocols: [{tcp: {destinationPort: {range: {start: 1, end: 9}}}}, {udp: {}}]}]",
            ),
            "",
        ),
        (
            cluster_policy(", egress: [{action: Deny, to: [{domainNames: [example.com]}]}]"),
            "spec.egress[0].to[0].domainNames: names cannot be told apart well enough to Deny them",
        ),
        (
            cluster_policy(", ingress: [{action: Refuse, from: [{namespaces: {}}]}]"),
            "spec.ingress[0].action: unknown value `Refuse`",
        ),
        (
            cluster_policy(
                ", ingress: [{action: Deny, from: [{namespaces: {}, pods: {namespaceSelector: {}, podSelector: {}}}]}]",
            ),
            "spec.ingress[0].from[0]: namespaces and pods at once; write exactly one of namespaces, pods",
        ),
        (cluster_policy("").replace("priority: 5", "priority: 1001"), "spec.priority: "),
        (export.clone(), ""),
        (
            export.replace("v1beta1", "v2"),
            "write `multicluster.x-k8s.io/v1beta1` or `multicluster.x-k8s.io/v1alpha1`",
        ),
        (export + "\nspec: {exportedLabels: {a: \"-\"}}", "spec.exportedLabels.a: "),
        (import("{type: ClusterSetIP, ports: [{port: 80}], ips: [10.1.0.1]}"), ""),
        (import("{type: Cluster, ports: []}"), "spec.type: unknown value `Cluster`"),
        (import("{type: Headless, ports: [{port: 0}]}"), "spec.ports[0].port: "),
    ] {
        let said = parse("f", &text).map_or_else(|error| error.to_string(), |_| String::new());
        assert!(
            said.contains(expected) && expected.is_empty() == said.is_empty(),
            "{text}\n{said}\n{expected}"
        );
    }
}
