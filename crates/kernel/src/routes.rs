//! The part of the plan that rtnetlink holds: routes into the tunnel or nowhere, the tunnel's addresses and MTU.
//!
//! [`observe`] says what is there in the plan's own words, and after [`apply`] it says what was applied. Only routes
//! with our protocol number are seen or touched. When the tunnel device goes away, the kernel takes its routes and
//! addresses along, and the next observation says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use engine::plan::{Op, Route, RouteVia};
use ipnet::IpNet;

use crate::netlink::{LinkChange, Netlink, NetlinkError, PROTOCOL_PLAN, RouteKind, RouteSpec};

/// Why an operation was not applied.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The tunnel device is not there (yet, or any more).
    #[error("cannot apply {op} while there is no device {tunnel}: is `causeway wireguard {tunnel}` running?")]
    NoTunnel {
        /// What was to be done.
        op: String,
        /// The device.
        tunnel: String,
    },
    /// IPv6 replaces metric 0 by 1024, so it could never be observed.
    #[error("cannot set a route to {0} with metric 0: metrics begin at 1")]
    Metric(IpNet),
}

/// What the kernel holds of the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Our routes, by destination and metric.
    pub routes: BTreeMap<(IpNet, u32), Route>,
    /// The tunnel's addresses.
    pub addresses: BTreeSet<IpNet>,
    /// Bytes of the largest packet in the tunnel; 0 while the device is missing or down, so that a plan with any MTU
    /// sets it up.
    pub mtu: u32,
}

/// Whether an operation was for this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was, and is done.
    Done,
    /// It is another part's: peers, guards, services, health.
    NotMine,
}

/// Applies one operation of the plan.
pub async fn apply(netlink: &Netlink, op: &Op, tunnel: &str) -> Result<Applied, RouteError> {
    let device = async || -> Result<u32, RouteError> {
        let missing = || RouteError::NoTunnel { op: format!("{op:?}"), tunnel: tunnel.into() };
        Ok(netlink.link(tunnel).await?.ok_or_else(missing)?.index)
    };
    match op {
        Op::TunnelMtu(mtu) => {
            let change = LinkChange { mtu: Some(*mtu), up: Some(true), ..LinkChange::default() };
            netlink.set_link(device().await?, &change).await?;
        }
        Op::AddAddress(address) => netlink.add_address(device().await?, *address).await?,
        Op::DeleteAddress(address) => {
            if let Some(link) = netlink.link(tunnel).await? {
                netlink.delete_address(link.index, *address).await?;
            }
        }
        Op::SetRoute(to, 0, _) => return Err(RouteError::Metric(*to)),
        Op::SetRoute(to, metric, Route { via, source, mtu }) => {
            let kind = match via {
                RouteVia::Tunnel => RouteKind::Unicast { device: device().await?, gateway: None },
                RouteVia::Blackhole => RouteKind::Blackhole,
                RouteVia::Unreachable => RouteKind::Unreachable,
            };
            let (metric, source, mtu) = (*metric, *source, *mtu);
            let route = RouteSpec { to: *to, metric, kind, source, mtu, protocol: PROTOCOL_PLAN };
            netlink.set_route(&route).await?;
        }
        Op::DeleteRoute(to, metric) => netlink.delete_route(*to, *metric, PROTOCOL_PLAN).await?,
        Op::Guard(_)
        | Op::Unguard(_)
        | Op::SetNeighbour(..)
        | Op::DeleteNeighbour(_)
        | Op::SetMtu(..)
        | Op::DeleteMtu(_)
        | Op::Masquerade(_)
        | Op::TunnelPort(_)
        | Op::SetPeer(..)
        | Op::DeletePeer(_)
        | Op::AddSet(..)
        | Op::SetFrontend(..)
        | Op::DeleteFrontend(_)
        | Op::SetOutside(..)
        | Op::DeleteOutside(_)
        | Op::DeleteSet(..)
        | Op::MarkDead(_)
        | Op::MarkAlive(_)
        | Op::AddNodeAddress(_)
        | Op::DeleteNodeAddress(_)
        | Op::AddTable(..)
        | Op::DeleteTable(..)
        | Op::AddDirect(_)
        | Op::DeleteDirect(_) => return Ok(Applied::NotMine),
    }
    Ok(Applied::Done)
}

/// What the kernel holds.
pub async fn observe(netlink: &Netlink, tunnel: &str) -> Result<Observed, NetlinkError> {
    let link = netlink.link(tunnel).await?;
    let addresses = match &link {
        Some(link) => netlink.addresses(link.index).await?,
        None => BTreeSet::new(),
    };
    let index = link.as_ref().map(|link| link.index);
    let routes = netlink.routes(PROTOCOL_PLAN).await?;
    let routes =
        routes.into_iter().filter_map(|route| Some(((route.to, route.metric), in_plan(&route, index)?)));
    Ok(Observed {
        routes: routes.collect(),
        addresses,
        mtu: link.filter(|link| link.up).map_or(0, |link| link.mtu),
    })
}

fn in_plan(route: &RouteSpec, tunnel: Option<u32>) -> Option<Route> {
    let via = match route.kind {
        RouteKind::Unicast { device, gateway: None } if Some(device) == tunnel => RouteVia::Tunnel,
        RouteKind::Unicast { .. } => return None,
        RouteKind::Blackhole => RouteVia::Blackhole,
        RouteKind::Unreachable => RouteVia::Unreachable,
    };
    let source = route.source.filter(|ip: &IpAddr| !ip.is_unspecified());
    Some(Route { via, source, mtu: route.mtu })
}
