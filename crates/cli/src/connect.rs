//! `causeway connect`: this machine as a client of the mesh, for as long as the command runs.

mod front;
mod names;
mod source;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use engine::plan;
use ipnet::IpNet;
use kernel::netlink::{LinkChange, Netlink, RouteKind, RouteSpec};
use kernel::wireguard::{Device, Launch, Options, process_of};
use model::PublicKey;
use tokio::signal::unix::{SignalKind, signal};
use wire::client::{Configuration, End};

use crate::install::Access;
use crate::peer::Secrets;
use crate::seat::Seat;
use names::Names;

/// Bytes of the largest packet, where nobody says: 1,500 less 80 of the tunnel.
const MTU: u32 = 1420;
/// How long the device's process may take to end with its device.
const PATIENCE: Duration = Duration::from_secs(5);

/// `causeway connect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway connect alice --private-key alice.key      as alice of the cluster that kubectl knows
  causeway connect alice --private-key alice.conf     with the key in what `peer add` has printed
  causeway connect alice --private-key - --context aws < alice.key
  causeway connect alice --private-key alice.key --cluster left      in the lab
  causeway connect alice.conf                         with what is in the file, and nothing else
  causeway connect - --no-dns < alice.conf

With a name it asks for what `causeway peer conf NAME` prints: the controller on this machine or of the lab, else by kubectl the \
controller of the cluster. The private key stays here.
It needs root. Ctrl-C, or SIGTERM, ends it: device, routes and names are as before.")]
pub(crate) struct Args {
    /// A peer's name; or a file with a configuration as wg-quick reads it, `-` for standard input. A file is what is one here, and
    /// what has a / in it or ends in .conf.
    #[arg(value_name = "NAME|FILE")]
    what: PathBuf,
    #[command(flatten)]
    secrets: Secrets,
    /// What the device is called.
    #[arg(short, long, default_value = "causeway0")]
    interface: String,
    /// Leave this machine's resolver alone.
    #[arg(long)]
    no_dns: bool,
    #[command(flatten)]
    seat: Seat,
    #[command(flatten)]
    access: Access,
}

/// Connects, and waits.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let configuration = source::configuration(&args).await?;
    // Before anything is changed: whoever asks to stop meanwhile is heard.
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let netlink = Netlink::open()?;
    if netlink.link(&args.interface).await?.is_some() {
        bail!(
            "there is a device {0} already: is another connection under way? Else remove it: ip link delete {0}",
            args.interface
        );
    }
    let options = Options::new(&args.interface);
    let mut names = Names::default();
    let connected = tokio::select! {
        connected = connect(&args, &configuration, &netlink, &options, &mut names) => connected,
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped before it was connected")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped before it was connected")),
    };
    if let Ok((device, ends)) = &connected {
        let addresses: Vec<String> = configuration.addresses.iter().map(ToString::to_string).collect();
        println!("connected as {} by {}; Ctrl-C ends it", addresses.join(", "), args.interface);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = watch(&args, &configuration, device, ends, &mut names) => {}
        }
    }
    let connected = connected.map(drop);
    let ended = disconnect(&netlink, &options, names).await;
    connected.and(ended)?;
    println!("disconnected");
    Ok(ExitCode::SUCCESS)
}

/// Keeps a gateway that answers in front, where there are several.
async fn watch(
    args: &Args,
    configuration: &Configuration,
    device: &Device,
    ends: &[(PublicKey, plan::Peer)],
    names: &mut Names,
) {
    match front::of(configuration) {
        Some(front) => front::keep(front, device, ends, configuration, names, &args.interface).await,
        None => std::future::pending().await,
    }
}

/// Returns the device, and what it was told of the other ends.
async fn connect(
    args: &Args,
    configuration: &Configuration,
    netlink: &Netlink,
    options: &Options,
    names: &mut Names,
) -> Result<(Device, Vec<(PublicKey, plan::Peer)>)> {
    let key = configuration.private_key.as_ref().context("there is no private key")?;
    if configuration.peers.is_empty() {
        bail!("the configuration has no [Peer]: there is nobody to connect with");
    }
    let mut ends = Vec::new();
    for end in &configuration.peers {
        ends.push((end, resolved(end).await?));
    }
    let routes: BTreeSet<IpNet> =
        configuration.peers.iter().flat_map(|end| &end.allowed_ips).copied().collect();
    for endpoint in ends.iter().filter_map(|(_, endpoint)| *endpoint) {
        if let Some(around) = routes.iter().find(|range| range.contains(&endpoint.ip())) {
            bail!(
                "the other end {endpoint} is itself inside {around}, which is to go through the tunnel: allow less, or use \
                 wg-quick, which knows how to do that"
            );
        }
    }
    let launch = Launch::here(std::env::current_exe().context("finding the path of this program")?);
    let device = Device::ensure(options, &launch)?;
    device.set_private_key(&key.0)?;
    let mut told = Vec::new();
    for (end, endpoint) in ends {
        let peer = plan::Peer {
            endpoint,
            allowed_ips: end.allowed_ips.iter().copied().collect(),
            keepalive: end.keepalive,
            preshared_key: end.preshared_key.clone(),
            ..plan::Peer::default()
        };
        device.apply(&plan::Op::SetPeer(end.public_key, peer.clone()))?;
        told.push((end.public_key, peer));
    }
    let index = netlink.index(&args.interface).await?;
    let mtu = configuration.mtu.unwrap_or(MTU);
    netlink.set_link(index, &LinkChange { mtu: Some(mtu), up: Some(true), ..LinkChange::default() }).await?;
    for address in &configuration.addresses {
        netlink.add_address(index, *address).await?;
    }
    for range in routes {
        let of_family =
            configuration.addresses.iter().any(|ip| ip.addr().is_ipv4() == range.addr().is_ipv4());
        if of_family {
            let kind = RouteKind::Unicast { device: index, gateway: None };
            netlink.set_route(&RouteSpec::new(range, kind)).await?;
        }
    }
    if !args.no_dns && !configuration.dns.is_empty() {
        names.begin(&args.interface, &configuration.dns, &configuration.search)?;
    }
    Ok((device, told))
}

/// Where the other end is.
async fn resolved(end: &End) -> Result<Option<SocketAddr>> {
    let Some(endpoint) = &end.endpoint else { return Ok(None) };
    let found = tokio::net::lookup_host(endpoint.as_str()).await;
    let mut found = found.with_context(|| format!("looking up the other end {endpoint}"))?;
    found.next().with_context(|| format!("the other end {endpoint} has no address")).map(Some)
}

/// Puts everything back, whatever of it there is.
async fn disconnect(netlink: &Netlink, options: &Options, names: Names) -> Result<()> {
    let named = names.end();
    let process = process_of(options).unwrap_or_default();
    // Addresses and routes go with it.
    netlink.delete_link(&options.interface).await?;
    if let Some(process) = process {
        let ended = tokio::task::spawn_blocking(move || process.wait(PATIENCE)).await?;
        if !ended.unwrap_or(false) {
            bail!("the process of the device {} did not end within {PATIENCE:?}", options.interface);
        }
    }
    match std::fs::remove_file(options.socket()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("removing {}", options.socket().display()));
        }
        _ => {}
    }
    named
}
