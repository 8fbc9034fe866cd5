//! What is wrong with objects now, by who says so.

use std::collections::BTreeMap;

use cluster::Complaint;
use cluster::manifest::Id;

/// Who finds something wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Whoever reads the objects.
    Source,
    /// Whoever gives nodes their ranges.
    Mesh,
    /// Whoever looks at all services and peers together.
    Services,
}

/// Everything that is wrong with objects.
#[derive(Debug, Default)]
pub(crate) struct Complaints(BTreeMap<Id, BTreeMap<Origin, Vec<Complaint>>>);

impl Complaints {
    /// What somebody finds wrong with an object, in place of what it found before. Returns everything that is wrong with
    /// it, if that is different now.
    pub(crate) fn set(
        &mut self,
        origin: Origin,
        id: &Id,
        complaints: Vec<Complaint>,
    ) -> Option<Vec<Complaint>> {
        let before = self.0.get(id).and_then(|by_origin| by_origin.get(&origin)).map(Vec::as_slice);
        if before.unwrap_or_default() == complaints {
            return None;
        }
        let by_origin = self.0.entry(id.clone()).or_default();
        match complaints.is_empty() {
            true => by_origin.remove(&origin),
            false => by_origin.insert(origin, complaints),
        };
        let all = by_origin.values().flatten().cloned().collect();
        if by_origin.is_empty() {
            self.0.remove(id);
        }
        Some(all)
    }

    /// Each complaint with its object.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Id, &Complaint)> {
        let of_object = |(id, by_origin)| {
            let complaints = BTreeMap::values(by_origin).flatten();
            complaints.map(move |complaint| (id, complaint))
        };
        self.0.iter().flat_map(of_object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::manifest::Kind;

    #[test]
    fn each_says_its_own() {
        let id = Id::new(Kind::Node, "", "a");
        let wrong = |reason| vec![Complaint { reason, message: "m".into() }];
        let mut complaints = Complaints::default();
        assert_eq!(complaints.set(Origin::Source, &id, vec![]), None);
        assert_eq!(complaints.set(Origin::Source, &id, wrong("A")), Some(wrong("A")));
        assert_eq!(complaints.set(Origin::Source, &id, wrong("A")), None);
        assert_eq!(complaints.set(Origin::Mesh, &id, wrong("B")), Some([wrong("A"), wrong("B")].concat()));
        assert_eq!(complaints.set(Origin::Source, &id, vec![]), Some(wrong("B")));
        assert_eq!(complaints.iter().count(), 1);
        assert_eq!(complaints.set(Origin::Mesh, &id, vec![]), Some(vec![]));
        assert!(complaints.0.is_empty());
    }
}
