//! A cluster's CA goes over to its next root, with real handshakes: nobody has to do anything, wherever they were.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::{Agent, Controller, cluster, eventually, name, node, upserts};
use causeway_link::controller::{ControllerEvent, Lifetimes, TokenTerms, state};
use model::NodeName;

fn aws(n: u64) -> NodeName {
    NodeName::new(name("aws"), format!("aws-{n}")).unwrap()
}

fn read(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap()
}

async fn linked() -> (Controller, Controller) {
    let aws = Controller::start(cluster("aws", 1)).await;
    let mut gcp = Controller::start(cluster("gcp", 2)).await;
    aws.handle.publish(upserts([node("aws", 1, 1)]));
    gcp.handle.join(&aws.handle.link_token(&TokenTerms::default()).unwrap().token).await.unwrap();
    gcp.until_world("the node of aws", |world| world.nodes.len() == 1).await;
    (aws, gcp)
}

/// Three roots on, with nothing left of the first.
fn turn(controller: &Controller) {
    for _ in 0..3 {
        controller.handle.rotate().unwrap();
    }
    assert!(controller.handle.drop_old_roots().unwrap().old.is_empty());
}

#[tokio::test]
async fn a_peer_that_missed_it_all_comes_back_by_itself() {
    for who_was_away in ["the one that dials", "the one that is dialled"] {
        let (aws, gcp) = linked().await;
        let (awake, away) = if who_was_away == "the one that dials" { (aws, gcp) } else { (gcp, aws) };
        let cluster = away.cluster.clone();
        let (dir, address) = away.stop().await;
        let pinned = read(dir.path(), "links.json");
        turn(&awake);
        let away = Controller::start_in(dir, cluster, address, |_| {}).await;
        let connected = |c: &Controller| c.handle.links()[0].stream.connected;
        eventually(who_was_away, || connected(&awake) && connected(&away)).await;
        // It has pinned the new root, so that the next time is as the first.
        eventually("the new pin", || read(away.dir.path(), "links.json") != pinned).await;
        turn(&awake);
        eventually("the newer pin", || {
            let pinned = read(away.dir.path(), "links.json");
            read(awake.dir.path(), "ca.crt").lines().nth(3).is_some_and(|line| {
                // The one is base64 in lines, the other without.
                pinned.contains(line)
            })
        })
        .await;
        assert!(!awake.handle.refused().contains_key("certificate"), "{:?}", awake.handle.refused());
    }
}

#[tokio::test]
async fn who_is_connected_follows_at_once() {
    let (aws_controller, gcp) = linked().await;
    let dir = tempfile::tempdir().unwrap();
    let token = aws_controller.token();
    let address = aws_controller.handle.local_addr();
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], &token);
    agent.until_synced().await;
    std::fs::remove_file(dir.path().join("join-token")).unwrap();
    let (certificate, pinned) = (read(dir.path(), "tls/node.crt"), read(gcp.dir.path(), "links.json"));

    let status = aws_controller.handle.rotate().unwrap();
    assert_eq!(status.old.len(), 1);
    eventually("the peer's pin", || read(gcp.dir.path(), "links.json") != pinned).await;
    let renewed = || read(dir.path(), "tls/node.crt") != certificate;
    let reconnected = async {
        agent
            .until("a stream with the new certificate", |_, event| {
                matches!(event, causeway_link::agent::AgentEvent::Connected { .. }) && renewed()
            })
            .await;
    };
    reconnected.await;
    assert_eq!(read(dir.path(), "tls/roots.crt"), aws_controller.handle.roots());
    assert_eq!(agent.errors, Vec::<String>::new());
    // Now the old root is needed by nobody.
    aws_controller.handle.drop_old_roots().unwrap();
    drop(agent);
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], "");
    agent.until_synced().await;
    assert!(!aws_controller.handle.refused().contains_key("certificate"));
}

