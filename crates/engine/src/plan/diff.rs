//! From what is to what ought to be, in an order that never leaves a gap: sets before the ladders that use them,
//! allowed addresses before the routes that lead to them, removals last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::PublicKey;
use model::mesh::Transport;

use super::{Neighbour, Op, Peer, SetId, State, Table, TableKey, Touched};

/// The operations that turn `observed` into `desired`, in the order to apply them.
pub fn diff(observed: &State, desired: &State) -> Vec<Op> {
    let mut ops = Vec::new();
    // Health first: it is the shortest way out of trouble.
    ops.extend(desired.dead.difference(&observed.dead).map(|n| Op::MarkDead(*n)));
    ops.extend(observed.dead.difference(&desired.dead).map(|n| Op::MarkAlive(*n)));

    ops.extend(desired.guarded.difference(&observed.guarded).map(|n| Op::Guard(*n)));
    // Before any route: the first packet to a range of the mesh keeps its pod's address.
    if observed.masquerade != desired.masquerade {
        ops.push(Op::Masquerade(desired.masquerade.clone()));
    }
    let (was, is) = (&observed.tunnel, &desired.tunnel);
    if was.mtu != is.mtu {
        ops.push(Op::TunnelMtu(is.mtu));
    }
    if was.port != is.port {
        ops.push(Op::TunnelPort(is.port));
    }
    ops.extend(is.addresses.difference(&was.addresses).map(|a| Op::AddAddress(*a)));
    // Of a range inside another one first: nothing is sent in the clear because of the other one's.
    let mut near: Vec<_> = changed(&observed.neighbours, &desired.neighbours).collect();
    near.sort_by_key(|(range, _)| Reverse(range.prefix_len()));
    let aside = |was: &Neighbour| was.sends != Transport::Wireguard;
    let (from_aside, from_tunnel): (Vec<_>, Vec<_>) =
        near.into_iter().partition(|(range, _)| observed.neighbours.get(range).is_some_and(aside));
    let set = |(range, to): (&IpNet, &Neighbour)| Op::SetNeighbour(*range, to.clone());
    // What is not for the tunnel any more leaves it before the range moves: its next owner may be one whom nothing is sent
    // by it, and who would have to shake hands first.
    ops.extend(from_tunnel.into_iter().map(set));
    // A range that moves from one peer to another is set on the new owner; WireGuard then takes it from the old one. Who
    // gains comes first, so that at no time nobody has it.
    let gains = |(key, peer): &(&PublicKey, &Peer)| {
        was.peers.get(key).is_none_or(|old| !peer.allowed_ips.is_subset(&old.allowed_ips))
    };
    let (gaining, others): (Vec<_>, Vec<_>) = changed(&was.peers, &is.peers).partition(gains);
    ops.extend(gaining.into_iter().chain(others).map(|(k, p)| Op::SetPeer(*k, p.clone())));
    ops.extend(gone(&was.peers, &is.peers).map(|k| Op::DeletePeer(*k)));
    // What is for the tunnel from now on goes there once it has it.
    ops.extend(from_aside.into_iter().map(set));
    let mut far: Vec<_> = gone(&observed.neighbours, &desired.neighbours).copied().collect();
    far.sort_by_key(IpNet::prefix_len);
    ops.extend(far.into_iter().map(Op::DeleteNeighbour));
    ops.extend(changed(&observed.mtus, &desired.mtus).map(|(range, mtu)| Op::SetMtu(*range, *mtu)));
    ops.extend(gone(&observed.mtus, &desired.mtus).map(|range| Op::DeleteMtu(*range)));
    ops.extend(
        changed(&observed.routes, &desired.routes).map(|((to, m), r)| Op::SetRoute(*to, *m, r.clone())),
    );

    ops.extend(changed(&observed.sets, &desired.sets).map(|(id, set)| Op::AddSet(*id, set.clone())));
    let tables = changed(&observed.tables, &desired.tables);
    ops.extend(tables.flat_map(|(key, table)| replace_table(*key, table, observed)));
    ops.extend(changed(&observed.frontends, &desired.frontends).map(|(f, l)| Op::SetFrontend(*f, l.clone())));
    ops.extend(changed(&observed.outside, &desired.outside).map(|(f, o)| Op::SetOutside(*f, o.clone())));
    ops.extend(observed.direct.difference(&desired.direct).map(|known| Op::DeleteDirect(*known)));
    ops.extend(desired.direct.difference(&observed.direct).map(|known| Op::AddDirect(*known)));
    let (had, has) = (&observed.node_addresses, &desired.node_addresses);
    ops.extend(has.difference(had).map(|ip| Op::AddNodeAddress(*ip)));
    ops.extend(had.difference(has).map(|ip| Op::DeleteNodeAddress(*ip)));
    ops.extend(gone(&observed.frontends, &desired.frontends).map(|f| Op::DeleteFrontend(*f)));
    ops.extend(gone(&observed.outside, &desired.outside).map(|f| Op::DeleteOutside(*f)));
    let places = |key: &TableKey| observed.tables[key].len();
    ops.extend(gone(&observed.tables, &desired.tables).map(|key| Op::DeleteTable(*key, places(key))));
    ops.extend(gone(&observed.sets, &desired.sets).map(|id| Op::DeleteSet(*id, size(observed, id))));

    ops.extend(gone(&observed.routes, &desired.routes).map(|(to, m)| Op::DeleteRoute(*to, *m)));
    ops.extend(was.addresses.difference(&is.addresses).map(|a| Op::DeleteAddress(*a)));
    ops.extend(observed.guarded.difference(&desired.guarded).map(|n| Op::Unguard(*n)));
    ops
}

