use engine::services::{LoadBalancerMode, LoadBalancing, NodePortAddresses};

use super::*;

const GOOD: &str = "\
cluster: aws
node: aws-1
controllers: ['198.18.1.250:9640']
tokenFile: /run/causeway/join-token
cgroup: /sys/fs/cgroup/causeway-lab/aws/aws-1
podCIDRs: [10.1.0.0/24, 'fd00:1::/64']
region: eu-west-1
";

/// One file for all nodes of a cluster.
const SHARED: &str = "\
cluster: aws
controllers: ['198.18.1.250:9640', '[2001:db8::1]:9640']
serviceAccount: {token: /run/secrets/causeway/token, roots: /run/secrets/causeway/ca.crt}
hostRoot: /proc/1/root
cni: {binDirs: [/opt/cni/bin], confDir: /etc/cni/net.d}
underlay: ''
dns: {upstreams: [192.0.2.53, '[2001:db8::53]:5353'], clusterDomain: ''}
nonMasqueradeCIDRs: [10.0.0.0/8]
";

fn read(text: &str, node: Option<&str>) -> Result<Config, ConfigError> {
    parse(Path::new("a.yaml"), text, node)
}

#[test]
fn good() {
    let config = read(GOOD, None).unwrap();
    assert_eq!(config.name().to_string(), "aws/aws-1");
    assert_eq!((config.underlay.as_str(), config.wireguard_port), ("", 51820));
    assert!(config.masquerade && config.host().is_here());
    assert_eq!(config.proof(), Proof::JoinToken("/run/causeway/join-token".into()));
    let shared = read(SHARED, Some("ip-10-0-0-1.ec2.internal")).unwrap();
    assert_eq!(shared.name().to_string(), "aws/ip-10-0-0-1.ec2.internal");
    assert!(matches!(shared.proof(), Proof::ServiceAccount { .. }));
    let dns = shared.dns.as_ref().unwrap();
    assert_eq!((dns.port, dns.clusterset_domain.as_str()), (53, "clusterset.local"));
    let upstreams: Vec<String> = dns.upstreams.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(upstreams, ["192.0.2.53:53", "[2001:db8::53]:5353"]);
    assert_eq!(dns.own_addresses().map(|net| net.to_string()).collect::<Vec<_>>(), ["169.254.20.53/32"]);
    assert!(config.dns.is_none(), "nobody asked for it");
    for config in [config, shared] {
        let again = serde_saphyr::to_string(&config).unwrap();
        assert_eq!(read(&again, None).unwrap(), config, "what is written is what is read");
    }
    assert_eq!(read(GOOD, Some("other")).unwrap().node, "other", "what is given beside the file wins");
}

#[test]
fn what_a_node_does_for_services() {
    let services =
        |text: &str| read(&format!("{GOOD}services: {text}\n"), None).map(|config| config.services);
    let unsaid = read(GOOD, None).unwrap().services;
    assert_eq!(unsaid.node_ports(), Some(NodePortAddresses::All));
    assert_eq!(unsaid.grace(), Some(Duration::from_secs(10)));
    let ranges = services("{nodePortAddresses: [192.0.2.7/24, '2001:db8::/32']}").unwrap().node_ports();
    let want = ["192.0.2.0/24", "2001:db8::/32"].map(|range| range.parse().unwrap());
    assert_eq!(ranges, Some(NodePortAddresses::Ranges(want.into())));
    let primary = services("{nodePortAddresses: [primary], goneBackendGracePeriodSeconds: 0}").unwrap();
    assert_eq!(primary.node_ports(), Some(NodePortAddresses::Primary));
    assert_eq!(primary.grace(), Some(Duration::ZERO));
    assert_eq!(services("{resetGoneBackends: false}").unwrap().grace(), None);
    assert!(!unsaid.eject_outliers && services("{ejectOutliers: true}").unwrap().eject_outliers);
    assert_eq!(unsaid.balancing(), LoadBalancing::default());
    let both =
        services("{loadBalancerMode: dsr, loadBalancerAlgorithm: maglev, maglevTableSize: 251}").unwrap();
    let maglev = Some(251.try_into().unwrap());
    assert_eq!(both.balancing(), LoadBalancing { mode: LoadBalancerMode::Dsr, maglev });
    let error = services("{maglevTableSize: 1000}").unwrap_err().to_string();
    assert!(error.contains("a table of 1000 places"), "{error}");
    for wrong in ["[primary, 192.0.2.0/24]", "[192.0.2.1]", "['']"] {
        let error = services(&format!("{{nodePortAddresses: {wrong}}}")).unwrap_err().to_string();
        assert!(error.contains("services.nodePortAddresses") && error.contains("primary alone"), "{error}");
    }
}

