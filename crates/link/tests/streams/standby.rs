//! A cluster with two controllers, and nodes that prove themselves by tokens of somebody else's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::common::{Agent, Controller, cluster, name, node, report, upserts};
use causeway_link::agent::{AgentEvent, Proof};
use causeway_link::controller::{
    ControllerEvent, ControllerOptions, NotReviewed, Review, Reviewer, TokenTerms, state,
};
use model::{NodeName, World};

fn aws(n: u64) -> NodeName {
    NodeName::new(name("aws"), format!("aws-{n}")).unwrap()
}

/// Two controllers with one CA: the second stands by.
async fn pair(change: impl Fn(&mut ControllerOptions)) -> (Controller, Controller) {
    let first = Controller::start_with(cluster("aws", 1), &change).await;
    let dir = tempfile::tempdir().unwrap();
    state::write(dir.path(), &state::read(first.dir.path()).unwrap()).unwrap();
    let second = Controller::start_in(dir, cluster("aws", 1), "127.0.0.1:0".parse().unwrap(), |options| {
        change(options);
        options.leads = false;
    })
    .await;
    (first, second)
}

#[tokio::test]
async fn an_agent_that_is_sent_away_goes_to_the_next_controller() {
    let (mut leader, mut standby) = pair(|_| {}).await;
    let addresses = vec![standby.handle.local_addr(), leader.handle.local_addr()];
    let dir = tempfile::tempdir().unwrap();
    // It joins at the leader, whose address its token has.
    let mut agent = Agent::start(dir.path(), aws(1), vec![leader.handle.local_addr()], &leader.token());
    agent.until_synced().await;
    drop(agent);

    let mut agent = Agent::start(dir.path(), aws(1), addresses.clone(), "");
    standby.until("a report", |_, event| matches!(event, ControllerEvent::Report { .. })).await;
    assert!(standby.handle.dismiss(&aws(1), "this controller stands by, and gcp-7 leads"));
    agent.until_error("stands by, and gcp-7 leads").await;
    let at = |address| move |_: &Agent, event: &AgentEvent| matches!(event, AgentEvent::Connected { controller } if *controller == address);
    agent.until("the next controller", at(addresses[1])).await;
    let said = |_: &Controller, event: &ControllerEvent| matches!(event, ControllerEvent::Report { node, report: said } if *node == aws(1) && *said == report(1));
    leader.until("its report", said).await;
    standby.until("its end", |_, event| matches!(event, ControllerEvent::AgentDown { .. })).await;
    assert!(!standby.handle.dismiss(&aws(1), "again"), "there is nobody any more");
}

#[tokio::test]
async fn who_stands_by_makes_and_takes_no_tokens_until_it_leads() {
    let (leader, standby) = pair(|_| {}).await;
    let terms = TokenTerms { uses: 2, ..TokenTerms::default() };
    let refused = standby.handle.node_token(&terms).map(drop).unwrap_err().to_string();
    assert!(refused.contains("stands by"), "{refused}");
    let token = leader.handle.node_token(&terms).unwrap().token;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(dir.path(), aws(1), vec![standby.handle.local_addr()], &token);
    agent.until_error("stands by").await;

    // The other's state comes over; then the token counts here.
    state::write(standby.dir.path(), &state::read(leader.dir.path()).unwrap()).unwrap();
    let mut saved = standby.handle.state_saved();
    saved.mark_unchanged();
    standby.handle.lead(true, BTreeMap::new()).unwrap();
    agent.until_synced().await;
    saved.changed().await.unwrap();
}

#[tokio::test]
async fn links_are_taken_over_with_what_was_heard() {
    let (aws, standby) = pair(|_| {}).await;
    let mut gcp = Controller::start(cluster("gcp", 2)).await;
    aws.handle.publish(upserts([node("aws", 1, 1)]));
    standby.handle.publish(upserts([node("aws", 1, 1)]));
    gcp.handle.publish(upserts([node("gcp", 2, 1)]));
    aws.handle.join(&gcp.handle.link_token(&TokenTerms::default()).unwrap().token).await.unwrap();
    gcp.until_world("the node of aws", |world| world.nodes.len() == 1).await;
    assert!(standby.handle.links().is_empty());

    state::write(standby.dir.path(), &state::read(aws.dir.path()).unwrap()).unwrap();
    drop(aws);
    let mut standby = standby;
    standby.handle.lead(true, BTreeMap::new()).unwrap();
    standby.until_world("the node of gcp", |world| world.nodes.len() == 1).await;
    assert!(standby.handle.links()[0].stream.connected);
    standby.handle.lead(false, BTreeMap::new()).unwrap();
    crate::common::eventually("the end of the stream", || !standby.handle.links()[0].stream.connected).await;
}

