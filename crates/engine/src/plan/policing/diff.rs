//! From what is to what ought to be, in an order in which nobody is judged by half of a change: rules before the peers and
//! subjects that they are about, removals last.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Op, Policing};

/// The operations that turn `observed` into `desired`, in the order to apply them.
pub fn diff(observed: &Policing, desired: &Policing) -> Vec<Op> {
    let mut ops = Vec::new();
    ops.extend(changed(&observed.verdicts, &desired.verdicts).map(|(key, is)| Op::SetVerdict(*key, *is)));
    let rulesets = changed(&observed.rulesets, &desired.rulesets);
    ops.extend(
        rulesets
            .filter(|(id, is)| !observed.rulesets.get(id).is_some_and(|was| was.same(is)))
            .map(|(id, is)| Op::SetRuleset(*id, *is)),
    );
    let networks = changed(&observed.networks, &desired.networks);
    ops.extend(networks.map(|(range, is)| Op::SetNetwork(*range, *is)));
    ops.extend(changed(&observed.named, &desired.named).map(|(ip, is)| Op::SetNamed(*ip, *is)));
    let identities = changed(&observed.identities, &desired.identities);
    ops.extend(identities.map(|(ip, is)| Op::SetIdentity(*ip, *is)));
    ops.extend(desired.own.difference(&observed.own).map(|ip| Op::AddOwn(*ip)));
    ops.extend(desired.always.difference(&observed.always).map(|its| Op::AddAlways(*its)));
    ops.extend(changed(&observed.subjects, &desired.subjects).map(|(ip, is)| Op::SetSubject(*ip, *is)));

    ops.extend(gone(&observed.subjects, &desired.subjects).map(|ip| Op::DeleteSubject(*ip)));
    ops.extend(observed.always.difference(&desired.always).map(|its| Op::DeleteAlways(*its)));
    ops.extend(observed.own.difference(&desired.own).map(|ip| Op::DeleteOwn(*ip)));
    ops.extend(gone(&observed.identities, &desired.identities).map(|ip| Op::DeleteIdentity(*ip)));
    ops.extend(gone(&observed.named, &desired.named).map(|ip| Op::DeleteNamed(*ip)));
    ops.extend(gone(&observed.networks, &desired.networks).map(|range| Op::DeleteNetwork(*range)));
    ops.extend(gone(&observed.verdicts, &desired.verdicts).map(|key| Op::DeleteVerdict(*key)));
    ops.extend(gone(&observed.rulesets, &desired.rulesets).map(|id| Op::DeleteRuleset(*id)));
    in_order(&mut ops);
    ops
}

/// Puts operations into the order to apply them, and leaves those of a kind as they are, but for ranges: one that is inside
/// another comes before it where they are set and after it where they are deleted, so that no address is for a moment in a
/// range that it is excepted from.
pub fn in_order(ops: &mut [Op]) {
    ops.sort_by_key(|op| {
        let (place, inside) = match op {
            Op::SetVerdict(..) => (0, 0),
            Op::SetRuleset(..) => (1, 0),
            Op::SetNetwork(range, _) => (2, i16::from(range.prefix_len())),
            Op::SetNamed(..) => (3, 0),
            Op::SetIdentity(..) => (4, 0),
            Op::AddOwn(_) => (5, 0),
            Op::AddAlways(_) => (6, 0),
            Op::SetSubject(..) => (7, 0),
            Op::DeleteSubject(_) => (8, 0),
            Op::DeleteAlways(_) => (9, 0),
            Op::DeleteOwn(_) => (10, 0),
            Op::DeleteIdentity(_) => (11, 0),
            Op::DeleteNamed(_) => (12, 0),
            Op::DeleteNetwork(range) => (13, -i16::from(range.prefix_len())),
            Op::DeleteVerdict(_) => (14, 0),
            Op::DeleteRuleset(_) => (15, 0),
        };
        (place, Reverse(inside))
    });
}

fn changed<'a, K: Ord, V: PartialEq>(
    was: &'a BTreeMap<K, V>,
    is: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    is.iter().filter(|(key, value)| was.get(key) != Some(value))
}

fn gone<'a, K: Ord, V>(was: &'a BTreeMap<K, V>, is: &'a BTreeMap<K, V>) -> impl Iterator<Item = &'a K> {
    was.keys().filter(|key| !is.contains_key(key))
}
