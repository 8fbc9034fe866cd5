//! Which device leads to other nodes, where the configuration does not say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, anyhow};
use kernel::host::{device_with, source_towards};
use kernel::netlink::{Link, Netlink};
use model::Node;

use crate::config::Config;

/// Addresses that nobody has (RFC 5737, RFC 3849): what leads there is the default route.
const NOWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// The device that is named; or else the one that holds an address that the world knows the node by; or else the one
/// of the default route; or else the one that leads to a controller.
pub(crate) async fn find(netlink: &Netlink, config: &Config, me: Option<&Node>) -> Result<Link> {
    if !config.underlay.is_empty() {
        let missing = || anyhow!("there is no device {}: check underlay, or leave it out", config.underlay);
        return netlink.link(&config.underlay).await?.ok_or_else(missing);
    }
    let own = me.into_iter().flat_map(|node| node.private_ips.iter().chain(&node.public_ips)).copied();
    let controllers = config.controllers.iter().map(|address| address.ip());
    let ways = NOWHERE.into_iter().chain(controllers).filter_map(source_towards);
    for ip in own.chain(ways).filter(|ip| !ip.is_loopback()) {
        let Some(device) = device_with(ip)? else { continue };
        if device == config.interface || device == "lo" {
            continue;
        }
        if let Some(link) = netlink.link(&device).await? {
            return Ok(link);
        }
    }
    Err(anyhow!(
        "no device leads to other nodes: this machine has no default route; name a device as underlay"
    ))
}

/// Bytes of the largest packet inside the tunnel, which adds 40 (IPv6), 8 (UDP) and 32. IPv6 wants 1280 at least.
pub(crate) fn tunnel_mtu(underlay: u32) -> u32 {
    underlay.saturating_sub(80).max(1280)
}