/// Knows tokens by heart.
#[derive(Debug, Default)]
struct Desk {
    tokens: Mutex<BTreeMap<String, Result<String, NotReviewed>>>,
    gone: Mutex<bool>,
}

impl Reviewer for Desk {
    fn review<'a>(&'a self, token: &'a str) -> Review<'a> {
        let known = self.tokens.lock().unwrap().get(token).cloned();
        let unknown = || Err(NotReviewed::Refused("nobody knows this token".into()));
        Box::pin(async move { known.unwrap_or_else(unknown) })
    }

    fn is_node(&self, _: &str) -> bool {
        !*self.gone.lock().unwrap()
    }
}

/// An agent that shows `token` of somebody else's.
fn shows(dir: &Path, n: u64, to: SocketAddr, controller: &Controller, token: &str) -> Agent {
    let (token_file, roots) = (dir.join("token"), dir.join("ca.crt"));
    std::fs::write(&token_file, token).unwrap();
    std::fs::write(&roots, controller.handle.roots()).unwrap();
    let proof = Proof::ServiceAccount { token: token_file, roots };
    Agent::proving(dir, aws(n), vec![to], proof, World::default(), None)
}

#[tokio::test]
async fn tokens_of_somebody_elses_are_reviewed() {
    let desk = Arc::new(Desk::default());
    desk.tokens.lock().unwrap().extend([
        ("of-1".to_string(), Ok("aws-1".to_string())),
        ("of-2".to_string(), Ok("aws-2".to_string())),
        ("later".to_string(), Err(NotReviewed::NotNow("nobody can say now".into()))),
    ]);
    let reviewer = desk.clone();
    // A controller that stands by reviews as well: that writes nothing.
    let (_leader, controller) = pair(move |options| {
        options.reviewer = Some(reviewer.clone());
        options.reviewed_lifetime = Duration::from_secs(4);
    })
    .await;
    let address = controller.handle.local_addr();
    for (token, said) in [
        ("of-2", "the token is one of node aws-2, not of aws-1"),
        ("forged", "nobody knows this token"),
        ("later", "nobody can say now"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut agent = shows(dir.path(), 1, address, &controller, token);
        agent.until_error(said).await;
        assert!(!agent.errors.concat().contains("forged"), "{:?}", agent.errors);
        // What proves it may come later.
        std::fs::write(dir.path().join("token"), "of-1").unwrap();
        agent.until_synced().await;
    }
    let refused = controller.handle.refused();
    assert!(refused["token"] >= 2 && refused["unreviewed"] >= 1, "{refused:?}");

    // The certificate is short: it is renewed while it lasts, and not for a node that is gone.
    let dir = tempfile::tempdir().unwrap();
    let mut agent = shows(dir.path(), 1, address, &controller, "of-1");
    agent.until_synced().await;
    agent.until_synced().await;
    *desk.gone.lock().unwrap() = true;
    desk.tokens.lock().unwrap().clear();
    agent.until_error("there is no Node aws-1 any more").await;
}

#[tokio::test]
async fn who_shows_too_many_bad_tokens_waits() {
    let desk = Arc::new(Desk::default());
    let controller =
        Controller::start_with(cluster("aws", 1), |options| options.reviewer = Some(desk.clone())).await;
    let dirs: Vec<_> = (0..12).map(|_| tempfile::tempdir().unwrap()).collect();
    let address = controller.handle.local_addr();
    let agents: Vec<_> =
        dirs.iter().map(|dir| shows(dir.path(), 1, address, &controller, "forged")).collect();
    crate::common::eventually("impatience", || controller.handle.refused().contains_key("impatience")).await;
    drop(agents);
}
