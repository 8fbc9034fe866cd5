//! Maglev: a table that every node fills alike, so that a client's packets are led to one backend by whichever node they
//! come in.
//!
//! Each backend has an order of its own in which it would like the places of the table, made from its address alone. In turn
//! each takes the first of its places that is free, twice as often with twice the weight, until the table is full (Eisenbud et
//! al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4). So all get their share to
//! within a place, and a backend that comes or goes moves little but its own share: the larger the table, the less.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hasher;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::plan::{Backend, TABLE_PAGE, table_pages};

/// How many places tables have: one of a few prime numbers, for then every order reaches every place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct TableSize(u8);

/// A number of places that no table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a table of {0} places: it is one of {SIZES:?}")]
pub struct NotASize(pub u32);

/// About a power of two each.
const SIZES: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071];

impl TableSize {
    /// 1021 places.
    pub const DEFAULT: Self = Self(2);

    /// How many places these are.
    pub fn places(self) -> u32 {
        SIZES[usize::from(self.0)]
    }

    /// The size whose tables take so many places of whole pages.
    pub fn in_pages(places: usize) -> Option<Self> {
        let fits = |size: &u32| table_pages(*size as usize) * TABLE_PAGE == places;
        SIZES.iter().copied().find(fits).and_then(|size| size.try_into().ok())
    }

    /// Which of the sizes it is, from 1 on: as the data path names it.
    pub fn code(self) -> u8 {
        self.0 + 1
    }

    /// The size that the data path names so.
    pub fn of_code(code: u8) -> Option<Self> {
        let index = code.checked_sub(1)?;
        SIZES.get(usize::from(index)).map(|_| Self(index))
    }
}

impl TryFrom<u32> for TableSize {
    type Error = NotASize;

    fn try_from(places: u32) -> Result<Self, NotASize> {
        let index = SIZES.iter().position(|size| *size == places).ok_or(NotASize(places))?;
        Ok(Self(u8::try_from(index).expect("there are ten")))
    }
}

impl From<TableSize> for u32 {
    fn from(size: TableSize) -> Self {
        size.places()
    }
}

/// The table of these backends, which stand beside each other as often as their weights say: for each place, which of them.
/// Nothing where there are too many to be numbered, or more of them than places.
pub fn table(backends: &[Backend], size: TableSize) -> Option<Vec<u16>> {
    let places = size.places();
    let mut takers: Vec<Taker> = Vec::new();
    for (index, backend) in backends.iter().enumerate() {
        match takers.last_mut() {
            Some(last) if backends[usize::from(last.index)] == *backend => last.weight += 1,
            _ => takers.push(Taker::new(backend, u16::try_from(index).ok()?, places)),
        }
    }
    if takers.is_empty() || takers.len() > places as usize {
        return None;
    }
    for taker in &mut takers {
        taker.every = (1 << 40) / u64::from(taker.weight);
    }
    let mut table = vec![FREE; places as usize];
    // When each takes its next place; who is earlier in the set is first among equals, whoever else is there.
    let mut turns: BinaryHeap<_> = (0..takers.len()).map(|n| Reverse((takers[n].every, n))).collect();
    for _ in 0..places {
        let mut turn = turns.peek_mut().expect("everybody comes again");
        let Reverse((at, n)) = &mut *turn;
        let taker = &mut takers[*n];
        *at += taker.every;
        let place = taker.next_free(&table, places);
        table[place] = u32::from(taker.index);
    }
    Some(table.into_iter().map(|index| index as u16).collect())
}

/// What no backend is.
const FREE: u32 = u32::MAX;

/// A backend that takes places.
struct Taker {
    /// Its first place in the set.
    index: u16,
    weight: u32,
    /// The time between two of its turns.
    every: u64,
    /// The place that it would like next, and how far away the one after is.
    next: u32,
    skip: u32,
}

