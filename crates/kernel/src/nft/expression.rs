//! The steps of a rule: linux/netfilter/nf_tables.h.

use super::attributes::Attributes;

/// A register of the rule's little machine. Four of [`Register::word`] make one of [`Register::wide`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Register(u32);

impl Register {
    /// One of 16 bytes: NFT_REG_1 and on.
    pub(super) const fn wide(number: u32) -> Self {
        Self(1 + number)
    }

    /// One of 4 bytes: NFT_REG32_00 and on, over the same memory.
    pub(super) const fn word(number: u32) -> Self {
        Self(8 + number)
    }
}

/// An address family, by its NFPROTO number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(ip: std::net::IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// Bytes of an address.
    pub(super) fn octets(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Registers of 4 bytes that an address takes.
    pub(super) fn words(self) -> u32 {
        self.octets() / 4
    }

    fn source_offset(self) -> u32 {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }
}

/// What `fib daddr type` says: RTN_* of linux/rtnetlink.h.
#[derive(Debug, Clone, Copy)]
pub(super) enum Destination {
    Local = 2,
    Broadcast = 3,
    Multicast = 5,
}

/// The device number of every namespace's loopback.
const LOOPBACK: u32 = 1;

const ACCUMULATOR: Register = Register::wide(0);

/// Steps one after the other; a step that does not hold ends the rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule(Attributes);

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn into_attributes(self) -> Attributes {
        self.0
    }

    fn step(self, name: &str, data: Attributes) -> Self {
        const ELEMENT: u16 = 1;
        Self(self.0.nest(ELEMENT, Attributes::new().text(1, name).nest(2, data)))
    }

    /// The packet is of this family.
    pub(super) fn of(self, family: Family) -> Self {
        const NFPROTO: u32 = 15;
        self.load_meta(NFPROTO, ACCUMULATOR).equals(&[family.number()])
    }

    pub(super) fn load_source(self, family: Family, into: Register) -> Self {
        self.load_network(family.source_offset(), family.octets(), into)
    }

    pub(super) fn load_destination(self, family: Family, into: Register) -> Self {
        self.load_network(family.source_offset() + family.octets(), family.octets(), into)
    }

    fn load_network(self, offset: u32, length: u32, into: Register) -> Self {
        const NETWORK_HEADER: u32 = 1;
        self.load_payload(NETWORK_HEADER, offset, length, into)
    }

    /// The destination port of TCP, UDP and SCTP.
    pub(super) fn load_destination_port(self, into: Register) -> Self {
        const TRANSPORT_HEADER: u32 = 2;
        self.load_payload(TRANSPORT_HEADER, 2, 2, into)
    }

    fn load_payload(self, base: u32, offset: u32, length: u32, into: Register) -> Self {
        let data = Attributes::new().number(1, into.0).number(2, base).number(3, offset).number(4, length);
        self.step("payload", data)
    }

    pub(super) fn load_protocol(self, into: Register) -> Self {
        const L4PROTO: u32 = 16;
        self.load_meta(L4PROTO, into)
    }

    /// The packet came in by another device than the loopback one.
    pub(super) fn if_from_outside(self) -> Self {
        const IIF: u32 = 4;
        // A device's number is one of the few in the machine's own byte order.
        self.load_meta(IIF, ACCUMULATOR).differs(&LOOPBACK.to_ne_bytes())
    }

    fn load_meta(self, key: u32, into: Register) -> Self {
        self.step("meta", Attributes::new().number(2, key).number(1, into.0))
    }

    /// The connection's destination was translated.
    pub(super) fn if_dnat(self) -> Self {
        const STATUS: u32 = 2;
        const IPS_DST_NAT: u32 = 1 << 5;
        let load = Attributes::new().number(2, STATUS).number(1, ACCUMULATOR.0);
        let rule = self.step("ct", load).masked(&IPS_DST_NAT.to_ne_bytes());
        rule.differs(&0_u32.to_ne_bytes())
    }

    /// The address in the accumulator is one of 127.0.0.0/8.
    pub(super) fn if_loopback_v4(self) -> Self {
        self.masked(&[255, 0, 0, 0]).equals(&[127, 0, 0, 0])
    }

    fn masked(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).expect("a register's width");
        let data = Attributes::new()
            .number(1, ACCUMULATOR.0)
            .number(2, ACCUMULATOR.0)
            .number(3, length)
            .nest(4, value(mask))
            .nest(5, value(&vec![0; mask.len()]));
        self.step("bitwise", data)
    }

    /// The destination is of this kind.
    pub(super) fn destination_is(self, kind: Destination) -> Self {
        self.load_destination_kind().equals(&(kind as u32).to_ne_bytes())
    }

    /// The destination is of none of these kinds.
    pub(super) fn destination_is_none_of(self, kinds: &[Destination]) -> Self {
        let rule = self.load_destination_kind();
        kinds.iter().fold(rule, |rule, kind| rule.differs(&(*kind as u32).to_ne_bytes()))
    }

    fn load_destination_kind(self) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        const OF_DESTINATION: u32 = 1 << 1;
        let data = Attributes::new().number(3, OF_DESTINATION).number(2, ADDRESS_TYPE);
        self.step("fib", data.number(1, ACCUMULATOR.0))
    }

    pub(super) fn equals(self, expected: &[u8]) -> Self {
        self.compare(0, expected)
    }

    pub(super) fn differs(self, from: &[u8]) -> Self {
        self.compare(1, from)
    }

    fn compare(self, operator: u32, with: &[u8]) -> Self {
        let data = Attributes::new().number(1, ACCUMULATOR.0).number(2, operator).nest(3, value(with));
        self.step("cmp", data)
    }

    /// What begins at the first register is in the set.
    pub(super) fn if_in(self, set: &str) -> Self {
        self.step("lookup", Attributes::new().number(2, ACCUMULATOR.0).text(1, set))
    }

    /// What begins at the first register is not in the set.
    pub(super) fn if_not_in(self, set: &str) -> Self {
        const INVERTED: u32 = 1;
        self.step("lookup", Attributes::new().number(2, ACCUMULATOR.0).text(1, set).number(5, INVERTED))
    }

    /// What begins at the first register is in the map, whose answer takes its place.
    pub(super) fn mapped_by(self, map: &str) -> Self {
        let data = Attributes::new().number(2, ACCUMULATOR.0).number(3, ACCUMULATOR.0);
        self.step("lookup", data.text(1, map))
    }

    /// The destination becomes the address and port that begin at the first register.
    pub(super) fn translate_destination(self, family: Family) -> Self {
        const DNAT: u32 = 1;
        let data = Attributes::new()
            .number(1, DNAT)
            .number(2, u32::from(family.number()))
            .number(3, ACCUMULATOR.0)
            .number(5, Register::word(family.words()).0);
        self.step("nat", data)
    }

    /// The source becomes the address of the device that the packet leaves by, the port any that is free.
    pub(super) fn masquerade(self) -> Self {
        const RANDOM_FULLY: u32 = 1 << 4;
        self.step("masq", Attributes::new().number(1, RANDOM_FULLY))
    }

    pub(super) fn drop(self) -> Self {
        const VERDICT: u32 = 0;
        const NF_DROP: u32 = 0;
        let verdict = Attributes::new().nest(2, Attributes::new().number(1, NF_DROP));
        self.step("immediate", Attributes::new().number(1, VERDICT).nest(2, verdict))
    }
}

