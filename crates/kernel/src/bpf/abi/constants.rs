//! Numbers that both sides know. Generated from bpf/abi.h by `./x generate`: do not edit.

/// The version of everything below.
pub const LAYOUT: usize = 1;

/// Tiers of one frontend: four inside the cluster, twelve groups of other clusters.
pub const TIERS: usize = 16;

/// Places of a set that are one entry of a map.
pub const PAGE: usize = 4;

/// Places of a table that are one entry of a map.
pub const TABLE_PAGE: usize = 32;

/// Slots for programs that go on where others end.
pub const STAGES: usize = 3;

/// Slot: what comes in, from whichever device.
pub const STAGE_INGRESS: usize = 0;

/// Slot: what a pod sends, once that may pass.
pub const STAGE_POD: usize = 1;

/// Slot: what leaves by the underlay, once that may pass.
pub const STAGE_UNDERLAY_EGRESS: usize = 2;

/// Of `direct`: this node. Its backends see clients outside.
pub const DIRECT_OWN: usize = 1;

/// Of `direct`: a node whose backends see them, too, because it answers by itself.
pub const DIRECT_PEER: usize = 2;

/// Of `direct`: an address from which clients' packets may come in envelopes.
pub const DIRECT_SENDER: usize = 3;

/// Of `neighbours`: what is sent there goes into the tunnel.
pub const BY_WIREGUARD: usize = 0;

/// The same: in VXLAN.
pub const BY_VXLAN: usize = 1;

/// The same: as it is.
pub const BY_PLAIN: usize = 2;

/// Of `neighbours`, a bit: VXLAN from there is believed.
pub const TAKES_VXLAN: usize = 1;

/// The same: what comes as it is.
pub const TAKES_PLAIN: usize = 2;

/// The number of our network in VXLAN's header (RFC 7348).
pub const VNI: usize = 51820;

/// Of `subjects`: nothing passes.
pub const CLOSED: usize = 1;

/// Tiers of policies.
pub const POLICY_TIERS: usize = 3;

/// What a rule does: it may pass.
pub const ACCEPT: usize = 1;

/// What a rule does: it is dropped.
pub const DENY: usize = 2;

/// What a rule does: the rest of its tier is not asked.
pub const PASS: usize = 3;

/// Of a connection: both ends have spoken.
pub const TALK_REPLIED: usize = 1;

/// Of a connection: the pod has said that it is done (TCP's FIN).
pub const TALK_POD_DONE: usize = 2;

/// Of a connection: the other end has said so.
pub const TALK_OTHER_DONE: usize = 4;

/// Of a connection: one end has broken it off (TCP's RST).
pub const TALK_BROKEN: usize = 8;

/// Of a connection: who began it was not seen.
pub const TALK_MIDWAY: usize = 16;

/// Of a connection: what was allowed is not any more. Nothing of it passes.
pub const TALK_DENIED: usize = 32;

/// Of a connection: the node's own, or a pod's with itself. No rule is asked.
pub const TALK_OWN: usize = 64;

/// Of a connection: the pod sees its other end by another address, or port, than its own.
pub const TALK_TRANSLATED: usize = 128;

/// Seconds for which a silent connection is remembered: of TCP and SCTP.
pub const IDLE_STREAM: usize = 21600;

/// The same, once one end is done.
pub const IDLE_HALF: usize = 3600;

/// The same, once both ends are, or one has broken it off.
pub const IDLE_CLOSED: usize = 10;

/// The same, as long as nobody has answered.
pub const IDLE_OPENING: usize = 60;

/// The same of what is neither TCP nor SCTP, once it was answered.
pub const IDLE_DATAGRAM: usize = 120;

/// The same, as long as it is not; and of ICMP.
pub const IDLE_SHORT: usize = 30;

/// Kind of an event: a packet was dropped.
pub const EVENT_DENIED: usize = 1;

/// Kind of an event: nobody is known to be at an address where pods are.
pub const EVENT_UNKNOWN: usize = 2;
