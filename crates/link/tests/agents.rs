//! A controller and its agents over loopback, with real TLS.

mod common;

use causeway_link::agent::AgentEvent;
use causeway_link::controller::{ControllerEvent, TokenTerms};
use common::{Agent, Controller, cluster, endpoint, name, node, report, service, upserts};
use model::NodeName;

fn aws_1() -> NodeName {
    NodeName::new(name("aws"), "aws-1").unwrap()
}

#[tokio::test]
async fn an_agent_joins_and_hears() {
    let mut aws = Controller::start(cluster("aws", 1)).await;
    aws.handle.publish(upserts([node("aws", 1, 1), service("aws", "echo", false)]));
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(dir.path(), aws_1(), vec![aws.handle.local_addr()], &aws.token());
    agent.until_synced().await;
    // The cluster itself is told without being published.
    assert_eq!(agent.world.len(), 3);
    aws.until("a report", |_, event| {
        matches!(event, ControllerEvent::Report { node, report: said } if *node == aws_1() && *said == report(1))
    })
    .await;
    assert_eq!(aws.handle.agents(), [aws_1()]);

    aws.handle.publish(upserts([endpoint("aws", 1, "echo", 1)]));
    agent.until_synced().await;
    assert_eq!(agent.world.len(), 4);
    assert_eq!(agent.position.unwrap().revision, aws.handle.revision());
    agent.report.send_replace(report(2));
    aws.until(
        "a new report",
        |_, event| matches!(event, ControllerEvent::Report { report: said, .. } if *said == report(2)),
    )
    .await;

    drop(agent);
    aws.until("the agent's end", |_, event| matches!(event, ControllerEvent::AgentDown { .. })).await;
    assert!(aws.handle.agents().is_empty());
    assert!(aws.handle.refused().is_empty(), "{:?}", aws.handle.refused());
    let _ = TokenTerms::default();
    let _: Option<AgentEvent> = None;
}
