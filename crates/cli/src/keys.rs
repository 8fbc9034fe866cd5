//! `causeway keys`: nodes' WireGuard keys, and new ones; pre-shared keys of pairs of nodes.

mod preshared;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Subcommand;
use model::{NodeName, PublicKey};
use serde_json::{Value, json};
use wire::local::{KeysRequested, RotateKeys};

use crate::peer::view::View;
use crate::seat::Seat;
use crate::status::{Output, table};

/// `causeway keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway keys show
  causeway keys rotate n1              waits until everybody knows the new key
  causeway keys rotate --all -o json
  causeway keys preshared 1            prints a Secret with the first generation of pre-shared keys

A node makes its keys itself; the private ones never leave it. No packet is lost while a key changes, where tunnels are \
in user space; with the kernel's WireGuard they pause for some milliseconds.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The nodes' keys, as the controller knows them.
    Show(Show),
    /// Have nodes of the cluster make new keys.
    Rotate(Rotate),
    /// Make a generation of the pre-shared keys that pairs of nodes have (mesh.presharedKeys).
    Preshared(preshared::Args),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// The nodes.
    #[arg(value_name = "NODE", required_unless_present = "all", conflicts_with = "all")]
    nodes: Vec<String>,
    /// All nodes of the cluster.
    #[arg(long)]
    all: bool,
    /// Those that laptops and offices have tunnels with, too: these need new configurations then (`causeway peer conf`).
    #[arg(long)]
    with_peers: bool,
    /// How many seconds to wait for each node until everybody knows its new key; 0: all at once, and not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// How to print what became of it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

/// How often the controller is asked how far it is.
const EVERY: Duration = Duration::from_millis(250);

/// Does it.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.verb {
        Verb::Show(Show { output, seat }) => show(&View::of(&seat).await?, output),
        Verb::Rotate(args) => rotate(args).await,
        Verb::Preshared(args) => preshared::make(&args),
    }
}

fn show(view: &View, output: Output) -> Result<ExitCode> {
    let nodes = view.world.nodes.values();
    let shared = preshared::Shared::of(&view.world);
    match output {
        Output::Json => {
            let all: Vec<Value> = nodes.map(|node| described(node, &shared)).collect();
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Output::Text => {
            let key = |key: Option<PublicKey>| key.map_or_else(|| "-".into(), |key| key.to_string());
            let rows = nodes.map(|node| {
                let NodeName { cluster, node: name } = &node.name;
                let next = key(node.mesh.rekeying.next_key);
                let with = shared.with(node).to_string();
                vec![cluster.to_string(), name.clone(), key(node.public_key), next, with]
            });
            print!("{}", table(&["CLUSTER", "NODE", "KEY", "NEXT", "PRE-SHARED"], rows, &[]));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn described(node: &model::Node, shared: &preshared::Shared) -> Value {
    let NodeName { cluster, node: name } = &node.name;
    json!({
        "cluster": cluster,
        "node": name,
        "publicKey": node.public_key,
        "nextKey": node.mesh.rekeying.next_key,
        "generations": node.mesh.generations,
        "preshared": shared.with(node).described(),
    })
}

async fn rotate(args: Rotate) -> Result<ExitCode> {
    let Rotate { nodes, all, with_peers, timeout, output, seat } = args;
    let view = View::of(&seat).await?;
    let nodes = (!all).then(|| nodes.iter().map(|name| own_name(&view, name)).collect::<Vec<_>>());
    if !with_peers {
        refuse_gateways(&view, nodes.as_deref())?;
    }
    let before = keys(&view);
    let mut view = view;
    let is_done = |view: &View, name: &NodeName| {
        let node = view.world.nodes.get(name);
        // One that is gone needs no key.
        node.is_none_or(|node| {
            node.mesh.rekeying.next_key.is_none()
                && node.public_key.is_some()
                && before.get(name) != node.public_key.as_ref()
        })
    };
    // One after the other: two that change at once may shake hands crosswise, each with the other's former key, and lose what
    // is under way when both are done.
    let own =
        view.world.nodes.keys().filter(|name| name.cluster == view.cluster).map(|name| name.node.clone());
    let turns: Vec<Option<Vec<String>>> = match (timeout, nodes) {
        (0, nodes) => vec![nodes],
        (_, Some(nodes)) => nodes.into_iter().map(|node| Some(vec![node])).collect(),
        (_, None) => own.map(|node| Some(vec![node])).collect(),
    };
    let mut asked = Vec::new();
    for nodes in turns {
        let requested: KeysRequested = seat.post("/v1/keys/rotate", &RotateKeys { nodes }).await?;
        let deadline = Instant::now() + Duration::from_secs(timeout);
        while !requested.nodes.iter().all(|name| is_done(&view, name)) && Instant::now() < deadline {
            tokio::time::sleep(EVERY).await;
            view = View::of(&seat).await?;
        }
        asked.extend(requested.nodes);
    }
    let after = keys(&view);
    let results = asked.iter().map(|name| (name, is_done(&view, name)));
    let results: Vec<(&NodeName, bool)> = results.collect();
    match output {
        Output::Json => {
            let one = |(name, done): &(&NodeName, bool)| {
                json!({
                    "cluster": name.cluster,
                    "node": name.node,
                    "before": before.get(name),
                    "publicKey": after.get(name),
                    "rotated": done,
                })
            };
            println!("{}", serde_json::to_string_pretty(&results.iter().map(one).collect::<Vec<_>>())?);
        }
        Output::Text => {
            for (name, done) in &results {
                match (done, after.get(*name)) {
                    (true, Some(key)) => println!("{name}: {key}"),
                    (true, None) => println!("{name}: it is gone"),
                    (false, _) if timeout == 0 => println!("{name}: asked"),
                    (false, _) => {
                        println!("{name}: not yet; it goes on by itself once the node is connected")
                    }
                }
            }
        }
    }
    let all_done = results.iter().all(|(_, done)| *done);
    Ok(if all_done || timeout == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A node's name without its cluster, if it was written with it.
fn own_name(view: &View, name: &str) -> String {
    name.strip_prefix(&format!("{}/", view.cluster)).unwrap_or(name).to_string()
}

fn keys(view: &View) -> BTreeMap<NodeName, PublicKey> {
    view.world.nodes.values().filter_map(|node| Some((node.name.clone(), node.public_key?))).collect()
}

/// Peers have their gateways' keys in their configurations, and nobody tells them of others.
fn refuse_gateways(view: &View, nodes: Option<&[String]>) -> Result<()> {
    let (standings, _) = view.standings();
    let is_meant = |name: &NodeName| {
        name.cluster == view.cluster && nodes.is_none_or(|nodes| nodes.contains(&name.node))
    };
    let of_peers = standings.iter().flat_map(|standing| {
        let gateways = standing.gateways.iter().filter(|node| is_meant(&node.name));
        gateways.map(|node| format!("{} ({})", node.name, standing.peer.name.peer))
    });
    let of_peers: Vec<String> = of_peers.collect();
    if of_peers.is_empty() {
        return Ok(());
    }
    bail!(
        "peers have these nodes' keys in their configurations: {}. With --with-peers the keys change all the same; hand out \
         `causeway peer conf` again then",
        of_peers.join(", ")
    )
}
