//! What a cluster holds, and how it changes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{
    Change, Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, EndpointPort, Node, NodeName, Object,
    ObjectName, Port, Protocol, PublicKey, Service, ServiceKey, ServicePort, Topology,
};

use crate::Random;

/// The size of each cluster. Every endpoint answers for one service on two ports and in both families, as in the
/// clusters that Cilium's own scale tests are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Nodes, at most 250.
    pub nodes: usize,
    /// Endpoints.
    pub endpoints: usize,
    /// Global services; the endpoints are spread over them.
    pub services: usize,
}

/// Clusters there can be: each has an octet of 10.0.0.0/8.
pub(crate) const MOST_CLUSTERS: usize = 250;

const NAMESPACES: usize = 10;
/// Addresses of a node that pods are given.
const PODS_OF_A_NODE: u8 = 250;

/// The name of cluster `c`.
pub fn name(c: usize) -> ClusterName {
    ClusterName::new(format!("cluster-{c:03}")).expect("a label")
}

/// The name of service `s`, the same in every cluster.
pub fn service_name(s: usize) -> ObjectName {
    ObjectName::new(format!("team-{}", s % NAMESPACES), format!("checkout-backend-{s}")).expect("labels")
}

/// Cluster `c`, whose pods are in `10.(c+1).0.0/16` and `fd00:(c+1)::/32`.
pub fn cluster(c: usize) -> Cluster {
    let n = c + 1;
    Cluster {
        name: name(c),
        id: ClusterId::new(n as u64).expect("at most 250"),
        pod_cidrs: [format!("10.{n}.0.0/16"), format!("fd00:{n:x}::/32")]
            .map(|range| range.parse().expect("a range"))
            .into(),
        service_cidrs: ["10.96.0.0/16", "fd96::/112"].map(|range| range.parse().expect("a range")).into(),
        clusterset_cidrs: Vec::new(),
        peer_cidrs: Vec::new(),
    }
}

fn node_name(c: usize, n: usize) -> NodeName {
    NodeName::new(name(c), format!("ip-10-{}-{n}-1.compute.internal", c + 1)).expect("a subdomain")
}

fn node(c: usize, n: usize, random: &mut Random) -> Node {
    let mut key = [0; 32];
    key.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.number().to_le_bytes()));
    let octet = c + 1;
    Node {
        name: node_name(c, n),
        topology: Topology {
            provider: String::new(),
            region: format!("region-{}", c % 20),
            zone: format!("region-{}-{}", c % 20, ["a", "b", "c"][n % 3]),
        },
        location: format!("region-{}", c % 20),
        private_ips: vec![Ipv4Addr::new(172, 16, octet as u8, n as u8).into()],
        public_ips: vec![Ipv4Addr::new(198, 18, octet as u8, n as u8).into()],
        pod_cidrs: [format!("10.{octet}.{n}.0/24"), format!("fd00:{octet:x}:{n:x}::/64")]
            .map(|range| range.parse().expect("a range"))
            .into(),
        public_key: Some(PublicKey(key)),
        port: 51820,
        labels: Default::default(),
        mesh: Default::default(),
    }
}

fn port(number: u16) -> Port {
    Port::new(number).expect("not 0")
}

fn service(c: usize, s: usize) -> Service {
    let of = |name: &str, number| ServicePort::new(name, Protocol::Tcp, port(number));
    let [high, low] = ((s + 1) as u16).to_be_bytes();
    Service {
        global: true,
        shared: true,
        ..Service::new(
            ServiceKey { cluster: name(c), name: service_name(s) },
            vec![
                Ipv4Addr::new(10, 96, high, low).into(),
                Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, (s + 1) as u16).into(),
            ],
            vec![of("http", 80), of("metrics", 9090)],
        )
    }
}

