//! What the programs in `bpf/` and the agent say to each other. Generated from bpf/abi.h by `./x generate`: do not edit.

use core::mem::offset_of;

use super::bytes::{Be16, Be32, StructLayout};

mod constants;
mod reason;

pub use constants::*;
pub use reason::Reason;

/// What a client dials.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The virtual address.
    pub ip: [Be32; 4],
    /// The port.
    pub port: Be16,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Padding.
    pub zero: u8,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Frontend {}

/// One rung of a ladder. Its first place in the set is behind the last one of the rung before.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tier {
    /// How many backends.
    pub count: u32,
    /// How near: 0 node, 1 zone, 2 region, 3 cluster, 4 elsewhere.
    pub kind: u8,
    /// The size of its table, a number from 1 on (lib/maglev.h); 0 if it has none. Only a first rung has one.
    pub table: u8,
    /// Of 65,536 connections that come to it so many go on to the next one.
    pub passes: u16,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Tier {}

/// Where a frontend leads.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ladder {
    /// The set of backends.
    pub set: u64,
    /// How many rungs.
    pub tiers: u32,
    /// Seconds for which a client stays with its backend; 0 for not at all.
    pub affinity: u32,
    /// The rungs, nearest first.
    pub tier: [Tier; TIERS],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Ladder {}

/// A part of a set.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// The set.
    pub set: u64,
    /// Which: place n is on page n / CW_PAGE.
    pub page: u32,
    /// Padding.
    pub zero: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for PageKey {}

/// A place to send a connection to.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Its address.
    pub ip: [Be32; 4],
    /// Its port.
    pub port: Be16,
    /// Padding.
    pub zero: [u8; 6],
    /// The node whose health is its own; 0 is never dead.
    pub node: u64,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Backend {}

/// Backends that stand beside each other in a set. Places behind the end of the set are all zero.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Page {
    /// The backends.
    pub backend: [Backend; PAGE],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Page {}

/// A part of a table: which backends of a set are chosen by a flow's number.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// The set.
    pub set: u64,
    /// How many backends from its beginning the table is of.
    pub count: u32,
    /// Which part: place n is on page n / CW_TABLE_PAGE.
    pub page: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for TableKey {}

/// Places that stand beside each other in a table.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePage {
    /// For each its backend's place in the set.
    pub place: [u16; TABLE_PAGE],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for TablePage {}

/// An address and a port.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The address.
    pub ip: [Be32; 4],
    /// The port.
    pub port: Be16,
    /// Padding.
    pub zero: [u8; 6],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Address {}

/// What a connected socket dialled and what it was given.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Translation {
    /// What the program asked for.
    pub vip: Address,
    /// The address where the packets go.
    pub ip: [Be32; 4],
    /// The port where they go.
    pub port: Be16,
    /// Padding.
    pub zero: [u8; 2],
    /// When, in milliseconds (1,048,576 ns, to be exact) since some time; 0: not known, or of no interest any more.
    pub dialled: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Translation {}

/// What became of TCP connects that services led to one backend, from the first that failed on.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connects {
    /// So many were answered.
    pub established: u64,
    /// So many were refused: by a reset, or by an error of the network on the way.
    pub refused: u64,
    /// To so many there was no answer: the request was sent again, or the client had given up.
    pub unanswered: u64,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Connects {}

/// An unconnected socket and an address it sends to or hears from.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The kernel's number of the socket.
    pub cookie: u64,
    /// The other end.
    pub address: Address,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for FlowKey {}

/// Where an unconnected socket's datagrams to a virtual address go.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The set the backend was drawn from.
    pub set: u64,
    /// Nanoseconds since boot of the last datagram, give or take a second.
    pub used: u64,
    /// The backend.
    pub backend: Backend,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Flow {}

/// Who dials what, where clients stay with their backends.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// The kernel's number of the network namespace: a pod, or the node itself.
    pub netns: u64,
    /// What is dialled.
    pub dialled: Address,
    /// The protocol's number in the IP header.
    pub protocol: u32,
    /// Padding.
    pub zero: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Client {}

/// An address of a node of the cluster: node ports are dialled there.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress {
    /// The address.
    pub ip: [Be32; 4],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for NodeAddress {}

