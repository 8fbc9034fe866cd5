//! What this node knows and what follows from it: the world, who is silent, how far the other clusters are, and the
//! plan. Joins the engine's rooms; nothing here waits or touches the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use engine::health::{Ranking, Way, scores};
use engine::plan::State;
use engine::services::{
    Ejected, Fill, HealthCheck, Limits, LoadBalancing, NodePortAddresses, Planner, Reserved,
};
use engine::{mesh, services};
use ipnet::IpNet;
use model::{ClusterName, NodeName, World};

use crate::health_checks::Listen;

/// Everything the plan depends on.
pub(crate) struct Outlook {
    pub(crate) me: NodeName,
    pub(crate) world: World,
    pub(crate) settings: mesh::Settings,
    /// Gateways that carry nothing, where names of endpoints lead, and the time.
    pub(crate) seen: mesh::Seen,
    pub(crate) port: u16,
    /// Addresses that the tunnel's device has beside those of the mesh.
    pub(crate) fixed: BTreeSet<IpNet>,
    /// Nodes that do not answer, or that no tunnel leads to.
    pub(crate) dead: BTreeSet<NodeName>,
    /// Nodes that a tunnel leads to.
    pub(crate) reached: BTreeSet<NodeName>,
    pub(crate) ranking: Ranking,
    /// What was measured of the other clusters, and what is thought of the ways to them.
    pub(crate) times: BTreeMap<ClusterName, Option<Duration>>,
    pub(crate) ways: BTreeMap<ClusterName, Way>,
    /// Ports of this node that no service can have.
    pub(crate) reserved: Vec<Reserved>,
    /// At which of the nodes' addresses node ports are dialled.
    pub(crate) node_ports: NodePortAddresses,
    /// Backends that fail connects of this node's clients.
    pub(crate) ejected: Ejected,
    /// How clients outside are served.
    pub(crate) balancing: LoadBalancing,
    /// What the data path can hold.
    pub(crate) limits: Limits,
}

/// What follows from what is known.
pub(crate) struct Plan {
    /// The kernel state that this node ought to have.
    pub(crate) state: State,
    /// The slices that were granted to this node.
    pub(crate) own: Vec<IpNet>,
    /// The nodes that tunnels lead to, and over which peer.
    pub(crate) via: BTreeMap<NodeName, NodeName>,
    /// Those of them that nobody dials.
    pub(crate) hidden: BTreeSet<NodeName>,
    /// What load balancers may ask the node about.
    pub(crate) health_checks: Vec<HealthCheck>,
    /// What was claimed but not granted.
    pub(crate) problems: Vec<String>,
    /// Services for which there is no room; also among the problems.
    pub(crate) full: Vec<services::Problem>,
    /// How full the data path's maps are with it.
    pub(crate) fills: Vec<Fill>,
}

impl Outlook {
    /// What follows from it. The planners have been told of every change to the world. Where not everything fits, what is in
    /// `held` already comes first.
    pub(crate) fn plan(&self, mesh: &mut mesh::Planner, planner: &mut Planner, held: &State) -> Plan {
        let mesh = mesh.plan(&self.world, &self.me, &self.settings, &self.seen).clone();
        let mut services = planner.plan(&self.view());
        let wanted = services.fills(&self.limits);
        services.fit(&self.view(), &held.frontends, &self.limits);
        let full =
            services.problems.iter().filter(|problem| matches!(problem, services::Problem::Full { .. }));
        let full: Vec<_> = full.cloned().collect();
        if !full.is_empty() {
            // What it has planned is not what there is.
            planner.forget();
        }
        let mut problems: Vec<String> = mesh.problems.iter().map(ToString::to_string).collect();
        problems.extend(services.problems.iter().map(ToString::to_string));
        let (health_checks, refused) = services::health_checks(&self.view());
        problems.extend(refused.iter().map(ToString::to_string));
        let (own, via, hidden) = (mesh.own.clone(), mesh.via.clone(), mesh.hidden.clone());
        let mut state = State::assemble(mesh, services, &self.dead);
        state.tunnel.port = self.port;
        state.tunnel.addresses.extend(&self.fixed);
        Plan { state, own, via, hidden, health_checks, problems, full, fills: wanted.to_vec() }
    }

    /// Takes in how far the other clusters are. Returns whether they stand in another order now.
    pub(crate) fn measure(&mut self, times: BTreeMap<ClusterName, Option<Duration>>) -> bool {
        self.times = times;
        self.ranking.update(&scores(&self.times, &self.ways))
    }

    /// Takes in how late it is. Returns whether a peer has expired.
    pub(crate) fn follow_clock(&mut self) -> bool {
        let was = std::mem::replace(&mut self.seen.now, link::clock::now());
        self.world.peers.values().any(|peer| peer.has_expired(was) != peer.has_expired(self.seen.now))
    }

    /// Nodes that no tunnel leads to, such as those that have no key yet: what runs there answers nobody here.
    pub(crate) fn unreached(&self) -> Vec<NodeName> {
        let others = self.world.nodes.keys().filter(|name| **name != self.me);
        others.filter(|name| !self.reached.contains(name)).cloned().collect()
    }

    /// The services' part of it, as the engine looks at it.
    pub(crate) fn view(&self) -> services::View<'_> {
        services::View {
            world: &self.world,
            me: &self.me,
            dead: &self.dead,
            ranking: self.ranking.order(),
            reserved: &self.reserved,
            node_ports: &self.node_ports,
            ejected: &self.ejected,
            balancing: &self.balancing,
        }
    }

    /// Where load balancers ask this node.
    pub(crate) fn listen(&self) -> Listen {
        match (&self.node_ports, self.world.nodes.get(&self.me)) {
            (NodePortAddresses::All, _) => Listen::Everywhere,
            (chosen, me) => Listen::At(me.map(|node| chosen.of(node)).unwrap_or_default()),
        }
    }

    /// Whom to probe, and at which address: the other nodes that tunnels lead to, be it over others, in a family that this
    /// node has too.
    pub(crate) fn probed(
        &self,
        state: &State,
        via: &BTreeMap<NodeName, NodeName>,
    ) -> Vec<(NodeName, IpAddr)> {
        let reached = via.keys().filter_map(|name| self.world.nodes.get(name));
        let speaks = |ip: &IpAddr| self.mesh_ips(state).iter().any(|mine| mine.is_ipv4() == ip.is_ipv4());
        reached
            .filter_map(|node| Some((node.name.clone(), node.mesh_ips().into_iter().find(speaks)?)))
            .collect()
    }

    /// The node's own addresses in the mesh.
    pub(crate) fn mesh_ips(&self, state: &State) -> Vec<IpAddr> {
        state.tunnel.addresses.difference(&self.fixed).map(IpNet::addr).collect()
    }
}
