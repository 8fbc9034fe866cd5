//! A machine of the lab (a node, or a controller's host): a network namespace with a cable to its segment's bridge,
//! a view of the file system with folders of its own, a control group.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use kernel::cgroup::Cgroup;
use kernel::mount::{self, Mount};
use kernel::netlink::{LinkChange, Netlink, RouteKind, RouteSpec, VethEnd, sysctl};
use kernel::netns::Netns;
use kernel::sandbox::Sandbox;
use tokio::task::spawn_blocking;

use crate::plan::{Host, Location};
use crate::state::Folders;

/// The device to the underlay.
pub const UNDERLAY: &str = "eth0";

/// The bridge of a segment.
const BRIDGE: &str = "br0";

/// Places where a machine sees its own folders. They have to exist in the machine's own view.
pub const MOUNT_POINTS: [&str; 3] = ["/run/causeway", "/run/wireguard", "/var/lib/causeway"];

/// Where pinned BPF objects live.
const BPFFS: &str = "/sys/fs/bpf";

/// A private segment that was built.
#[derive(Debug)]
pub struct Segment {
    /// Its place in the plan.
    pub location: Location,
    /// Its namespace.
    pub netns: Arc<Netns>,
}

impl Segment {
    /// Builds the namespace and the bridge in it.
    pub async fn build(location: &Location) -> Result<Self> {
        let netns = make_netns(&location.netns).await?;
        let netlink = Netlink::open_in(&netns)?;
        netlink.add_bridge(BRIDGE).await?;
        let bridge = netlink.index(BRIDGE).await?;
        for gateway in &location.gateways {
            netlink.add_address(bridge, *gateway).await?;
        }
        for prefix in &location.public {
            netlink.set_route(&RouteSpec::new(*prefix, on_link(bridge))).await?;
        }
        netlink.set_up(bridge).await?;
        Ok(Self { location: location.clone(), netns })
    }

    /// The bridge's end of a machine's cable.
    pub fn port(host: &Host) -> String {
        format!("port{}", host.number)
    }

    /// Pulls a machine's cable, or plugs it in.
    pub async fn plug(&self, host: &Host, up: bool) -> Result<()> {
        let netlink = Netlink::open_in(&self.netns)?;
        let port = netlink.index(&Self::port(host)).await?;
        netlink.set_link(port, &LinkChange { up: Some(up), ..LinkChange::default() }).await?;
        Ok(())
    }
}

/// What a machine is to be.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its place on the underlay.
    pub host: Host,
    /// The segment it stands on.
    pub segment: Arc<Segment>,
    /// Its folders.
    pub folders: Folders,
    /// Its control group, relative to the root; everything of the machine is below it.
    pub cgroup: String,
    /// The control group of its own daemons, relative to the root.
    pub system: String,
}

/// A machine that was built.
#[derive(Debug)]
pub struct Machine {
    /// Its network namespace.
    pub netns: Arc<Netns>,
    /// Its view of the file system.
    pub mount: Arc<OwnedFd>,
    /// Where everything on it runs.
    pub cgroup: Cgroup,
    /// Where its daemons run.
    pub system: Cgroup,
}

impl Machine {
    /// Builds it.
    pub async fn build(site: &Site) -> Result<Self> {
        let name = &site.host.netns;
        let netns = make_netns(name).await?;
        cable(site, &netns).await.with_context(|| format!("wiring {name} to its segment"))?;
        let site = site.clone();
        let made = spawn_blocking(move || -> Result<_> {
            site.folders.create().context("making the machine's folders")?;
            let cgroup = Cgroup::create(&site.cgroup)?;
            let system = Cgroup::create(&site.system)?;
            Ok((view(&site.folders)?, cgroup, system))
        });
        let (mount, cgroup, system) = made.await?.with_context(|| format!("building {name}"))?;
        Ok(Self { netns, mount: Arc::new(mount), cgroup, system })
    }

