//! Every rule of a lab file, with the place and the advice of each refusal.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::policy::Distributed;

use super::*;

const GOOD: &str = r#"apiVersion: lab.causeway.io/v1alpha1
kind: Lab
clusters:
- name: aws
  id: 1
  podCIDRs: ["10.1.0.0/16", "fd00:1::/48"]
  serviceCIDRs: ["10.101.0.0/16", "fd00:101::/112"]
  nodes:
  - {name: aws-1, region: eu-west-1, zone: eu-west-1a}
  - {name: aws-2, region: eu-west-1, zone: eu-west-1b, labels: {rack: r1}}
  manifests: []
- name: gcp
  id: 2
  podCIDRs: ["10.2.0.0/16"]
  serviceCIDRs: ["10.102.0.0/16"]
  nodes:
  - {name: gcp-1, region: europe-west1, zone: europe-west1-b, location: brussels, podCIDRs: ["10.2.9.0/24"]}
links:
- {between: [aws, gcp], rtt: 14ms, loss: 0.5%, rate: 1Gbit}
"#;

fn read(text: &str) -> Result<Lab, Error> {
    parse(Path::new("lab.yaml"), text, |name| match name {
        "empty.yaml" => Ok((PathBuf::from(name), String::new())),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

#[test]
fn a_good_file() {
    let lab = read(GOOD).unwrap();
    let [aws, gcp] = lab.clusters.as_slice() else { panic!("two clusters: {lab:?}") };
    assert_eq!((aws.cluster.name.as_str(), aws.cluster.id.get()), ("aws", 1));
    assert_eq!(aws.nodes.len(), 2);
    assert_eq!(aws.nodes[1].labels["rack"], "r1");
    assert_eq!(gcp.nodes[0].segment(), "brussels");
    assert_eq!(gcp.nodes[0].pod_cidrs, ["10.2.9.0/24".parse().unwrap()]);
    let shape = lab.links[0].shape;
    assert_eq!(
        shape,
        Shape { rtt: Duration::from_millis(14), loss: 0.005, rate: Some(1_000_000_000), mtu: None }
    );
}

/// `GOOD` with one piece of text replaced is refused, at this line and field, and the message says these words.
#[track_caller]
fn refused(from: &str, to: &str, line: usize, path: &str, words: &[&str]) {
    assert!(GOOD.contains(from), "{from:?} is not in the good file");
    let error = match read(&GOOD.replacen(from, to, 1)) {
        Err(Error::Wrong(error)) => error,
        other => panic!("{to:?}: not refused as wrong: {other:?}"),
    };
    let message = error.to_string();
    assert_eq!((error.line, error.path.as_str()), (line, path), "{to:?}: {message}");
    assert!(message.starts_with(&format!("lab.yaml:{line}:")), "{message}");
    for word in words {
        assert!(message.contains(word), "{to:?}: {word:?} is not in: {message}");
    }
}

#[test]
fn header() {
    refused("v1alpha1", "v2", 1, "apiVersion", &["write `lab.causeway.io/v1alpha1`"]);
    refused("kind: Lab", "kind: Zoo", 2, "kind", &["`Zoo`", "write `Lab`"]);
    refused("links:", "nodes: []\nlinks:", 18, "nodes", &["on no cluster", "clusters"]);
    refused("links:", "linsk:", 18, "linsk", &["unknown field", "`links`"]);
    let empty = read("").unwrap_err().to_string();
    assert!(empty.contains("apiVersion") && empty.contains("missing"), "{empty}");
    let none = "apiVersion: lab.causeway.io/v1alpha1\nkind: Lab\nclusters: []\n";
    assert!(read(none).unwrap_err().to_string().contains("no cluster; write at least one"));
    let twice = format!("{GOOD}---\n{GOOD}");
    assert!(read(&twice).unwrap_err().to_string().contains("one lab to a file"));
}

#[test]
fn machines_that_are_no_nodes() {
    let with = |hosts: &str| GOOD.replacen("  manifests: []", &format!("  hosts: [{hosts}]"), 1);
    let lab = read(&with("{name: office, location: downtown}")).unwrap();
    assert_eq!(lab.clusters[0].hosts[0].name.to_string(), "aws/office");
    assert_eq!(lab.clusters[0].hosts[0].location, "downtown");
    let linked = with("{name: office, location: downtown}").replace("[aws, gcp]", "[aws/downtown, gcp]");
    assert_eq!(read(&linked).unwrap().links[0].between[0].to_string(), "aws/downtown");
    for (host, words) in [
        ("{name: aws-2, location: x}", "node or host `aws-2` is there already, on line 10"),
        ("{name: Office, location: x}", "`Office` is not a host's name"),
        ("{name: office, location: a/b}", "`a/b` is not a location's name"),
        ("{name: office}", "location"),
    ] {
        let error = read(&with(host)).unwrap_err().to_string();
        assert!(error.starts_with("lab.yaml:11:") && error.contains(words), "{error}");
    }
}

#[test]
fn what_agents_do_for_services() {
    let said =
        GOOD.replacen("  manifests: []", "  services: {loadBalancerMode: dsr, maglevTableSize: 251}", 1);
    let lab = read(&format!("{said}services: {{loadBalancerAlgorithm: maglev, maglevTableSize: 509}}\n"));
    let [aws, gcp] = &lab.unwrap().clusters[..] else { panic!("two clusters") };
    let words = |lab: &LabCluster| serde_json::to_value(&lab.services).unwrap();
    assert_eq!(words(aws)["loadBalancerMode"], "dsr");
    assert_eq!(words(gcp)["loadBalancerMode"], "snat");
    assert_eq!([aws, gcp].map(|lab| words(lab)["maglevTableSize"].clone()), [251, 509]);
    assert_eq!([aws, gcp].map(|lab| words(lab)["loadBalancerAlgorithm"].clone()), ["maglev", "maglev"]);
    for (wrong, word) in [
        ("loadBalancerMode: both", "both"),
        ("maglevTableSize: 250", "250"),
        ("nodePortAddresses: []", "nodePortAddresses"),
    ] {
        let error = read(&format!("{GOOD}services: {{{wrong}}}\n")).unwrap_err().to_string();
        assert!(error.starts_with("lab.yaml:20:") && error.contains(word), "{error}");
    }
}

#[test]
fn what_holds_for_policies() {
    let said =
        GOOD.replacen("  manifests: []", "  policy: {established: keep, distributed: accept, host: true}", 1);
    let lab = read(&format!("{said}policy: {{selectors: clusterset, established: cut}}\n"));
    let [aws, gcp] = &lab.unwrap().clusters[..] else { panic!("two clusters") };
    let words = |lab: &LabCluster| serde_json::to_value(&lab.policy.agents).unwrap();
    assert_eq!([aws, gcp].map(|lab| words(lab)["established"].clone()), ["keep", "cut"]);
    assert_eq!([aws, gcp].map(|lab| words(lab)["selectors"].clone()), ["clusterset", "clusterset"]);
    assert_eq!([aws, gcp].map(|lab| words(lab)["host"] == true), [true, false]);
    assert_eq!([aws, gcp].map(|lab| lab.policy.distributed == Distributed::Accept), [true, false]);
    for (wrong, word) in [("selectors: all", "all"), ("mode: strict", "mode")] {
        let error = read(&format!("{GOOD}policy: {{{wrong}}}\n")).unwrap_err().to_string();
        assert!(error.starts_with("lab.yaml:20:") && error.contains(word), "{error}");
    }
}

#[test]
fn what_pods_have_of_the_outside() {
    let said = |text: &str| GOOD.replacen("  manifests: []", &format!("  {text}"), 1);
    let lab =
        read(&said("agent: {masquerade: true}\n  dns: {upstreams: [172.16.1.2, '[fd10::2]:5353']}")).unwrap();
    let [aws, gcp] = &lab.clusters[..] else { panic!("two clusters") };
    assert_eq!([aws, gcp].map(|lab| lab.masquerade), [true, false]);
    let upstreams: Vec<String> = aws.upstreams.iter().map(ToString::to_string).collect();
    assert_eq!((upstreams, gcp.upstreams.len()), (vec!["172.16.1.2:53".into(), "[fd10::2]:5353".into()], 0));
    let error = read(&said("dns: {upstreams: [172.16.1.2, office]}")).unwrap_err().to_string();
    assert!(error.contains("clusters[0].dns.upstreams[1]") && error.contains("`office`"), "{error}");
}

#[test]
fn names_and_numbers() {
    refused("name: aws\n", "name: AWS\n", 4, "clusters[0].name", &["`AWS`", "a-z"]);
    refused("name: gcp\n", "name: aws\n", 12, "clusters[1].name", &["`aws`", "line 4", "another"]);
    refused("id: 2", "id: 1", 13, "clusters[1].id", &["`1`", "line 5", "another id"]);
    refused("id: 2", "id: 512", 13, "clusters[1].id", &["512", "1 to 511"]);
    refused("id: 2", "id: two", 13, "clusters[1].id", &["two"]);
    refused("name: aws-2", "name: aws-1", 10, "clusters[0].nodes[1].name", &["`aws-1`", "line 9"]);
    refused("name: aws-2", "name: aws_2", 10, "clusters[0].nodes[1].name", &["`aws_2`"]);
    refused("region: eu-west-1,", "region: EU West,", 9, "clusters[0].nodes[0].region", &["a-z"]);
    refused("zone: eu-west-1b", "zone: ''", 10, "clusters[0].nodes[1].zone", &["a-z"]);
    refused("location: brussels", "location: a/b", 17, "clusters[1].nodes[0].location", &["`a/b`"]);
    refused(", zone: eu-west-1a", "", 9, "clusters[0].nodes[0]", &["zone", "missing"]);
    refused("{rack: r1}", "{rack: 'a b'}", 10, "clusters[0].nodes[1].labels.rack", &["a b"]);
    let own = "clusters[0].nodes[1].labels[\"topology.kubernetes.io/zone\"]";
    refused("{rack: r1}", "{topology.kubernetes.io/zone: b}", 10, own, &["`zone`"]);
}

#[test]
fn ranges_of_clusters() {
    let pods = |i: usize| format!("clusters[1].podCIDRs[{i}]");
    refused("[\"10.2.0.0/16\"]", "[]", 14, "clusters[1].podCIDRs", &["10.1.0.0/16"]);
    refused("\"10.2.0.0/16\"", "10.2.0.0", 14, &pods(0), &["not an address range"]);
    refused("\"10.2.0.0/16\"", "10.2.0.1/16", 14, &pods(0), &["write `10.2.0.0/16` instead"]);
    refused(
        "\"10.2.0.0/16\"",
        "10.1.128.0/17",
        14,
        &pods(0),
        &["10.1.0.0/16", "pods of cluster aws", "line 6"],
    );
    refused("\"10.2.0.0/16\"", "10.101.0.0/24", 14, &pods(0), &["services of cluster aws", "line 7"]);
    refused("\"10.2.0.0/16\"", "172.16.0.0/12", 14, &pods(0), &["the lab's private segments"]);
    refused("\"10.2.0.0/16\"", "198.18.0.0/15", 14, &pods(0), &["the lab's public addresses"]);
    refused("\"fd00:1::/48\"", "fd10::/64", 6, "clusters[0].podCIDRs[1]", &["the lab's private"]);
    refused("\"10.2.0.0/16\"", "127.0.0.0/8", 14, &pods(0), &["loopback"]);
    let services = "clusters[1].serviceCIDRs[0]";
    refused("\"10.102.0.0/16\"", "10.2.3.0/24", 15, services, &["pods of cluster gcp", "line 14"]);
    refused("\"10.102.0.0/16\"", "fd00:102::/112", 15, services, &["IPv6", "podCIDRs"]);
    let second = "\"10.102.0.0/16\", \"10.103.0.0/16\"";
    refused("\"10.102.0.0/16\"", second, 15, "clusters[1].serviceCIDRs[1]", &["second IPv4"]);
    refused("\"10.1.0.0/16\"", "10.1.0.0/30", 6, "clusters[0].podCIDRs", &["no room", "2 nodes"]);
}

#[test]
fn services_of_two_clusters_may_overlap() {
    let text = GOOD.replacen("\"10.102.0.0/16\"", "10.101.0.0/16", 1);
    assert!(read(&text).is_ok());
}

#[test]
fn ranges_of_nodes() {
    let path = "clusters[1].nodes[0].podCIDRs[0]";
    refused("\"10.2.9.0/24\"", "10.3.9.0/24", 17, path, &["10.2.0.0/16"]);
    refused("\"10.2.9.0/24\"", "10.2.9.0/30", 17, path, &["at least a /29"]);
    let two = "10.2.9.0/24, 10.2.10.0/24";
    refused("\"10.2.9.0/24\"", two, 17, "clusters[1].nodes[0].podCIDRs[1]", &["second"]);
    let other = "podCIDRs: [\"10.2.9.0/24\"]}\n  - {name: b, region: r, zone: z, podCIDRs: [10.2.9.128/25]}";
    refused("podCIDRs: [\"10.2.9.0/24\"]}", other, 18, "clusters[1].nodes[1].podCIDRs[0]", &["node gcp-1"]);
}

#[test]
fn links() {
    let cases = [
        ("[aws, gcp]", "[aws, gpc]", "links[0].between[1]", "write `gcp` instead"),
        ("[aws, gcp]", "[aws, mars]", "links[0].between[1]", "one of aws, gcp"),
        ("[aws, gcp]", "[aws, aws]", "links[0].between", "both ends"),
        ("[aws, gcp]", "[aws]", "links[0].between", "two ends, not 1"),
        ("[aws, gcp]", "[aws, gcp/paris]", "links[0].between[1]", "brussels"),
        ("rtt: 14ms", "rtt: 14", "links[0].rtt", "14"),
        ("rtt: 14ms", "rtt: 11s", "links[0].rtt", "10 s"),
        ("rtt: 14ms", "rtt: 14 min", "links[0].rtt", "write something like `14ms`"),
        ("loss: 0.5%", "loss: 101%", "links[0].loss", "`0.5%`"),
        ("rate: 1Gbit", "rate: fast", "links[0].rate", "`100Mbit`"),
        ("rate: 1Gbit", "speed: 1Gbit", "links[0].speed", "unknown field"),
    ];
    for (from, to, path, word) in cases {
        refused(from, to, 19, path, &[word]);
    }
    let twice = format!("{GOOD}- {{between: [gcp, aws]}}\n");
    let error = read(&twice).unwrap_err().to_string();
    assert!(error.contains("lab.yaml:20:") && error.contains("line 19"), "{error}");
    for good in ["[aws/eu-west-1, gcp/brussels]", "[gcp, aws/eu-west-1]"] {
        assert!(read(&GOOD.replacen("[aws, gcp]", good, 1)).is_ok(), "{good}");
    }
}

#[test]
fn manifests() {
    refused(
        "manifests: []",
        "manifests: [x.yaml]",
        11,
        "clusters[0].manifests[0]",
        &["cannot read", "`x.yaml`"],
    );
    assert!(read(&GOOD.replacen("manifests: []", "manifests: [empty.yaml]", 1)).is_ok());
}

/// Reads the good file with these objects in cluster aws.
fn with_objects(first: &str, second: &str) -> Result<Lab, Error> {
    let text = GOOD.replacen("manifests: []", "manifests: [one.yaml, two.yaml]", 1);
    parse(Path::new("lab.yaml"), &text, |name| {
        let objects = if name == "one.yaml" { first } else { second };
        Ok((PathBuf::from(name), objects.to_string()))
    })
}

#[test]
fn objects_that_the_lab_cannot_have() {
    let pod = |name: &str, spec: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
    };
    let command = "containers: [{name: c, command: [sleep, infinity]}]";
    let service = |name: &str, ip: &str| {
        let ports = "ports: [{port: 80}]";
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, {ports}}}\n"
        )
    };
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n}\n".to_string();
    let long = "x".repeat(250);
    let cases = [
        (pod("p", &format!("nodeName: aws-3, {command}")), "one.yaml:4:", "spec.nodeName", "no node `aws-3`"),
        (
            pod("p", "containers: [{name: c, image: nginx}]"),
            "one.yaml:4:",
            "spec.containers[0]",
            "no command",
        ),
        (pod(&long, command), "one.yaml:3:", "metadata.name", "250 characters"),
        (service("s", "10.1.0.10"), "one.yaml:4:", "spec.clusterIP", "10.101.0.0/16"),
        (node, "one.yaml:2:", "kind", "lab file"),
        ("apiVersion: v1\nkind: Pot\nmetadata: {name: p}\n".into(), "one.yaml:2:", "kind", "`Pod`"),
    ];
    for (text, place, path, words) in cases {
        let error = with_objects(&text, "").unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(&format!(" {path}: ")), "{error}");
        assert!(
            error.contains(words) && error.contains("write") || error.contains("did you mean"),
            "{error}"
        );
    }
    let pods = pod("p", command);
    let twice = with_objects(&pods, &pods).unwrap_err().to_string();
    assert!(twice.starts_with("two.yaml:3:") && twice.contains("one.yaml:1"), "{twice}");
    let vips =
        with_objects(&service("a", "10.101.0.10"), &service("b", "10.101.0.10")).unwrap_err().to_string();
    assert!(vips.starts_with("two.yaml:4:") && vips.contains("one.yaml:4"), "{vips}");
    assert!(with_objects(&service("a", "10.101.0.10"), &service("b", "None")).is_ok());
}

