//! What the kernel ought to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use model::mesh::Transport;
use model::{Port, PresharedKey, Protocol, PublicKey, Tier};
use serde::{Deserialize, Serialize};

use super::entries;
use crate::services::TableSize;

/// A node's number in the data path: [`model::Node::id`]. 0 is "no node", which is never dead.
pub type NodeId = u64;

/// Everything the agent wants the kernel to hold. Deterministic: the same world gives the same value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The tunnel device.
    pub tunnel: Tunnel,
    /// Routes in the node's main table, by destination and metric.
    #[serde(with = "entries")]
    pub routes: BTreeMap<(IpNet, u32), Route>,
    /// Address ranges that may leave this node through the tunnel only, never in the clear: every pod range of the
    /// clusterset. The underlay guard drops a packet from or to one of them.
    pub guarded: BTreeSet<IpNet>,
    /// What goes to nodes of the same location unencrypted, and comes so, by range.
    #[serde(with = "entries", default)]
    pub neighbours: BTreeMap<IpNet, Neighbour>,
    /// Bytes of the largest packet that gets through the mesh: everywhere, and to ranges that it is less to.
    #[serde(with = "entries", default)]
    pub mtus: BTreeMap<IpNet, u32>,
    /// How pods reach what is outside the mesh.
    #[serde(default)]
    pub masquerade: Masquerade,
    /// What clients dial.
    #[serde(with = "entries")]
    pub frontends: BTreeMap<Frontend, Ladder>,
    /// What is dialled in packets, by clients whose sockets this node does not see, and is answered otherwise than for its
    /// own sockets. What is not here leads where `frontends` says, and backends see an address of this node.
    #[serde(with = "entries", default)]
    pub outside: BTreeMap<Frontend, Outside>,
    /// Backends, in the order of the ladder, by content: a set is never changed, only replaced.
    pub sets: BTreeMap<SetId, Set>,
    /// Addresses at which node ports are dialled: those of the cluster's nodes, if a service has such ports.
    #[serde(default)]
    pub node_addresses: BTreeSet<IpAddr>,
    /// By what all nodes choose the same backend for a client outside, for the first rungs of ladders that say so. It follows
    /// from the sets, and is not written down with the rest.
    #[serde(skip)]
    pub tables: BTreeMap<TableKey, Table>,
    /// What direct server return needs to know of nodes.
    #[serde(default)]
    pub direct: BTreeSet<Direct>,
    /// Nodes that do not answer through the data path.
    pub dead: BTreeSet<NodeId>,
}

/// The node of the same location that a range is behind, and what goes and comes there without the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its private address.
    pub ip: IpAddr,
    /// How packets to the range are sent.
    pub sends: Transport,
    /// How packets from the range may come, beside the tunnel.
    pub takes: BTreeSet<Transport>,
    /// Neighbours of one group are believed for each other; 0 is none. As that of [`Peer`].
    #[serde(default)]
    pub group: u32,
}

/// Packets that leave the mesh with the node's address in place of a pod's. Ranges of one set never overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masquerade {
    /// Whose addresses are replaced: this node's pods'. Empty: nobody's.
    pub sources: BTreeSet<IpNet>,
    /// Towards these destinations they are not: the mesh, the cluster's services, what the operator chose.
    pub except: BTreeSet<IpNet>,
}

/// The WireGuard device `cw0`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// The UDP port it listens on.
    pub port: u16,
    /// The device's own addresses: the first of each pod CIDR, with the host's prefix length (/32, /128).
    pub addresses: BTreeSet<IpNet>,
    /// Bytes of the largest packet inside the tunnel.
    pub mtu: u32,
    /// Who is at the other ends.
    pub peers: BTreeMap<PublicKey, Peer>,
}