/// A range of addresses, as the kernel's longest-prefix tries want it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// Bits that count, 0 to 128.
    pub length: u32,
    /// The address.
    pub ip: [Be32; 4],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Prefix {}

/// An address that a pod may send from.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The host's end of the pod's link.
    pub ifindex: u32,
    /// The address.
    pub ip: [Be32; 4],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for PodKey {}

/// Two ends that a cut keeps apart, in one direction.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cut {
    /// Who sends.
    pub source: [Be32; 4],
    /// To whom.
    pub destination: [Be32; 4],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Cut {}

/// Where packets from outside lead that are dialled at one address.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outside {
    /// The backends.
    pub ladder: Ladder,
    /// 1: backends see an address of this node in place of the client's.
    pub masquerade: u8,
    /// What becomes of a packet for which there is no backend. 0: it is left to the network stack; 1: it is dropped.
    pub otherwise: u8,
    /// 1: only the ranges in `outside_sources` may dial it.
    pub restricted: u8,
    /// Padding.
    pub zero: [u8; 5],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Outside {}

/// Who may dial an address from outside: a prefix that begins with all of the frontend.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutsideSource {
    /// Bits that count: the 160 of the frontend, and 0 to 128 of the range.
    pub length: u32,
    /// What is dialled.
    pub frontend: Frontend,
    /// The range.
    pub ip: [Be32; 4],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for OutsideSource {}

/// A packet's flow: who sends to whom, and where the packet is met.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Who sends.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// 0: on its way into the node; 1: on its way out of the node's own stack.
    pub hook: u8,
    /// Padding.
    pub zero: [u8; 6],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Tuple {}

/// What a packet of a flow becomes. The other direction's entry undoes it: its key is this one's result, turned round.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nat {
    /// Who sends.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// The hook where packets of the other direction are met.
    pub back: u8,
    /// 1: towards the backend; 0: back to the client.
    pub forward: u8,
    /// 1: one end has said that it is done (TCP's FIN or RST).
    pub closed: u8,
    /// 1: packets go to the backend's node as they came, in an envelope; that node answers the client.
    pub direct: u8,
    /// Bytes of the largest packet that fits the client's way in an envelope; 0 where it has none.
    pub fits: u16,
    /// Padding.
    pub zero: [u8; 2],
    /// The backend, and when the flow was last used; for the way back the latter alone.
    pub flow: Flow,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Nat {}

/// The datagram that a fragment is part of.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fragment {
    /// Who sends.
    pub source: [Be32; 4],
    /// To whom.
    pub destination: [Be32; 4],
    /// The datagram's number.
    pub id: Be32,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Padding.
    pub zero: [u8; 3],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Fragment {}

/// The ports of a datagram, which only its first fragment tells.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// Who sends.
    pub source: Be16,
    /// To whom.
    pub destination: Be16,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Ports {}

/// A way out of the node, for one family.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExitKey {
    /// The device; 0 for all others.
    pub ifindex: u32,
    /// 4 or 6.
    pub family: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for ExitKey {}

/// How the node appears there.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exit {
    /// The node's own address.
    pub ip: [Be32; 4],
    /// 1: pods' addresses do not leave here.
    pub outside: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Exit {}

/// What direct server return knows: of a node (the address is 0), or of an address (the node is 0).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Direct {
    /// A node's own address in the mesh.
    pub ip: [Be32; 4],
    /// A node.
    pub node: u64,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Direct {}

/// How a range is reached that is behind a node of the same location, and how it may be heard.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// The node's private address.
    pub ip: [Be32; 4],
    /// CW_BY_*.
    pub sends: u8,
    /// CW_TAKES_*.
    pub takes: u8,
    /// Padding.
    pub zero: [u8; 2],
    /// Neighbours of one group are believed for each other: the location's gateways. 0: it is of none.
    pub group: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Neighbour {}

/// The devices between which unencrypted packets of the mesh go.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Near {
    /// The mesh's own: what comes unencrypted comes in by it.
    pub tunnel: u32,
    /// VXLAN's; 0 if there is none.
    pub vxlan: u32,
    /// What leads to other nodes.
    pub underlay: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Near {}