#[test]
fn the_default_lab() {
    let lab = default_lab().unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = lab.clusters.iter().map(|lab| lab.cluster.name.as_str()).collect();
    assert_eq!(names, ["aws", "gcp", "azure"]);
    for lab in &lab.clusters {
        let objects: Vec<_> = lab
            .manifests
            .iter()
            .flat_map(|m| cluster::manifest::parse("default", &m.text).unwrap())
            .map(|object| object.value.id().to_string())
            .collect();
        for node in &lab.nodes {
            for pod in ["echo", "client"] {
                let id = format!("pod demo/{pod}-{}", node.name.node);
                assert!(objects.contains(&id), "{id} is not in {objects:?}");
            }
        }
        assert!(objects.contains(&"service demo/echo".to_string()));
    }
    assert_eq!(default_files().count(), 5);
}

#[test]
fn a_file_that_is_not_there() {
    let error = load(Path::new("/nonexistent/lab.yaml")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/lab.yaml") && error.contains("--file"), "{error}");
}

#[test]
fn the_examples_can_be_built() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/labs");
    let labs = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path().join("lab.yaml"));
    let labs: Vec<PathBuf> = labs.filter(|path| path.exists()).collect();
    assert!(labs.len() >= 4, "{labs:?}");
    for path in labs {
        let lab = load(&path).unwrap_or_else(|error| panic!("{error}"));
        let nodes: usize = lab.clusters.iter().map(|cluster| cluster.nodes.len()).sum();
        assert_eq!(crate::plan::Plan::new(&lab).nodes().count(), nodes, "{}", path.display());
    }
}

