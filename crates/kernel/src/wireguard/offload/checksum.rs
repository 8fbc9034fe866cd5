//! The Internet checksum (RFC 1071).
//!
//! Sums are kept in the machine's byte order, which the arithmetic does not mind, and stored with `to_ne_bytes`.

/// Adds up 16-bit words; an odd last byte is padded. Sums of pieces may be added if all but the last have even lengths.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> u64 {
    if bytes.len() < LONG {
        return add_up(bytes);
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { wide::sum(bytes) };
    }
    add_up(bytes)
}

/// Copies, and adds up what is copied: one way through memory instead of two. `to` is as long as `from`.
#[inline]
pub(super) fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if from.len() >= LONG && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { wide::copy_and_sum(to, from) };
    }
    copy_and_add_up(to, from)
}

/// Shorter ones do not repay the choice.
const LONG: usize = 128;

/// The same, compiled for processors with vectors twice as wide.
#[cfg(target_arch = "x86_64")]
mod wide {
    #[target_feature(enable = "avx2")]
    pub(super) fn sum(bytes: &[u8]) -> u64 {
        super::add_up(bytes)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
        super::copy_and_add_up(to, from)
    }
}

/// Bytes of a step: several independent sums of 32-bit words, of which the compiler makes vectors.
const STEP: usize = 64;

#[inline(always)]
fn add_up(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; STEP / 4];
    let (blocks, rest) = bytes.as_chunks::<STEP>();
    for block in blocks {
        add_block(&mut lanes, block);
    }
    lanes.iter().sum::<u64>() + add_rest(rest)
}

#[inline(always)]
fn copy_and_add_up(to: &mut [u8], from: &[u8]) -> u64 {
    let mut lanes = [0u64; STEP / 4];
    let (targets, target) = to.as_chunks_mut::<STEP>();
    let (blocks, rest) = from.as_chunks::<STEP>();
    for (target, block) in targets.iter_mut().zip(blocks) {
        *target = *block;
        add_block(&mut lanes, block);
    }
    target.copy_from_slice(rest);
    lanes.iter().sum::<u64>() + add_rest(rest)
}

#[inline(always)]
fn add_block(lanes: &mut [u64; STEP / 4], block: &[u8; STEP]) {
    for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
        *lane += u64::from(u32::from_ne_bytes(*word));
    }
}

#[inline(always)]
fn add_rest(rest: &[u8]) -> u64 {
    let (words, rest) = rest.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let (halves, rest) = rest.as_chunks::<2>();
    let sum = sum + halves.iter().map(|half| u64::from(u16::from_ne_bytes(*half))).sum::<u64>();
    sum + rest.iter().map(|last| u64::from(u16::from_ne_bytes([*last, 0]))).sum::<u64>()
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
        fn agrees_with_the_obvious(bytes in prop::collection::vec(any::<u8>(), 0..700), cut in 0usize..350) {
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
