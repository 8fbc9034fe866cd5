//! Pods, namespaces and policies between controllers and agents: whoever can have a use for them, and nobody else.

use std::collections::BTreeSet;

use causeway_link::agent::AgentEvent;
use causeway_link::controller::ControllerEvent;
use model::policy::{
    Labels, Namespace, NamespaceChoice, NamespaceName, Pod, PodName, PodSelector, Policy, PolicyKind,
    PolicyName, PolicyTier, Selector,
};
use model::{Change, ClusterName, NodeName, Object};

use super::common::{Agent, Controller, cluster, link, name, node, upserts};

fn namespace(of: &str, shared: bool) -> Object {
    let name = NamespaceName { cluster: name(of), name: "demo".into() };
    Object::Namespace(Namespace { name, labels: Labels::new(), shared })
}

/// Pod `i` of cluster `n`, on its node of that number.
fn pod(of: &str, n: u64, i: u64) -> Object {
    Object::Pod(Pod {
        name: PodName {
            namespace: NamespaceName { cluster: name(of), name: "demo".into() },
            name: format!("p{i}"),
        },
        ips: vec![format!("10.{n}.{i}.9").parse().unwrap()],
        node: Some(NodeName::new(name(of), format!("{of}-{i}")).unwrap()),
        labels: [("app".to_string(), "echo".to_string())].into(),
        ports: Vec::new(),
    })
}

fn policy(of: &str, distribute: bool) -> Object {
    Object::Policy(Policy {
        name: PolicyName {
            cluster: name(of),
            kind: PolicyKind::NetworkPolicy,
            namespace: "demo".into(),
            name: format!("distributed-{distribute}"),
        },
        tier: PolicyTier::Namespace,
        distribute,
        subject: PodSelector { namespaces: NamespaceChoice::Named("demo".into()), pods: Selector::default() }
            .into(),
        ingress: Some(Vec::new()),
        egress: None,
    })
}

fn is_synced(event: &ControllerEvent) -> bool {
    matches!(event, ControllerEvent::PeerSynced { .. })
}

fn some(clusters: &[&str]) -> Option<BTreeSet<ClusterName>> {
    Some(clusters.iter().map(|of| name(of)).collect())
}

fn gcp_node() -> NodeName {
    NodeName::new(name("gcp"), "gcp-1").unwrap()
}

#[tokio::test]
async fn pods_travel_to_whoever_has_a_policy_for_them() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let mut gcp = Controller::start(cluster("gcp", 2)).await;
    aws.handle.publish(upserts([namespace("aws", true), pod("aws", 1, 1), policy("aws", true)]));
    gcp.handle.publish(upserts([
        namespace("gcp", true),
        pod("gcp", 2, 1),
        pod("gcp", 2, 2),
        policy("gcp", false),
    ]));
    link(&aws, &gcp).await;
    gcp.until("aws", |_, event| is_synced(event)).await;
    assert_eq!(gcp.world.len(), 1, "nobody wants pods, and policies are not taken: {:?}", gcp.world);

    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(dir.path(), gcp_node(), vec![gcp.handle.local_addr()], &gcp.token());
    agent.until_synced().await;
    let pods = |agent: &Agent| agent.world.pods.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(pods(&agent), ["gcp/demo/p1"], "its own");
    assert_eq!((agent.world.namespaces.len(), agent.world.policies.len()), (1, 1));

    agent.pods.send_replace(some(&["aws", "gcp"]));
    gcp.until_world("aws's pod", |world| world.pods.len() == 1).await;
    assert_eq!(gcp.world.namespaces.len(), 1);
    gcp.handle.publish(gcp.world.objects().map(Change::Upsert).collect());
    agent.until("all pods", |agent, _| pods(agent) == ["aws/demo/p1", "gcp/demo/p1", "gcp/demo/p2"]).await;
    // A new address is there as it changes.
    let Object::Pod(mut moved) = pod("aws", 1, 1) else { panic!("a pod") };
    moved.ips = vec!["10.1.1.77".parse().unwrap()];
    aws.handle.publish(upserts([Object::Pod(moved.clone())]));
    gcp.until_world("the address", |world| world.pods[&moved.name] == moved).await;
    // A namespace that is shared no more takes its pods along.
    aws.handle.publish(upserts([namespace("aws", false)]));
    gcp.until_world("nothing", |world| world.pods.is_empty() && world.namespaces.is_empty()).await;

    // What is of no use any more goes from the agent at once.
    agent.pods.send_replace(some(&[]));
    agent.until("its own alone", |agent, _| pods(agent) == ["gcp/demo/p1"]).await;
    // What it knows in full, it says: to be saved.
    agent.pods.send_replace(some(&["gcp"]));
    let told = |_: &Agent, event: &AgentEvent| match event {
        AgentEvent::Interest(interest) => interest.topics.pods == some(&["gcp"]).unwrap(),
        _ => false,
    };
    agent.until("the interest", told).await;
}

#[tokio::test]
async fn policies_are_taken_where_that_is_the_setting() {
    let mut aws = Controller::start(cluster("aws", 1)).await;
    let mut gcp = Controller::start_with(cluster("gcp", 2), |options| options.links.policies = true).await;
    aws.handle.publish(upserts([node("aws", 1, 1), policy("aws", true), policy("aws", false)]));
    gcp.handle.publish(upserts([policy("gcp", true)]));
    link(&aws, &gcp).await;
    gcp.until_world("the policy", |world| world.policies.len() == 1 && world.nodes.len() == 1).await;
    aws.until("gcp", |_, event| is_synced(event)).await;
    assert!(aws.world.policies.is_empty(), "aws takes none");
    aws.handle.publish(vec![Change::Delete(policy("aws", true).key())]);
    gcp.until_world("none", |world| world.policies.is_empty()).await;
}
