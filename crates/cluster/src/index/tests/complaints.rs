//! Objects that others write wrongly: what is said of each, and what works all the same.

use k8s_openapi::api::core::v1;
use serde_json::{Value, json};

use super::{Endpoints, Index, cluster, line};
use crate::manifest::{Id, Kind, Manifest};

/// An object as an API server would hand it over, whatever is in it.
fn read(value: &Value) -> Manifest {
    fn from<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
    }
    match value["kind"].as_str().unwrap() {
        "Node" => from::<v1::Node>(value).into(),
        "Service" => from::<v1::Service>(value).into(),
        "Pod" => from::<v1::Pod>(value).into(),
        "EndpointSlice" => from::<k8s_openapi::api::discovery::v1::EndpointSlice>(value).into(),
        "NetworkPolicy" => from::<k8s_openapi::api::networking::v1::NetworkPolicy>(value).into(),
        kind => panic!("{kind}"),
    }
}

fn service(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "demo"},
        "spec": {"clusterIP": "10.101.0.1", "ports": [{"name": "http", "port": 80}]},
    });
    merge(&mut object["spec"], spec);
    object
}

fn pod(name: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"containers": []}, "status": status,
    })
}

fn slice(rest: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "e", "namespace": "demo", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 80}],
        "endpoints": [{"addresses": ["10.1.0.5"]}],
    });
    merge(&mut object, rest);
    object
}

fn node(name: &str, created: &str, ranges: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"podCIDRs": ranges},
    })
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// What is wrong with the objects, each as `OBJECT REASON: MESSAGE`, and what they say.
fn say(objects: &[Value]) -> (Vec<String>, Vec<String>) {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    let changes: Vec<_> = objects.iter().flat_map(|object| index.apply(&read(object))).collect();
    let wrong = index.take_complaints().into_iter().flat_map(|(id, complaints)| {
        complaints
            .into_iter()
            .map(move |complaint| format!("{id} {}: {}", complaint.reason, complaint.message))
    });
    (wrong.collect(), changes.iter().filter_map(line).collect())
}

/// A weight that is none counts as left out, and each is told what to write.
#[test]
fn weights_that_are_none() {
    let weighs = |text: &str| {
        let mut slice = slice(&json!({}));
        slice["metadata"]["annotations"] = json!({"causeway.io/weight": text});
        let (complaints, changes) = say(&[service(&json!({})), slice]);
        let weight = changes[1].split_once(" weight ").map_or("1", |(_, weight)| weight).to_string();
        (weight, complaints)
    };
    for good in ["0", "1", "100"] {
        assert_eq!(weighs(good), (good.to_string(), Vec::<String>::new()));
    }
    for bad in [
        "101",
        "65536",
        "4294967296",
        "18446744073709551616",
        "-1",
        "0.5",
        "1e3",
        "NaN",
        "inf",
        "",
        " 1",
        "heavy",
    ] {
        let (weight, complaints) = weighs(bad);
        assert_eq!(weight, "1", "{bad:?}");
        let said = format!(
            "endpointslice demo/e WeightOutOfRange: the annotation causeway.io/weight is {bad:?}, which is no weight; it counts \
             as left out; write a whole number from 0 to 100"
        );
        assert_eq!(complaints, [said]);
    }
}

