//! A TUN device: packets of the IP layer as bytes in a file.
//!
//! With [`TunOptions::vnet_hdr`] every packet carries a [`VnetHeader`]: the kernel may then hand over what it has not
//! yet segmented or checksummed, and takes the same from us. This file knows the device, not what the packets mean.
//!
//! <https://docs.kernel.org/networking/tuntap.html>

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

mod interface;

pub use interface::Interface;

/// How to open a [`Tun`].
#[derive(Debug, Clone, Copy, Default)]
pub struct TunOptions {
    /// Put a [`VnetHeader`] before every packet, and allow [`Tun::set_offload`].
    pub vnet_hdr: bool,
    /// Let several descriptors share the device: opening the same name again gives another queue.
    pub multi_queue: bool,
    /// Reads and writes fail with [`io::ErrorKind::WouldBlock`] rather than wait.
    pub nonblocking: bool,
}

/// What the reader of a TUN can finish by itself, so the kernel need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Packets whose checksum is only begun.
    pub checksum: bool,
    /// TCP over IPv4 and IPv6 larger than the MTU; needs `checksum`.
    pub tcp: bool,
    /// UDP datagrams of one flow in one packet, IPv4 and IPv6; needs `checksum` and Linux 6.2.
    pub udp: bool,
}

impl Offload {
    /// All there is.
    pub const ALL: Self = Self { checksum: true, tcp: true, udp: true };
    /// Whole packets only.
    pub const NONE: Self = Self { checksum: false, tcp: false, udp: false };

    fn bits(self) -> libc::c_uint {
        let when = |on: bool, bits: libc::c_uint| if on { bits } else { 0 };
        when(self.checksum, libc::TUN_F_CSUM)
            | when(self.tcp, libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN)
            | when(self.udp, libc::TUN_F_USO4 | libc::TUN_F_USO6)
    }
}

/// What segmentation a packet still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gso {
    /// None: it is one packet.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP, IPv4 or IPv6: each segment is a datagram of its own.
    Udp,
    /// Something newer than this program: the number the kernel gave.
    Other(u8),
}

/// `struct virtio_net_hdr`: what is unfinished about the packet that follows. Numbers are in the machine's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// The checksum is to be filled in: from `checksum_start` to the end, stored `checksum_offset` after the start.
    pub needs_checksum: bool,
    /// The checksum was verified.
    pub checksum_valid: bool,
    /// What segmentation is left to do.
    pub gso: Gso,
    /// TCP's congestion mark is on some segment (`VIRTIO_NET_HDR_GSO_ECN`).
    pub ecn: bool,
    /// Bytes of all headers, IP and transport.
    pub header_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Where the checksummed part begins.
    pub checksum_start: u16,
    /// Where the checksum goes, from `checksum_start`.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Its size on the descriptor.
    pub const LEN: usize = 10;

    const ECN: u8 = 0x80;

    /// From the descriptor's bytes.
    pub fn parse(bytes: &[u8; Self::LEN]) -> Self {
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let gso = match bytes[1] & !Self::ECN {
            0 => Gso::None,
            1 => Gso::Tcp4,
            4 => Gso::Tcp6,
            5 => Gso::Udp,
            other => Gso::Other(other),
        };
        Self {
            needs_checksum: bytes[0] & 1 != 0,
            checksum_valid: bytes[0] & 2 != 0,
            gso,
            ecn: bytes[1] & Self::ECN != 0,
            header_len: number(2),
            gso_size: number(4),
            checksum_start: number(6),
            checksum_offset: number(8),
        }
    }

    /// To the descriptor's bytes.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = u8::from(self.needs_checksum) | u8::from(self.checksum_valid) << 1;
        bytes[1] = match self.gso {
            Gso::None => 0,
            Gso::Tcp4 => 1,
            Gso::Tcp6 => 4,
            Gso::Udp => 5,
            Gso::Other(other) => other & !Self::ECN,
        };
        if self.ecn {
            bytes[1] |= Self::ECN;
        }
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        bytes
    }
}

/// An open TUN device. It vanishes with its last descriptor.
#[derive(Debug)]
pub struct Tun {
    file: File,
    interface: Interface,
}

impl Tun {
    /// As many bytes as one read can give, without the [`VnetHeader`].
    pub const MAX_PACKET: usize = 65535;

    /// Creates the device in the calling thread's network namespace, or joins it as another queue.
    ///
    /// Fails with `EBUSY` if another program holds a device of this name, `ENOENT` without `/dev/net/tun` (load the
    /// module `tun`), `EPERM` without `CAP_NET_ADMIN`.
    pub fn open(name: &str, options: TunOptions) -> io::Result<Self> {
        let nonblocking = if options.nonblocking { libc::O_NONBLOCK } else { 0 };
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun")?;
        let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
        if options.vnet_hdr {
            flags |= libc::IFF_VNET_HDR;
        }
        if options.multi_queue {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let mut request = interface::request(name)?;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, interface: Interface::new(&interface::name_of(&request))? })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.interface.name()
    }

    /// The device as a network interface of the namespace it was made in.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Asks for unfinished packets; the answer is what the kernel agreed to (UDP segmentation may be missing).
    /// Needs [`TunOptions::vnet_hdr`].
    pub fn set_offload(&self, wanted: Offload) -> io::Result<Offload> {
        match self.try_offload(wanted) {
            Err(error) if wanted.udp && error.raw_os_error() == Some(libc::EINVAL) => {
                let less = Offload { udp: false, ..wanted };
                self.try_offload(less).map(|()| less)
            }
            result => result.map(|()| wanted),
        }
    }

    fn try_offload(&self, wanted: Offload) -> io::Result<()> {
        let bits = libc::c_ulong::from(wanted.bits());
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD as _, bits) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads one packet of a device without [`TunOptions::vnet_hdr`]; longer ones are cut to the buffer.
    pub fn read(&self, packet: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(packet)
    }

    /// Writes one packet to a device without [`TunOptions::vnet_hdr`].
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }

    /// Reads one packet and its header; the number is the packet's length.
    pub fn read_vnet(&self, packet: &mut [u8]) -> io::Result<(VnetHeader, usize)> {
        let mut header = [0; VnetHeader::LEN];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(packet)];
        let len = (&self.file).read_vectored(&mut parts)?;
        match len.checked_sub(VnetHeader::LEN) {
            Some(len) => Ok((VnetHeader::parse(&header), len)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes one packet and its header.
    pub fn write_vnet(&self, header: &VnetHeader, packet: &[u8]) -> io::Result<()> {
        self.write_parts(&[IoSlice::new(&header.encode()), IoSlice::new(packet)])
    }

    /// Writes one packet from its parts, of which the first is an encoded [`VnetHeader`] if the device has them.
    pub fn write_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.file).write_vectored(parts).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_survives_the_trip() {
        let kinds = [Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp, Gso::Other(9)];
        for gso in kinds {
            for bits in 0..8u8 {
                let header = VnetHeader {
                    needs_checksum: bits & 1 != 0,
                    checksum_valid: bits & 2 != 0,
                    gso,
                    ecn: bits & 4 != 0,
                    header_len: 40,
                    gso_size: 1380,
                    checksum_start: 20,
                    checksum_offset: 16,
                };
                assert_eq!(VnetHeader::parse(&header.encode()), header);
            }
        }
    }
}