/// Data of an expression or an element: NFTA_DATA_VALUE.
pub(super) fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(1, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps, byte by byte as nft 1.0.6 writes them (`nft --debug=mnl`), but for the order of attributes.
    #[test]
    fn the_destination_is_local() {
        if cfg!(target_endian = "big") {
            return;
        }
        let expected: [&[u8]; 16] = [
            &[40, 0, 1, 0x80],
            &[8, 0, 1, 0, b'f', b'i', b'b', 0],
            &[28, 0, 2, 0x80],
            &[8, 0, 3, 0, 0, 0, 0, 2],
            &[8, 0, 2, 0, 0, 0, 0, 3],
            &[8, 0, 1, 0, 0, 0, 0, 1],
            &[44, 0, 1, 0x80],
            &[8, 0, 1, 0, b'c', b'm', b'p', 0],
            &[32, 0, 2, 0x80],
            &[8, 0, 1, 0, 0, 0, 0, 1],
            &[8, 0, 2, 0, 0, 0, 0, 0],
            &[12, 0, 3, 0x80],
            &[8, 0, 1, 0],
            &[2, 0, 0, 0],
            &[],
            &[],
        ];
        let rule = Rule::new().destination_is(Destination::Local);
        assert_eq!(rule.into_attributes().as_bytes(), expected.concat());
    }

    #[test]
    fn words_lie_over_wide_registers() {
        // NFT_REG_2 begins where NFT_REG32_04 does; the first of either is the accumulator.
        assert_eq!((Register::wide(1).0, Register::word(4).0), (2, 12));
        assert_eq!((Register::wide(0).0, Register::word(0).0), (1, 8));
    }
}
