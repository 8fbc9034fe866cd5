//! The Internet checksum (RFC 1071).
//!
//! Sums are kept in the machine's byte order, which the arithmetic does not mind, and stored with `to_ne_bytes`.

/// Adds up 16-bit words; an odd last byte is padded. Sums of pieces may be added if all but the last have even lengths.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // Several independent sums of 32-bit words: the compiler makes vectors of them.
    let mut lanes = [0u64; 8];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let mut words = blocks.remainder().chunks_exact(2);
    for word in &mut words {
        total += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    total
}

/// Copies, and adds up what is copied: one way through memory instead of two. `to` is as long as `from`.
#[inline]
pub(super) fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
    let mut lanes = [0u64; 8];
    let (mut targets, mut blocks) = (to.chunks_exact_mut(32), from.chunks_exact(32));
    for (target, block) in (&mut targets).zip(&mut blocks) {
        target.copy_from_slice(block);
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    targets.into_remainder().copy_from_slice(blocks.remainder());
    lanes.iter().sum::<u64>() + sum(blocks.remainder())
}

/// A sum as 16 bits.
#[inline]
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo header: addresses, protocol and length of the transport's part.
#[inline]
pub(super) fn pseudo(addresses: &[u8], protocol: u8, len: usize) -> u64 {
    let len = u32::try_from(len).expect("packets are shorter than 4 GiB");
    sum(addresses) + sum(&len.to_be_bytes()) + sum(&[0, protocol])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..150) {
            let obvious = bytes.chunks(2).fold(0u64, |sum, pair| {
                sum + u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
            });
            prop_assert_eq!(fold(sum(&bytes)), u16::from_be(fold(obvious)));
            let mut copy = vec![0; bytes.len()];
            prop_assert_eq!(fold(copy_and_sum(&mut copy, &bytes)), fold(sum(&bytes)));
            prop_assert_eq!(&copy, &bytes);
            let (head, tail) = bytes.split_at((cut * 2).min(bytes.len()));
            prop_assert_eq!(fold(sum(head) + sum(tail)), fold(sum(&bytes)));
        }
    }
}
