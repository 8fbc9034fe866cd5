//! Pre-shared keys of pairs of nodes. What was agreed on by Curve25519 alone can be recorded today and read by whoever has a
//! quantum computer one day; what was agreed on with such a key in it cannot.
//!
//! The operator gives nodes a secret, and each pair of nodes makes a key of its own of it. Secrets come in generations, so that
//! one can take another's place: a pair uses the newest that both hold. Only the generations' ids are told to anybody.

use std::fmt::Display;

use blake2::Blake2sMac;
use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, KeyInit, Update};
use model::{GenerationId, Node, NodeName, PresharedKey};

/// What a pair's key is made from, beside the secret.
const KEY: &[u8] = b"causeway pre-shared key of a pair, 1";
/// What a generation's id is made from, beside the secret.
const ID: &[u8] = b"causeway id of a generation, 1";

/// A secret that nodes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its place: the greatest is the newest.
    number: u32,
    id: GenerationId,
    secret: PresharedKey,
}

/// What an operator gave is no secret. Says nothing of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 32 random bytes in base64 (44 characters), as `causeway keys preshared` and `wg genpsk` print them"
)]
pub struct NotASecret;

impl Generation {
    /// The longest text that is taken for one, in bytes: base64 of 32 bytes has 44 characters, and there may be white space.
    pub const LONGEST: usize = 128;

    /// As operators write it: 32 random bytes in base64, under this number.
    ///
    /// # Errors
    /// It is something else, or the same byte all over.
    pub fn parse(number: u32, text: &[u8]) -> Result<Self, NotASecret> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= Self::LONGEST);
        let secret: PresharedKey = text.and_then(|text| text.trim().parse().ok()).ok_or(NotASecret)?;
        // What is the same all over is no secret.
        let is_secret = secret.0.iter().any(|byte| *byte != secret.0[0]);
        if is_secret { Ok(Self::new(number, secret)) } else { Err(NotASecret) }
    }

    /// With this number and these 32 random bytes.
    pub fn new(number: u32, secret: PresharedKey) -> Self {
        let made = keyed(&secret, &[ID]);
        let id = GenerationId(*made.first_chunk().expect("32 bytes begin with 8"));
        Self { number, id, secret }
    }

    /// Its place: the greatest is the newest.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What it is called where others hear it. Nothing follows from it.
    pub fn id(&self) -> GenerationId {
        self.id
    }

    /// The key of two nodes, whichever comes first. It is made from their names, so that it stays when one of them changes its
    /// WireGuard key: that would make it no stronger, and both ends have to know of it.
    pub fn key_of(&self, one: &NodeName, other: &NodeName) -> PresharedKey {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        // Names have no 0 in them.
        PresharedKey(keyed(&self.secret, &[KEY, first.to_string().as_bytes(), second.to_string().as_bytes()]))
    }
}

/// Keyed BLAKE2s (RFC 7693) over the parts, with a 0 after each.
fn keyed(secret: &PresharedKey, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac: Blake2sMac<U32> = KeyInit::new(&secret.0.into());
    for part in parts {
        mac.update(part);
        mac.update(&[0]);
    }
    mac.finalize_fixed().into()
}

