//! What nodes find out about how nodes reach each other.

use std::net::SocketAddr;

use model::Reach;
use model::reach::is_endpoint;

use super::{few, node_name, parse_ips, range};
use crate::{ParseError, pb};

/// From what travels.
pub fn parse_reach(reach: pb::Reach) -> Result<Reach, ParseError> {
    few("nodes that are seen", reach.sees.len(), Reach::MOST_SEEN)?;
    few("nodes that pass on", reach.relayed_by.len(), Reach::MOST_RELAYS)?;
    let name = |name: Option<pb::NodeName>| node_name(name.ok_or(ParseError::Missing("a node's name"))?);
    let mut parsed = Reach { relays: reach.relays, ..Reach::default() };
    for sight in reach.sees {
        let at = sight.at.ok_or(ParseError::Missing("where a node is seen"))?;
        let port =
            u16::try_from(at.port).map_err(|_| range("the port of where a node is seen", at.port, 1))?;
        let ips = parse_ips("where a node is seen", std::slice::from_ref(&at.ip), 1)?;
        let at = SocketAddr::new(ips[0], port);
        // Nothing is to be sent to any other address, whoever says it.
        if is_endpoint(&at) {
            parsed.sees.insert(name(sight.node)?, at);
        }
    }
    for distance in reach.relayed_by {
        parsed.relayed_by.insert(name(distance.node)?, distance.micros);
    }
    Ok(parsed)
}
