//! Every type of Service, dialled by a pod, by a node and by a host outside, over IPv4 and IPv6: who answers, and whose address
//! the backend sees. What kube-proxy does is the measure (its test `TestInternalExternalMasquerade`), but for one thing: pods'
//! and nodes' sockets are led to backends themselves, so a backend sees a pod where kube-proxy has to show it the node.
//!
//! One lab of two clusters with the same objects: one answers clients outside by way of the node where they came in
//! (`snat`), one directly (`dsr`).

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use common::{Folder, good, items, lab, status};
use serde_json::Value;

const LAB: &str = r#"
apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: snat
  id: 1
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes:
  - {name: snat-1, region: s, zone: s-a}
  - {name: snat-2, region: s, zone: s-b}
  hosts: [{name: out, location: s}]
  manifests: [services.yaml, snat.yaml]
- name: dsr
  id: 2
  podCIDRs: ["10.2.0.0/16", "fd00:2::/48"]
  serviceCIDRs: ["10.102.0.0/16", "fd00:102::/112"]
  nodes:
  - {name: dsr-1, region: d, zone: d-a}
  - {name: dsr-2, region: d, zone: d-b}
  hosts: [{name: out, location: d}]
  services: {loadBalancerMode: dsr}
  manifests: [services.yaml, dsr.yaml]
"#;

/// Services of one port, with all of the cluster's backends alike, so that it shows who is left out.
struct Kind {
    name: &'static str,
    /// Of the spec.
    spec: &'static str,
    /// The addresses of a load balancer.
    ingress: Option<[&'static str; 2]>,
    external: Option<[&'static str; 2]>,
    node_port: Option<u16>,
    internal_local: bool,
    external_local: bool,
    /// Of those who dial the load balancer from outside, nobody may.
    closed: bool,
}

const KIND: Kind = Kind {
    name: "",
    spec: "",
    ingress: None,
    external: None,
    node_port: None,
    internal_local: false,
    external_local: false,
    closed: false,
};

const KINDS: [Kind; 9] = [
    Kind { name: "cluster-ip", ..KIND },
    Kind { name: "cluster-ip-local", spec: "internalTrafficPolicy: Local", internal_local: true, ..KIND },
    Kind {
        name: "external",
        spec: "externalIPs: [203.0.113.20, '2001:db8:ff::20']",
        external: Some(["203.0.113.20", "2001:db8:ff::20"]),
        ..KIND
    },
    Kind { name: "node-port", spec: "type: NodePort", node_port: Some(30080), ..KIND },
    Kind {
        name: "node-port-inside-local",
        spec: "type: NodePort, internalTrafficPolicy: Local",
        node_port: Some(30081),
        internal_local: true,
        ..KIND
    },
    Kind {
        name: "node-port-local",
        spec: "type: NodePort, externalTrafficPolicy: Local",
        node_port: Some(30082),
        external_local: true,
        ..KIND
    },
    Kind {
        name: "balanced",
        spec: "type: LoadBalancer, loadBalancerSourceRanges: [172.16.0.0/12, 198.18.0.0/15, 'fd10::/16', '2001:db8::/32']",
        ingress: Some(["203.0.113.10", "2001:db8:ff::10"]),
        node_port: Some(30083),
        ..KIND
    },
    Kind {
        name: "balanced-local",
        spec: "type: LoadBalancer, externalTrafficPolicy: Local",
        ingress: Some(["203.0.113.11", "2001:db8:ff::11"]),
        node_port: Some(30084),
        external_local: true,
        ..KIND
    },
    Kind {
        name: "balanced-for-others",
        spec: "type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24, '2001:db8:bad::/48']",
        ingress: Some(["203.0.113.12", "2001:db8:ff::12"]),
        node_port: Some(30085),
        closed: true,
        ..KIND
    },
];

impl Kind {
    fn manifest(&self) -> String {
        let port = self.node_port.map(|port| format!(", nodePort: {port}")).unwrap_or_default();
        let comma = if self.spec.is_empty() { "" } else { ", " };
        let status = self.ingress.map(|ips| {
            let ips = ips.map(|ip| format!("{{ip: '{ip}', ipMode: VIP}}")).join(", ");
            format!("status: {{loadBalancer: {{ingress: [{ips}]}}}}\n")
        });
        let of = |name: &str, protocol: &str| {
            format!("{{name: {name}, protocol: {protocol}, port: 80, targetPort: 8080{port}}}")
        };
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {}, namespace: demo, annotations: {{causeway.io/traffic: even}}}}\n\
             spec: {{{}{comma}selector: {{app: echo}}, ports: [{}, {}]}}\n{}",
            self.name,
            self.spec,
            of("tcp", "TCP"),
            of("udp", "UDP"),
            status.unwrap_or_default()
        )
    }
}