#[test]
fn single_objects() {
    let long = "x".repeat(64);
    let labelled = |labels: Value| {
        let mut pod = pod("p", &json!({}));
        pod["metadata"]["labels"] = labels;
        pod
    };
    const SAID: &str = "service demo/s 10.101.0.1 http:80/TCP";
    let cases: Vec<(Vec<Value>, &[&str], &[&str])> = vec![
        (vec![pod("p", &json!({"podIPs": [{"ip": "10.1.0.5"}]}))], &[], &[]),
        (
            vec![pod("p", &json!({"podIPs": [{"ip": "192.0.2.1"}]}))],
            &[
                "pod demo/p PodIPOutsideRanges: \"192.0.2.1\" is outside every pod range of cluster aws (10.1.0.0/16, \
               fd00:1::/48); the pod is behind no service, because no node would carry packets there; add its range to \
               the cluster's podCIDRs, or recreate the pod with the right network plugin",
            ],
            &[],
        ),
        (
            vec![pod("p", &json!({"podIP": "ten"}))],
            &["pod demo/p PodIPUnparsable: \"ten\" can be read as no IP"],
            &[],
        ),
        (vec![pod("p", &json!({"podIP": "192.0.2.1", "hostIP": "192.0.2.1"}))], &[], &[]),
        (vec![labelled(json!({"a": "x".repeat(63), format!("{}/b", "x.".repeat(126) + "x"): ""}))], &[], &[]),
        (
            vec![labelled(json!({"a": long, "b": "1"}))],
            &["pod demo/p LabelBeyondLimits: the labels \"a=xxx"],
            &[],
        ),
        (vec![service(&json!({}))], &[], &[SAID]),
        (
            vec![service(&json!({"ports": [{"name": "zero", "port": 0}, {"name": "http", "port": 80}]}))],
            &[
                "service demo/s PortOutOfRange: port \"zero\" has the number 0, which is none; the port is left out, the \
               others work; use 1 to 65535",
            ],
            &[SAID],
        ),
        (
            vec![service(
                &json!({"ports": [{"name": "q", "port": 1, "protocol": "QUIC"}, {"name": "http", "port": 80}]}),
            )],
            &["service demo/s UnknownProtocol: port \"q\" has the protocol \"QUIC\", which this version"],
            &[SAID],
        ),
        (
            vec![service(
                &json!({"type": "Warp", "internalTrafficPolicy": "Near", "sessionAffinity": "Cookie",
                "trafficDistribution": "Best", "externalTrafficPolicy": "", "ipFamilies": ["IPv4", "IPv9"]}),
            )],
            &[
                "service demo/s UnknownServiceType: type is \"Warp\", which this version of Causeway does not know; the \
                 service counts as a ClusterIP; use ClusterIP or NodePort or LoadBalancer, or upgrade Causeway",
                "service demo/s UnknownTrafficPolicy: internalTrafficPolicy is \"Near\"",
                "service demo/s UnknownTrafficDistribution: ",
                "service demo/s UnknownSessionAffinity: ",
                "service demo/s UnknownIPFamily: ",
            ],
            &[SAID],
        ),
        (
            vec![service(&json!({"type": "NodePort", "ports": [
                {"name": "high", "port": 1, "nodePort": 70000}, {"name": "minus", "port": 2, "nodePort": -1},
                {"name": "none", "port": 3, "nodePort": 0}, {"name": "low", "port": 4, "nodePort": 80},
                {"name": "again", "port": 5, "nodePort": 80},
                {"name": "other", "port": 6, "nodePort": 80, "protocol": "UDP"}]}))],
            &[
                "service demo/s NodePortOutOfRange: the nodePort 70000 of port 1 is none; the port is dialled at no node, but \
               at the service's own addresses; write 1 to 65535",
                "service demo/s NodePortOutOfRange: the nodePort -1 of port 2 is none",
                "service demo/s NodePortTwice: two of its ports have the nodePort 80/TCP; the first of them counts",
            ],
            &[
                "service demo/s 10.101.0.1 high:1/TCP,minus:2/TCP,none:3/TCP,low:4/TCP,again:5/TCP,other:6/UDP \
               node-port=80>4/TCP node-port=80>6/UDP",
            ],
        ),
        (
            vec![service(&json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig":
                {"clientIP": {"timeoutSeconds": 90000}}}))],
            &[
                "service demo/s AffinityTimeoutOutOfRange: the timeoutSeconds of its session affinity are 90000; 10800 count",
            ],
            &["service demo/s 10.101.0.1 http:80/TCP affinity=10800"],
        ),
        (
            vec![service(&json!({"externalIPs": ["0.0.0.0", "127.0.0.1", "ff02::1", "x", "192.0.2.7"]}))],
            &[
                "service demo/s ServiceIPUnusable: \"0.0.0.0\", \"127.0.0.1\", \"ff02::1\" and 1 more among externalIPs",
            ],
            &["service demo/s 10.101.0.1 http:80/TCP external=192.0.2.7"],
        ),
        (
            vec![service(
                &json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 65536,
                "loadBalancerSourceRanges": ["192.0.2.0/24", "192.0.2.300/32"]}),
            )],
            &[
                "service demo/s SourceRangeUnparsable: \"192.0.2.300/32\" among its loadBalancerSourceRanges can be read as \
               no range; whoever is meant is kept out, the others work",
                "service demo/s HealthCheckNodePortOutOfRange: the healthCheckNodePort 65536 is none",
            ],
            &["service demo/s 10.101.0.1 http:80/TCP external-local from=192.0.2.0/24"],
        ),
        (
            vec![service(&json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["everybody"]}))],
            &[
                "service demo/s SourceRangeUnparsable: \"everybody\" among its loadBalancerSourceRanges can be read as no \
               range; whoever is meant is kept out, and with it everybody; write",
            ],
            &["service demo/s 10.101.0.1 http:80/TCP from="],
        ),
        (
            vec![service(&json!({"clusterIP": "x", "clusterIPs": ["x", "fd00:101::1"]}))],
            &["service demo/s ServiceIPUnparsable: \"x\" can be read as no IP address"],
            &["service demo/s fd00:101::1 http:80/TCP"],
        ),
        (
            vec![
                service(&json!({})),
                slice(&json!({"endpoints": [{"addresses": ["10.1.0.500"]}, {"addresses": ["10.1.0.5"]},
                    {"addresses": ["fd00:1::5"]}, {"addresses": ["127.0.0.1"]}, {"addresses": []}]})),
            ],
            &[
                "endpointslice demo/e EndpointAddressUnusable: \"10.1.0.500\", \"fd00:1::5\", \"127.0.0.1\" and 1 more can \
               be used as no IPv4 address of an endpoint; 4 of its 5 endpoints gets no connections",
            ],
            &[SAID, "endpoint demo/s/10.1.0.5 10.1.0.5 http:80/TCP on nothing ready+serving "],
        ),
        (
            vec![service(&json!({})), slice(&json!({"addressType": "FQDN"}))],
            &["endpointslice demo/e UnknownAddressType: the addressType is \"FQDN\""],
            &[SAID],
        ),
        (
            vec![
                service(&json!({})),
                slice(
                    &json!({"ports": [{"name": "http", "port": 80}, {"name": "all"}, {"name": "x", "port": 70000}],
                    "endpoints": [{"addresses": ["10.1.0.5"]}, {"addresses": ["10.1.0.5"]}]}),
                ),
            ],
            &[
                "endpointslice demo/e EndpointTwice: 1 of its endpoints are there twice",
                "endpointslice demo/e PortWithoutNumber: port \"all\" has no number",
                "endpointslice demo/e PortOutOfRange: port \"x\" has the number 70000",
            ],
            &[SAID, "endpoint demo/s/10.1.0.5 10.1.0.5 http:80/TCP on nothing ready+serving "],
        ),
        (
            vec![node(
                "n",
                "2026-01-02T03:04:05Z",
                &["nonsense", "192.168.0.0/24", "10.1.1.0/24", "10.1.2.0/24"],
            )],
            &[
                "node n PodCIDRUnparsable: the podCIDR \"nonsense\" can be read as no range",
                "node n PodCIDROutsideRanges: the podCIDR 192.168.0.0/24 is outside every pod range of cluster aws",
                "node n PodCIDRSurplus: the podCIDR 10.1.2.0/24 is a second one",
            ],
            &["node aws/n at n// private  public  pods 10.1.1.0/24"],
        ),
    ];
    for (objects, wrong, expected) in cases {
        let (complaints, changes) = say(&objects);
        assert_eq!(changes, expected, "{objects:#?}");
        assert_eq!(complaints.len(), wrong.len(), "{complaints:#?}");
        for (complaint, wrong) in complaints.iter().zip(wrong) {
            assert!(complaint.starts_with(wrong), "{complaint}\n{wrong}");
        }
    }
}

