//! Whose turn it is when more waits than can be carried: deficit round robin (Shreedhar and Varghese, 1995) between owners,
//! and, when there is no more room, the longest queue gives way.

use std::collections::VecDeque;

/// Bytes that each owner may take in a round.
const QUANTUM: usize = 64 << 10;

/// Bounded work that waits, by owner. Takes memory only when it holds more than ever before.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    /// Those who have something waiting; the first is the one whose turn it is.
    active: VecDeque<Owner<K, T>>,
    /// Queues of those who have nothing waiting any more, for the next.
    spare: Vec<VecDeque<(T, usize)>>,
    len: usize,
}

#[derive(Debug)]
struct Owner<K, T> {
    key: K,
    /// With the bytes of each.
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    /// What it may still take in this round.
    deficit: usize,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { active: VecDeque::new(), spare: Vec::new(), len: 0 }
    }
}

impl<K: PartialEq + Copy, T> FairQueue<K, T> {
    /// Puts an item of so many bytes behind its owner's others.
    pub fn push(&mut self, key: K, item: T, bytes: usize) {
        self.len += 1;
        if let Some(owner) = self.active.iter_mut().find(|owner| owner.key == key) {
            owner.waiting.push_back((item, bytes));
            owner.bytes += bytes;
            return;
        }
        let mut waiting = self.spare.pop().unwrap_or_default();
        waiting.push_back((item, bytes));
        self.active.push_back(Owner { key, waiting, bytes, deficit: QUANTUM });
    }

    /// The owner's last item, to add to it. Whoever does says by how many bytes with [`FairQueue::grow`].
    pub fn last_mut(&mut self, key: K) -> Option<&mut T> {
        let owner = self.active.iter_mut().find(|owner| owner.key == key)?;
        owner.waiting.back_mut().map(|(item, _)| item)
    }

    /// The owner's last item has so many bytes more.
    pub fn grow(&mut self, key: K, bytes: usize) {
        if let Some(owner) = self.active.iter_mut().find(|owner| owner.key == key)
            && let Some((_, size)) = owner.waiting.back_mut()
        {
            *size += bytes;
            owner.bytes += bytes;
        }
    }

    /// The next item, and whose it is. Each owner's items come in their order.
    pub fn pop(&mut self) -> Option<(K, T)> {
        loop {
            let alone = self.active.len() == 1;
            let owner = self.active.front_mut()?;
            let size = owner.waiting.front().map(|(_, size)| *size)?;
            if size > owner.deficit && !alone {
                owner.deficit += QUANTUM;
                self.active.rotate_left(1);
                continue;
            }
            owner.deficit = owner.deficit.saturating_sub(size);
            return self.take(0);
        }
    }

    /// The oldest item of whoever has most bytes waiting, if that is more than one item.
    pub fn give_way(&mut self) -> Option<(K, T)> {
        let (at, owner) = self.active.iter().enumerate().max_by_key(|(_, owner)| owner.bytes)?;
        if owner.waiting.len() > 1 { self.take(at) } else { None }
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn take(&mut self, at: usize) -> Option<(K, T)> {
        let owner = self.active.get_mut(at)?;
        let (item, size) = owner.waiting.pop_front()?;
        let key = owner.key;
        owner.bytes -= size;
        self.len -= 1;
        if owner.waiting.is_empty()
            && let Some(owner) = self.active.remove(at)
        {
            self.spare.push(owner.waiting);
        }
        Some((key, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn popped(queue: &mut FairQueue<char, u32>, count: usize) -> String {
        (0..count).filter_map(|_| queue.pop()).map(|(key, _)| key).collect()
    }

    #[test]
    fn owners_take_turns_by_bytes() {
        let mut queue = FairQueue::default();
        for at in 0..4 {
            queue.push('a', at, QUANTUM);
        }
        for at in 0..8 {
            queue.push('b', at, QUANTUM / 2);
        }
        queue.push('c', 0, 100);
        assert_eq!(popped(&mut queue, 9), "abbcabbab");
        assert_eq!(popped(&mut queue, 9), "babb");
        assert!(queue.is_empty());
        // Whoever is alone waits for nobody.
        queue.push('d', 0, QUANTUM * 10);
        assert_eq!(popped(&mut queue, 1), "d");
    }

    #[test]
    fn who_has_most_gives_way() {
        let mut queue = FairQueue::default();
        assert_eq!(queue.give_way(), None);
        queue.push('a', 1, 10);
        queue.push('b', 1, 900);
        assert_eq!(queue.give_way(), None, "everybody may have one");
        queue.push('a', 2, 10);
        assert_eq!(queue.give_way(), None, "b has more, but one");
        queue.push('b', 2, 10);
        assert_eq!(queue.give_way(), Some(('b', 1)));
        *queue.last_mut('a').unwrap() += 7;
        queue.grow('a', 70);
        assert_eq!(queue.give_way(), Some(('a', 1)));
        assert_eq!(
            (queue.len(), queue.pop(), queue.pop(), queue.pop()),
            (2, Some(('a', 9)), Some(('b', 2)), None)
        );
    }

    proptest! {
        /// Nothing is lost or changes its order, and nobody is ahead of another by more than a round and an item.
        #[test]
        fn fair_and_in_order(items in prop::collection::vec((0u8..4, 1usize..90_000), 1..200)) {
            let mut queue = FairQueue::default();
            for (at, (key, bytes)) in items.iter().enumerate() {
                queue.push(*key, at, *bytes);
            }
            let mut taken = [0usize; 4];
            let mut left = [0usize; 4];
            let mut last = [None; 4];
            for (key, bytes) in &items {
                left[usize::from(*key)] += bytes;
            }
            while let Some((key, at)) = queue.pop() {
                let key = usize::from(key);
                prop_assert!(last[key].is_none_or(|last| last < at));
                last[key] = Some(at);
                taken[key] += items[at].1;
                left[key] -= items[at].1;
                for other in (0..4).filter(|other| left[*other] > 0) {
                    prop_assert!(taken[key] <= taken[other] + 2 * (QUANTUM + 90_000), "{:?}", taken);
                }
            }
            prop_assert_eq!(left, [0; 4]);
        }
    }
}