/// What else there is: a service without an address, one that remembers, one with nobody on the first node, the same with
/// nobody at all.
const MORE: &str = r#"
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: demo}
spec: {clusterIP: None, selector: {app: echo}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: affine, namespace: demo, annotations: {causeway.io/traffic: even}}
spec: {type: NodePort, sessionAffinity: ClientIP, selector: {app: echo}, ports: [{port: 80, targetPort: 8080, nodePort: 30090}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: demo}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {only: second}, ports: [{port: 80, targetPort: 8080, nodePort: 30091}]}
---
apiVersion: v1
kind: Service
metadata: {name: nowhere, namespace: demo}
spec: {type: NodePort, selector: {app: nobody}, ports: [{port: 80, targetPort: 8080, nodePort: 30092}]}
"#;

fn pods(cluster: &str) -> String {
    let mut text = String::new();
    for n in [1, 2] {
        let only = if n == 2 { ", only: second" } else { "" };
        write!(
            text,
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{name: echo-{n}, namespace: demo, labels: {{app: echo{only}}}}}
spec:
  nodeName: {cluster}-{n}
  terminationGracePeriodSeconds: 1
  containers: [{{name: echo, command: [causeway, echo, --listen, ":8080"]}}]
"#
        )
        .expect("a string takes all");
    }
    text + &format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: client, namespace: demo}}\n\
         spec: {{nodeName: {cluster}-1, containers: [{{name: client, command: [sleep, infinity]}}]}}\n"
    )
}

/// Who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Pod,
    Node,
    Outside,
}

/// What is dialled of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    ClusterIp,
    NodePort,
    Balancer,
    External,
}

/// Whose address the backend is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    Client,
    Node,
}

/// A cluster's own names and addresses.
struct Place {
    cluster: &'static str,
    direct: bool,
    status: Value,
    /// All addresses of its nodes, of the host and of the pod that asks.
    nodes: [BTreeSet<String>; 2],
    host: BTreeSet<String>,
    pod: BTreeSet<String>,
}

/// Somewhere to dial, and what is expected of it.
struct Case {
    label: String,
    address: String,
    port: u16,
    /// Where the address leads: the number of a node.
    at: usize,
    /// Of the pods that answer, their numbers; nobody: packets are dropped.
    answer: &'static [u8],
    sees: Sees,
    udp: bool,
}

/// New connections for each address: that one of two backends is never drawn happens once in a million.
const TRIES: usize = 20;

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values.filter_map(|text| text.as_str().map(String::from)).collect()
}

/// All addresses of a machine.
fn addresses(machine: &str) -> BTreeSet<String> {
    let shown: Value =
        serde_json::from_str(&good(&["exec", machine, "--", "ip", "-j", "addr"])).expect("JSON");
    let links = shown.as_array().into_iter().flatten();
    let infos = links.flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
    infos.filter_map(|info| info["local"].as_str().map(String::from)).collect()
}

impl Place {
    fn new(cluster: &'static str) -> Self {
        let status = status();
        let pod = items(&status, "pods").iter().find(|p| p["cluster"] == cluster && p["name"] == "client");
        Self {
            cluster,
            direct: cluster == "dsr",
            pod: strings(&pod.expect("the client is there")["ips"]).into_iter().collect(),
            nodes: [1, 2].map(|n| addresses(&format!("{cluster}/{cluster}-{n}"))),
            host: addresses(&format!("{cluster}/out")),
            status,
        }
    }

    fn vips(&self, service: &str) -> Vec<String> {
        let found = items(&self.status, "services")
            .iter()
            .find(|s| s["cluster"] == self.cluster && s["name"] == service);
        strings(&found.unwrap_or_else(|| panic!("{service} is in the status"))["vips"])
    }

    /// A node's addresses that clients use: private and public, of both families.
    fn at_node(&self, n: usize) -> Vec<String> {
        let name = format!("{}-{n}", self.cluster);
        let node = items(&self.status, "nodes").iter().find(|node| node["name"] == name.as_str());
        let node = node.expect("the node is in the status");
        [strings(&node["privateIPs"]), strings(&node["publicIPs"])].concat()
    }

    /// Kubernetes' rules: which pods answer, and whom they see.
    fn expected(&self, who: Who, what: What, kind: &Kind) -> (&'static [u8], Sees) {
        const BOTH: &[u8] = &[1, 2];
        const OWN: &[u8] = &[1];
        let masqueraded = if self.direct { Sees::Client } else { Sees::Node };
        match (who, what) {
            (Who::Pod | Who::Node, What::ClusterIp) if kind.internal_local => (OWN, Sees::Client),
            // Short-circuited: a policy for clients outside is none of theirs.
            (Who::Pod | Who::Node, _) => (BOTH, Sees::Client),
            (Who::Outside, What::Balancer) if kind.closed => (&[], Sees::Node),
            (Who::Outside, What::ClusterIp) if kind.internal_local => (OWN, masqueraded),
            (Who::Outside, What::ClusterIp) => (BOTH, masqueraded),
            (Who::Outside, _) if kind.external_local => (OWN, Sees::Client),
            (Who::Outside, _) => (BOTH, masqueraded),
        }
    }

