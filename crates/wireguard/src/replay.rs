//! Which counters were already seen: a sliding window of bits, moved a word at a time (RFC 6479).

const BITS: u64 = 8192;
const WORDS: usize = (BITS / 64) as usize;

/// The window of one session's receiving side.
#[derive(Debug)]
pub(crate) struct Window {
    /// One more than the greatest counter seen.
    next: u64,
    words: Box<[u64; WORDS]>,
}

impl Window {
    /// How far behind the greatest a counter may be. One word is always being refilled.
    pub(crate) const SIZE: u64 = BITS - 64;

    pub(crate) fn new() -> Self {
        Self { next: 0, words: Box::new([0; WORDS]) }
    }

    /// Takes the counter; false if it was seen before or is too old to tell.
    pub(crate) fn accept(&mut self, counter: u64) -> bool {
        if counter >= u64::MAX - BITS || counter.saturating_add(Self::SIZE) < self.next {
            return false;
        }
        let word = counter / 64;
        if counter >= self.next {
            // Everything between the old front and the new one is unseen.
            let front = self.next.div_ceil(64);
            for fresh in (front..=word).rev().take(WORDS) {
                self.words[fresh as usize % WORDS] = 0;
            }
            self.next = counter + 1;
        }
        let slot = &mut self.words[word as usize % WORDS];
        let bit = 1 << (counter % 64);
        let seen = *slot & bit != 0;
        *slot |= bit;
        !seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_counter_once_and_none_too_old() {
        let size = Window::SIZE;
        // (counter, accepted)
        let cases = [
            (0, true),
            (0, false),
            (1, true),
            (9, true),
            (8, true),
            (7, true),
            (7, false),
            (63, true),
            (64, true),
            (64, false),
            (size, true),
            (2, true),
            (2, false),
            (size + 16, true),
            (3, false),
            (size * 5, true),
            (size * 4 + 1, true),
            (size * 4 - 1, false),
            (size * 5 - 1, true),
            (size * 5 - 1, false),
            (u64::MAX, false),
        ];
        let mut window = Window::new();
        for (at, (counter, accepted)) in cases.into_iter().enumerate() {
            assert_eq!(window.accept(counter), accepted, "step {at}: counter {counter}");
        }
    }

    proptest! {
        /// Against the obvious implementation.
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..20_000), 1..400)) {
            let mut window = Window::new();
            let mut seen = BTreeSet::new();
            let mut base = 0u64;
            for (jump, offset) in steps {
                let counter = if jump { base + offset } else { (base + 50).saturating_sub(offset) };
                base = base.max(counter);
                let greatest = seen.last().copied();
                let too_old = greatest.is_some_and(|g: u64| counter + Window::SIZE < g + 1);
                let expected = !too_old && seen.insert(counter);
                prop_assert_eq!(window.accept(counter), expected, "counter {}", counter);
            }
        }
    }
}
