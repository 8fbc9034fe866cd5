//! Where things are in the headers of a TCP or UDP packet.

/// The protocol numbers.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// A packet's headers, measured. Only packets whose transport header directly follows a plain IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) v6: bool,
    pub(super) protocol: u8,
    /// Bytes of the IP header, options included.
    pub(super) ip: usize,
    /// Bytes of both headers, options included.
    pub(super) all: usize,
}

impl Layout {
    /// Measures the packet; none if it is not TCP or UDP, is a fragment, or is cut short in its headers.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let (v6, protocol, ip) = match packet.first()? >> 4 {
            4 if packet.len() >= 20 => {
                let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
                let ip = usize::from(packet[0] & 15) * 4;
                if fragment || ip < 20 {
                    return None;
                }
                (false, packet[9], ip)
            }
            6 if packet.len() >= 40 => (true, packet[6], 40),
            _ => return None,
        };
        let transport = match protocol {
            TCP => usize::from(packet.get(ip + 12)? >> 4) * 4,
            UDP => 8,
            _ => return None,
        };
        let least = if protocol == TCP { 20 } else { 8 };
        (transport >= least && packet.len() >= ip + transport).then_some(Self {
            v6,
            protocol,
            ip,
            all: ip + transport,
        })
    }

    /// Both addresses.
    pub(super) fn addresses<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        if self.v6 { &packet[8..40] } else { &packet[12..20] }
    }

    /// Where the transport's checksum is in the packet.
    pub(super) fn checksum_at(&self) -> usize {
        self.ip + if self.protocol == TCP { 16 } else { 6 }
    }
}
