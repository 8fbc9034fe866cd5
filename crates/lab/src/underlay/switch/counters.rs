//! What became of packets. Counted as they are on the wire: a super-packet is as many as its segments.

use serde::{Deserialize, Serialize};

/// Everything counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// By direction of each wire.
    pub wires: Vec<WireCounters>,
    /// What belonged to no wire.
    pub dropped: Dropped,
}

/// One direction of a wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireCounters {
    /// The location at this end.
    pub from: u8,
    /// The location at the other.
    pub to: u8,
    /// Packets that arrived.
    pub packets: u64,
    /// Bytes that arrived, without the headers that segments of a super-packet share.
    pub bytes: u64,
    /// Packets lost as the wire loses them.
    pub lost: u64,
    /// Packets dropped because too much was waiting.
    pub queue_full: u64,
    /// Packets dropped because the wire was down.
    pub down: u64,
}

/// Packets that no wire took, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dropped {
    /// Not IP, or cut short.
    pub malformed: u64,
    /// Router solicitations and other talk that stays within a segment.
    pub local_talk: u64,
    /// From an address that is not its location's own public one.
    pub source_address: u64,
    /// To an address of no other location, or one without a wire.
    pub unroutable: u64,
    /// From behind a NAT, and of a kind that it does not translate.
    #[serde(default)]
    pub untranslated: u64,
    /// To a NAT that lets nothing from there in.
    #[serde(default)]
    pub filtered: u64,
    /// Refused by the device they arrived at.
    pub undelivered: u64,
}
