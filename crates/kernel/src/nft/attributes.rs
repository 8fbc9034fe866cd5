//! Netlink attributes as nf_tables has them: numbers in network byte order, nesting marked.

use netlink_packet_core::NlaBuffer;

/// NLA_F_NESTED (linux/netlink.h).
const NESTED: u16 = 0x8000;

const HEADER: usize = 4;

/// Attributes one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(HEADER + value.len()).expect("lists are cut into pieces that fit");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Text, with the zero that the kernel wants at its end.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), b"\0"].concat())
    }

    pub(crate) fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.nest_bytes(kind, &inner.0)
    }

    /// The same, of attributes as they were read.
    pub(crate) fn nest_bytes(self, kind: u16, inner: &[u8]) -> Self {
        self.bytes(kind | NESTED, inner)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in these bytes; ends at the first that is none.
pub(crate) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let attribute = NlaBuffer::new_checked(bytes).ok()?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        let value = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A number in network byte order.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        let inner = Attributes::new().number(1, 7).bytes(2, &[9]);
        let outer = Attributes::new().text(3, "abc").nest(4, inner.clone());
        let expected = [
            &8_u16.to_ne_bytes()[..],
            &3_u16.to_ne_bytes(),
            b"abc\0",
            &20_u16.to_ne_bytes(),
            &0x8004_u16.to_ne_bytes(),
            &8_u16.to_ne_bytes(),
            &1_u16.to_ne_bytes(),
            &[0, 0, 0, 7],
            &5_u16.to_ne_bytes(),
            &2_u16.to_ne_bytes(),
            &[9, 0, 0, 0],
        ];
        assert_eq!(outer.as_bytes(), expected.concat());
        let found: Vec<(u16, &[u8])> = read(outer.as_bytes()).collect();
        assert_eq!(found, [(3, &b"abc\0"[..]), (4, inner.as_bytes())]);
        assert_eq!(number(read(inner.as_bytes()).next().unwrap().1), Some(7));
        for cut in 1..outer.as_bytes().len() {
            read(&outer.as_bytes()[..cut]).for_each(drop);
        }
        for bad in [&[3, 0, 1, 0][..], &[0, 0, 0, 0], &[200, 0, 1, 0, 1]] {
            assert_eq!(read(bad).count(), 0, "{bad:?}");
        }
    }
}