#[test]
fn ways_to_other_clusters_and_ports_of_our_own() {
    let config =
        read(&format!("{GOOD}clusters: {{gcp: {{egressCost: 30}}, lab: {{weight: 2}}}}\n"), None).unwrap();
    let ways = config.ways();
    let of = |name: &str| ways[&name.parse::<ClusterName>().unwrap()];
    assert_eq!(of("gcp"), Way { egress_cost: Duration::from_millis(30), weight: 1 });
    assert_eq!(of("lab"), Way { egress_cost: Duration::ZERO, weight: 2 });
    for wrong in [
        "{gcp: {weight: 0}}",
        "{gcp: {weight: 101}}",
        "{gcp: {egressCost: 60001}}",
        "{gcp: {egressCost: -1}}",
        "{gcp: {cost: 1}}",
    ] {
        assert!(read(&format!("{GOOD}clusters: {wrong}\n"), None).is_err(), "{wrong}");
    }
    let ports = |config: &Config| {
        let reserved = config.reserved();
        reserved.iter().map(|r| format!("{}/{}", r.port, r.protocol)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ports(&config), "9641/TCP 51820/UDP 4789/UDP");
    assert_eq!(ports(&read(SHARED, Some("n")).unwrap()), "9641/TCP 51820/UDP 4789/UDP 53/TCP 53/UDP");
}

#[test]
fn the_world_says_what_the_file_does_not() {
    let node = Node {
        name: NodeName::try_from("aws/aws-1".to_string()).unwrap(),
        topology: Topology { region: "r".into(), zone: "z".into(), ..Topology::default() },
        location: "l".into(),
        private_ips: vec![],
        public_ips: vec![],
        pod_cidrs: vec![],
        public_key: None,
        port: 51820,
        labels: Default::default(),
        mesh: Default::default(),
    };
    let of = |config: &Config, node| (config.topology(node), config.location(node));
    let place = |region: &str, zone: &str, location: &str| {
        (Topology { region: region.into(), zone: zone.into(), ..Topology::default() }, location.to_string())
    };
    let config = read(GOOD, None).unwrap();
    assert_eq!(of(&config, None), place("eu-west-1", "", "eu-west-1"));
    assert_eq!(of(&config, Some(&node)), place("eu-west-1", "z", "eu-west-1"));
    let shared = read(SHARED, Some("aws-1")).unwrap();
    assert_eq!(of(&shared, None), place("", "", ""));
    assert_eq!(of(&shared, Some(&node)), place("r", "z", "l"));
}

#[test]
fn bad() {
    let token = "tokenFile: /run/causeway/join-token\n";
    for (text, from, to, said) in [
        (GOOD, "node: aws-1", "nodes: aws-1", "nodes"),
        (GOOD, "node: aws-1", "node: AWS_1", "AWS_1"),
        (GOOD, "node: aws-1\n", "", "CAUSEWAY_NODE"),
        (GOOD, "['198.18.1.250:9640']", "[]", "controllers"),
        (GOOD, "cgroup: /", "cgroup: ", "absolute"),
        (GOOD, "'fd00:1::/64'", "10.2.0.0/24", "podCIDRs"),
        (GOOD, "10.1.0.0/24", "10.1.0.0/33", "podCIDRs"),
        (GOOD, token, "", "tokenFile"),
        (GOOD, token, &format!("{token}serviceAccount: {{token: /a, roots: /b}}\n"), "not both"),
        (GOOD, token, "serviceAccount: {token: a, roots: /b}\n", "serviceAccount"),
        (GOOD, token, "serviceAccount: {token: /a}\n", "roots"),
        (GOOD, token, &format!("{token}hostRoot: /proc/1/root\n"), "give cni"),
        (GOOD, token, &format!("{token}interface: a/b\n"), "interface"),
        (GOOD, token, &format!("{token}wireguardPort: 0\n"), "wireguardPort"),
        (SHARED, "underlay: ''", "underlay: a-name-that-is-too-long", "underlay"),
        (SHARED, "/proc/1/root", "/host", "hostPID"),
        (SHARED, "192.0.2.53,", "resolver,", "upstream"),
        (SHARED, "clusterDomain: ''", "clusterDomain: a..b", "dns"),
        (SHARED, "clusterDomain: ''", "clusterDomain: clusterset.local", "dns"),
        (SHARED, "clusterDomain: ''", "port: 0", "dns"),
        (SHARED, "clusterDomain: ''", "ttl: 0", "ttl"),
        (SHARED, "[/opt/cni/bin]", "[]", "cni.binDirs"),
        (SHARED, "[/opt/cni/bin]", "[bin]", "cni.binDirs"),
        (SHARED, "/etc/cni/net.d", "net.d", "cni.confDir"),
        (SHARED, "10.0.0.0/8", "10.0.0.0", "nonMasqueradeCIDRs"),
    ] {
        assert!(text.contains(from), "{from}");
        let node = (text == SHARED).then_some("aws-1");
        let error = read(&text.replace(from, to), node).unwrap_err().to_string();
        assert!(error.contains("a.yaml") && error.contains(said), "{to}: {error}");
    }
}
