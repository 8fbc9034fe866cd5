//! One large packet into many.

use thiserror::Error;

use super::checksum::{copy_and_sum, fold, pseudo, sum};
use super::header::{Layout, TCP, UDP};
use crate::tun::{Gso, VnetHeader};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// What the kernel said of a packet does not fit the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the packet does not have the headers that its virtio_net_hdr describes")]
pub struct Malformed;

/// The packets that one read of the TUN stands for: one or many.
#[derive(Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    /// How to cut; none if it is one packet already.
    cut: Option<Cut>,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    layout: Layout,
    /// Payload bytes of each segment but the last.
    size: usize,
    count: usize,
}

impl<'a> Segments<'a> {
    /// Understands what was read. The checksum of a single packet is filled in here.
    pub fn new(header: &VnetHeader, packet: &'a mut [u8]) -> Result<Self, Malformed> {
        let protocol = match header.gso {
            Gso::None => {
                if header.needs_checksum {
                    complete(header, packet)?;
                }
                return Ok(Self { packet, cut: None });
            }
            Gso::Tcp4 | Gso::Tcp6 => TCP,
            Gso::Udp => UDP,
            Gso::Other(_) => return Err(Malformed),
        };
        let layout = Layout::of(packet).filter(|layout| layout.protocol == protocol).ok_or(Malformed)?;
        let size = usize::from(header.gso_size);
        if size == 0 {
            return Err(Malformed);
        }
        let count = (packet.len() - layout.all).div_ceil(size).max(1);
        Ok(Self { packet, cut: Some(Cut { layout, size, count }) })
    }

    /// How many packets.
    pub fn count(&self) -> usize {
        self.cut.map_or(1, |cut| cut.count)
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.cut.map_or(self.packet.len(), |cut| self.packet.len() + (cut.count - 1) * cut.layout.all)
    }

    /// Bytes of one of them.
    pub fn len_of(&self, at: usize) -> usize {
        match self.cut {
            None => self.packet.len(),
            Some(cut) => cut.layout.all + self.payload(&cut, at).len(),
        }
    }

    /// The headers of all of them, and perhaps more.
    pub fn head(&self) -> &[u8] {
        self.packet
    }

    /// Writes one of them into `out`, which is exactly as long.
    pub fn write(&self, at: usize, out: &mut [u8]) {
        let Some(cut) = &self.cut else { return out.copy_from_slice(self.packet) };
        let payload = self.payload(cut, at);
        let (head, body) = out.split_at_mut(cut.layout.all);
        head.copy_from_slice(&self.packet[..cut.layout.all]);
        let carried = copy_and_sum(body, payload);
        finish(cut, at, head, body.len(), carried);
    }

    fn payload(&self, cut: &Cut, at: usize) -> &[u8] {
        let payload = &self.packet[cut.layout.all..];
        &payload[(at * cut.size).min(payload.len())..((at + 1) * cut.size).min(payload.len())]
    }
}

/// Turns the large packet's headers into those of segment `at`, whose payload has this length and sum.
fn finish(cut: &Cut, at: usize, head: &mut [u8], payload_len: usize, payload_sum: u64) {
    let layout = &cut.layout;
    let len = head.len() + payload_len;
    let transport_len = len - layout.ip;
    if layout.v6 {
        // The length of what follows the header, extension headers included: there are none.
        head[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
    } else {
        head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let id = u16::from_be_bytes([head[4], head[5]]).wrapping_add(at as u16);
        head[4..6].copy_from_slice(&id.to_be_bytes());
        head[10..12].fill(0);
        let header_sum = !fold(sum(&head[..layout.ip]));
        head[10..12].copy_from_slice(&header_sum.to_ne_bytes());
    }
    let pseudo = pseudo(layout.addresses(head), layout.protocol, transport_len);
    let transport = &mut head[layout.ip..];
    if layout.protocol == TCP {
        let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
        let sequence = sequence.wrapping_add((at * cut.size) as u32);
        transport[4..8].copy_from_slice(&sequence.to_be_bytes());
        if at > 0 {
            transport[13] &= !CWR;
        }
        if at + 1 < cut.count {
            transport[13] &= !(FIN | PSH);
        }
    } else {
        transport[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
    }
    let field = layout.checksum_at() - layout.ip;
    transport[field..field + 2].fill(0);
    let checksum = !fold(pseudo + sum(transport) + payload_sum);
    store(&mut transport[field..field + 2], checksum, layout.protocol == UDP);
}

/// Fills in the checksum that the host only began: the field holds the pseudo header's sum.
fn complete(header: &VnetHeader, packet: &mut [u8]) -> Result<(), Malformed> {
    let start = usize::from(header.checksum_start);
    let field = start + usize::from(header.checksum_offset);
    if start > packet.len() || field + 2 > packet.len() {
        return Err(Malformed);
    }
    let checksum = !fold(sum(&packet[start..]));
    // UDP's field is the only one at this offset.
    store(&mut packet[field..field + 2], checksum, header.checksum_offset == 6);
    Ok(())
}

/// In UDP zero means "no checksum"; its other form is as good.
fn store(field: &mut [u8], checksum: u16, udp: bool) {
    let checksum = if udp && checksum == 0 { 0xffff } else { checksum };
    field.copy_from_slice(&checksum.to_ne_bytes());
}
