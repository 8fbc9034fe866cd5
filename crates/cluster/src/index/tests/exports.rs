//! Exports, imports and namespaces: what travels with a service, and what is said to whoever writes their statuses.

use model::{Change, Export, Object, Terms};

use super::{Endpoints, Index, cluster, line, manifests};
use crate::manifest::{Id, Kind};
use crate::multicluster::{Behind, Fact};

const EXPORT: &str = "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\nmetadata: {name: s, \
                      creationTimestamp: \"2026-01-02T03:04:05Z\", generation: 2, resourceVersion: \"7\", labels: {not: \
                      this}}\nspec: {exportedLabels: {l: \"1\"}, exportedAnnotations: {a: \"2\"}}";

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{{spec}, ports: [{{port: 80}}]}}")
}

fn index() -> Index {
    Index::new(cluster(), Endpoints::FromSelectors)
}

fn apply(index: &mut Index, text: &str) -> Vec<Change> {
    manifests(text).iter().flat_map(|manifest| index.apply(manifest)).collect()
}

fn export_of(changes: &[Change]) -> Option<Export> {
    match changes {
        [Change::Upsert(Object::Service(service))] => service.export.clone(),
        other => panic!("one service expected, got {other:?}"),
    }
}

/// What stands behind the export that was said last.
fn behind(index: &mut Index) -> Vec<Option<Behind>> {
    let facts = index.take_facts().into_iter();
    let exports = facts.filter_map(|fact| match fact {
        Fact::Export { export, .. } => Some(export.map(|export| export.behind)),
        _ => None,
    });
    exports.collect()
}

#[test]
fn an_export_takes_its_terms_from_the_service() {
    let rows: [(&str, Terms); 6] = [
        ("clusterIP: 10.101.0.1", Terms { ipv6: vec![false], ..Terms::default() }),
        (
            "clusterIPs: [\"fd00:101::1\", 10.101.0.1], ipFamilies: [IPv6, IPv4]",
            Terms { ipv6: vec![true, false], ..Terms::default() },
        ),
        (
            "clusterIP: None, ipFamilies: [IPv4]",
            Terms { headless: true, ipv6: vec![false], ..Terms::default() },
        ),
        (
            "clusterIP: 10.101.0.1, sessionAffinity: ClientIP",
            Terms { session_affinity: Some(10_800), ipv6: vec![false], ..Terms::default() },
        ),
        (
            "clusterIP: 10.101.0.1, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}",
            Terms { session_affinity: Some(10), ipv6: vec![false], ..Terms::default() },
        ),
        (
            "clusterIP: 10.101.0.1, internalTrafficPolicy: Local, trafficDistribution: PreferClose, type: NodePort",
            Terms {
                internal_local: true,
                traffic_distribution: "PreferClose".into(),
                ipv6: vec![false],
                ..Terms::default()
            },
        ),
    ];
    for (spec, terms) in rows {
        let (labels, annotations) = ([("l".into(), "1".into())].into(), [("a".into(), "2".into())].into());
        let expected = Export { created: 1_767_323_045, terms: Terms { labels, annotations, ..terms } };
        // In either order.
        let mut one = index();
        assert_eq!(export_of(&apply(&mut one, &service(spec))), None, "{spec}");
        assert_eq!(behind(&mut one), []);
        assert_eq!(export_of(&apply(&mut one, EXPORT)), Some(expected.clone()), "{spec}");
        assert_eq!(behind(&mut one), [Some(Behind::Service)]);
        let mut two = index();
        assert_eq!(apply(&mut two, EXPORT), []);
        assert_eq!(behind(&mut two), [Some(Behind::Nothing)]);
        assert_eq!(export_of(&apply(&mut two, &service(spec))), Some(expected), "{spec}");
        assert_eq!(behind(&mut two), [Some(Behind::Service)]);
        assert_eq!(apply(&mut two, EXPORT), [], "the same again is no news");
        assert_eq!(behind(&mut two), []);
    }
}

#[test]
fn an_export_ends() {
    let mut index = index();
    let id = Id::new(Kind::ServiceExport, "", "s");
    apply(&mut index, &service("clusterIP: 10.101.0.1"));
    assert!(export_of(&apply(&mut index, EXPORT)).is_some());
    assert_eq!(index.ids(Kind::ServiceExport), [id.clone()].into());
    behind(&mut index);
    let dying = EXPORT.replace("generation: 2", "deletionTimestamp: \"2026-01-02T03:04:06Z\"");
    assert_eq!(export_of(&apply(&mut index, &dying)), None, "it is unexported when it begins to go");
    assert_eq!(behind(&mut index), [None]);
    apply(&mut index, EXPORT);
    assert_eq!(export_of(&index.delete(&id)), None);
    assert_eq!(behind(&mut index), [None]);
    // The service goes first.
    apply(&mut index, EXPORT);
    index.delete(&Id::new(Kind::Service, "", "s"));
    assert_eq!(behind(&mut index), [Some(Behind::Nothing)]);
}

