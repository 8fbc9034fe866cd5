//! What the kernel remembers of UDP flows to a node's ports for pods (connection tracking), and forgetting it.
//!
//! The first packet of a flow decides where all of them go, as long as none is 30 s late. A client that sends all the
//! time from one port would be sent to a pod that is gone, or to nobody, for ever. TCP needs none of this: its
//! connections end with their pod.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::Protocol;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::ifaddrs::getifaddrs;

use crate::netns::{Netns, NetnsError};
use crate::nft::HostPort;
use crate::nft::attributes::{Attributes, read};
use crate::nft::observed::ask;

/// Why flows could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] NetnsError),
    /// The kernel refused.
    #[error(
        "cannot {attempt}: {source}; root (CAP_NET_ADMIN) and a kernel with CONFIG_NF_CT_NETLINK are needed"
    )]
    Kernel {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn kernel(attempt: &'static str) -> impl FnOnce(io::Error) -> ConntrackError {
    move |source| ConntrackError::Kernel { attempt, source }
}

/// Which flows to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Those that are sent to these pods: they go.
    ToThem,
    /// Those that are sent anywhere else: these pods have come.
    Elsewhere,
}

/// Forgets UDP flows to these ports of a node, and returns how many there were. Other protocols' ports are passed over.
/// Blocks, as long as it takes the kernel to list what it tracks.
///
/// # Errors
/// The kernel refused.
pub fn forget(node: &Netns, ports: &[HostPort], stale: Stale) -> Result<usize, ConntrackError> {
    let ports: Vec<HostPort> = ports.iter().filter(|port| port.protocol == Protocol::Udp).copied().collect();
    if ports.is_empty() {
        return Ok(0);
    }
    node.visit(|| forget_here(&ports, stale))?
}

fn forget_here(ports: &[HostPort], stale: Stale) -> Result<usize, ConntrackError> {
    let own = own_addresses().map_err(kernel("list the node's addresses"))?;
    let socket = open().map_err(kernel("open a netfilter socket"))?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).expect("the kernel's numbers are small");
        let listed = ask(&socket, family, GET, NLM_F_DUMP, &Attributes::new(), |_, attributes| {
            found.extend(Flow::read(attributes).filter(|flow| flow.is_stale(ports, stale, &own)));
        });
        listed.map_err(kernel("list tracked connections"))?;
    }
    let mut forgotten = 0;
    for flow in found {
        match ask(&socket, flow.family(), DELETE, NLM_F_ACK, &flow.identity, |_, _| {}) {
            Ok(()) => forgotten += 1,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => return Err(kernel("forget a tracked connection")(e)),
        }
    }
    Ok(forgotten)
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let ip = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or(address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    Ok(getifaddrs()?.filter_map(ip).collect())
}

/// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h: NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;

/// CTA_*: attributes of a connection, of one of its directions, of that one's addresses and ports.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const ADDRESSES: u16 = 1;
const PORTS: u16 = 2;
const SOURCE_V4: u16 = 1;
const DESTINATION_V4: u16 = 2;
const SOURCE_V6: u16 = 3;
const DESTINATION_V6: u16 = 4;
const PROTOCOL: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// A tracked UDP flow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    /// Where its packets were sent.
    to: (IpAddr, u16),
    /// Who answers.
    answers: (IpAddr, u16),
    /// What the kernel knows this very flow by.
    identity: Attributes,
}

