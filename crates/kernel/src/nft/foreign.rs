//! Looking at everybody's chains.

use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_sys::Socket;

use super::attributes::{Attributes, read};
use super::batch::{GET_CHAIN, NEW_CHAIN};
use super::observed::{CHAIN_NAME, CHAIN_TABLE, ask, text};

/// All families at once (`NFPROTO_UNSPEC`).
const ANY: u8 = 0;

/// Shows every chain's table and name.
pub(super) fn each_chain(socket: &Socket, mut take: impl FnMut(&str, &str)) -> io::Result<()> {
    ask(socket, ANY, GET_CHAIN, NLM_F_DUMP, &Attributes::new(), |kind, attributes| {
        let find =
            |wanted| read(attributes).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| text(value));
        if let (NEW_CHAIN, Some(table), Some(name)) = (kind, find(CHAIN_TABLE), find(CHAIN_NAME)) {
            take(table, name);
        }
    })
}