#[test]
fn what_others_cause_goes_with_them() {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    let reasons = |index: &mut Index| {
        let said = index.take_complaints().into_iter();
        said.map(|(id, complaints)| {
            let reasons: Vec<_> = complaints.iter().map(|complaint| complaint.reason).collect();
            format!("{id}: {}", reasons.join(" "))
        })
        .collect::<Vec<_>>()
    };
    let ip = json!({"podIPs": [{"ip": "10.1.0.5"}]});
    for name in ["a", "b", "c"] {
        index.apply(&read(&pod(name, &ip)));
    }
    assert_eq!(
        reasons(&mut index),
        ["pod demo/a: PodIPShared", "pod demo/b: PodIPShared", "pod demo/c: PodIPShared"]
    );
    // One that has run to its end does not have its address any more.
    index.apply(&read(&pod("a", &json!({"phase": "Succeeded", "podIPs": [{"ip": "10.1.0.5"}]}))));
    assert_eq!(reasons(&mut index)[0], "pod demo/a: ");
    index.delete(&Id::new(Kind::Pod, "demo", "b"));
    assert_eq!(reasons(&mut index), ["pod demo/b: ", "pod demo/c: "]);

    let lines = |changes: Vec<model::Change>| changes.iter().filter_map(line).collect::<Vec<_>>();
    let (older, younger) = ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z");
    lines(index.apply(&read(&node("young", younger, &["10.1.4.0/24"]))));
    assert_eq!(
        lines(index.apply(&read(&node("old", older, &["10.1.4.0/23"])))),
        [
            "node aws/young at young// private  public  pods ",
            "node aws/old at old// private  public  pods 10.1.4.0/23"
        ]
    );
    assert_eq!(reasons(&mut index), ["node young: PodCIDROverlaps"]);
    assert_eq!(
        lines(index.delete(&Id::new(Kind::Node, "", "old"))),
        ["- node aws/old", "node aws/young at young// private  public  pods 10.1.4.0/24"]
    );
    assert_eq!(reasons(&mut index), ["node young: "]);
    assert_eq!(
        lines(index.apply(&read(&node("bare", younger, &[])))),
        ["node aws/bare at bare// private  public  pods "]
    );
    assert_eq!(
        lines(index.give_ranges("bare", vec!["10.1.9.0/24".into()])),
        ["node aws/bare at bare// private  public  pods 10.1.9.0/24"]
    );
    assert_eq!(lines(index.give_ranges("young", vec!["10.1.8.0/24".into()])), [""; 0], "it has its own");
    assert_eq!(
        lines(index.give_ranges("bare", Vec::new())),
        ["node aws/bare at bare// private  public  pods "]
    );
}