/// The other end of a tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where to send to; none if it must come to us first.
    pub endpoint: Option<SocketAddr>,
    /// The addresses that live behind it: what is sent to it and what it may send.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Seconds between packets that keep a NAT's mapping open; 0 for none.
    pub keepalive: u16,
    /// Another key that it has, too, while it changes its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_key: Option<PublicKey>,
    /// Its group, 0 for none: peers of one group may send whatever one of them may. They are gateways of one location.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub group: u32,
    /// Addresses that it may send, too, while gateways change: nothing is sent to it for their sake.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accepted_ips: BTreeSet<IpNet>,
    /// What both ends know beside their keys. It is shown nowhere.
    #[serde(skip)]
    pub preshared_key: Option<PresharedKey>,
    /// Others that are tried where the other end has used another one, in this order; none: without one.
    #[serde(skip)]
    pub other_preshared_keys: Vec<Option<PresharedKey>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(group: &u32) -> bool {
    *group == 0
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub via: RouteVia,
    /// The source address of packets that the node itself sends along it.
    pub source: Option<IpAddr>,
    /// Bytes of the largest packet that gets through, where it is less than the device takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteVia {
    /// Into the tunnel device.
    Tunnel,
    /// Nowhere, silently (`blackhole`): what catches mesh traffic while there is no tunnel.
    Blackhole,
    /// Nowhere, with an ICMP error (`unreachable`): addresses of services nobody has.
    Unreachable,
}

/// What a client dials: an address, a protocol and a port. The unspecified address of a family stands for all addresses
/// of nodes in [`State::node_addresses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frontend {
    /// The virtual address.
    pub ip: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
}

/// Where packets from outside lead. The address they are dialled at is one address, never the unspecified one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// The backends.
    pub ladder: Ladder,
    /// Whether backends see an address of this node in place of the client's. Without, answers must come back through this
    /// node by themselves: only its own backends do that.
    pub masquerade: bool,
    /// What becomes of a packet for which there is no backend.
    pub otherwise: Otherwise,
    /// Who may dial it (`loadBalancerSourceRanges`), without overlaps; everybody if none. What others send is dropped.
    pub sources: Option<BTreeSet<IpNet>>,
}

/// What direct server return needs to know of a node: a backend's node answers clients outside by itself, although another
/// node was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direct {
    /// This node: its backends see clients outside.
    Own(NodeId),
    /// Another node whose backends see them: clients' packets are handed to it as they are, in an envelope.
    Peer(NodeId),
    /// An address in the mesh from which such envelopes come.
    Sender(IpAddr),
}

/// What becomes of a packet to a service without a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// It is left to the network stack, which answers with an error: nobody is behind the service anywhere.
    Refuse,
    /// It disappears, so that the client tries again: there are backends, on other nodes.
    Drop,
}

/// Content-addressed number of a [`Set`]; 0 only for the empty one.
pub type SetId = u64;

/// Backends in ladder order. A backend of twice the weight stands twice.
pub type Set = Vec<Backend>;

/// As many backends are one entry of the data path's map.
pub const PAGE: usize = 4;

/// How many entries of the data path's map a set takes.
pub fn pages(set: &Set) -> usize {
    set.len().div_ceil(PAGE)
}

/// What a table is of: as many backends from the beginning of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableKey {
    /// The set.
    pub set: SetId,
    /// How many of its backends: those of a first rung.
    pub count: u32,
}

/// Which backend of the set each place of a table has ([`crate::services::table`]).
pub type Table = Arc<[u16]>;

/// As many places of a table are one entry of the data path's map.
pub const TABLE_PAGE: usize = 32;

/// How many entries of the data path's map a table of so many places takes.
pub fn table_pages(places: usize) -> usize {
    places.div_ceil(TABLE_PAGE)
}

/// A place to send a connection to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Backend {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: Port,
    /// The node whose health is its own.
    pub node: NodeId,
}

/// Which part of a set is which rung: nearest first, contiguous, covering the set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// The set.
    pub set: SetId,
    /// The rungs. At most [`Ladder::MAX_TIERS`]. Empty means: refuse at once.
    pub tiers: Vec<TierSpan>,
    /// Seconds for which a client stays with its backend; 0 without session affinity.
    #[serde(default)]
    pub affinity: u32,
    /// Whether the first rung has a table, and of which size: then it is asked before a backend is drawn.
    #[serde(default)]
    pub table: Option<TableSize>,
}

impl Ladder {
    /// As many rungs as the data path walks: four inside the cluster, twelve (groups of) other clusters.
    pub const MAX_TIERS: usize = 16;

    /// What its table is of, if it has one.
    pub fn table_key(&self) -> Option<TableKey> {
        self.table?;
        Some(TableKey { set: self.set, count: self.tiers.first()?.count })
    }
}

/// One rung: `count` backends from `begin` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierSpan {
    /// How near.
    pub tier: Tier,
    /// Index of the first backend in the set.
    pub begin: u32,
    /// How many.
    pub count: u32,
    /// Of 65,536 new connections that come to this rung so many go on to the next ones although it could answer.
    #[serde(default)]
    pub passes: u16,
}
