//! Addresses of devices, and neighbours on their links.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::step::Step;
use super::{Mac, Netlink, NetlinkError, failed, if_there};

impl Netlink {
    /// Gives a device an address; one that it has already is no error. IPv6 is usable at once: addresses here are
    /// handed out by one authority, so duplicate address detection (RFC 4862, a second of silence) is left out.
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        self.carry_out(add_address(index, address)).await
    }

    /// Takes an address from a device, if it has it.
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        let deleted = self.change(RouteNetlinkMessage::DelAddress(message(index, address))).await;
        if_there(deleted.map_err(failed("delete address", format!("{address} of device number {index}"))))
    }

    /// A device's addresses, without the IPv6 link-local ones that the kernel makes by itself.
    pub async fn addresses(&self, index: u32) -> Result<BTreeSet<IpNet>, NetlinkError> {
        let answers = self.list(RouteNetlinkMessage::GetAddress(AddressMessage::default())).await;
        let answers = answers.map_err(failed("list", "the addresses"))?;
        Ok(answers.into_iter().filter_map(|answer| parse(answer, index)).collect())
    }

    /// Tells the namespace once and for all which Ethernet address a neighbour has: it is never asked for.
    pub async fn set_neighbour(&self, index: u32, ip: IpAddr, mac: Mac) -> Result<(), NetlinkError> {
        self.carry_out(set_neighbour(index, ip, mac)).await
    }
}

/// [`Netlink::add_address`].
pub(crate) fn add_address(index: u32, address: IpNet) -> Step {
    let target = format!("{address} to device number {index}");
    Step::replace(RouteNetlinkMessage::NewAddress(message(index, address)), "add address", target)
}

/// [`Netlink::set_neighbour`].
pub(crate) fn set_neighbour(index: u32, ip: IpAddr, mac: Mac) -> Step {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(match ip {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        }),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    let target = format!("{ip} at {mac} on device number {index}");
    Step::replace(RouteNetlinkMessage::NewNeighbour(message), "set neighbour", target)
}

pub(super) fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    match address {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        IpNet::V4(_) => {}
        IpNet::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
    }
    message
}

fn parse(answer: RouteNetlinkMessage, index: u32) -> Option<IpNet> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let header = &message.header;
    let made_by_kernel = header.family == AddressFamily::Inet6 && header.scope == AddressScope::Link;
    if header.index != index || made_by_kernel {
        return None;
    }
    // Local is the device's own; Address is the other end's on a point-to-point device, and the only one of IPv6.
    let find = |own: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) if own => Some(*ip),
            AddressAttribute::Address(ip) if !own => Some(*ip),
            _ => None,
        })
    };
    IpNet::new(find(true).or_else(|| find(false))?, header.prefix_len).ok()
}