    fn cases(&self, who: Who) -> Vec<Case> {
        let mut cases = Vec::new();
        for kind in &KINDS {
            let balancer = kind.ingress.iter().flatten().map(|ip| (What::Balancer, (*ip).to_string(), 80));
            let external = kind.external.iter().flatten().map(|ip| (What::External, (*ip).to_string(), 80));
            let ports = kind.node_port.into_iter();
            let ports =
                ports.flat_map(|port| self.at_node(1).into_iter().map(move |ip| (What::NodePort, ip, port)));
            let vips = self.vips(kind.name).into_iter().map(|ip| (What::ClusterIp, ip, 80));
            for (what, address, port) in vips.chain(balancer).chain(external).chain(ports) {
                let (answer, sees) = self.expected(who, what, kind);
                let label = format!("{}: {who:?} to {what:?} of {}, {address}", self.cluster, kind.name);
                for udp in [false, true] {
                    let (label, address) = (label.clone(), address.clone());
                    cases.push(Case { label, address, port, at: 1, answer, sees, udp });
                }
            }
        }
        // Those of another node are dialled like one's own.
        let (answer, sees) = self.expected(who, What::NodePort, &KINDS[3]);
        for address in self.at_node(2) {
            let label = format!("{}: {who:?} to the other node's port, {address}", self.cluster);
            cases.push(Case { label, address, port: 30080, at: 2, answer, sees, udp: false });
        }
        let dropped: &[u8] = if who == Who::Outside { &[] } else { &[2] };
        for address in self.at_node(1) {
            let label = format!("{}: {who:?} to a port with nobody on the node, {address}", self.cluster);
            cases.push(Case { label, address, port: 30091, at: 1, answer: dropped, sees, udp: false });
        }
        cases
    }

    fn target(&self, who: Who) -> String {
        match who {
            Who::Pod => format!("{}/demo/client", self.cluster),
            Who::Node => format!("{0}/{0}-1", self.cluster),
            Who::Outside => format!("{}/out", self.cluster),
        }
    }

    /// Dials everything from one place; says what is not as expected.
    fn walk(&self, who: Who) -> Vec<String> {
        let cases = self.cases(who);
        let mut script = String::new();
        for case in &cases {
            writeln!(script, "echo '=='; {}", case.command()).expect("a string takes all");
        }
        let said = lab(&["exec", &self.target(who), "--", "bash", "-c", &script]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let answers: Vec<&str> = said.split("==\n").skip(1).collect();
        assert_eq!(answers.len(), cases.len(), "{said}");
        let own = match who {
            Who::Pod => &self.pod,
            Who::Node => &self.nodes[0],
            Who::Outside => &self.host,
        };
        let check = |(case, said): (&Case, &&str)| {
            let seen = if case.sees == Sees::Client { own } else { &self.nodes[case.at - 1] };
            case.check(said, seen)
        };
        cases.iter().zip(&answers).filter_map(check).collect()
    }
}

/// As it stands before a port.
fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.into() }
}

impl Case {
    fn command(&self) -> String {
        let Self { address, port, .. } = self;
        match (self.answer.is_empty(), self.udp) {
            (false, false) => {
                let urls = vec![format!("http://{}:{port}/", host(address)); TRIES].join(" ");
                format!("curl -g -s -m 3 -H 'Connection: close' {urls}; echo \"exit $?\"")
            }
            (true, false) => {
                format!("curl -g -s -m 0.5 http://{}:{port}/; echo \"exit $?\"", host(address))
            }
            (nobody, true) => {
                let patience = if nobody { "0.5" } else { "3" };
                format!(
                    "exec 3<>/dev/udp/{address}/{port}; echo hello >&3; timeout {patience} head -n 1 <&3; echo \"exit $?\""
                )
            }
        }
    }

