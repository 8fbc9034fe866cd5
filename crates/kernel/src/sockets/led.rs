//! Connections that a service led to a backend: the balancer leaves a note on each socket that it sends somewhere, in a map
//! that lives on the sockets themselves (`BPF_MAP_TYPE_SK_STORAGE`), and `sock_diag(7)` tells of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use netlink_packet_core::{
    Emitable as _, NLA_TYPE_MASK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkPayload, NetlinkSerializable, Nla as _,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::{SocketsError, destroy, is_gone, kernel, request};
use crate::bpf::sys::open_pin;
use crate::netlink::blocking::Conversation;
use crate::netns::Netns;

/// The name of the balancer's map, and of its pin.
const MAP: &str = "translations";
/// `INET_DIAG_REQ_SK_BPF_STORAGES`, and in it `SK_DIAG_BPF_STORAGE_REQ_MAP_FD`.
const ASK_STORAGES: u16 = 2;
const ASK_MAP: u16 = 1;
/// `INET_DIAG_SK_BPF_STORAGES`: there only for sockets that the map knows.
const STORAGES: u16 = 20;
/// An attribute's header, in bytes.
const HEADER: u16 = 4;

/// What the balancer noted on sockets.
#[derive(Debug)]
pub struct Led(OwnedFd);

impl Led {
    /// Of the packet path whose pins are in this folder.
    pub fn open(pin_dir: &Path) -> Result<Self, SocketsError> {
        let path = pin_dir.join(MAP);
        open_pin(&path).map(Self).map_err(|source| SocketsError::Pin { path, source })
    }

    /// Ends every TCP connection in `netns`, made or under way, that a service led to one of these addresses: its program
    /// sees `ECONNABORTED`. What was dialled there without a service is left alone. Returns how many there were. Blocks,
    /// for a few milliseconds: the kernel looks through all its sockets.
    pub fn reset(&self, netns: &Netns, to: &BTreeSet<SocketAddr>) -> Result<usize, SocketsError> {
        netns.run(|| self.reset_here(to))?
    }

    fn reset_here(&self, to: &BTreeSet<SocketAddr>) -> Result<usize, SocketsError> {
        let mut diag = Conversation::open(NETLINK_SOCK_DIAG).map_err(kernel("open a sock_diag socket"))?;
        let mut ended = 0;
        // Sockets of IPv6 reach IPv4 too, by mapped addresses.
        for family in [AF_INET, AF_INET6] {
            let found = self.list(&mut diag, family).map_err(kernel("list sockets that services led"))?;
            for socket in found.into_iter().filter(|socket| leads_to(&socket.header.socket_id, to)) {
                match destroy(&mut diag, socket.header) {
                    Ok(()) => ended += 1,
                    Err(e) if is_gone(&e) => {}
                    Err(e) => return Err(kernel("end a socket")(e)),
                }
            }
        }
        Ok(ended)
    }

    /// Those of a family that have a note.
    fn list(&self, diag: &mut Conversation, family: u8) -> std::io::Result<Vec<InetResponse>> {
        // Where nobody waits for anything any more there is nobody to tell.
        let states = StateFlags::ESTABLISHED
            | StateFlags::SYN_SENT
            | StateFlags::CLOSE_WAIT
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2;
        let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let question = Question { request: request(family, states, any), map: self.0.as_raw_fd() };
        let answers: Vec<SockDiagMessage> = diag.ask(question, NLM_F_REQUEST | NLM_F_DUMP)?;
        let found = answers.into_iter().filter_map(|answer| match answer {
            SockDiagMessage::InetResponse(socket) if has_note(&socket) => Some(*socket),
            _ => None,
        });
        Ok(found.collect())
    }
}

fn leads_to(socket: &SocketId, to: &BTreeSet<SocketAddr>) -> bool {
    to.contains(&SocketAddr::new(socket.destination_address.to_canonical(), socket.destination_port))
}

fn has_note(socket: &InetResponse) -> bool {
    socket.nlas.iter().any(|nla| matches!(nla, Nla::Other(other) if other.kind() & NLA_TYPE_MASK == STORAGES))
}

/// Which sockets there are, with what a map has of each. The map is named by a descriptor of this process.
struct Question {
    request: InetRequest,
    map: i32,
}

impl NetlinkSerializable for Question {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        self.request.buffer_len() + usize::from(HEADER + HEADER + 4)
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (request, attributes) = buffer.split_at_mut(self.request.buffer_len());
        self.request.emit(request);
        let words = [HEADER + HEADER + 4, ASK_STORAGES, HEADER + 4, ASK_MAP];
        let bytes = words.into_iter().flat_map(u16::to_ne_bytes).chain(self.map.to_ne_bytes());
        attributes.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }
}

impl From<Question> for NetlinkPayload<Question> {
    fn from(question: Question) -> Self {
        Self::InnerMessage(question)
    }
}
