//! Nodes that prove themselves by a token of Kubernetes, over real TLS; and a controller whose API server is away.

use std::time::Duration;

use crate::common::{Agent, Replica, eventually, identity, node, server};
use apiserver::{Fault, Identity};
use link::agent::AgentEvent;

#[tokio::test]
async fn only_a_token_of_the_nodes_own_agent_counts() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        server.apply_json(node(name, &[&format!("10.1.{n}.0/24")]));
    }
    let controller = Replica::start(&dir.path().join("c"), &server.url());
    controller.until_it_leads().await;
    eventually("the roots", || server.get("configmaps", "causeway-system/causeway-roots").is_some()).await;
    server.accept_token("good", identity("a"));
    server.accept_token("of-b", identity("b"));
    server.accept_token("of-nobody", identity("gone"));
    server.accept_token("for-others", Identity { audiences: vec!["vault".into()], ..identity("a") });
    let other = Identity { username: "system:serviceaccount:default:default".into(), ..identity("a") };
    server.accept_token("of-others", other);
    server.accept_token("unbound", Identity { extra: Default::default(), ..identity("a") });
    server.accept_token("t0ken-old", identity("a"));
    server.revoke_token("t0ken-old");
    for (token, said) in [
        ("of-b", "the token is one of node b, not of a"),
        ("of-nobody", "there is no such Node"),
        ("for-others", "proves nothing"),
        ("of-others", "system:serviceaccount:default:default"),
        ("unbound", "it is bound to no pod"),
        ("t0ken-old", "proves nothing"),
    ] {
        let folder = dir.path().join(token);
        let mut agent = Agent::start(&folder, &server, "a", &[controller.address], token);
        agent.until_error(said).await;
        assert!(agent.errors.iter().all(|error| !error.contains(token)), "{:?}", agent.errors);
    }
    // The server is in trouble: that is said so, and tried again.
    server.faults().add(Fault::server_error(500).verb("create").resource("tokenreviews"));
    let mut agent = Agent::start(&dir.path().join("good"), &server, "a", &[controller.address], "good");
    agent.until_error("cannot be checked now").await;
    agent.until_synced().await;
    let status = controller.status().await.unwrap();
    assert!(!format!("{status:?}").contains("of-others\""), "no token in a status");
}

#[tokio::test]
async fn a_controller_begins_from_its_disk_while_the_server_is_away() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        server.apply_json(node(name, &[&format!("10.1.{n}.0/24")]));
    }
    let home = dir.path().join("c");
    let controller = Replica::start(&home, &server.url());
    controller.until_it_leads().await;
    server.accept_token("of-a", identity("a"));
    eventually("the roots", || server.get("configmaps", "causeway-system/causeway-roots").is_some()).await;
    let mut agent = Agent::start(&dir.path().join("a"), &server, "a", &[controller.address], "of-a");
    agent.until_synced().await;
    controller.until("two nodes", |status| status.objects.get("nodes") == Some(&2)).await;
    let key =
        || server.get("meshnodes.causeway.io", "a").is_some_and(|o| o["status"]["publicKey"].is_string());
    eventually("its report", key).await;
    drop(agent);
    tokio::task::spawn_blocking(|| controller.stop()).await.unwrap();

    server.stop();
    let controller = Replica::start(&home, &server.url());
    let status = controller.until("to begin", |status| status.source.stale).await;
    assert_eq!(status.objects["nodes"], 2);
    assert!(!status.role.leads);
    // The agent proves itself by its certificate, and hears everything, its own key included.
    let mut agent = Agent::resume(&dir.path().join("a"), "a", &[controller.address]);
    agent.until_synced().await;
    let keys = agent.world.nodes.values().filter(|node| node.public_key.is_some()).count();
    assert_eq!((agent.world.nodes.len(), keys), (2, 1));

    // Meanwhile a node has gone and another come.
    server.delete("nodes", "b");
    server.apply_json(node("c", &["10.1.7.0/24"]));
    server.restart().unwrap();
    let begun = std::time::Instant::now();
    let so = |agent: &Agent, _: &AgentEvent| {
        let names: Vec<&str> = agent.world.nodes.keys().map(|name| name.node.as_str()).collect();
        names == ["a", "c"]
    };
    agent.until("the cluster as it is", so).await;
    println!("all is as it is {:?} after the server's return", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10));
    let status = controller.until_it_leads().await;
    assert!(!status.source.stale && status.source.away_seconds.is_none(), "{status:?}");
}
