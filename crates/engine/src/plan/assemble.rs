//! The whole plan from its parts.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Node, NodeName};

use super::{RouteVia, State};
use crate::mesh::Mesh;
use crate::services::Services;

impl State {
    /// What the kernel ought to hold: the mesh, the services, and who does not answer.
    pub fn assemble(mesh: Mesh, services: Services, dead: &BTreeSet<NodeName>) -> Self {
        Self {
            mtus: mtus(&mesh),
            tunnel: mesh.tunnel,
            routes: mesh.routes,
            guarded: mesh.guarded,
            neighbours: mesh.neighbours,
            masquerade: mesh.masquerade,
            frontends: services.frontends,
            outside: services.outside,
            sets: services.sets,
            node_addresses: services.node_addresses,
            tables: services.tables,
            direct: services.direct,
            dead: dead.iter().map(Node::id).collect(),
        }
    }
}

/// What the routes say of packets' sizes, for programs that are told nothing of that by the kernel.
fn mtus(mesh: &Mesh) -> BTreeMap<IpNet, u32> {
    let all = [IpNet::from(Ipv4Net::default()), Ipv6Net::default().into()];
    let routes = || mesh.routes.iter().filter(|(_, route)| route.via == RouteVia::Tunnel);
    let narrow: BTreeMap<IpNet, u32> =
        routes().filter_map(|((to, _), route)| Some((*to, route.mtu?))).collect();
    // Ranges that all gets through to, inside of others.
    let is_inside = |to: &IpNet| {
        std::iter::successors(to.supernet(), IpNet::supernet).any(|around| narrow.contains_key(&around))
    };
    let wide = routes().map(|((to, _), _)| *to);
    let wide = wide.filter(|to| !narrow.is_empty() && !narrow.contains_key(to) && is_inside(to));
    let mut mtus: BTreeMap<IpNet, u32> =
        all.into_iter().chain(wide).map(|range| (range, mesh.tunnel.mtu)).collect();
    mtus.extend(narrow);
    mtus
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Route, Tunnel};

    #[test]
    fn sizes_are_those_of_the_routes() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let route = |to: &str, via, mtu| ((net(to), 100), Route { via, source: None, mtu });
        let mesh = Mesh {
            tunnel: Tunnel { mtu: 1420, ..Tunnel::default() },
            routes: [
                route("10.2.0.0/24", RouteVia::Tunnel, Some(1336)),
                route("fd00:2::/64", RouteVia::Tunnel, Some(1300)),
                route("10.3.0.0/24", RouteVia::Tunnel, None),
                route("10.4.0.0/16", RouteVia::Blackhole, None),
                route("192.168.0.0/16", RouteVia::Tunnel, Some(1400)),
                route("192.168.7.0/24", RouteVia::Tunnel, None),
            ]
            .into(),
            ..Mesh::default()
        };
        let expected = [
            ("0.0.0.0/0", 1420),
            ("::/0", 1420),
            ("10.2.0.0/24", 1336),
            ("fd00:2::/64", 1300),
            ("192.168.0.0/16", 1400),
            ("192.168.7.0/24", 1420),
        ];
        assert_eq!(mtus(&mesh), expected.map(|(range, mtu)| (net(range), mtu)).into());
    }
}
