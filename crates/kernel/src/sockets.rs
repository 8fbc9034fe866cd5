//! Sockets of programs, seen and ended from outside by `sock_diag(7)`.
//!
//! When a node dies, only connects that are under way to it; when a backend is gone for good, every connection that a
//! service led to it. UDP has nothing to end: its sockets wait for nobody.

mod led;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::netlink::blocking::Conversation;
use crate::netns::{Netns, NetnsError};

pub use led::Led;

/// Why sockets could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] NetnsError),
    /// What the balancer noted on sockets is not there.
    #[error("cannot open the balancer's map {path}: {source}; is the packet path loaded?")]
    Pin {
        /// Where it ought to be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused.
    #[error(
        "cannot {attempt}: {source}; root (CAP_NET_ADMIN) and a kernel with CONFIG_INET_DIAG_DESTROY are needed"
    )]
    Kernel {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn kernel(attempt: &'static str) -> impl FnOnce(io::Error) -> SocketsError {
    move |source| SocketsError::Kernel { attempt, source }
}

/// Ends every TCP connect that is under way in `netns` to an address in one of the ranges `to`: the program that
/// waits for it sees `ECONNABORTED`. Returns how many there were. Blocks, for a few milliseconds: the kernel looks
/// through all its sockets.
pub fn abort_connecting(netns: &Netns, to: &[IpNet]) -> Result<usize, SocketsError> {
    netns.run(|| abort_here(to))?
}

/// The same in the calling thread's namespace.
fn abort_here(to: &[IpNet]) -> Result<usize, SocketsError> {
    let mut diag = Conversation::open(NETLINK_SOCK_DIAG).map_err(kernel("open a sock_diag socket"))?;
    let mut aborted = 0;
    for family in families(to) {
        let found = list(&mut diag, family, StateFlags::SYN_SENT).map_err(kernel("list sockets"))?;
        for socket in found.into_iter().filter(|socket| leads_into(&socket.socket_id, to)) {
            // The cookie in its identity names this very socket: another of the same addresses is not hit.
            match destroy(&mut diag, socket) {
                Ok(()) => aborted += 1,
                Err(e) if is_gone(&e) => {}
                Err(e) => return Err(kernel("end a socket")(e)),
            }
        }
    }
    Ok(aborted)
}

/// Whether a listening socket, made for the purpose in the calling thread's namespace, can be ended.
pub(crate) fn can_destroy() -> io::Result<bool> {
    let listener = std::net::TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    let mut diag = Conversation::open(NETLINK_SOCK_DIAG)?;
    let found = list(&mut diag, AF_INET, StateFlags::LISTEN)?;
    let ours = found.into_iter().find(|socket| socket.socket_id.source_port == port);
    Ok(ours.is_some_and(|socket| destroy(&mut diag, socket).is_ok()))
}

/// In which families sockets may lead into these ranges: those of IPv6 reach IPv4 too, by mapped addresses.
fn families(to: &[IpNet]) -> impl Iterator<Item = u8> {
    let v4 = to.iter().any(|range| range.addr().is_ipv4()).then_some(AF_INET);
    let v6 = (!to.is_empty()).then_some(AF_INET6);
    v4.into_iter().chain(v6)
}

fn leads_into(socket: &SocketId, to: &[IpNet]) -> bool {
    let destination: IpAddr = socket.destination_address.to_canonical();
    to.iter().any(|range| range.contains(&destination))
}

/// The TCP sockets of a family in one of these states.
fn list(diag: &mut Conversation, family: u8, states: StateFlags) -> io::Result<Vec<InetResponseHeader>> {
    let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let question = SockDiagMessage::InetRequest(request(family, states, any));
    let answers: Vec<SockDiagMessage> = diag.ask(question, NLM_F_REQUEST | NLM_F_DUMP)?;
    let headers = answers.into_iter().filter_map(|answer| match answer {
        SockDiagMessage::InetResponse(socket) => Some(socket.header),
        _ => None,
    });
    Ok(headers.collect())
}

fn destroy(diag: &mut Conversation, socket: InetResponseHeader) -> io::Result<()> {
    let which = request(socket.family, StateFlags::empty(), socket.socket_id);
    let question = SockDiagDestroy::new(SockDiagMessage::InetRequest(which));
    diag.ask::<_, SockDiagMessage>(question, NLM_F_REQUEST | NLM_F_ACK).map(drop)
}

fn request(family: u8, states: StateFlags, socket_id: SocketId) -> InetRequest {
    InetRequest { family, protocol: IPPROTO_TCP, extensions: ExtensionFlags::empty(), states, socket_id }
}

/// Whether the socket went, or became another, since it was listed.
fn is_gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESTALE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn which_families_are_looked_at() {
        for (to, expected) in [
            (&[][..], &[][..]),
            (&["10.1.0.0/16"], &[AF_INET, AF_INET6]),
            (&["fd00:1::/48"], &[AF_INET6]),
            (&["fd00:1::/48", "10.1.0.0/16"], &[AF_INET, AF_INET6]),
        ] {
            assert_eq!(families(&ranges(to)).collect::<Vec<_>>(), expected, "{to:?}");
        }
    }

    #[test]
    fn where_a_socket_leads() {
        for (destination, to, expected) in [
            ("10.1.0.7", &["10.1.0.0/24"][..], true),
            ("10.1.1.7", &["10.1.0.0/24"], false),
            ("10.1.1.7", &["10.1.0.0/24", "10.1.1.0/24"], true),
            ("::ffff:10.1.0.7", &["10.1.0.0/24"], true),
            ("::ffff:10.1.1.7", &["10.1.0.0/24"], false),
            ("fd00:1::7", &["fd00:1::/64"], true),
            ("fd00:2::7", &["fd00:1::/64", "10.1.0.0/24"], false),
            ("10.1.0.7", &[], false),
        ] {
            let socket = SocketId { destination_address: destination.parse().unwrap(), ..SocketId::new_v6() };
            assert_eq!(leads_into(&socket, &ranges(to)), expected, "{destination} {to:?}");
        }
    }
}
