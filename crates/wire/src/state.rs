//! What a process keeps on disk: the last known world, and how far it had heard each teller.
//!
//! A file is: 8 bytes of magic, the format's version (4 bytes), the body's length (8) and checksum (8), all little
//! endian, then the body, a protobuf `Snapshot`. Truncation, bit rot and strangers' files are told apart; whoever
//! reads one sets a bad file aside and asks its teller for everything. Nothing here opens files.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use model::{Change, ClusterName, Object, ObjectName, World};
use prost::Message;
use siphasher::sip::SipHasher13;

use crate::{
    ParseError, encode_object, encode_service_names, parse_clusters, parse_object, parse_service_names, pb,
};

const MAGIC: &[u8; 8] = b"CWSTATE\n";
const FORMAT: u32 = 1;
const HEADER: usize = 28;
/// The fields of `Snapshot`.
const PLACES: u32 = 1;
const OBJECTS: u32 = 2;

/// How far a teller was heard: its log's epoch and revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Which log.
    pub epoch: u64,
    /// How far into it.
    pub revision: u64,
    /// The services whose endpoints are known up to there; none for all.
    pub interest: Option<BTreeSet<ObjectName>>,
    /// What of pods, namespaces and policies is known up to there; none for nothing.
    pub policing: Option<Policing>,
}

/// Pods, namespaces and policies that are known beyond those that everybody of the teller's kind is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policing {
    /// The clusters whose pods and namespaces are known.
    pub clusters: BTreeSet<ClusterName>,
    /// Whether distributed policies are.
    pub policies: bool,
}

/// A state that was read back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// The last known world.
    pub world: World,
    /// How far the controller of each cluster was heard. Empty if any object was skipped: then everything has to
    /// be told again.
    pub places: BTreeMap<ClusterName, Place>,
    /// Objects that this version does not understand.
    pub skipped: usize,
}

/// Why a file is no state. In every case: set it aside and start without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It does not begin as one.
    #[error("not a state file of Causeway")]
    NotOurs,
    /// Written by a version with another format.
    #[error("written in format {0}, this version reads format {FORMAT}")]
    Format(u32),
    /// Shorter or longer than it says.
    #[error("truncated or overwritten: it says {expected} bytes, and has {found}")]
    Length {
        /// What it says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// The body is not what was written.
    #[error("damaged: the checksum does not match")]
    Checksum,
    /// The body is not protobuf; a bug, as the checksum matched.
    #[error("the body does not parse: {0}")]
    Body(String),
}

/// The bytes to write.
pub fn encode(world: &World, places: &BTreeMap<ClusterName, Place>) -> Vec<u8> {
    let mut bytes = Encoder::default();
    places.iter().for_each(|(teller, place)| bytes.place(teller, place));
    world.objects().for_each(|object| bytes.object(&object));
    bytes.finish()
}

/// Puts a state together piece by piece, so that nothing but its bytes is held beside what is known.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// Room for the header, then the body.
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER] }
    }
}

impl Encoder {
    /// How far a teller was heard.
    pub fn place(&mut self, teller: &ClusterName, place: &Place) {
        let place = pb::Place {
            teller: teller.to_string(),
            position: Some(pb::Position { epoch: place.epoch, revision: place.revision }),
            interest: place
                .interest
                .as_ref()
                .map(|names| pb::Interest { services: encode_service_names(names) }),
            policing: place.policing.as_ref().map(|Policing { clusters, policies }| pb::Policing {
                clusters: clusters.iter().map(ToString::to_string).collect(),
                policies: *policies,
            }),
            peers: true,
        };
        prost::encoding::message::encode(PLACES, &place, &mut self.bytes);
    }

    /// An object of the world.
    pub fn object(&mut self, object: &Object) {
        prost::encoding::message::encode(OBJECTS, &encode_object(object), &mut self.bytes);
    }

    /// The bytes to write.
    pub fn finish(mut self) -> Vec<u8> {
        let (length, checksum) = (self.bytes.len() - HEADER, checksum(&self.bytes[HEADER..]));
        let parts: [&[u8]; 4] =
            [MAGIC, &FORMAT.to_le_bytes(), &(length as u64).to_le_bytes(), &checksum.to_le_bytes()];
        self.bytes[..HEADER].copy_from_slice(&parts.concat());
        self.bytes
    }
}