/// The generations among named secrets, the newest first, and what is wrong with the others. `read` gives the text of the one
/// with a number; what is not needed is not read.
pub fn collect<T: AsRef<[u8]>, E: Display>(
    names: impl IntoIterator<Item = String>,
    mut read: impl FnMut(u32) -> Result<T, E>,
) -> (Vec<Generation>, Vec<String>) {
    let (mut numbers, mut wrong) = (Vec::new(), Vec::new());
    for name in names {
        match name.parse::<u32>().ok().filter(|number| number.to_string() == name) {
            Some(number) => numbers.push(number),
            None => wrong.push(format!("{name:?} is no number: name generations 1, 2 and so on")),
        }
    }
    numbers.sort_by(|a, b| b.cmp(a));
    if numbers.len() > GenerationId::MOST {
        let (most, there) = (GenerationId::MOST, numbers.len());
        wrong.push(format!("of {there} generations the newest {most} count: remove old ones"));
        numbers.truncate(most);
    }
    let mut found: Vec<Generation> = Vec::new();
    for number in numbers {
        let text = match read(number) {
            Ok(text) => text,
            Err(error) => {
                wrong.push(format!("{number}: {error}"));
                continue;
            }
        };
        match Generation::parse(number, text.as_ref()) {
            Ok(generation) => match found.iter().find(|other| other.id == generation.id) {
                Some(other) => wrong.push(format!("{number} is the same as {}", other.number)),
                None => found.push(generation),
            },
            Err(error) => wrong.push(format!("{number}: {error}")),
        }
    }
    (found, wrong)
}

/// The generation that two nodes use: the newest that both hold. Both work out the same from the ids that each holds, the newest
/// first; should they hold them in different orders, too.
pub fn choose(ours: &[GenerationId], theirs: &[GenerationId]) -> Option<GenerationId> {
    let common = ours.iter().enumerate().filter_map(|(place, id)| {
        let there = theirs.iter().position(|their| their == id)?;
        Some((place + there, *id))
    });
    common.min().map(|(_, id)| id)
}

/// What a node does about pre-shared keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preshared {
    /// What it holds, the newest first.
    generations: Vec<Generation>,
    /// Whether it has no tunnel to nodes with which it shares no generation.
    required: bool,
    /// Whether the tunnel device tries other keys, if the first does not fit.
    knows_others: bool,
}

/// The keys of a tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// The key to use; none: none.
    pub key: Option<PresharedKey>,
    /// What is tried where the other end has used another: one of the ends hears first that the other holds a new one.
    pub others: Vec<Option<PresharedKey>>,
}

impl Preshared {
    /// With these generations; the newest few of them, if they are too many to be told.
    pub fn new(mut generations: Vec<Generation>, required: bool) -> Self {
        generations.sort_by_key(|generation| std::cmp::Reverse(generation.number));
        generations.truncate(GenerationId::MOST);
        Self { generations, required, knows_others: false }
    }

    /// The same, with a tunnel device that can more or less.
    pub fn with_device(self, knows_others: bool) -> Self {
        Self { knows_others, ..self }
    }

    /// What it holds, the newest first.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Whether it has no tunnel to nodes with which it shares no generation.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Whether the operator wants such keys here.
    pub fn is_wanted(&self) -> bool {
        self.required || !self.generations.is_empty()
    }

    /// What others are told of it, the newest first.
    pub fn ids(&self) -> Vec<GenerationId> {
        self.generations.iter().map(Generation::id).collect()
    }

    /// The generation that is used with a node.
    pub fn used_with(&self, other: &Node) -> Option<GenerationId> {
        if self.generations.is_empty() {
            return None;
        }
        choose(&self.ids(), &other.mesh.generations)
    }

