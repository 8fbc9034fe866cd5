//! The kernel's own WireGuard device: made by rtnetlink, driven by generic netlink
//! (<https://docs.kernel.org/netlink/specs/wireguard.html>).
//!
//! One message per peer, as a message has its limit; the kernel's own dump is joined again.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAllowedIpFlags,
    WireguardAttribute, WireguardCmd, WireguardDeviceFlags, WireguardMessage, WireguardPeer,
    WireguardPeerAttribute, WireguardPeerFlags,
};
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use wireguard::{AllowedChange, PeerChange, PeerStatus};
use zeroize::Zeroizing;

use super::DeviceError;
use crate::netlink::blocking::Conversation;
use crate::wireguard::uapi::{SetRequest, Status};

/// A WireGuard device of the kernel's, in the network namespace in which this was opened.
#[derive(Debug)]
pub(super) struct Kernel {
    interface: String,
    family: u16,
    netlink: Mutex<Conversation>,
}

/// Makes a device; false if the kernel has no WireGuard. One that is there already is as good.
pub(super) fn make(interface: &str) -> io::Result<bool> {
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(interface.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]),
    ];
    let message = RouteNetlinkMessage::NewLink(link);
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let answer: io::Result<Vec<RouteNetlinkMessage>> = Conversation::open(NETLINK_ROUTE)?.ask(message, flags);
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(true),
        Err(error) => Err(error),
    }
}

impl Kernel {
    /// The kernel's device of this name; none if the kernel has no WireGuard or the interface is none of its devices.
    pub(super) fn open(interface: &str) -> io::Result<Option<Self>> {
        let mut netlink = Conversation::open(NETLINK_GENERIC)?;
        let Some(family) = family(&mut netlink)? else { return Ok(None) };
        let this = Self { interface: interface.to_owned(), family, netlink: Mutex::new(netlink) };
        match this.dump() {
            Ok(_) => Ok(Some(this)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn status(&self) -> Result<Status, DeviceError> {
        self.dump().map(|answers| read(&answers)).map_err(|source| self.refused(source))
    }

    pub(super) fn set(&self, request: &SetRequest) -> Result<(), DeviceError> {
        for attributes in write(&self.interface, request) {
            self.ask(WireguardCmd::SetDevice, attributes, NLM_F_REQUEST | NLM_F_ACK)
                .map_err(|source| self.refused(source))?;
        }
        Ok(())
    }

    fn dump(&self) -> io::Result<Vec<WireguardMessage>> {
        let name = vec![WireguardAttribute::IfName(self.interface.clone())];
        self.ask(WireguardCmd::GetDevice, name, NLM_F_REQUEST | NLM_F_DUMP)
    }

    fn ask(
        &self,
        cmd: WireguardCmd,
        attributes: Vec<WireguardAttribute>,
        flags: u16,
    ) -> io::Result<Vec<WireguardMessage>> {
        let mut message = GenlMessage::from_payload(WireguardMessage { cmd, attributes });
        message.set_resolved_family_id(self.family);
        let mut netlink = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        let answers: Vec<GenlMessage<WireguardMessage>> = netlink.ask(message, flags)?;
        Ok(answers.into_iter().map(|answer| answer.payload).collect())
    }

    fn refused(&self, source: io::Error) -> DeviceError {
        DeviceError::Refused { interface: self.interface.clone(), source }
    }
}

/// The number the kernel gave to its WireGuard; none if it has not got it.
fn family(netlink: &mut Conversation) -> io::Result<Option<u16>> {
    let message = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".to_owned())],
    });
    let answers: Vec<GenlMessage<GenlCtrl>> = match netlink.ask(message, NLM_F_REQUEST | NLM_F_ACK) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        answers => answers?,
    };
    Ok(answers.iter().flat_map(|answer| &answer.payload.nlas).find_map(|attribute| match attribute {
        GenlCtrlAttrs::FamilyId(id) => Some(*id),
        _ => None,
    }))
}

