//! The device of each location: made, addressed, and the default routes put on it.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use kernel::netlink::{Netlink, RouteKind, RouteSpec};
use kernel::netns::Netns;
use kernel::tun::{Offload, Tun, TunOptions};

use super::{DEVICE, Error, MTU, Segment};

/// Opens the device in every segment's namespace. It vanishes, routes and all, with what is returned.
pub(super) fn open_all(segments: &[Segment]) -> Result<Vec<Tun>, Error> {
    let failed = |source| Error::System { attempt: "start the underlay's set-up", source };
    let open_all = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        segments.iter().map(|segment| runtime.block_on(open(segment))).collect()
    };
    // On a thread of its own, because the caller's may have a runtime already, and cannot have two.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, open_all).map_err(failed)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The most packets that wait for the underlay: a tenth of a second at 100,000 a second.
const QUEUE: u32 = 10_000;

async fn open(segment: &Segment) -> Result<Tun, Error> {
    let netns = Netns::open(&segment.netns).map_err(failed("open", segment))?;
    let tun = netns.run(create).map_err(failed("create", segment))?.map_err(failed("create", segment))?;
    route(&netns, segment).await.map_err(failed("route by", segment))?;
    Ok(tun)
}

fn create() -> std::io::Result<Tun> {
    let tun = Tun::open(DEVICE, TunOptions { vnet_hdr: true, nonblocking: true, ..TunOptions::default() })?;
    tun.set_offload(Offload::ALL)?;
    tun.interface().set_mtu(MTU)?;
    tun.interface().set_queue_len(QUEUE)?;
    tun.interface().set_up()?;
    Ok(tun)
}

async fn route(netns: &Netns, segment: &Segment) -> Result<(), kernel::netlink::NetlinkError> {
    let netlink = Netlink::open_in(netns)?;
    let device = netlink.index(DEVICE).await?;
    for address in &segment.uplink {
        netlink.add_address(device, *address).await?;
        let everywhere = match address {
            IpNet::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpNet::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        let by_device = RouteKind::Unicast { device, gateway: None };
        let route = RouteSpec { source: Some(address.addr()), ..RouteSpec::new(everywhere, by_device) };
        netlink.set_route(&route).await?;
    }
    Ok(())
}

fn failed<E: std::fmt::Display>(attempt: &'static str, segment: &Segment) -> impl FnOnce(E) -> Error {
    let netns = segment.netns.clone();
    move |reason| Error::Device { attempt, netns, reason: reason.to_string() }
}
