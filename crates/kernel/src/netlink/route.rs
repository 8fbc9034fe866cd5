//! Routes of the main table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::family;
use super::step::Step;
use super::{Netlink, NetlinkError, failed, if_there};

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends on through a device, straight or by a gateway.
    Unicast {
        /// The device's number.
        device: u32,
        /// The next hop; it need not be in any subnet of the device's. None: the destination is on the link.
        gateway: Option<IpAddr>,
    },
    /// Drops silently.
    Blackhole,
    /// Drops with an ICMP error.
    Unreachable,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Where to.
    pub to: IpNet,
    /// Of several routes to the same range the one with the least is used. Not 0: IPv6 has no such metric.
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The source address of packets the namespace itself sends along it.
    pub source: Option<IpAddr>,
    /// Bytes of the largest packet, where it is less than the device takes.
    pub mtu: Option<u32>,
    /// Who made it: [`super::PROTOCOL_PLAN`], [`super::PROTOCOL_POD`], 4 for "the administrator".
    pub protocol: u8,
}

impl RouteSpec {
    /// A route by hand (`proto static`), with a metric that leaves room on both sides.
    pub fn new(to: IpNet, kind: RouteKind) -> Self {
        Self { to, metric: 1024, kind, source: None, mtu: None, protocol: RouteProtocol::Static.into() }
    }
}

impl Netlink {
    /// Sets a route, in place of one with the same range and metric.
    pub async fn set_route(&self, route: &RouteSpec) -> Result<(), NetlinkError> {
        self.carry_out(set_route(route)).await
    }

    /// Deletes the route with this range, metric and protocol, if there is one.
    pub async fn delete_route(&self, to: IpNet, metric: u32, protocol: u8) -> Result<(), NetlinkError> {
        let mut message = header(to, protocol);
        message.header.scope = RouteScope::NoWhere; // any
        message.attributes.push(RouteAttribute::Priority(metric));
        let deleted = self.change(RouteNetlinkMessage::DelRoute(message)).await;
        if_there(deleted.map_err(failed("delete route", format!("{to} metric {metric}"))))
    }

    /// The main table's routes with this protocol. What cannot be said by a [`RouteSpec`] (several next hops) is
    /// left out.
    pub async fn routes(&self, protocol: u8) -> Result<Vec<RouteSpec>, NetlinkError> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.list(RouteNetlinkMessage::GetRoute(message)).await;
            let answers = answers.map_err(failed("list", "the routes"))?;
            found.extend(answers.into_iter().filter_map(|answer| parse(answer, protocol)));
        }
        Ok(found)
    }
}

/// [`Netlink::set_route`].
pub(crate) fn set_route(route: &RouteSpec) -> Step {
    let target = format!("{} metric {} ({:?})", route.to, route.metric, route.kind);
    Step::replace(RouteNetlinkMessage::NewRoute(message(route)), "set route", target)
}

/// Takes packets to an address in, beside the kernel's own route for it: that of an IPv6 address comes from a worker of
/// the kernel's, some time after the address (`addrconf_dad_work`, net/ipv6/addrconf.c).
pub(crate) fn take_in(ip: IpAddr, device: u32) -> Step {
    let mut message = header(IpNet::from(ip), super::PROTOCOL_POD);
    message.header.table = libc::RT_TABLE_LOCAL;
    message.header.kind = RouteType::Local;
    message.attributes.push(RouteAttribute::Oif(device));
    Step::replace(RouteNetlinkMessage::NewRoute(message), "take in packets to", ip.to_string())
}

fn header(to: IpNet, protocol: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to.addr());
    message.header.destination_prefix_length = to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = protocol.into();
    message.attributes.push(RouteAttribute::Destination(to.network().into()));
    message
}

fn message(route: &RouteSpec) -> RouteMessage {
    let mut message = header(route.to, route.protocol);
    message.attributes.push(RouteAttribute::Priority(route.metric));
    message.header.kind = match route.kind {
        RouteKind::Unicast { device, gateway } => {
            message.attributes.push(RouteAttribute::Oif(device));
            match gateway {
                Some(gateway) => {
                    message.attributes.push(RouteAttribute::Gateway(gateway.into()));
                    message.header.flags = RouteFlags::Onlink;
                }
                None => message.header.scope = RouteScope::Link,
            }
            RouteType::Unicast
        }
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
    };
    if let Some(source) = route.source {
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    if let Some(mtu) = route.mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    message
}

fn parse(answer: RouteNetlinkMessage, protocol: u8) -> Option<RouteSpec> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    let header = &message.header;
    let of_main = header.table == RouteHeader::RT_TABLE_MAIN;
    // Cloned: what IPv6 remembers about one destination (its path MTU, say) carries the protocol of its origin.
    if u8::from(header.protocol) != protocol || !of_main || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (mut to, mut metric, mut device, mut gateway, mut source, mut mtu) =
        (None, 0, None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    // A default route names no destination.
    let to = to.unwrap_or(match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    });
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast { device: device?, gateway },
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        _ => return None,
    };
    let to = IpNet::new(to, header.destination_prefix_length).ok()?;
    Some(RouteSpec { to, metric, kind, source, mtu, protocol })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}
