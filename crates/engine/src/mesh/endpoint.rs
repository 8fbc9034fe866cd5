//! Where to send a peer's packets.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::mesh::Host;
use model::{ClusterName, Node};

use super::Seen;
use super::claims::Claims;
use super::segment::Place;

/// The way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// Where to send to; none if it must come to us first.
    pub(super) endpoint: Option<SocketAddr>,
    /// Whether somebody chose the endpoint, be it a name that leads nowhere for now.
    pub(super) is_chosen: bool,
    /// Whether a NAT may stand between, whose mapping has to be kept open from this side.
    pub(super) may_cross_nat: bool,
}

/// A neighbour's private address where both have one, else the endpoint that somebody chose for it, else its public
/// address; IPv4 first, in a family both speak. Never an address inside the pods' `ranges`: a tunnel does not run
/// through itself.
pub(super) fn choose(me: &Node, peer: &Node, ranges: &Claims<&ClusterName>, seen: &Seen) -> Path {
    let inside = |ip: &IpAddr| ranges.owner_of(&IpNet::from(*ip)).is_some();
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast() && !inside(ip);
    let first = |ips: &[IpAddr], v4: bool| ips.iter().copied().find(|ip| ip.is_ipv4() == v4 && usable(ip));

    let neighbours = Place::near(me).is_some_and(|place| Place::near(peer) == Some(place));
    let private = [true, false].into_iter().filter(|_| neighbours).find_map(|v4| {
        first(&me.private_ips, v4)?;
        first(&peer.private_ips, v4)
    });
    let public = || {
        [true, false].into_iter().find_map(|v4| {
            first(&me.public_ips, v4).or_else(|| first(&me.private_ips, v4))?;
            first(&peer.public_ips, v4)
        })
    };
    let forced = peer.mesh.endpoint.as_ref().filter(|_| private.is_none());
    let chosen = match forced {
        // A name that leads nowhere is nobody's trouble but its node's: it must come to us.
        Some(endpoint) => {
            let ips = match &endpoint.host {
                Host::Ip(ip) => std::slice::from_ref(ip),
                Host::Dns(name) => seen.resolved.get(name).map_or(&[][..], Vec::as_slice),
            };
            let mine = [&me.private_ips, &me.public_ips];
            let speaks = |v4: bool| mine.iter().any(|ips| first(ips, v4).is_some());
            let spoken = [true, false].into_iter().filter(|v4| speaks(*v4)).find_map(|v4| first(ips, v4));
            let any = || [true, false].into_iter().find_map(|v4| first(ips, v4));
            spoken.or_else(any).map(|ip| SocketAddr::new(ip, endpoint.port))
        }
        None => private.or_else(public).filter(|_| peer.port != 0).map(|ip| SocketAddr::new(ip, peer.port)),
    };
    Path {
        endpoint: chosen,
        is_chosen: forced.is_some(),
        may_cross_nat: private.is_none()
            && match chosen {
                Some(to) => first(&me.public_ips, to.is_ipv4()).is_none(),
                None => me.public_ips.is_empty(),
            },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn addresses() {
        // (my location, my private, my public) -> (its location, its private, its public) = endpoint, NAT
        type Side = (&'static str, &'static [&'static str], &'static [&'static str]);
        let cases: &[(&str, Side, Side, Option<&str>, bool)] = &[
            (
                "neighbours",
                ("l", &["172.16.1.1"], &["198.18.1.1"]),
                ("l", &["172.16.1.2"], &["198.18.1.2"]),
                Some("172.16.1.2:51820"),
                false,
            ),
            (
                "neighbours by IPv6 only",
                ("l", &["fd10::1"], &["198.18.1.1"]),
                ("l", &["172.16.1.2", "fd10::2"], &[]),
                Some("[fd10::2]:51820"),
                false,
            ),
            (
                "neighbours without a family in common",
                ("l", &["fd10::1"], &["198.18.1.1"]),
                ("l", &["172.16.1.2"], &["198.18.1.2"]),
                Some("198.18.1.2:51820"),
                false,
            ),
            (
                "no location is nobody's neighbour",
                ("", &["172.16.1.1"], &["198.18.1.1"]),
                ("", &["172.16.1.2"], &["198.18.1.2"]),
                Some("198.18.1.2:51820"),
                false,
            ),
            (
                "far",
                ("l", &["172.16.1.1"], &["198.18.1.1"]),
                ("m", &["172.16.2.1"], &["198.18.2.1", "2001:db8::2"]),
                Some("198.18.2.1:51820"),
                false,
            ),
            (
                "far, I speak IPv6 only",
                ("l", &["fd10::1"], &["2001:db8::1"]),
                ("m", &[], &["198.18.2.1", "2001:db8::2"]),
                Some("[2001:db8::2]:51820"),
                false,
            ),
            (
                "far, it speaks IPv6 only",
                ("l", &[], &["198.18.1.1", "2001:db8::1"]),
                ("m", &[], &["2001:db8::2"]),
                Some("[2001:db8::2]:51820"),
                false,
            ),
            (
                "far, I have private addresses only",
                ("l", &["172.16.1.1"], &[]),
                ("m", &[], &["198.18.2.1"]),
                Some("198.18.2.1:51820"),
                true,
            ),
            (
                "it has no public address",
                ("l", &["172.16.1.1"], &["198.18.1.1"]),
                ("m", &["172.16.2.1"], &[]),
                None,
                false,
            ),
            (
                "it lives inside the mesh",
                ("l", &["172.16.1.1"], &["198.18.1.1"]),
                ("m", &[], &["10.9.0.1", "198.18.2.1"]),
                Some("198.18.2.1:51820"),
                false,
            ),
            ("nothing in common", ("l", &["172.16.1.1"], &[]), ("m", &[], &["2001:db8::2"]), None, true),
            ("both behind NATs", ("l", &["172.16.1.1"], &[]), ("m", &["172.16.2.1"], &[]), None, true),
        ];
        let cluster = ClusterName::new("a").unwrap();
        let mut ranges = Claims::default();
        ranges.claim("10.0.0.0/8".parse().unwrap(), &cluster).unwrap();
        ranges.claim("fd00::/16".parse().unwrap(), &cluster).unwrap();
        for (what, mine, its, endpoint, nat) in cases {
            let side = |name: &str, (location, private, public): &Side| {
                let mut node = node(name, "", "");
                node.location = location.to_string();
                node.private_ips = private.iter().map(|ip| ip.parse().unwrap()).collect();
                node.public_ips = public.iter().map(|ip| ip.parse().unwrap()).collect();
                node
            };
            let path = choose(&side("a/1", mine), &side("a/2", its), &ranges, &Seen::default());
            let endpoint = endpoint.map(|e| e.parse().unwrap());
            assert_eq!(path, Path { endpoint, is_chosen: false, may_cross_nat: *nat }, "{what}");
        }
    }

    #[test]
    fn neighbours_are_of_one_cluster() {
        let (mut a, mut b) = (node("a/1", "", ""), node("b/1", "", ""));
        for (node, n) in [(&mut a, 1), (&mut b, 2)] {
            node.location = "here".into();
            node.private_ips = vec![IpAddr::from([172, 16, 0, n])];
            node.public_ips = vec![IpAddr::from([198, 18, 0, n])];
        }
        let path = choose(&a, &b, &Claims::default(), &Seen::default());
        assert_eq!(path.endpoint, Some("198.18.0.2:51820".parse().unwrap()));
    }

    #[test]
    fn a_region_of_two_providers_is_two_places() {
        let (mut a, mut b) = (node("a/1", "west", ""), node("a/2", "west", ""));
        for (node, n) in [(&mut a, 1), (&mut b, 2)] {
            node.private_ips = vec![IpAddr::from([172, 16, 0, n])];
            node.public_ips = vec![IpAddr::from([198, 18, 0, n])];
        }
        let to = |a: &Node, b: &Node| {
            choose(a, b, &Claims::default(), &Seen::default()).endpoint.unwrap().ip().to_string()
        };
        assert_eq!(to(&a, &b), "172.16.0.2", "of neither is anything known");
        (a.topology.provider, b.topology.provider) = ("p".into(), "q".into());
        assert_eq!(to(&a, &b), "198.18.0.2", "nobody chose the location");
        (a.location, b.location) = ("here".into(), "here".into());
        assert_eq!(to(&a, &b), "172.16.0.2", "somebody chose it");
    }

    #[test]
    fn a_node_without_a_port_must_come_to_us() {
        let (mut a, mut b) = (node("a/1", "", ""), node("a/2", "", ""));
        a.public_ips = vec![IpAddr::from([198, 18, 0, 1])];
        b.public_ips = vec![IpAddr::from([198, 18, 0, 2])];
        b.port = 0;
        assert_eq!(choose(&a, &b, &Claims::default(), &Seen::default()).endpoint, None);
    }
}
