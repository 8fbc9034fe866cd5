//! `causeway install`: from nothing to a running network, or to the manifests for it.

mod access;
mod ask;
mod given;
mod progress;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use install::Settings;
use install::decide::{self, Choice, Decision};
use install::facts::Facts;
use serde_json::Value;

pub(crate) use access::{Access, NAMESPACE, name_of_cluster};
pub(crate) use ask::confirm;
pub(crate) use given::{Given, parse_wait};
pub(crate) use progress::{apply_all, bring_definitions, rollout};

use crate::status::table;

/// What `causeway install` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway install --name home                       # what else it needs, it asks the cluster
  causeway install --name home --image registry.example/causeway
  causeway install --values home.yaml --set agent.underlay=ens5
  causeway install --name home --dry-run | kubectl apply --server-side --filename -
What can be set: docs/settings.md. Afterwards: causeway check")]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    given: Given,
    /// Print the manifests and change nothing. Asks no cluster when everything that is needed is given.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until everything runs, such as 5m; 0: not at all.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_wait)]
    wait: Duration,
    /// Do not ask about what was guessed.
    #[arg(long)]
    yes: bool,
}

/// Installs, or prints.
///
/// # Errors
/// Settings that do not do, an API server that refuses, or daemons that do not get ready in time.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let given = args.given.values(args.access.namespace.as_deref())?;
    if args.dry_run {
        let settings = dry_settings(&args, &given).await?;
        std::io::stdout().write_all(install::to_yaml(&settings).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = args.access.client().await?;
    let facts = install::read::read(&client, &name_of_cluster(&args.access)).await;
    let facts =
        facts.map_err(|e| anyhow::anyhow!("asking the cluster what it is: {}", install::api::reason(&e)))?;
    let decision = decide::decide(&facts, &given)?;
    tell(Some(&facts), &decision.choices);
    require(&decision.settings)?;
    refuse_collisions(&facts, &decision.settings)?;
    if let Some(installed) = install::installed(&client, &decision.settings.namespace).await? {
        refuse_other(&installed, &decision.settings)?;
    }
    doubts(&facts, &decision, args.yes)?;
    bring_definitions(&client).await?;
    apply_all(&client, &install::objects(&decision.settings)).await?;
    if args.wait.is_zero() {
        eprintln!("Applied, not awaited. See: causeway check");
        return Ok(ExitCode::SUCCESS);
    }
    let namespace = &decision.settings.namespace;
    rollout(&client, namespace, &[install::Daemon::Controller, install::Daemon::Agent], args.wait).await?;
    eprintln!("Installed. See: causeway check");
    Ok(ExitCode::SUCCESS)
}

/// Without a cluster as long as nothing is missing; else whatever cluster there is may say it.
async fn dry_settings(args: &Args, given: &Value) -> Result<Settings> {
    let decision = args.given.without_cluster(given)?;
    let missing = install::settings::check(&decision.settings);
    if missing.is_empty() {
        return Ok(decision.settings);
    }
    let asked = async {
        let client = args.access.client().await?;
        let facts = install::read::read(&client, &name_of_cluster(&args.access)).await;
        facts.map_err(|e| anyhow::anyhow!("{}", install::api::reason(&e)))
    };
    match asked.await {
        Ok(facts) => {
            let Decision { settings, choices } = decide::decide(&facts, given)?;
            tell(Some(&facts), &choices);
            require(&settings)?;
            Ok(settings)
        }
        Err(error) => {
            let lines: String = missing.iter().map(|problem| format!("\n  {problem}")).collect();
            bail!(
                "these settings are not complete:{lines}\nand no cluster can be asked for the rest: {error:#}"
            )
        }
    }
}

/// What was found and decided, for a person. The manifests go elsewhere.
fn tell(facts: Option<&Facts>, choices: &[Choice]) {
    if let Some(facts) = facts {
        eprintln!("{} {}, {} nodes", facts.flavour.name(), facts.server, facts.nodes.len());
    }
    let row = |choice: &Choice| {
        let doubt = if choice.guessed { "? " } else { "" };
        vec![choice.setting.to_owned(), given::plain(&choice.value), format!("{doubt}{}", choice.reason)]
    };
    if !choices.is_empty() {
        eprint!("{}", table(&["SETTING", "VALUE", "WHY"], choices.iter().map(row), &[]));
    }
}

pub(crate) fn require(settings: &Settings) -> Result<()> {
    let problems = install::settings::check(settings);
    if problems.is_empty() {
        return Ok(());
    }
    let lines: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    bail!("these settings cannot be installed:{lines}")
}

fn refuse_collisions(facts: &Facts, settings: &Settings) -> Result<()> {
    let found = decide::collisions(facts, settings);
    if found.is_empty() {
        return Ok(());
    }
    let lines: String = found.iter().map(|line| format!("\n  {line}")).collect();
    bail!(
        "the ranges do not fit this cluster:{lines}\ngive the cluster's own with --pod-cidr and --service-cidr"
    )
}

/// What is there already may be applied again, not turned into something else.
fn refuse_other(installed: &install::Installed, settings: &Settings) -> Result<()> {
    if let Some(release) = &installed.release {
        bail!("Helm installed this already, as {release}: change it with helm upgrade");
    }
    let before = &installed.settings;
    if before.cluster.name != settings.cluster.name {
        bail!(
            "this cluster is installed as {:?} and cannot become {:?}: uninstall first, or give --name {}",
            before.cluster.name,
            settings.cluster.name,
            before.cluster.name
        );
    }
    if before.image.tag != settings.image.tag {
        bail!(
            "version {} is installed: `causeway upgrade` takes it to {} one step after the other",
            before.image.tag,
            settings.image.tag
        );
    }
    Ok(())
}

/// What only a person can judge.
fn doubts(facts: &Facts, decision: &Decision, yes: bool) -> Result<()> {
    let mut doubts: Vec<String> = decision
        .choices
        .iter()
        .filter(|choice| choice.guessed)
        .map(|choice| format!("{} = {} is a guess", choice.setting, given::plain(&choice.value)))
        .collect();
    if !facts.other_networks.is_empty() {
        let others = facts.other_networks.join(", ");
        doubts.push(format!(
            "another network is installed: {others}. Pods that it made keep it until they restart"
        ));
    }
    if doubts.is_empty() || yes {
        return Ok(());
    }
    for doubt in &doubts {
        eprintln!("  {doubt}");
    }
    confirm("Install all the same?", "give the guessed settings, or --yes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The file of a ConfigMap, as its pod finds it.
    fn file(settings: &Settings, name: &str, key: &str) -> tempfile::NamedTempFile {
        let objects = install::objects(settings);
        let map = objects.iter().find(|o| o["kind"] == "ConfigMap" && o["metadata"]["name"] == name);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(map.unwrap()["data"][key].as_str().unwrap().as_bytes()).unwrap();
        file
    }

    #[test]
    fn the_daemons_understand_their_configurations() {
        let least = json!({
            "cluster": {"name": "home"},
            "controllers": {"nodes": ["n1"], "addresses": ["192.0.2.1:9640"]},
            // The machine's root is looked at when the configuration is read: here it is this process's own view.
            "agent": {"hostRoot": ""},
        });
        let more = json!({
            "cluster": {"podCIDRs": ["10.1.0.0/16", "fd00:1::/48"], "nodeMaskSizeIPv6": 112},
            "agent": {"underlay": "ens5", "masquerade": false, "nonMasqueradeCIDRs": ["192.168.0.0/16"]},
            "mesh": {"presharedKeys": {"secret": "shared", "required": true}},
        });
        let least = Settings::default().with(&least).unwrap();
        for settings in [least.with(&more).unwrap(), least] {
            let agent =
                agent::config::load(file(&settings, "causeway-agent", "agent.yaml").path(), Some("n1"))
                    .unwrap();
            assert_eq!((agent.node.as_str(), agent.masquerade), ("n1", settings.agent.masquerade));
            assert_eq!(agent.underlay, settings.agent.underlay);
            let wanted = &settings.mesh.preshared_keys;
            assert_eq!(agent.preshared_keys.is_some(), !wanted.secret.is_empty());
            assert_eq!(agent.preshared_keys.is_some_and(|keys| keys.required), wanted.required);
            assert_eq!(agent.fail_closed.len(), settings.cluster.pod_cidrs.len());
            let controller = file(&settings, "causeway-controller", "controller.yaml");
            let controller = controller::config::load(controller.path()).unwrap();
            assert_eq!(controller.cluster.node_mask_size_v6, settings.cluster.node_mask_size_ipv6);
            assert_eq!(controller.advertise, settings.controllers.addresses);
        }
    }
}
