//! What is wrong with a link is found, at the first thing that is wrong; and one direction is enough for a link.

use crate::common::{Controller, cluster, eventually, name, node, upserts};
use causeway_link::controller::TokenTerms;
use model::Cluster;
use wire::local::{Check, CheckState};

/// `joiner` dials `maker`.
async fn link(maker: &Controller, joiner: &Controller) {
    let token = maker.handle.link_token(&TokenTerms::default()).unwrap().token;
    joiner.handle.join(&token).await.unwrap();
    let connected = |c: &Controller, of: &Controller| {
        c.handle.links().iter().any(|link| link.cluster == of.cluster.name && link.stream.connected)
    };
    eventually("the stream", || connected(maker, joiner) && connected(joiner, maker)).await;
}

async fn examine(at: &Controller, of: &str) -> Vec<Check> {
    at.handle.examine(&name(of)).await.unwrap().checks
}

/// The last check is the only one that failed, and says this.
fn fails(checks: &[Check], what: &str, detail: &str, advice: &str) {
    let (last, before) = checks.split_last().unwrap();
    assert!(before.iter().all(|check| check.state != CheckState::Failed), "{checks:?}");
    assert_eq!((last.name.as_str(), last.state), (what, CheckState::Failed), "{checks:?}");
    assert!(last.detail.contains(detail) && last.advice.contains(advice), "{last:?}");
}

fn words(checks: &[Check]) -> Vec<(&str, CheckState)> {
    checks.iter().map(|check| (check.name.as_str(), check.state)).collect()
}

#[tokio::test]
async fn nothing_is_wrong() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    use CheckState::{Ok, Skipped};
    let seen = examine(&gcp, "aws").await;
    assert_eq!(
        words(&seen),
        [("DNS", Skipped), ("TCP", Ok), ("TLS identity", Ok), ("clock", Ok), ("ranges", Ok), ("version", Ok)]
    );
    let seen = examine(&aws, "gcp").await;
    assert_eq!(
        words(&seen),
        [
            ("DNS", Skipped),
            ("TCP", Ok),
            ("TLS identity", Ok),
            ("clock", Skipped),
            ("ranges", Ok),
            ("version", Ok)
        ]
    );
    // Nobody was disturbed.
    assert!(aws.handle.links()[0].stream.connected && gcp.handle.links()[0].stream.connected);
    assert!(aws.handle.refused().is_empty() && gcp.handle.refused().is_empty());
    assert!(gcp.handle.examine(&name("azure")).await.is_none());
}

#[tokio::test]
async fn nobody_answers() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    let address = aws.handle.local_addr();
    aws.stop().await;
    let seen = examine(&gcp, "aws").await;
    fails(&seen, "TCP", &format!("{address}: "), "check that the controller of aws runs");
}

#[tokio::test]
async fn the_side_that_is_dialled_says_who_has_to_look() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    gcp.stop().await;
    eventually("the end", || !aws.handle.links()[0].stream.connected).await;
    let seen = examine(&aws, "gcp").await;
    fails(&seen, "TCP", "gcp dials this cluster, and is not connected", "causeway link doctor aws");
    assert!(seen[1].advice.contains(&aws.handle.local_addr().to_string()), "{seen:?}");
}

#[tokio::test]
async fn somebody_else_answers() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    let (_, address) = aws.stop().await;
    // Set up anew, with another CA.
    let anew = tempfile::tempdir().unwrap();
    let aws = Controller::start_in(anew, cluster("aws", 1), address, |_| {}).await;
    fails(&examine(&gcp, "aws").await, "TLS identity", "the CA of aws does not vouch for it", "new token");
    aws.stop().await;
    // Another cluster altogether.
    let other = tempfile::tempdir().unwrap();
    let _azure = Controller::start_in(other, cluster("azure", 3), address, |_| {}).await;
    fails(
        &examine(&gcp, "aws").await,
        "TLS identity",
        "causeway://azure/controller, expected",
        "something else answers",
    );
}

#[tokio::test]
async fn the_link_was_removed_at_the_other_side() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    aws.handle.remove_link(&name("gcp")).unwrap();
    let seen = examine(&gcp, "aws").await;
    fails(&seen, "TLS identity", "aws does not accept that this is gcp", "remove the link here, too");
}

#[tokio::test]
async fn ranges_that_came_to_overlap() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    let (dir, address) = aws.stop().await;
    let grown = Cluster { pod_cidrs: vec!["10.0.0.0/8".parse().unwrap()], ..cluster("aws", 1) };
    let _aws = Controller::start_in(dir, grown, address, |_| {}).await;
    let seen = examine(&gcp, "aws").await;
    fails(&seen, "ranges", "its pod ranges 10.0.0.0/8 overlap those of gcp: 10.2.0.0/16", "other pod ranges");
}

#[tokio::test]
async fn a_name_that_stands_for_nobody() {
    let aws = Controller::start_with(cluster("aws", 1), |o| {
        let port = o.listen.port();
        o.advertise_to_clusters = vec![format!("localhost:{port}").parse().unwrap()];
    })
    .await;
    let gcp = Controller::start(cluster("gcp", 2)).await;
    link(&aws, &gcp).await;
    let seen = examine(&gcp, "aws").await;
    assert!(seen[0].state == CheckState::Ok && seen[0].detail.starts_with("localhost is "), "{seen:?}");
    let (dir, address) = gcp.stop().await;
    let links = std::fs::read_to_string(dir.path().join("links.json")).unwrap();
    std::fs::write(dir.path().join("links.json"), links.replace("localhost", "no-such-name.invalid"))
        .unwrap();
    let gcp = Controller::start_in(dir, cluster("gcp", 2), address, |_| {}).await;
    fails(&examine(&gcp, "aws").await, "DNS", "cannot look up no-such-name.invalid", "/etc/resolv.conf");
    let error = || gcp.handle.links()[0].stream.last_error.clone().unwrap_or_default();
    eventually("why", || error().contains("cannot look up no-such-name.invalid")).await;
}

#[tokio::test]
async fn one_direction_is_enough() {
    let mut aws = Controller::start(cluster("aws", 1)).await;
    // Nobody reaches it where it says it is (RFC 5737), as behind NAT.
    let mut gcp =
        Controller::start_with(cluster("gcp", 2), |o| o.advertise = vec!["192.0.2.1:9640".parse().unwrap()])
            .await;
    link(&aws, &gcp).await;
    aws.handle.publish(upserts([node("aws", 1, 1)]));
    gcp.handle.publish(upserts([node("gcp", 2, 1)]));
    gcp.until_world("the node of aws", |world| world.nodes.len() == 1).await;
    aws.until_world("the node of gcp", |world| world.nodes.len() == 1).await;
    // Through a restart of either side.
    let (dir, address) = aws.stop().await;
    let mut aws = Controller::start_in(dir, cluster("aws", 1), address, |_| {}).await;
    aws.until_world("the node of gcp again", |world| world.nodes.len() == 1).await;
    gcp.handle.publish(upserts([node("gcp", 2, 2)]));
    aws.until_world("the next node", |world| world.nodes.len() == 2).await;
}