    /// What is wrong with what was said.
    fn check(&self, said: &str, seen: &BTreeSet<String>) -> Option<String> {
        let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |what: &str| -> BTreeSet<String> {
            lines.iter().filter_map(|line| line[what].as_str().map(String::from)).collect()
        };
        let (pods, clients) = (of("pod"), of("client"));
        let wanted: BTreeSet<String> = self.answer.iter().map(|n| format!("echo-{n}")).collect();
        let exit = said.lines().last().unwrap_or_default();
        let right = match (self.answer.is_empty(), self.udp) {
            // 28: nothing came back in time; 124: `timeout` says so.
            (true, false) => lines.is_empty() && exit == "exit 28",
            (true, true) => lines.is_empty() && exit == "exit 124",
            (false, false) => lines.len() == TRIES && pods == wanted && clients.is_subset(seen),
            (false, true) => lines.len() == 1 && pods.is_subset(&wanted) && clients.is_subset(seen),
        };
        let protocol = if self.udp { "UDP" } else { "TCP" };
        (!right).then(|| {
            format!(
                "{} port {} {protocol}: {} answers of {pods:?} (wanted: {wanted:?}) who see {clients:?} (wanted: {:?}, any of \
                 {seen:?}); {exit}",
                self.label,
                self.port,
                lines.len(),
                self.sees
            )
        })
    }
}

#[test]
fn who_answers_and_whom_they_see() {
    let folder = Folder::new("service-types");
    let file = folder.write("lab.yaml", LAB);
    let services: String = KINDS.iter().map(Kind::manifest).collect();
    folder.write("services.yaml", &[&services, MORE].concat());
    for cluster in ["snat", "dsr"] {
        folder.write(&format!("{cluster}.yaml"), &pods(cluster));
    }
    good(&["up", "--file", &file]);
    let mut wrong = Vec::new();
    for place in ["snat", "dsr"].map(Place::new) {
        place.lead_to_the_first_node();
        for who in [Who::Pod, Who::Node, Who::Outside] {
            wrong.extend(place.walk(who));
            wrong.extend(place.stays(who));
            wrong.extend(place.refused(who));
        }
        wrong.extend(place.headless());
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

impl Place {
    /// What a router or a load balancer's announcements would do: addresses of services lead to the first node.
    fn lead_to_the_first_node(&self) {
        let vips = KINDS.iter().flat_map(|kind| {
            let given = kind.ingress.iter().chain(&kind.external).flatten().map(|ip| (*ip).to_string());
            self.vips(kind.name).into_iter().chain(given)
        });
        let private = self.at_node(1);
        let gateway = |v6: bool| private.iter().find(|ip| ip.contains(':') == v6).expect("both families");
        let routes = vips.map(|ip| format!("ip route replace {ip} via {}", gateway(ip.contains(':'))));
        good(&[
            "exec",
            &self.target(Who::Outside),
            "--",
            "sh",
            "-ec",
            &routes.collect::<Vec<_>>().join("\n"),
        ]);
    }

    /// With session affinity a client stays with the backend it got first, whichever it is.
    fn stays(&self, who: Who) -> Vec<String> {
        let addresses = match who {
            Who::Outside => self.at_node(1),
            _ => [self.vips("affine"), self.at_node(1)].concat(),
        };
        let stays = |address: &String| {
            let port = if self.at_node(1).contains(address) { 30090 } else { 80 };
            let urls: Vec<String> = vec![format!("http://{}:{port}/", host(address)); TRIES];
            let mut words = vec!["exec".to_string(), self.target(who), "--".into()];
            words.extend(["curl", "-g", "-s", "-m", "3", "-H", "Connection: close"].map(String::from));
            words.extend(urls);
            let said = lab(&words.iter().map(String::as_str).collect::<Vec<_>>()).stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            let pods: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let different: BTreeSet<String> = pods.iter().map(|line| line["pod"].to_string()).collect();
            (pods.len() != TRIES || different.len() != 1).then(|| {
                format!(
                    "{}: {who:?} with affinity to {address}:{port}: {} of {different:?}",
                    self.cluster,
                    pods.len()
                )
            })
        };
        addresses.iter().filter_map(stays).collect()
    }

    /// Where nobody answers at all, that is said at once.
    fn refused(&self, who: Who) -> Vec<String> {
        let addresses = self.at_node(1);
        let command = |address: &String| format!("curl -g -s -m 2 http://{}:30092/; echo $?", host(address));
        let script: Vec<String> = addresses.iter().map(command).collect();
        let said = good(&["exec", &self.target(who), "--", "sh", "-c", &script.join("\n")]);
        let right = said.lines().all(|line| line == "7");
        (!right)
            .then(|| format!("{}: {who:?} is to be refused at {addresses:?}: {said}", self.cluster))
            .into_iter()
            .collect()
    }

    /// Pods ask for the name and dial the pods themselves.
    fn headless(&self) -> Vec<String> {
        let name = "http://headless.demo.svc.cluster.local:8080/";
        let ask = |family: &str| {
            let said = lab(&["exec", &self.target(Who::Pod), "--", "curl", "-s", "-m", "3", family, name]);
            let answer: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
            let right = answer["client"].as_str().is_some_and(|client| self.pod.contains(client));
            (!right).then(|| format!("{}: {name} {family}: {answer}", self.cluster))
        };
        ["-4", "-6"].into_iter().filter_map(ask).collect()
    }
}