/// A slip of the finger at every place: never a panic, and what is accepted can be planned.
#[test]
fn slips() {
    let lines: Vec<&str> = GOOD.lines().collect();
    let without_line = (0..lines.len()).map(|i| [&lines[..i], &lines[i + 1..]].concat().join("\n"));
    let twice = (0..lines.len()).map(|i| [&lines[..=i], &lines[i..]].concat().join("\n"));
    let places = || GOOD.char_indices().map(|(i, c)| (&GOOD[..i], c, &GOOD[i + c.len_utf8()..]));
    let without_letter = places().map(|(before, _, after)| format!("{before}{after}"));
    let other = ["9", "-", "/", "\"", "]", " ", "ß"];
    let changed =
        other.iter().flat_map(|new| places().map(move |(before, _, after)| format!("{before}{new}{after}")));
    let mut accepted = 0;
    for text in without_line.chain(twice).chain(without_letter).chain(changed) {
        match read(&text) {
            Ok(lab) => {
                accepted += 1;
                assert_eq!(crate::plan::Plan::new(&lab).clusters.len(), lab.clusters.len(), "{text}");
            }
            Err(Error::Wrong(error)) => assert!(error.line > 0 && error.column > 0, "{error}\n{text}"),
            Err(error) => panic!("{error}\n{text}"),
        }
    }
    assert!(accepted > 100, "only {accepted} were accepted: the slips are too coarse");
}

