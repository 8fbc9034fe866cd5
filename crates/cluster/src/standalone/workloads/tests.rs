//! Which pods there ought to be, and where.

use super::*;
use crate::index::tests::manifests;

fn node(name: &str, zone: &str) -> String {
    format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{zone: {zone}}}}}\n")
}

fn deployment(name: &str, replicas: usize, selector: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: \
         {{{selector} containers: [{{name: c}}]}}\n"
    )
}

fn pod(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{spec} containers: [{{name: c}}]}}\n"
    )
}

/// `pod@node` of each, and the problems.
fn lines(placement: &Placement) -> (String, String) {
    let line = |pod: &Pod| {
        format!("{}@{}", pod.metadata.name.as_deref().unwrap_or_default(), node_of(pod).unwrap_or("-"))
    };
    (placement.pods.iter().map(line).collect::<Vec<_>>().join(" "), placement.problems.join("; "))
}

/// What is there once a placement was made so.
fn after(objects: &[Manifest], placement: &Placement) -> Vec<Manifest> {
    let others = objects.iter().filter(|object| object.kind() != Kind::Pod).cloned();
    others.chain(placement.pods.iter().cloned().map(Manifest::from)).collect()
}

#[test]
fn placed() {
    let nodes = node("n1", "a") + &node("n2", "a") + &node("n3", "b");
    for (text, pods, problems) in [
        (deployment("web", 4, ""), "web-0@n1 web-1@n2 web-2@n3 web-3@n1", ""),
        (deployment("web", 0, ""), "", ""),
        (deployment("web", 3, "nodeSelector: {zone: a},"), "web-0@n1 web-1@n2 web-2@n1", ""),
        (
            deployment("web", 1, "nodeSelector: {zone: c},"),
            "web-0@-",
            "pod default/web-0 has no node to run on; look at its nodeSelector and at the nodes' labels",
        ),
        (deployment("a", 1, "") + &deployment("b", 1, "") + &pod("z", ""), "a-0@n1 b-0@n2 z@n3", ""),
        (pod("x", "nodeName: n1,") + &deployment("a", 2, ""), "a-0@n2 a-1@n3 x@n1", ""),
        (pod("x", "nodeName: n9,"), "x@n9", "pod default/x is to run on node n9, which is not there"),
        (
            pod("a-0", "nodeName: n1,") + &deployment("a", 2, ""),
            "a-0@n1 a-1@n2",
            "pod default/a-0 is not one of deployment default/a, which needs its name; give it another",
        ),
    ] {
        let objects = manifests(&(nodes.clone() + &text));
        let placement = place(&objects);
        assert_eq!(lines(&placement), (pods.into(), problems.into()), "{text}");
        assert_eq!(place(&after(&objects, &placement)), placement, "a second time, for {text}");
    }
}

#[test]
fn scaled_and_moved() {
    let nodes = node("n1", "a") + &node("n2", "a");
    let before = manifests(&(nodes.clone() + &deployment("web", 3, "")));
    let mut running = after(&before, &place(&before));
    for object in &mut running {
        if let Manifest::Pod(pod) = object {
            pod.status.get_or_insert_default().phase = Some("Running".into());
        }
    }
    let replace = |deployment: String, nodes: &str| {
        let pods = running.iter().filter(|object| object.kind() == Kind::Pod).cloned();
        manifests(&(nodes.to_string() + &deployment)).into_iter().chain(pods).collect::<Vec<_>>()
    };
    let smaller = place(&replace(deployment("web", 1, ""), &nodes));
    assert_eq!(lines(&smaller).0, "web-0@n1");
    assert!(smaller.pods[0].status.is_some(), "a pod that stays keeps its status");
    assert_eq!(
        lines(&place(&replace(deployment("web", 4, ""), &nodes))).0,
        "web-0@n1 web-1@n2 web-2@n1 web-3@n2"
    );
    assert_eq!(
        lines(&place(&replace(deployment("web", 3, ""), &node("n2", "a")))).0,
        "web-0@n2 web-1@n2 web-2@n2"
    );
    let moved = place(&replace(deployment("web", 3, ""), &node("n2", "a")));
    assert!(moved.pods[0].status.is_none(), "a pod that moves begins anew");
    assert!(moved.pods[1].status.is_some());
    assert_eq!(lines(&place(&replace(String::new(), &nodes))).0, "", "without its Deployment, a pod goes");
}

#[test]
fn closed_nodes_take_none() {
    let closed = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {unschedulable: true}\n";
    let objects = manifests(&(closed.to_string() + &node("n2", "a") + &deployment("web", 2, "")));
    assert_eq!(lines(&place(&objects)).0, "web-0@n2 web-1@n2");
}