    /// The keys of the tunnel between a node and another, if there is to be one.
    pub fn pair(&self, me: &NodeName, other: &Node) -> Pair {
        let used = self.used_with(other);
        let mut pair = Pair::default();
        for generation in &self.generations {
            let is_used = used == Some(generation.id);
            if is_used || self.knows_others {
                let key = Some(generation.key_of(me, &other.name));
                if is_used { pair.key = key } else { pair.others.push(key) }
            }
        }
        if used.is_some() && self.knows_others && !self.required {
            pair.others.push(None);
        }
        pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{meshed, node_name};

    fn generation(number: u8) -> Generation {
        Generation::new(number.into(), PresharedKey([number; 32]))
    }

    fn ids(text: &str) -> Vec<GenerationId> {
        text.bytes().map(|byte| GenerationId([byte; 8])).collect()
    }

    /// Python: `hashlib.blake2s(b"causeway ...\0a/1\0b/2\0", key=bytes([7]) * 32)`.
    #[test]
    fn every_pair_has_a_key_of_its_own() {
        let seven = generation(7);
        let key = |one: &str, other: &str| seven.key_of(&node_name(one), &node_name(other)).0;
        assert_eq!(key("a/1", "b/2"), key("b/2", "a/1"));
        assert_eq!(seven.id().to_string(), "eec3291a91261fec");
        assert_eq!(
            model::PublicKey(key("a/1", "b/2")).to_hex(),
            "5d64aaa383cc6c5fb9c3bb1ae67d0c107345fd7b4244216cd250f7f8714c7568"
        );
        let pairs = [("a/1", "a/2"), ("a/1", "b/1"), ("a/1", "b/2"), ("a/2", "b/1"), ("a/11", "b/2")];
        let all: std::collections::BTreeSet<[u8; 32]> = pairs
            .iter()
            .flat_map(|(one, other)| {
                [1, 2].map(|n| generation(n).key_of(&node_name(one), &node_name(other)).0)
            })
            .collect();
        assert_eq!(all.len(), 2 * pairs.len());
        assert!(!format!("{seven:?}").contains("7, 7"), "{seven:?}");
    }

    #[test]
    fn the_newest_that_both_hold_is_used() {
        // (ours, theirs, what is used), the newest first
        for (ours, theirs, used) in [
            ("", "", ""),
            ("a", "", ""),
            ("a", "b", ""),
            ("a", "a", "a"),
            ("ba", "ba", "b"),
            ("ba", "a", "a"),
            ("ba", "b", "b"),
            ("cba", "ba", "b"),
            ("cb", "ba", "b"),
            ("dcba", "ca", "c"),
            // They disagree about what is new, and not about what is used.
            ("ab", "ba", "a"),
            ("abc", "cba", "a"),
            ("abc", "cb", "b"),
        ] {
            let wanted = used.bytes().next().map(|byte| GenerationId([byte; 8]));
            assert_eq!(choose(&ids(ours), &ids(theirs)), wanted, "{ours} {theirs}");
            assert_eq!(choose(&ids(theirs), &ids(ours)), wanted, "{theirs} {ours}");
        }
    }

    #[test]
    fn keys_of_a_pair() {
        let me = node_name("a/1");
        let mut other = meshed("a/2", 12, &["10.1.2.0/24"]);
        let key = |n: u8| Some(generation(n).key_of(&me, &other.name));
        let [one, two, three] = [1, 2, 3].map(key);
        // (what we hold, what they hold, whether it is required, the keys)
        let cases = [
            (&[][..], &[][..], false, (None, vec![])),
            (&[], &[1], false, (None, vec![])),
            (&[1], &[], false, (None, vec![one.clone()])),
            (&[1], &[1], true, (one.clone(), vec![])),
            (&[1], &[1], false, (one.clone(), vec![None])),
            (&[1, 2], &[1], true, (one.clone(), vec![two.clone()])),
            (&[1, 2], &[1, 2, 3], true, (two.clone(), vec![one.clone()])),
            (&[1, 2, 3], &[1, 2], false, (two.clone(), vec![three, one, None])),
        ];
        for (ours, theirs, required, expected) in cases {
            let ours = Preshared::new(ours.iter().map(|n| generation(*n)).collect(), required);
            other.mesh.generations =
                Preshared::new(theirs.iter().map(|n| generation(*n)).collect(), false).ids();
            let (key, others) = expected;
            let expected = Pair { key, others };
            assert_eq!(ours.clone().with_device(true).pair(&me, &other), expected, "{ours:?}");
            let alone = Pair { others: vec![], ..expected };
            assert_eq!(ours.pair(&me, &other), alone, "a device that knows of no others");
        }
        let many = Preshared::new((0..20).map(generation).collect(), false);
        assert_eq!(many.ids().len(), GenerationId::MOST);
        assert_eq!(many.generations()[0].number(), 19);
    }
}