impl Flow {
    /// Reads a connection's attributes; none if it is not UDP.
    fn read(attributes: &[u8]) -> Option<Self> {
        let find = |wanted| read(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let (original, reply) = (find(ORIGINAL)?, find(REPLY)?);
        let to = end(original, [DESTINATION_V4, DESTINATION_V6], DESTINATION_PORT)?;
        let answers = end(reply, [SOURCE_V4, SOURCE_V6], SOURCE_PORT)?;
        let mut identity = Attributes::new().nest_bytes(ORIGINAL, original).bytes(ID, find(ID)?);
        if let Some(zone) = find(ZONE) {
            identity = identity.bytes(ZONE, zone);
        }
        Some(Self { to, answers, identity })
    }

    fn family(&self) -> u8 {
        let family = if self.to.0.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        u8::try_from(family).expect("the kernel's numbers are small")
    }

    fn is_stale(&self, ports: &[HostPort], stale: Stale, own: &[IpAddr]) -> bool {
        let (ip, number) = self.to;
        ports.iter().any(|port| {
            let meant = port.host_ip.filter(|host| !host.is_unspecified()).is_none_or(|host| host == ip);
            let here = number == port.host_port && port.pod_ip.is_ipv4() == ip.is_ipv4() && meant;
            let to_pod = self.answers == (port.pod_ip, port.pod_port);
            here && match stale {
                Stale::ToThem => to_pod,
                // Other machines' ports of this number are none of ours, nor are services' addresses.
                Stale::Elsewhere => !to_pod && own.contains(&ip),
            }
        })
    }
}

/// One end of one direction.
fn end(direction: &[u8], addresses: [u16; 2], port: u16) -> Option<(IpAddr, u16)> {
    let find =
        |attributes, wanted| read(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let ports = find(direction, PORTS)?;
    if find(ports, PROTOCOL)? != [Protocol::Udp.number()] {
        return None;
    }
    let port = u16::from_be_bytes(find(ports, port)?.try_into().ok()?);
    let ips = find(direction, ADDRESSES)?;
    let v4 = || Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(ips, addresses[0])?).ok()?).into());
    let v6 = || Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(ips, addresses[1])?).ok()?).into());
    Some((v4().or_else(v6)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(from: (&str, u16), to: (&str, u16), protocol: u8) -> Attributes {
        let ip = |list: Attributes, ip: &str, kinds: [u16; 2]| match ip.parse().unwrap() {
            IpAddr::V4(ip) => list.bytes(kinds[0], &ip.octets()),
            IpAddr::V6(ip) => list.bytes(kinds[1], &ip.octets()),
        };
        let ips = ip(Attributes::new(), from.0, [SOURCE_V4, SOURCE_V6]);
        let ips = ip(ips, to.0, [DESTINATION_V4, DESTINATION_V6]);
        let ports = Attributes::new().bytes(PROTOCOL, &[protocol]);
        let ports = ports.bytes(SOURCE_PORT, &from.1.to_be_bytes());
        let ports = ports.bytes(DESTINATION_PORT, &to.1.to_be_bytes());
        Attributes::new().nest(ADDRESSES, ips).nest(PORTS, ports)
    }

    fn connection(to: (&str, u16), answers: (&str, u16), protocol: u8) -> Attributes {
        let client = if to.0.contains(':') { ("2001:db8::9", 999) } else { ("192.0.2.9", 999) };
        Attributes::new()
            .nest(ORIGINAL, direction(client, to, protocol))
            .nest(REPLY, direction(answers, client, protocol))
            .number(ID, 7)
    }

    #[test]
    fn which_flows() {
        let own = ["192.0.2.1", "127.0.0.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let port = |host_ip: Option<&str>, pod: &str| HostPort {
            protocol: Protocol::Udp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 53,
            pod_ip: pod.parse().unwrap(),
            pod_port: 5353,
        };
        let (pod, other) = (("10.1.0.2", 5353), ("10.1.0.3", 5353));
        let any = port(None, "10.1.0.2");
        // To, who answers, the port, whether it goes with the pod, and when the pod comes.
        for (to, answers, port, goes, comes) in [
            (("192.0.2.1", 53), pod, any, true, false),
            (("127.0.0.1", 53), pod, any, true, false),
            (("192.0.2.1", 53), other, any, false, true),
            (("192.0.2.1", 53), ("192.0.2.1", 53), any, false, true),
            (("192.0.2.1", 54), pod, any, false, false),
            (("192.0.2.1", 53), ("10.1.0.2", 53), any, false, true),
            // Others' ports, and services' addresses.
            (("192.0.2.7", 53), ("192.0.2.7", 53), any, false, false),
            (("10.96.0.10", 53), other, any, false, false),
            (("192.0.2.1", 53), pod, port(Some("192.0.2.1"), "10.1.0.2"), true, false),
            (("127.0.0.1", 53), other, port(Some("192.0.2.1"), "10.1.0.2"), false, false),
            (("192.0.2.1", 53), other, port(Some("0.0.0.0"), "10.1.0.2"), false, true),
            (("2001:db8::1", 53), ("fd00::2", 5353), port(None, "fd00::2"), true, false),
            (("2001:db8::1", 53), ("fd00::3", 5353), port(None, "fd00::2"), false, true),
            (("2001:db8::1", 53), ("fd00::3", 5353), any, false, false),
        ] {
            let flow = Flow::read(connection(to, answers, 17).as_bytes()).unwrap();
            let is = |stale| flow.is_stale(&[port], stale, &own);
            assert_eq!((is(Stale::ToThem), is(Stale::Elsewhere)), (goes, comes), "{to:?} {answers:?}");
        }
    }

    #[test]
    fn what_is_none() {
        let bytes = connection(("192.0.2.1", 53), ("10.1.0.2", 53), 17);
        for cut in 0..bytes.as_bytes().len() {
            assert_eq!(Flow::read(&bytes.as_bytes()[..cut]), None, "{cut}");
        }
        assert_eq!(Flow::read(connection(("192.0.2.1", 53), ("10.1.0.2", 53), 6).as_bytes()), None);
    }
}
