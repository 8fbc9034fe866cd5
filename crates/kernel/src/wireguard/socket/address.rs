//! Socket addresses and control messages as the kernel lays them out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for the address of either family.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Default for RawAddress {
    fn default() -> Self {
        // SAFETY: all zeroes is a valid value of either variant: they are plain data.
        unsafe { std::mem::zeroed() }
    }
}

impl std::fmt::Debug for RawAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.parse())
    }
}

impl RawAddress {
    /// The address, if one is there.
    pub(super) fn parse(&self) -> Option<SocketAddr> {
        // SAFETY: both variants begin with the family and are plain data without invalid values; the kernel or `to_raw`
        // wrote the variant that the family names.
        unsafe {
            match libc::c_int::from(self.v4.sin_family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddrV4::new(ip, u16::from_be(self.v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    Some(SocketAddrV6::new(ip, port, 0, self.v6.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }
}

/// The address as the kernel reads it, and its length.
pub(super) fn to_raw(address: SocketAddr) -> (RawAddress, libc::socklen_t) {
    let mut raw = RawAddress::default();
    match address {
        SocketAddr::V4(address) => {
            raw.v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        SocketAddr::V6(address) => {
            raw.v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    }
}

/// Room for the control messages of one datagram, aligned as `cmsghdr` wants it: packet info and a segment size.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control([u8; 96]);

impl Default for Control {
    fn default() -> Self {
        Self([0; 96])
    }
}

impl Control {
    /// Writes the control messages of a datagram to send; the number is their length. No local address lets the
    /// routing table choose; no segment size means one datagram.
    pub(super) fn write(&mut self, local: Option<IpAddr>, segment: Option<u16>) -> usize {
        let mut used = 0;
        match local {
            Some(IpAddr::V4(ip)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                used += self.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(ip)) => {
                let info =
                    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                used += self.put(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        if let Some(segment) = segment {
            used += self.put(used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        used
    }

    fn put<T: Copy>(&mut self, at: usize, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
        // SAFETY: these two compute sizes only.
        let (space, len) = unsafe {
            (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32) as usize)
        };
        let room = &mut self.0[at..at + space];
        // SAFETY: a plain struct of integers; musl's has padding of its own, which cannot be named here.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        (header.cmsg_len, header.cmsg_level, header.cmsg_type) = (len as _, level, kind);
        // SAFETY: `room` holds a whole control message: header, padding, value; `at` is a multiple of the alignment, as
        // CMSG_SPACE is. Unaligned writes ask for nothing more.
        unsafe {
            room.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header);
            let data = libc::CMSG_LEN(0) as usize;
            room[data..].as_mut_ptr().cast::<T>().write_unaligned(value);
        }
        space
    }

    /// Reads the control messages of a received datagram: our address, and the size of the joined segments.
    pub(super) fn read(&self, len: usize) -> (Option<IpAddr>, Option<usize>) {
        let (mut local, mut segment) = (None, None);
        // SAFETY: computes a size only.
        let head = unsafe { libc::CMSG_LEN(0) } as usize;
        let mut rest = &self.0[..len.min(self.0.len())];
        while rest.len() >= head {
            // SAFETY: `rest` has the bytes of a header, which is plain data.
            let header: libc::cmsghdr = unsafe { rest.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
            // Its type is not the same in every libc.
            let whole: usize = header.cmsg_len as _;
            let Some(data) = rest.get(head..whole) else { break };
            match (header.cmsg_level, header.cmsg_type) {
                // struct in_pktinfo: interface, our address, the header's destination.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    local = data.get(4..8).and_then(|ip| <[u8; 4]>::try_from(ip).ok()).map(IpAddr::from);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    local = data.first_chunk::<16>().map(|ip| IpAddr::from(*ip));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    segment = data.first_chunk().map(|size| libc::c_int::from_ne_bytes(*size) as usize);
                }
                _ => {}
            }
            // SAFETY: computes a size only.
            let space = unsafe { libc::CMSG_SPACE((whole - head) as u32) } as usize;
            rest = rest.get(space..).unwrap_or_default();
        }
        (local, segment)
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    pub(super) const LEN: usize = size_of::<Self>();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_trip() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(to_raw(address).0.parse(), Some(address));
        }
        assert_eq!(RawAddress::default().parse(), None);
    }

    #[test]
    fn control_messages_are_found_again() {
        let mut control = Control::default();
        for ip in ["192.0.2.9", "2001:db8::9"] {
            let ip: IpAddr = ip.parse().unwrap();
            let used = control.write(Some(ip), Some(1452));
            assert_eq!(control.read(used), (Some(ip), None), "what is sent is not what is received");
        }
        let used = control.put(0, libc::SOL_UDP, libc::UDP_GRO, 1200 as libc::c_int);
        assert_eq!(control.read(used), (None, Some(1200)));
        assert_eq!(control.read(used - 8), (None, None), "cut short");
        assert_eq!(control.write(None, None), 0);
    }
}
