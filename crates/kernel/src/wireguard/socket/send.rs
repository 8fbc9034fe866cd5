//! Sending many datagrams at once.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use wireguard::Endpoint;

use super::address::{Control, RawAddress, to_raw};
use super::{Family, MAX_DATAGRAM, Socket, Sockets};

/// Room for what is sent with one call.
const ARENA: usize = 4 * (MAX_DATAGRAM + 1);
/// As many datagrams as the kernel splits one buffer into (UDP_MAX_SEGMENTS of old kernels).
const MAX_SEGMENTS: usize = 64;
/// As many bytes as one IPv4 datagram can hold, before it is split.
const MAX_RUN: usize = 65507;
/// As many runs per call.
const BATCH: usize = 16;

/// Datagrams of equal length (the last may be shorter) to one place, in one piece of the arena.
#[derive(Debug, Clone, Copy)]
struct Run {
    endpoint: Endpoint,
    start: usize,
    len: usize,
    segment: usize,
    count: usize,
    /// A shorter datagram closed it.
    closed: bool,
}

/// Datagrams to be sent together.
pub(in crate::wireguard) struct SendQueue {
    arena: Vec<u8>,
    used: usize,
    runs: Vec<Run>,
}

/// What became of a queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::wireguard) struct Sent {
    /// Datagrams the kernel did not take.
    pub(in crate::wireguard) failed: u64,
    /// An address of ours that is no longer ours.
    pub(in crate::wireguard) lost: Option<IpAddr>,
}

impl SendQueue {
    pub(in crate::wireguard) fn new() -> Self {
        Self { arena: vec![0; ARENA], used: 0, runs: Vec::with_capacity(BATCH) }
    }

    pub(in crate::wireguard) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether a datagram of this length must wait for a flush.
    pub(in crate::wireguard) fn is_full(&self, len: usize) -> bool {
        self.arena.len() - self.used < len || self.runs.len() >= BATCH
    }

    /// Room for the next datagram. It is in the queue once [`SendQueue::push`] says so.
    pub(in crate::wireguard) fn room(&mut self, len: usize) -> &mut [u8] {
        &mut self.arena[self.used..self.used + len]
    }

    /// The bytes in [`SendQueue::room`] are a datagram for this endpoint.
    pub(in crate::wireguard) fn push(&mut self, endpoint: Endpoint, len: usize) {
        let start = self.used;
        self.used += len;
        if let Some(run) = self.runs.last_mut()
            && !run.closed
            && run.endpoint == endpoint
            && len <= run.segment
            && run.count < MAX_SEGMENTS
            && run.len + len <= MAX_RUN
        {
            run.len += len;
            run.count += 1;
            run.closed = len < run.segment;
            return;
        }
        self.runs.push(Run { endpoint, start, len, segment: len, count: 1, closed: false });
    }

    /// Sends everything. The queue is empty afterwards.
    pub(in crate::wireguard) fn flush(&mut self, sockets: &Sockets) -> Sent {
        let mut sent = Sent::default();
        let mut rest = self.runs.as_slice();
        while let Some(first) = rest.first() {
            let family = Family::of(first.endpoint.remote);
            let same = rest.iter().take_while(|run| Family::of(run.endpoint.remote) == family).count();
            let (now, later) = rest.split_at(same);
            match sockets.get(family) {
                Some(socket) => self.send(socket, now, &mut sent),
                None => sent.failed += now.iter().map(|run| run.count as u64).sum::<u64>(),
            }
            rest = later;
        }
        self.runs.clear();
        self.used = 0;
        sent
    }

    fn send(&self, socket: &Socket, mut runs: &[Run], sent: &mut Sent) {
        while let Some(first) = runs.first() {
            if first.count > 1 && !socket.gso.load(Ordering::Relaxed) {
                self.send_one_by_one(socket, first, sent);
                runs = &runs[1..];
                continue;
            }
            let gso = socket.gso.load(Ordering::Relaxed);
            let together = runs.iter().take_while(|run| gso || run.count == 1).count().min(BATCH);
            match self.send_runs(socket, &runs[..together]) {
                Ok(done) => runs = &runs[done..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.recover(socket, first, &error, sent);
                    runs = &runs[1..];
                }
            }
        }
    }

    /// The kernel refused this run: once more, datagram by datagram. A datagram that is too big for the path is
    /// fragmented, where a run of such is refused (EINVAL, EMSGSIZE).
    fn recover(&self, socket: &Socket, run: &Run, error: &io::Error, sent: &mut Sent) {
        if error.raw_os_error() == Some(libc::EIO) && run.count > 1 {
            // The underlay's device cannot checksum for us, so it cannot split either.
            socket.gso.store(false, Ordering::Relaxed);
        }
        self.send_one_by_one(socket, run, sent);
    }

    fn send_one_by_one(&self, socket: &Socket, run: &Run, sent: &mut Sent) {
        for at in 0..run.count {
            let start = run.start + at * run.segment;
            let len = run.segment.min(run.start + run.len - start);
            let mut single = Run { start, len, segment: len, count: 1, ..*run };
            if sent.lost.is_some() && sent.lost == single.endpoint.local {
                single.endpoint.local = None;
            }
            if let Err(error) = self.send_single(socket, &single, sent) {
                tracing::debug!(%error, to = %run.endpoint.remote, "the underlay refused a datagram");
                sent.failed += 1;
            }
        }
    }

    fn send_single(&self, socket: &Socket, run: &Run, sent: &mut Sent) -> io::Result<usize> {
        match (self.send_runs(socket, &[*run]), run.endpoint.local) {
            (Err(error), Some(local))
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH)
                ) =>
            {
                // Perhaps the address is not ours any more. Once more without it.
                let free = Run { endpoint: Endpoint { local: None, ..run.endpoint }, ..*run };
                let result = self.send_runs(socket, &[free]);
                if result.is_ok() {
                    sent.lost = Some(local);
                }
                result
            }
            (result, _) => result,
        }
    }

    /// At most [`BATCH`]; how many were sent.
    fn send_runs(&self, socket: &Socket, runs: &[Run]) -> io::Result<usize> {
        // SAFETY: all zeroes is a valid value of both: they are plain data, with null pointers.
        let (mut parts, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut addresses = [RawAddress::default(); BATCH];
        let mut controls = [Control::default(); BATCH];
        for (at, run) in runs.iter().enumerate().take(BATCH) {
            let bytes = &self.arena[run.start..run.start + run.len];
            parts[at] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let (address, address_len) = to_raw(run.endpoint.remote);
            addresses[at] = address;
            let segment = (run.count > 1).then_some(run.segment as u16);
            let control_len = controls[at].write(run.endpoint.local, segment);
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut addresses[at]).cast();
            header.msg_namelen = address_len;
            header.msg_iov = &raw mut parts[at];
            header.msg_iovlen = 1;
            if control_len > 0 {
                header.msg_control = controls[at].as_mut_ptr();
                header.msg_controllen = control_len as _;
            }
        }
        let count = runs.len().min(BATCH) as libc::c_uint;
        // SAFETY: the first `count` headers point to bytes, an address and control messages of the stated lengths, which
        // outlive the call; sending only reads them.
        let sent = unsafe { libc::sendmmsg(socket.raw(), headers.as_mut_ptr(), count, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}
