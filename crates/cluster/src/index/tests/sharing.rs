//! Namespaces that are shared with other clusters, and others.

use super::*;
use crate::multicluster::{Behind, Fact};
use model::Object;

fn namespace(annotations: &str) -> Vec<Manifest> {
    manifests(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: demo, annotations: {{{annotations}}}}}"
    ))
}

fn echo() -> Vec<Manifest> {
    manifests(
        "apiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: demo, annotations: {causeway.io/global: \
         \"true\"}}\nspec: {clusterIP: 10.101.0.1, ports: [{port: 80}]}",
    )
}

/// Whether the service is global, each time that something is said of it.
fn said(changes: &[Change]) -> Vec<bool> {
    let global = |change: &Change| match change {
        Change::Upsert(Object::Service(service)) => Some(service.global),
        _ => None,
    };
    changes.iter().filter_map(global).collect()
}

fn apply(index: &mut Index, objects: &[Manifest]) -> Vec<bool> {
    said(&objects.iter().flat_map(|object| index.apply(object)).collect::<Vec<_>>())
}

#[test]
fn a_namespace_says_whether_it_is_shared() {
    for (by_default, annotations, shared) in [
        (true, "", true),
        (false, "", false),
        (true, "causeway.io/global: \"false\"", false),
        (false, "causeway.io/global: \"true\"", true),
        (true, "clustermesh.cilium.io/global: \"false\"", false),
        (false, "clustermesh.cilium.io/global: \"true\"", true),
        (true, "clustermesh.cilium.io/global: \"false\", causeway.io/global: \"true\"", true),
        (true, "causeway.io/global: \"no\"", true),
    ] {
        // In either order.
        let new = || {
            Index::new(cluster(), Endpoints::FromSlices)
                .with_unsaid(Unsaid { shared: by_default, ..Unsaid::default() })
        };
        let mut index = new();
        apply(&mut index, &namespace(annotations));
        assert_eq!(apply(&mut index, &echo()), [shared], "{annotations}");
        let mut index = new();
        assert_eq!(apply(&mut index, &echo()), [by_default]);
        let expected = if shared == by_default { vec![] } else { vec![shared] };
        assert_eq!(apply(&mut index, &namespace(annotations)), expected, "{annotations}");
        // Without its namespace it is as by default again.
        let gone = said(&index.delete(&namespace("")[0].id()));
        assert_eq!(gone, if shared == by_default { vec![] } else { vec![by_default] }, "{annotations}");
    }
}

#[test]
fn what_comes_to_nothing_is_complained_of() {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    let export = manifests(
        "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\nmetadata: {name: echo, namespace: demo}",
    );
    apply(&mut index, &export);
    index.take_complaints();
    apply(&mut index, &namespace("causeway.io/global: \"false\""));
    let complaints = index.take_complaints();
    let [(id, found)] = complaints.as_slice() else { panic!("one expected, got {complaints:?}") };
    assert_eq!((id, found[0].reason), (&export[0].id(), "NamespaceNotShared"));
    apply(&mut index, &echo());
    let export_of = |index: &mut Index| {
        let facts = index.take_facts().into_iter();
        let exports = facts.filter_map(|fact| match fact {
            Fact::Export { export, .. } => Some(export.map(|export| export.behind)),
            _ => None,
        });
        exports.collect::<Vec<_>>()
    };
    assert_eq!(export_of(&mut index), [Some(Behind::Unshared)]);
    index.take_complaints();
    apply(&mut index, &namespace("causeway.io/global: \"maybe\""));
    assert_eq!(export_of(&mut index), [Some(Behind::Service)]);
    let complaints = index.take_complaints();
    let reasons: Vec<_> = complaints.iter().map(|(_, found)| found.first().map(|c| c.reason)).collect();
    assert_eq!(reasons, [Some("UnknownSharing"), None], "the export is well again");
}
