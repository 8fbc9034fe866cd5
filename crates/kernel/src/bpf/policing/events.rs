//! What the packet path tells of packets that policies are about.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::bpf::{Be32, BpfError, abi, bytes};

/// Why somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A packet was dropped.
    Denied,
    /// Nobody is known to be at the other end's address, though pods are there. What became of the packet the reason says.
    Unknown,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Why it is told.
    pub kind: EventKind,
    /// When, since boot.
    pub time: Duration,
    /// The pod's end.
    pub pod: SocketAddr,
    /// The other end, as the pod sees it.
    pub other: SocketAddr,
    /// The real other end.
    pub peer: SocketAddr,
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Of ICMP its type.
    pub icmp: u8,
    /// Whether the pod sent it.
    pub from_pod: bool,
    /// What became of it.
    pub reason: abi::Reason,
    /// The ruleset that was asked; 0 for none.
    pub ruleset: u64,
    /// Which rule of the ruleset decided, and whose tier's it is (1 admin, 2 the namespaces', 3 baseline), if one did.
    pub rule: Option<(u8, u16)>,
}

/// The reader of events. Its descriptor is readable while there are some.
pub struct Events {
    ring: RingBuf<MapData>,
    strange: u64,
}

impl Events {
    /// Opens what is pinned there.
    pub(super) fn open(pin: &Path) -> Result<Self, BpfError> {
        let failed = |source| BpfError::Map { attempt: "open", map: "events", source };
        let other = |e: aya::maps::MapError| failed(std::io::Error::other(e));
        let map = MapData::from_pin(pin).map_err(other)?;
        let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(other)?;
        Ok(Self { ring, strange: 0 })
    }

    /// The next one, if it has come.
    pub fn poll(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            match parse(&item) {
                Some(event) => return Some(event),
                None => self.strange += 1,
            }
        }
    }

    /// How many were told by a packet path of another version, and are not understood.
    pub fn strange(&self) -> u64 {
        self.strange
    }
}

/// Events, awaited.
pub struct EventStream(AsyncFd<Events>);

impl EventStream {
    /// Awaits events from now on; inside a tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the descriptor.
    pub fn new(events: Events) -> io::Result<Self> {
        // SAFETY: the ring owns its map's descriptor, which is valid, and neither replaced nor closed while it lives here.
        let registered = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// The next one.
    ///
    /// # Errors
    /// The runtime ends.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            if let Some(event) = ready.get_inner_mut().poll() {
                return Ok(event);
            }
            ready.clear_ready();
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

fn parse(item: &[u8]) -> Option<Event> {
    if item.len() != size_of::<abi::PolicyEvent>() {
        return None;
    }
    // SAFETY: there are as many bytes as the struct has, every value of which is valid (it is `Pod`); they need not be aligned.
    let raw = unsafe { std::ptr::read_unaligned(item.as_ptr().cast::<abi::PolicyEvent>()) };
    let at = |ip: [Be32; 4], port| SocketAddr::new(bytes::ip(ip), port);
    let kind = match raw.kind as usize {
        abi::EVENT_DENIED => EventKind::Denied,
        abi::EVENT_UNKNOWN => EventKind::Unknown,
        _ => return None,
    };
    Some(Event {
        kind,
        time: Duration::from_nanos(raw.time),
        pod: at(raw.pod, raw.pod_port.into()),
        other: at(raw.other, raw.other_port.into()),
        peer: at(raw.peer, raw.peer_port.into()),
        protocol: raw.protocol,
        icmp: raw.icmp,
        from_pod: raw.from_pod != 0,
        reason: *abi::Reason::ALL.get(raw.reason as usize)?,
        ruleset: raw.ruleset,
        rule: (raw.tier != 0).then_some((raw.tier, raw.rule)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_not_told() {
        let event = [0_u8; size_of::<abi::PolicyEvent>()];
        assert_eq!(parse(&event), None, "of no kind");
        assert_eq!(parse(&event[1..]), None, "too short");
        let mut event = event;
        event[std::mem::offset_of!(abi::PolicyEvent, kind)] = 1;
        let heard = parse(&event).expect("it is whole");
        assert_eq!((heard.kind, heard.rule), (EventKind::Denied, None));
    }
}
