//! Objects in, changes out: one table for every source of objects, and the proof that increments add up.

mod complaints;
mod exports;
mod peers;
mod refusals;
mod sharing;
mod slices;
mod table;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use model::{Change, Key, World};
use proptest::prelude::*;

use super::{Endpoints, Index, Unsaid};
use crate::Complaint;
use crate::manifest::{Id, Manifest};

use table::{READY, UNREADY};
pub(crate) use table::{Step, cluster, line, lines, manifests, table, whole_line};

#[test]
fn objects_to_changes() {
    for case in table().into_iter().chain(table::derived()) {
        let mut index = Index::new(cluster(), Endpoints::FromSelectors);
        for (n, (step, expected)) in case.steps.iter().enumerate() {
            let changes: Vec<Change> = match step {
                Step::Apply(text) => manifests(text).iter().flat_map(|m| index.apply(m)).collect(),
                Step::Delete(id) => index.delete(id),
            };
            assert_eq!(&case.lines(&changes), expected, "{}, step {n}", case.name);
        }
    }
}

/// An object out of a small world, in which everything meets everything.
fn any_object() -> impl Strategy<Value = String> {
    let labels = prop_oneof![Just("{app: a}"), Just("{app: b}"), Just("{app: a, v: x}"), Just("{v: x}")];
    let statuses = prop_oneof![
        Just(READY),
        Just(UNREADY),
        Just(""),
        Just("phase: Failed, podIP: 10.1.0.6"),
        Just("podIP: 10.1.0.6"),
        Just("podIP: 192.0.2.9")
    ];
    let pods = (0..4, labels.clone(), statuses, any::<bool>()).prop_map(|(n, labels, status, dying)| {
        let dying = if dying { "deletionTimestamp: \"2026-01-02T03:04:05Z\"," } else { "" };
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, {dying} labels: {labels}}}\nspec: {{nodeName: n, \
             containers: [{{name: c, ports: [{{name: web, containerPort: 80}}]}}]}}\nstatus: {{{status}}}"
        )
    });
    let specs = prop_oneof![
        Just("clusterIP: 10.101.0.1"),
        Just("clusterIP: None"),
        Just("ipFamilies: [IPv6], clusterIP: \"fd00:101::1\""),
        Just("publishNotReadyAddresses: true"),
        Just("type: ExternalName"),
    ];
    let selectors = prop_oneof![labels, Just("{}")];
    let services = (0..3, selectors, specs, prop_oneof![Just("web"), Just("81")]).prop_map(
        |(n, selector, spec, port)| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{selector: {selector}, {spec}, ports: \
                 [{{port: 80, targetPort: {port}}}]}}"
            )
        },
    );
    let families = prop_oneof![Just(("IPv4", "10.1.0.7")), Just(("IPv6", "\"fd00:1::7\""))];
    let slices = (0..3, 0..3, families, 0..4, any::<bool>()).prop_map(|(n, service, (family, ip), p, named)| {
        let target = if named { format!(", targetRef: {{kind: Pod, name: p{p}}}") } else { String::new() };
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e{n}, labels: \
             {{kubernetes.io/service-name: s{service}}}}}\naddressType: {family}\nports: [{{name: \"\", port: \
             5}}]\nendpoints: [{{addresses: [{ip}]{target}}}]"
        )
    });
    let nodes = (0..3, prop_oneof![Just("10.1.0.0/24"), Just("10.1.0.128/25"), Just("10.1.1.0/24")], 1..4).prop_map(
        |(n, range, second)| {
            format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{name: n{n}, creationTimestamp: \"2026-01-02T03:04:0{second}Z\"}}\n\
                 spec: {{podCIDR: {range}}}"
            )
        },
    );
    let exports = (0..3, prop_oneof![Just("{}"), Just("{exportedLabels: {a: b}}")]).prop_map(|(n, spec)| {
        format!(
            "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\nmetadata: {{name: s{n}}}\nspec: {spec}"
        )
    });
    let namespaces = (0..2usize, prop_oneof![Just("{}"), Just("{team: a}")], any::<bool>()).prop_map(
        |(n, labels, shared)| {
            let name = ["default", "other"][n];
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}, annotations: \
             {{causeway.io/global: \"{shared}\"}}}}"
            )
        },
    );
    let rules = prop_oneof![Just("{}"), Just("{ingress: [{}]}"), Just("{egress: [{ports: [{port: 80}]}]}")];
    let policies = (0..3, rules).prop_map(|(n, spec)| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{n}}}\nspec: {spec}"
        )
    });
    let parts = prop_oneof![
        Just("spec: {endpointSelector: {}, ingress: [{}]}"),
        Just("specs: [{endpointSelector: {}, egress: [{}]}, {endpointSelector: {}, ingress: [{}]}]"),
        Just("specs: [{endpointSelector: {}, egressDeny: [{}]}]"),
    ];
    let ciliums = (0..2, parts).prop_map(|(n, parts)| {
        format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: c{n}}}\n{parts}")
    });
    let policing = prop_oneof![namespaces, policies, ciliums];
    prop_oneof![4 => pods, 2 => services, 2 => slices, 1 => nodes, 1 => exports, 3 => policing]
}

proptest! {
    /// Whatever came and went in whatever order, the sum of what was said is what the remaining objects say afresh.
    #[test]
    fn increments_add_up(
        steps in proptest::collection::vec((any_object(), 0u8..4), 1..40),
        endpoints in prop_oneof![Just(Endpoints::FromSelectors), Just(Endpoints::FromSlices)],
    ) {
        let mut index = Index::new(cluster(), endpoints);
        let mut world = World::default();
        let mut present: BTreeMap<Id, Manifest> = BTreeMap::new();
        let mut said: BTreeSet<Key> = BTreeSet::new();
        let mut wrong: BTreeMap<Id, Vec<Complaint>> = BTreeMap::new();
        for (text, coin) in steps {
            let manifest = manifests(&text).remove(0);
            let id = manifest.id();
            let changes = if coin == 0 {
                present.remove(&id);
                index.delete(&id)
            } else {
                let changes = index.apply(&manifest);
                present.insert(id, manifest);
                changes
            };
            for (id, complaints) in index.take_complaints() {
                prop_assert!(wrong.get(&id).unwrap_or(&Vec::new()) != &complaints, "{id}: said twice");
                if complaints.is_empty() { wrong.remove(&id) } else { wrong.insert(id, complaints) };
            }
            for change in changes {
                // Nothing is deleted that was not said, no endpoint without its service.
                match &change {
                    Change::Delete(key) => prop_assert!(said.remove(key), "{key} was never there"),
                    Change::Upsert(object) => {
                        said.insert(object.key());
                    }
                }
                for key in &said {
                    if let Key::Endpoint(endpoint) = key {
                        prop_assert!(said.contains(&Key::Service(endpoint.service.clone())), "{key} alone");
                    }
                }
                // What is said of a service that others must not hear of may be what was said before.
                let hidden = matches!(&change, Change::Upsert(model::Object::Service(_)));
                prop_assert!(world.apply(change.clone()) || hidden, "{change:?} changes nothing");
            }
        }
        let mut fresh = World::default();
        let mut from_scratch = Index::new(cluster(), endpoints);
        for manifest in present.values() {
            for change in from_scratch.apply(manifest) {
                fresh.apply(change);
            }
        }
        prop_assert_eq!(world, fresh);
        let fresh: BTreeMap<Id, Vec<Complaint>> = from_scratch.take_complaints().into_iter().collect();
        prop_assert_eq!(wrong, fresh);
    }
}
