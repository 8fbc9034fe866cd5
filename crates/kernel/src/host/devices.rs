//! Which device leads where, as this thread's network namespace sees it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};

/// The device that has this address.
pub fn device_with(ip: IpAddr) -> io::Result<Option<String>> {
    let has = |entry: &InterfaceAddress| address_of(entry) == Some(ip);
    Ok(getifaddrs()?.find(has).map(|entry| entry.interface_name))
}

/// Every address by which other machines can reach this one, those of single links among them.
pub fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    Ok(getifaddrs()?.filter_map(|entry| address_of(&entry)).filter(|ip| !ip.is_loopback()).collect())
}

fn address_of(entry: &InterfaceAddress) -> Option<IpAddr> {
    let address = entry.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

/// The address that packets to another carry, if there is a way there. Nothing is sent.
pub fn source_towards(ip: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(SocketAddr::new(ip, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(source_towards(ip), Some(ip));
        assert_eq!(device_with(ip).unwrap().as_deref(), Some("lo"));
        assert_eq!(device_with(IpAddr::from([192, 0, 2, 77])).unwrap(), None);
        assert!(!addresses().unwrap().contains(&ip));
    }
}