#[test]
fn an_external_name_is_not_exported() {
    let mut index = index();
    apply(&mut index, &service("type: ExternalName, externalName: example.org"));
    assert_eq!(apply(&mut index, EXPORT), []);
    assert_eq!(behind(&mut index), [Some(Behind::ExternalName)]);
    assert!(export_of(&apply(&mut index, &service("clusterIP: 10.101.0.1"))).is_some());
    assert_eq!(behind(&mut index), [Some(Behind::Service)]);
    let lines: Vec<String> = apply(&mut index, &service("type: ExternalName, externalName: example.org"))
        .iter()
        .filter_map(line)
        .collect();
    assert_eq!(lines, ["- service aws/default/s"]);
    assert_eq!(behind(&mut index), [Some(Behind::ExternalName)]);
}

#[test]
fn namespaces_and_imports_are_said() {
    let mut index = index();
    apply(&mut index, "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}");
    assert_eq!(index.take_facts(), [Fact::Namespace { name: "demo".into(), there: true }]);
    let id = Id::new(Kind::Namespace, "", "demo");
    assert_eq!(index.ids(Kind::Namespace), [id.clone()].into());
    index.delete(&id);
    assert_eq!(index.take_facts(), [Fact::Namespace { name: "demo".into(), there: false }]);
    index.delete(&id);
    assert_eq!(index.take_facts(), []);

    let import = "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceImport\nmetadata: {name: s}\nspec: {type: \
                  Headless, ports: [{port: 80}]}\nstatus: {clusters: [{cluster: gcp}]}";
    let imported = |index: &mut Index| match &index.take_facts()[..] {
        [Fact::Import { import: Some(import), .. }] => import.clone(),
        other => panic!("{other:?}"),
    };
    apply(&mut index, import);
    let theirs = imported(&mut index);
    assert_eq!((theirs.ours, &theirs.clusters[..]), (false, &["gcp".to_string()][..]));
    let complaints = index.take_complaints();
    assert_eq!(complaints[0].1[0].reason, "ImportNotOurs");
    let managed = "metadata: {name: s, managedFields: [{manager: causeway, operation: Apply}]}";
    apply(&mut index, &import.replace("metadata: {name: s}", managed));
    assert!(imported(&mut index).ours);
    assert_eq!(index.take_complaints()[0].1, []);
    index.delete(&Id::new(Kind::ServiceImport, "", "s"));
    assert!(matches!(&index.take_facts()[..], [Fact::Import { import: None, .. }]));
}

#[test]
fn derived_slices_are_nobodys_endpoints() {
    let slice = |labels: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e, labels: \
             {{kubernetes.io/service-name: s{labels}}}}}\naddressType: IPv4\nports: [{{name: \"\", port: \
             5}}]\nendpoints: [{{addresses: [10.1.0.7], hostname: db-0}}]"
        )
    };
    let derived = ", multicluster.kubernetes.io/service-name: s";
    let ours = format!("{derived}, endpointslice.kubernetes.io/managed-by: controller.causeway.io");
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    apply(&mut index, &service("clusterIP: 10.101.0.1"));
    match &apply(&mut index, &slice(""))[..] {
        [Change::Upsert(Object::Endpoint(endpoint))] => assert_eq!(endpoint.hostname, "db-0"),
        other => panic!("{other:?}"),
    }
    let lines: Vec<String> = apply(&mut index, &slice(derived)).iter().filter_map(line).collect();
    assert_eq!(lines, ["- endpoint aws/default/s/10.1.0.7"]);
    assert_eq!(index.take_facts(), [], "another controller's");
    assert_eq!(apply(&mut index, &slice(&ours)), []);
    assert!(
        matches!(&index.take_facts()[..], [Fact::Slice { slice: Some(slice), .. }] if slice.import == "s")
    );
    index.delete(&Id::new(Kind::EndpointSlice, "", "e"));
    assert!(matches!(&index.take_facts()[..], [Fact::Slice { slice: None, .. }]));
}

#[test]
fn pods_have_their_host_name_where_the_service_is_their_subdomain() {
    for (spec, expected) in [
        ("hostname: db-0, subdomain: s", "db-0"),
        ("hostname: db-0, subdomain: other", ""),
        ("hostname: db-0", ""),
    ] {
        let mut index = index();
        apply(&mut index, &service("clusterIP: None, selector: {app: a}"));
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, labels: {{app: a}}}}\nspec: {{{spec}, containers: [{{name: \
             c}}]}}\nstatus: {{podIPs: [{{ip: 10.1.0.5}}]}}"
        );
        let changes = apply(&mut index, &pod);
        let mut endpoints = changes.iter().filter_map(|change| match change {
            Change::Upsert(Object::Endpoint(endpoint)) => Some(endpoint),
            _ => None,
        });
        let endpoint = endpoints.next().unwrap_or_else(|| panic!("{changes:?}"));
        assert_eq!((&*endpoint.hostname, endpoints.next()), (expected, None), "{spec}");
    }
}
