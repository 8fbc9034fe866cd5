//! Letting a client in.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::manifest::Kind;
use cluster::manifest::peer::{ALLOW, EXPIRES, GATEWAY};
use engine::mesh::external::best_gateway;
use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use kernel::wireguard::PrivateKey;
use link::clock::now;
use model::{PresharedKey, PublicKey, SecretKey};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use wire::local::PeerWrite;

use super::view::View;
use super::{Add, Owned, checked, public_half, write};

/// How long the controller may take to know what it has written.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn run(args: Add) -> Result<()> {
    let name = checked(&args.name)?;
    let view = View::of(&args.seat).await?;
    if view.own(&name).is_ok() {
        bail!("there is a peer {name} already: remove it first, or choose another name");
    }
    let made = args.public_key.is_none().then(generate);
    let public_key = made.as_ref().map(public_half).or(args.public_key).context("it has a key")?;
    // As good as any 32 bytes.
    let preshared_key = args.preshared_key.then(|| PresharedKey(generate().0));
    let manifest = manifest(&args, &view, &name, public_key, preshared_key.as_ref())?;
    if args.print {
        println!("{}", serde_json::to_string_pretty(&manifest)?);
        if let Some(key) = made {
            eprintln!("causeway: its private key, which is kept nowhere else: {}", *key.to_base64());
        }
        return Ok(());
    }
    let () = args.seat.post("/v1/peers", &PeerWrite { manifest: manifest.to_string() }).await?;
    let mut configuration = known(&args, &name).await?.configuration(&name, args.no_dns)?;
    let owned = Owned { private_key: made, preshared_key };
    owned.put_into(&mut configuration);
    if owned.private_key.is_some() {
        eprintln!("causeway: {name} is let in; its private key is shown this once and kept nowhere");
    }
    write(&configuration, args.output)
}

fn generate() -> SecretKey {
    SecretKey(*PrivateKey::generate().secret())
}

/// Waits until the controller has read what it has written.
async fn known(args: &Add, name: &str) -> Result<View> {
    let begun = Instant::now();
    loop {
        let view = View::of(&args.seat).await?;
        if view.own(name).is_ok() {
            return Ok(view);
        }
        if begun.elapsed() > PATIENCE {
            bail!(
                "{name} is written, but the controller has not taken it in: see `causeway status` for what is wrong"
            );
        }
        sleep(LOOK).await;
    }
}

/// The object.
fn manifest(
    args: &Add,
    view: &View,
    name: &str,
    public_key: PublicKey,
    preshared_key: Option<&PresharedKey>,
) -> Result<Value> {
    let addresses = if args.address.is_empty() { free_addresses(view)? } else { args.address.clone() };
    let gateway = match &args.gateway {
        Some(gateway) => gateway.clone(),
        None => {
            let best = best_gateway(&view.world, &view.cluster, name);
            best.map(|node| node.name.node.clone()).with_context(|| {
                format!("cluster {} has no node that could have its tunnel yet: try again", view.cluster)
            })?
        }
    };
    let allow: BTreeSet<String> = args.allow.iter().map(ToString::to_string).collect();
    let mut annotations = Map::new();
    annotations.insert(GATEWAY.into(), gateway.into());
    annotations.insert(ALLOW.into(), allow.into_iter().collect::<Vec<_>>().join(",").into());
    if let Some(seconds) = args.expires {
        let at = now().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX));
        annotations.insert(EXPIRES.into(), Timestamp::from_second(at)?.to_string().into());
    }
    let mut labels = Map::new();
    for label in &args.label {
        let (key, value) = label.split_once('=').with_context(|| format!("{label:?}: write KEY=VALUE"))?;
        labels.insert(key.into(), value.into());
    }
    let mut spec = json!({ "allowedIPs": addresses, "publicKey": public_key });
    if let Some(key) = preshared_key {
        spec["presharedKey"] = key.to_base64().as_str().into();
    }
    let mut manifest = json!({
        "apiVersion": Kind::Peer.api_version(),
        "kind": Kind::Peer.as_str(),
        "metadata": { "name": name, "annotations": annotations },
        "spec": spec,
    });
    if !labels.is_empty() {
        manifest["metadata"]["labels"] = labels.into();
    }
    Ok(manifest)
}

/// The first address of each family that no peer has.
fn free_addresses(view: &View) -> Result<Vec<IpNet>> {
    let ranges = &view.own_cluster()?.peer_cidrs;
    let taken = model::allowed(view.world.peers.values());
    let free = |ip: &IpAddr| !taken.iter().any(|range| range.contains(ip));
    let mut found = Vec::new();
    for v4 in [true, false] {
        let of_family: Vec<&IpNet> = ranges.iter().filter(|range| range.addr().is_ipv4() == v4).collect();
        let mut hosts = of_family.iter().flat_map(|range| {
            let first = range.network();
            // In IPv6 the first one means every router (RFC 4291 §2.6.1).
            range.hosts().filter(move |ip| v4 || *ip != first)
        });
        match hosts.find(free) {
            Some(ip) => found.push(IpNet::from(ip)),
            None if of_family.is_empty() => {}
            None => {
                bail!("the ranges for peers are full: give the controller more peerCIDRs, or an --address")
            }
        }
    }
    if found.is_empty() {
        bail!("the cluster has no ranges for peers: give the controller peerCIDRs, or an --address");
    }
    Ok(found)
}
