//! Words that ask for nearness: Kubernetes' for endpoints, ours for what counts where a service does not say, and whose
//! machine a node is.

use model::{Change, Hints, Object, Spread};

use super::{Endpoints, Index, READY, UNREADY, Unsaid, cluster, manifests};

/// A service of these annotations and fields, with a pod of this status behind it.
fn apply(index: &mut Index, annotations: &str, spec: &str, status: &str) -> Vec<Change> {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: demo, annotations: {{{annotations}}}}}\nspec: \
         {{clusterIP: 10.101.0.9, selector: {{app: a}}, {spec} ports: [{{port: 80}}]}}\n---\napiVersion: v1\nkind: \
         Pod\nmetadata: {{name: p, namespace: demo, labels: {{app: a}}}}\nspec: {{nodeName: n, containers: [{{name: \
         c}}]}}\nstatus: {{{status}}}\n"
    );
    manifests(&text).iter().flat_map(|manifest| index.apply(manifest)).collect()
}

/// The hints of the only endpoint.
fn hints(changes: &[Change]) -> Hints {
    let last = changes.iter().rev().find_map(|change| match change {
        Change::Upsert(Object::Endpoint(endpoint)) => Some(endpoint.hints.clone()),
        _ => None,
    });
    last.expect("an endpoint")
}

/// What Kubernetes' controller would write (`trafficdist`): for ready endpoints, by the service's words.
#[test]
fn hints_that_follow_from_words() {
    const MODE: &str = "service.kubernetes.io/topology-mode";
    const AWARE: &str = "service.kubernetes.io/topology-aware-hints";
    let auto = |key: &str| format!("{key}: Auto");
    let cases: Vec<(&str, String, &str, &str, Hints)> = vec![
        ("no word", String::new(), "", READY, Hints::None),
        ("PreferClose", String::new(), "trafficDistribution: PreferClose,", READY, Hints::OwnZone),
        ("PreferSameZone", String::new(), "trafficDistribution: PreferSameZone,", READY, Hints::OwnZone),
        ("PreferSameNode", String::new(), "trafficDistribution: PreferSameNode,", READY, Hints::OwnNode),
        ("not ready, for a zone", String::new(), "trafficDistribution: PreferClose,", UNREADY, Hints::None),
        (
            "not ready, for a node",
            String::new(),
            "trafficDistribution: PreferSameNode,",
            UNREADY,
            Hints::None,
        ),
        (
            "not ready, but published",
            String::new(),
            "trafficDistribution: PreferSameNode, publishNotReadyAddresses: true,",
            UNREADY,
            Hints::OwnNode,
        ),
        ("the annotation", auto(MODE), "", READY, Hints::OwnZone),
        ("in its older spelling", auto(AWARE), "", READY, Hints::OwnZone),
        ("in small letters", format!("{MODE}: auto"), "", READY, Hints::OwnZone),
        ("switched off", format!("{MODE}: Disabled"), "", READY, Hints::None),
        ("before the field", auto(MODE), "trafficDistribution: PreferSameNode,", READY, Hints::OwnZone),
        (
            "switched off, so the field counts",
            format!("{MODE}: Disabled"),
            "trafficDistribution: PreferSameNode,",
            READY,
            Hints::OwnNode,
        ),
    ];
    for (what, annotations, spec, status, want) in cases {
        let mut index = Index::new(cluster(), Endpoints::FromSelectors);
        assert_eq!(hints(&apply(&mut index, &annotations, spec, status)), want, "{what}");
    }
    let mut index = Index::new(cluster(), Endpoints::FromSelectors);
    apply(&mut index, "", "trafficDistribution: PreferClose,", READY);
    assert_eq!(hints(&apply(&mut index, "", "", READY)), Hints::None, "taken back with the word");
}

#[test]
fn what_counts_where_a_service_does_not_say() {
    let spread = |default: Spread, annotation: &str| {
        let mut index = Index::new(cluster(), Endpoints::FromSelectors)
            .with_unsaid(Unsaid { spread: default, ..Unsaid::default() });
        let changes = apply(&mut index, annotation, "", READY);
        let service = changes.iter().find_map(|change| match change {
            Change::Upsert(Object::Service(service)) => Some(service.traffic.spread),
            _ => None,
        });
        service.expect("a service")
    };
    for (default, annotation, want) in [
        (Spread::Ladder, "", Spread::Ladder),
        (Spread::Even, "", Spread::Even),
        (Spread::Ladder, "causeway.io/traffic: even", Spread::Even),
        (Spread::Even, "causeway.io/traffic: ladder", Spread::Ladder),
        (Spread::Even, "causeway.io/traffic: nonsense", Spread::Even),
    ] {
        assert_eq!(spread(default, annotation), want, "{default:?} {annotation}");
    }
}

#[test]
fn whose_machine_a_node_is() {
    let long = "p".repeat(64);
    for (metadata, id, want) in [
        ("", "", ""),
        ("", "aws:///eu-west-1a/i-0123", "aws"),
        ("", "gce://project/europe-west1-b/vm", "gce"),
        ("", "no scheme", ""),
        ("", "://x", ""),
        ("labels: {causeway.io/provider: hetzner}", "aws:///a/b", "hetzner"),
        ("annotations: {causeway.io/provider: rack}, labels: {causeway.io/provider: hetzner}", "", "rack"),
        ("", &format!("{long}://x"), ""),
    ] {
        let mut index = Index::new(cluster(), Endpoints::FromSelectors);
        let text = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n, {metadata}}}\nspec: {{providerID: {id:?}}}\nstatus: \
             {{addresses: []}}\n"
        );
        let changes: Vec<Change> =
            manifests(&text).iter().flat_map(|manifest| index.apply(manifest)).collect();
        let [Change::Upsert(Object::Node(node))] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(node.topology.provider, want, "{metadata} {id}");
    }
}
