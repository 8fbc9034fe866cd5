//! `causeway showconf`: a node's or a peer's WireGuard configuration, as the mesh is planned.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use cluster::manifest::Kind;
use engine::mesh::external::Remote;
use engine::mesh::{Seen, Settings, Unserved, plan};
use ipnet::IpNet;
use link::clock::now;
use model::{NodeName, PublicKey};
use serde_json::{Value, json};
use wire::client::{End, range};

use crate::peer::view::View;
use crate::seat::Seat;

/// `causeway showconf`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway showconf node aws-1                    what its tunnel has, for `wg setconf`; without the private key
  causeway showconf node aws-1 --as-peer          what another WireGuard has to configure to reach it
  causeway showconf peer alice                    what the client has to configure, for `wg setconf`
  causeway showconf peer alice --as-peer -o yaml  the client as a Peer object")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A node's.
    Node(Of),
    /// That of a client that is no node.
    Peer(Of),
}

#[derive(Debug, clap::Args)]
struct Of {
    /// Its name.
    name: String,
    /// Show it as others configure it, in place of what it configures itself.
    #[arg(long)]
    as_peer: bool,
    /// What to write.
    #[arg(short, long, value_enum, default_value_t = Format::Wireguard)]
    output: Format,
    /// Further ranges that are behind it; with --as-peer.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = range, requires = "as_peer")]
    allowed_ips: Vec<IpNet>,
    #[command(flatten)]
    seat: Seat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// WireGuard's own configuration.
    Wireguard,
    /// Peer objects.
    Yaml,
    /// The same.
    Json,
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let (of, node) = match args.what {
        What::Node(of) => (of, true),
        What::Peer(of) => (of, false),
    };
    let view = View::of(&of.seat).await?;
    let (port, mut ends) = match (node, of.as_peer) {
        (true, false) => tunnel(&view, &of.name)?,
        (true, true) => (None, vec![node_as_peer(&view, &of.name)?]),
        (false, false) => (None, view.configuration(&of.name, true)?.peers),
        (false, true) => (None, vec![peer_as_peer(&view, &of.name)?]),
    };
    if of.as_peer {
        let end = ends.first_mut().expect("there is one");
        end.allowed_ips.extend(of.allowed_ips.iter().copied());
    }
    match of.output {
        Format::Wireguard => {
            if let Some(port) = port {
                println!("[Interface]\nListenPort = {port}\n");
            }
            print!(
                "{}",
                ends.iter()
                    .map(|end| format!("# {}\n{}", end.name, end.section()))
                    .collect::<Vec<_>>()
                    .join("\n")
            );
        }
        Format::Json => println!("{}", serde_json::to_string_pretty(&objects(&ends))?),
        Format::Yaml => print!("{}", serde_saphyr::to_string(&objects(&ends))?),
    }
    Ok(ExitCode::SUCCESS)
}

/// One object as it is, several as a list.
fn objects(ends: &[End]) -> Value {
    let mut objects: Vec<Value> = ends.iter().map(object).collect();
    match objects.len() {
        1 => objects.remove(0),
        _ => json!({ "apiVersion": "v1", "kind": "List", "items": objects }),
    }
}

fn object(end: &End) -> Value {
    let name = end.name.rsplit('/').next().unwrap_or_default();
    let mut spec = json!({ "allowedIPs": end.allowed_ips, "publicKey": end.public_key });
    if let Some((host, port)) = end.endpoint.as_ref().and_then(|endpoint| endpoint.rsplit_once(':')) {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let key = if host.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
        spec["endpoint"] =
            json!({ "dnsOrIP": { key: host }, "port": port.parse::<u16>().unwrap_or_default() });
    }
    if end.keepalive > 0 {
        spec["persistentKeepalive"] = end.keepalive.into();
    }
    json!({
        "apiVersion": Kind::Peer.api_version(),
        "kind": Kind::Peer.as_str(),
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// A node of the cluster; of another one as CLUSTER/NODE.
fn node_name(view: &View, name: &str) -> Result<NodeName> {
    let name = match name.contains('/') {
        true => NodeName::try_from(name.to_string())?,
        false => NodeName::new(view.cluster.clone(), name)?,
    };
    match view.world.nodes.contains_key(&name) {
        true => Ok(name),
        false => bail!("there is no node {name}; see: causeway graph -o json"),
    }
}

/// What a node's tunnel has.
fn tunnel(view: &View, name: &str) -> Result<(Option<u16>, Vec<End>)> {
    let name = node_name(view, name)?;
    let settings = Settings {
        mtu: 1420,
        fail_closed: Vec::new(),
        keepalive: 0,
        masquerade: None,
        unserved: Unserved::Leave,
        knows_two_keys: false,
        knows_groups: false,
        preshared: Default::default(),
    };
    let mesh = plan(&view.world, &name, &settings, &Seen { now: now(), ..Seen::default() });
    let whose = |key: &PublicKey| {
        let node = view.world.nodes.values().find(|node| node.public_key.as_ref() == Some(key));
        let peer = || view.world.peers.values().find(|peer| peer.public_key == *key);
        node.map(|node| node.name.to_string()).or_else(|| peer().map(|peer| peer.name.to_string()))
    };
    let by_name =
        |key: &PublicKey| view.world.peers.values().find(|peer| peer.public_key == *key)?.endpoint.as_ref();
    let end = |(key, peer): (&PublicKey, &engine::plan::Peer)| End {
        name: whose(key).unwrap_or_default(),
        public_key: *key,
        preshared_key: None,
        // A name is as good as an address here.
        endpoint: peer.endpoint.map(|at| at.to_string()).or_else(|| by_name(key).map(ToString::to_string)),
        allowed_ips: peer.allowed_ips.iter().copied().collect(),
        keepalive: peer.keepalive,
    };
    let mut ends: Vec<End> = mesh.tunnel.peers.iter().map(end).collect();
    ends.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((Some(mesh.tunnel.port), ends))
}

fn node_as_peer(view: &View, name: &str) -> Result<End> {
    let name = node_name(view, name)?;
    let node = &view.world.nodes[&name];
    let Some(public_key) = node.public_key else {
        bail!("node {name} has no key yet: its agent has not been heard")
    };
    let reached = Remote::endpoint_of(node);
    Ok(End {
        name: name.to_string(),
        public_key,
        preshared_key: None,
        endpoint: reached.map(|at| at.to_string()),
        allowed_ips: node.pod_cidrs.clone(),
        keepalive: 0,
    })
}

fn peer_as_peer(view: &View, name: &str) -> Result<End> {
    let peer = view.own(name)?;
    Ok(End {
        name: peer.name.to_string(),
        public_key: peer.public_key,
        preshared_key: None,
        endpoint: peer.endpoint.as_ref().map(ToString::to_string),
        allowed_ips: peer.allowed_ips.clone(),
        keepalive: peer.keepalive,
    })
}
