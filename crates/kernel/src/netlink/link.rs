//! Devices.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoData, InfoKind, InfoVeth, InfoVxlan,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use serde::{Deserialize, Serialize};

use super::step::Step;
use super::{Netlink, NetlinkError, failed, if_there};
use crate::netns::Netns;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A unicast address of our own making (locally administered, IEEE 802c) from 48 bits of any hash.
    pub fn from_hash(hash: u64) -> Self {
        let [a, b, c, d, e, f, ..] = hash.to_le_bytes();
        Self([(a & !0b01) | 0b10, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Text that is not six bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address: write six bytes as 02:00:5e:10:00:01")]
pub struct MacError;

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && !p.starts_with('+')).ok_or(MacError)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| MacError)?;
        }
        if parts.next().is_none() { Ok(Self(bytes)) } else { Err(MacError) }
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// A device, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// Whether it is up (administratively).
    pub up: bool,
    /// Whether it passes packets: it is up, and so is what it is connected to (RFC 2863, operational state).
    pub running: bool,
    /// Its kind, such as `veth`, `bridge`, `tun`; none for loopback and hardware.
    pub kind: Option<String>,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// The number of the device at the other end of a veth, in that device's own namespace.
    pub peer: Option<u32>,
    /// The note it carries.
    pub alias: Option<String>,
}

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct VethEnd<'a> {
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// Where it goes; none: where the [`Netlink`] is.
    pub netns: Option<&'a Netns>,
    /// Bytes of the largest packet; none: 1500.
    pub mtu: Option<u32>,
    /// Its Ethernet address; none: a random one.
    pub mac: Option<Mac>,
}

impl<'a> VethEnd<'a> {
    /// An end of this name, with the kernel's defaults for the rest.
    pub fn named(name: &'a str) -> Self {
        Self { name, netns: None, mtu: None, mac: None }
    }
}

/// What to change about a device. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct LinkChange<'a> {
    /// Up (true) or down.
    pub up: Option<bool>,
    /// Bytes of the largest packet.
    pub mtu: Option<u32>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// A port of this bridge from now on; 0: of none.
    pub master: Option<u32>,
    /// Called this from now on. It must be down.
    pub name: Option<&'a str>,
    /// In this namespace from now on.
    pub netns: Option<&'a Netns>,
    /// A note for people and for ourselves, at most 255 bytes (`ip link` shows it as `alias`).
    pub alias: Option<&'a str>,
    /// Whether the kernel gives it an IPv6 link-local address when it comes up.
    pub link_local: Option<LinkLocal>,
}

/// Where a device's IPv6 link-local address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLocal {
    /// The kernel makes one from the Ethernet address.
    FromMac,
    /// There is none: the device is only passed through.
    None,
}

impl Netlink {
    /// Makes a veth pair, each end in its place with its name, both down.
    pub async fn add_veth(&self, here: &VethEnd<'_>, there: &VethEnd<'_>) -> Result<(), NetlinkError> {
        self.carry_out(add_veth(here, there)).await
    }

    /// Makes a bridge, up. No spanning tree, no multicast snooping: what comes in goes out at once.
    pub async fn add_bridge(&self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
            ]),
        ];
        let made = self.create(RouteNetlinkMessage::NewLink(message)).await;
        made.map_err(failed("make the bridge", name))
    }

    /// Makes a device of VXLAN's, down: on this UDP port of both families, of any network's number, and without a mind of its
    /// own: it sends what says itself where to (a program does), and learns nothing.
    pub async fn add_vxlan(&self, name: &str, port: u16, mtu: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(vec![
                    InfoVxlan::CollectMetadata(true),
                    InfoVxlan::Learning(false),
                    InfoVxlan::Port(port),
                ])),
            ]),
        ];
        let made = self.create(RouteNetlinkMessage::NewLink(message)).await;
        made.map_err(failed("make the VXLAN device", name))
    }

    /// All devices.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let answers = self.list(RouteNetlinkMessage::GetLink(LinkMessage::default())).await;
        let answers = answers.map_err(failed("list", "the devices"))?;
        Ok(answers.into_iter().filter_map(parse).collect())
    }

    /// The device of this name, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        match self.get(named(name)).await {
            Ok(answers) => Ok(answers.into_iter().find_map(parse)),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(failed("look at device", name)(e)),
        }
    }

    /// The number of the device of this name; an error if there is none.
    pub async fn index(&self, name: &str) -> Result<u32, NetlinkError> {
        let missing = || failed("find device", name)(std::io::Error::from_raw_os_error(libc::ENODEV));
        self.link(name).await?.map(|link| link.index).ok_or_else(missing)
    }

    /// Changes a device, all at once.
    pub async fn set_link(&self, index: u32, change: &LinkChange<'_>) -> Result<(), NetlinkError> {
        self.carry_out(set_link(index, change)).await
    }

    /// Sets a device up.
    pub async fn set_up(&self, index: u32) -> Result<(), NetlinkError> {
        self.set_link(index, &LinkChange { up: Some(true), ..LinkChange::default() }).await
    }

    /// Sets a device down.
    pub async fn set_down(&self, index: u32) -> Result<(), NetlinkError> {
        self.set_link(index, &LinkChange { up: Some(false), ..LinkChange::default() }).await
    }

    /// Deletes the device of this name, if there is one; the other end of a veth goes with it.
    pub async fn delete_link(&self, name: &str) -> Result<(), NetlinkError> {
        if_there(self.carry_out(delete_link(name)).await)
    }
}