#[test]
fn who_is_behind_a_nat() {
    let with = |cluster: &str, node: &str| {
        let text = GOOD.replacen("  manifests: []", cluster, 1);
        text.replacen("zone: eu-west-1b,", &format!("zone: eu-west-1b, {node}"), 1)
    };
    let nats = |text: &str| {
        let lab = read(text).unwrap();
        [0, 1].map(|node: usize| lab.clusters[0].nodes[node].nat.map(|nat| (nat.kind, nat.shared)))
    };
    let (shared, own) = (true, false);
    assert_eq!(nats(GOOD), [None, None]);
    let one = nats(&with("", "nat: full-cone,"));
    assert_eq!(one, [None, Some((NatKind::FullCone, own))]);
    let all = nats(&with("  nat: symmetric", ""));
    assert_eq!(all, [Some((NatKind::Symmetric, shared)); 2]);
    let but = nats(&with("  nat: port-restricted", "nat: restricted,"));
    assert_eq!(but, [Some((NatKind::PortRestricted, shared)), Some((NatKind::Restricted, own))]);
    assert_eq!(nats(&with("  nat: symmetric", "nat: none,"))[1], None);
    refused("  manifests: []", "  nat: carrier-grade", 11, "clusters[0].nat", &["port-restricted"]);
}
