//! An agent that shows its pod's token: what it reads, what it says is missing, whom it believes.

use std::sync::Arc;

use crate::common::{Agent, Controller, cluster, name, node, upserts};
use causeway_link::agent::{AgentEvent, Proof};
use causeway_link::controller::{ControllerOptions, NotReviewed, Review, Reviewer};
use model::{NodeName, World};

/// Believes whoever says `good`.
#[derive(Debug)]
struct Credulous;

impl Reviewer for Credulous {
    fn review<'a>(&'a self, token: &'a str) -> Review<'a> {
        let reviewed = match token {
            "good" => Ok("aws-1".to_string()),
            _ => Err(NotReviewed::Refused("the token has expired".into())),
        };
        Box::pin(std::future::ready(reviewed))
    }

    fn is_node(&self, _: &str) -> bool {
        true
    }
}

fn reviewing(options: &mut ControllerOptions) {
    options.reviewer = Some(Arc::new(Credulous));
}

fn agent(dir: &std::path::Path, controllers: Vec<std::net::SocketAddr>) -> Agent {
    let proof = Proof::ServiceAccount { token: dir.join("token"), roots: dir.join("ca.crt") };
    let node = NodeName::new(name("aws"), "aws-1").unwrap();
    Agent::proving(dir, node, controllers, proof, World::default(), None)
}

#[tokio::test]
async fn what_is_missing_is_said_and_awaited() {
    let controller = Controller::start_with(cluster("aws", 1), reviewing).await;
    let gone = ports::free();
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path(), vec![gone, controller.handle.local_addr()]);
    agent.until_error("audience causeway").await;
    std::fs::write(dir.path().join("token"), "old\n").unwrap();
    agent.until_error("ConfigMap causeway-roots").await;
    std::fs::write(dir.path().join("ca.crt"), "no certificate").unwrap();
    agent.until_error("ca.crt is damaged").await;
    std::fs::write(dir.path().join("ca.crt"), controller.handle.roots()).unwrap();
    // One controller is away, the other refuses: that is the one to tell.
    agent.until_error("the token has expired").await;
    // Kubelet brings the next one.
    std::fs::write(dir.path().join("token"), "good\n").unwrap();
    agent.until_synced().await;
    assert!(
        agent.errors.iter().all(|error| !error.contains("good") && !error.contains("old")),
        "{:?}",
        agent.errors
    );
}

#[tokio::test]
async fn a_cluster_that_begins_anew_is_followed_once_its_roots_are_there() {
    let mut first = Controller::start_with(cluster("aws", 1), reviewing).await;
    first.handle.publish(upserts([node("aws", 1, 1)]));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "good").unwrap();
    std::fs::write(dir.path().join("ca.crt"), first.handle.roots()).unwrap();
    let mut agent = agent(dir.path(), vec![first.handle.local_addr()]);
    agent.until_synced().await;
    first.events.close();
    let (_, address) = first.stop().await;

    // Its CA was lost: another one at the same place.
    let second =
        Controller::start_in(tempfile::tempdir().unwrap(), cluster("aws", 1), address, reviewing).await;
    agent.until_error("does not vouch for it").await;
    assert!(second.handle.agents().is_empty(), "the roots are pinned");
    std::fs::write(dir.path().join("ca.crt"), second.handle.roots()).unwrap();
    let connected = |_: &Agent, event: &AgentEvent| matches!(event, AgentEvent::Connected { .. });
    agent.until("a new certificate", connected).await;
}