/// [`Netlink::add_veth`].
pub(crate) fn add_veth(here: &VethEnd<'_>, there: &VethEnd<'_>) -> Step {
    let mut peer = LinkMessage::default();
    peer.attributes = end_attributes(there);
    let mut message = LinkMessage::default();
    message.attributes = end_attributes(here);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let target = format!("{} and {}", here.name, there.name);
    Step::create(RouteNetlinkMessage::NewLink(message), "make the veth pair", target)
}

/// [`Netlink::set_link`].
pub(crate) fn set_link(index: u32, change: &LinkChange<'_>) -> Step {
    let mut message = LinkMessage::default();
    message.header.index = index;
    if let Some(up) = change.up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags.set(LinkFlags::Up, up);
    }
    let attributes = [
        change.mtu.map(LinkAttribute::Mtu),
        change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())),
        change.master.map(LinkAttribute::Controller),
        change.name.map(|name| LinkAttribute::IfName(name.into())),
        change.netns.map(|netns| LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())),
        change.alias.map(|alias| LinkAttribute::IfAlias(alias.into())),
        change.link_local.map(link_local),
    ];
    message.attributes = attributes.into_iter().flatten().collect();
    let target = format!("number {index} ({change:?})");
    Step::change(RouteNetlinkMessage::SetLink(message), "change device", target)
}

/// [`Netlink::delete_link`], but one that is not there is an error.
pub(crate) fn delete_link(name: &str) -> Step {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.into())];
    Step::change(RouteNetlinkMessage::DelLink(message), "delete device", name.into())
}

/// The question for the device of this name.
pub(super) fn named(name: &str) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.into())];
    RouteNetlinkMessage::GetLink(message)
}

fn link_local(from: LinkLocal) -> LinkAttribute {
    let mode = match from {
        LinkLocal::FromMac => In6AddrGenMode::Eui64,
        LinkLocal::None => In6AddrGenMode::None,
    };
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)])])
}

fn end_attributes(end: &VethEnd<'_>) -> Vec<LinkAttribute> {
    let attributes = [
        Some(LinkAttribute::IfName(end.name.into())),
        end.mtu.map(LinkAttribute::Mtu),
        end.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())),
        end.netns.map(|netns| LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())),
    ];
    attributes.into_iter().flatten().collect()
}

pub(super) fn parse(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        running: false,
        kind: None,
        master: None,
        peer: None,
        alias: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Controller(master) => link.master = Some(master),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::OperState(state) => link.running = state == State::Up,
            LinkAttribute::Link(peer) => link.peer = Some(peer),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        assert_eq!("02:00:5e:10:00:ff".parse::<Mac>().unwrap().to_string(), "02:00:5e:10:00:ff");
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:ff:00",
            "2:0:5e:10:0:ff",
            "02:00:5e:10:00:fg",
            "+2:00:5e:10:00:ff",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(MacError), "{bad}");
        }
        for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(Mac::from_hash(hash).0[0] & 0b11, 0b10, "unicast, locally administered");
        }
    }
}
