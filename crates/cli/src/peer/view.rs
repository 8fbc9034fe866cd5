//! What a controller knows of the mesh, and what follows from it for peers.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use engine::mesh::external::{Remote, Standing, remotes, standings};
use ipnet::IpNet;
use link::clock::now;
use model::{Allow, Change, Cluster, ClusterName, Object, Peer, PeerName, World};
use wire::client::{Configuration, End};
use wire::local::MeshReport;

use crate::seat::Seat;

/// The zones that agents answer for.
const ZONES: [&str; 2] = ["clusterset.local", "cluster.local"];
/// Seconds between packets by which a client behind a NAT stays reachable.
const KEEPALIVE: u16 = 25;

/// What is known.
pub(crate) struct View {
    /// The cluster whose controller was asked.
    pub(crate) cluster: ClusterName,
    /// Everything that a mesh is planned from.
    pub(crate) world: World,
}

impl View {
    /// Asks a controller.
    pub(crate) async fn of(seat: &Seat) -> Result<Self> {
        let report: MeshReport = seat.get("/v1/mesh").await?;
        Ok(Self::new(report))
    }

    fn new(report: MeshReport) -> Self {
        let MeshReport { cluster, clusters, nodes, peers } = report;
        let mut world = World::default();
        let clusters = clusters.into_iter().map(Object::Cluster);
        let objects =
            clusters.chain(nodes.into_iter().map(Object::Node)).chain(peers.into_iter().map(Object::Peer));
        for object in objects {
            world.apply(Change::Upsert(object));
        }
        Self { cluster, world }
    }

    /// The cluster itself.
    pub(crate) fn own_cluster(&self) -> Result<&Cluster> {
        self.world
            .clusters
            .get(&self.cluster)
            .context("the controller does not know its own cluster yet: try again")
    }

    /// A peer of the cluster.
    pub(crate) fn own(&self, name: &str) -> Result<&Peer> {
        let key = PeerName::new(self.cluster.clone(), name)?;
        match self.world.peers.get(&key) {
            Some(peer) => Ok(peer),
            None => bail!("cluster {} has no peer {name}; see: causeway peer list", self.cluster),
        }
    }

    /// How every peer stands, and what is wrong with some.
    pub(crate) fn standings(&self) -> (Vec<Standing<'_>>, Vec<engine::mesh::Problem>) {
        let mut problems = Vec::new();
        let standings = standings(&self.world, &self.cluster, now(), &mut problems);
        (standings, problems)
    }

    /// The nodes that a peer of the cluster has tunnels with, and what is behind each.
    pub(crate) fn remotes(&self, name: &str) -> Result<Vec<Remote>> {
        let peer = self.own(name)?;
        if peer.has_expired(now()) {
            bail!("{name} has expired: remove it, and add it again");
        }
        let (standings, problems) = self.standings();
        let about =
            problems.iter().filter(|problem| problem.peer() == Some(&peer.name)).map(ToString::to_string);
        let about: Vec<String> = about.collect();
        match standings.iter().find(|standing| standing.peer.name == peer.name) {
            Some(standing) if !standing.gateways.is_empty() => Ok(remotes(&self.world, standing)),
            _ => bail!("{name} is served by no node: {}", about.join("; ")),
        }
    }

    /// What a peer of the cluster has to configure, but for what its owner alone has.
    pub(crate) fn configuration(&self, name: &str, no_dns: bool) -> Result<Configuration> {
        let peer = self.own(name)?;
        let remotes = self.remotes(name)?;
        let wants = |allow: Allow| peer.allow.is_empty() || peer.allow.contains(&allow);
        let beyond = peer.allow.iter().filter_map(|allow| match allow {
            Allow::Range(range) => Some(*range),
            Allow::Pods | Allow::Services => None,
        });
        let beyond: Vec<IpNet> = beyond.collect();
        let single = |net: &&IpNet| net.prefix_len() == net.max_prefix_len();
        let addresses: Vec<IpNet> = peer.allowed_ips.iter().filter(single).copied().collect();
        let speaks = |v4: bool| peer.allowed_ips.iter().any(|net| net.addr().is_ipv4() == v4);
        let first = remotes.first().context("it has a gateway")?;
        let dns = first.mesh_ips.iter().filter(|ip| !no_dns && speaks(ip.is_ipv4())).copied().collect();
        let end = |(n, remote): (usize, &Remote)| {
            let pods = remote.pods.iter().filter(|_| wants(Allow::Pods));
            let services = remote.services.iter().filter(|_| wants(Allow::Services));
            let ranges = beyond.iter().filter(|_| n == 0);
            let own = model::allowed([peer]);
            let mut allowed: BTreeSet<IpNet> = pods.chain(services).chain(ranges).copied().collect();
            // Where names are asked for is a part of it.
            allowed.extend(remote.mesh_ips.iter().map(|ip| IpNet::from(*ip)).filter(|_| !wants(Allow::Pods)));
            allowed.retain(|net| speaks(net.addr().is_ipv4()) && !own.contains(net));
            End {
                name: remote.node.to_string(),
                public_key: remote.public_key,
                preshared_key: None,
                endpoint: remote.endpoint.map(|endpoint| endpoint.to_string()),
                allowed_ips: allowed.into_iter().collect(),
                keepalive: KEEPALIVE,
            }
        };
        Ok(Configuration {
            name: peer.name.peer.clone(),
            private_key: None,
            addresses,
            dns,
            search: if no_dns { Vec::new() } else { ZONES.map(String::from).to_vec() },
            mtu: None,
            peers: remotes.iter().enumerate().map(end).collect(),
        })
    }
}