/// The messages of a request: the device's own settings, then a peer each.
fn write(interface: &str, request: &SetRequest) -> Vec<Vec<WireguardAttribute>> {
    let name = || WireguardAttribute::IfName(interface.to_owned());
    let mut device = vec![name()];
    device.extend(request.private_key.as_ref().map(|key| WireguardAttribute::PrivateKey(**key)));
    device.extend(request.listen_port.map(WireguardAttribute::ListenPort));
    device.extend(request.fwmark.map(WireguardAttribute::Fwmark));
    if request.replace_peers {
        device.push(WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers));
    }
    let mut messages = if device.len() > 1 { vec![device] } else { Vec::new() };
    messages.extend(
        request.peers.iter().map(|peer| vec![name(), WireguardAttribute::Peers(vec![write_peer(peer)])]),
    );
    messages
}

fn write_peer(change: &PeerChange) -> WireguardPeer {
    let mut flags = WireguardPeerFlags::empty();
    flags.set(WireguardPeerFlags::RemoveMe, change.remove);
    flags.set(WireguardPeerFlags::UpdateOnly, change.update_only);
    flags.set(WireguardPeerFlags::ReplaceAllowedIps, change.replace_allowed_ips);
    let mut attributes =
        vec![WireguardPeerAttribute::PublicKey(change.public_key), WireguardPeerAttribute::Flags(flags)];
    attributes.extend(change.preshared_key.map(WireguardPeerAttribute::PresharedKey));
    attributes.extend(change.endpoint.map(WireguardPeerAttribute::Endpoint));
    attributes.extend(change.keepalive.map(WireguardPeerAttribute::PersistentKeepalive));
    if !change.allowed_ips.is_empty() {
        let ranges = change.allowed_ips.iter().map(write_range).collect();
        attributes.push(WireguardPeerAttribute::AllowedIps(ranges));
    }
    WireguardPeer(attributes)
}

fn write_range(change: &AllowedChange) -> WireguardAllowedIp {
    let (range, remove) = match change {
        AllowedChange::Add(range) => (range, false),
        AllowedChange::Remove(range) => (range, true),
    };
    let family = match range {
        IpNet::V4(_) => WireguardAddressFamily::Ipv4,
        IpNet::V6(_) => WireguardAddressFamily::Ipv6,
    };
    let mut attributes = vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(range.addr()),
        WireguardAllowedIpAttr::Cidr(range.prefix_len()),
    ];
    if remove {
        attributes.push(WireguardAllowedIpAttr::Flags(WireguardAllowedIpFlags::RemoveMe));
    }
    WireguardAllowedIp(attributes)
}

/// A dump's messages as one status. A peer with many ranges may go on in the next message.
fn read(answers: &[WireguardMessage]) -> Status {
    let mut status = Status::default();
    for attribute in answers.iter().flat_map(|answer| &answer.attributes) {
        match attribute {
            WireguardAttribute::PrivateKey(key) => {
                status.private_key = Some(Zeroizing::new(*key)).filter(|key| **key != [0; 32]);
            }
            WireguardAttribute::ListenPort(port) => status.listen_port = *port,
            WireguardAttribute::Fwmark(mark) => status.fwmark = *mark,
            WireguardAttribute::Peers(peers) => {
                for peer in peers.iter().map(read_peer) {
                    match status.peers.last_mut() {
                        Some(last) if last.public_key == peer.public_key => {
                            last.allowed_ips.extend(peer.allowed_ips);
                        }
                        _ => status.peers.push(peer),
                    }
                }
            }
            _ => {}
        }
    }
    status
}

