//! What nodes find out about how nodes reach each other.

use model::Reach;

use super::{encode_ip, encode_node_name};
use crate::pb;

/// As it travels; nothing for nothing.
pub fn encode_reach(reach: &Reach) -> Option<pb::Reach> {
    if reach.is_empty() {
        return None;
    }
    let sees = reach.sees.iter().map(|(node, at)| pb::Sight {
        node: Some(encode_node_name(node)),
        at: Some(pb::SocketAddress { ip: encode_ip(&at.ip()), port: at.port().into(), name: String::new() }),
    });
    let relayed_by = reach
        .relayed_by
        .iter()
        .map(|(node, micros)| pb::Distance { node: Some(encode_node_name(node)), micros: *micros });
    Some(pb::Reach { relays: reach.relays, sees: sees.collect(), relayed_by: relayed_by.collect() })
}