#[tokio::test]
async fn it_happens_by_itself_and_ends_by_itself() {
    let second = Duration::from_secs(1);
    let lifetimes = Lifetimes {
        certificate: 2 * second,
        rotate_after: second,
        grace: Duration::ZERO,
        ..Lifetimes::default()
    };
    let aws = Controller::start_with(cluster("aws", 1), |o| o.lifetimes = lifetimes.clone()).await;
    let first = aws.handle.authority().root;
    eventually("the next root", || aws.handle.authority().old.iter().any(|old| old.root == first)).await;
    eventually("the end of the first", || aws.handle.authority().old.iter().all(|old| old.root != first))
        .await;
    assert_ne!(aws.handle.authority().root, first);
}

#[tokio::test]
async fn a_node_that_was_away_for_longer_than_its_certificate_renews_it() {
    let short = |grace| Lifetimes { certificate: Duration::from_secs(1), grace, ..Lifetimes::default() };
    let day = Duration::from_secs(24 * 3600);
    let controller = Controller::start_with(cluster("aws", 1), |o| o.lifetimes = short(day)).await;
    let dir = tempfile::tempdir().unwrap();
    let address = controller.handle.local_addr();
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], &controller.token());
    agent.until_synced().await;
    drop(agent);
    let certificate = read(dir.path(), "tls/node.crt");
    let ended = SystemTime::now() + Duration::from_secs(3);
    controller.handle.rotate().unwrap();
    eventually("the certificate's end", || SystemTime::now() > ended).await;
    // Its token is used up, and the root has changed meanwhile.
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], "");
    agent.until_synced().await;
    assert_ne!(read(dir.path(), "tls/node.crt"), certificate);
    assert_eq!(read(dir.path(), "tls/roots.crt"), controller.handle.roots());
    drop(agent);

    // Where there is no grace, it has to join again, and is told so.
    let certificate = read(dir.path(), "tls/node.crt");
    let (state, address) = controller.stop().await;
    let controller =
        Controller::start_in(state, cluster("aws", 1), address, |o| o.lifetimes = short(Duration::ZERO))
            .await;
    let ended = SystemTime::now() + Duration::from_secs(3);
    eventually("the certificate's end", || SystemTime::now() > ended).await;
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], "");
    agent.until_error("the node's certificate has ended, and could not be renewed").await;
    assert_eq!(read(dir.path(), "tls/node.crt"), certificate);
    assert!(controller.handle.refused()["certificate"] > 0);
    drop(agent);
    let mut agent = Agent::start(dir.path(), aws(1), vec![address], &controller.token());
    agent.until_synced().await;
}

#[tokio::test]
async fn who_stands_by_takes_the_next_root_over() {
    let mut leader = Controller::start(cluster("aws", 1)).await;
    let dir = tempfile::tempdir().unwrap();
    state::write(dir.path(), &state::read(leader.dir.path()).unwrap()).unwrap();
    let standby =
        Controller::start_in(dir, cluster("aws", 1), "127.0.0.1:0".parse().unwrap(), |o| o.leads = false)
            .await;
    assert!(standby.handle.rotate().unwrap_err().to_string().contains("stands by"));
    let mut saved = leader.handle.state_saved();
    saved.mark_unchanged();
    leader.handle.rotate().unwrap();
    saved.changed().await.unwrap();

    // A node joins under the new root, and is known at the standby as soon as the state is there.
    let agent_dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(agent_dir.path(), aws(1), vec![leader.handle.local_addr()], &leader.token());
    agent.until_synced().await;
    drop(agent);
    leader.until("its end", |_, event| matches!(event, ControllerEvent::AgentDown { .. })).await;
    state::write(standby.dir.path(), &state::read(leader.dir.path()).unwrap()).unwrap();
    assert!(!standby.handle.reload_authority().unwrap());
    assert_eq!(standby.handle.roots(), leader.handle.roots());
    let mut agent = Agent::start(agent_dir.path(), aws(1), vec![standby.handle.local_addr()], "");
    agent.until_synced().await;

    // Another cluster's CA is not taken for the next root.
    let other = Controller::start(cluster("aws", 1)).await;
    let roots = standby.handle.roots();
    state::write(standby.dir.path(), &state::read(other.dir.path()).unwrap()).unwrap();
    std::fs::write(standby.dir.path().join("ca-cross.crt"), "").unwrap();
    assert!(standby.handle.reload_authority().unwrap());
    assert_eq!(standby.handle.roots(), roots);
}