/// A cluster's living pods.
#[derive(Debug)]
pub struct Pods {
    cluster: usize,
    shape: Shape,
    endpoints: Vec<Endpoint>,
    /// Which addresses are taken: a node's number and the last octet.
    taken: BTreeSet<(usize, u8)>,
    /// The hash in the names of a service's pods, as a ReplicaSet has it.
    replica_sets: Vec<String>,
}

impl Pods {
    /// The cluster as it begins: everything there is, and who changes it.
    pub fn new(cluster: usize, shape: Shape, random: &mut Random) -> (Self, Vec<Object>) {
        let replica_sets = (0..shape.services).map(|_| random.suffix(10)).collect();
        let mut pods = Self { cluster, shape, endpoints: Vec::new(), taken: BTreeSet::new(), replica_sets };
        let mut objects = vec![Object::Cluster(self::cluster(cluster))];
        objects.extend((0..shape.nodes).map(|n| Object::Node(node(cluster, n, random))));
        objects.extend((0..shape.services).map(|s| Object::Service(service(cluster, s))));
        for e in 0..shape.endpoints {
            let endpoint = pods.pod(e % shape.services.max(1), random);
            pods.endpoints.push(endpoint);
        }
        objects.extend(pods.endpoints.iter().cloned().map(Object::Endpoint));
        (pods, objects)
    }

    fn pod(&mut self, s: usize, random: &mut Random) -> Endpoint {
        let service = service_name(s);
        let (n, host) = loop {
            let address = (random.index(self.shape.nodes), 2 + random.below(u64::from(PODS_OF_A_NODE)) as u8);
            if self.taken.insert(address) {
                break address;
            }
        };
        let set = &self.replica_sets[s];
        // As in Kubernetes another name is drawn where a pod of the service has it.
        let pod_name = loop {
            let drawn = format!("{}-{set}-{}", service.name, random.suffix(5));
            let mut living = self.endpoints.iter().skip(s).step_by(self.shape.services.max(1));
            if living.all(|pod| pod.key.name != drawn) {
                break drawn;
            }
        };
        let octet = self.cluster + 1;
        let v6 = Ipv6Addr::new(
            0xfd00,
            octet as u16,
            n as u16,
            0,
            0,
            0,
            random.number() as u16,
            random.number() as u16,
        );
        let labels = [
            ("app.kubernetes.io/name", service.name.as_str()),
            ("app.kubernetes.io/instance", "production"),
            ("pod-template-hash", set),
        ];
        Endpoint {
            node: Some(node_name(self.cluster, n)),
            labels: labels.map(|(key, value)| (key.to_string(), value.to_string())).into(),
            ..Endpoint::new(
                EndpointKey {
                    service: ServiceKey { cluster: name(self.cluster), name: service.clone() },
                    name: pod_name,
                },
                vec![IpAddr::V4(Ipv4Addr::new(10, octet as u8, n as u8, host)), v6.into()],
                [("http", 8080), ("metrics", 9090)]
                    .map(|(name, number)| EndpointPort::new(name, Protocol::Tcp, port(number)))
                    .into(),
            )
        }
    }

    /// The next change: in turn a pod that goes and one that comes in its place, as when a Deployment is rolled out;
    /// every tenth is a pod that is no longer ready, or is again.
    pub fn change(&mut self, random: &mut Random) -> Vec<Change> {
        let at = random.index(self.endpoints.len());
        if random.below(10) == 0 {
            let endpoint = &mut self.endpoints[at];
            endpoint.ready = !endpoint.ready;
            return vec![Change::Upsert(Object::Endpoint(endpoint.clone()))];
        }
        let service = at % self.shape.services.max(1);
        let fresh = self.pod(service, random);
        let old = std::mem::replace(&mut self.endpoints[at], fresh.clone());
        if let Some(IpAddr::V4(ip)) = old.ips.first() {
            let [_, _, node, host] = ip.octets();
            self.taken.remove(&(usize::from(node), host));
        }
        vec![Change::Upsert(Object::Endpoint(fresh)), Change::Delete(Object::Endpoint(old).key())]
    }
}
