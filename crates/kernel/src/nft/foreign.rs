//! Looking at everybody's chains.

use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_sys::Socket;

use super::attributes::{Attributes, number, read};
use super::batch::{GET_CHAIN, NEW_CHAIN};
use super::observed::{CHAIN_NAME, CHAIN_TABLE, ask, text};

/// More attributes of a chain, and of its hook: linux/netfilter/nf_tables.h.
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;

/// linux/netfilter.h: NF_INET_FORWARD, NF_DROP.
const FORWARD: u32 = 2;
const DROP: u32 = 0;

/// Families in which there are packets that are forwarded: linux/netfilter.h, NFPROTO_*.
const FORWARDING: [(u8, &str); 3] = [(1, "inet"), (2, "ip"), (10, "ip6")];

/// Shows the family, table and name of every chain that drops what is forwarded, by its policy.
pub(super) fn dropping_forward(socket: &Socket, mut take: impl FnMut(&str, &str, &str)) -> io::Result<()> {
    for (family, shown) in FORWARDING {
        ask(socket, family, GET_CHAIN, NLM_F_DUMP, &Attributes::new(), |kind, attributes| {
            let find = |wanted| read(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let hook = find(CHAIN_HOOK).and_then(|hook| read(hook).find(|(kind, _)| *kind == HOOK_NUMBER));
            let forward = hook.and_then(|(_, value)| number(value)) == Some(FORWARD);
            let drops = find(CHAIN_POLICY).and_then(number) == Some(DROP);
            let [table, name] = [CHAIN_TABLE, CHAIN_NAME].map(|wanted| find(wanted).and_then(text));
            if let (NEW_CHAIN, true, true, Some(table), Some(name)) = (kind, forward, drops, table, name) {
                take(shown, table, name);
            }
        })?;
    }
    Ok(())
}

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