/// Reads what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Saved, StateError> {
    let body = check(bytes)?;
    let snapshot = pb::Snapshot::decode(body).map_err(|e| StateError::Body(e.to_string()))?;
    let mut saved = Saved::default();
    for object in snapshot.objects {
        match parse_object(object) {
            Ok(object) => {
                saved.world.apply(Change::Upsert(object));
            }
            Err(_) => saved.skipped += 1,
        }
    }
    if saved.skipped == 0 {
        // Whoever did not know of peers was told of none, and has to be told everything.
        for place in snapshot.places.into_iter().filter(|place| place.peers) {
            let interest =
                place.interest.map(|all| parse_service_names(all.services, usize::MAX)).transpose();
            let policing = |policing: pb::Policing| -> Result<Policing, ParseError> {
                Ok(Policing { clusters: parse_clusters(policing.clusters)?, policies: policing.policies })
            };
            if let (Ok(teller), Some(position), Ok(interest), Ok(policing)) = (
                ClusterName::new(place.teller),
                place.position,
                interest,
                place.policing.map(policing).transpose(),
            ) {
                let pb::Position { epoch, revision } = position;
                let place = Place { epoch, revision, interest, policing };
                saved.places.insert(teller, place);
            }
        }
    }
    Ok(saved)
}

/// Checks the header. Returns the body.
fn check(bytes: &[u8]) -> Result<&[u8], StateError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(StateError::NotOurs)?;
    let short = StateError::Length { expected: HEADER as u64, found: bytes.len() as u64 };
    let (format, rest) = rest.split_first_chunk().ok_or(short.clone())?;
    let format = u32::from_le_bytes(*format);
    if format != FORMAT {
        return Err(StateError::Format(format));
    }
    let (length, rest) = rest.split_first_chunk().ok_or(short.clone())?;
    let (sum, body) = rest.split_first_chunk().ok_or(short)?;
    let length = u64::from_le_bytes(*length);
    if length != body.len() as u64 {
        let header = HEADER as u64;
        let (expected, found) = (header.saturating_add(length), header + body.len() as u64);
        return Err(StateError::Length { expected, found });
    }
    if checksum(body) != u64::from_le_bytes(*sum) {
        return Err(StateError::Checksum);
    }
    Ok(body)
}

fn checksum(body: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x0073_7461_7465);
    hasher.write(body);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::strategies;

    fn sample() -> (World, BTreeMap<ClusterName, Place>) {
        let mut world = World::default();
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for _ in 0..8 {
            let object = strategies::object().new_tree(&mut runner).unwrap().current();
            world.apply(Change::Upsert(object));
        }
        let places = [("aws", 7, 3), ("gcp", 9, 0)].map(|(name, epoch, revision)| {
            let interest = (epoch == 9).then(|| [ObjectName::new("demo", "echo").unwrap()].into());
            let policing = (epoch == 9)
                .then(|| Policing { clusters: [ClusterName::new("gcp").unwrap()].into(), policies: true });
            (ClusterName::new(name).unwrap(), Place { epoch, revision, interest, policing })
        });
        (world, places.into())
    }

    use proptest::strategy::{Strategy, ValueTree};

    #[test]
    fn damage_is_told_apart() {
        let (world, places) = sample();
        let good = encode(&world, &places);
        assert_eq!(decode(&good), Ok(Saved { world, places, skipped: 0 }));

        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            decode(&bytes)
        };
        assert_eq!(decode(b""), Err(StateError::NotOurs));
        assert_eq!(decode(b"{\"json\": 1}"), Err(StateError::NotOurs));
        assert_eq!(flipped(0), Err(StateError::NotOurs));
        assert_eq!(flipped(8), Err(StateError::Format(0)));
        assert!(matches!(flipped(12), Err(StateError::Length { .. })));
        assert_eq!(flipped(20), Err(StateError::Checksum));
        assert_eq!(flipped(good.len() - 1), Err(StateError::Checksum));
        for length in 8..good.len() {
            assert!(matches!(decode(&good[..length]), Err(StateError::Length { .. })), "{length}");
        }
        let longer = [&good[..], b"x"].concat();
        assert!(matches!(decode(&longer), Err(StateError::Length { .. })));
    }

    #[test]
    fn an_object_of_a_later_version_costs_the_places() {
        let (world, places) = sample();
        let body = pb::Snapshot {
            places: vec![pb::Place {
                teller: "aws".into(),
                position: Some(pb::Position::default()),
                interest: None,
                policing: None,
                peers: true,
            }],
            objects: world
                .objects()
                .map(|o| encode_object(&o))
                .chain([pb::Object { object: None }])
                .collect(),
        }
        .encode_to_vec();
        let mut bytes = encode(&World::default(), &places)[..12].to_vec();
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&checksum(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        assert_eq!(decode(&bytes), Ok(Saved { world, places: BTreeMap::new(), skipped: 1 }));
    }

    proptest! {
        #[test]
        fn decode_never_panics(bytes: Vec<u8>, with_magic: bool) {
            let bytes = if with_magic { [&MAGIC[..], &bytes].concat() } else { bytes };
            let _ = decode(&bytes);
        }
    }
}
