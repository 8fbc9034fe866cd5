//! What is remembered of pods' connections: to be looked at, and swept.

use std::net::SocketAddr;
use std::time::Duration;

use crate::bpf::object::Object;
use crate::bpf::sys::Cursor;
use crate::bpf::table::Table;
use crate::bpf::{Be32, BpfError, abi, bytes};

const TCP: u8 = 6;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A connection of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The pod's end; of an echo the port is its number, if the pod asks.
    pub pod: SocketAddr,
    /// The other end, as the pod sees it.
    pub other: SocketAddr,
    /// The real other end.
    pub peer: SocketAddr,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Whether the pod began it.
    pub from_pod: bool,
    /// Whether both ends have spoken.
    pub replied: bool,
    /// Whether it is over.
    pub closed: bool,
    /// Whether it was allowed, and is not any more.
    pub denied: bool,
    /// Whether no rule is asked: the node's own, or a pod's with itself.
    pub own: bool,
    /// The epoch it was judged in.
    pub epoch: u32,
    /// When its last packet passed, since boot; give or take a second.
    pub used: Duration,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// So many connections were looked at.
    pub looked: usize,
    /// So many of them were forgotten.
    pub removed: usize,
    /// Whether the next sweep begins from the start again.
    pub around: bool,
}

/// The map of connections.
#[derive(Debug)]
pub(super) struct Connections {
    map: Table<abi::ConnectionKey, abi::Connection>,
    cursor: Option<Cursor>,
}

impl Connections {
    pub(super) fn new(object: &mut Object) -> Result<Self, BpfError> {
        Ok(Self { map: Table::new("connections", object.map("connections")?)?, cursor: None })
    }

    pub(super) fn all(&self) -> Result<Vec<Connection>, BpfError> {
        Ok(self.map.entries()?.iter().map(read).collect())
    }

    pub(super) fn sweep(&mut self, now: Duration) -> Result<Swept, BpfError> {
        let some = self.map.some_entries(&mut self.cursor)?;
        let mut swept = Swept { looked: some.len(), removed: 0, around: self.cursor.is_none() };
        let mut old = Vec::new();
        for (key, value) in &some {
            // It may have been used since it was read.
            if is_old(key, value, now) && self.map.get(key)?.is_some_and(|value| is_old(key, &value, now)) {
                old.push(*key);
            }
        }
        swept.removed = old.len();
        self.map.remove(&old)?;
        Ok(swept)
    }
}

fn is_old(key: &abi::ConnectionKey, value: &abi::Connection, now: Duration) -> bool {
    now.saturating_sub(Duration::from_nanos(value.used)) > idle(key.protocol, value.state)
}

fn has(state: u8, flag: usize) -> bool {
    usize::from(state) & flag != 0
}

fn is_closed(state: u8) -> bool {
    has(state, abi::TALK_BROKEN) || (has(state, abi::TALK_POD_DONE) && has(state, abi::TALK_OTHER_DONE))
}

/// For how long a connection may be silent. The packet path's half is bpf/lib/connection.h.
fn idle(protocol: u8, state: u8) -> Duration {
    let replied = has(state, abi::TALK_REPLIED);
    let seconds = match protocol {
        TCP | SCTP if is_closed(state) => abi::IDLE_CLOSED,
        TCP | SCTP if has(state, abi::TALK_POD_DONE | abi::TALK_OTHER_DONE) => abi::IDLE_HALF,
        TCP | SCTP if replied => abi::IDLE_STREAM,
        TCP | SCTP => abi::IDLE_OPENING,
        ICMP | ICMPV6 => abi::IDLE_SHORT,
        _ if replied => abi::IDLE_DATAGRAM,
        _ => abi::IDLE_SHORT,
    };
    Duration::from_secs(seconds as u64)
}

fn read((key, value): &(abi::ConnectionKey, abi::Connection)) -> Connection {
    let at = |ip: [Be32; 4], port| SocketAddr::new(bytes::ip(ip), port);
    Connection {
        pod: at(key.pod, key.pod_port.into()),
        other: at(key.other, key.other_port.into()),
        peer: at(value.peer, value.port.into()),
        protocol: key.protocol,
        from_pod: value.from_pod != 0,
        replied: has(value.state, abi::TALK_REPLIED),
        closed: is_closed(value.state),
        denied: has(value.state, abi::TALK_DENIED),
        own: has(value.state, abi::TALK_OWN),
        epoch: value.epoch,
        used: Duration::from_nanos(value.used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_connections_may_be_silent() {
        let [replied, done, other, broken] =
            [abi::TALK_REPLIED, abi::TALK_POD_DONE, abi::TALK_OTHER_DONE, abi::TALK_BROKEN]
                .map(|flag| flag as u8);
        for (protocol, state, seconds) in [
            (TCP, 0, 60),
            (TCP, replied, 21_600),
            (SCTP, replied | done, 3600),
            (TCP, replied | done | other, 10),
            (TCP, broken, 10),
            (17, 0, 30),
            (17, replied, 120),
            (47, replied, 120),
            (ICMP, replied, 30),
            (ICMPV6, 0, 30),
        ] {
            assert_eq!(idle(protocol, state), Duration::from_secs(seconds), "{protocol} {state}");
        }
    }
}
