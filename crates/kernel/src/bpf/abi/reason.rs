//! Every way out of a program. Generated from bpf/abi.h by `./x generate`: do not edit.

use super::super::bytes::Verdict;

/// Why a packet or a connection went the way it did.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// pass: sent to a backend on the client's node.
    LbNode = 0,
    /// pass: sent to a backend in the client's zone.
    LbZone = 1,
    /// pass: sent to a backend in the client's region.
    LbRegion = 2,
    /// pass: sent to a backend in the client's cluster.
    LbCluster = 3,
    /// pass: sent to a backend in another cluster.
    LbElsewhere = 4,
    /// pass: a datagram followed the ones before it to the same backend.
    LbStayed = 5,
    /// pass: the address dialled is no service's.
    LbNoFrontend = 6,
    /// drop: the service has no backend; the client is refused.
    LbNoBackend = 7,
    /// drop: every backend's node is dead; the client is refused.
    LbAllDead = 8,
    /// drop: the backend drawn has an address of the other family; the client is refused.
    LbFamily = 9,
    /// note: the backend drawn first was dead or missing, and another was drawn.
    LbRedrawn = 10,
    /// pass: a datagram's source was shown as the virtual address.
    ReplyTranslated = 11,
    /// pass: a datagram's source was left as it was.
    ReplyPassed = 12,
    /// pass: the peer's name was shown as the virtual address.
    PeerTranslated = 13,
    /// pass: the peer's name was left as it was.
    PeerPassed = 14,
    /// pass: neither end is in a guarded range.
    GuardPassed = 15,
    /// pass: not an IP packet.
    GuardNotIp = 16,
    /// drop: a pod's packet on its way out in the clear.
    GuardSource = 17,
    /// drop: a packet to a pod on its way out in the clear.
    GuardDestination = 18,
    /// drop: too short to tell whose packet it is.
    GuardTruncated = 19,
    /// pass: the source is one of the pod's addresses.
    PodPassed = 20,
    /// pass: talk between neighbours: ARP, link-local and not yet configured IPv6.
    PodNeighbour = 21,
    /// drop: the source is not one of the pod's addresses.
    PodSpoofed = 22,
    /// drop: neither IP nor ARP.
    PodNotIp = 23,
    /// drop: too short to tell its source.
    PodTruncated = 24,
    /// pass: nothing is cut between the two ends.
    SegmentPassed = 25,
    /// drop: the lab keeps the two ends apart.
    SegmentCut = 26,
    /// pass: a client stayed with the backend it had before (session affinity).
    LbAffinity = 27,
    /// pass: neither a packet to a service nor one of a translated flow.
    EdgePassed = 28,
    /// pass: the first packet of a client's flow went to a backend.
    EdgeOpened = 29,
    /// pass: a packet of a flow went to the flow's backend.
    EdgeForward = 30,
    /// pass: a backend's answer went to the client.
    EdgeReply = 31,
    /// pass: an ICMP error about a translated packet went to whoever had sent that.
    EdgeError = 32,
    /// pass: the service has no backend; the network stack refuses.
    EdgeRefused = 33,
    /// drop: the service has no backend on this node, but on others.
    EdgeNoBackend = 34,
    /// drop: the client is not among those who may dial the service.
    EdgeDenied = 35,
    /// drop: the backend drawn has an address of the other family.
    EdgeFamily = 36,
    /// drop: no source port is free towards the backend.
    EdgeNoPort = 37,
    /// drop: the node has no address of its own for the way to the backend.
    EdgeNoSource = 38,
    /// drop: no route leads to where the packet ought to go.
    EdgeNoRoute = 39,
    /// drop: the packet has crossed too many routers.
    EdgeExpired = 40,
    /// drop: the packet is too large for the way to the backend, and may not be fragmented; its sender is told.
    EdgeTooBig = 41,
    /// pass: a fragment whose datagram's first one was not seen.
    EdgeFragment = 42,
    /// drop: the kernel could not change the packet.
    EdgeFailed = 43,
    /// note: a connect that a service led to a backend was refused.
    ConnectRefused = 44,
    /// note: a connect that a service led to a backend was not answered.
    ConnectUnanswered = 45,
    /// pass: SCTP to a backend that has another port than was dialled: its checksum covers ports, so they stay as they are.
    EdgeSctpPort = 46,
    /// drop: SCTP, which keeps its source port, from one that another client has towards the backend.
    EdgeSctpTaken = 47,
    /// note: the sender of a dropped packet was not told: too many were in that moment.
    EdgeUntold = 48,
    /// pass: a client's packet went on to the backend's node, which answers the client itself.
    EdgeDirect = 49,
    /// pass: a client's packet that had reached another node went to a backend on this one.
    EdgeArrived = 50,
    /// drop: another node sent a client's packet for a backend that is not on this one.
    EdgeStray = 51,
    /// pass: the first packet of a connection that policies allow.
    PolicyNew = 52,
    /// pass: a packet of an allowed connection, from who began it.
    PolicyEstablished = 53,
    /// pass: an answer in an allowed connection.
    PolicyReply = 54,
    /// pass: an ICMP error about an allowed connection.
    PolicyRelated = 55,
    /// pass: talk between neighbours.
    PolicyNeighbour = 56,
    /// pass: the node speaks with its own pod, or a pod with itself.
    PolicyOwn = 57,
    /// pass: a connection whose beginning was not seen; policies would allow it to one of its ends.
    PolicyMidway = 58,
    /// pass: a packet that is no part of a connection, and that policies allow.
    PolicyOnce = 59,
    /// drop: a rule of the admin tier denies it.
    PolicyAdmin = 60,
    /// drop: a rule of the namespaces' tier denies it.
    PolicyNamespace = 61,
    /// drop: a policy isolates the pod, and none allows it.
    PolicyIsolated = 62,
    /// drop: a rule of the baseline tier denies it.
    PolicyBaseline = 63,
    /// drop: the pod's rules cannot be enforced, or are not known yet.
    PolicyClosed = 64,
    /// drop: nobody is known yet to be at the other end's address, and policies deny, or allow, by who it is.
    PolicyUnknown = 65,
    /// drop: the connection was allowed, and is not any more.
    PolicyCut = 66,
    /// drop: a fragment whose datagram's first one was not seen.
    PolicyFragment = 67,
    /// drop: the packet cannot be read, so policies cannot be asked.
    PolicyUnreadable = 68,
    /// note: an allowed connection was judged again, and is still allowed.
    PolicyAgain = 69,
    /// note: a connection could not be remembered.
    PolicyForgotten = 70,
    /// note: nobody was told of a packet: too many were in that moment.
    PolicyUntold = 71,
    /// pass: the node's own, which no policy stops: the way to it, or what it forwards for others.
    PolicyAlways = 72,
    /// pass: sent to a node of the same location in VXLAN.
    NearVxlan = 73,
    /// pass: sent to a node of the same location as it is.
    NearPlain = 74,
    /// pass: came unencrypted from a node of the same location.
    NearCame = 75,
    /// drop: came unencrypted, and not from the node that the sender is behind.
    NearStranger = 76,
    /// drop: the kernel could not wrap the packet.
    NearFailed = 77,
    /// note: no unencrypted way was found; the tunnel takes the packet.
    NearNoWay = 78,
}

