//! `causeway uninstall`: nothing of ours stays, neither on nodes nor on the API server.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use install::{Settings, remove};
use kube::Client;
use serde_json::Value;

use crate::install::{Access, NAMESPACE, apply_all, confirm, parse_wait};

const PERIOD: Duration = Duration::from_secs(1);

/// What `causeway uninstall` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway uninstall
  causeway uninstall --yes --wait 2m
  causeway uninstall --nodes-only      # then: helm uninstall, or delete the manifests from your repository
Pods keep their interfaces, but reach nothing until another network takes over and they are started anew.")]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Only have the nodes cleaned, and leave every object.
    #[arg(long)]
    nodes_only: bool,
    /// How long to wait for nodes that do not answer, before they are left as they are.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_wait)]
    wait: Duration,
}

/// Uninstalls.
///
/// # Errors
/// Nothing is installed, nobody says yes, or the API server refuses. Nodes that were not reached are named, and make
/// the exit status 1.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let client = args.access.client().await?;
    let namespace = args.access.namespace();
    let installed = install::installed(&client, namespace).await?;
    if let Some(release) = installed.as_ref().and_then(|i| i.release.as_ref()).filter(|_| !args.nodes_only) {
        bail!("Helm installed this, as {release}: causeway uninstall --nodes-only, then helm uninstall");
    }
    let found = installed.is_some();
    let settings = installed.map_or_else(|| defaults(namespace), |installed| installed.settings);
    if !found && args.nodes_only {
        bail!("nothing is installed in the namespace {namespace} (another one: --namespace)");
    }
    if !args.yes {
        let what = if found { &settings.cluster.name } else { "what may be left of it" };
        eprintln!("This takes Causeway ({what}) off every node, and every object of it from the API server.");
        confirm("Uninstall?", "give --yes")?;
    }
    let unreached = if found { clean_nodes(&client, &settings, args.wait).await? } else { Vec::new() };
    if !args.nodes_only {
        delete_all(&client, &settings, args.wait).await?;
    }
    if unreached.is_empty() {
        eprintln!("Nothing is left.");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "These nodes were not reached and keep their tunnels, routes and programs until they are restarted, and \
         their files:\n  {}\nOn each, when it is back: causeway agent --cleanup",
        unreached.join("\n  ")
    );
    Ok(ExitCode::FAILURE)
}

/// When the settings are gone but something else may not be: everything has its usual name.
fn defaults(namespace: &str) -> Settings {
    Settings { namespace: namespace.into(), ..Settings::default() }
}

/// Lets the agents' pods clean their nodes. The nodes that are not clean when patience ends.
async fn clean_nodes(client: &Client, settings: &Settings, patience: Duration) -> Result<Vec<String>> {
    let cleaning = remove::cleaning(settings);
    let is_agents = |object: &Value| object["kind"] == "DaemonSet";
    let agents: Vec<Value> = install::objects(&cleaning).into_iter().filter(is_agents).collect();
    let inhabited = remove::inhabited(client, settings).await?;
    apply_all(client, &agents).await?;
    let until = Instant::now() + patience;
    let mut said = None;
    loop {
        let left = remove::unclean(client, settings, &inhabited).await?;
        if said != Some(left.len()) {
            said = Some(left.len());
            let some: Vec<_> = left.iter().take(5).map(String::as_str).collect();
            let more = if left.len() > some.len() { ", …" } else { "" };
            eprintln!("  nodes to clean: {} {}{more}", left.len(), some.join(", "));
        }
        if left.is_empty() || Instant::now() > until {
            return Ok(left.into_iter().collect());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn delete_all(client: &Client, settings: &Settings, patience: Duration) -> Result<()> {
    let until = Instant::now() + patience;
    for object in remove::daemons(settings) {
        delete(client, &object).await?;
    }
    // What still runs would write its objects anew.
    while remove::pods(client, &settings.namespace).await? > 0 && Instant::now() < until {
        tokio::time::sleep(PERIOD).await;
    }
    let imports = remove::imports(client).await?;
    if imports > 0 {
        eprintln!("  deleted  {imports} objects that imports brought");
    }
    for name in install::definitions::remove(client).await? {
        eprintln!("  deleted  CustomResourceDefinition {name}");
    }
    let rest = remove::rest(settings);
    for object in &rest {
        delete(client, object).await?;
    }
    let events = remove::events(client).await?;
    if events > 0 {
        eprintln!("  deleted  {events} Events");
    }
    let mut left = Vec::new();
    for object in &rest {
        while remove::is_there(client, object).await? && !stays(object, settings) {
            if Instant::now() > until {
                left.push(install::name(object));
                break;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    bail!("still being deleted, something holds them (see their finalizers): {}", left.join(", "))
}

async fn delete(client: &Client, object: &Value) -> Result<()> {
    if remove::delete(client, object).await? {
        eprintln!("  deleted  {}", install::name(object));
    }
    Ok(())
}

/// A namespace that is not called as ours is may be somebody else's, and then it was not deleted.
fn stays(object: &Value, settings: &Settings) -> bool {
    object["kind"] == "Namespace" && settings.namespace != NAMESPACE
}
