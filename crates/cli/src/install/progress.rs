//! Applying and waiting, with a clear account of what is waited for.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use install::{Applied, Daemon, Standing, standing};
use kube::Client;
use serde_json::Value;

/// How often the API server is asked how far things are.
const PERIOD: Duration = Duration::from_secs(1);

/// Applies the objects in their order; says what became of each.
pub(crate) async fn apply_all(client: &Client, objects: &[Value]) -> Result<()> {
    for object in objects {
        let word = match install::apply(client, object).await? {
            Applied::Created => "created",
            Applied::Changed => "changed",
            Applied::Same => "same",
        };
        eprintln!("  {word:<8} {}", install::name(object));
    }
    Ok(())
}

/// Brings the kinds that we share with others, where nobody has yet.
pub(crate) async fn bring_definitions(client: &Client) -> Result<()> {
    for definition in install::definitions::definitions() {
        let word = match install::definitions::bring(client, &definition).await? {
            Some(Applied::Created) => "created",
            Some(Applied::Changed) => "changed",
            Some(Applied::Same) => "same",
            None => "theirs",
        };
        eprintln!("  {word:<8} {}", install::name(&definition));
    }
    Ok(())
}

/// Waits until the daemons are ready, one after the other.
///
/// # Errors
/// They are not in time: then what holds them up is said.
pub(crate) async fn rollout(
    client: &Client,
    namespace: &str,
    daemons: &[Daemon],
    patience: Duration,
) -> Result<()> {
    let until = Instant::now() + patience;
    for daemon in daemons {
        let mut said = String::new();
        loop {
            let standing = standing(client, namespace, *daemon).await?;
            if said != account(&standing) {
                said = account(&standing);
                eprintln!("{said}");
            }
            if standing.done() {
                break;
            }
            if Instant::now() > until {
                bail!(
                    "not ready in time. It goes on by itself; ask again with `causeway check`.\n\
                     A pod's log: kubectl --namespace {namespace} logs POD"
                );
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
    Ok(())
}

fn account(standing: &Standing) -> String {
    let mut text = format!("  {standing}");
    for trouble in standing.troubles.iter().take(5) {
        let node = if trouble.node.is_empty() { "no node yet" } else { &trouble.node };
        text.push_str(&format!("\n    {node}: {}", trouble.reason));
    }
    if standing.troubles.len() > 5 {
        text.push_str(&format!("\n    and {} more", standing.troubles.len() - 5));
    }
    text
}