/// How a pod's packets, or the node's own, are judged: 0 open, CW_CLOSED, or a ruleset's number.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// What is sent to it.
    pub ingress: u64,
    /// What it sends.
    pub egress: u64,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Subject {}

/// What holds for a ruleset as a whole.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ruleset {
    /// Which lengths of prefixes of ports its verdicts have: bit n for n bits, 0 to 16.
    pub lengths: u32,
    /// 1: what its namespaces' tier does not accept is denied.
    pub isolates: u8,
    /// 1: whoever is unknown may be one it denies.
    pub denies_known: u8,
    /// Padding.
    pub zero: [u8; 2],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Ruleset {}

/// What a verdict is about.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerdictKey {
    /// The ruleset.
    pub ruleset: u64,
    /// The other end; 0 for everybody.
    pub peer: u64,
    /// The port that is dialled, with the bits that do not count 0; of ICMP its type. In the processor's order.
    pub port: u16,
    /// How many of its bits count, 0 to 16.
    pub bits: u8,
    /// The protocol's number in the IP header; 0 for all.
    pub protocol: u8,
    /// Padding.
    pub zero: [u8; 4],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for VerdictKey {}

/// What a rule says.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ruling {
    /// Of two in a tier the higher one counts; 0: there is none.
    pub precedence: u32,
    /// Which rule of the ruleset it is.
    pub rule: u16,
    /// 1 accept, 2 deny, 3 pass.
    pub action: u8,
    /// Padding.
    pub zero: u8,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Ruling {}

/// What the tiers say.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verdict {
    /// Admin, the namespaces', baseline.
    pub tier: [Ruling; POLICY_TIERS],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Verdict {}

/// Who is at an address; 0 where there is none such.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// What it is.
    pub identity: u64,
    /// Its namespace.
    pub namespace: u64,
    /// Its cluster.
    pub cluster: u64,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Identity {}

/// What is known of a range.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// Those rules' ranges that contain it.
    pub class: u64,
    /// What everything outside of clusters is; 0 inside.
    pub world: u64,
    /// 1: pods' addresses; whoever is there is unknown as long as no identity is.
    pub pods: u32,
    /// Padding.
    pub zero: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Network {}

/// What policies are to the kernel as a whole.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Policing {
    /// Raised by every change that may take something away: what was allowed before is judged again.
    pub epoch: u32,
    /// 1: what was allowed goes on nevertheless.
    pub keep: u8,
    /// Padding.
    pub zero: [u8; 3],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Policing {}

/// A connection of a pod, as it is seen on the pod's link.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// The pod's address.
    pub pod: [Be32; 4],
    /// The other end's, as the pod sees it.
    pub other: [Be32; 4],
    /// The pod's port; of an echo the number, if the pod asks.
    pub pod_port: Be16,
    /// The other end's; of an echo the number, if the other end asks.
    pub other_port: Be16,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Padding.
    pub zero: [u8; 3],
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for ConnectionKey {}

/// What is known of a connection.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// Nanoseconds since boot of the last packet, give or take a second.
    pub used: u64,
    /// Who the other end really is.
    pub peer: [Be32; 4],
    /// The epoch it was judged in.
    pub epoch: u32,
    /// The port at the other end.
    pub port: Be16,
    /// 1: the pod began it.
    pub from_pod: u8,
    /// CW_TALK_*.
    pub state: u8,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Connection {}

/// What no policy takes from the node itself: a port, or an address with all that is said to it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Always {
    /// The other end's address; 0 for a port.
    pub ip: [Be32; 4],
    /// The port; 0 for an address.
    pub port: Be16,
    /// The protocol's number in the IP header; 0 for an address.
    pub protocol: u8,
    /// 1: a port of others', which the node dials; 0: one of its own.
    pub others: u8,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Always {}

/// About whose packets events are told: so many a second, and no more.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// The pod's address.
    pub pod: [Be32; 4],
    /// CW_EVENT_*.
    pub kind: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for Listener {}