    /// Where its daemons run.
    pub fn sandbox(&self) -> Sandbox {
        Sandbox {
            netns: Some(Arc::clone(&self.netns)),
            mount: Some(Arc::clone(&self.mount)),
            cgroup: Some(self.system.path().to_path_buf()),
            new_session: true,
            die_with_parent: false,
        }
    }

    /// Kills everything on it, at once: what a power cut does.
    pub fn cut_power(&self) -> Result<()> {
        Ok(self.cgroup.kill()?)
    }

    /// Takes it away, with the namespaces of its pods: its cable first. What is in its folders stays.
    pub async fn remove(self, site: &Site, pods: Vec<String>) -> Result<()> {
        site.segment.plug(&site.host, false).await?;
        let netlink = Netlink::open_in(&site.segment.netns)?;
        netlink.delete_link(&Segment::port(&site.host)).await?;
        let name = site.host.netns.clone();
        spawn_blocking(move || -> Result<()> {
            self.cgroup.remove_tree()?;
            for name in pods.iter().chain([&name]) {
                Netns::delete(name)?;
            }
            Ok(())
        })
        .await?
    }
}

/// A namespace with the settings of a router. Blocking work is kept off the daemon's thread.
async fn make_netns(name: &str) -> Result<Arc<Netns>> {
    let name = name.to_string();
    let netns = spawn_blocking(move || -> Result<Netns> {
        let netns = Netns::create(&name)?;
        sysctl::write(&netns, sysctl::NODE)?;
        Ok(netns)
    });
    Ok(Arc::new(netns.await??))
}

/// The cable between a machine and its segment's bridge, with addresses and routes.
async fn cable(site: &Site, netns: &Netns) -> Result<()> {
    let Site { host, segment, .. } = site;
    let outside = Netlink::open_in(&segment.netns)?;
    let port = Segment::port(host);
    let ends = (VethEnd::named(&port), VethEnd { netns: Some(netns), ..VethEnd::named(UNDERLAY) });
    outside.add_veth(&ends.0, &ends.1).await?;
    let bridge = outside.index(BRIDGE).await?;
    let master = LinkChange { up: Some(true), master: Some(bridge), ..LinkChange::default() };
    outside.set_link(outside.index(&port).await?, &master).await?;

    let inside = Netlink::open_in(netns)?;
    let device = inside.index(UNDERLAY).await?;
    inside.set_up(device).await?;
    for address in host.addresses.private.iter().chain(&host.addresses.public) {
        inside.add_address(device, *address).await?;
    }
    let source = |v4: bool| host.public_ips().into_iter().find(|ip| ip.is_ipv4() == v4);
    for prefix in &segment.location.public {
        inside.set_route(&RouteSpec::new(*prefix, on_link(device))).await?;
    }
    for gateway in &host.addresses.gateways {
        let everywhere: IpNet =
            if gateway.is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() };
        let kind = RouteKind::Unicast { device, gateway: Some(*gateway) };
        // Whoever is elsewhere knows the machine by its public address.
        let route = RouteSpec { source: source(gateway.is_ipv4()), ..RouteSpec::new(everywhere, kind) };
        inside.set_route(&route).await?;
    }
    Ok(())
}

fn on_link(device: u32) -> RouteKind {
    RouteKind::Unicast { device, gateway: None }
}

/// A machine's view: everybody's, with its own folders in four places.
fn view(folders: &Folders) -> Result<OwnedFd> {
    let own = [&folders.run, &folders.wireguard, &folders.lib];
    let mut mounts: Vec<Mount> =
        own.into_iter().zip(MOUNT_POINTS).map(|(source, target)| Mount::bind(source, target)).collect();
    if Path::new(BPFFS).is_dir() {
        mounts.push(Mount::Bpffs(BPFFS.into()));
    }
    Ok(mount::namespace(&mounts)?)
}
