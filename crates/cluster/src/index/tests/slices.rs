//! Where slices alone say which endpoints there are: what they are joined with, and when.

use super::{Endpoints, Index, cluster, line, manifests};
use crate::manifest::{Id, Kind};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 10.101.0.1, selector: \
                       {app: a}, ports: [{port: 80}]}";

fn pod(rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, labels: {{app: a}}, annotations: {{causeway.io/weight: \
         \"7\"}}}}\nspec: {{containers: [{{name: c}}]}}\nstatus: {{podIPs: [{{ip: 10.1.0.5}}]{rest}}}"
    )
}

fn slice(name: &str, ip: &str, conditions: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: \
         {{kubernetes.io/service-name: s}}}}\naddressType: IPv4\nports: [{{name: \"\", port: 8080}}]\nendpoints: \
         [{{addresses: [{ip}], nodeName: n, conditions: {{{conditions}}}, targetRef: {{kind: Pod, name: p}}}}]"
    )
}

const SAID: &str = "service default/s 10.101.0.1 :80/TCP";
const ALONE: &str = "endpoint default/s/p 10.1.0.5 :8080/TCP on aws/n ready+serving ";
const JOINED: &str = "endpoint default/s/p 10.1.0.5 :8080/TCP on aws/n ready+serving app=a weight 7";

#[test]
fn joined_with_pods() {
    let delete = |kind, name| Err(Id::new(kind, "", name));
    // What comes, or goes, and what is said of it.
    type Step = (Result<String, Id>, &'static [&'static str]);
    let cases: [(&str, Vec<Step>); 4] = [
        (
            "a selector makes no endpoint, a slice does; its pod gives it labels and weight whenever it comes",
            vec![
                (Ok(SERVICE.into()), &[SAID]),
                (Ok(slice("e", "10.1.0.5", "")), &[ALONE]),
                (Ok(pod("")), &[JOINED]),
                (delete(Kind::Pod, "p"), &[ALONE]),
                (delete(Kind::EndpointSlice, "e"), &["- endpoint aws/default/s/p"]),
            ],
        ),
        (
            "conditions are the slice's",
            vec![
                (Ok(pod(", conditions: [{type: Ready, status: \"True\"}]")), &[]),
                (Ok(SERVICE.into()), &[SAID]),
                (
                    Ok(slice("e", "10.1.0.5", "ready: false, serving: true, terminating: true")),
                    &["endpoint default/s/p 10.1.0.5 :8080/TCP on aws/n serving+terminating app=a weight 7"],
                ),
                (Ok(slice("e", "10.1.0.5", "ready: true")), &[JOINED]),
                (Ok(slice("e", "10.1.0.5", "ready: true")), &[]),
            ],
        ),
        (
            "an address outside every range, unless it is the node's",
            vec![
                (Ok(SERVICE.into()), &[SAID]),
                (Ok(pod("")), &[]),
                (Ok(slice("e", "192.0.2.1", "")), &[]),
                (
                    Ok(pod(", podIP: 192.0.2.1, hostIP: 192.0.2.1").replace("10.1.0.5", "192.0.2.1")),
                    &["endpoint default/s/p 192.0.2.1 :8080/TCP on aws/n ready+serving app=a weight 7"],
                ),
                (Ok(pod("")), &["- endpoint aws/default/s/p"]),
            ],
        ),
        (
            "an endpoint moves from one slice to another, and is in both meanwhile",
            vec![
                (Ok(SERVICE.into()), &[SAID]),
                (Ok(pod("")), &[]),
                (Ok(slice("e", "10.1.0.5", "")), &[JOINED]),
                (Ok(slice("f", "10.1.0.5", "")), &[]),
                (delete(Kind::EndpointSlice, "e"), &[]),
                (Ok(pod("").replace("app: a", "app: b")), &[JOINED_B]),
            ],
        ),
    ];
    for (name, steps) in cases {
        let mut index = Index::new(cluster(), Endpoints::FromSlices);
        for (n, (step, expected)) in steps.into_iter().enumerate() {
            let changes = match step {
                Ok(text) => manifests(&text).iter().flat_map(|manifest| index.apply(manifest)).collect(),
                Err(id) => index.delete(&id),
            };
            assert_eq!(changes.iter().filter_map(line).collect::<Vec<_>>(), expected, "{name}, step {n}");
        }
    }
}

const JOINED_B: &str = "endpoint default/s/p 10.1.0.5 :8080/TCP on aws/n ready+serving app=b weight 7";

#[test]
fn a_service_of_five_thousand_endpoints() {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    assert_eq!(manifests(SERVICE).iter().flat_map(|manifest| index.apply(manifest)).count(), 1);
    let slice = |number: u32, unready: Option<u32>| {
        let endpoints: Vec<String> = (number * 100..(number + 1) * 100)
            .map(|n| {
                let ip = format!("10.1.{}.{}", n / 250, n % 250 + 1);
                let ready = Some(n) != unready;
                format!(
                    "{{addresses: [{ip}], conditions: {{ready: {ready}}}, targetRef: {{kind: Pod, name: pod-{n}}}}}"
                )
            })
            .collect();
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e{number}, labels: \
             {{kubernetes.io/service-name: s}}}}\naddressType: IPv4\nports: [{{name: \"\", port: 80}}]\nendpoints: \
             [{}]",
            endpoints.join(", ")
        )
    };
    let mut count = |text: &str| manifests(text).iter().flat_map(|manifest| index.apply(manifest)).count();
    assert_eq!((0..50).map(|n| count(&slice(n, None))).sum::<usize>(), 5000);
    // One endpoint costs one endpoint.
    assert_eq!(count(&slice(7, Some(742))), 1);
    assert_eq!(index.delete(&Id::new(Kind::Service, "", "s")).len(), 5001);
    assert!(index.take_complaints().is_empty());
}
