//! Receiving many datagrams at once.

use std::io;
use std::ops::Range;

use wireguard::Endpoint;

use super::address::{Control, RawAddress};
use super::{Family, MAX_DATAGRAM, Sockets};

/// So many buffers per call, each of which may hold many datagrams.
const BATCH: usize = 16;

/// Buffers for one thread that receives. Memory is touched only as far as traffic fills it.
pub(in crate::wireguard) struct Receiver {
    buffers: Vec<u8>,
    addresses: [RawAddress; BATCH],
    controls: [Control; BATCH],
    lengths: [usize; BATCH],
    control_lengths: [usize; BATCH],
}

/// Datagrams of equal length (the last may be shorter) from one sender.
#[derive(Debug, Clone)]
pub(in crate::wireguard) struct Received {
    pub(in crate::wireguard) from: Endpoint,
    pub(in crate::wireguard) segment: usize,
    /// Where they are in [`Receiver::bytes`].
    pub(in crate::wireguard) range: Range<usize>,
}

impl Receiver {
    pub(in crate::wireguard) fn new() -> Self {
        Self {
            buffers: vec![0; BATCH * MAX_DATAGRAM],
            addresses: [RawAddress::default(); BATCH],
            controls: [Control::default(); BATCH],
            lengths: [0; BATCH],
            control_lengths: [0; BATCH],
        }
    }

    /// Waits for datagrams and takes what is there; the number of filled buffers is 0 once the sockets are closed.
    pub(in crate::wireguard) fn receive(&mut self, sockets: &Sockets, family: Family) -> io::Result<usize> {
        let Some(socket) = sockets.get(family) else { return Ok(0) };
        // SAFETY: all zeroes is a valid value of both: they are plain data, with null pointers.
        let (mut parts, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        for (at, buffer) in self.buffers.chunks_exact_mut(MAX_DATAGRAM).enumerate() {
            parts[at] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut self.addresses[at]).cast();
            header.msg_namelen = size_of::<RawAddress>() as libc::socklen_t;
            header.msg_iov = &raw mut parts[at];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[at].as_mut_ptr();
            header.msg_controllen = Control::LEN as _;
        }
        // SAFETY: every header points to one buffer, one address and one control area of the stated lengths, all of
        // which outlive the call and none of which is used otherwise meanwhile.
        let count = unsafe {
            libc::recvmmsg(
                socket.raw(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        if sockets.is_closed() {
            return Ok(0);
        }
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        for (at, header) in headers.iter().enumerate().take(count as usize) {
            self.lengths[at] = header.msg_len as usize;
            self.control_lengths[at] = header.msg_hdr.msg_controllen as _;
        }
        Ok(count as usize)
    }

    /// Bytes that the last call received.
    pub(in crate::wireguard) fn filled(&self, count: usize) -> usize {
        self.lengths[..count].iter().sum()
    }

    /// What the last call received.
    pub(in crate::wireguard) fn datagrams(&self, count: usize) -> impl Iterator<Item = Received> {
        (0..count).filter_map(|at| {
            let (local, segment) = self.controls[at].read(self.control_lengths[at]);
            let (start, len) = (at * MAX_DATAGRAM, self.lengths[at]);
            Some(Received {
                from: Endpoint { remote: self.addresses[at].parse()?, local },
                segment: segment.unwrap_or(len).max(1),
                range: start..start + len,
            })
        })
    }

    /// All buffers.
    pub(in crate::wireguard) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffers
    }
}