impl Taker {
    fn new(backend: &Backend, index: u16, places: u32) -> Self {
        let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x6d61_676c_6576);
        // Byte by byte: other versions of the language's library must find the same.
        let ip = match backend.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        hasher.write(&ip.octets());
        hasher.write(&backend.port.get().to_be_bytes());
        let number = hasher.finish();
        let below = |number: u64, bound: u32| u32::try_from(number % u64::from(bound)).expect("below a u32");
        let (next, skip) = (below(number >> 32, places), below(number & 0xffff_ffff, places - 1) + 1);
        Self { index, weight: 1, every: 0, next, skip }
    }

    /// The first of its places that is free. There is one: its order reaches them all.
    fn next_free(&mut self, table: &[u32], places: u32) -> usize {
        loop {
            let place = self.next as usize;
            // Both are below 2^17.
            self.next = (self.next + self.skip) % places;
            if table[place] == FREE {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(places: u32) -> TableSize {
        places.try_into().unwrap()
    }

    /// A backend of the number, as often as the weight says.
    fn weighing(number: u16, weight: usize) -> Vec<Backend> {
        let [high, low] = number.to_be_bytes();
        let backend =
            Backend { ip: [10, 1, high, low].into(), port: 8080.try_into().unwrap(), node: number.into() };
        vec![backend; weight]
    }

    fn set(weights: &[(u16, usize)]) -> Vec<Backend> {
        weights.iter().flat_map(|(number, weight)| weighing(*number, *weight)).collect()
    }

    /// Who has each place.
    fn owners(backends: &[Backend], size: TableSize) -> Vec<Backend> {
        let table = table(backends, size).expect("they fit");
        table.into_iter().map(|index| backends[usize::from(index)]).collect()
    }

    #[test]
    fn sizes_are_primes_and_named() {
        for (code, places) in (1..).zip(SIZES) {
            let is_prime =
                |number: u32| (2..).take_while(|n| n * n <= number).all(|n| !number.is_multiple_of(n));
            // As the data path has them: the last primes before powers of two.
            let last = (0..places.next_power_of_two()).rev().find(|number| is_prime(*number));
            assert_eq!(last, Some(places));
            assert_eq!((size(places).code(), TableSize::of_code(code)), (code, Some(size(places))));
            let pages = table_pages(places as usize) * TABLE_PAGE;
            assert_eq!(TableSize::in_pages(pages), Some(size(places)));
            assert_eq!(TableSize::in_pages(pages - TABLE_PAGE), None);
        }
        assert_eq!((TableSize::of_code(0), TableSize::of_code(11)), (None, None));
        assert_eq!(
            TableSize::try_from(1000).unwrap_err().to_string(),
            "a table of 1000 places: it is one of [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071]"
        );
    }

    #[test]
    fn what_has_no_table() {
        assert_eq!(table(&[], size(251)), None);
        let many: Vec<_> = (0..252).map(|number| (number, 1)).collect();
        assert_eq!(table(&set(&many), size(251)), None);
        assert_eq!(table(&set(&[(1, 70_000), (2, 1)]), size(251)), None, "the second one's place is no u16");
        assert_eq!(table(&set(&[(7, 3)]), size(251)), Some(vec![0; 251]));
    }

    /// Other nodes, other versions, other machines: a change here leads connections astray while nodes are upgraded.
    #[test]
    fn the_table_is_the_same_everywhere() {
        let table = table(&set(&[(1, 1), (2, 1), (3, 2)]), size(251)).unwrap();
        assert_eq!(table[..8], [0, 1, 0, 2, 2, 2, 0, 2]);
    }

    /// Of ten, each in its turn goes: the mean of what moves among the others.
    #[test]
    fn in_the_mean_hardly_any_move() {
        for (places, most) in [(251, 0.07), (1021, 0.035), (16_381, 0.01)] {
            let all: Vec<_> = (0..10).map(|number| (number, 1)).collect();
            let with = owners(&set(&all), size(places));
            let moved = |gone: &(u16, usize)| {
                let rest: Vec<_> = all.iter().copied().filter(|one| one != gone).collect();
                let without = owners(&set(&rest), size(places));
                let gone = weighing(gone.0, 1)[0];
                with.iter().zip(&without).filter(|(a, b)| **a != gone && a != b).count()
            };
            let mean = all.iter().map(moved).sum::<usize>() as f64 / 10.0 / f64::from(places);
            assert!(mean < most, "{mean} of {places}");
        }
    }

    /// Different backends of weights from 1 to 4.
    fn backends(most: usize) -> impl Strategy<Value = Vec<(u16, usize)>> {
        proptest::collection::btree_map(any::<u16>(), 1..5_usize, 2..most)
            .prop_map(|weights| weights.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Each has what its weight gives it, to within two places.
        #[test]
        fn shares_follow_weights(weights in backends(40)) {
            let all: usize = weights.iter().map(|(_, weight)| weight).sum();
            let owners = owners(&set(&weights), size(1021));
            for (number, weight) in weights {
                let backend = weighing(number, 1)[0];
                let has = owners.iter().filter(|owner| **owner == backend).count() as f64;
                let due = 1021.0 * weight as f64 / all as f64;
                prop_assert!((has - due).abs() <= 2.0, "{has} places, {due} are due");
            }
        }

        /// One of n goes: its own share moves, and of the others' places at most 15 of 100. Its return moves the same back.
        #[test]
        fn few_move_besides_who_goes(weights in backends(40), which in any::<proptest::sample::Index>()) {
            let gone = weights[which.index(weights.len())];
            let rest: Vec<_> = weights.iter().copied().filter(|one| *one != gone).collect();
            let gone = weighing(gone.0, 1)[0];
            let (with, without) = (owners(&set(&weights), size(1021)), owners(&set(&rest), size(1021)));
            let moved = with.iter().zip(&without).filter(|(a, b)| **a != gone && a != b).count();
            prop_assert!(moved <= 1021 * 15 / 100, "{moved} of 1021 places moved from one to another who both stayed");
        }
    }
}
