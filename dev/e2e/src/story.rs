//! What an operator would see, from the first manifest to an API server that was away.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::api::{PATIENCE, until};
use crate::audit;
use crate::cluster::Cluster;
use crate::flow::Flow;
use crate::server::Server;

/// A standby controller leads this soon after the leader's death.
const TAKEOVER: Duration = Duration::from_secs(5);
/// Everything is as it ought to be this soon after the API server is back.
const CONVERGENCE: Duration = Duration::from_secs(10);
/// For how long nothing happens when requests at rest are counted.
const REST: Duration = Duration::from_secs(30);
/// With less than a request a second for so long, rest has begun.
const SETTLED: Duration = Duration::from_secs(10);

/// The whole story.
pub(crate) async fn tell(server: Server, causeway: &Path, assets: &Path, outage: Duration) -> Result<()> {
    let mut cluster = Cluster::new(server, causeway, assets).await?;
    let told = chapters(&mut cluster, outage).await;
    if told.is_err() {
        eprintln!("{}", cluster.logs());
        for node in &cluster.nodes {
            eprintln!("--- {}\n{}", node.name, node.log());
        }
    }
    told
}

fn done(what: &str) {
    println!("e2e: {what}");
}

async fn chapters(cluster: &mut Cluster, outage: Duration) -> Result<()> {
    // The manifests are such as a real server takes.
    let manifests = cluster.manifests()?;
    cluster.apply(&manifests, &["--server-side", "--dry-run=server"])?;
    let applied = cluster.apply(&manifests, &["--server-side"])?;
    done(&format!("the manifests are accepted: {} objects", applied.lines().count()));

    // Two controllers, one of which leads.
    for number in 0..2 {
        cluster.start_controller(number).await?;
    }
    let took = until("a controller leads", PATIENCE, async || {
        cluster.check()?;
        Ok(cluster.leader().await?.is_some())
    })
    .await?;
    done(&format!("a controller leads after {took:.1?}"));
    let roots = format!("{}/configmaps/causeway-roots", crate::cluster::SYSTEM);
    until("the CA's roots are published", PATIENCE, async || Ok(cluster.api.get(&roots).await.is_ok()))
        .await?;

    // Nodes join with the tokens that their agents' pods would have; nobody gives them anything else.
    for number in 1..=2 {
        cluster.join(number).await?;
    }
    let took = cluster.until_enrolled().await?;
    done(&format!("both nodes have joined after {took:.1?}"));

    // Pods, and a Service with its backends on the other node.
    cluster
        .api
        .create("/api/v1/namespaces/default/serviceaccounts", json!({ "metadata": { "name": "default" } }))
        .await?;
    let client = wire(cluster, 0, "client").await?;
    let kept = wire(cluster, 1, "web-1").await?;
    let leaving = wire(cluster, 1, "web-2").await?;
    cluster.report(0, "client", &client).await?;
    for pod in [&kept, &leaving] {
        cluster.report(1, "web", pod).await?;
    }
    let service = json!({ "metadata": { "name": "web" },
                          "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
    let service = cluster.api.create("/api/v1/namespaces/default/services", service).await?;
    let url =
        format!("http://{}/", service["spec"]["clusterIP"].as_str().context("the Service has no address")?);
    let took = cluster.until_answered(&client, &url, &[&kept, &leaving], PATIENCE).await?;
    done(&format!("a Service is answered across nodes by both its pods after {took:.1?}"));
    let flow = Flow::open(&client, &kept)?;

    // The leader dies.
    let leader = cluster.leader().await?.context("nobody leads")?;
    cluster.kill_controller(leader)?;
    let took = until("the other controller leads", 2 * TAKEOVER, async || {
        Ok(cluster.leader().await? == Some(1 - leader))
    })
    .await?;
    ensure!(took < TAKEOVER, "the standby took {took:?} to lead, which is more than {TAKEOVER:?}");
    flow.check("the leader's death")?;
    done(&format!("the standby leads {took:.1?} after the leader's death"));
    cluster.start_controller(leader).await?;

    // The API server is away, and pods come and go all the same.
    cluster.server.pause()?;
    let begun = Instant::now();
    cluster.nodes[1].remove_pod(leaving)?;
    let arrived = cluster.wire(1, "web-3")?;
    let mut churned = 0;
    while begun.elapsed() < outage {
        let passing = cluster.wire(1, "passing")?;
        cluster.nodes[1].remove_pod(passing)?;
        churned += 1;
        // The Service is as it was last: one of its pods answers, the other is gone and nobody says so.
        let asked = cluster.nodes[0].ask(&client, &url)?;
        ensure!(
            asked.by.contains(&kept.name),
            "while the API server is away, the Service is not answered: {asked:?}"
        );
        cluster.check()?;
        flow.check("the API server's absence")?;
    }
    done(&format!("the API server was away for {:.0?}: {churned} pods came and went", begun.elapsed()));
    cluster.server.resume().await?;
    let begun = Instant::now();
    cluster.api.delete_now("/api/v1/namespaces/default/pods/web-2").await?;
    cluster.report(1, "web", &arrived).await?;
    cluster.until_answered(&client, &url, &[&kept, &arrived], CONVERGENCE).await?;
    flow.check("the API server's return")?;
    done(&format!("everything is as it ought to be {:.1?} after its return", begun.elapsed()));

    // At rest. Watches that are still waiting for their next attempt are let come back first.
    cluster.check()?;
    let mut seen = (audit::ours(&cluster.server.audit()?).len(), Instant::now());
    let settled = until("the controllers have come to rest", PATIENCE, async || {
        if seen.1.elapsed() < SETTLED {
            return Ok(false);
        }
        let now = audit::ours(&cluster.server.audit()?).len();
        let quiet = now - seen.0 < SETTLED.as_secs() as usize;
        seen = (now, Instant::now());
        Ok(quiet)
    })
    .await?;
    done(&format!("the controllers are at rest {settled:.0?} later"));
    let before = audit::ours(&cluster.server.audit()?).len();
    tokio::time::sleep(REST).await;
    let log = cluster.server.audit()?;
    let ours = audit::ours(&log);
    let rate = (ours.len() - before) as f64 / REST.as_secs_f64();
    if rate >= 1.0 {
        bail!("at rest the controllers make {rate:.2} requests a second:\n{}", ours[before..].join("\n"));
    }
    let log: Vec<_> = log.into_iter().filter(|entry| !cluster.server.forbade_in_starting(entry)).collect();
    audit::judge(&log)?;
    done(&format!("at rest: {rate:.2} requests a second; the audit log shows no watcher but controllers"));

    let (round_trips, worst) = flow.close()?;
    done(&format!("one connection outlived all of it: {round_trips} round trips, the slowest {worst:.1?}"));
    Ok(())
}

/// Wires a pod up, once the node's agent is ready for it.
async fn wire(cluster: &Cluster, node: usize, name: &str) -> Result<crate::node::Pod> {
    let mut made = None;
    until(&format!("{name} is wired up"), PATIENCE, async || {
        made = Some(cluster.wire(node, name)?);
        Ok(true)
    })
    .await?;
    made.context("it was made")
}