fn read_peer(peer: &WireguardPeer) -> PeerStatus {
    let mut status = PeerStatus {
        public_key: [0; 32],
        other_key: None,
        own_key: None,
        preshared_key: Zeroizing::new([0; 32]),
        other_preshared_keys: Vec::new(),
        endpoint: None,
        keepalive: 0,
        last_handshake: None,
        rx_bytes: 0,
        tx_bytes: 0,
        allowed_ips: Vec::new(),
        group: 0,
        accepted_ips: Vec::new(),
    };
    for attribute in &peer.0 {
        match attribute {
            WireguardPeerAttribute::PublicKey(key) => status.public_key = *key,
            WireguardPeerAttribute::PresharedKey(key) => status.preshared_key = Zeroizing::new(*key),
            WireguardPeerAttribute::Endpoint(endpoint) => status.endpoint = Some(*endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => status.keepalive = *seconds,
            WireguardPeerAttribute::LastHandshake(at) => {
                let seconds = u64::try_from(at.seconds).unwrap_or(0);
                let nanos = u32::try_from(at.nano_seconds).unwrap_or(0).min(999_999_999);
                status.last_handshake = Some(Duration::new(seconds, nanos)).filter(|at| !at.is_zero());
            }
            WireguardPeerAttribute::RxBytes(bytes) => status.rx_bytes = *bytes,
            WireguardPeerAttribute::TxBytes(bytes) => status.tx_bytes = *bytes,
            WireguardPeerAttribute::AllowedIps(ranges) => {
                status.allowed_ips.extend(ranges.iter().filter_map(read_range));
            }
            _ => {}
        }
    }
    status
}

fn read_range(range: &WireguardAllowedIp) -> Option<IpNet> {
    let ip = range.0.iter().find_map(|attribute| match attribute {
        WireguardAllowedIpAttr::IpAddr(ip) => Some(*ip),
        _ => None,
    })?;
    let len = range.0.iter().find_map(|attribute| match attribute {
        WireguardAllowedIpAttr::Cidr(len) => Some(*len),
        _ => None,
    })?;
    IpNet::new(ip, len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, ParseableParametrized};
    use netlink_packet_generic::GenlHeader;

    /// What is written is what would be read back, through the bytes on the socket.
    #[test]
    fn requests_and_dumps_mean_the_same() {
        let peer = |number: u8| PeerChange {
            public_key: [number; 32],
            preshared_key: Some([7; 32]),
            endpoint: "[2001:db8::1]:51820".parse().ok(),
            keepalive: Some(25),
            replace_allowed_ips: true,
            allowed_ips: ["10.1.0.0/24", "fd00:1::/64"]
                .map(|range| AllowedChange::Add(range.parse().unwrap()))
                .to_vec(),
            ..PeerChange::default()
        };
        let request = SetRequest {
            private_key: Some(Zeroizing::new([9; 32])),
            listen_port: Some(51820),
            fwmark: Some(5),
            // The same peer twice stands for one that goes on in the next message.
            peers: vec![peer(1), peer(2), peer(2)],
            ..SetRequest::default()
        };
        let messages: Vec<WireguardMessage> = write("cw0", &request)
            .into_iter()
            .map(|attributes| {
                let message = WireguardMessage { cmd: WireguardCmd::SetDevice, attributes };
                let mut bytes = vec![0; message.buffer_len()];
                message.emit(&mut bytes);
                WireguardMessage::parse_with_param(&bytes, GenlHeader { cmd: 1, version: 1 }).unwrap()
            })
            .collect();
        assert_eq!(messages.len(), 4);
        let status = read(&messages);
        assert_eq!(status.private_key.as_deref(), Some(&[9; 32]));
        assert_eq!((status.listen_port, status.fwmark), (51820, 5));
        assert_eq!(status.peers.len(), 2);
        let second = &status.peers[1];
        assert_eq!((second.public_key, second.keepalive, second.allowed_ips.len()), ([2; 32], 25, 4));
        assert_eq!(second.endpoint, "[2001:db8::1]:51820".parse().ok());
        assert!(write("cw0", &SetRequest::default()).is_empty());
    }
}
