//! Ports for tests that nobody else gets.
//!
//! A port that the kernel chose and was given back may be the next one it chooses, for somebody else. These are ports
//! that it never chooses (`net.ipv4.ip_local_port_range` begins above them), and no two calls get the same.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_240;
const COUNT: u16 = 19_000;

/// A port of loopback that is free for TCP and UDP, at every address of the machine.
///
/// # Panics
/// Every port is taken.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side begin at different places.
    let begin = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let turn = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let place = begin.wrapping_add(turn) % u32::from(COUNT);
        let port = FIRST + u16::try_from(place).expect("less than COUNT");
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        if TcpListener::bind(everywhere).is_ok() && UdpSocket::bind(everywhere).is_ok() {
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
    }
    panic!("no port from {FIRST} on is free");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_port_twice_and_none_that_the_kernel_would_choose() {
        let ports: BTreeSet<u16> = (0..100).map(|_| super::free().port()).collect();
        assert_eq!(ports.len(), 100);
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(ports.iter().all(|port| *port < first), "{ports:?} reach into {range}");
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let held: Vec<_> = (0..20).map(|_| std::net::TcpListener::bind(super::free()).unwrap()).collect();
        assert_eq!(held.len(), 20);
    }
}