/// What became of a packet.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyEvent {
    /// Nanoseconds since boot.
    pub time: u64,
    /// The ruleset that was asked; 0 for none.
    pub ruleset: u64,
    /// The pod's address.
    pub pod: [Be32; 4],
    /// The other end's, as the pod sees it.
    pub other: [Be32; 4],
    /// Who the other end really is.
    pub peer: [Be32; 4],
    /// An enum cw_reason.
    pub reason: u32,
    /// The pod's port.
    pub pod_port: Be16,
    /// The other end's, as the pod sees it.
    pub other_port: Be16,
    /// The real one.
    pub peer_port: Be16,
    /// Which rule of the ruleset it was, if a tier's rule decided.
    pub rule: u16,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Of ICMP its type.
    pub icmp: u8,
    /// 1: the pod sent it; 0: it was sent to the pod.
    pub from_pod: u8,
    /// 1 admin, 2 the namespaces', 3 baseline: whose rule decided; 0 for none.
    pub tier: u8,
    /// CW_EVENT_*.
    pub kind: u32,
    /// Padding.
    pub zero: u32,
}
// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).
unsafe impl aya::Pod for PolicyEvent {}

/// Sizes and offsets of everything above, by their names in C.
#[rustfmt::skip]
pub const LAYOUTS: &[StructLayout] = &[
    StructLayout { name: "cw_frontend", size: size_of::<Frontend>(), fields: &[("ip", offset_of!(Frontend, ip)), ("port", offset_of!(Frontend, port)), ("protocol", offset_of!(Frontend, protocol)), ("zero", offset_of!(Frontend, zero))] },
    StructLayout { name: "cw_tier", size: size_of::<Tier>(), fields: &[("count", offset_of!(Tier, count)), ("kind", offset_of!(Tier, kind)), ("table", offset_of!(Tier, table)), ("passes", offset_of!(Tier, passes))] },
    StructLayout { name: "cw_ladder", size: size_of::<Ladder>(), fields: &[("set", offset_of!(Ladder, set)), ("tiers", offset_of!(Ladder, tiers)), ("affinity", offset_of!(Ladder, affinity)), ("tier", offset_of!(Ladder, tier))] },
    StructLayout { name: "cw_page_key", size: size_of::<PageKey>(), fields: &[("set", offset_of!(PageKey, set)), ("page", offset_of!(PageKey, page)), ("zero", offset_of!(PageKey, zero))] },
    StructLayout { name: "cw_backend", size: size_of::<Backend>(), fields: &[("ip", offset_of!(Backend, ip)), ("port", offset_of!(Backend, port)), ("zero", offset_of!(Backend, zero)), ("node", offset_of!(Backend, node))] },
    StructLayout { name: "cw_page", size: size_of::<Page>(), fields: &[("backend", offset_of!(Page, backend))] },
    StructLayout { name: "cw_table_key", size: size_of::<TableKey>(), fields: &[("set", offset_of!(TableKey, set)), ("count", offset_of!(TableKey, count)), ("page", offset_of!(TableKey, page))] },
    StructLayout { name: "cw_table_page", size: size_of::<TablePage>(), fields: &[("place", offset_of!(TablePage, place))] },
    StructLayout { name: "cw_address", size: size_of::<Address>(), fields: &[("ip", offset_of!(Address, ip)), ("port", offset_of!(Address, port)), ("zero", offset_of!(Address, zero))] },
    StructLayout { name: "cw_translation", size: size_of::<Translation>(), fields: &[("vip", offset_of!(Translation, vip)), ("ip", offset_of!(Translation, ip)), ("port", offset_of!(Translation, port)), ("zero", offset_of!(Translation, zero)), ("dialled", offset_of!(Translation, dialled))] },
    StructLayout { name: "cw_connects", size: size_of::<Connects>(), fields: &[("established", offset_of!(Connects, established)), ("refused", offset_of!(Connects, refused)), ("unanswered", offset_of!(Connects, unanswered))] },
    StructLayout { name: "cw_flow_key", size: size_of::<FlowKey>(), fields: &[("cookie", offset_of!(FlowKey, cookie)), ("address", offset_of!(FlowKey, address))] },
    StructLayout { name: "cw_flow", size: size_of::<Flow>(), fields: &[("set", offset_of!(Flow, set)), ("used", offset_of!(Flow, used)), ("backend", offset_of!(Flow, backend))] },
    StructLayout { name: "cw_client", size: size_of::<Client>(), fields: &[("netns", offset_of!(Client, netns)), ("dialled", offset_of!(Client, dialled)), ("protocol", offset_of!(Client, protocol)), ("zero", offset_of!(Client, zero))] },
    StructLayout { name: "cw_node_address", size: size_of::<NodeAddress>(), fields: &[("ip", offset_of!(NodeAddress, ip))] },
    StructLayout { name: "cw_prefix", size: size_of::<Prefix>(), fields: &[("length", offset_of!(Prefix, length)), ("ip", offset_of!(Prefix, ip))] },
    StructLayout { name: "cw_pod_key", size: size_of::<PodKey>(), fields: &[("ifindex", offset_of!(PodKey, ifindex)), ("ip", offset_of!(PodKey, ip))] },
    StructLayout { name: "cw_cut", size: size_of::<Cut>(), fields: &[("source", offset_of!(Cut, source)), ("destination", offset_of!(Cut, destination))] },
    StructLayout { name: "cw_outside", size: size_of::<Outside>(), fields: &[("ladder", offset_of!(Outside, ladder)), ("masquerade", offset_of!(Outside, masquerade)), ("otherwise", offset_of!(Outside, otherwise)), ("restricted", offset_of!(Outside, restricted)), ("zero", offset_of!(Outside, zero))] },
    StructLayout { name: "cw_outside_source", size: size_of::<OutsideSource>(), fields: &[("length", offset_of!(OutsideSource, length)), ("frontend", offset_of!(OutsideSource, frontend)), ("ip", offset_of!(OutsideSource, ip))] },
    StructLayout { name: "cw_tuple", size: size_of::<Tuple>(), fields: &[("source", offset_of!(Tuple, source)), ("destination", offset_of!(Tuple, destination)), ("protocol", offset_of!(Tuple, protocol)), ("hook", offset_of!(Tuple, hook)), ("zero", offset_of!(Tuple, zero))] },
    StructLayout { name: "cw_nat", size: size_of::<Nat>(), fields: &[("source", offset_of!(Nat, source)), ("destination", offset_of!(Nat, destination)), ("back", offset_of!(Nat, back)), ("forward", offset_of!(Nat, forward)), ("closed", offset_of!(Nat, closed)), ("direct", offset_of!(Nat, direct)), ("fits", offset_of!(Nat, fits)), ("zero", offset_of!(Nat, zero)), ("flow", offset_of!(Nat, flow))] },
    StructLayout { name: "cw_fragment", size: size_of::<Fragment>(), fields: &[("source", offset_of!(Fragment, source)), ("destination", offset_of!(Fragment, destination)), ("id", offset_of!(Fragment, id)), ("protocol", offset_of!(Fragment, protocol)), ("zero", offset_of!(Fragment, zero))] },
    StructLayout { name: "cw_ports", size: size_of::<Ports>(), fields: &[("source", offset_of!(Ports, source)), ("destination", offset_of!(Ports, destination))] },
    StructLayout { name: "cw_exit_key", size: size_of::<ExitKey>(), fields: &[("ifindex", offset_of!(ExitKey, ifindex)), ("family", offset_of!(ExitKey, family))] },
    StructLayout { name: "cw_exit", size: size_of::<Exit>(), fields: &[("ip", offset_of!(Exit, ip)), ("outside", offset_of!(Exit, outside))] },
    StructLayout { name: "cw_direct", size: size_of::<Direct>(), fields: &[("ip", offset_of!(Direct, ip)), ("node", offset_of!(Direct, node))] },
    StructLayout { name: "cw_neighbour", size: size_of::<Neighbour>(), fields: &[("ip", offset_of!(Neighbour, ip)), ("sends", offset_of!(Neighbour, sends)), ("takes", offset_of!(Neighbour, takes)), ("zero", offset_of!(Neighbour, zero)), ("group", offset_of!(Neighbour, group))] },
    StructLayout { name: "cw_near", size: size_of::<Near>(), fields: &[("tunnel", offset_of!(Near, tunnel)), ("vxlan", offset_of!(Near, vxlan)), ("underlay", offset_of!(Near, underlay))] },
    StructLayout { name: "cw_subject", size: size_of::<Subject>(), fields: &[("ingress", offset_of!(Subject, ingress)), ("egress", offset_of!(Subject, egress))] },
    StructLayout { name: "cw_ruleset", size: size_of::<Ruleset>(), fields: &[("lengths", offset_of!(Ruleset, lengths)), ("isolates", offset_of!(Ruleset, isolates)), ("denies_known", offset_of!(Ruleset, denies_known)), ("zero", offset_of!(Ruleset, zero))] },
    StructLayout { name: "cw_verdict_key", size: size_of::<VerdictKey>(), fields: &[("ruleset", offset_of!(VerdictKey, ruleset)), ("peer", offset_of!(VerdictKey, peer)), ("port", offset_of!(VerdictKey, port)), ("bits", offset_of!(VerdictKey, bits)), ("protocol", offset_of!(VerdictKey, protocol)), ("zero", offset_of!(VerdictKey, zero))] },
    StructLayout { name: "cw_ruling", size: size_of::<Ruling>(), fields: &[("precedence", offset_of!(Ruling, precedence)), ("rule", offset_of!(Ruling, rule)), ("action", offset_of!(Ruling, action)), ("zero", offset_of!(Ruling, zero))] },
    StructLayout { name: "cw_verdict", size: size_of::<Verdict>(), fields: &[("tier", offset_of!(Verdict, tier))] },
    StructLayout { name: "cw_identity", size: size_of::<Identity>(), fields: &[("identity", offset_of!(Identity, identity)), ("namespace", offset_of!(Identity, namespace)), ("cluster", offset_of!(Identity, cluster))] },
    StructLayout { name: "cw_network", size: size_of::<Network>(), fields: &[("class", offset_of!(Network, class)), ("world", offset_of!(Network, world)), ("pods", offset_of!(Network, pods)), ("zero", offset_of!(Network, zero))] },
    StructLayout { name: "cw_policing", size: size_of::<Policing>(), fields: &[("epoch", offset_of!(Policing, epoch)), ("keep", offset_of!(Policing, keep)), ("zero", offset_of!(Policing, zero))] },
    StructLayout { name: "cw_connection_key", size: size_of::<ConnectionKey>(), fields: &[("pod", offset_of!(ConnectionKey, pod)), ("other", offset_of!(ConnectionKey, other)), ("pod_port", offset_of!(ConnectionKey, pod_port)), ("other_port", offset_of!(ConnectionKey, other_port)), ("protocol", offset_of!(ConnectionKey, protocol)), ("zero", offset_of!(ConnectionKey, zero))] },
    StructLayout { name: "cw_connection", size: size_of::<Connection>(), fields: &[("used", offset_of!(Connection, used)), ("peer", offset_of!(Connection, peer)), ("epoch", offset_of!(Connection, epoch)), ("port", offset_of!(Connection, port)), ("from_pod", offset_of!(Connection, from_pod)), ("state", offset_of!(Connection, state))] },
    StructLayout { name: "cw_always", size: size_of::<Always>(), fields: &[("ip", offset_of!(Always, ip)), ("port", offset_of!(Always, port)), ("protocol", offset_of!(Always, protocol)), ("others", offset_of!(Always, others))] },
    StructLayout { name: "cw_listener", size: size_of::<Listener>(), fields: &[("pod", offset_of!(Listener, pod)), ("kind", offset_of!(Listener, kind))] },
    StructLayout { name: "cw_policy_event", size: size_of::<PolicyEvent>(), fields: &[("time", offset_of!(PolicyEvent, time)), ("ruleset", offset_of!(PolicyEvent, ruleset)), ("pod", offset_of!(PolicyEvent, pod)), ("other", offset_of!(PolicyEvent, other)), ("peer", offset_of!(PolicyEvent, peer)), ("reason", offset_of!(PolicyEvent, reason)), ("pod_port", offset_of!(PolicyEvent, pod_port)), ("other_port", offset_of!(PolicyEvent, other_port)), ("peer_port", offset_of!(PolicyEvent, peer_port)), ("rule", offset_of!(PolicyEvent, rule)), ("protocol", offset_of!(PolicyEvent, protocol)), ("icmp", offset_of!(PolicyEvent, icmp)), ("from_pod", offset_of!(PolicyEvent, from_pod)), ("tier", offset_of!(PolicyEvent, tier)), ("kind", offset_of!(PolicyEvent, kind)), ("zero", offset_of!(PolicyEvent, zero))] },
];