#[rustfmt::skip]
impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 79] = [
        Self::LbNode,
        Self::LbZone,
        Self::LbRegion,
        Self::LbCluster,
        Self::LbElsewhere,
        Self::LbStayed,
        Self::LbNoFrontend,
        Self::LbNoBackend,
        Self::LbAllDead,
        Self::LbFamily,
        Self::LbRedrawn,
        Self::ReplyTranslated,
        Self::ReplyPassed,
        Self::PeerTranslated,
        Self::PeerPassed,
        Self::GuardPassed,
        Self::GuardNotIp,
        Self::GuardSource,
        Self::GuardDestination,
        Self::GuardTruncated,
        Self::PodPassed,
        Self::PodNeighbour,
        Self::PodSpoofed,
        Self::PodNotIp,
        Self::PodTruncated,
        Self::SegmentPassed,
        Self::SegmentCut,
        Self::LbAffinity,
        Self::EdgePassed,
        Self::EdgeOpened,
        Self::EdgeForward,
        Self::EdgeReply,
        Self::EdgeError,
        Self::EdgeRefused,
        Self::EdgeNoBackend,
        Self::EdgeDenied,
        Self::EdgeFamily,
        Self::EdgeNoPort,
        Self::EdgeNoSource,
        Self::EdgeNoRoute,
        Self::EdgeExpired,
        Self::EdgeTooBig,
        Self::EdgeFragment,
        Self::EdgeFailed,
        Self::ConnectRefused,
        Self::ConnectUnanswered,
        Self::EdgeSctpPort,
        Self::EdgeSctpTaken,
        Self::EdgeUntold,
        Self::EdgeDirect,
        Self::EdgeArrived,
        Self::EdgeStray,
        Self::PolicyNew,
        Self::PolicyEstablished,
        Self::PolicyReply,
        Self::PolicyRelated,
        Self::PolicyNeighbour,
        Self::PolicyOwn,
        Self::PolicyMidway,
        Self::PolicyOnce,
        Self::PolicyAdmin,
        Self::PolicyNamespace,
        Self::PolicyIsolated,
        Self::PolicyBaseline,
        Self::PolicyClosed,
        Self::PolicyUnknown,
        Self::PolicyCut,
        Self::PolicyFragment,
        Self::PolicyUnreadable,
        Self::PolicyAgain,
        Self::PolicyForgotten,
        Self::PolicyUntold,
        Self::PolicyAlways,
        Self::NearVxlan,
        Self::NearPlain,
        Self::NearCame,
        Self::NearStranger,
        Self::NearFailed,
        Self::NearNoWay,
    ];

    /// What metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LbNode => "lb_node",
            Self::LbZone => "lb_zone",
            Self::LbRegion => "lb_region",
            Self::LbCluster => "lb_cluster",
            Self::LbElsewhere => "lb_elsewhere",
            Self::LbStayed => "lb_stayed",
            Self::LbNoFrontend => "lb_no_frontend",
            Self::LbNoBackend => "lb_no_backend",
            Self::LbAllDead => "lb_all_dead",
            Self::LbFamily => "lb_family",
            Self::LbRedrawn => "lb_redrawn",
            Self::ReplyTranslated => "reply_translated",
            Self::ReplyPassed => "reply_passed",
            Self::PeerTranslated => "peer_translated",
            Self::PeerPassed => "peer_passed",
            Self::GuardPassed => "guard_passed",
            Self::GuardNotIp => "guard_not_ip",
            Self::GuardSource => "guard_source",
            Self::GuardDestination => "guard_destination",
            Self::GuardTruncated => "guard_truncated",
            Self::PodPassed => "pod_passed",
            Self::PodNeighbour => "pod_neighbour",
            Self::PodSpoofed => "pod_spoofed",
            Self::PodNotIp => "pod_not_ip",
            Self::PodTruncated => "pod_truncated",
            Self::SegmentPassed => "segment_passed",
            Self::SegmentCut => "segment_cut",
            Self::LbAffinity => "lb_affinity",
            Self::EdgePassed => "edge_passed",
            Self::EdgeOpened => "edge_opened",
            Self::EdgeForward => "edge_forward",
            Self::EdgeReply => "edge_reply",
            Self::EdgeError => "edge_error",
            Self::EdgeRefused => "edge_refused",
            Self::EdgeNoBackend => "edge_no_backend",
            Self::EdgeDenied => "edge_denied",
            Self::EdgeFamily => "edge_family",
            Self::EdgeNoPort => "edge_no_port",
            Self::EdgeNoSource => "edge_no_source",
            Self::EdgeNoRoute => "edge_no_route",
            Self::EdgeExpired => "edge_expired",
            Self::EdgeTooBig => "edge_too_big",
            Self::EdgeFragment => "edge_fragment",
            Self::EdgeFailed => "edge_failed",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectUnanswered => "connect_unanswered",
            Self::EdgeSctpPort => "edge_sctp_port",
            Self::EdgeSctpTaken => "edge_sctp_taken",
            Self::EdgeUntold => "edge_untold",
            Self::EdgeDirect => "edge_direct",
            Self::EdgeArrived => "edge_arrived",
            Self::EdgeStray => "edge_stray",
            Self::PolicyNew => "policy_new",
            Self::PolicyEstablished => "policy_established",
            Self::PolicyReply => "policy_reply",
            Self::PolicyRelated => "policy_related",
            Self::PolicyNeighbour => "policy_neighbour",
            Self::PolicyOwn => "policy_own",
            Self::PolicyMidway => "policy_midway",
            Self::PolicyOnce => "policy_once",
            Self::PolicyAdmin => "policy_admin",
            Self::PolicyNamespace => "policy_namespace",
            Self::PolicyIsolated => "policy_isolated",
            Self::PolicyBaseline => "policy_baseline",
            Self::PolicyClosed => "policy_closed",
            Self::PolicyUnknown => "policy_unknown",
            Self::PolicyCut => "policy_cut",
            Self::PolicyFragment => "policy_fragment",
            Self::PolicyUnreadable => "policy_unreadable",
            Self::PolicyAgain => "policy_again",
            Self::PolicyForgotten => "policy_forgotten",
            Self::PolicyUntold => "policy_untold",
            Self::PolicyAlways => "policy_always",
            Self::NearVxlan => "near_vxlan",
            Self::NearPlain => "near_plain",
            Self::NearCame => "near_came",
            Self::NearStranger => "near_stranger",
            Self::NearFailed => "near_failed",
            Self::NearNoWay => "near_no_way",
        }
    }

    /// What became of it.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::LbNode => Verdict::Pass,
            Self::LbZone => Verdict::Pass,
            Self::LbRegion => Verdict::Pass,
            Self::LbCluster => Verdict::Pass,
            Self::LbElsewhere => Verdict::Pass,
            Self::LbStayed => Verdict::Pass,
            Self::LbNoFrontend => Verdict::Pass,
            Self::LbNoBackend => Verdict::Drop,
            Self::LbAllDead => Verdict::Drop,
            Self::LbFamily => Verdict::Drop,
            Self::LbRedrawn => Verdict::Note,
            Self::ReplyTranslated => Verdict::Pass,
            Self::ReplyPassed => Verdict::Pass,
            Self::PeerTranslated => Verdict::Pass,
            Self::PeerPassed => Verdict::Pass,
            Self::GuardPassed => Verdict::Pass,
            Self::GuardNotIp => Verdict::Pass,
            Self::GuardSource => Verdict::Drop,
            Self::GuardDestination => Verdict::Drop,
            Self::GuardTruncated => Verdict::Drop,
            Self::PodPassed => Verdict::Pass,
            Self::PodNeighbour => Verdict::Pass,
            Self::PodSpoofed => Verdict::Drop,
            Self::PodNotIp => Verdict::Drop,
            Self::PodTruncated => Verdict::Drop,
            Self::SegmentPassed => Verdict::Pass,
            Self::SegmentCut => Verdict::Drop,
            Self::LbAffinity => Verdict::Pass,
            Self::EdgePassed => Verdict::Pass,
            Self::EdgeOpened => Verdict::Pass,
            Self::EdgeForward => Verdict::Pass,
            Self::EdgeReply => Verdict::Pass,
            Self::EdgeError => Verdict::Pass,
            Self::EdgeRefused => Verdict::Pass,
            Self::EdgeNoBackend => Verdict::Drop,
            Self::EdgeDenied => Verdict::Drop,
            Self::EdgeFamily => Verdict::Drop,
            Self::EdgeNoPort => Verdict::Drop,
            Self::EdgeNoSource => Verdict::Drop,
            Self::EdgeNoRoute => Verdict::Drop,
            Self::EdgeExpired => Verdict::Drop,
            Self::EdgeTooBig => Verdict::Drop,
            Self::EdgeFragment => Verdict::Pass,
            Self::EdgeFailed => Verdict::Drop,
            Self::ConnectRefused => Verdict::Note,
            Self::ConnectUnanswered => Verdict::Note,
            Self::EdgeSctpPort => Verdict::Pass,
            Self::EdgeSctpTaken => Verdict::Drop,
            Self::EdgeUntold => Verdict::Note,
            Self::EdgeDirect => Verdict::Pass,
            Self::EdgeArrived => Verdict::Pass,
            Self::EdgeStray => Verdict::Drop,
            Self::PolicyNew => Verdict::Pass,
            Self::PolicyEstablished => Verdict::Pass,
            Self::PolicyReply => Verdict::Pass,
            Self::PolicyRelated => Verdict::Pass,
            Self::PolicyNeighbour => Verdict::Pass,
            Self::PolicyOwn => Verdict::Pass,
            Self::PolicyMidway => Verdict::Pass,
            Self::PolicyOnce => Verdict::Pass,
            Self::PolicyAdmin => Verdict::Drop,
            Self::PolicyNamespace => Verdict::Drop,
            Self::PolicyIsolated => Verdict::Drop,
            Self::PolicyBaseline => Verdict::Drop,
            Self::PolicyClosed => Verdict::Drop,
            Self::PolicyUnknown => Verdict::Drop,
            Self::PolicyCut => Verdict::Drop,
            Self::PolicyFragment => Verdict::Drop,
            Self::PolicyUnreadable => Verdict::Drop,
            Self::PolicyAgain => Verdict::Note,
            Self::PolicyForgotten => Verdict::Note,
            Self::PolicyUntold => Verdict::Note,
            Self::PolicyAlways => Verdict::Pass,
            Self::NearVxlan => Verdict::Pass,
            Self::NearPlain => Verdict::Pass,
            Self::NearCame => Verdict::Pass,
            Self::NearStranger => Verdict::Drop,
            Self::NearFailed => Verdict::Drop,
            Self::NearNoWay => Verdict::Note,
        }
    }

    /// What it means, in a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::LbNode => "sent to a backend on the client's node.",
            Self::LbZone => "sent to a backend in the client's zone.",
            Self::LbRegion => "sent to a backend in the client's region.",
            Self::LbCluster => "sent to a backend in the client's cluster.",
            Self::LbElsewhere => "sent to a backend in another cluster.",
            Self::LbStayed => "a datagram followed the ones before it to the same backend.",
            Self::LbNoFrontend => "the address dialled is no service's.",
            Self::LbNoBackend => "the service has no backend; the client is refused.",
            Self::LbAllDead => "every backend's node is dead; the client is refused.",
            Self::LbFamily => "the backend drawn has an address of the other family; the client is refused.",
            Self::LbRedrawn => "the backend drawn first was dead or missing, and another was drawn.",
            Self::ReplyTranslated => "a datagram's source was shown as the virtual address.",
            Self::ReplyPassed => "a datagram's source was left as it was.",
            Self::PeerTranslated => "the peer's name was shown as the virtual address.",
            Self::PeerPassed => "the peer's name was left as it was.",
            Self::GuardPassed => "neither end is in a guarded range.",
            Self::GuardNotIp => "not an IP packet.",
            Self::GuardSource => "a pod's packet on its way out in the clear.",
            Self::GuardDestination => "a packet to a pod on its way out in the clear.",
            Self::GuardTruncated => "too short to tell whose packet it is.",
            Self::PodPassed => "the source is one of the pod's addresses.",
            Self::PodNeighbour => "talk between neighbours: ARP, link-local and not yet configured IPv6.",
            Self::PodSpoofed => "the source is not one of the pod's addresses.",
            Self::PodNotIp => "neither IP nor ARP.",
            Self::PodTruncated => "too short to tell its source.",
            Self::SegmentPassed => "nothing is cut between the two ends.",
            Self::SegmentCut => "the lab keeps the two ends apart.",
            Self::LbAffinity => "a client stayed with the backend it had before (session affinity).",
            Self::EdgePassed => "neither a packet to a service nor one of a translated flow.",
            Self::EdgeOpened => "the first packet of a client's flow went to a backend.",
            Self::EdgeForward => "a packet of a flow went to the flow's backend.",
            Self::EdgeReply => "a backend's answer went to the client.",
            Self::EdgeError => "an ICMP error about a translated packet went to whoever had sent that.",
            Self::EdgeRefused => "the service has no backend; the network stack refuses.",
            Self::EdgeNoBackend => "the service has no backend on this node, but on others.",
            Self::EdgeDenied => "the client is not among those who may dial the service.",
            Self::EdgeFamily => "the backend drawn has an address of the other family.",
            Self::EdgeNoPort => "no source port is free towards the backend.",
            Self::EdgeNoSource => "the node has no address of its own for the way to the backend.",
            Self::EdgeNoRoute => "no route leads to where the packet ought to go.",
            Self::EdgeExpired => "the packet has crossed too many routers.",
            Self::EdgeTooBig => "the packet is too large for the way to the backend, and may not be fragmented; its sender is told.",
            Self::EdgeFragment => "a fragment whose datagram's first one was not seen.",
            Self::EdgeFailed => "the kernel could not change the packet.",
            Self::ConnectRefused => "a connect that a service led to a backend was refused.",
            Self::ConnectUnanswered => "a connect that a service led to a backend was not answered.",
            Self::EdgeSctpPort => "SCTP to a backend that has another port than was dialled: its checksum covers ports, so they stay as they are.",
            Self::EdgeSctpTaken => "SCTP, which keeps its source port, from one that another client has towards the backend.",
            Self::EdgeUntold => "the sender of a dropped packet was not told: too many were in that moment.",
            Self::EdgeDirect => "a client's packet went on to the backend's node, which answers the client itself.",
            Self::EdgeArrived => "a client's packet that had reached another node went to a backend on this one.",
            Self::EdgeStray => "another node sent a client's packet for a backend that is not on this one.",
            Self::PolicyNew => "the first packet of a connection that policies allow.",
            Self::PolicyEstablished => "a packet of an allowed connection, from who began it.",
            Self::PolicyReply => "an answer in an allowed connection.",
            Self::PolicyRelated => "an ICMP error about an allowed connection.",
            Self::PolicyNeighbour => "talk between neighbours.",
            Self::PolicyOwn => "the node speaks with its own pod, or a pod with itself.",
            Self::PolicyMidway => "a connection whose beginning was not seen; policies would allow it to one of its ends.",
            Self::PolicyOnce => "a packet that is no part of a connection, and that policies allow.",
            Self::PolicyAdmin => "a rule of the admin tier denies it.",
            Self::PolicyNamespace => "a rule of the namespaces' tier denies it.",
            Self::PolicyIsolated => "a policy isolates the pod, and none allows it.",
            Self::PolicyBaseline => "a rule of the baseline tier denies it.",
            Self::PolicyClosed => "the pod's rules cannot be enforced, or are not known yet.",
            Self::PolicyUnknown => "nobody is known yet to be at the other end's address, and policies deny, or allow, by who it is.",
            Self::PolicyCut => "the connection was allowed, and is not any more.",
            Self::PolicyFragment => "a fragment whose datagram's first one was not seen.",
            Self::PolicyUnreadable => "the packet cannot be read, so policies cannot be asked.",
            Self::PolicyAgain => "an allowed connection was judged again, and is still allowed.",
            Self::PolicyForgotten => "a connection could not be remembered.",
            Self::PolicyUntold => "nobody was told of a packet: too many were in that moment.",
            Self::PolicyAlways => "the node's own, which no policy stops: the way to it, or what it forwards for others.",
            Self::NearVxlan => "sent to a node of the same location in VXLAN.",
            Self::NearPlain => "sent to a node of the same location as it is.",
            Self::NearCame => "came unencrypted from a node of the same location.",
            Self::NearStranger => "came unencrypted, and not from the node that the sender is behind.",
            Self::NearFailed => "the kernel could not wrap the packet.",
            Self::NearNoWay => "no unencrypted way was found; the tunnel takes the packet.",
        }
    }
}
