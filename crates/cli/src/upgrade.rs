//! `causeway upgrade`: another version or other settings, controllers first, no established connection lost.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use install::{Daemon, Skew};
use serde_json::json;

use crate::install::{Access, Given, apply_all, bring_definitions, parse_wait, require, rollout};

/// What `causeway upgrade` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway upgrade                                   # to this program's own version
  causeway upgrade --set agent.wireguardPort=51821   # other settings
  causeway upgrade --set image.tag=0.1.0             # back to where it was
Controllers go first, then agents, some at a time (agent.maxUnavailable). The packet path stays while an agent restarts.")]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    given: Given,
    /// Print the manifests and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for the controllers, and then for the agents; 0: not at all.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_wait)]
    wait: Duration,
    /// Go even where the versions are too far apart.
    #[arg(long)]
    force: bool,
}

/// Upgrades what is installed.
///
/// # Errors
/// Nothing is installed, the versions are too far apart, or the new daemons do not get ready in time.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let client = args.access.client().await?;
    let namespace = args.access.namespace();
    let Some(before) = install::installed(&client, namespace).await? else {
        bail!(
            "nothing is installed in the namespace {namespace}: causeway install, or --namespace for another one"
        );
    };
    if let Some(release) = &before.release {
        bail!("Helm installed this, as {release}: use helm upgrade");
    }
    let own_version = json!({ "image": { "tag": env!("CARGO_PKG_VERSION") } });
    let given = args.given.values(Some(namespace))?;
    let settings = before.settings.with(&own_version)?.with(&given).context("these are not settings")?;
    require(&settings)?;
    if settings.cluster.name != before.settings.cluster.name {
        bail!("a cluster's name cannot be changed: it is {:?}", before.settings.cluster.name);
    }
    let (from, to) = (&before.settings.image.tag, &settings.image.tag);
    match install::skew(from, to) {
        Skew::Fine => {}
        Skew::TooFar if !args.force => {
            bail!(
                "{from} and {to} are more than one minor version apart: go by the versions between, or --force"
            )
        }
        Skew::TooFar => eprintln!("{from} and {to} are more than one minor version apart; going on as told"),
        Skew::Unknown => eprintln!("whether {to} follows {from} cannot be told from these tags"),
    }
    let objects = install::objects(&settings);
    if args.dry_run {
        print!("{}", install::to_yaml(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{from} to {to}");
    let (agents, others): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| object["kind"] == "DaemonSet");
    bring_definitions(&client).await?;
    apply_all(&client, &others).await?;
    let back = format!("Back again: causeway upgrade --set image.tag={from}");
    if !args.wait.is_zero() {
        rollout(&client, namespace, &[Daemon::Controller], args.wait).await.with_context(|| back.clone())?;
    }
    apply_all(&client, &agents).await?;
    if !args.wait.is_zero() {
        rollout(&client, namespace, &[Daemon::Agent], args.wait).await.with_context(|| back.clone())?;
    }
    eprintln!("Done. {back}");
    Ok(ExitCode::SUCCESS)
}