/// The same where nothing else differs than what was touched.
pub fn diff_touched(observed: &State, desired: &State, touched: &Touched) -> Vec<Op> {
    let Touched { frontends, sets, tables } = touched;
    let mut ops = Vec::new();
    ops.extend(changed_of(sets, &observed.sets, &desired.sets).map(|(id, set)| Op::AddSet(*id, set.clone())));
    ops.extend(
        changed_of(tables, &observed.tables, &desired.tables)
            .flat_map(|(key, table)| replace_table(*key, table, observed)),
    );
    ops.extend(
        changed_of(frontends, &observed.frontends, &desired.frontends)
            .map(|(f, l)| Op::SetFrontend(*f, l.clone())),
    );
    ops.extend(
        changed_of(frontends, &observed.outside, &desired.outside)
            .map(|(f, o)| Op::SetOutside(*f, o.clone())),
    );
    ops.extend(gone_of(frontends, &observed.frontends, &desired.frontends).map(|f| Op::DeleteFrontend(*f)));
    ops.extend(gone_of(frontends, &observed.outside, &desired.outside).map(|f| Op::DeleteOutside(*f)));
    let places = |key: &TableKey| observed.tables[key].len();
    ops.extend(
        gone_of(tables, &observed.tables, &desired.tables).map(|key| Op::DeleteTable(*key, places(key))),
    );
    ops.extend(gone_of(sets, &observed.sets, &desired.sets).map(|id| Op::DeleteSet(*id, size(observed, id))));
    ops
}

/// One of another size is not written over the old one: of that pages would be left.
fn replace_table(key: TableKey, table: &Table, observed: &State) -> impl Iterator<Item = Op> + use<> {
    let old = observed.tables.get(&key).filter(|old| old.len() != table.len());
    let gone = old.map(|old| Op::DeleteTable(key, old.len()));
    gone.into_iter().chain([Op::AddTable(key, table.clone())])
}

fn size(observed: &State, id: &SetId) -> u32 {
    u32::try_from(observed.sets[id].len()).expect("a set is indexed by u32")
}

fn changed_of<'a, K: Ord, V: PartialEq>(
    keys: &'a BTreeSet<K>,
    was: &'a BTreeMap<K, V>,
    is: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    keys.iter().filter_map(|k| Some((k, is.get(k)?))).filter(|(k, v)| was.get(k) != Some(v))
}

fn gone_of<'a, K: Ord, V>(
    keys: &'a BTreeSet<K>,
    was: &'a BTreeMap<K, V>,
    is: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    keys.iter().filter(|k| was.contains_key(k) && !is.contains_key(k))
}

fn changed<'a, K: Ord, V: PartialEq>(
    was: &'a BTreeMap<K, V>,
    is: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    is.iter().filter(|(k, v)| was.get(k) != Some(v))
}

fn gone<'a, K: Ord, V>(was: &'a BTreeMap<K, V>, is: &'a BTreeMap<K, V>) -> impl Iterator<Item = &'a K> {
    was.keys().filter(|k| !is.contains_key(k))
}
