//! Looking at a table.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::Socket;

use super::attributes::{Attributes, number, read};
use super::batch::{
    GET_CHAIN, GET_SET, GET_TABLE, INET, NEW_CHAIN, NEW_SET, NOTE, header, messages, parse_comment,
};
use super::content::Content;

/// What the kernel holds under a table's name: enough to tell whether it is what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What was written down about the content when it was written; none: by somebody else.
    digest: Option<u64>,
    /// How many rules each chain has.
    rules: BTreeMap<String, u32>,
}

impl Observed {
    pub(super) fn agrees(&self, digest: u64, content: &Content) -> bool {
        let rules = content.chains.iter().map(|chain| {
            (chain.name.to_string(), u32::try_from(chain.rules.len()).expect("a chain has few rules"))
        });
        self.digest == Some(digest) && self.rules == rules.collect()
    }
}

/// Attributes of a set and a chain: linux/netfilter/nf_tables.h.
const SET_COMMENT: u16 = 13;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
const CHAIN_USE: u16 = 6;

const SEQUENCE: u32 = 1;

pub(super) fn observe(socket: &Socket, name: &str) -> io::Result<Option<Observed>> {
    let named = || Attributes::new().text(1, name);
    match ask(socket, INET, GET_TABLE, NLM_F_ACK, &named(), |_, _| {}) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        other => other?,
    }
    let mut digest = None;
    let asked = ask(socket, INET, GET_SET, NLM_F_ACK, &named().text(2, NOTE), |kind, attributes| {
        let comment = read(attributes).find(|(kind, _)| *kind == SET_COMMENT);
        if kind == NEW_SET {
            digest = comment.and_then(|(_, bytes)| parse_comment(bytes));
        }
    });
    match asked {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
        other => other?,
    }
    let mut rules = BTreeMap::new();
    ask(socket, INET, GET_CHAIN, NLM_F_DUMP, &Attributes::new(), |kind, attributes| {
        let (mut ours, mut chain, mut uses) = (false, None, 0);
        for (kind, value) in read(attributes) {
            match kind {
                CHAIN_TABLE => ours = text(value) == Some(name),
                CHAIN_NAME => chain = text(value),
                CHAIN_USE => uses = number(value).unwrap_or_default(),
                _ => {}
            }
        }
        if let (NEW_CHAIN, true, Some(chain)) = (kind, ours, chain) {
            rules.insert(chain.to_string(), uses);
        }
    })?;
    Ok(Some(Observed { digest, rules }))
}

pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(|text| text.trim_end_matches('\0'))
}

/// Asks one question about a family and takes in the kind and the attributes of every answer.
pub(crate) fn ask(
    socket: &Socket,
    family: u8,
    kind: u16,
    flags: u16,
    attributes: &Attributes,
    mut take: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let mut bytes = header(kind, NLM_F_REQUEST | flags, SEQUENCE, attributes.as_bytes().len());
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes.as_bytes());
    socket.send(&bytes, 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in messages(&datagram) {
            match message.message_type() {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = message.payload().get(..4).and_then(|code| code.try_into().ok());
                    return match code.map_or(0, i32::from_ne_bytes) {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                kind => take(kind, message.payload().get(4..).unwrap_or_default()),
            }
        }
    }
}
